//! Bytes no driver sends.

use crate::client::{
    TestServer, bind, execute, kinds, message, parse, query, sqlstate, startup, sync,
};

#[test]
fn unknown_messages_and_absurd_lengths_end_the_connection() {
    let server = TestServer::start();
    let header = |kind: u8, length: u32| [&[kind][..], &length.to_be_bytes()].concat();
    for bytes in [
        message('z', b""),
        vec![0],
        header(b'Q', u32::MAX),
        header(b'Q', 0x7fff_ffff),
        header(b'Q', 3),
        header(b'P', 0x4000_0000),
        header(b'S', 1 << 20),
        header(b'X', 0),
        [query("SELECT 1"), header(b'B', 0x8000_0000)].concat(),
    ] {
        let mut client = server.connect();
        client.send(&bytes);
        let answer = client.until_closed();
        let last = answer.last().expect("a farewell");
        assert_eq!(
            (last.kind, last.field('S').as_str()),
            ('E', "FATAL"),
            "{bytes:?}"
        );
        assert_eq!(last.field('C'), "08P01");
    }
    server.connect().assert_alive();
}

#[test]
fn malformed_bodies_are_errors_the_session_survives() {
    let server = TestServer::start();
    let mut client = server.connect();
    for (bytes, code) in [
        (message('Q', b"select 1"), "08P01"),
        (message('Q', b"select 1\0select 2\0"), "08P01"),
        (message('Q', b""), "08P01"),
        (message('Q', b"select '\xff'\0"), "22021"),
        (message('F', b"\0\0\0\x01"), "0A000"),
        (message('S', b"surplus"), "08P01"),
    ] {
        client.send(&bytes);
        let answer = client.until_ready();
        assert_eq!(kinds(&answer), "EZ", "{bytes:?}");
        assert_eq!(sqlstate(&answer), code, "{bytes:?}");
    }
    for bytes in [
        message('P', b""),
        message('P', b"name\0select 1\0\xff\xff"),
        message('B', b"\0\0\0\0\x7f\xff"),
        message('B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0"),
        message('B', b"\0\0\0\x01\0\x07\0\0\0\0"),
        message('D', b"X\0"),
        message('E', b"\0\0"),
        message('C', b"S"),
        message('P', b"\xc3\x28\0select 1\0\0\0"),
    ] {
        // Everything up to the Sync is skipped.
        client.send(&[bytes.clone(), execute("", 0), query("SELECT 1"), sync()].concat());
        let answer = client.until_ready();
        assert_eq!(kinds(&answer), "EZ", "{bytes:?}");
    }
    client.assert_alive();
}

#[test]
fn stray_copy_messages_are_ignored() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(
        &[
            message('d', b"1\t2\n"),
            message('c', b""),
            message('f', b"no\0"),
        ]
        .concat(),
    );
    client.assert_alive();
}

#[test]
fn half_a_message_and_a_hang_up_harm_nobody() {
    let server = TestServer::start();
    let whole = [
        startup(0x0003_0000, &[]),
        query("SELECT 1"),
        parse("", "SELECT 2", &[]),
        bind("", "", &[], &[]),
        execute("", 0),
        sync(),
    ]
    .concat();
    for cut in 0..whole.len() {
        let mut client = server.socket();
        client.send(&whole[..cut]);
        client.hang_up();
    }
    server.connect().assert_alive();
    server.wait_for_sessions(0);
}

#[test]
fn random_bytes_are_survived() {
    let server = TestServer::start();
    // xorshift: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..200 {
        let mut client = server.connect();
        for _ in 0..20 {
            let kind = b"QPBDECHSFdcfpX"[(random() % 14) as usize];
            let body: Vec<u8> = (0..random() % 40).map(|_| (random() % 256) as u8).collect();
            client.try_send(&message(kind.into(), &body));
        }
        client.hang_up();
    }
    server.connect().assert_alive();
}
