//! PostgreSQL's types as clients see them: OIDs, names, lengths, type modifiers.

use std::fmt;

use super::interval_fields::IntervalModifier;

/// `typmod` of a type without a modifier.
pub const NO_TYPMOD: i32 = -1;

/// PostgreSQL counts a modifier's varlena header in: `varchar(10)` has typmod 14.
const TYPMOD_HEADER: i32 = 4;

macro_rules! bases {
    ($($variant:ident $constant:ident: $oid:literal, $array_oid:literal, $name:literal, $sql_name:literal, $len:literal;)*) => {
        /// A type that is not an array.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Base {
            $($variant,)*
        }

        impl Base {
            pub const ALL: &'static [Base] = &[$(Base::$variant,)*];

            /// OID in `pg_type`.
            pub const fn oid(self) -> u32 {
                match self { $(Base::$variant => $oid,)* }
            }

            /// OID of the array type; 0 when PostgreSQL has none.
            pub const fn array_oid(self) -> u32 {
                match self { $(Base::$variant => $array_oid,)* }
            }

            /// `pg_type.typname`, also the spelling in field metadata.
            pub const fn name(self) -> &'static str {
                match self { $(Base::$variant => $name,)* }
            }

            /// The SQL spelling, as `format_type` and error messages have it.
            pub const fn sql_name(self) -> &'static str {
                match self { $(Base::$variant => $sql_name,)* }
            }

            /// `pg_type.typlen`: bytes, or -1 for variable length, -2 for a C string.
            pub const fn typlen(self) -> i16 {
                match self { $(Base::$variant => $len,)* }
            }
        }

        /// The types without modifiers, as constants.
        impl PgType {
            $(pub const $constant: PgType = PgType::of(Base::$variant);)*
        }
    };
}

bases! {
    Bool BOOL: 16, 1000, "bool", "boolean", 1;
    Bytea BYTEA: 17, 1001, "bytea", "bytea", -1;
    Char CHAR: 18, 1002, "char", "\"char\"", 1;
    Name NAME: 19, 1003, "name", "name", 64;
    Int8 INT8: 20, 1016, "int8", "bigint", 8;
    Int2 INT2: 21, 1005, "int2", "smallint", 2;
    Int2vector INT2VECTOR: 22, 1006, "int2vector", "int2vector", -1;
    Int4 INT4: 23, 1007, "int4", "integer", 4;
    Regproc REGPROC: 24, 1008, "regproc", "regproc", 4;
    Text TEXT: 25, 1009, "text", "text", -1;
    Oid OID: 26, 1028, "oid", "oid", 4;
    Xid XID: 28, 1011, "xid", "xid", 4;
    Oidvector OIDVECTOR: 30, 1013, "oidvector", "oidvector", -1;
    Json JSON: 114, 199, "json", "json", -1;
    PgNodeTree PG_NODE_TREE: 194, 0, "pg_node_tree", "pg_node_tree", -1;
    Float4 FLOAT4: 700, 1021, "float4", "real", 4;
    Float8 FLOAT8: 701, 1022, "float8", "double precision", 8;
    Unknown UNKNOWN: 705, 0, "unknown", "unknown", -2;
    Aclitem ACLITEM: 1033, 1034, "aclitem", "aclitem", 16;
    Bpchar BPCHAR: 1042, 1014, "bpchar", "character", -1;
    Varchar VARCHAR: 1043, 1015, "varchar", "character varying", -1;
    Date DATE: 1082, 1182, "date", "date", 4;
    Time TIME: 1083, 1183, "time", "time without time zone", 8;
    Timestamp TIMESTAMP: 1114, 1115, "timestamp", "timestamp without time zone", 8;
    Timestamptz TIMESTAMPTZ: 1184, 1185, "timestamptz", "timestamp with time zone", 8;
    Interval INTERVAL: 1186, 1187, "interval", "interval", 16;
    Numeric NUMERIC: 1700, 1231, "numeric", "numeric", -1;
    Regprocedure REGPROCEDURE: 2202, 2207, "regprocedure", "regprocedure", 4;
    Regoper REGOPER: 2203, 2208, "regoper", "regoper", 4;
    Regoperator REGOPERATOR: 2204, 2209, "regoperator", "regoperator", 4;
    Regclass REGCLASS: 2205, 2210, "regclass", "regclass", 4;
    Regtype REGTYPE: 2206, 2211, "regtype", "regtype", 4;
    Record RECORD: 2249, 2287, "record", "record", -1;
    Void VOID: 2278, 0, "void", "void", 4;
    Uuid UUID: 2950, 2951, "uuid", "uuid", 16;
    PgLsn PG_LSN: 3220, 3221, "pg_lsn", "pg_lsn", 8;
    Jsonb JSONB: 3802, 3807, "jsonb", "jsonb", -1;
    Regnamespace REGNAMESPACE: 4089, 4090, "regnamespace", "regnamespace", 4;
    Regrole REGROLE: 4096, 4097, "regrole", "regrole", 4;
}

