//! Our own leaf, with all that parents rely on: partitions, order, equalities, constants.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::equivalence::{AcrossPartitions, ConstExpr};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{
    EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::scalar::ScalarValue;
use job::{ExchangeKind, StageId};
use operators::exchange::{ExchangeSourceExec, Segments};

use crate::plans::{session, there_and_back};

fn schema() -> Arc<Schema> {
    let field = |name: &str, pg_type: &str| {
        Field::new(name, DataType::Int32, true)
            .with_metadata([("firesteel.pg_type".to_owned(), pg_type.to_owned())].into())
    };
    Arc::new(Schema::new(vec![
        field("a", "int4"),
        field("b", "oid"),
        field("c", "int4"),
        field("d", "int4"),
    ]))
}

fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    col(name, &schema()).unwrap()
}

fn equivalences() -> EquivalenceProperties {
    let mut equivalences = EquivalenceProperties::new(schema());
    equivalences
        .add_equal_conditions(column("a"), column("b"))
        .unwrap();
    equivalences
        .add_constants([
            ConstExpr::new(
                column("c"),
                AcrossPartitions::Uniform(Some(ScalarValue::Int32(Some(5)))),
            ),
            ConstExpr::new(column("d"), AcrossPartitions::Heterogeneous),
        ])
        .unwrap();
    let options = SortOptions {
        descending: true,
        nulls_first: false,
    };
    equivalences.add_ordering([PhysicalSortExpr::new(column("a"), options)]);
    equivalences
}

#[test]
fn exchange_sources_come_back_as_they_were() {
    let sources = [
        (
            ExchangeKind::Hash,
            Segments::Each(vec![0, 1, 2]),
            Partitioning::Hash(vec![column("a"), column("b")], 3),
            EquivalenceProperties::new(schema()),
        ),
        (
            ExchangeKind::Gather,
            Segments::Each(vec![4, 7]),
            Partitioning::UnknownPartitioning(2),
            equivalences(),
        ),
        (
            ExchangeKind::Broadcast,
            Segments::All { count: 9 },
            Partitioning::UnknownPartitioning(1),
            EquivalenceProperties::new(schema()),
        ),
        (
            ExchangeKind::RoundRobin,
            Segments::Each(Vec::from_iter(0..1000)),
            Partitioning::UnknownPartitioning(1000),
            EquivalenceProperties::new(schema()),
        ),
    ];
    let context = session(&[]);
    for (kind, segments, partitioning, equivalences) in sources {
        let source =
            ExchangeSourceExec::try_new(StageId(6), kind, segments, partitioning, equivalences)
                .unwrap();
        let source: Arc<dyn ExecutionPlan> = Arc::new(source);
        let decoded = there_and_back(&source, &context).unwrap();
        let (sent, received) = (
            source.downcast_ref::<ExchangeSourceExec>().unwrap(),
            decoded.downcast_ref::<ExchangeSourceExec>().unwrap(),
        );
        assert_eq!(received.producer(), sent.producer());
        assert_eq!(received.kind(), sent.kind());
        assert_eq!(received.segments(), sent.segments());
        assert_eq!(received.schema(), sent.schema(), "with metadata");
        assert_eq!(
            decoded.output_partitioning().to_string(),
            source.output_partitioning().to_string()
        );
        assert_eq!(
            decoded.equivalence_properties().to_string(),
            source.equivalence_properties().to_string()
        );
        assert_eq!(
            decoded.equivalence_properties().constants().len(),
            source.equivalence_properties().constants().len()
        );
    }
}
