//! Plans of statements that are said again and again.
//!
//! A plan is kept under everything it was made from: the statement's tokens, its parameters' values,
//! the result's formats, the catalog's version, the session's user, search path and formats, and what
//! splitting looks at. What it was made from besides is looked at again for each execution: the
//! files of its tables are listed, and a name that a temporary relation has hidden is somebody else's.
//! A plan that had to ask for more than that (the time, another setting, a name of the catalog) is
//! not kept: [`functions::session::Session::is_asked`].
//!
//! ```text
//!   text, session --key--> kept plan --files listed, the same--> the job, under this session's facts
//!                              |                                 (and its rows, if those are kept)
//!                              +--others--> planned anew, and kept instead
//! ```
//!
//! The first time a statement is only noted: most never come again. Stage plans can be shared since
//! none is ever run itself: every task runs a copy of its own (`operators::restrict`).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use catalog::{CatalogSnapshot, Definition};
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::scalar::ScalarValue;
use functions::pg_type::{Format, FormatSettings, PgType, pg_type_of};
use functions::session::Session;
use operators::rows::RowChunk;

use crate::bind::reads::Reads;
use crate::parse::ParsedStatement;
use crate::planned::PlannedJob;
use crate::split::SplitOptions;
use crate::view::SessionView;

/// Plans kept at most, and what they and their lists of files may take together, roughly.
const PLANS_MAX: usize = 1_000;
const BYTES_MAX: u64 = 64 << 20;
/// A plan without tables, and what each file of a table adds to it.
const PLAN_BYTES: u64 = 16 << 10;
const FILE_BYTES: u64 = 1 << 10;
/// Statements that were seen once; twice as many are remembered at most.
const SEEN_MAX: usize = 4_096;
/// Larger results are not kept.
const RESULT_BYTES_MAX: u64 = 4 << 20;

/// What a plan is kept under.
#[derive(Clone, PartialEq)]
pub(crate) struct Key {
    text: Arc<str>,
    types: Vec<PgType>,
    values: Vec<ScalarValue>,
    formats: Vec<Format>,
    session: SessionKey,
}

/// What of a session its plans depend on.
#[derive(Clone)]
struct SessionKey {
    /// Snapshots are swapped, never changed: a version is this one or another. A weak reference keeps
    /// its address from being another's.
    catalog: Weak<CatalogSnapshot>,
    database: String,
    user: String,
    session_user: String,
    search_path: Vec<String>,
    format: FormatSettings,
    split: SplitOptions,
    batch_size: usize,
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.catalog, &other.catalog)
            && self.user == other.user
            && self.session_user == other.session_user
            && self.database == other.database
            && self.search_path == other.search_path
            && self.format == other.format
            && self.split == other.split
            && self.batch_size == other.batch_size
    }
}

impl Key {
    /// `None` for statements whose plans are never kept, and for sessions that don't want it.
    pub(crate) fn of(
        view: &SessionView<'_>,
        statement: &ParsedStatement,
        types: &[PgType],
        values: &[ScalarValue],
        formats: &[Format],
    ) -> Option<Self> {
        let text = statement.normalized()?;
        if !view.settings.plan_cache && !view.settings.result_cache {
            return None;
        }
        let facts = &view.session.facts;
        Some(Self {
            text: Arc::clone(text),
            types: types.to_vec(),
            values: values.to_vec(),
            formats: formats.to_vec(),
            session: SessionKey {
                catalog: Arc::downgrade(view.snapshot),
                database: facts.database.clone(),
                user: facts.user.clone(),
                session_user: facts.session_user.clone(),
                search_path: facts.search_path.clone(),
                format: view.format.clone(),
                split: view.settings.split.clone(),
                batch_size: view.settings.batch_size,
            },
        })
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.text, &self.values, &self.formats).hash(&mut hasher);
        (&self.session.user, &self.session.search_path).hash(&mut hasher);
        self.session.format.time_zone.name().hash(&mut hasher);
        hasher.finish()
    }
}

