//! Our exchange source, with all that parents rely on: partitions, order, equalities, constants.

use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::equivalence::{AcrossPartitions, ConstExpr};
use datafusion::physical_expr::expressions::{Literal, lit};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use job::StageId;
use operators::exchange::{ExchangeSourceExec, Segments};
use prost::Message;

use super::not_a_plan;
use super::others::{decode_ordering, decode_schema, encode_ordering, encode_schema};
use crate::proto;

pub(super) fn encode(
    source: &ExchangeSourceExec,
    codec: &dyn PhysicalExtensionCodec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<proto::ExchangeSource> {
    let expression = |expr: &Arc<dyn PhysicalExpr>| -> Result<Vec<u8>> {
        let node = converter.physical_expr_to_proto(expr, codec)?;
        Ok(node.encode_to_vec())
    };
    let equivalences = source.properties().equivalence_properties();
    let (each, count) = match source.segments() {
        Segments::Each(segments) => {
            let segments = segments.clone();
            (Some(proto::SegmentList { segments }), 0)
        }
        Segments::All { count } => (None, *count),
    };
    let hash_keys = match source.properties().output_partitioning() {
        Partitioning::Hash(keys, _) => keys.iter().map(expression).collect::<Result<_>>()?,
        Partitioning::UnknownPartitioning(_) => Vec::new(),
        other => return internal_err!("an exchange source partitioned by {other}"),
    };
    let orderings = equivalences
        .oeq_class()
        .iter()
        .map(|ordering| encode_ordering(ordering, codec, converter));
    let equal = equivalences.eq_group().iter().map(|class| {
        Ok(proto::EqualExpressions {
            expressions: class.iter().map(expression).collect::<Result<_>>()?,
        })
    });
    let constants = equivalences.constants().into_iter().map(|constant| {
        let (uniform, value) = match constant.across_partitions {
            AcrossPartitions::Heterogeneous => (false, None),
            AcrossPartitions::Uniform(value) => (true, value),
        };
        Ok(proto::ConstantExpression {
            expression: expression(&constant.expr)?,
            uniform,
            value: value.map(|value| expression(&lit(value))).transpose()?,
        })
    });
    Ok(proto::ExchangeSource {
        producer: source.producer().0,
        kind: proto::ExchangeKind::from(source.kind()).into(),
        each,
        count,
        schema: encode_schema(&source.schema())?,
        hash_keys,
        orderings: orderings.collect::<Result<_>>()?,
        equal: equal.collect::<Result<_>>()?,
        constants: constants.collect::<Result<_>>()?,
    })
}

pub(super) fn decode(
    message: &proto::ExchangeSource,
    context: &PhysicalPlanDecodeContext<'_>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<ExchangeSourceExec> {
    let schema = decode_schema(&message.schema)?;
    let expression = |bytes: &Vec<u8>| -> Result<Arc<dyn PhysicalExpr>> {
        let node = protobuf::PhysicalExprNode::decode(bytes.as_slice()).map_err(not_a_plan)?;
        converter.proto_to_physical_expr(&node, &schema, context)
    };
    let segments = match &message.each {
        Some(each) => Segments::Each(each.segments.clone()),
        None => Segments::All {
            count: message.count,
        },
    };
    let partitions = match &segments {
        Segments::Each(each) => each.len(),
        Segments::All { .. } => 1,
    };
    let keys: Vec<_> = message
        .hash_keys
        .iter()
        .map(expression)
        .collect::<Result<_>>()?;
    let partitioning = if keys.is_empty() {
        Partitioning::UnknownPartitioning(partitions)
    } else {
        Partitioning::Hash(keys, partitions)
    };
    let mut equivalences = EquivalenceProperties::new(Arc::clone(&schema));
    for class in &message.equal {
        let mut expressions = class.expressions.iter().map(expression);
        let Some(first) = expressions.next().transpose()? else {
            continue;
        };
        for other in expressions {
            equivalences.add_equal_conditions(Arc::clone(&first), other?)?;
        }
    }
    for constant in &message.constants {
        let value = match &constant.value {
            Some(bytes) => match expression(bytes)?.downcast_ref::<Literal>() {
                Some(literal) => Some(literal.value().clone()),
                None => return internal_err!("a constant that is no literal"),
            },
            None => None,
        };
        let across = if constant.uniform {
            AcrossPartitions::Uniform(value)
        } else {
            AcrossPartitions::Heterogeneous
        };
        let expr = expression(&constant.expression)?;
        equivalences.add_constants([ConstExpr::new(expr, across)])?;
    }
    for ordering in &message.orderings {
        let exprs = decode_ordering(ordering, &schema, context, converter)?;
        equivalences.add_ordering(exprs);
    }
    ExchangeSourceExec::try_new(
        StageId(message.producer),
        proto::ExchangeKind::try_from(message.kind)
            .map_err(|error| DataFusionError::External(Box::new(error)))?
            .into(),
        segments,
        partitioning,
        equivalences,
    )
}
