//! DataFusion's own nodes that it has no messages for.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, internal_datafusion_err, internal_err, not_impl_err};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::sorts::partial_sort::PartialSortExec;
use datafusion::physical_plan::work_table::WorkTableExec;
use datafusion_proto::physical_plan::from_proto::parse_physical_sort_exprs;
use datafusion_proto::physical_plan::to_proto::serialize_physical_sort_exprs;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use prost::Message;

use super::not_a_plan;
use crate::proto;

pub(super) fn encode_schema(schema: &Schema) -> Result<Vec<u8>> {
    let schema: protobuf::Schema = schema.try_into()?;
    Ok(schema.encode_to_vec())
}

pub(super) fn decode_schema(bytes: &[u8]) -> Result<SchemaRef> {
    let schema = protobuf::Schema::decode(bytes).map_err(not_a_plan)?;
    let schema: Schema = (&schema).try_into()?;
    Ok(Arc::new(schema))
}

/// Sort keys, as bytes.
pub(super) fn encode_ordering(
    ordering: &LexOrdering,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Vec<u8>> {
    let exprs = serialize_physical_sort_exprs(ordering.iter().cloned(), codec, converter)?;
    let collection = protobuf::PhysicalSortExprNodeCollection {
        physical_sort_expr_nodes: exprs,
    };
    Ok(collection.encode_to_vec())
}

/// The other end of [`encode_ordering`].
pub(super) fn decode_ordering(
    bytes: &[u8],
    schema: &Schema,
    context: &PhysicalPlanDecodeContext<'_>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Vec<PhysicalSortExpr>> {
    let collection = protobuf::PhysicalSortExprNodeCollection::decode(bytes).map_err(not_a_plan)?;
    parse_physical_sort_exprs(
        &collection.physical_sort_expr_nodes,
        context,
        schema,
        converter,
    )
}

pub(super) fn encode_recursive_query(query: &RecursiveQueryExec) -> Result<proto::RecursiveQuery> {
    Ok(proto::RecursiveQuery {
        name: query.name().to_owned(),
        schema: encode_schema(&ExecutionPlan::schema(query))?,
        distinct: query.is_distinct(),
    })
}

pub(super) fn decode_recursive_query(
    query: proto::RecursiveQuery,
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Result<RecursiveQueryExec> {
    let [fixed, recursive] = inputs else {
        return internal_err!("a recursive query of {} terms", inputs.len());
    };
    RecursiveQueryExec::try_new(
        query.name,
        decode_schema(&query.schema)?,
        Arc::clone(fixed),
        Arc::clone(recursive),
        query.distinct,
    )
}

/// `recursive` has the columns of the queries whose rows work tables hold.
pub(super) fn encode_work_table(
    table: &WorkTableExec,
    recursive: &HashMap<String, SchemaRef>,
) -> Result<proto::WorkTable> {
    let name = table.name();
    let Some(all) = recursive.get(name) else {
        return internal_err!("no recursive query is called {name}");
    };
    let columns = WorkTableExec::schema(table);
    // The node does not say which columns it gives out, but they are those of these names.
    let (schema, projection) = if columns.fields().len() == all.fields().len() {
        (columns, None)
    } else {
        // A column may be nullable in the query's rows and not in the table's.
        let mut fields = all.fields().to_vec();
        let mut projection = Vec::with_capacity(columns.fields().len());
        for field in columns.fields() {
            let mut places = all.fields().iter().enumerate();
            let mut found = places.by_ref().filter(|(_, of)| of.name() == field.name());
            let (Some((index, _)), None) = (found.next(), found.next()) else {
                return not_impl_err!(
                    "the recursive query {name} has several columns called {}",
                    field.name()
                );
            };
            fields[index] = Arc::clone(field);
            projection.push(index as u32);
        }
        let schema = Schema::new_with_metadata(fields, columns.metadata().clone());
        (
            Arc::new(schema),
            Some(proto::Projection {
                columns: projection,
            }),
        )
    };
    Ok(proto::WorkTable {
        name: name.to_owned(),
        schema: encode_schema(&schema)?,
        projection,
    })
}

pub(super) fn decode_work_table(table: proto::WorkTable) -> Result<WorkTableExec> {
    let schema = decode_schema(&table.schema)?;
    let projection = table.projection.map(|projection| {
        let columns = projection.columns.into_iter();
        columns.map(|column| column as usize).collect::<Vec<_>>()
    });
    WorkTableExec::new(table.name, schema, projection)
}

pub(super) fn encode_partial_sort(
    sort: &PartialSortExec,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<proto::PartialSort> {
    Ok(proto::PartialSort {
        ordering: encode_ordering(sort.expr(), codec, converter)?,
        common_prefix: sort.common_prefix_length() as u32,
        fetch: PartialSortExec::fetch(sort).map(|rows| rows as u64),
        preserve_partitioning: sort.preserve_partitioning(),
    })
}

pub(super) fn decode_partial_sort(
    sort: &proto::PartialSort,
    inputs: &[Arc<dyn ExecutionPlan>],
    context: &PhysicalPlanDecodeContext<'_>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<PartialSortExec> {
    let [input] = inputs else {
        return internal_err!("a sort of {} inputs", inputs.len());
    };
    let exprs = decode_ordering(&sort.ordering, &input.schema(), context, converter)?;
    let prefix = sort.common_prefix as usize;
    if prefix == 0 || prefix > exprs.len() {
        return internal_err!("a sort of {} keys, {prefix} of them sorted", exprs.len());
    }
    let ordering = LexOrdering::new(exprs)
        .ok_or_else(|| internal_datafusion_err!("a partial sort without keys"))?;
    let fetch = sort.fetch.map(|rows| rows as usize);
    Ok(PartialSortExec::new(ordering, Arc::clone(input), prefix)
        .with_fetch(fetch)
        .with_preserve_partitioning(sort.preserve_partitioning))
}
