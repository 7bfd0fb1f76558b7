//! Hostile input: random SQL from a grammar, random and broken protocol bytes. The server keeps
//! serving others, its memory stays bounded, and (checked when it is dropped) it never panics.
//!
//! Everything is seeded and bounded by counts. `FIRESTEEL_FUZZ=N` multiplies the counts.

use std::error::Error;

use sql_tests::server::Server;
use sql_tests::wire::{Wire, WireError, framed, push_text};

type Result = std::result::Result<(), Box<dyn Error>>;

const SEED: u64 = 0x5EED_F12E;

/// Statements per run.
const STATEMENTS: u64 = 1_500;

/// Connections that send nonsense per run.
const HOSTILE_CONNECTIONS: u64 = 400;

/// What the server may grow by. Each statement's working set is far below.
const GROWTH_BYTES_MAX: u64 = 400 << 20;

#[test]
fn random_sql_gets_answers_or_errors() -> Result {
    let server = Server::start_with(&["--memory", "512MiB"])?;
    let mut wire = prepared(&server)?;
    let mut dice = Dice(SEED);
    let mut resident = None;
    let mut internal = Vec::new();
    let statements = STATEMENTS * factor();
    for number in 0..statements {
        let sql = statement(&mut dice);
        let outcome = if dice.below(2) == 0 {
            wire.simple(&sql).map(drop)
        } else {
            wire.extended(&sql).map(drop)
        };
        match outcome {
            Ok(()) => {}
            Err(WireError::Server(error)) if error.sqlstate == "XX000" => {
                internal.push(format!("{sql}\n  {}", error.message));
            }
            Err(WireError::Server(_)) => {}
            Err(WireError::Connection(error)) => {
                return Err(format!(
                    "statement {number} broke the connection: {error}: {sql}\n{}",
                    server.log()
                )
                .into());
            }
        }
        assert_eq!(wire.status, 'I', "after {sql}");
        if number == statements / 4 {
            // Caches and pools are warm.
            resident = Some(server.resident_bytes()?);
        }
    }
    assert_eq!(server.connect()?.value("SELECT 1")?.as_deref(), Some("1"));
    if let Some(resident) = resident {
        let growth = server.resident_bytes()?.saturating_sub(resident);
        assert!(growth < GROWTH_BYTES_MAX, "grew by {growth} bytes");
    }
    // XX000 says that the fault is ours.
    assert!(
        internal.is_empty(),
        "{} internal errors:\n{}",
        internal.len(),
        internal
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    Ok(())
}

#[test]
fn broken_protocol_bytes_end_their_own_connection_only() -> Result {
    let server = Server::start()?;
    let mut witness = server.connect()?;
    let mut dice = Dice(SEED);
    let before = server.resident_bytes()?;
    for number in 0..HOSTILE_CONNECTIONS * factor() {
        hostile(&server, &mut dice)?;
        if number % 50 == 0 {
            assert_eq!(
                witness.value("SELECT 1")?.as_deref(),
                Some("1"),
                "round {number}"
            );
        }
    }
    assert_eq!(witness.value("SELECT 2")?.as_deref(), Some("2"));
    let growth = server.resident_bytes()?.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "grew by {growth} bytes");
    Ok(())
}

#[test]
fn absurd_lengths_are_refused_at_once() -> Result {
    let server = Server::start()?;
    for length in [i32::MAX, i32::MIN, -1, 0, 3, 1 << 30] {
        // As a start-up packet.
        let mut wire = Wire::open(server.port())?;
        wire.send_raw(&length.to_be_bytes())?;
        ends(&mut wire, length)?;
        // As a message of a session.
        let mut wire = server.connect()?;
        let mut bytes = vec![b'Q'];
        bytes.extend(length.to_be_bytes());
        wire.send_raw(&bytes)?;
        ends(&mut wire, length)?;
    }
    assert_eq!(server.connect()?.value("SELECT 1")?.as_deref(), Some("1"));
    Ok(())
}

