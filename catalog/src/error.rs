//! What can go wrong in the catalog, with PostgreSQL's SQLSTATEs and wording.
//!
//! One enum for the room. Errors about a *file* (missing, truncated, changed) are raised deep
//! inside DataFusion's readers as well as here, so they travel as a finished
//! [`ErrorReport`]: inside DataFusion as `DataFusionError::External(Box<ErrorReport>)`.

use datafusion::error::DataFusionError;
use job::{ErrorReport, SqlError, SqlState};

pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// 42939: a name in a reserved name space.
pub(crate) const RESERVED_NAME: SqlState = SqlState(*b"42939");
/// 54011: too many columns.
pub(crate) const TOO_MANY_COLUMNS: SqlState = SqlState(*b"54011");
/// 22P04: a CSV or JSON file that is not what its format says.
pub(crate) const BAD_FILE_FORMAT: SqlState = SqlState(*b"22P04");
/// HV00D: an option the format does not know.
pub(crate) const INVALID_OPTION_NAME: SqlState = SqlState(*b"HV00D");

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("relation \"{0}\" already exists")]
    DuplicateRelation(String),
    #[error("schema \"{0}\" already exists")]
    DuplicateSchema(String),
    #[error("schema \"{0}\" does not exist")]
    UndefinedSchema(String),
    #[error("no schema has been selected to create in")]
    NoCreationSchema,
    /// `kind` is what the statement called it: table, view, relation.
    #[error("{kind} \"{name}\" does not exist")]
    UndefinedRelation { kind: &'static str, name: String },
    #[error("column \"{column}\" of relation \"{relation}\" does not exist")]
    UndefinedColumn { column: String, relation: String },
    #[error("column \"{0}\" specified more than once")]
    DuplicateColumn(String),
    /// `wanted` and `actual` are table or view.
    #[error("\"{name}\" is not a {wanted}")]
    WrongKind {
        name: String,
        wanted: &'static str,
        actual: &'static str,
    },
    /// `dependents` reads like `view v depends on table t`, one per object.
    #[error("cannot drop {object} because other objects depend on it")]
    DependentsExist {
        object: String,
        dependents: Vec<String>,
    },
    #[error("cannot drop schema {0} because it is required by the database system")]
    RequiredSchema(String),
    #[error("unacceptable schema name \"{0}\"")]
    ReservedSchemaName(String),
    #[error("permission denied to create \"{schema}.{name}\"")]
    SystemSchema { schema: String, name: String },
    /// Anything else about a definition or a file, already worded.
    #[error("{0}")]
    Reported(ErrorReport),
    /// The catalog's own SQLite file failed.
    #[error("could not {doing} the catalog: {source}")]
    Store {
        doing: &'static str,
        source: rusqlite::Error,
    },
    /// The catalog's own SQLite file holds something we did not write.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
    #[error("could not {doing} \"{path}\": {source}")]
    Io {
        doing: &'static str,
        path: String,
        source: std::io::Error,
    },
    /// An error of DataFusion's that is not about a file.
    #[error("{0}")]
    DataFusion(DataFusionError),
    #[error("catalog task failed: {0}")]
    Internal(String),
}

impl CatalogError {
    pub(crate) fn report(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self::Reported(ErrorReport::new(sqlstate, message))
    }
}

impl SqlError for CatalogError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::DuplicateRelation(_) => SqlState::DUPLICATE_TABLE,
            Self::DuplicateSchema(_) => SqlState::DUPLICATE_SCHEMA,
            Self::UndefinedSchema(_) | Self::NoCreationSchema => SqlState::INVALID_SCHEMA_NAME,
            Self::UndefinedRelation { .. } => SqlState::UNDEFINED_TABLE,
            Self::UndefinedColumn { .. } => SqlState::UNDEFINED_COLUMN,
            Self::DuplicateColumn(_) => SqlState::DUPLICATE_COLUMN,
            Self::WrongKind { .. } => SqlState::WRONG_OBJECT_TYPE,
            Self::DependentsExist { .. } | Self::RequiredSchema(_) => {
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST
            }
            Self::ReservedSchemaName(_) => RESERVED_NAME,
            Self::SystemSchema { .. } => SqlState::INSUFFICIENT_PRIVILEGE,
            Self::Reported(report) => report.sqlstate,
            Self::Store { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => SqlState::DISK_FULL,
                _ => SqlState::IO_ERROR,
            },
            Self::Damaged(_) => SqlState::DATA_CORRUPTED,
            Self::Io { source, .. } => io_sqlstate(source),
            Self::DataFusion(_) | Self::Internal(_) => SqlState::INTERNAL_ERROR,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::DependentsExist { dependents, .. } => Some(dependents.join("\n")),
            Self::ReservedSchemaName(_) => {
                Some("The prefix \"pg_\" is reserved for system schemas.".to_owned())
            }
            Self::SystemSchema { .. } => {
                Some("System catalog modifications are currently disallowed.".to_owned())
            }
            Self::Reported(report) => report.detail.clone(),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::DependentsExist { .. } => {
                Some("Use DROP ... CASCADE to drop the dependent objects too.".to_owned())
            }
            Self::WrongKind { actual, .. } => Some(format!(
                "Use DROP {} to remove a {actual}.",
                actual.to_uppercase()
            )),
            Self::Reported(report) => report.hint.clone(),
            _ => None,
        }
    }
}

impl From<CatalogError> for DataFusionError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::DataFusion(error) => error,
            other => DataFusionError::External(Box::new(SqlError::report(&other))),
        }
    }
}

impl From<DataFusionError> for CatalogError {
    fn from(error: DataFusionError) -> Self {
        match find_report(&error) {
            Some(report) => Self::Reported(report.clone()),
            None => Self::DataFusion(error),
        }
    }
}

impl From<ErrorReport> for CatalogError {
    fn from(report: ErrorReport) -> Self {
        Self::Reported(report)
    }
}

/// The report inside an error, however deep DataFusion, Parquet and `object_store` wrapped it.
///
/// Sixteen layers are more than any reader stacks; the bound keeps a cyclic source chain harmless.
pub fn find_report<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a ErrorReport> {
    let mut current = Some(error);
    for _ in 0..16 {
        let error = current?;
        if let Some(report) = error.downcast_ref::<ErrorReport>() {
            return Some(report);
        }
        // `DataFusionError::source` skips some boxes; look inside them by hand.
        current = match error.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::Context(_, inner)) => Some(inner.as_ref()),
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ParquetError(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => Some(inner.as_ref()),
            Some(DataFusionError::ObjectStore(inner)) => Some(inner.as_ref()),
            _ => match error.downcast_ref::<parquet::errors::ParquetError>() {
                Some(parquet::errors::ParquetError::External(inner)) => Some(inner.as_ref()),
                _ => match error.downcast_ref::<arrow::error::ArrowError>() {
                    Some(arrow::error::ArrowError::ExternalError(inner)) => Some(inner.as_ref()),
                    _ => error.source(),
                },
            },
        };
    }
    None
}

/// SQLSTATE of a failed system call.
pub(crate) fn io_sqlstate(error: &std::io::Error) -> SqlState {
    match error.kind() {
        std::io::ErrorKind::NotFound => SqlState::UNDEFINED_FILE,
        std::io::ErrorKind::PermissionDenied => SqlState::INSUFFICIENT_PRIVILEGE,
        std::io::ErrorKind::StorageFull => SqlState::DISK_FULL,
        _ => SqlState::IO_ERROR,
    }
}
