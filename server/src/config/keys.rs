//! The table of keys.
//!
//! A key belongs to a section of `firesteel.toml`; its name there is the last part of its SQL
//! name. Keys of [`Section::Fixed`] are facts that clients ask for (`server_version`) and can't
//! be configured at all.

use super::value::Value;

/// The table of `firesteel.toml` a key lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// The driver process.
    Server,
    /// What a client connection may use and how long it may take.
    Connections,
    /// The embedded executor, or the process started by `firesteel executor`.
    Executor,
    /// How driver and executors find each other.
    Cluster,
    /// How statements become jobs.
    Planner,
    /// Defaults of session settings.
    Session,
    /// Facts about the server.
    Fixed,
}

impl Section {
    pub const ALL: [Section; 7] = [
        Section::Server,
        Section::Connections,
        Section::Executor,
        Section::Cluster,
        Section::Planner,
        Section::Session,
        Section::Fixed,
    ];

    /// Its name in the file and, in upper case, in the environment.
    pub const fn name(self) -> &'static str {
        match self {
            Section::Server => "server",
            Section::Connections => "connections",
            Section::Executor => "executor",
            Section::Cluster => "cluster",
            Section::Planner => "planner",
            Section::Session => "session",
            Section::Fixed => "fixed",
        }
    }
}

/// Type, unit and range of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    /// Bytes. `4GiB`, `4GB` and `4096MB` all mean 2^32, as PostgreSQL reads units.
    Bytes {
        min: i64,
        max: i64,
    },
    /// Milliseconds. A bare number counts milliseconds.
    Duration {
        min: i64,
        max: i64,
    },
    Text,
    Enum(&'static [&'static str]),
    /// `host:port`, or nothing where the default is empty.
    Address,
    Path,
    Special(Special),
}

/// Values with a grammar of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    DateStyle,
    TimeZone,
    ClientEncoding,
    SearchPath,
}

/// When a key can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Never: a fact about the server.
    Fixed,
    /// By the configuration only; takes effect at the next start.
    Restart,
    /// By `SET`, in a session or a transaction.
    Session,
}

/// One line of the table.
#[derive(Debug)]
pub struct Key {
    pub id: KeyId,
    /// As `SHOW` and `pg_settings` spell it.
    pub name: &'static str,
    pub section: Section,
    pub kind: Kind,
    /// As one would write it in the file.
    pub default: &'static str,
    pub scope: Scope,
    pub doc: &'static str,
}

impl Key {
    /// The key within its section of `firesteel.toml`.
    pub fn file_key(&self) -> String {
        self.name
            .rsplit('.')
            .next()
            .unwrap_or(self.name)
            .to_ascii_lowercase()
    }

    /// `section.key`, as errors and docs name it.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section.name(), self.file_key())
    }

    /// The environment variable that sets it.
    pub fn env_name(&self) -> String {
        format!(
            "FIRESTEEL__{}__{}",
            self.section.name().to_ascii_uppercase(),
            self.file_key().to_ascii_uppercase()
        )
    }

    /// The built-in value. That every default parses is a test of this module.
    pub fn default_value(&self) -> Value {
        self.kind
            .parse(self.name, self.default)
            .unwrap_or_else(|_| Value::Text(self.default.to_owned()))
    }
}

macro_rules! keys {
    ($($id:ident: $name:literal, $section:ident, $kind:expr, $default:expr, $scope:ident, $doc:literal;)*) => {
        /// Names a key; also its index in [`KEYS`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum KeyId { $(#[doc = $doc] $id,)* }

        /// Every key there is.
        pub const KEYS: &[Key] = &[$(Key {
            id: KeyId::$id,
            name: $name,
            section: Section::$section,
            kind: $kind,
            default: $default,
            scope: Scope::$scope,
            doc: $doc,
        },)*];
    };
}

impl KeyId {
    pub fn key(self) -> &'static Key {
        &KEYS[self as usize]
    }

    /// By SQL name, in any case.
    pub fn by_name(name: &str) -> Option<KeyId> {
        KEYS.iter()
            .find(|key| key.name.eq_ignore_ascii_case(name))
            .map(|key| key.id)
    }
}

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const TIB: i64 = 1 << 40;