#[test]
fn deep_nesting_is_an_error_and_not_the_end() -> Result {
    let server = Server::start()?;
    let mut wire = server.connect()?;
    for (open, close) in [
        ("(", ")"),
        ("NOT ", ""),
        ("- ", ""),
        ("CASE WHEN true THEN ", " END"),
    ] {
        for depth in [100, 1_000, 20_000] {
            let sql = format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth));
            if let Err(error @ WireError::Connection(_)) = wire.simple(&sql) {
                return Err(format!("{depth} times {open:?}: {error}").into());
            }
        }
    }
    let wide = format!("SELECT {}", vec!["1"; 5_000].join(" + "));
    if let Err(error @ WireError::Connection(_)) = wire.simple(&wide) {
        return Err(error.into());
    }
    assert_eq!(wire.value("SELECT 1")?.as_deref(), Some("1"));
    Ok(())
}

#[test]
fn clients_that_vanish_in_the_middle_leave_nothing() -> Result {
    let server = Server::start()?;
    for _ in 0..20 {
        let mut wire = server.connect()?;
        let mut body = Vec::new();
        push_text(&mut body, "SELECT * FROM generate_series(1, 100000000)");
        wire.send(b'Q', &body)?;
        // One message is read, then the socket is closed with rows under way.
        wire.receive()?;
    }
    let mut wire = server.connect()?;
    // The slots are free again: this needs one.
    assert_eq!(
        wire.value("SELECT count(*) FROM generate_series(1, 1000)")?
            .as_deref(),
        Some("1000")
    );
    Ok(())
}

fn factor() -> u64 {
    std::env::var("FIRESTEEL_FUZZ")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}

/// Reads what the server still says until it closes.
fn ends(wire: &mut Wire, length: i32) -> Result {
    for _ in 0..100 {
        match wire.receive() {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(format!("length {length}: the server waits").into());
            }
            Err(_) => return Ok(()),
        }
    }
    Err(format!("length {length}: the server goes on").into())
}

fn hostile(server: &Server, dice: &mut Dice) -> Result {
    let mut wire = if dice.below(3) == 0 {
        Wire::open(server.port())?
    } else {
        server.connect()?
    };
    for _ in 0..1 + dice.below(6) {
        let mut bytes = match dice.below(4) {
            // Noise.
            0 => dice.bytes(64),
            // A known message with noise inside.
            1 => {
                let kinds = b"QPBDESCHXpdcfF";
                let kind = dice.pick(kinds);
                let body = dice.bytes(40);
                framed(Some(*kind), &body)
            }
            // A good message with bytes changed.
            2 => {
                let mut bytes = good_message(dice);
                for _ in 0..1 + dice.below(3) {
                    let at = usize::try_from(dice.below(bytes.len() as u64))?;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = dice.byte();
                    }
                }
                bytes
            }
            // Good messages in any order.
            _ => good_message(dice),
        };
        if dice.below(8) == 0 {
            bytes.truncate(bytes.len() / 2);
        }
        // The server may have closed already; that is its right.
        if wire.send_raw(&bytes).is_err() {
            break;
        }
    }
    Ok(())
}

fn good_message(dice: &mut Dice) -> Vec<u8> {
    let mut body = Vec::new();
    match dice.below(6) {
        0 => {
            push_text(&mut body, "SELECT 1; SELECT 'two'");
            framed(Some(b'Q'), &body)
        }
        1 => {
            push_text(&mut body, "s");
            push_text(&mut body, "SELECT $1::int4 + 1");
            body.extend(0_i16.to_be_bytes());
            framed(Some(b'P'), &body)
        }
        2 => {
            push_text(&mut body, "p");
            push_text(&mut body, "s");
            body.extend([0, 0, 0, 1, 0, 0, 0, 1, b'7', 0, 0]);
            framed(Some(b'B'), &body)
        }
        3 => {
            push_text(&mut body, "p");
            body.extend(1_i32.to_be_bytes());
            framed(Some(b'E'), &body)
        }
        4 => framed(Some(b'D'), b"Sp\0"),
        _ => framed(Some(b'S'), &[]),
    }
}

