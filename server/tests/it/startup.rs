//! Before the session.

use server::config::KeyId;

use crate::client::{TestServer, kinds, message, packet, sqlstate, startup};

const V3_0: u32 = 0x0003_0000;
const V3_2: u32 = 0x0003_0002;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

#[test]
fn a_session_starts_as_postgres_starts_it() {
    let server = TestServer::start();
    let mut client = server.socket();
    client.send(&startup(V3_0, &[("application_name", "it")]));
    let answer = client.until_ready();
    assert_eq!(kinds(&answer), "RSSSSSSSSSSSSSSKZ");
    assert_eq!(answer[0].body, [0; 4]);
    let key = &answer[answer.len() - 2];
    assert_eq!(key.body.len(), 8, "a 3.0 client reads four bytes of secret");
    let client = server.connect_with(&[("application_name", "it")]);
    let parameter = |name: &str| {
        let found = client.parameters.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(parameter("application_name"), Some("it"));
    assert_eq!(parameter("server_encoding"), Some("UTF8"));
    assert_eq!(parameter("client_encoding"), Some("UTF8"));
    assert_eq!(parameter("DateStyle"), Some("ISO, MDY"));
    assert_eq!(parameter("integer_datetimes"), Some("on"));
    assert_eq!(parameter("standard_conforming_strings"), Some("on"));
    assert_eq!(parameter("session_authorization"), Some("tester"));
    assert!(parameter("server_version").is_some_and(|v| v.starts_with("16.")));
}

#[test]
fn newer_protocols_are_negotiated() {
    let server = TestServer::start();
    let mut client = server.socket();
    client.send(&startup(V3_2, &[]));
    let answer = client.until_ready();
    assert_eq!(answer[answer.len() - 2].body.len(), 4 + 32);

    let mut client = server.socket();
    client.send(&startup(0x0003_270f, &[("_pq_.shiny", "1")]));
    let negotiate = client.expect('v');
    assert_eq!(negotiate.body[..4], V3_2.to_be_bytes());
    assert_eq!(&negotiate.body[4..], b"\0\0\0\x01_pq_.shiny\0");
    assert_eq!(client.until_ready()[0].kind, 'R');

    let mut client = server.socket();
    client.send(&startup(0x0002_0000, &[]));
    let answer = client.until_closed();
    assert_eq!(
        (kinds(&answer).as_str(), sqlstate(&answer).as_str()),
        ("E", "0A000")
    );
}

#[test]
fn encryption_is_declined_and_nothing_sent_early_is_believed() {
    let server = TestServer::start();
    let mut client = server.socket();
    client.send(&packet(SSL_REQUEST, b""));
    assert_eq!(client.byte(), b'N');
    client.send(&packet(GSS_REQUEST, b""));
    assert_eq!(client.byte(), b'N');
    client.send(&startup(V3_0, &[]));
    assert_eq!(kinds(&client.until_ready()).chars().last(), Some('Z'));

    let mut client = server.socket();
    client.send(&[packet(SSL_REQUEST, b""), startup(V3_0, &[])].concat());
    let answer = client.until_closed();
    assert_eq!(
        (kinds(&answer).as_str(), sqlstate(&answer).as_str()),
        ("E", "08P01")
    );
}

#[test]
fn bad_startups_are_refused() {
    let server = TestServer::start();
    for (bytes, code) in [
        (packet(V3_0, b"database\0x\0\0"), "28000"),
        (packet(V3_0, b"user\0x"), "08P01"),
        (packet(V3_0, b"user\0x\0\0trailing"), "08P01"),
        (startup(V3_0, &[("no_such_setting", "1")]), "42704"),
        (startup(V3_0, &[("DateStyle", "martian")]), "22023"),
        (
            startup(V3_0, &[("options", "-c statement_timeout=soon")]),
            "22023",
        ),
        (startup(V3_0, &[("options", "-Z")]), "42601"),
        (startup(V3_0, &[("client_encoding", "LATIN1")]), "0A000"),
        (startup(V3_0, &[("replication", "true")]), "0A000"),
        (vec![0, 0, 0, 7], "08P01"),
        (vec![0x7f, 0xff, 0xff, 0xff], "08P01"),
        (vec![0xff, 0xff, 0xff, 0xff], "08P01"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "08P01"),
        (message('Q', b"select 1\0"), "08P01"),
    ] {
        let mut client = server.socket();
        client.send(&bytes);
        let answer = client.until_closed();
        assert_eq!(kinds(&answer), "E", "{bytes:?}");
        assert_eq!(sqlstate(&answer), code, "{bytes:?}");
        assert_eq!(answer[0].field('S'), "FATAL");
    }
    server.connect().assert_alive();
}

#[test]
fn startup_options_become_settings() {
    let server = TestServer::start();
    let mut client = server.connect_with(&[
        ("options", "-c statement_timeout=7s --extra-float-digits=0"),
        ("TimeZone", "Asia/Tokyo"),
        ("database", "somewhere"),
    ]);
    assert_eq!(client.rows("SHOW statement_timeout"), [["7s"]]);
    assert_eq!(client.rows("SHOW extra_float_digits"), [["0"]]);
    client.query("SET TimeZone = 'UTC'; RESET TimeZone");
    assert_eq!(client.rows("SHOW TimeZone"), [["Asia/Tokyo"]]);
}

#[test]
fn a_full_server_refuses_with_53300() {
    let server = TestServer::start_with(&[(KeyId::MaxConnections, "2")]);
    let mut first = server.connect();
    let second = server.connect();
    let mut third = server.socket();
    third.send(&startup(V3_0, &[]));
    assert_eq!(sqlstate(&third.until_closed()), "53300");
    second.hang_up();
    server.wait_for_sessions(1);
    server.connect().assert_alive();
    first.assert_alive();
}

#[test]
fn half_a_startup_is_waited_for_and_then_given_up() {
    let server = TestServer::start_with(&[(KeyId::AuthenticationTimeout, "1s")]);
    let mut client = server.socket();
    client.send(&startup(V3_0, &[])[..9]);
    let answer = client.until_closed();
    assert_eq!(sqlstate(&answer), "57014");
}
