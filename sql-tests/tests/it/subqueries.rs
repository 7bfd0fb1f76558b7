//! Random queries with correlated subqueries, the same on every run, against PostgreSQL.
//!
//! Tables are small and full of NULLs and duplicates; a query may nest subqueries of every form in
//! every place. Answers are compared as multisets of rows. A query that is not supported is no
//! mismatch, but few may be. `FIRESTEEL_SEED` chooses other queries.

use std::error::Error;
use std::fmt::Write as _;

use sql_tests::postgres::TemporaryPostgres;
use sql_tests::server::Server;
use sql_tests::wire::{Wire, WireError};

type Result = std::result::Result<(), Box<dyn Error>>;

const QUERIES: usize = 200;

/// One run shows several mismatches, for they come in families.
const MISMATCHES_SHOWN_MAX: usize = 20;

const TABLES: [(&str, [&str; 3]); 3] = [
    ("t", ["id", "a", "b"]),
    ("s", ["n", "x", "y"]),
    ("e", ["i", "j", "k"]),
];

const SETUP: [&str; 6] = [
    "CREATE TEMP TABLE t (id INT NOT NULL, a INT, b INT)",
    "INSERT INTO t VALUES (1, 1, 2), (2, 2, 2), (3, 2, NULL), (4, NULL, 3), (5, 3, 0), (6, 2, 2)",
    "CREATE TEMP TABLE s (n INT NOT NULL, x INT, y INT)",
    "INSERT INTO s VALUES (1, 1, 3), (2, 2, 2), (2, 2, NULL), (4, NULL, 1), (5, 0, 3), (2, 2, 2)",
    "CREATE TEMP TABLE e (i INT, j INT, k INT)",
    "INSERT INTO e VALUES (2, 2, 2), (NULL, 1, 3)",
];

#[test]
fn random_subqueries_answer_as_postgres() -> Result {
    let Some(postgres) = TemporaryPostgres::start()? else {
        return Ok(());
    };
    let server = Server::start()?;
    let mut ours = server.connect()?;
    let mut theirs = Wire::connect(postgres.port(), "postgres", "postgres")?;
    for sql in SETUP {
        ours.simple(sql)?;
        theirs.simple(sql)?;
    }
    let seed = std::env::var("FIRESTEEL_SEED").map_or(Ok(1), |seed| seed.parse())?;
    let mut generator = Generator {
        random: Random(seed),
        aliases: 0,
    };
    let (mut mismatches, mut unsupported) = (Vec::new(), Vec::new());
    for _ in 0..QUERIES {
        let sql = generator.statement();
        let (answer, expected) = (answer(&mut ours, &sql)?, answer(&mut theirs, &sql)?);
        match (answer, expected) {
            (Err((state, message)), _) if state == "0A000" => {
                unsupported.push(format!("{sql}\n  {message}"));
            }
            (Err((state, _)), Err((expected, _))) if state == expected => {}
            (answer, expected) if answer == expected => {}
            (answer, expected) => {
                mismatches.push(format!("{sql}\n  ours: {answer:?}\n  theirs: {expected:?}"));
            }
        }
    }
    let shown = mismatches.len().min(MISMATCHES_SHOWN_MAX);
    assert!(
        mismatches.is_empty(),
        "{} of {QUERIES} differ:\n{}",
        mismatches.len(),
        mismatches[..shown].join("\n")
    );
    assert!(
        unsupported.len() * 50 < QUERIES,
        "{} of {QUERIES} are not supported:\n{}",
        unsupported.len(),
        unsupported.join("\n")
    );
    Ok(())
}

type Rows = Vec<Vec<Option<String>>>;