/// A plan and what it was found to read.
pub(crate) struct Kept {
    pub(crate) schema: SchemaRef,
    reads: Arc<Reads>,
    /// Under nobody's session.
    job: PlannedJob,
}

impl Kept {
    /// Whether the statement's names mean to this session what they meant when it was planned.
    fn means_the_same(&self, view: &SessionView<'_>) -> bool {
        let hidden = |name: &String| {
            view.session_tables.get(name).is_some() || view.session_tables.view(name).is_some()
        };
        !self.reads.bare_names.iter().any(hidden)
    }

    /// Whether its tables have the files it was planned for. Lists them. Where that fails, planning
    /// will, and say so.
    async fn is_current(&self) -> bool {
        for table in self.reads.tables.values() {
            let Definition::External(external) = &table.relation.definition else {
                return false;
            };
            if !matches!(table.snapshot.is_current(external).await, Ok(true)) {
                return false;
            }
        }
        true
    }

    /// Whether no other version of its files can be taken for those that were listed after this.
    fn is_settled(&self, started_us: i64) -> bool {
        let Ok(started_us) = u64::try_from(started_us) else {
            return false;
        };
        let started = SystemTime::UNIX_EPOCH + Duration::from_micros(started_us);
        let mut tables = self.reads.tables.values();
        tables.all(|table| table.snapshot.is_settled(started))
    }

    fn bytes(&self, key: &Key) -> u64 {
        let tables = self.reads.tables.values();
        let files: usize = tables.map(|table| table.snapshot.files().len()).sum();
        PLAN_BYTES + 2 * key.text.len() as u64 + FILE_BYTES * files as u64
    }
}

/// How a cache has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    pub entries: u64,
    pub bytes: u64,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
}

/// The plans of one driver, and the rows of some.
pub(crate) struct PlanCache {
    inner: Mutex<Inner>,
    /// What kept rows may take together.
    result_bytes_max: u64,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<u64, Entry>,
    /// Hashes of what was seen once, lately and before that.
    seen: [HashSet<u64>; 2],
    /// Grows with each use.
    clock: u64,
    plans: CacheCounts,
    results: CacheCounts,
}

struct Entry {
    key: Key,
    kept: Arc<Kept>,
    bytes: u64,
    rows: Option<(Arc<[RowChunk]>, u64)>,
    used: u64,
}

