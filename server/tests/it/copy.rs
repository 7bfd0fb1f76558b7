//! COPY on the wire: what messages come in which order, and what an error leaves behind.

use server::config::KeyId;

use crate::client::{
    Client, Message, TestServer, bind, describe, execute, flush, kinds, message, packet, parse,
    query, rows, sqlstate, sync,
};

const CANCEL_REQUEST: u32 = 80_877_102;

fn data(bytes: &[u8]) -> Vec<u8> {
    message('d', bytes)
}

fn done() -> Vec<u8> {
    message('c', b"")
}

/// What COPY TO sent.
fn copied(messages: &[Message]) -> String {
    let bytes: Vec<u8> = messages
        .iter()
        .filter(|m| m.kind == 'd')
        .flat_map(|m| m.body.clone())
        .collect();
    String::from_utf8(bytes).expect("text")
}

fn error(messages: &[Message]) -> &Message {
    messages.iter().find(|m| m.kind == 'E').expect("an error")
}

/// A session with an empty `t (a int NOT NULL, b text)`.
fn with_table(server: &TestServer) -> Client {
    let mut client = server.connect();
    let answer = client.query("CREATE TEMP TABLE t (a int NOT NULL, b text DEFAULT 'd')");
    assert_eq!(kinds(&answer), "CZ", "{answer:?}");
    client
}

#[test]
fn rows_go_out_as_copy_data() {
    let server = TestServer::start();
    let mut client = server.connect();
    let answer = client
        .query("COPY (SELECT 1 AS a, NULL AS b UNION ALL SELECT 2, 'x' ORDER BY a) TO STDOUT");
    assert_eq!(kinds(&answer), "HddcCZ");
    // Text over all, two columns, each text.
    assert_eq!(answer[0].body, b"\0\0\x02\0\0\0\0");
    assert_eq!(copied(&answer), "1\t\\N\n2\tx\n");
    assert_eq!(answer[4].text(), "COPY 2");
    // Both syntaxes, in a batch with other statements.
    let answer = client.query(
        "SELECT 1; COPY (SELECT 1 AS a) TO STDOUT CSV HEADER; \
         COPY (SELECT 1 AS a) TO STDOUT (FORMAT csv, HEADER); SELECT 2",
    );
    assert_eq!(kinds(&answer), "TDCHddcCHddcCTDCZ");
    assert_eq!(copied(&answer), "a\n1\na\n1\n");
}

#[test]
fn a_binary_header_is_in_the_first_message() {
    let server = TestServer::start();
    let mut client = server.connect();
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let answer = client.query("COPY (SELECT 258 AS a) TO STDOUT (FORMAT binary)");
    assert_eq!(kinds(&answer), "HddcCZ");
    assert_eq!(answer[0].body, b"\x01\0\x01\0\x01");
    assert_eq!(
        answer[1].body,
        [&header[..], b"\0\x01\0\0\0\x04\0\0\x01\x02"].concat()
    );
    assert_eq!(answer[2].body, b"\xff\xff");
    // Without rows it is where the trailer is.
    let answer = client.query("COPY (SELECT 1 AS a WHERE false) TO STDOUT (FORMAT binary)");
    assert_eq!(kinds(&answer), "HdcCZ");
    assert_eq!(answer[1].body, [&header[..], b"\xff\xff"].concat());
    assert_eq!(answer[3].text(), "COPY 0");
}

#[test]
fn rows_come_in_and_join_the_table_at_once() {
    let server = TestServer::start();
    let mut client = with_table(&server);
    client.send(&query("COPY t (b, a) FROM STDIN; SELECT count(*) FROM t"));
    let ready = client.expect('G');
    assert_eq!(ready.body, b"\0\0\x02\0\0\0\0");
    // Messages know nothing of rows.
    for piece in [&b"x"[..], b"\t1\n\\", b"N\t2\ny\\tz\t", b"3"] {
        client.send(&data(piece));
    }
    client.send(&done());
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "CTDCZ");
    assert_eq!(answer[0].text(), "COPY 3");
    assert_eq!(rows(&answer), [["3"]]);
    assert_eq!(
        client.rows("SELECT a, b FROM t ORDER BY a"),
        [["1", "x"], ["2", "NULL"], ["3", "y\tz"]]
    );
    // Columns that are not named get their defaults.
    client.send(&[query("COPY t (a) FROM STDIN CSV"), data(b"4\n"), done()].concat());
    assert_eq!(kinds(&client.until_ready()), "GCZ");
    assert_eq!(client.rows("SELECT b FROM t WHERE a = 4"), [["d"]]);
}