/// The rows in an order of their own, or SQLSTATE and message.
fn answer(
    wire: &mut Wire,
    sql: &str,
) -> std::result::Result<std::result::Result<Rows, (String, String)>, WireError> {
    match wire.simple(sql) {
        Ok(answers) => {
            let mut rows: Rows = answers.into_iter().flat_map(|answer| answer.rows).collect();
            rows.sort();
            Ok(Ok(rows))
        }
        Err(WireError::Server(error)) => Ok(Err((error.sqlstate, error.message))),
        Err(other) => Err(other),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        among[self.below(among.len())]
    }
}

/// The columns that names mean in some place: those of the query itself, and of those around it.
#[derive(Clone, Default)]
struct Scope {
    own: Vec<String>,
    outer: Vec<String>,
}

impl Scope {
    fn inside(&self) -> Self {
        let outer = [self.outer.clone(), self.own.clone()].concat();
        Self {
            own: Vec::new(),
            outer,
        }
    }
}

struct Generator {
    random: Random,
    aliases: usize,
}

impl Generator {
    fn statement(&mut self) -> String {
        self.aliases = 0;
        // Most are small, for what takes time is planning.
        let depth = if self.random.one_in(4) { 2 } else { 1 };
        let mut scope = Scope::default();
        let from = self.from(&mut scope, depth);
        let mut items = vec![self.column(&scope)];
        for _ in 0..1 + self.random.below(2) {
            items.push(self.value(&scope, depth));
        }
        let mut sql = format!("SELECT {} FROM {from}", items.join(", "));
        if self.random.one_in(2) {
            let _ = write!(sql, " WHERE {}", self.condition(&scope, depth));
        }
        sql
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("q{}", self.aliases)
    }

    fn table(&mut self, scope: &mut Scope) -> String {
        let (table, columns) = TABLES[self.random.below(TABLES.len())];
        let alias = self.alias();
        scope
            .own
            .extend(columns.iter().map(|column| format!("{alias}.{column}")));
        format!("{table} AS {alias}")
    }

    fn from(&mut self, scope: &mut Scope, depth: usize) -> String {
        let first = self.table(scope);
        match self.random.below(8) {
            0 => {
                let left = scope.own.clone();
                let kind = self
                    .random
                    .pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
                let second = self.table(scope);
                let right = scope.own[left.len()..].to_vec();
                let (l, r) = (self.of(&left), self.of(&right));
                format!("{first} {kind} {second} ON {l} = {r}")
            }
            1 if depth > 0 => {
                let inside = scope.inside();
                let kind = self.random.pick(&["CROSS JOIN", "LEFT JOIN"]);
                let on = if kind == "CROSS JOIN" { "" } else { " ON true" };
                let query = self.query(&inside, 2, depth - 1);
                let alias = self.alias();
                scope
                    .own
                    .extend(["c", "d"].map(|column| format!("{alias}.{column}")));
                format!("{first} {kind} LATERAL ({query}) AS {alias} (c, d){on}")
            }
            2 if depth > 0 => {
                let inside = Scope {
                    own: Vec::new(),
                    outer: scope.outer.clone(),
                };
                let query = self.query(&inside, 2, depth - 1);
                let alias = self.alias();
                scope.own = ["c", "d"].map(|column| format!("{alias}.{column}")).into();
                format!("({query}) AS {alias} (c, d)")
            }
            _ => first,
        }
    }

    fn of(&mut self, columns: &[String]) -> String {
        columns[self.random.below(columns.len())].clone()
    }

    /// A column of the query itself.
    fn column(&mut self, scope: &Scope) -> String {
        self.of(&scope.own)
    }

    /// An expression without subqueries.
    fn plain(&mut self, scope: &Scope) -> String {
        if !scope.outer.is_empty() && self.random.one_in(3) {
            return self.of(&scope.outer);
        }
        match self.random.below(8) {
            0 => self.random.below(4).to_string(),
            1 => format!("{} + 1", self.column(scope)),
            2 => format!("coalesce({}, {})", self.column(scope), self.random.below(4)),
            3 => {
                let (left, right) = (self.column(scope), self.column(scope));
                format!(
                    "CASE WHEN {left} < {right} THEN {left} ELSE {} END",
                    self.random.below(4)
                )
            }
            _ => self.column(scope),
        }
    }

