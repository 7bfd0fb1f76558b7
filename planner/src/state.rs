//! DataFusion's session state, built once and shared.
//!
//! A state holds hundreds of functions and dozens of rules; cloning it costs more than planning
//! `SELECT 1`. So there is one, and copies of it only for the few settings that physical planning
//! reads from a state (partitions, batch size). What differs per statement (facts, clocks) travels
//! in a [`ConfigOptions`] beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use datafusion::common::alias::AliasGenerator;
use datafusion::common::config::{ConfigNonZeroUsize, ConfigOptions, Dialect};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerConfig};
use datafusion::prelude::SessionConfig;
use functions::session::Session;

use crate::bind::alias::ColumnAliases;
use crate::bind::rows::NumberedRows;
use crate::bind::using::{UsingJoins, UsingNotes};
use crate::bind::values::RowsWithSubqueries;
use crate::decorrelate::Decorrelate;
use crate::dependencies::TrueDependencies;
use crate::distinct::AlwaysDistinct;

/// Copies of the state that are kept; beyond that the oldest settings are dropped.
const VARIANTS_MAX: usize = 32;

/// The settings that tell states apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant {
    pub(crate) partitions: usize,
    pub(crate) batch_size: usize,
    /// Without physical optimizer rules: for plans of one partition that join, group and read
    /// nothing. Running rules that find nothing to do is most of the planning of `SELECT 1`.
    pub(crate) bare: bool,
}

#[derive(Debug)]
pub(crate) struct States {
    base: Arc<SessionState>,
    type_planner: Arc<dyn TypePlanner>,
    /// For plans where there is nothing to optimise but expressions.
    simplifier: Optimizer,
    variants: Mutex<BTreeMap<Variant, Arc<SessionState>>>,
}

impl States {
    pub(crate) fn new(runtime: Arc<RuntimeEnv>) -> Self {
        let builder = SessionStateBuilder::new()
            .with_config(config())
            .with_runtime_env(runtime)
            .with_default_features();
        let mut builder = crate::engine::install(builder);
        // Before types are settled: the notes are no plan that could be typed.
        builder
            .analyzer()
            .get_or_insert_default()
            .rules
            .insert(0, Arc::new(UsingNotes));
        AlwaysDistinct::install(builder.optimizer().get_or_insert_default());
        TrueDependencies::install(builder.optimizer().get_or_insert_default());
        let builder = builder
            .with_analyzer_rule(Arc::new(NumberedRows))
            .with_analyzer_rule(Arc::new(RowsWithSubqueries))
            .with_analyzer_rule(Arc::new(Decorrelate))
            .with_relation_planners(vec![Arc::new(ColumnAliases), Arc::new(UsingJoins)]);
        let base = Arc::new(builder.build());
        Self {
            base,
            type_planner: functions::type_planner(),
            simplifier: Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new())]),
            variants: Mutex::new(BTreeMap::new()),
        }
    }

    pub(crate) fn type_planner(&self) -> &Arc<dyn TypePlanner> {
        &self.type_planner
    }

    pub(crate) fn simplifier(&self) -> &Optimizer {
        &self.simplifier
    }

    /// Any state: functions and rules are the same in all.
    pub(crate) fn base(&self) -> &Arc<SessionState> {
        &self.base
    }

    pub(crate) fn variant(&self, variant: Variant) -> Arc<SessionState> {
        let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = variants.get(&variant) {
            return Arc::clone(state);
        }
        let config = self
            .base
            .config()
            .clone()
            .with_target_partitions(variant.partitions)
            .with_batch_size(variant.batch_size);
        let mut builder =
            SessionStateBuilder::new_from_existing(self.base.as_ref().clone()).with_config(config);
        if variant.bare {
            builder = builder.with_physical_optimizer_rules(Vec::new());
        }
        let state = Arc::new(builder.build());
        if variants.len() >= VARIANTS_MAX {
            variants.pop_first();
        }
        variants.insert(variant, Arc::clone(&state));
        state
    }
}

