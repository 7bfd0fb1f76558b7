//! The catalog's objects as functions see them: casts to regclass and its kin,
//! `has_table_privilege`, `pg_get_viewdef`.

use catalog::system::{
    SystemNames, procedure_by_oid, procedures_by_name, type_by_name, type_by_oid,
};
use catalog::{ObjectName, Oid, PG_CATALOG};
use functions::error::PgError;
use functions::pg_type::{Base, PgType};
use functions::quoted_identifier;
use functions::session::{FunctionSignature, Names, Privilege};
use job::SqlState;

/// `invalid_name`
const INVALID_NAME: SqlState = SqlState(*b"42602");
/// `ambiguous_function`
const AMBIGUOUS_FUNCTION: SqlState = SqlState(*b"42725");

/// Names as one statement sees them.
#[derive(Debug)]
pub(super) struct StatementNames {
    pub(super) names: SystemNames,
    pub(super) database: String,
}

impl StatementNames {
    /// A name that may be qualified by the database and a schema.
    fn object_name(&self, text: &str) -> Result<ObjectName, PgError> {
        let mut parts = split_name(text)?;
        let improper = || {
            PgError::new(
                SqlState::SYNTAX_ERROR,
                format!("improper qualified name (too many dotted names): {text}"),
            )
        };
        let name = parts.pop().unwrap_or_default();
        let schema = parts.pop();
        match parts.as_slice() {
            [] => {}
            [database] if *database == self.database => {}
            [_] => {
                return Err(PgError::not_supported(format!(
                    "cross-database references are not implemented: {text}"
                )));
            }
            _ => return Err(improper()),
        }
        Ok(ObjectName { schema, name })
    }

    /// A name without a qualifier.
    fn bare_name(text: &str) -> Result<String, PgError> {
        match split_name(text)?.as_slice() {
            [name] => Ok(name.clone()),
            _ => Err(invalid_name()),
        }
    }

    fn procedure(&self, text: &str) -> Result<Option<u32>, PgError> {
        let name = self.object_name(text)?;
        if !in_pg_catalog(&name) {
            return Ok(None);
        }
        let mut found = procedures_by_name(&name.name);
        let first = found.next();
        if found.next().is_some() {
            return Err(PgError::new(
                AMBIGUOUS_FUNCTION,
                format!("more than one function named \"{text}\""),
            ));
        }
        Ok(first.map(|procedure| procedure.oid.0))
    }

    /// `name(type, …)`
    fn procedure_with_types(&self, text: &str) -> Result<Option<u32>, PgError> {
        let Some((name, rest)) = text.split_once('(') else {
            return Err(PgError::new(
                SqlState::INVALID_TEXT_REPRESENTATION,
                "expected a left parenthesis",
            ));
        };
        let Some((arguments, "")) = rest.trim_end().rsplit_once(')') else {
            return Err(PgError::new(
                SqlState::INVALID_TEXT_REPRESENTATION,
                "expected a right parenthesis",
            ));
        };
        let name = self.object_name(name.trim())?;
        if !in_pg_catalog(&name) {
            return Ok(None);
        }
        let wanted: Vec<&str> = match arguments.trim() {
            "" => Vec::new(),
            arguments => arguments.split(',').map(str::trim).collect(),
        };
        Ok(procedures_by_name(&name.name)
            .find(|procedure| {
                procedure.arguments.len() == wanted.len()
                    && procedure
                        .arguments
                        .iter()
                        .zip(&wanted)
                        .all(|(oid, wanted)| {
                            type_name(*oid) == *wanted
                                || type_by_oid(*oid).is_some_and(|found| found.name == *wanted)
                        })
            })
            .map(|procedure| procedure.oid.0))
    }

    /// `schema.name`, or the name alone where that finds the same relation.
    fn relation_name(&self, oid: Oid) -> Option<String> {
        let relation = self.names.relation_by_oid(oid)?;
        let name = quoted_identifier(&relation.name);
        Some(if self.names.is_relation_visible(oid) {
            name
        } else {
            format!("{}.{name}", quoted_identifier(&relation.schema))
        })
    }
}

impl Names for StatementNames {
    fn oid(&self, kind: Base, text: &str) -> Result<Option<u32>, PgError> {
        let oid = |oid: Oid| oid.0;
        Ok(match kind {
            Base::Regclass => {
                let name = self.object_name(text)?;
                self.names.relation(&name).map(|found| oid(found.oid))
            }
            // SQL's `char` is character(1); spellings that are no plain names are the caller's.
            Base::Regtype if text.trim().eq_ignore_ascii_case("char") => None,
            Base::Regtype => match self.object_name(text) {
                Ok(name) if in_pg_catalog(&name) => {
                    type_by_name(&name.name).map(|found| oid(found.oid))
                }
                Ok(_) | Err(_) => None,
            },
            Base::Regproc => self.procedure(text)?,
            Base::Regprocedure => self.procedure_with_types(text)?,
            Base::Regnamespace => self.names.schema_by_name(&Self::bare_name(text)?).map(oid),
            Base::Regrole => self.names.role_by_name(&Self::bare_name(text)?).map(oid),
            // Databases have no reg type; functions that take one ask with this.
            Base::Name => self.names.database_by_name(text).map(oid),
            _ => None,
        })
    }

