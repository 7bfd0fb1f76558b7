//! CACHE TABLE and its kin. What a table is to be cached at is part of the catalog, and scans tell
//! executors; here the statement is carried out, and executors are told what to forget.
//!
//! ```text
//!   CACHE TABLE:    the level into the catalog -> a job per copy, which reads the table and drops the rows
//!   UNCACHE TABLE:  the level out of the catalog -> executors forget its files
//!   REFRESH TABLE:  executors forget its files; statements read them anew
//! ```
//!
//! Forgetting too much or too early costs time and nothing else, so nothing waits for it.

use catalog::{CachedFiles, CatalogSnapshot, Definition, ExternalTable, Forget};
use job::{Caching, ErrorReport, SqlError, SqlState, StorageLevel};
use planner::{CacheTable, Name, ParsedStatement};
use scheduler::Replica;

use super::Session;
use super::ddl::object_name;
use super::rows::Reply;
use crate::pg::Severity;

impl Session {
    pub(super) async fn cache_table(
        &mut self,
        parsed: &ParsedStatement,
        cache: &CacheTable,
    ) -> Result<Reply, ErrorReport> {
        self.cache_at(parsed, &cache.name, cache.caching).await?;
        Ok(done("CACHE TABLE"))
    }

    pub(super) async fn cache_at(
        &mut self,
        parsed: &ParsedStatement,
        name: &Name,
        caching: Caching,
    ) -> Result<(), ErrorReport> {
        let before = self.set_caching(name, Some(caching), false).await?;
        if !caching.lazy
            && let Err(error) = self.load_table(parsed, name, caching.level).await
        {
            // A block is rolled back as a whole; a statement of its own leaves nothing either.
            if !self.transaction.in_block() {
                self.set_caching(name, before, true).await?;
                self.forget(name);
            }
            return Err(error);
        }
        Ok(())
    }

    pub(super) async fn uncache_table(
        &mut self,
        name: &Name,
        if_exists: bool,
    ) -> Result<Reply, ErrorReport> {
        self.set_caching(name, None, if_exists).await?;
        self.forget(name);
        Ok(done("UNCACHE TABLE"))
    }

    pub(super) async fn clear_cache(&mut self) -> Result<Reply, ErrorReport> {
        for table in self.tables.tables() {
            if table.storage_level.is_some() {
                self.set_temporary(&table.name, None)?;
            }
        }
        let cleared = self.ddl_catalog().clear_caching().await;
        self.tell(cleared)?;
        self.services
            .driver
            .forget_cached(Forget::chunks(CachedFiles::All));
        Ok(done("CLEAR CACHE"))
    }

    /// Every statement looks at the files there are, so nothing is stale; what is kept of them goes, for
    /// who would rather not rely on their versions.
    pub(super) fn refresh_table(&mut self, name: &Name) -> Result<Reply, ErrorReport> {
        if !self.is_temporary(name) {
            let path = self.search_path();
            let snapshot = self.catalog().snapshot();
            if snapshot.lookup(&object_name(name), &path).is_none() {
                return Err(undefined(name));
            }
        }
        self.forget(name);
        Ok(done("REFRESH TABLE"))
    }

    /// Reads a table into the executors' caches: once for each copy there is to be.
    async fn load_table(
        &mut self,
        parsed: &ParsedStatement,
        table: &Name,
        level: StorageLevel,
    ) -> Result<(), ErrorReport> {
        let mut replicas = vec![Replica::First];
        if level.replicas > 1 {
            if self.services.driver.membership().borrow().executors > 1 {
                replicas.push(Replica::Second);
            } else {
                let notice = ErrorReport::new(
                    SqlState::SUCCESSFUL_COMPLETION,
                    "there is one executor: second copies are made when another one joins",
                );
                self.notice(Severity::Notice, notice);
            }
        }
        self.forget_level(table);
        for replica in replicas {
            let context = self.statement_context();
            let planner = &self.services.planner;
            let view = self.view(&context);
            if let Some(job) = planner.plan_load(&view, parsed, table).await? {
                let settling = job
                    .plans
                    .iter()
                    .map(|stage| catalog::settles_in(&stage.plan));
                tokio::time::sleep(settling.max().unwrap_or_default()).await;
                self.submit_replica(job, Some(replica)).finish().await?;
            }
        }
        Ok(())
    }

