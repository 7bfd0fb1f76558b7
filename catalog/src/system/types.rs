//! The types there are: rows of `pg_type`, from `data/pg_type.tsv`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::names::Oid;

static PG_TYPE: &str = include_str!("data/pg_type.tsv");

/// What the other tables need to know of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeFacts {
    pub oid: Oid,
    pub name: &'static str,
    /// Bytes, or -1 for variable length.
    pub len: i16,
    pub by_value: bool,
    pub align: &'static str,
    pub storage: &'static str,
    pub collation: Oid,
    /// The element type of an array, else 0.
    pub element: Oid,
}

static TYPES: LazyLock<Vec<TypeFacts>> = LazyLock::new(|| {
    let mut lines = PG_TYPE.lines();
    let header: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    lines
        .map(|line| {
            let cells: Vec<_> = line.split('\t').collect();
            let cell = |name: &str| {
                header
                    .iter()
                    .position(|column| *column == name)
                    .and_then(|index| cells.get(index).copied())
                    .unwrap_or_default()
            };
            let oid = |name: &str| Oid(cell(name).parse().unwrap_or_default());
            TypeFacts {
                oid: oid("oid"),
                name: cell("typname"),
                len: cell("typlen").parse().unwrap_or(-1),
                by_value: cell("typbyval") == "t",
                align: cell("typalign"),
                storage: cell("typstorage"),
                collation: oid("typcollation"),
                element: oid("typelem"),
            }
        })
        .collect()
});

/// A type by `pg_type.typname`.
pub fn type_by_name(name: &str) -> Option<&'static TypeFacts> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static TypeFacts>> =
        LazyLock::new(|| TYPES.iter().map(|facts| (facts.name, facts)).collect());
    BY_NAME.get(name).copied()
}

/// A type by OID.
pub fn type_by_oid(oid: Oid) -> Option<&'static TypeFacts> {
    static BY_OID: LazyLock<HashMap<Oid, &'static TypeFacts>> =
        LazyLock::new(|| TYPES.iter().map(|facts| (facts.oid, facts)).collect());
    BY_OID.get(&oid).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg_types::parse;

    #[test]
    fn types_are_found_by_name_and_oid() {
        let text = type_by_name("text").unwrap();
        assert_eq!((text.oid, text.collation), (Oid(25), Oid(100)));
        assert_eq!(type_by_oid(Oid(1009)).unwrap().element, text.oid);
    }

    #[test]
    fn every_type_of_a_system_column_is_known() {
        for layout in crate::system::layout::layouts() {
            for column in &layout.columns {
                let name = parse(column.sql_type).name;
                let known = type_by_name(&name).is_some();
                assert!(known || name == "inet", "{} {name}", layout.name);
            }
        }
    }
}