/// PostgreSQL's longest timeout, about 24.8 days.
const TIMEOUT: Kind = Kind::Duration {
    min: 0,
    max: i32::MAX as i64,
};
const LEVELS: &[&str] = &[
    "serializable",
    "repeatable read",
    "read committed",
    "read uncommitted",
];
const MESSAGE_LEVELS: &[&str] = &[
    "debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error",
];

/// What clients parse as the server's version.
const SERVER_VERSION: &str = concat!("16.4 (Firesteel ", env!("CARGO_PKG_VERSION"), ")");

keys! {
    Listen: "firesteel.listen", Server, Kind::Address, "127.0.0.1:5432", Restart,
        "Address for PostgreSQL clients. Only loopback addresses are accepted until passwords are configured.";
    HttpListen: "firesteel.http_listen", Server, Kind::Address, "127.0.0.1:8080", Restart,
        "Address of the web UI, metrics and health checks. Empty turns them off.";
    DataDir: "firesteel.data_dir", Server, Kind::Path, "./firesteel-data", Restart,
        "Directory of the catalog, the warehouse and temporary files. Created when missing.";
    DrainTimeout: "firesteel.drain_timeout", Server, TIMEOUT, "30s", Restart,
        "How long running statements may finish after SIGTERM before they are cancelled.";

    MaxConnections: "max_connections", Connections, Kind::Int { min: 1, max: 100_000 }, "200", Restart,
        "Client connections at once. One more is refused with SQLSTATE 53300.";
    AuthenticationTimeout: "authentication_timeout", Connections, Kind::Duration { min: 1_000, max: 600_000 }, "60s", Restart,
        "How long a client may take to complete the start-up exchange.";
    MessageSizeMax: "firesteel.message_size_max", Connections, Kind::Bytes { min: 64 * KIB, max: GIB - 1 }, "256MiB", Restart,
        "Largest message accepted from a client. A longer one ends the connection.";
    PipelineSizeMax: "firesteel.pipeline_size_max", Connections, Kind::Bytes { min: 8 * KIB, max: GIB }, "1MiB", Restart,
        "Bytes read ahead from a client while a statement runs. Then its socket is left unread.";
    StatementsMax: "firesteel.prepared_statements_max", Connections, Kind::Int { min: 1, max: 1_000_000 }, "10000", Restart,
        "Prepared statements one session may hold.";
    PortalsMax: "firesteel.portals_max", Connections, Kind::Int { min: 1, max: 100_000 }, "1000", Restart,
        "Portals and cursors one session may hold open.";

    Slots: "firesteel.slots", Executor, Kind::Int { min: 0, max: 4096 }, "0", Restart,
        "Partitions an executor runs at once. 0 means the machine's cores.";
    Memory: "firesteel.memory", Executor, Kind::Bytes { min: 0, max: 1024 * TIB }, "0", Restart,
        "Memory of an executor's process; four fifths of it are for operators, exchange, results and cached columns. 0 means 60% of the machine's.";
    LocalExecutor: "firesteel.local_executor", Executor, Kind::Bool, "on", Restart,
        "Whether the driver process runs an embedded executor.";
    WorkDir: "firesteel.work_dir", Executor, Kind::Path, "", Restart,
        "Directory for spill and exchange files. Empty means a directory below the data directory.";
    ResultBuffer: "firesteel.result_buffer", Executor, Kind::Bytes { min: 64 * KIB, max: GIB }, "4MiB", Restart,
        "Encoded rows one statement may hold in memory for a slow reader. Then they go to disk.";
    ResultSpool: "firesteel.result_spool", Executor, Kind::Bytes { min: 0, max: 1024 * TIB }, "1GiB", Restart,
        "Encoded rows one statement may hold on disk for a slow reader. Then its tasks wait, and keep their slots.";
    SpillQuota: "firesteel.spill_quota", Executor, Kind::Bytes { min: MIB, max: 1024 * TIB }, "100GiB", Restart,
        "Disk space an executor may use for spilled operators and map outputs.";
    CachePercent: "firesteel.cache_percent", Executor, Kind::Int { min: 0, max: 90 }, "75", Restart,
        "Percentage of an executor's memory that decoded columns of Parquet tables may fill while nothing else needs it. 0 keeps none.";
    CacheProtectedPercent: "firesteel.cache_protected_percent", Executor, Kind::Int { min: 1, max: 50 }, "10", Restart,
        "Percentage of an executor's memory below which cached columns give way only to operators that cannot spill. Scans hold no more than that.";

    ClusterListen: "firesteel.cluster_listen", Cluster, Kind::Address, "", Restart,
        "Address where executors of other processes join. Empty means none may.";
    ClusterAdvertise: "firesteel.cluster_advertise", Cluster, Kind::Address, "", Restart,
        "Address where executors reach the driver's cluster port. Empty means where it listens.";
    ExecutorListen: "firesteel.executor_listen", Cluster, Kind::Address, "127.0.0.1:0", Restart,
        "Address where `firesteel executor` serves its blocks to others.";
    ExecutorAdvertise: "firesteel.executor_advertise", Cluster, Kind::Address, "", Restart,
        "Address where others reach an executor's blocks. Empty means where it listens.";
    ExecutorHttpListen: "firesteel.executor_http_listen", Cluster, Kind::Address, "", Restart,
        "Address of the metrics and health checks of `firesteel executor`. Empty turns them off.";
    ClusterSecretFile: "firesteel.secret_file", Cluster, Kind::Path, "", Restart,
        "File with the secret that driver and executors share. Empty means that they share none.";
    ClusterTlsAuthority: "firesteel.tls_authority", Cluster, Kind::Path, "", Restart,
        "PEM file of the authority that signed the certificates of driver and executors. Empty means no TLS.";
    ClusterTlsCertificate: "firesteel.tls_certificate", Cluster, Kind::Path, "", Restart,
        "PEM file of this process's certificate, made out to the DNS name firesteel.";
    ClusterTlsKey: "firesteel.tls_key", Cluster, Kind::Path, "", Restart,
        "PEM file of the certificate's key.";
    ClusterPlaintext: "firesteel.allow_plaintext", Cluster, Kind::Bool, "off", Restart,
        "Whether driver and executors may speak without TLS on addresses that are not loopback.";
    HeartbeatInterval: "firesteel.heartbeat_interval", Cluster, Kind::Duration { min: 50, max: 60_000 }, "1s", Restart,
        "How often driver and executors let each other know that they are there.";
    ExecutorTimeout: "firesteel.executor_timeout", Cluster, Kind::Duration { min: 200, max: 3_600_000 }, "10s", Restart,
        "An executor that was silent for so long is lost, with all it ran and held.";
    ExecutorDrainTimeout: "firesteel.executor_drain_timeout", Cluster, TIMEOUT, "1min", Restart,
        "How long `firesteel executor` stays after SIGTERM, when its tasks are done, for statements that still need what it holds. Then they compute that again, or fail if some of their rows were sent. 0 means as long as they need it.";
    NoExecutorTimeout: "firesteel.no_executor_timeout", Cluster, TIMEOUT, "20s", Restart,
        "How long statements wait while no executor is there, before they fail. 0 means for ever.";
    SmallStatementSize: "firesteel.small_statement_size", Cluster, Kind::Bytes { min: 0, max: 1024 * TIB }, "256MiB", Restart,
        "Statements that read less than this, as far as is known, don't wait for slots that others hold: each executor runs as many of their tasks beside the others as it has slots. Where executors have little memory it is less: an eighth of what they have together, but at least 32MiB. 0 lets all wait.";

    ForceExchange: "firesteel.force_exchange", Planner, Kind::Bool, "off", Session,
        "Splits every statement at exchanges, even where one process could run it whole.";
    Joins: "firesteel.joins", Planner, Kind::Enum(&["auto", "sort_merge"]), "auto", Session,
        "How joins with equal keys run: auto hashes the side that is expected to fit in memory, and sorts both if neither is; sort_merge always sorts, which spills.";
    Partitions: "firesteel.partitions", Planner, Kind::Int { min: 0, max: 4096 }, "0", Session,
        "Partitions per stage. 0 means one per slot.";
    Pool: "firesteel.pool", Planner, Kind::Text, "", Session,
        "The scheduler's pool that statements run in, of those configured. Empty means the one named default.";
    PlanCache: "firesteel.plan_cache", Planner, Kind::Bool, "on", Session,
        "Whether plans of queries that come again are kept. They are used for the same catalog, settings and versions of files only.";
    ResultCache: "firesteel.result_cache", Planner, Kind::Bool, "off", Session,
        "Whether small results (4 MiB) of queries are kept in the driver and given out again while the files of their tables stay as they are.";
    ResultCacheSize: "firesteel.result_cache_size", Planner, Kind::Bytes { min: 0, max: 1024 * TIB }, "64MiB", Restart,
        "Memory that kept results may take together.";
    ReserveMemory: "firesteel.reserve_memory", Planner, Kind::Bool, "on", Session,
        "Whether a statement with large hash tables waits until the executors have the memory they are expected to take.";
    Speculation: "firesteel.speculation", Planner, Kind::Bool, "on", Session,
        "Whether tasks that take much longer than their like may be started a second time. Those of statements that write never are.";

    ApplicationName: "application_name", Session, Kind::Text, "", Session,
        "Name of the application, shown in pg_stat_activity.";
    ByteaOutput: "bytea_output", Session, Kind::Enum(&["hex", "escape"]), "hex", Session,
        "Text format of bytea values.";
    CheckFunctionBodies: "check_function_bodies", Session, Kind::Bool, "on", Session,
        "Accepted for clients that restore dumps; there are no function bodies to check.";
    ClientEncoding: "client_encoding", Session, Kind::Special(Special::ClientEncoding), "UTF8", Session,
        "Character set of the client. Only UTF8 (and SQL_ASCII as its alias) is supported.";
    ClientMinMessages: "client_min_messages", Session, Kind::Enum(MESSAGE_LEVELS), "notice", Session,
        "Lowest level of messages sent to the client.";
    DateStyle: "DateStyle", Session, Kind::Special(Special::DateStyle), "ISO, MDY", Session,
        "Text format of dates and times, and the order of day and month in ambiguous input.";
    DefaultTransactionDeferrable: "default_transaction_deferrable", Session, Kind::Bool, "off", Session,
        "Deferrable status of new transactions.";
    DefaultTransactionIsolation: "default_transaction_isolation", Session, Kind::Enum(LEVELS), "read committed", Session,
        "Isolation level of new transactions.";
    DefaultTransactionReadOnly: "default_transaction_read_only", Session, Kind::Bool, "off", Session,
        "Whether new transactions are read-only.";
    ExtraFloatDigits: "extra_float_digits", Session, Kind::Int { min: -15, max: 3 }, "1", Session,
        "Digits of floating-point output; above 0 means the shortest exact form.";
    IdleInTransactionSessionTimeout: "idle_in_transaction_session_timeout", Session, TIMEOUT, "0", Session,
        "Ends a session that idles inside a transaction for so long. 0 means never.";
    IdleSessionTimeout: "idle_session_timeout", Session, TIMEOUT, "0", Session,
        "Ends a session that idles outside a transaction for so long. 0 means never.";
    IntervalStyle: "IntervalStyle", Session,
        Kind::Enum(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]), "postgres", Session,
        "Text format of intervals.";
    Jit: "jit", Session, Kind::Bool, "off", Session,
        "Accepted for clients that turn it off; expressions are always vectorised.";
    LockTimeout: "lock_timeout", Session, TIMEOUT, "0", Session,
        "Accepted for compatibility; statements take no locks they could wait for.";
    RowSecurity: "row_security", Session, Kind::Bool, "on", Session,
        "Accepted for compatibility; there are no row security policies.";
    SearchPath: "search_path", Session, Kind::Special(Special::SearchPath), "\"$user\", public", Session,
        "Schemas searched for names without one.";
    StandardConformingStrings: "standard_conforming_strings", Session, Kind::Enum(&["on"]), "on", Session,
        "Backslashes in ordinary string literals are literal. Can't be turned off.";
    StatementTimeout: "statement_timeout", Session, TIMEOUT, "0", Session,
        "Cancels a statement that takes longer. 0 means never.";
    SynchronousCommit: "synchronous_commit", Session,
        Kind::Enum(&["off", "local", "remote_write", "on", "remote_apply"]), "on", Session,
        "Accepted for compatibility; commits are always durable.";
    TimeZone: "TimeZone", Session, Kind::Special(Special::TimeZone), "UTC", Session,
        "Time zone for showing and reading timestamps with time zone.";
    TransactionDeferrable: "transaction_deferrable", Session, Kind::Bool, "off", Session,
        "Deferrable status of the current transaction.";
    TransactionIsolation: "transaction_isolation", Session, Kind::Enum(LEVELS), "read committed", Session,
        "Isolation level of the current transaction.";
    TransactionReadOnly: "transaction_read_only", Session, Kind::Bool, "off", Session,
        "Whether the current transaction is read-only.";
    WorkMem: "work_mem", Session, Kind::Bytes { min: 64 * KIB, max: 2 * TIB }, "4MB", Session,
        "Accepted for compatibility; operators share the executor's memory and spill under pressure.";

    BlockSize: "block_size", Fixed, Kind::Int { min: 8192, max: 8192 }, "8192", Fixed,
        "PostgreSQL's page size, for clients that ask.";
    InHotStandby: "in_hot_standby", Fixed, Kind::Bool, "off", Fixed,
        "Whether the server is a standby.";
    IntegerDatetimes: "integer_datetimes", Fixed, Kind::Bool, "on", Fixed,
        "Timestamps are 64-bit integers of microseconds.";
    IsSuperuser: "is_superuser", Fixed, Kind::Bool, "on", Fixed,
        "Whether the session's user is a superuser.";
    LcCollate: "lc_collate", Fixed, Kind::Text, "C", Fixed,
        "Collation: byte order.";
    LcCtype: "lc_ctype", Fixed, Kind::Text, "C.UTF-8", Fixed,
        "Character classification.";
    MaxIdentifierLength: "max_identifier_length", Fixed, Kind::Int { min: 63, max: 63 }, "63", Fixed,
        "Bytes of an identifier that count.";
    MaxIndexKeys: "max_index_keys", Fixed, Kind::Int { min: 32, max: 32 }, "32", Fixed,
        "Columns of an index, for clients that ask.";
    ScramIterations: "scram_iterations", Fixed, Kind::Int { min: 4096, max: 4096 }, "4096", Fixed,
        "Iterations of SCRAM-SHA-256.";
    ServerEncoding: "server_encoding", Fixed, Kind::Text, "UTF8", Fixed,
        "Character set of the server.";
    ServerVersion: "server_version", Fixed, Kind::Text, SERVER_VERSION, Fixed,
        "The PostgreSQL version the server speaks for, and its own.";
    ServerVersionNum: "server_version_num", Fixed, Kind::Int { min: 160_004, max: 160_004 }, "160004", Fixed,
        "The same as a number.";
    SessionAuthorization: "session_authorization", Fixed, Kind::Text, "", Fixed,
        "The session's user.";
    Ssl: "ssl", Fixed, Kind::Bool, "off", Fixed,
        "Whether TLS connections are accepted.";
}

/// Keys whose value the client is told at start-up and whenever it changes, as PostgreSQL 16
/// does, in its order.
pub const REPORTED: [KeyId; 14] = [
    KeyId::InHotStandby,
    KeyId::IntegerDatetimes,
    KeyId::TimeZone,
    KeyId::IntervalStyle,
    KeyId::ServerEncoding,
    KeyId::IsSuperuser,
    KeyId::ApplicationName,
    KeyId::DefaultTransactionReadOnly,
    KeyId::ScramIterations,
    KeyId::DateStyle,
    KeyId::StandardConformingStrings,
    KeyId::SessionAuthorization,
    KeyId::ClientEncoding,
    KeyId::ServerVersion,
];
