//! Decides what happens before a session exists: encryption requests, cancel requests, the
//! start-up message. Pure, as [`super::protocol_state`].

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use job::{ErrorReport, SqlState};

use super::frontend::Body;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// The newest minor version of protocol 3 spoken here: longer cancel keys since 3.2.
const MINOR_LATEST: u16 = 2;
/// Parameters of the protocol itself; a client that names one we don't know is told so.
const PROTOCOL_OPTION_PREFIX: &str = "_pq_.";
/// PostgreSQL's NAMEDATALEN: longer names are cut.
const NAME_BYTES_MAX: usize = 63;

/// What a start-up packet asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupAction {
    /// Answer with the byte `N`, and read another packet that must not have arrived yet.
    DeclineEncryption,
    /// Pull the token of the session with this key, answer nothing, close.
    Cancel {
        pid: i32,
        secret: Bytes,
    },
    Begin(StartupRequest),
}

/// A client that wants a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupRequest {
    pub user: String,
    pub database: String,
    /// Settings in the order to apply them: those of `options` first, as PostgreSQL does.
    pub settings: Vec<(String, String)>,
    /// Version 3.`minor`, already lowered to what we speak.
    pub minor: u16,
    /// Options of the protocol we don't know, when the client must be told; also sent when it
    /// asked for a newer version.
    pub negotiate: Option<Vec<String>>,
}

impl StartupRequest {
    /// Bytes of the secret in BackendKeyData: 3.0 clients read exactly four.
    pub fn secret_size(&self) -> usize {
        if self.minor >= 2 { 32 } else { 4 }
    }
}

#[derive(Debug, Default)]
pub struct StartupState {
    ssl_declined: bool,
    gss_declined: bool,
}

impl StartupState {
    /// A packet arrived, `packet` without its length. Errors are fatal.
    pub fn on_packet(&mut self, mut packet: Bytes) -> Result<StartupAction, ErrorReport> {
        if packet.len() < 4 {
            return Err(ErrorReport::new(
                SqlState::PROTOCOL_VIOLATION,
                "invalid length of startup packet",
            ));
        }
        let code = packet.get_u32();
        match code {
            CANCEL_REQUEST => {
                if !(8..=4 + 256).contains(&packet.len()) {
                    return Err(ErrorReport::new(
                        SqlState::PROTOCOL_VIOLATION,
                        "invalid length of query cancel packet",
                    ));
                }
                Ok(StartupAction::Cancel {
                    pid: packet.get_i32(),
                    secret: packet,
                })
            }
            // Each may be asked for once; a repetition falls through to the version check.
            SSL_REQUEST if !self.ssl_declined => {
                self.ssl_declined = true;
                Ok(StartupAction::DeclineEncryption)
            }
            GSS_REQUEST if !self.gss_declined => {
                self.gss_declined = true;
                Ok(StartupAction::DeclineEncryption)
            }
            version => {
                let (major, minor) = ((version >> 16) as u16, version as u16);
                if major != 3 {
                    return Err(ErrorReport::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        format!(
                            "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_LATEST}"
                        ),
                    ));
                }
                begin(minor, packet).map(StartupAction::Begin)
            }
        }
    }
}

fn begin(minor: u16, packet: Bytes) -> Result<StartupRequest, ErrorReport> {
    let mut parameters = BTreeMap::new();
    let mut named_settings = Vec::new();
    let mut unknown_options = Vec::new();
    let mut body = Body(packet);
    loop {
        let name = body.text().map_err(|_| bad_layout())?;
        if name.is_empty() {
            break;
        }
        let value = body.text().map_err(|error| match error.sqlstate {
            SqlState::CHARACTER_NOT_IN_REPERTOIRE => error,
            _ => bad_layout(),
        })?;
        match name.as_str() {
            "user" | "database" | "options" | "replication" => {
                parameters.insert(name, value);
            }
            option if option.starts_with(PROTOCOL_OPTION_PREFIX) => unknown_options.push(name),
            _ => named_settings.push((name, value)),
        }
    }
    if !body.0.is_empty() {
        return Err(bad_layout());
    }
    // `true`, `on`, `database` … all want a stream of changes, which we don't have.
    if let Some(replication) = parameters.get("replication")
        && crate::config::parse_bool(replication) != Some(false)
    {
        return Err(ErrorReport::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            "replication connections are not supported",
        ));
    }
    let user = match parameters.remove("user") {
        Some(user) if !user.is_empty() => cut_name(user),
        Some(_) | None => {
            return Err(ErrorReport::new(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                "no PostgreSQL user name specified in startup packet",
            ));
        }
    };
    let database = match parameters.remove("database") {
        Some(database) if !database.is_empty() => cut_name(database),
        Some(_) | None => user.clone(),
    };
    let mut settings = match parameters.get("options") {
        Some(options) => parse_options(options)?,
        None => Vec::new(),
    };
    settings.append(&mut named_settings);
    let newer = minor > MINOR_LATEST;
    Ok(StartupRequest {
        user,
        database,
        settings,
        minor: minor.min(MINOR_LATEST),
        negotiate: (newer || !unknown_options.is_empty()).then_some(unknown_options),
    })
}

