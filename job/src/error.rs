//! SQLSTATE codes and the shape every error takes on its way to a client.

use std::fmt;

/// A five-character SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// Parses five ASCII letters or digits.
    pub fn parse(code: &str) -> Option<Self> {
        let bytes: [u8; 5] = code.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
            .then_some(Self(bytes))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! sqlstates {
    ($($name:ident = $code:literal;)*) => {
        /// The codes we raise, named as in PostgreSQL's appendix A.
        impl SqlState {
            $(pub const $name: SqlState = SqlState(*$code);)*
        }
    };
}

sqlstates! {
    SUCCESSFUL_COMPLETION = b"00000";
    WARNING = b"01000";
    CONNECTION_FAILURE = b"08006";
    PROTOCOL_VIOLATION = b"08P01";
    FEATURE_NOT_SUPPORTED = b"0A000";
    CARDINALITY_VIOLATION = b"21000";
    STRING_DATA_RIGHT_TRUNCATION = b"22001";
    NUMERIC_VALUE_OUT_OF_RANGE = b"22003";
    INVALID_DATETIME_FORMAT = b"22007";
    DATETIME_FIELD_OVERFLOW = b"22008";
    DIVISION_BY_ZERO = b"22012";
    CHARACTER_NOT_IN_REPERTOIRE = b"22021";
    INVALID_PARAMETER_VALUE = b"22023";
    INVALID_ROW_COUNT_IN_LIMIT_CLAUSE = b"2201W";
    INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE = b"2201X";
    INVALID_REGULAR_EXPRESSION = b"2201B";
    INVALID_ARGUMENT_FOR_LOGARITHM = b"2201E";
    INVALID_ARGUMENT_FOR_POWER_FUNCTION = b"2201F";
    ARRAY_SUBSCRIPT_ERROR = b"2202E";
    INVALID_TEXT_REPRESENTATION = b"22P02";
    INVALID_BINARY_REPRESENTATION = b"22P03";
    NOT_NULL_VIOLATION = b"23502";
    INVALID_CURSOR_STATE = b"24000";
    ACTIVE_SQL_TRANSACTION = b"25001";
    NO_ACTIVE_SQL_TRANSACTION = b"25P01";
    IN_FAILED_SQL_TRANSACTION = b"25P02";
    INVALID_SQL_STATEMENT_NAME = b"26000";
    INVALID_AUTHORIZATION_SPECIFICATION = b"28000";
    DEPENDENT_OBJECTS_STILL_EXIST = b"2BP01";
    INVALID_CURSOR_NAME = b"34000";
    INVALID_CATALOG_NAME = b"3D000";
    INVALID_SCHEMA_NAME = b"3F000";
    INSUFFICIENT_PRIVILEGE = b"42501";
    SYNTAX_ERROR = b"42601";
    INVALID_COLUMN_REFERENCE = b"42P10";
    INVALID_TABLE_DEFINITION = b"42P16";
    INVALID_OBJECT_DEFINITION = b"42P17";
    WINDOWING_ERROR = b"42P20";
    UNDEFINED_COLUMN = b"42703";
    UNDEFINED_OBJECT = b"42704";
    DUPLICATE_OBJECT = b"42710";
    AMBIGUOUS_COLUMN = b"42702";
    DUPLICATE_COLUMN = b"42701";
    GROUPING_ERROR = b"42803";
    DATATYPE_MISMATCH = b"42804";
    WRONG_OBJECT_TYPE = b"42809";
    UNDEFINED_FUNCTION = b"42883";
    UNDEFINED_TABLE = b"42P01";
    UNDEFINED_PARAMETER = b"42P02";
    DUPLICATE_CURSOR = b"42P03";
    DUPLICATE_PREPARED_STATEMENT = b"42P05";
    DUPLICATE_SCHEMA = b"42P06";
    DUPLICATE_TABLE = b"42P07";
    AMBIGUOUS_PARAMETER = b"42P08";
    INDETERMINATE_DATATYPE = b"42P18";
    INSUFFICIENT_RESOURCES = b"53000";
    DISK_FULL = b"53100";
    OUT_OF_MEMORY = b"53200";
    TOO_MANY_CONNECTIONS = b"53300";
    PROGRAM_LIMIT_EXCEEDED = b"54000";
    STATEMENT_TOO_COMPLEX = b"54001";
    OBJECT_NOT_IN_PREREQUISITE_STATE = b"55000";
    CANT_CHANGE_RUNTIME_PARAM = b"55P02";
    QUERY_CANCELED = b"57014";
    ADMIN_SHUTDOWN = b"57P01";
    CANNOT_CONNECT_NOW = b"57P03";
    IO_ERROR = b"58030";
    UNDEFINED_FILE = b"58P01";
    CONFIG_FILE_ERROR = b"F0000";
    INTERNAL_ERROR = b"XX000";
    DATA_CORRUPTED = b"XX001";
}

/// What each room's error enum implements, so that any of them can reach a client.
///
/// The message is the error's `Display`: lower case, no full stop, as PostgreSQL writes it.
/// Detail and hint are sentences.
pub trait SqlError: std::error::Error {
    fn sqlstate(&self) -> SqlState;

    fn detail(&self) -> Option<String> {
        None
    }

    fn hint(&self) -> Option<String> {
        None
    }

    /// Character offset into the statement, counted from 1.
    fn position(&self) -> Option<u32> {
        None
    }

    /// Where it was met, as PostgreSQL's CONTEXT: `COPY t, line 3, column a: "x"`.
    fn context(&self) -> Option<String> {
        None
    }

    /// As [`ErrorReport::held_rows`].
    fn held_rows(&self) -> bool {
        false
    }

    fn report(&self) -> ErrorReport {
        ErrorReport {
            sqlstate: self.sqlstate(),
            message: self.to_string(),
            detail: self.detail(),
            hint: self.hint(),
            position: self.position(),
            context: self.context(),
            held_rows: self.held_rows(),
        }
    }
}

/// An error as it crosses processes and reaches the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReport {
    pub sqlstate: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Character offset into the statement, counted from 1.
    pub position: Option<u32>,
    /// What was being done: `COPY t, line 3, column a: "x"`.
    pub context: Option<String>,
    /// Whether memory ran out for rows that an operator needs at once, as a join does those of one key: cutting the
    /// statement into more pieces would not help, another plan may. Not for clients.
    pub held_rows: bool,
}

impl ErrorReport {
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            held_rows: false,
        }
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_position(mut self, position: u32) -> Self {
        self.position = Some(position);
        self
    }

    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ErrorReport {}

impl SqlError for ErrorReport {
    fn held_rows(&self) -> bool {
        self.held_rows
    }

    fn sqlstate(&self) -> SqlState {
        self.sqlstate
    }

    fn detail(&self) -> Option<String> {
        self.detail.clone()
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }

    fn position(&self) -> Option<u32> {
        self.position
    }

    fn context(&self) -> Option<String> {
        self.context.clone()
    }
}
