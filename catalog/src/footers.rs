//! Footers of Parquet files that were read before, for the versions of one snapshot.
//!
//! DataFusion keeps footers by file name, and takes one for that of the file it reads if size and
//! modification time are the same. A file that was written over may have both: its row groups would
//! be looked for where the old version had them. [`SnapshotFooters`] is that cache as one snapshot
//! sees it: footers of other versions aren't there.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::{HashMap, Result, TableReference};
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::execution::cache::{Cache, CacheEntryInfo};
use object_store::path::Path;

use crate::versions::SnapshotStore;

pub(crate) struct SnapshotFooters {
    all: Arc<FileMetadataCache>,
    store: Arc<SnapshotStore>,
}

impl SnapshotFooters {
    pub(crate) fn new(all: Arc<FileMetadataCache>, store: Arc<SnapshotStore>) -> Self {
        Self { all, store }
    }
}

impl Cache<Path, CachedFileMetadataEntry> for SnapshotFooters {
    fn get(&self, location: &Path) -> Option<CachedFileMetadataEntry> {
        let footer = self.all.get(location)?;
        self.store.lists(&footer.meta).then_some(footer)
    }

    fn put(
        &self,
        location: &Path,
        footer: CachedFileMetadataEntry,
    ) -> Option<CachedFileMetadataEntry> {
        self.all.put(location, footer)
    }

    fn remove(&self, location: &Path) -> Option<CachedFileMetadataEntry> {
        self.all.remove(location)
    }

    fn contains_key(&self, location: &Path) -> bool {
        self.get(location).is_some()
    }

    fn len(&self) -> usize {
        self.all.len()
    }

    fn clear(&self) {
        self.all.clear();
    }

    fn name(&self) -> String {
        self.all.name()
    }

    fn cache_limit(&self) -> usize {
        self.all.cache_limit()
    }

    fn update_cache_limit(&self, limit: usize) {
        self.all.update_cache_limit(limit);
    }

    fn cache_ttl(&self) -> Option<Duration> {
        self.all.cache_ttl()
    }

    fn update_cache_ttl(&self, ttl: Option<Duration>) {
        self.all.update_cache_ttl(ttl);
    }

    fn drop_table_entries(&self, table: &TableReference) -> Result<()> {
        self.all.drop_table_entries(table)
    }

    fn list_entries(&self) -> HashMap<Path, CacheEntryInfo<CachedFileMetadataEntry>> {
        self.all.list_entries()
    }
}