impl PlanCache {
    pub(crate) fn new(result_bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            result_bytes_max,
        })
    }

    /// Plans and results.
    pub(crate) fn counts(&self) -> [CacheCounts; 2] {
        let inner = self.lock();
        [inner.plans, inner.results]
    }

    /// A statement's plan, whatever has become of the files of its tables.
    pub(crate) fn find(&self, key: &Key, view: &SessionView<'_>) -> Option<Arc<Kept>> {
        let inner = self.lock();
        let entry = inner.entries.get(&key.hash())?;
        (entry.key == *key && entry.kept.means_the_same(view)).then(|| Arc::clone(&entry.kept))
    }

    /// The job of a statement that was planned before, if that would be planned alike now and has
    /// the columns that were promised.
    pub(crate) async fn job(
        self: &Arc<Self>,
        key: &Key,
        view: &SessionView<'_>,
        schema: &SchemaRef,
    ) -> Option<PlannedJob> {
        let kept = self.find(key, view)?;
        if !is_same_result(&kept.schema, schema) || !kept.is_current().await {
            return None;
        }
        let mut job = under(&kept.job, view.session);
        let mut inner = self.lock();
        inner.plans.hits += 1;
        inner.clock += 1;
        let clock = inner.clock;
        if let Some(entry) = inner.of(key, &kept) {
            entry.used = clock;
            let rows = entry.rows.as_ref().map(|(rows, _)| Arc::clone(rows));
            if view.settings.result_cache {
                match rows {
                    Some(_) => inner.results.hits += 1,
                    None => inner.results.misses += 1,
                }
                let started_us = view.session.facts.moment.peek().statement_time_us;
                job.results = self.slot(key, &kept, rows, started_us);
            }
        }
        Some(job)
    }

    /// Keeps a job that was planned just now, if it comes again.
    pub(crate) fn keep(self: &Arc<Self>, key: Key, view: &SessionView<'_>, job: &mut PlannedJob) {
        let mut inner = self.lock();
        inner.plans.misses += 1;
        let Some(reads) = job.reads.take() else {
            return;
        };
        // What is the session's own, perhaps by the name of its schema; and what was looked up
        // before others changed the catalog.
        let is_shared = !reads.others && !key.text.contains("pg_temp");
        if !is_shared || !Weak::ptr_eq(&reads.catalog, &key.session.catalog) {
            return;
        }
        let hash = key.hash();
        if !inner.is_wanted(hash) && !view.settings.result_cache {
            return;
        }
        let kept = Arc::new(Kept {
            schema: Arc::clone(&job.schema),
            reads,
            job: under(job, &Session::default()),
        });
        let bytes = kept.bytes(&key);
        if bytes > BYTES_MAX / 8 {
            return;
        }
        inner.clock += 1;
        let entry = Entry {
            key: key.clone(),
            kept: Arc::clone(&kept),
            bytes,
            rows: None,
            used: inner.clock,
        };
        inner.remove(hash);
        inner.plans.entries += 1;
        inner.plans.bytes += bytes;
        inner.entries.insert(hash, entry);
        inner.shrink();
        if view.settings.result_cache {
            inner.results.misses += 1;
            drop(inner);
            job.results = self.slot(&key, &kept, None, kept.reads.started_us);
        }
    }

    fn slot(
        self: &Arc<Self>,
        key: &Key,
        kept: &Arc<Kept>,
        rows: Option<Arc<[RowChunk]>>,
        started_us: i64,
    ) -> Option<ResultSlot> {
        // Without rows it is there to take some.
        (rows.is_some() || kept.is_settled(started_us)).then(|| ResultSlot {
            cache: Arc::clone(self),
            key: key.clone(),
            kept: Arc::clone(kept),
            rows,
        })
    }

    fn keep_rows(&self, slot: &ResultSlot, chunks: &[RowChunk]) {
        let bytes: u64 = chunks.iter().map(chunk_bytes).sum();
        if bytes > RESULT_BYTES_MAX.min(self.result_bytes_max) {
            return;
        }
        // Copies: what arrives may be a part of something larger.
        let rows: Arc<[RowChunk]> = chunks
            .iter()
            .map(|chunk| RowChunk {
                bytes: chunk.bytes.to_vec().into(),
                row_ends: chunk.row_ends.clone(),
            })
            .collect();
        let mut inner = self.lock();
        let Some(entry) = inner.of(&slot.key, &slot.kept) else {
            return;
        };
        if entry.rows.is_some() {
            return;
        }
        entry.rows = Some((rows, bytes));
        inner.results.entries += 1;
        inner.results.bytes += bytes;
        while inner.results.bytes > self.result_bytes_max {
            let with_rows = inner.entries.iter();
            let with_rows = with_rows.filter(|(_, entry)| entry.rows.is_some());
            let Some(oldest) = with_rows.min_by_key(|(_, entry)| entry.used) else {
                return;
            };
            let oldest = *oldest.0;
            inner.results.evictions += 1;
            inner.drop_rows(oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The entry, if it is still this plan's.
    fn of(&mut self, key: &Key, kept: &Arc<Kept>) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&key.hash())?;
        Arc::ptr_eq(&entry.kept, kept).then_some(entry)
    }

    /// Whether it was seen before; notes that it was seen now.
    fn is_wanted(&mut self, hash: u64) -> bool {
        if self.entries.contains_key(&hash) || self.seen.iter().any(|seen| seen.contains(&hash)) {
            return true;
        }
        if self.seen[0].len() >= SEEN_MAX {
            self.seen[1] = std::mem::take(&mut self.seen[0]);
        }
        self.seen[0].insert(hash);
        false
    }

    /// Down to its bounds: first go plans of a catalog that is gone, then those used least lately.
    fn shrink(&mut self) {
        let is_full =
            |inner: &Self| inner.entries.len() > PLANS_MAX || inner.plans.bytes > BYTES_MAX;
        if !is_full(self) {
            return;
        }
        let gone = |entry: &Entry| entry.key.session.catalog.strong_count() == 0;
        let entries = self.entries.iter();
        let stale: Vec<u64> = entries
            .filter_map(|(hash, entry)| gone(entry).then_some(*hash))
            .collect();
        for hash in stale {
            self.remove(hash);
        }
        while is_full(self) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(hash) = oldest.map(|(hash, _)| *hash) else {
                return;
            };
            self.plans.evictions += 1;
            self.remove(hash);
        }
    }

    fn remove(&mut self, hash: u64) {
        self.drop_rows(hash);
        if let Some(entry) = self.entries.remove(&hash) {
            self.plans.entries -= 1;
            self.plans.bytes -= entry.bytes;
        }
    }

    fn drop_rows(&mut self, hash: u64) {
        let entry = self.entries.get_mut(&hash);
        if let Some((_, bytes)) = entry.and_then(|entry| entry.rows.take()) {
            self.results.entries -= 1;
            self.results.bytes -= bytes;
        }
    }
}