impl Base {
    /// OIDs that are printed as the names of what they identify.
    pub const fn is_reg(self) -> bool {
        matches!(
            self,
            Base::Regproc
                | Base::Regprocedure
                | Base::Regoper
                | Base::Regoperator
                | Base::Regclass
                | Base::Regtype
                | Base::Regnamespace
                | Base::Regrole
        )
    }
}

/// A PostgreSQL type with its modifier: what a `RowDescription` says about a column.
///
/// Arrays have no dimensions in their type, as in PostgreSQL: `int4[]` covers `int4[][]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgType {
    pub base: Base,
    pub is_array: bool,
    /// As in `pg_attribute.atttypmod`; [`NO_TYPMOD`] when there is none.
    pub typmod: i32,
}

impl PgType {
    pub const fn of(base: Base) -> Self {
        Self {
            base,
            is_array: false,
            typmod: NO_TYPMOD,
        }
    }

    /// The array of this type, which keeps the modifier. An array's array is itself.
    #[must_use]
    pub const fn array_of(self) -> Self {
        Self {
            is_array: true,
            ..self
        }
    }

    /// What an array holds; `None` for the other types.
    pub const fn element(self) -> Option<Self> {
        if self.is_array {
            Some(Self {
                is_array: false,
                ..self
            })
        } else {
            None
        }
    }

    #[must_use]
    pub const fn with_typmod(self, typmod: i32) -> Self {
        Self { typmod, ..self }
    }

    #[must_use]
    pub const fn without_typmod(self) -> Self {
        self.with_typmod(NO_TYPMOD)
    }

    /// `numeric(precision, scale)`. The scale may be negative, as since PostgreSQL 15.
    pub const fn numeric(precision: u16, scale: i16) -> Self {
        Self::NUMERIC
            .with_typmod((((precision as i32) << 16) | (scale as i32 & 0x7ff)) + TYPMOD_HEADER)
    }

    pub const fn varchar(characters: i32) -> Self {
        Self::VARCHAR.with_typmod(characters + TYPMOD_HEADER)
    }

    pub const fn bpchar(characters: i32) -> Self {
        Self::BPCHAR.with_typmod(characters + TYPMOD_HEADER)
    }

    /// Precision and scale, for a numeric that has them.
    pub const fn numeric_precision_scale(self) -> Option<(u16, i16)> {
        if !matches!(self.base, Base::Numeric) || self.typmod < TYPMOD_HEADER {
            return None;
        }
        let packed = self.typmod - TYPMOD_HEADER;
        // Eleven bits, sign-extended.
        let scale = ((packed & 0x7ff) ^ 1024) - 1024;
        Some((((packed >> 16) & 0xffff) as u16, scale as i16))
    }

    /// `n` of varchar(n) and bpchar(n).
    pub const fn character_length(self) -> Option<i32> {
        if matches!(self.base, Base::Varchar | Base::Bpchar) && self.typmod >= TYPMOD_HEADER {
            Some(self.typmod - TYPMOD_HEADER)
        } else {
            None
        }
    }

    pub const fn oid(self) -> u32 {
        if self.is_array {
            self.base.array_oid()
        } else {
            self.base.oid()
        }
    }

    /// `pg_type.typlen`, as a `RowDescription` carries it.
    pub const fn typlen(self) -> i16 {
        if self.is_array {
            -1
        } else {
            self.base.typlen()
        }
    }

    /// `pg_type.typname`: `int4`, `_int4`.
    pub fn typname(self) -> String {
        if self.is_array {
            format!("_{}", self.base.name())
        } else {
            self.base.name().to_owned()
        }
    }

    /// The type of an OID, without a modifier.
    pub fn from_oid(oid: u32) -> Option<Self> {
        if oid == 0 {
            return None;
        }
        Base::ALL.iter().find_map(|&base| {
            if base.oid() == oid {
                Some(Self::of(base))
            } else if base.array_oid() == oid {
                Some(Self::of(base).array_of())
            } else {
                None
            }
        })
    }

    /// The SQL spelling without the modifier: `integer`, `integer[]`. Errors use it.
    pub fn sql_name(self) -> String {
        let brackets = if self.is_array { "[]" } else { "" };
        format!("{}{brackets}", self.base.sql_name())
    }

    /// Reads what [`PgType::metadata_name`] wrote, and `typname`s in general: `uuid`,
    /// `varchar(10)`, `numeric(10,2)[]`, `timestamp(3)`.
    pub fn from_metadata_name(name: &str) -> Option<Self> {
        let (name, is_array) = match name.strip_suffix("[]") {
            Some(element) => (element, true),
            None => (name, false),
        };
        let (name, modifiers) = match name.strip_suffix(')') {
            Some(head) => {
                let (name, modifiers) = head.split_once('(')?;
                (name, Some(modifiers))
            }
            None => (name, None),
        };
        let base = Base::ALL.iter().copied().find(|base| base.name() == name)?;
        let typmod = match modifiers {
            None => NO_TYPMOD,
            Some(modifiers) => typmod_from(base, modifiers)?,
        };
        Some(Self {
            base,
            is_array,
            typmod,
        })
    }

