//! The extended query protocol, message by message.

use crate::client::{
    TestServer, bind, close, describe, execute, flush, kinds, parse, query, rows, sqlstate, sync,
};

/// Five rows in order.
const FIVE: &str = "SELECT x FROM (VALUES (1), (2), (3), (4), (5)) v(x) ORDER BY x";

#[test]
fn parse_bind_describe_execute() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(
        &[
            parse("s", "SELECT $1::int + 1 AS n, $2::text AS t", &[]),
            describe("Ss"),
            bind("", "s", &[Some("41"), None], &[1, 0]),
            describe("P"),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "1tT2TDCZ");
    assert_eq!(answer[1].body, b"\0\x02\0\0\0\x17\0\0\0\x19");
    assert_eq!(
        answer[2].columns(),
        [("n".to_owned(), 23, 0), ("t".to_owned(), 25, 0)]
    );
    assert_eq!(
        answer[4].columns(),
        [("n".to_owned(), 23, 1), ("t".to_owned(), 25, 0)]
    );
    assert_eq!(answer[5].cells(), [Some(vec![0, 0, 0, 42]), None]);
}

#[test]
fn statements_without_rows_have_no_data() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(
        &[
            parse("", "SET extra_float_digits = 2", &[]),
            describe("S"),
            bind("", "", &[], &[]),
            describe("P"),
            execute("", 0),
            parse("", "", &[]),
            describe("S"),
            bind("", "", &[], &[]),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(kinds(&client.until_ready()), "1tn2nC1tn2IZ");
    client.send(
        &[
            parse("", "SHOW extra_float_digits", &[]),
            describe("S"),
            sync(),
        ]
        .concat(),
    );
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "1tTZ");
    assert_eq!(
        answer[2].columns(),
        [("extra_float_digits".to_owned(), 25, 0)]
    );
}

#[test]
fn portals_suspend_and_resume() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(
        &[
            parse("", FIVE, &[]),
            bind("p", "", &[], &[]),
            execute("p", 2),
            execute("p", 2),
            execute("p", 2),
            execute("p", 2),
            sync(),
        ]
        .concat(),
    );
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "12DDsDDsDCCZ");
    assert_eq!(rows(&answer), [["1"], ["2"], ["3"], ["4"], ["5"]]);
    assert_eq!(
        (answer[9].text(), answer[10].text()),
        ("SELECT 1".into(), "SELECT 0".into())
    );
    // Outside of a block the portal ended with the Sync.
    client.send(&[execute("p", 0), sync()].concat());
    assert_eq!(sqlstate(&client.until_ready()), "34000");
}

