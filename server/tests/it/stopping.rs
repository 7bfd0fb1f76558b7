//! Everything that stops a statement or a session before its end.

use server::config::KeyId;

use crate::client::{TestServer, bind, execute, kinds, packet, parse, query, rows, sqlstate, sync};

/// Runs for hours, in constant memory.
const FOR_EVER: &str = "SELECT sum(a.x * b.x) FROM generate_series(1, 10000000) a(x), \
                        generate_series(1, 10000000) b(x)";
/// Has many rows.
const MANY: &str = "SELECT x, repeat('x', 100) FROM generate_series(1, 100000000) g(x)";

const CANCEL_REQUEST: u32 = 80_877_102;

fn cancel(server: &TestServer, pid: i32, secret: &[u8]) {
    let mut client = server.socket();
    client.send(&packet(
        CANCEL_REQUEST,
        &[&pid.to_be_bytes()[..], secret].concat(),
    ));
    assert!(client.until_closed().is_empty());
}

#[test]
fn a_cancel_request_stops_the_statement() {
    let server = TestServer::start();
    let mut client = server.connect();
    // A cancel that comes while nothing runs is forgotten.
    cancel(&server, client.pid, &client.secret.clone());
    client.assert_alive();
    client.send(&query(FOR_EVER));
    // The request may overtake the query; it is repeated until it hits.
    let mut victim = server.connect();
    victim.assert_alive();
    let (pid, secret) = (client.pid, client.secret.clone());
    let answer = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| client.until_ready());
        while !waiter.is_finished() {
            // A wrong key and a wrong session must do nothing.
            cancel(&server, pid, b"0000");
            cancel(&server, victim.pid, &secret);
            cancel(&server, pid, &secret);
        }
        waiter.join().expect("an answer")
    });
    assert_eq!(kinds(&answer).replace('T', ""), "EZ");
    assert_eq!(sqlstate(&answer), "57014");
    client.assert_alive();
    victim.assert_alive();
}

#[test]
fn a_wrong_cancel_key_does_nothing() {
    let server = TestServer::start();
    let mut client = server.connect();
    let sql = "SELECT count(*) FROM generate_series(1, 3000000)";
    client.send(&query(sql));
    for _ in 0..20 {
        cancel(&server, client.pid, b"0000");
        cancel(&server, client.pid, b"a key of quite another length");
    }
    assert_eq!(rows(&client.until_ready()), [["3000000"]]);
}

#[test]
fn a_statement_timeout_stops_the_statement() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("SET statement_timeout = '100ms'");
    let answer = client.query(FOR_EVER);
    assert_eq!(sqlstate(&answer), "57014");
    let error = answer.iter().find(|m| m.kind == 'E').expect("an error");
    assert_eq!(
        error.field('M'),
        "canceling statement due to statement timeout"
    );
    client.query("SET statement_timeout = 0");
    client.assert_alive();
}

#[test]
fn a_vanished_client_stops_its_statement() {
    let server = TestServer::start();
    let mut working = server.connect();
    working.send(&query(FOR_EVER));
    working.hang_up();
    server.wait_for_sessions(0);
    let mut reading = server.connect();
    reading.send(&query(MANY));
    reading.expect('T');
    reading.expect('D');
    reading.hang_up();
    server.wait_for_sessions(0);
    let mut suspended = server.connect();
    suspended.query("BEGIN");
    suspended.send(
        &[
            parse("", MANY, &[]),
            bind("p", "", &[], &[]),
            execute("p", 5),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(kinds(&suspended.until_ready()), "12DDDDDsZ");
    suspended.hang_up();
    server.wait_for_sessions(0);
    // All slots are free again.
    let mut client = server.connect();
    client.query("SET firesteel.force_exchange = on");
    assert_eq!(
        client.rows("SELECT count(*) FROM generate_series(1, 1000)"),
        [["1000"]]
    );
}

#[test]
fn a_slow_reader_gets_everything() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(&query("SELECT x FROM generate_series(1, 200000) g(x)"));
    // While the server waits for the reader, it still listens.
    let mut other = server.connect();
    other.assert_alive();
    let answer = client.until_ready();
    assert_eq!(answer.iter().filter(|m| m.kind == 'D').count(), 200_000);
    assert_eq!(answer[answer.len() - 2].text(), "SELECT 200000");
}

#[test]
fn idle_sessions_end_when_told_to() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("SET idle_session_timeout = '50ms'");
    assert_eq!(sqlstate(&client.until_closed()), "57P05");
    let mut client = server.connect();
    client.query("SET idle_in_transaction_session_timeout = '50ms'");
    client.assert_alive();
    client.query("BEGIN");
    assert_eq!(sqlstate(&client.until_closed()), "25P03");
}

#[test]
fn shutdown_ends_idle_sessions_and_lets_statements_finish() {
    let mut server = TestServer::start();
    let mut idle = server.connect();
    let mut busy = server.connect();
    busy.send(&query("SELECT count(*) FROM generate_series(1, 3000000)"));
    // Its answer has begun once the row description is here, or the server is still planning.
    server.begin_stop();
    let farewell = idle.until_closed();
    assert_eq!(sqlstate(&farewell), "57P01");
    assert_eq!(farewell[0].field('S'), "FATAL");
    let answer = busy.until_closed();
    let last = answer.last().expect("a farewell");
    assert_eq!((last.kind, last.field('C').as_str()), ('E', "57P01"));
    server.stop();
}

#[test]
fn shutdown_cancels_what_outlasts_the_drain() {
    let mut server = TestServer::start_with(&[(KeyId::DrainTimeout, "100ms")]);
    let mut busy = server.connect();
    busy.send(&query(FOR_EVER));
    busy.send(&query("SELECT 1"));
    server.begin_stop();
    let answer = busy.until_closed();
    assert_eq!(sqlstate(&answer), "57P01");
    server.stop();
}
