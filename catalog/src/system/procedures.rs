//! The functions `pg_proc` lists, from `data/pg_proc.tsv`: what casts to regproc and
//! `pg_get_function_arguments` need of them.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::names::Oid;

static PG_PROC: &str = include_str!("data/pg_proc.tsv");

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Procedure {
    pub oid: Oid,
    pub name: &'static str,
    /// Types of the arguments.
    pub arguments: Vec<Oid>,
    pub result: Oid,
    /// It gives a set of rows.
    pub returns_set: bool,
}

static PROCEDURES: LazyLock<Vec<Procedure>> = LazyLock::new(|| {
    let mut lines = PG_PROC.lines();
    let header: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let columns = ["oid", "proname", "proargtypes", "prorettype", "proretset"].map(column);
    lines
        .map(|line| {
            let cells: Vec<_> = line.split('\t').collect();
            let [oid, name, arguments, result, returns_set] = columns.map(|index| {
                index
                    .and_then(|index| cells.get(index).copied())
                    .unwrap_or("")
            });
            let number = |text: &str| Oid(text.parse().unwrap_or_default());
            Procedure {
                oid: number(oid),
                name,
                arguments: arguments.split_whitespace().map(number).collect(),
                result: number(result),
                returns_set: returns_set == "t",
            }
        })
        .collect()
});

/// The functions of a name: one for each list of argument types.
pub fn procedures_by_name(name: &str) -> impl Iterator<Item = &'static Procedure> {
    static BY_NAME: LazyLock<HashMap<&'static str, Vec<&'static Procedure>>> =
        LazyLock::new(|| {
            let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
            for procedure in PROCEDURES.iter() {
                by_name.entry(procedure.name).or_default().push(procedure);
            }
            by_name
        });
    BY_NAME.get(name).into_iter().flatten().copied()
}

pub fn procedure_by_oid(oid: Oid) -> Option<&'static Procedure> {
    static BY_OID: LazyLock<HashMap<Oid, &'static Procedure>> =
        LazyLock::new(|| PROCEDURES.iter().map(|found| (found.oid, found)).collect());
    BY_OID.get(&oid).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_name_and_oid() {
        let found: Vec<_> = procedures_by_name("array_in").collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].oid, Oid(750));
        assert_eq!(procedure_by_oid(Oid(750)), Some(found[0]));
        assert_eq!(procedures_by_name("nothing").count(), 0);
    }
}