    fn value(&mut self, scope: &Scope, depth: usize) -> String {
        if depth == 0 {
            return self.plain(scope);
        }
        match self.random.below(6) {
            0 | 1 => self.plain(scope),
            2 => {
                let condition = self.condition(scope, depth - 1);
                format!("CASE WHEN {condition} THEN 1 ELSE 0 END")
            }
            3 => format!("({})::int", self.condition(scope, depth - 1)),
            _ => format!("({})", self.scalar(&scope.inside(), depth - 1)),
        }
    }

    fn aggregate(&mut self, scope: &Scope) -> String {
        let column = self.column(scope);
        let value = match scope.outer.as_slice() {
            [] => column,
            outer if self.random.one_in(4) => {
                let outer = self.of(outer);
                format!("{column} + {outer}")
            }
            _ => column,
        };
        match self.random.below(7) {
            0 => "count(*)".to_owned(),
            1 => format!("count(DISTINCT {value})"),
            2 => format!("sum({value})"),
            3 => format!("min({value})"),
            4 => format!("count({value}) FILTER (WHERE {value} > 1)"),
            5 => format!("count({value})"),
            _ => format!("max({value})"),
        }
    }

    /// A query of one column and at most one row.
    fn scalar(&mut self, around: &Scope, depth: usize) -> String {
        let mut scope = around.clone();
        let from = self.from(&mut scope, depth);
        let condition = self.condition(&scope, depth);
        match self.random.below(5) {
            0 => {
                let value = self.plain(&scope);
                format!(
                    "SELECT {value} AS v FROM {from} WHERE {condition} ORDER BY 1 LIMIT 1 OFFSET {}",
                    self.random.below(2)
                )
            }
            1 => {
                let (aggregate, group) = (self.aggregate(&scope), self.column(&scope));
                format!(
                    "SELECT {aggregate} AS v FROM {from} WHERE {condition} GROUP BY {group} ORDER BY 1 DESC LIMIT 1"
                )
            }
            2 => {
                let (aggregate, having) = (self.aggregate(&scope), self.aggregate(&scope));
                format!("SELECT {aggregate} FROM {from} WHERE {condition} HAVING {having} > 1")
            }
            _ => {
                let aggregate = self.aggregate(&scope);
                format!("SELECT {aggregate} FROM {from} WHERE {condition}")
            }
        }
    }

    /// A query of some columns and any number of rows, which does not depend on their order.
    fn query(&mut self, around: &Scope, columns: usize, depth: usize) -> String {
        if self.random.one_in(8) {
            let (left, right) = (
                self.select(around, columns, depth),
                self.select(around, columns, depth),
            );
            let operator = self.random.pick(&[
                "UNION",
                "UNION ALL",
                "INTERSECT",
                "EXCEPT",
                "EXCEPT ALL",
                "INTERSECT ALL",
            ]);
            return format!("({left}) {operator} ({right})");
        }
        let query = self.select(around, columns, depth);
        if self.random.one_in(8) {
            let order: Vec<String> = (1..=columns).map(|n| n.to_string()).collect();
            return format!(
                "{query} ORDER BY {} LIMIT {} OFFSET {}",
                order.join(", "),
                1 + self.random.below(3),
                self.random.below(2)
            );
        }
        query
    }