/// Whether a client that was told of one result can take the other.
pub(crate) fn is_same_result(one: &SchemaRef, other: &SchemaRef) -> bool {
    let same = |one: &FieldRef, other: &FieldRef| {
        one.name() == other.name() && pg_type_of(one).oid() == pg_type_of(other).oid()
    };
    let (one, other) = (one.fields(), other.fields());
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
}

fn chunk_bytes(chunk: &RowChunk) -> u64 {
    (chunk.bytes.len() + size_of_val(chunk.row_ends.as_slice())) as u64
}

/// A job as another session runs it.
fn under(job: &PlannedJob, session: &Session) -> PlannedJob {
    let mut job = job.clone();
    let configs = [
        Some(&mut job.session_config),
        job.replan.as_mut().map(|replan| &mut replan.session_config),
    ];
    for config in configs.into_iter().flatten() {
        let extensions = &mut config.options_mut().extensions;
        extensions.insert(session.clone());
    }
    job.results = None;
    job
}

/// Where the rows of a job are kept, or are to be.
#[derive(Clone)]
pub struct ResultSlot {
    cache: Arc<PlanCache>,
    key: Key,
    kept: Arc<Kept>,
    rows: Option<Arc<[RowChunk]>>,
}

impl ResultSlot {
    /// What the job would answer. It need not run.
    pub fn rows(&self) -> Option<&[RowChunk]> {
        self.rows.as_deref()
    }

    /// Begins to take the rows of the job.
    pub fn taker(self) -> ResultTaker {
        ResultTaker {
            slot: self,
            chunks: Some(Vec::new()),
            bytes: 0,
        }
    }
}

impl fmt::Debug for ResultSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResultSlot({})", self.key.text)
    }
}

/// Takes a job's rows as they pass, to keep them if there are few.
pub struct ResultTaker {
    slot: ResultSlot,
    /// `None` when there were too many.
    chunks: Option<Vec<RowChunk>>,
    bytes: u64,
}

impl ResultTaker {
    pub fn push(&mut self, chunk: &RowChunk) {
        self.bytes += chunk_bytes(chunk);
        if self.bytes > RESULT_BYTES_MAX {
            self.chunks = None;
        }
        if let Some(chunks) = &mut self.chunks {
            chunks.push(chunk.clone());
        }
    }

    /// The job has ended well, and all its rows were pushed.
    pub fn finish(self) {
        if let Some(chunks) = &self.chunks {
            self.slot.cache.keep_rows(&self.slot, chunks);
        }
    }
}

impl fmt::Debug for PlanCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PlanCache").field(&self.counts()).finish()
    }
}
