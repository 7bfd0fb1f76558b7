//! Caching, as parsed.

use job::Caching;

use super::ddl::Name;

/// CACHE TABLE, of a table there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTable {
    pub name: Name,
    pub caching: Caching,
}