    fn name(&self, kind: Base, oid: u32) -> Option<String> {
        let oid = Oid(oid);
        match kind {
            Base::Regclass => self.relation_name(oid),
            Base::Regtype => type_by_oid(oid).map(|_| type_name(oid)),
            Base::Regproc => {
                let procedure = procedure_by_oid(oid)?;
                let name = quoted_identifier(procedure.name);
                Some(match procedures_by_name(procedure.name).count() {
                    1 => name,
                    // The bare name would not find this one.
                    _ => format!("{PG_CATALOG}.{name}"),
                })
            }
            Base::Regprocedure => {
                let procedure = procedure_by_oid(oid)?;
                let name = quoted_identifier(procedure.name);
                let arguments = type_names(&procedure.arguments);
                Some(format!("{name}({})", arguments.join(",")))
            }
            Base::Regnamespace => {
                let name = self.names.schema_by_oid(oid)?;
                Some(quoted_identifier(&name))
            }
            Base::Regrole => self.names.role_by_oid(oid).map(quoted_identifier),
            Base::Name => self.names.database_by_oid(oid).map(str::to_owned),
            _ => None,
        }
    }

    fn is_visible(&self, kind: Base, oid: u32) -> bool {
        match kind {
            Base::Regclass => self.names.is_relation_visible(Oid(oid)),
            // Types and functions are all in `pg_catalog`, which is always searched.
            _ => self.name(kind, oid).is_some(),
        }
    }

    fn view_definition(&self, oid: u32) -> Option<String> {
        self.names.view_definition(Oid(oid))
    }

    fn description(&self, oid: u32, column: i32) -> Option<String> {
        self.names.description(Oid(oid), column)
    }

    fn has_privilege(
        &self,
        _kind: Base,
        role: &str,
        _oid: u32,
        _privileges: &[Privilege],
    ) -> Result<bool, PgError> {
        // A role by an OID that nobody has.
        if role.is_empty() {
            return Ok(false);
        }
        if self.names.role_by_name(role).is_none() {
            return Err(PgError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("role \"{role}\" does not exist"),
            ));
        }
        // There is no GRANT: who owns everything may do everything.
        Ok(self.names.is_superuser(role))
    }

    fn stored_bytes(&self, kind: Base, oid: u32) -> Option<i64> {
        let bytes = match kind {
            Base::Name => {
                self.names.database_by_oid(Oid(oid))?;
                self.names.database_bytes()
            }
            _ => self.names.relation_bytes(Oid(oid))?,
        };
        i64::try_from(bytes).ok()
    }

    fn column_number(&self, relation: u32, column: &str) -> Option<i32> {
        let columns = self.names.columns(Oid(relation))?;
        let index = columns.iter().position(|name| name == column)?;
        i32::try_from(index + 1).ok()
    }

    fn has_column(&self, relation: u32, number: i32) -> bool {
        let columns = self.names.columns(Oid(relation)).unwrap_or_default();
        usize::try_from(number).is_ok_and(|number| (1..=columns.len()).contains(&number))
    }

    fn function(&self, oid: u32) -> Option<FunctionSignature> {
        let procedure = procedure_by_oid(Oid(oid))?;
        let setof = if procedure.returns_set { "SETOF " } else { "" };
        Some(FunctionSignature {
            arguments: type_names(&procedure.arguments).join(", "),
            result: format!("{setof}{}", type_name(procedure.result)),
        })
    }
}

/// Whether an unqualified name finds objects of `pg_catalog`: always, as nobody can put any
/// before them.
fn in_pg_catalog(name: &ObjectName) -> bool {
    name.schema
        .as_ref()
        .is_none_or(|schema| schema == PG_CATALOG)
}

fn type_names(oids: &[Oid]) -> Vec<String> {
    oids.iter().copied().map(type_name).collect()
}

/// A type as SQL spells it.
fn type_name(oid: Oid) -> String {
    match (PgType::from_oid(oid.0), type_by_oid(oid)) {
        (Some(pg_type), _) => pg_type.sql_name(),
        (None, Some(found)) => match type_by_oid(found.element) {
            Some(element) if found.len == -1 => format!("{}[]", element.name),
            _ => quoted_identifier(found.name),
        },
        (None, None) => "???".to_owned(),
    }
}

fn invalid_name() -> PgError {
    PgError::new(INVALID_NAME, "invalid name syntax")
}

/// The parts of a dotted name: quoted ones as they are, others in lower case.
fn split_name(text: &str) -> Result<Vec<String>, PgError> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted)?,
            None => {
                let end = rest
                    .find(|c: char| c == '.' || c == '"' || c.is_whitespace())
                    .unwrap_or(rest.len());
                let (part, after) = rest.split_at(end);
                (part.to_lowercase(), after)
            }
        };
        if part.is_empty() {
            return Err(invalid_name());
        }
        parts.push(part);
        rest = after.trim_start();
        match rest.strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => return Ok(parts),
            None => return Err(invalid_name()),
        }
    }
}

/// What is between quotes, the opening one taken off, and what follows.
fn quoted_part(quoted: &str) -> Result<(String, &str), PgError> {
    let mut part = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next() {
            None => return Err(invalid_name()),
            Some((at, '"')) => match quoted[at + 1..].strip_prefix('"') {
                Some(_) => {
                    part.push('"');
                    chars.next();
                }
                None => return Ok((part, &quoted[at + 1..])),
            },
            Some((_, c)) => part.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_dots_outside_of_quotes() {
        let split = |text| split_name(text).ok();
        assert_eq!(split(" A.b "), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            split("\"A.\"\"b\" . c"),
            Some(vec!["A.\"b".into(), "c".into()])
        );
        for bad in ["", "a.", ".a", "a b", "\"a", "a\"b\""] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