    /// The session's temporary tables are about to go.
    pub(super) fn forget_temporary(&self) {
        let tables = self.tables.tables();
        let cached = tables.iter().filter(|table| table.storage_level.is_some());
        let roots: Vec<_> = cached
            .filter_map(|table| self.tables.root(&table.name))
            .collect();
        if !roots.is_empty() {
            self.services
                .driver
                .forget_cached(Forget::chunks(CachedFiles::Under(roots)));
        }
    }

    /// Tables that were cached in one snapshot and are not in the next: dropped, or replaced.
    pub(super) fn forget_difference(&self, before: &CatalogSnapshot) {
        let after = self.catalog().snapshot();
        if before.version() == after.version() {
            return;
        }
        let cached = before.relations().filter_map(|relation| {
            let table = cached_table(&relation.definition)?;
            let now = after.relation_by_oid(relation.oid);
            let stays = now.is_some_and(|now| now.definition == relation.definition);
            (!stays).then(|| table.location.root()).flatten()
        });
        let roots: Vec<_> = cached.collect();
        if !roots.is_empty() {
            self.services
                .driver
                .forget_cached(Forget::chunks(CachedFiles::Under(roots)));
        }
    }

    /// Sets how a table is to be cached, and answers how it was.
    async fn set_caching(
        &mut self,
        name: &Name,
        caching: Option<Caching>,
        if_exists: bool,
    ) -> Result<Option<Caching>, ErrorReport> {
        if self.is_temporary(name) {
            return self.set_temporary(&name.name, caching);
        }
        let (name, path) = (object_name(name), self.search_path());
        let before = self.catalog().snapshot();
        let before = before.lookup(&name, &path);
        let before = before.and_then(|relation| cached_table(&relation.definition)?.caching());
        let catalog = self.block_catalog();
        let changed = catalog.set_caching(&name, &path, caching, if_exists).await;
        self.tell(changed)?;
        Ok(before)
    }

    /// A temporary table is not loaded again, so how it was loaded does not matter.
    fn set_temporary(
        &mut self,
        name: &str,
        caching: Option<Caching>,
    ) -> Result<Option<Caching>, ErrorReport> {
        let level = caching.map(|caching| caching.level);
        let before = self.tables.set_storage_level(name, level);
        let before = before.map_err(|error| error.report())?;
        Ok(before.map(|level| Caching { level, lazy: true }))
    }

    /// Does the name mean a temporary relation? Its schema comes first in any search path.
    fn is_temporary(&self, name: &Name) -> bool {
        let schema = name.schema.as_ref();
        let ours = schema.is_none_or(|schema| self.tables.is_schema(schema));
        ours && (self.tables.get(&name.name).is_some() || self.tables.view(&name.name).is_some())
    }

    pub(super) fn is_cached_temporary(&self, name: &str) -> bool {
        let table = self.tables.get(name);
        table.is_some_and(|table| table.storage_level.is_some())
    }

    /// Executors forget what they have of a table's files.
    pub(super) fn forget(&self, name: &Name) {
        if let Some(files) = self.files(name) {
            self.services.driver.forget_cached(Forget::chunks(files));
        }
    }

    /// Executors forget that a table is told to be cached. What its next load finds where it should be is
    /// told so again; copies at former homes make room.
    fn forget_level(&self, name: &Name) {
        if let Some(files) = self.files(name) {
            self.services.driver.forget_cached(Forget::level(files));
        }
    }

    fn files(&self, name: &Name) -> Option<CachedFiles> {
        let root = if self.is_temporary(name) {
            self.tables.root(&name.name)
        } else {
            let snapshot = self.catalog().snapshot();
            let relation = snapshot.lookup(&object_name(name), &self.search_path());
            relation.and_then(|relation| match &relation.definition {
                Definition::External(table) => table.location.root(),
                Definition::View(_) => None,
            })
        };
        root.map(|root| CachedFiles::Under(vec![root]))
    }
}

fn cached_table(definition: &Definition) -> Option<&ExternalTable> {
    match definition {
        Definition::External(table) if table.storage_level.is_some() => Some(table),
        Definition::External(_) | Definition::View(_) => None,
    }
}

fn undefined(name: &Name) -> ErrorReport {
    ErrorReport::new(
        SqlState::UNDEFINED_TABLE,
        format!("relation \"{name}\" does not exist"),
    )
}

fn done(tag: &str) -> Reply {
    Reply::Done(tag.to_owned())
}
