//! Settings, prepared statements in SQL, cursors, temporary tables in transactions.

use crate::client::{TestServer, kinds, parse, rows, sqlstate, sync};

#[test]
fn changed_settings_are_reported() {
    let server = TestServer::start();
    let mut client = server.connect();
    let answer = client.query("SET application_name = 'a b'");
    assert_eq!(kinds(&answer), "CSZ");
    assert_eq!(answer[1].body, b"application_name\0a b\0");
    assert_eq!(kinds(&client.query("SET application_name = 'a b'")), "CZ");
    client.query("BEGIN");
    assert_eq!(kinds(&client.query("SET LOCAL DateStyle = german")), "CSZ");
    let answer = client.query("ROLLBACK");
    assert_eq!(kinds(&answer), "CSZ");
    assert_eq!(answer[1].body, b"DateStyle\0ISO, MDY\0");
}

#[test]
fn settings_are_checked_and_shown_as_postgres_does() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("SET statement_timeout = '5s'");
    let answer = client.query("SHOW statement_timeout");
    assert_eq!(
        (kinds(&answer).as_str(), answer[2].text().as_str()),
        ("TDCZ", "SHOW")
    );
    assert_eq!(rows(&answer), [["5s"]]);
    assert_eq!(sqlstate(&client.query("SET no_such = 1")), "42704");
    assert_eq!(sqlstate(&client.query("SHOW no_such")), "42704");
    assert_eq!(sqlstate(&client.query("SET jit = maybe")), "22023");
    assert_eq!(
        sqlstate(&client.query("SET server_version = '17'")),
        "55P02"
    );
    client.query("SET my.setting = 'x'");
    assert_eq!(client.rows("SHOW my.setting"), [["x"]]);
    client.query("SET search_path TO a, \"B\"");
    assert_eq!(client.rows("SHOW search_path"), [["a, \"B\""]]);
    client.query("RESET ALL");
    assert_eq!(client.rows("SHOW statement_timeout"), [["0"]]);
    assert!(client.rows("SHOW ALL").len() > 30);
    assert_eq!(
        client.rows("SHOW TRANSACTION ISOLATION LEVEL"),
        [["read committed"]]
    );
    client.query("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY");
    assert_eq!(
        client.rows("SHOW transaction_isolation"),
        [["serializable"]]
    );
    assert_eq!(sqlstate(&client.query("CREATE SCHEMA s")), "25006");
    client.query("ROLLBACK");
    assert_eq!(
        client.rows("SHOW transaction_isolation"),
        [["read committed"]]
    );
}

#[test]
fn prepared_statements_in_sql() {
    let server = TestServer::start();
    let mut client = server.connect();
    assert_eq!(
        client.query("PREPARE p (int) AS SELECT $1 + 1")[0].text(),
        "PREPARE"
    );
    assert_eq!(sqlstate(&client.query("PREPARE p AS SELECT 1")), "42P05");
    assert_eq!(client.rows("EXECUTE p (41)"), [["42"]]);
    assert_eq!(sqlstate(&client.query("EXECUTE q")), "26000");
    assert_eq!(client.query("DEALLOCATE p")[0].text(), "DEALLOCATE");
    assert_eq!(sqlstate(&client.query("DEALLOCATE p")), "26000");
    client.query("PREPARE p AS SELECT 1");
    assert_eq!(client.query("DISCARD ALL")[0].text(), "DISCARD ALL");
    assert_eq!(sqlstate(&client.query("EXECUTE p")), "26000");
}

#[test]
fn prepared_statements_and_cursors_are_in_their_system_tables() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("PREPARE p (int, text) AS SELECT $1, $2");
    client.send(&[parse("q", "SELECT 1 WHERE $1", &[16]), sync()].concat());
    client.until_ready();
    assert_eq!(
        client.rows(
            "SELECT name, statement, from_sql, array_length(parameter_types, 1) \
             FROM pg_prepared_statements WHERE prepare_time <= clock_timestamp() ORDER BY name"
        ),
        [
            ["p", "PREPARE p (int, text) AS SELECT $1, $2", "t", "2"],
            ["q", "SELECT 1 WHERE $1", "f", "1"],
        ]
    );
    client.query("DEALLOCATE ALL");
    assert_eq!(
        client.rows("SELECT count(*) FROM pg_prepared_statements"),
        [["0"]]
    );
    client.query("BEGIN; DECLARE c BINARY CURSOR WITH HOLD FOR SELECT 1");
    assert_eq!(
        client.rows(
            "SELECT name, statement, is_holdable, is_binary FROM pg_cursors \
             WHERE creation_time <= clock_timestamp()"
        ),
        [[
            "c",
            "DECLARE c BINARY CURSOR WITH HOLD FOR SELECT 1",
            "t",
            "t"
        ]]
    );
    client.query("ROLLBACK");
    assert_eq!(client.rows("SELECT count(*) FROM pg_cursors"), [["0"]]);
}