#[test]
fn what_fails_leaves_nothing_and_the_session_in_step() {
    let server = TestServer::start();
    let mut client = with_table(&server);
    for (rows, code, context) in [
        (
            &b"1\tx\n2\ty\nzwei\tz\n"[..],
            "22P02",
            "COPY t, line 3, column a: \"zwei\"",
        ),
        (b"1\tx\n2\n", "22P04", "COPY t, line 2: \"2\""),
        (b"1\tx\t3\n", "22P04", "COPY t, line 1: \"1\tx\t3\""),
        (b"\\N\tx\n", "23502", "COPY t, line 1: \"\\N\tx\""),
        (b"1\t\xff\n", "22021", "COPY t, line 1"),
        (
            b"99999999999\tx\n",
            "22003",
            "COPY t, line 1, column a: \"99999999999\"",
        ),
    ] {
        // The client goes on sending: it learns of the error when it reads.
        let more = [data(rows), data(b"5\tmore\n"), done()].concat();
        client.send(&[query("COPY t FROM STDIN"), more].concat());
        let answer = client.until_ready();
        assert_eq!(kinds(&answer), "GEZ", "{context}");
        assert_eq!(sqlstate(&answer), code, "{context}");
        assert_eq!(error(&answer).field('W'), context);
        assert_eq!(client.rows("SELECT count(*) FROM t"), [["0"]]);
    }
    client.send(
        &[
            query("COPY t FROM STDIN"),
            data(b"1\tx\n"),
            message('f', b"changed my mind\0"),
        ]
        .concat(),
    );
    let answer = client.until_ready();
    assert_eq!(sqlstate(&answer), "57014");
    assert_eq!(
        error(&answer).field('M'),
        "COPY from stdin failed: changed my mind"
    );
    // Nothing but COPY's messages may come; the query is lost with the COPY.
    client.send(&[query("COPY t FROM STDIN"), query("SELECT 1")].concat());
    let answer = client.until_ready();
    assert_eq!(sqlstate(&answer), "08P01");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["0"]]);
}

#[test]
fn in_a_transaction_it_is_undone_with_it() {
    let server = TestServer::start();
    let mut client = with_table(&server);
    client.query("BEGIN");
    client.send(&[query("COPY t FROM STDIN"), data(b"1\tx\n"), done()].concat());
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "GCZ");
    assert_eq!(answer[2].body, b"T");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["1"]]);
    client.query("SAVEPOINT s");
    client.send(&[query("COPY t FROM STDIN"), data(b"bad\n"), done()].concat());
    let answer = client.until_ready();
    assert_eq!(answer.last().map(|m| m.body.clone()), Some(b"E".to_vec()));
    client.query("ROLLBACK TO s");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["1"]]);
    client.query("ROLLBACK");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["0"]]);
}

#[test]
fn the_extended_protocol_copies_too() {
    let server = TestServer::start();
    let mut client = with_table(&server);
    let begin = |sql: &str| {
        [
            parse("", sql, &[]),
            bind("", "", &[], &[]),
            describe("P"),
            execute("", 1),
        ]
        .concat()
    };
    // The Sync that libpq sends with the Execute belongs to nothing: another follows the data.
    client.send(&[begin("COPY t FROM STDIN"), sync()].concat());
    for kind in ['1', '2', 'n', 'G'] {
        client.expect(kind);
    }
    client.send(&[data(b"1\tx\n"), flush(), data(b"2\ty\n"), done(), sync()].concat());
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "CZ");
    assert_eq!(answer[0].text(), "COPY 2");
    // A row limit means nothing to COPY.
    client.send(&[begin("COPY (SELECT * FROM t) TO STDOUT"), sync()].concat());
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "12nHddcCZ");
    // After an error everything up to the Sync is skipped.
    client.send(
        &[
            begin("COPY t FROM STDIN"),
            data(b"bad\n"),
            done(),
            query("SELECT 1"),
            sync(),
        ]
        .concat(),
    );
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "12nGEZ");
    assert_eq!(sqlstate(&answer), "22P02");
    client.assert_alive();
}

