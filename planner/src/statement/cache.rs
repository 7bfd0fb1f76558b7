//! Caching, as parsed.

use job::StorageLevel;

use super::ddl::Name;

/// How a table is to be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caching {
    pub level: StorageLevel,
    /// As statements read it, rather than at once.
    pub lazy: bool,
}

/// CACHE TABLE, of a table there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTable {
    pub name: Name,
    pub caching: Caching,
}