    /// The spelling in field metadata: internal name, modifier, brackets.
    pub fn metadata_name(self) -> String {
        let brackets = if self.is_array { "[]" } else { "" };
        let modifier = match self.interval_modifier() {
            Some((fields, digits)) => {
                format!("({fields},{})", digits.trim_matches(['(', ')']))
            }
            None => self.modifier(),
        };
        format!("{}{modifier}{brackets}", self.base.name())
    }

    /// The modifier as it is written in SQL, with its parentheses; empty without one.
    fn modifier(self) -> String {
        if let Some((precision, scale)) = self.numeric_precision_scale() {
            return format!("({precision},{scale})");
        }
        match self.base {
            Base::Varchar | Base::Bpchar => match self.character_length() {
                Some(length) => format!("({length})"),
                None => String::new(),
            },
            Base::Time | Base::Timestamp | Base::Timestamptz if self.typmod >= 0 => {
                format!("({})", self.typmod)
            }
            _ => String::new(),
        }
    }

    /// For intervals: the fields of the modifier, and its digits in brackets.
    fn interval_modifier(self) -> Option<(&'static str, String)> {
        (self.base == Base::Interval && self.typmod >= 0)
            .then(|| IntervalModifier::of(self.typmod).spelling())
    }
}

fn typmod_from(base: Base, modifiers: &str) -> Option<i32> {
    match base {
        Base::Numeric => {
            let (precision, scale) = match modifiers.split_once(',') {
                Some((precision, scale)) => (precision.trim(), scale.trim()),
                None => (modifiers, "0"),
            };
            Some(PgType::numeric(precision.parse().ok()?, scale.parse().ok()?).typmod)
        }
        Base::Varchar | Base::Bpchar => modifiers
            .parse::<i32>()
            .ok()?
            .checked_add(TYPMOD_HEADER)
            .filter(|&typmod| typmod > TYPMOD_HEADER),
        Base::Time | Base::Timestamp | Base::Timestamptz => modifiers
            .parse()
            .ok()
            .filter(|&digits| (0..=6).contains(&digits)),
        Base::Interval => IntervalModifier::parse(modifiers),
        _ => None,
    }
}

/// As `format_type` prints it: `character varying(10)`, `timestamp(3) without time zone[]`.
impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modifier = self.modifier();
        if let Some((fields, digits)) = self.interval_modifier() {
            let space = if fields.is_empty() { "" } else { " " };
            write!(f, "interval{space}{fields}{digits}")?;
            return f.write_str(if self.is_array { "[]" } else { "" });
        }
        match self.base.sql_name().split_once(' ') {
            Some((head, tail))
                if matches!(self.base, Base::Time | Base::Timestamp | Base::Timestamptz) =>
            {
                write!(f, "{head}{modifier} {tail}")?;
            }
            // `character` without a length means character(1), so the bare type is `bpchar`.
            _ if self.base == Base::Bpchar && modifier.is_empty() => f.write_str("bpchar")?,
            _ => write!(f, "{}{modifier}", self.base.sql_name())?,
        }
        if self.is_array {
            f.write_str("[]")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_find_their_types_and_arrays() {
        assert_eq!(PgType::from_oid(23), Some(PgType::INT4));
        assert_eq!(PgType::from_oid(1007), Some(PgType::INT4.array_of()));
        assert_eq!(PgType::from_oid(0), None);
        assert_eq!(PgType::from_oid(999_999), None);
        for &base in Base::ALL {
            assert_eq!(PgType::from_oid(base.oid()), Some(PgType::of(base)));
        }
    }

    #[test]
    fn metadata_names_round_trip() {
        for name in [
            "uuid",
            "varchar(10)",
            "numeric(10,2)[]",
            "numeric(5,-2)",
            "timestamp(3)",
            "bpchar",
            "char",
        ] {
            let pg_type = PgType::from_metadata_name(name).unwrap();
            assert_eq!(pg_type.metadata_name(), name);
        }
        assert_eq!(PgType::from_metadata_name("nonsense"), None);
        assert_eq!(PgType::from_metadata_name("uuid(3)"), None);
        assert_eq!(PgType::from_metadata_name("varchar(x"), None);
    }

    #[test]
    fn typmods_are_postgres() {
        assert_eq!(PgType::numeric(10, 2).typmod, 655_366);
        assert_eq!(PgType::varchar(10).typmod, 14);
        assert_eq!(
            PgType::numeric(5, -2).numeric_precision_scale(),
            Some((5, -2))
        );
    }

    #[test]
    fn display_is_format_type() {
        assert_eq!(PgType::varchar(10).to_string(), "character varying(10)");
        assert_eq!(
            PgType::TIMESTAMP.with_typmod(3).array_of().to_string(),
            "timestamp(3) without time zone[]"
        );
        assert_eq!(PgType::numeric(10, 2).to_string(), "numeric(10,2)");
        assert_eq!(PgType::FLOAT8.to_string(), "double precision");
    }
}