#[test]
fn portals_of_a_block_live_until_its_end() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("BEGIN");
    client.send(
        &[
            parse("", FIVE, &[]),
            bind("p", "", &[], &[]),
            execute("p", 4),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(kinds(&client.until_ready()), "12DDDDsZ");
    client.assert_alive();
    client.send(&[execute("p", 4), sync()].concat());
    assert_eq!(kinds(&client.until_ready()), "DCZ");
    client.query("COMMIT");
    client.send(&[describe("Pp"), sync()].concat());
    assert_eq!(sqlstate(&client.until_ready()), "34000");
}

#[test]
fn negative_row_limits_mean_all() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(
        &[
            parse("", FIVE, &[]),
            bind("", "", &[], &[]),
            execute("", -1),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(kinds(&client.until_ready()), "12DDDDDCZ");
}

#[test]
fn flush_sends_without_a_sync() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(&[parse("s", "SELECT 1", &[]), describe("Ss"), flush()].concat());
    client.expect('1');
    client.expect('t');
    client.expect('T');
    client.send(&[bind("", "s", &[], &[]), execute("", 0), flush()].concat());
    client.expect('2');
    client.expect('D');
    client.expect('C');
    client.send(&sync());
    client.expect('Z');
}

#[test]
fn an_error_skips_to_the_sync() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(
        &[
            parse("good", "SELECT 1", &[]),
            parse("bad", "SELECT nonsense", &[]),
            bind("", "good", &[], &[]),
            execute("", 0),
            query("SELECT 1"),
            sync(),
            bind("", "good", &[], &[]),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    let answer = client.until_ready();
    assert_eq!(
        (kinds(&answer).as_str(), sqlstate(&answer).as_str()),
        ("1EZ", "42703")
    );
    assert_eq!(kinds(&client.until_ready()), "2DCZ");
}

#[test]
fn a_pipeline_is_one_transaction_up_to_its_sync() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(
        &[
            parse("", "SET extra_float_digits = 3", &[]),
            bind("", "", &[], &[]),
            execute("", 0),
            parse("", "SELECT 1/0", &[]),
            bind("", "", &[], &[]),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    let answer = client.until_ready();
    assert_eq!(sqlstate(&answer), "22012");
    assert_eq!(client.rows("SHOW extra_float_digits"), [["1"]]);
}

#[test]
fn what_is_missing_or_taken_is_an_error() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(&[parse("s", "SELECT $1::int", &[]), sync()].concat());
    client.until_ready();
    for (bytes, code) in [
        (describe("Snone"), "26000"),
        (describe("Pnone"), "34000"),
        (bind("", "none", &[], &[]), "26000"),
        (execute("none", 0), "34000"),
        (parse("s", "SELECT 2", &[]), "42P05"),
        (parse("", "SELECT 1; SELECT 2", &[]), "42601"),
        (parse("", "SELECT 1", &[999_999]), "42704"),
        (bind("", "s", &[], &[]), "08P01"),
        (bind("", "s", &[Some("1"), Some("2")], &[]), "08P01"),
        (bind("", "s", &[Some("1")], &[0, 1]), "08P01"),
        (bind("", "s", &[Some("one")], &[]), "22P02"),
        (
            [
                bind("p", "s", &[Some("1")], &[]),
                bind("p", "s", &[Some("1")], &[]),
            ]
            .concat(),
            "42P03",
        ),
    ] {
        client.send(&[bytes.clone(), sync()].concat());
        let answer = client.until_ready();
        assert_eq!(sqlstate(&answer), code, "{bytes:?}");
    }
    // Closing what is not there is fine.
    client.send(&[close("Snone"), close("Pnone"), close("Ss"), sync()].concat());
    assert_eq!(kinds(&client.until_ready()), "333Z");
    client.send(&[describe("Ss"), sync()].concat());
    assert_eq!(sqlstate(&client.until_ready()), "26000");
}

#[test]
fn a_failed_block_refuses_extended_messages_too() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(
        &[
            parse("s", "SELECT 1", &[]),
            parse("r", "ROLLBACK", &[]),
            sync(),
        ]
        .concat(),
    );
    client.until_ready();
    client.query("BEGIN; SELECT 1/0");
    for bytes in [
        parse("", "SELECT 1", &[]),
        bind("", "s", &[], &[]),
        describe("Ss"),
    ] {
        client.send(&[bytes, sync()].concat());
        assert_eq!(sqlstate(&client.until_ready()), "25P02");
    }
    client.send(&[bind("", "r", &[], &[]), execute("", 0), sync()].concat());
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "2CZ");
    assert_eq!(answer[2].body, b"I");
}

#[test]
fn a_simple_query_forgets_the_unnamed_statement() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(&[parse("", "SELECT 1", &[]), sync()].concat());
    client.until_ready();
    client.assert_alive();
    client.send(&[bind("", "", &[], &[]), sync()].concat());
    assert_eq!(sqlstate(&client.until_ready()), "26000");
}

/// asyncpg waits for the error with no more than a Flush sent.
#[test]
fn errors_are_sent_before_the_sync() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(&[parse("", "SELECT nonsense", &[]), describe("S"), flush()].concat());
    assert_eq!(client.expect('E').field('C'), "42703");
    client.send(&sync());
    client.expect('Z');
}