/// What every statement's configuration starts from.
fn config() -> SessionConfig {
    let mut config = SessionConfig::new();
    let options = config.options_mut();
    options.catalog.information_schema = false;
    options.catalog.create_default_catalog_and_schema = false;
    // A cast to a type with metadata, as PostgreSQL's are, is nullable to physical plans even
    // where logical ones know that it is not: the check would refuse GROUP BY above it.
    options.execution.skip_physical_aggregate_schema_check = true;
    // A file per batch. A repartition that is short of memory reads its spilled batches from the oldest
    // file; were that left open by one of two writers, it would wait for a batch that is in the other's,
    // and the writers for it: apache/datafusion#24883.
    let spill_file_bytes = &mut options.execution.max_spill_file_size_bytes;
    *spill_file_bytes = ConfigNonZeroUsize::try_new(1).unwrap_or(*spill_file_bytes);
    let parser = &mut options.sql_parser;
    parser.dialect = Dialect::PostgreSQL;
    parser.parse_float_as_decimal = true;
    parser.enable_ident_normalization = true;
    parser.support_varchar_with_length = true;
    parser.map_string_types_to_utf8view = false;
    parser.collect_spans = true;
    parser.default_null_ordering = "nulls_max".to_owned();
    config
}

/// The configuration of one statement: a state's, with the session in it.
pub(crate) fn statement_config(state: &SessionState, session: &Session) -> SessionConfig {
    let mut config = state.config().clone();
    config.options_mut().extensions.insert(session.clone());
    config
}

/// What the optimizer asks for while it works on one statement.
pub(crate) struct StatementOptimizer<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) options: Arc<ConfigOptions>,
    pub(crate) now: Option<DateTime<Utc>>,
    pub(crate) aliases: Arc<AliasGenerator>,
}

impl<'a> StatementOptimizer<'a> {
    pub(crate) fn new(
        state: &'a SessionState,
        options: Arc<ConfigOptions>,
        session: &Session,
    ) -> Self {
        Self {
            state,
            options,
            now: DateTime::from_timestamp_micros(session.facts.moment.peek().transaction_time_us),
            aliases: Arc::new(AliasGenerator::new()),
        }
    }
}

impl OptimizerConfig for StatementOptimizer<'_> {
    fn query_execution_start_time(&self) -> Option<DateTime<Utc>> {
        self.now
    }

    fn alias_generator(&self) -> &Arc<AliasGenerator> {
        &self.aliases
    }

    fn options(&self) -> Arc<ConfigOptions> {
        Arc::clone(&self.options)
    }

    fn function_registry(&self) -> Option<&dyn FunctionRegistry> {
        Some(self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::time::Duration;

    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::common::Result;
    use datafusion::common::exec_err;
    use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::functions_aggregate::expr_fn::count;
    use datafusion::prelude::{SessionContext, col};

    use super::*;

    /// Has no memory for repartitions, so that they spill every batch.
    #[derive(Debug)]
    struct NoneForRepartitions;

    impl fmt::Display for NoneForRepartitions {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("none for repartitions")
        }
    }

    impl MemoryPool for NoneForRepartitions {
        fn name(&self) -> &str {
            "none for repartitions"
        }

        fn grow(&self, _: &MemoryReservation, _: usize) {}

        fn shrink(&self, _: &MemoryReservation, _: usize) {}

        fn try_grow(&self, reservation: &MemoryReservation, _: usize) -> Result<()> {
            if reservation.consumer().name().starts_with("RepartitionExec") {
                return exec_err!("no memory");
            }
            Ok(())
        }

        fn reserved(&self) -> usize {
            0
        }

        fn memory_limit(&self) -> MemoryLimit {
            MemoryLimit::Infinite
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn repartitions_that_spill_do_not_wait_for_each_other() {
        let pool = Arc::new(NoneForRepartitions);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool);
        let runtime = Arc::new(runtime.build().unwrap());
        let config = config().with_target_partitions(2).with_batch_size(64);
        let batches: Vec<RecordBatch> = (0..600i64)
            .map(|batch| {
                let rows = batch * 64..(batch + 1) * 64;
                let groups = Int64Array::from_iter_values(rows.clone().map(|row| row % 7));
                let values = Int64Array::from_iter_values(rows);
                RecordBatch::try_from_iter([
                    ("g", Arc::new(groups) as ArrayRef),
                    ("v", Arc::new(values) as ArrayRef),
                ])
                .unwrap()
            })
            .collect();
        for _ in 0..20 {
            let session = SessionContext::new_with_config_rt(config.clone(), Arc::clone(&runtime));
            let distinct = session
                .read_batches(batches.clone())
                .and_then(|rows| rows.aggregate(vec![col("g"), col("v")], vec![]))
                .and_then(|rows| rows.aggregate(vec![col("g")], vec![count(col("v"))]))
                .unwrap();
            let counted = tokio::time::timeout(Duration::from_secs(60), distinct.collect());
            let groups: usize = counted
                .await
                .expect("nothing moves any more")
                .unwrap()
                .iter()
                .map(RecordBatch::num_rows)
                .sum();
            assert_eq!(groups, 7);
        }
    }
}