#[test]
fn a_slow_client_is_waited_for_and_a_vanished_one_is_not() {
    let server = TestServer::start_with(&[(KeyId::Slots, "1")]);
    let mut client = with_table(&server);
    client.send(&[query("COPY t FROM STDIN"), data(b"1\tx\n")].concat());
    client.expect('G');
    // It holds no slot while its client thinks.
    let mut other = server.connect();
    assert_eq!(
        other.rows("SELECT count(*) FROM generate_series(1, 2000000)"),
        [["2000000"]]
    );
    other.hang_up();
    client.hang_up();
    server.wait_for_sessions(0);
    let mut reader = server.connect();
    reader.send(&query(
        "COPY (SELECT x, repeat('x', 100) FROM generate_series(1, 100000000) g(x)) TO STDOUT",
    ));
    reader.expect('H');
    reader.expect('d');
    reader.hang_up();
    server.wait_for_sessions(0);
}

#[test]
fn cancel_and_timeout_reach_a_copy_that_waits() {
    let server = TestServer::start();
    let mut client = with_table(&server);
    client.send(&[query("COPY t FROM STDIN"), data(b"1\tx\n")].concat());
    client.expect('G');
    let mut canceller = server.socket();
    let request = [&client.pid.to_be_bytes()[..], &client.secret].concat();
    canceller.send(&packet(CANCEL_REQUEST, &request));
    assert!(canceller.until_closed().is_empty());
    let answer = client.until_ready();
    assert_eq!(sqlstate(&answer), "57014");
    // Whether the line has been read yet is a matter of time.
    assert!(error(&answer).field('W').starts_with("COPY t, line "));
    client.send(&[data(b"2\ty\n"), done()].concat());
    client.query("SET statement_timeout = '100ms'");
    client.send(&query("COPY t FROM STDIN"));
    client.expect('G');
    assert_eq!(sqlstate(&client.until_ready()), "57014");
    client.query("SET statement_timeout = 0");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["0"]]);
}

#[test]
fn much_data_takes_little_memory_and_keeps_its_order() {
    let server = TestServer::start();
    let mut client = with_table(&server);
    client.send(&query("COPY t FROM STDIN (FORMAT csv)"));
    client.expect('G');
    // Some pieces of 8 MiB: several jobs write.
    let mut sent = 0;
    for block in 0..500 {
        let mut lines = String::new();
        for row in 0..1_000 {
            lines.push_str(&format!("{},\"row, {row} of block {block}\"\n", sent + row));
        }
        client.send(&data(lines.as_bytes()));
        sent += 1_000;
    }
    client.send(&done());
    let answer = client.until_ready();
    assert_eq!(answer[0].text(), format!("COPY {sent}"));
    assert_eq!(
        client.rows("SELECT count(*), count(DISTINCT a), min(a), max(a) FROM t"),
        [["500000", "500000", "0", "499999"]]
    );
    // An error late in the data undoes what has been written of it.
    client.send(&query("COPY t FROM STDIN (FORMAT csv)"));
    client.expect('G');
    let line = format!("1,{}\n", "y".repeat(1_000));
    let block = line.repeat(1_000);
    for _ in 0..20 {
        client.send(&data(block.as_bytes()));
    }
    client.send(&[data(b"1,\"open"), done()].concat());
    let answer = client.until_ready();
    assert_eq!(sqlstate(&answer), "22P04");
    assert_eq!(error(&answer).field('W'), "COPY t, line 20001");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["500000"]]);
}

#[test]
fn what_cannot_be_copied_is_refused_before_any_data() {
    let server = TestServer::start();
    let mut client = with_table(&server);
    client.query("CREATE VIEW v AS SELECT 1 AS a");
    for (sql, code) in [
        ("COPY nothing FROM STDIN", "42P01"),
        ("COPY nothing TO STDOUT", "42P01"),
        ("COPY v TO STDOUT", "42809"),
        ("COPY v FROM STDIN", "42809"),
        ("COPY t (x) TO STDOUT", "42703"),
        ("COPY t (a, a) FROM STDIN", "42701"),
        ("COPY (SELECT $1) TO STDOUT", "42P02"),
        ("COPY t TO STDOUT (FORMAT nonsense)", "22023"),
        ("COPY t FROM '/etc/passwd'", "0A000"),
        ("COPY t TO PROGRAM 'cat'", "0A000"),
    ] {
        let answer = client.query(sql);
        assert_eq!(kinds(&answer), "EZ", "{sql}");
        assert_eq!(sqlstate(&answer), code, "{sql}");
    }
}
