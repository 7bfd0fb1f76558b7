//! What a statement was found to read: each table once, and what else its plan may depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use catalog::{CatalogSnapshot, Oid, Relation, TableSnapshot};
use datafusion::catalog::TableProvider;

/// Everything a statement and the views it names were resolved to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    /// Where names were looked up.
    pub(crate) catalog: Weak<CatalogSnapshot>,
    /// Before any file was listed.
    pub(crate) started_us: i64,
    pub(crate) tables: BTreeMap<Oid, ReadTable>,
    /// Names without a schema in the statement itself: temporary relations may come to hide what
    /// they mean.
    pub(crate) bare_names: BTreeSet<String>,
    /// Something that is no table and no view of the catalog: files by their path, relations of the
    /// session, what the driver computes.
    pub(crate) others: bool,
}

/// A table of the catalog in the version that a statement reads.
#[derive(Debug, Clone)]
pub(crate) struct ReadTable {
    pub(crate) relation: Arc<Relation>,
    pub(crate) snapshot: Arc<TableSnapshot>,
    pub(crate) provider: Arc<dyn TableProvider>,
}
