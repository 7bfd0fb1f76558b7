//! The simple query protocol.

use crate::client::{TestServer, kinds, query, rows, sqlstate};

#[test]
fn a_query_answers_in_one_round() {
    let server = TestServer::start();
    let mut client = server.connect();
    let answer = client.query("SELECT 1 AS one, 'x' AS two");
    assert_eq!(kinds(&answer), "TDCZ");
    let columns = answer[0].columns();
    assert_eq!(
        columns,
        [("one".to_owned(), 23, 0), ("two".to_owned(), 25, 0)]
    );
    assert_eq!(rows(&answer), [["1", "x"]]);
    assert_eq!(answer[2].text(), "SELECT 1");
    assert_eq!(answer[3].body, b"I");
}

#[test]
fn empty_queries_are_answered() {
    let server = TestServer::start();
    let mut client = server.connect();
    for sql in ["", " ; ;", "-- nothing"] {
        assert_eq!(kinds(&client.query(sql)), "IZ", "{sql:?}");
    }
}

#[test]
fn a_batch_stops_at_its_error_and_keeps_earlier_results() {
    let server = TestServer::start();
    let mut client = server.connect();
    let answer = client.query("SELECT 1; SELECT 2; SELECT 1/0; SELECT 3");
    // The third may have told its columns before it failed.
    assert_eq!(kinds(&answer).replace("CTE", "CE"), "TDCTDCEZ");
    assert_eq!(sqlstate(&answer), "22012");
    // A syntax error anywhere runs nothing.
    let answer = client.query("SELECT 1; SELEKT 2");
    assert_eq!(
        (kinds(&answer).as_str(), sqlstate(&answer).as_str()),
        ("EZ", "42601")
    );
    assert_eq!(answer[0].field('P'), "11");
}

#[test]
fn there_are_no_parameters() {
    let server = TestServer::start();
    let mut client = server.connect();
    for (sql, message, position) in [
        ("SELECT $1", "there is no parameter $1", "8"),
        ("SELECT 1 LIMIT $2", "there is no parameter $2", "16"),
        ("EXPLAIN SELECT $3::int", "there is no parameter $3", "16"),
    ] {
        let answer = client.query(sql);
        assert_eq!(sqlstate(&answer), "42P02", "{sql}");
        assert_eq!(answer[0].field('M'), message);
        assert_eq!(answer[0].field('P'), position, "{sql}");
    }
}

#[test]
fn a_batch_is_one_transaction() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("SET extra_float_digits = 0; SELECT 1/0");
    assert_eq!(client.rows("SHOW extra_float_digits"), [["1"]]);
    client.query("SET extra_float_digits = 0; SELECT 1");
    assert_eq!(client.rows("SHOW extra_float_digits"), [["0"]]);
    // BEGIN takes what came before it into the block.
    client.query("SET extra_float_digits = 2; BEGIN");
    assert_eq!(client.status_after("ROLLBACK"), 'I');
    assert_eq!(client.rows("SHOW extra_float_digits"), [["0"]]);
}

#[test]
fn pipelined_queries_are_answered_in_order() {
    let server = TestServer::start();
    let mut client = server.connect();
    let all: Vec<u8> = (0..50)
        .flat_map(|i| query(&format!("SELECT {i}")))
        .collect();
    client.send(&all);
    for i in 0..50 {
        assert_eq!(rows(&client.until_ready()), [[i.to_string()]]);
    }
}

#[test]
fn transaction_status_is_honest() {
    let server = TestServer::start();
    let mut client = server.connect();
    for (sql, status) in [
        ("SELECT 1", 'I'),
        ("BEGIN", 'T'),
        ("SELECT 1", 'T'),
        ("SAVEPOINT a", 'T'),
        ("SELECT 1/0", 'E'),
        ("SELECT 1", 'E'),
        ("ROLLBACK TO a", 'T'),
        ("SELECT 1", 'T'),
        ("SELECT nonsense", 'E'),
        ("COMMIT", 'I'),
        ("BEGIN", 'T'),
        ("RELEASE nothing", 'E'),
        ("ROLLBACK", 'I'),
    ] {
        assert_eq!(client.status_after(sql), status, "{sql}");
    }
    client.query("BEGIN; SELECT 1/0");
    assert_eq!(sqlstate(&client.query("SELECT 1")), "25P02");
    let answer = client.query("COMMIT");
    assert_eq!(answer[0].text(), "ROLLBACK");
}

#[test]
fn constraints_that_are_not_enforced_warn() {
    let server = TestServer::start();
    let mut client = server.connect();
    let create =
        "CREATE TEMP TABLE IF NOT EXISTS t (a int PRIMARY KEY, b int UNIQUE, c int UNIQUE)";
    let answer = client.query(create);
    assert_eq!(kinds(&answer), "NNCZ");
    for (message, what) in answer.iter().zip(["PRIMARY KEY", "UNIQUE"]) {
        assert_eq!(
            (message.field('C'), message.field('S')),
            ("01000".into(), "WARNING".into())
        );
        assert!(
            message.field('M').starts_with(what),
            "{}",
            message.field('M')
        );
    }
    // Nothing is created, so nothing is promised.
    let answer = client.query(create);
    assert_eq!(
        (kinds(&answer), answer[0].field('S')),
        ("NCZ".into(), "NOTICE".into())
    );
    assert_eq!(
        kinds(&client.query("CREATE TEMP TABLE plain (a int NOT NULL)")),
        "CZ"
    );
}

#[test]
fn misplaced_transaction_commands_warn() {
    let server = TestServer::start();
    let mut client = server.connect();
    let answer = client.query("COMMIT");
    assert_eq!(kinds(&answer), "NCZ");
    assert_eq!(
        (answer[0].field('C'), answer[0].field('S')),
        ("25P01".into(), "WARNING".into())
    );
    let answer = client.query("BEGIN; BEGIN; COMMIT");
    assert_eq!(kinds(&answer), "CNCCZ");
    assert_eq!(answer[1].field('C'), "25001");
    assert_eq!(
        kinds(&client.query("SET LOCAL extra_float_digits = 0")),
        "NCZ"
    );
    assert_eq!(sqlstate(&client.query("SAVEPOINT a")), "25P01");
}