fn prepared(server: &Server) -> std::result::Result<Wire, Box<dyn Error>> {
    let mut wire = server.connect()?;
    wire.simple("SET statement_timeout = '10s'")?;
    wire.simple(
        "CREATE TEMP TABLE t (a INT, b TEXT, c NUMERIC(10,2), d DATE, e FLOAT8, f BOOLEAN)",
    )?;
    wire.simple(
        "INSERT INTO t VALUES (1, 'x', 1.50, '2024-01-31', 0.5, true), (2, NULL, -2.25, NULL, 1e10, false), \
         (NULL, '', NULL, '1999-12-31', NULL, NULL), (2147483647, 'ü', 0, '0001-01-01', -1, true)",
    )?;
    wire.simple("CREATE TEMP TABLE u (a INT, g BIGINT, h TIMESTAMP)")?;
    wire.simple("INSERT INTO u VALUES (1, 10, '2024-02-29 12:00:00'), (2, NULL, NULL), (3, -1, '1970-01-01')")?;
    Ok(wire)
}

/// A random statement: mostly well-formed, sometimes ill-typed, sometimes with a word too many.
fn statement(dice: &mut Dice) -> String {
    let mut sql = match dice.below(20) {
        0 => format!("EXPLAIN {}", query(dice, 2)),
        1 => format!("INSERT INTO u (a) {}", query(dice, 1)),
        2 => format!("WITH w AS ({}) SELECT * FROM w", query(dice, 2)),
        3 => format!(
            "VALUES ({}), ({})",
            expression(dice, 2),
            expression(dice, 2)
        ),
        _ => query(dice, 3),
    };
    if dice.below(12) == 0 {
        let junk = [
            "SELECT",
            ")",
            "(",
            "'",
            "\"",
            ",",
            "$1",
            "--",
            "/*",
            "::",
            ";",
            "\u{1F525}",
        ];
        let mut at = usize::try_from(dice.below(sql.len() as u64)).unwrap_or(0);
        while !sql.is_char_boundary(at) {
            at -= 1;
        }
        let junk: &str = *dice.pick::<&str>(&junk);
        sql.insert_str(at, junk);
    }
    sql
}

