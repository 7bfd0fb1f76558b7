//! The statements of a workload, from files of ours in `queries/`, and the order they are asked in:
//! drawn with a fixed seed, the first of the file most often (Zipf's law), so that every server is
//! asked the same.

use crate::Result;

/// A statement with a name. `$word` in its text stands for one of the values of that parameter.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) name: String,
    text: String,
    parameters: Vec<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    /// With its dollar sign.
    name: String,
    values: Vec<String>,
}

/// A statement as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    /// The place of its query in the file.
    pub(crate) query: usize,
    pub(crate) sql: String,
}

pub(crate) fn dashboard() -> Result<Vec<Query>> {
    parse(include_str!("../queries/dashboard.sql"))
}

/// Statements without parameters.
pub(crate) fn one_pass() -> Result<Vec<Drawn>> {
    let queries = parse(include_str!("../queries/one_pass.sql"))?;
    Ok(queries
        .into_iter()
        .enumerate()
        .map(|(query, of)| Drawn {
            query,
            sql: of.text,
        })
        .collect())
}

/// A statement ends with a semicolon at the end of a line. The comments right before it are its
/// name and its parameters; other comments end with an empty line.
fn parse(file: &str) -> Result<Vec<Query>> {
    let empty = || Query {
        name: String::new(),
        text: String::new(),
        parameters: Vec::new(),
    };
    let mut queries = Vec::new();
    let mut query = empty();
    for line in file.lines() {
        if let Some(comment) = line.strip_prefix("-- ") {
            match comment
                .split_once(": ")
                .filter(|_| comment.starts_with('$'))
            {
                Some((name, values)) => query.parameters.push(Parameter {
                    name: name.to_owned(),
                    values: values.split(", ").map(str::to_owned).collect(),
                }),
                None if query.name.is_empty() => comment.clone_into(&mut query.name),
                None => {}
            }
        } else if let Some(last) = line.strip_suffix(';') {
            query.text.push_str(last);
            if query.name.is_empty() {
                return Err(format!("a statement without a name: {}", query.text).into());
            }
            queries.push(std::mem::replace(&mut query, empty()));
        } else if line.is_empty() {
            query = empty();
        } else {
            query.text.push_str(line);
            query.text.push('\n');
        }
    }
    Ok(queries)
}

/// Draws queries by Zipf's law: the n-th is asked 1/n times as often as the first; and the values of
/// their parameters, each as often.
#[derive(Debug)]
pub(crate) struct Draws {
    state: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn statements(&mut self, queries: &[Query], count: usize) -> Vec<Drawn> {
        (0..count).filter_map(|_| self.statement(queries)).collect()
    }

    /// None of no queries.
    fn statement(&mut self, queries: &[Query]) -> Option<Drawn> {
        let weight = |index: usize| 1.0 / (index + 1) as f64;
        let all: f64 = (0..queries.len()).map(weight).sum();
        let mut left = self.fraction() * all;
        let index = (0..queries.len())
            .find(|&index| {
                left -= weight(index);
                left < 0.0
            })
            .or_else(|| queries.len().checked_sub(1))?;
        let query = queries.get(index)?;
        let mut sql = query.text.clone();
        for parameter in &query.parameters {
            let place = (self.fraction() * parameter.values.len() as f64) as usize;
            if let Some(value) = parameter.values.get(place) {
                sql = sql.replace(&parameter.name, value);
            }
        }
        Some(Drawn { query: index, sql })
    }

    /// From 0 to below 1, by SplitMix64: its numbers are the same everywhere and for ever.
    fn fraction(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // As many bits as a double keeps.
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_dashboard_is_thirty_queries_with_all_parameters_filled_in() -> Result<()> {
        let queries = dashboard()?;
        let names: BTreeSet<&str> = queries.iter().map(|query| query.name.as_str()).collect();
        assert_eq!(names.len(), 30);
        for query in &queries {
            for parameter in &query.parameters {
                assert!(query.text.contains(&parameter.name), "{parameter:?}");
            }
        }
        let drawn = Draws::new(1).statements(&queries, 10_000);
        assert_eq!(drawn.len(), 10_000);
        for drawn in &drawn {
            assert!(!drawn.sql.contains('$'), "{}", drawn.sql);
        }
        Ok(())
    }

    #[test]
    fn draws_are_the_same_every_time_and_follow_zipf() -> Result<()> {
        let queries = dashboard()?;
        let draw = || Draws::new(4).statements(&queries, 40_000);
        let counts = |drawn: Vec<Drawn>| {
            let mut counts = vec![0_u32; queries.len()];
            for drawn in drawn {
                counts[drawn.query] += 1;
            }
            counts
        };
        let first = counts(draw());
        assert_eq!(first, counts(draw()));
        // The harmonic number of 30 is 3.995: a quarter, an eighth, … of all.
        assert!((9_700..10_300).contains(&first[0]), "{first:?}");
        assert!((4_700..5_300).contains(&first[1]), "{first:?}");
        assert!((280..390).contains(&first[29]), "{first:?}");
        Ok(())
    }

    #[test]
    fn one_pass_reads_no_column_twice() -> Result<()> {
        let prefixes = ["l_", "o_", "ps_", "p_", "c_"];
        let mut seen = BTreeSet::new();
        let scans = one_pass()?;
        assert!(scans.len() > 30);
        for scan in scans {
            let columns: BTreeSet<&str> = scan
                .sql
                .split(|c: char| !c.is_ascii_lowercase() && c != '_')
                .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
                .collect();
            assert!(!columns.is_empty(), "{}", scan.sql);
            for column in columns {
                assert!(seen.insert(column.to_owned()), "{column} is read again");
            }
        }
        Ok(())
    }
}