#[test]
fn temporary_views_go_with_their_session_and_transaction() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)");
    let answer = client.query("CREATE VIEW v AS SELECT a + 1 AS b FROM t");
    assert_eq!(kinds(&answer), "NCZ");
    assert_eq!(answer[0].field('M'), "view \"v\" will be a temporary view");
    assert_eq!(client.rows("SELECT b FROM v"), [["2"]]);
    client.query("BEGIN; DROP TABLE t CASCADE");
    assert_eq!(sqlstate(&client.query("SELECT b FROM v")), "42P01");
    client.query("ROLLBACK");
    assert_eq!(client.rows("SELECT b FROM v"), [["2"]]);
    let mut other = server.connect();
    assert_eq!(sqlstate(&other.query("SELECT b FROM v")), "42P01");
    client.query("DISCARD TEMP");
    assert_eq!(sqlstate(&client.query("SELECT b FROM v")), "42P01");
}

#[test]
fn cursors_go_forward() {
    let server = TestServer::start();
    let mut client = server.connect();
    let declare =
        "DECLARE c CURSOR FOR SELECT * FROM (VALUES (1), (2), (3), (4), (5)) v ORDER BY 1";
    assert_eq!(sqlstate(&client.query(declare)), "25P01");
    client.query("BEGIN");
    assert_eq!(client.query(declare)[0].text(), "DECLARE CURSOR");
    let answer = client.query("FETCH 2 FROM c");
    assert_eq!(
        (rows(&answer), answer[3].text()),
        (vec![vec!["1".into()], vec!["2".into()]], "FETCH 2".into())
    );
    assert_eq!(client.query("MOVE 1 FROM c")[0].text(), "MOVE 1");
    assert_eq!(client.rows("FETCH ALL FROM c"), [["4"], ["5"]]);
    assert_eq!(client.rows("FETCH c").len(), 0);
    assert_eq!(client.query("CLOSE c")[0].text(), "CLOSE CURSOR");
    assert_eq!(sqlstate(&client.query("FETCH c")), "34000");
    client.query("ROLLBACK");
    client.query("BEGIN");
    client.query(&declare.replace("CURSOR", "CURSOR WITH HOLD"));
    client.query("COMMIT");
    assert_eq!(client.rows("FETCH 1 FROM c"), [["1"]]);
    client.query("CLOSE ALL");
    assert_eq!(sqlstate(&client.query("FETCH c")), "34000");
}

#[test]
fn temporary_tables_are_transactional() {
    let server = TestServer::start();
    let mut client = server.connect();
    assert_eq!(
        client.query("CREATE TEMP TABLE t (a int, b text)")[0].text(),
        "CREATE TABLE"
    );
    assert_eq!(
        client.query("INSERT INTO t VALUES (1, 'x'), (2, 'y')")[0].text(),
        "INSERT 0 2"
    );
    client.query("BEGIN");
    client.query("INSERT INTO t VALUES (3, 'z')");
    client.query("SAVEPOINT s");
    client.query("DROP TABLE t");
    assert_eq!(sqlstate(&client.query("SELECT * FROM t")), "42P01");
    client.query("ROLLBACK TO s");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["3"]]);
    client.query("ROLLBACK");
    assert_eq!(
        client.rows("SELECT a, b FROM t ORDER BY a"),
        [["1", "x"], ["2", "y"]]
    );
    let mut other = server.connect();
    assert_eq!(sqlstate(&other.query("SELECT * FROM t")), "42P01");
    client.query("DISCARD TEMP");
    assert_eq!(sqlstate(&client.query("SELECT * FROM t")), "42P01");
}

#[test]
fn ddl_is_undone_with_its_transaction() {
    let server = TestServer::start();
    let mut client = server.connect();
    assert_eq!(client.query("CREATE SCHEMA s")[0].text(), "CREATE SCHEMA");
    let answer = client.query("CREATE SCHEMA IF NOT EXISTS s");
    assert_eq!(
        (kinds(&answer).as_str(), answer[0].field('C').as_str()),
        ("NCZ", "42P06")
    );
    client.query("BEGIN");
    assert_eq!(client.query("DROP SCHEMA s")[0].text(), "DROP SCHEMA");
    client.query("ROLLBACK");
    assert_eq!(client.query("DROP SCHEMA s")[0].text(), "DROP SCHEMA");
    assert_eq!(sqlstate(&client.query("DROP SCHEMA s")), "3F000");
}