    fn select(&mut self, around: &Scope, columns: usize, depth: usize) -> String {
        let mut scope = around.clone();
        let from = self.from(&mut scope, depth);
        let mut clauses = String::new();
        if !self.random.one_in(4) {
            let _ = write!(clauses, " WHERE {}", self.condition(&scope, depth));
        }
        match self.random.below(10) {
            0 => {
                let group = self.column(&scope);
                let items: Vec<String> = (0..columns)
                    .map(|n| match n {
                        0 => group.clone(),
                        _ => self.aggregate(&scope),
                    })
                    .collect();
                let group = match self.random.below(3) {
                    0 => format!("ROLLUP ({group})"),
                    _ => group,
                };
                format!(
                    "SELECT {} FROM {from}{clauses} GROUP BY {group}",
                    items.join(", ")
                )
            }
            1 => {
                let items: Vec<String> = (0..columns).map(|_| self.aggregate(&scope)).collect();
                format!("SELECT {} FROM {from}{clauses}", items.join(", "))
            }
            2 => {
                let (by, over) = (self.column(&scope), self.column(&scope));
                let items: Vec<String> = (0..columns)
                    .map(|n| match n {
                        0 => format!("sum({over}) OVER (PARTITION BY {by})"),
                        _ => self.plain(&scope),
                    })
                    .collect();
                format!("SELECT {} FROM {from}{clauses}", items.join(", "))
            }
            kind => {
                let distinct = if kind == 3 { "DISTINCT " } else { "" };
                let items: Vec<String> = (0..columns)
                    .map(|_| self.value(&scope, depth.min(1)))
                    .collect();
                format!("SELECT {distinct}{} FROM {from}{clauses}", items.join(", "))
            }
        }
    }

    fn condition(&mut self, scope: &Scope, depth: usize) -> String {
        let operator = |random: &mut Random| random.pick(&["=", "<>", "<", "<=", ">", ">="]);
        if depth == 0 {
            let (left, right) = (self.plain(scope), self.plain(scope));
            return match self.random.below(6) {
                0 => format!("{left} IS NULL"),
                1 => format!("{left} IS NOT DISTINCT FROM {right}"),
                _ => format!("{left} {} {right}", operator(&mut self.random)),
            };
        }
        let not = |random: &mut Random| if random.one_in(2) { "NOT " } else { "" };
        let inside = scope.inside();
        match self.random.below(14) {
            0 => {
                let (left, right) = (
                    self.condition(scope, depth - 1),
                    self.condition(scope, depth - 1),
                );
                format!("({left} OR {right})")
            }
            1 => {
                let (left, right) = (
                    self.condition(scope, depth - 1),
                    self.condition(scope, depth - 1),
                );
                format!("{left} AND {right}")
            }
            2 => format!("NOT ({})", self.condition(scope, depth - 1)),
            3 => format!("({}) IS NULL", self.condition(scope, depth - 1)),
            4 | 5 => {
                let not = not(&mut self.random);
                format!("{not}EXISTS ({})", self.query(&inside, 1, depth - 1))
            }
            6 | 7 => {
                let (value, not) = (self.value(scope, depth - 1), not(&mut self.random));
                format!("{value} {not}IN ({})", self.query(&inside, 1, depth - 1))
            }
            8 | 9 => {
                let value = self.value(scope, depth - 1);
                let (operator, quantifier) = (
                    operator(&mut self.random),
                    self.random.pick(&["ANY", "ALL"]),
                );
                let query = self.query(&inside, 1, depth - 1);
                format!("{value} {operator} {quantifier} ({query})")
            }
            10 | 11 => {
                let (left, right) = (self.plain(scope), self.plain(scope));
                let not = not(&mut self.random);
                format!(
                    "({left}, {right}) {not}IN ({})",
                    self.query(&inside, 2, depth - 1)
                )
            }
            12 => {
                let (left, right) = (self.plain(scope), self.plain(scope));
                let (operator, quantifier) = (
                    operator(&mut self.random),
                    self.random.pick(&["ANY", "ALL"]),
                );
                let query = self.query(&inside, 2, depth - 1);
                format!("({left}, {right}) {operator} {quantifier} ({query})")
            }
            _ => {
                let value = self.value(scope, depth);
                format!(
                    "{value} {} {}",
                    operator(&mut self.random),
                    self.plain(scope)
                )
            }
        }
    }
}