fn bad_layout() -> ErrorReport {
    ErrorReport::new(
        SqlState::PROTOCOL_VIOLATION,
        "invalid startup packet layout: expected terminator as last byte",
    )
}

fn cut_name(mut name: String) -> String {
    if name.len() > NAME_BYTES_MAX {
        let mut end = NAME_BYTES_MAX;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
    }
    name
}

/// The server's command-line switches a client may send: `-c name=value` and `--name=value`,
/// separated by blanks; a backslash quotes the next character.
fn parse_options(options: &str) -> Result<Vec<(String, String)>, ErrorReport> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next()
        } else {
            word.strip_prefix("--")
                .or_else(|| word.strip_prefix("-c"))
                .map(str::to_owned)
        };
        let Some(assignment) = assignment else {
            return Err(ErrorReport::new(
                SqlState::SYNTAX_ERROR,
                format!("invalid command-line argument for server process: {word}"),
            ));
        };
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(ErrorReport::new(
                SqlState::SYNTAX_ERROR,
                format!("-c {assignment} requires a value"),
            ));
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Bytes {
        let mut bytes = code.to_be_bytes().to_vec();
        bytes.extend(rest);
        bytes.into()
    }

    fn start(minor: u32, rest: &[u8]) -> Result<StartupRequest, ErrorReport> {
        match StartupState::default().on_packet(packet(3 << 16 | minor, rest))? {
            StartupAction::Begin(request) => Ok(request),
            other => panic!("expected a session, got {other:?}"),
        }
    }

    #[test]
    fn database_defaults_to_the_user() {
        let request = start(0, b"user\0ada\0\0").expect("valid");
        assert_eq!(
            (request.user.as_str(), request.database.as_str()),
            ("ada", "ada")
        );
        assert_eq!((request.minor, request.negotiate.clone()), (0, None));
        assert_eq!(request.secret_size(), 4);
        assert_eq!(start(2, b"user\0ada\0\0").expect("valid").secret_size(), 32);
        let error = start(0, b"database\0x\0\0").expect_err("no user");
        assert_eq!(
            error.sqlstate,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION
        );
    }

    #[test]
    fn options_and_parameters_become_settings() {
        let request = start(
            0,
            b"user\0a\0options\0-c work_mem=1MB --search-path=a\\ b -cjit=off\0application_name\0psql\0\0",
        )
        .expect("valid");
        let pairs: Vec<_> = request
            .settings
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("work_mem", "1MB"),
                ("search_path", "a b"),
                ("jit", "off"),
                ("application_name", "psql")
            ]
        );
        assert!(start(0, b"user\0a\0options\0-B 7\0\0").is_err());
        assert!(start(0, b"user\0a\0options\0-c x\0\0").is_err());
    }

    #[test]
    fn newer_versions_and_unknown_options_are_negotiated_down() {
        let newer = start(9999, b"user\0a\0\0").expect("valid");
        assert_eq!((newer.minor, newer.negotiate), (2, Some(vec![])));
        let option = start(0, b"user\0a\0_pq_.shiny\0on\0\0").expect("valid");
        assert_eq!(
            (option.minor, option.negotiate),
            (0, Some(vec!["_pq_.shiny".into()]))
        );
        let error = StartupState::default()
            .on_packet(packet(2 << 16, b""))
            .expect_err("too old");
        assert_eq!(
            error.message,
            "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"
        );
    }

    #[test]
    fn encryption_is_declined_once_each() {
        let mut state = StartupState::default();
        let ssl = packet(SSL_REQUEST, b"");
        assert_eq!(
            state.on_packet(ssl.clone()),
            Ok(StartupAction::DeclineEncryption)
        );
        assert_eq!(
            state.on_packet(packet(GSS_REQUEST, b"")),
            Ok(StartupAction::DeclineEncryption)
        );
        assert!(state.on_packet(ssl).is_err());
    }

    #[test]
    fn cancel_requests_carry_a_key() {
        let cancel = StartupState::default().on_packet(packet(CANCEL_REQUEST, b"\0\0\0\x07abcd"));
        let secret = Bytes::from_static(b"abcd");
        assert_eq!(cancel, Ok(StartupAction::Cancel { pid: 7, secret }));
        assert!(
            StartupState::default()
                .on_packet(packet(CANCEL_REQUEST, b"\0\0\0\x07"))
                .is_err()
        );
    }

    #[test]
    fn layouts_must_end_in_a_terminator() {
        for bad in [
            &b"user\0a\0"[..],
            b"user\0a",
            b"user",
            b"",
            b"user\0a\0\0more",
        ] {
            let error = start(0, bad).expect_err("malformed");
            assert_eq!(error.sqlstate, SqlState::PROTOCOL_VIOLATION);
        }
    }

    #[test]
    fn replication_is_declined() {
        assert!(start(0, b"user\0a\0replication\0database\0\0").is_err());
        assert!(start(0, b"user\0a\0replication\0false\0\0").is_ok());
    }
}