fn query(dice: &mut Dice, depth: u32) -> String {
    let distinct = *dice.pick(&["", "", "", "DISTINCT "]);
    let items = list(dice, depth, 3);
    let from = from(dice, depth);
    let mut sql = format!("SELECT {distinct}{items} FROM {from}");
    if dice.below(2) == 0 {
        sql.push_str(&format!(" WHERE {}", expression(dice, depth)));
    }
    if dice.below(4) == 0 {
        sql.push_str(&format!(" GROUP BY {}", list(dice, 1, 2)));
        if dice.below(2) == 0 {
            sql.push_str(&format!(" HAVING {}", expression(dice, 1)));
        }
    }
    if depth > 0 && dice.below(8) == 0 {
        let set = *dice.pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"]);
        sql = format!("{sql} {set} {}", query(dice, depth - 1));
    }
    if dice.below(3) == 0 {
        let order = *dice.pick(&["1", "1 DESC", "2 NULLS FIRST", "a", "99"]);
        sql.push_str(&format!(" ORDER BY {order}"));
    }
    if dice.below(3) == 0 {
        let limit = *dice.pick(&["1", "0", "NULL", "ALL", "-1", "2 OFFSET 1"]);
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    sql
}

fn from(dice: &mut Dice, depth: u32) -> String {
    match dice.below(8) {
        0 | 1 => "t".to_owned(),
        2 => "u".to_owned(),
        3 => "t, u".to_owned(),
        4 => {
            let join = *dice.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            format!(
                "t {join} u ON {}",
                *dice.pick(&["t.a = u.a", "t.a < u.g", "true", "t.a = u.a AND t.e > 0"])
            )
        }
        5 => "t NATURAL JOIN u".to_owned(),
        6 if depth > 0 => format!("({}) AS q", query(dice, depth - 1)),
        _ => "generate_series(1, 5) AS a".to_owned(),
    }
}

fn list(dice: &mut Dice, depth: u32, max: u64) -> String {
    let count = 1 + dice.below(max);
    let items: Vec<String> = (0..count).map(|_| expression(dice, depth)).collect();
    items.join(", ")
}

fn expression(dice: &mut Dice, depth: u32) -> String {
    if depth == 0 {
        let leaves = [
            "a",
            "b",
            "c",
            "d",
            "e",
            "f",
            "g",
            "h",
            "t.a",
            "u.a",
            "*",
            "NULL",
            "0",
            "1",
            "-1",
            "2.5",
            "1e308",
            "'x'",
            "''",
            "'2024-02-30'",
            "DATE '2024-02-29'",
            "INTERVAL '1 month'",
            "true",
            "false",
            "9223372036854775807",
            "99999999999999999999999999",
            "'NaN'::float8",
            "ARRAY[1, 2]",
            "$1",
            "nope",
        ];
        return (*dice.pick(&leaves)).to_owned();
    }
    let mut one = |depth| expression(dice, depth);
    let (a, b) = (one(depth - 1), one(depth - 1));
    match dice.below(16) {
        0..=2 => {
            let operators = ["+", "-", "*", "/", "%", "||", "^", "&"];
            format!("({a} {} {b})", dice.pick(&operators))
        }
        3 | 4 => {
            let operators = [
                "=",
                "<>",
                "<",
                ">=",
                "IS DISTINCT FROM",
                "LIKE",
                "~",
                "AND",
                "OR",
            ];
            format!("({a} {} {b})", dice.pick(&operators))
        }
        5 => format!("({a} IS {}NULL)", dice.pick(&["", "NOT "])),
        6 => format!("CASE WHEN {a} THEN {b} ELSE {a} END"),
        7 | 8 => {
            let types = [
                "int",
                "text",
                "numeric(5,2)",
                "date",
                "timestamp",
                "float8",
                "bool",
                "int2",
                "bytea",
                "uuid",
                "interval",
                "int[]",
                "nonsense",
            ];
            format!("({a})::{}", dice.pick(&types))
        }
        9 => format!(
            "{}({a})",
            dice.pick(&["count", "sum", "min", "max", "avg", "array_agg", "bool_and"])
        ),
        10 => format!(
            "{}({a})",
            dice.pick(&[
                "abs", "length", "upper", "sqrt", "ln", "round", "md5", "reverse", "to_char",
                "missing"
            ])
        ),
        11 => format!(
            "{}({a}, {b})",
            dice.pick(&[
                "coalesce",
                "nullif",
                "greatest",
                "repeat",
                "date_trunc",
                "mod",
                "power",
                "strpos"
            ])
        ),
        12 => format!("({a} {}IN ({b}, {a}))", dice.pick(&["", "NOT "])),
        13 => format!("({a} BETWEEN {b} AND {a})"),
        14 => format!(
            "{}() OVER (PARTITION BY {a} ORDER BY {b})",
            dice.pick(&["row_number", "rank", "ntile", "lag"])
        ),
        _ => format!(
            "{}({})",
            dice.pick(&["EXISTS", "", "a IN ", "a = ANY "]),
            query(dice, depth - 1)
        ),
    }
}

/// A small seeded generator (SplitMix64): the same inputs on every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn bytes(&mut self, max: u64) -> Vec<u8> {
        (0..self.below(max)).map(|_| self.byte()).collect()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        &of[at]
    }
}
