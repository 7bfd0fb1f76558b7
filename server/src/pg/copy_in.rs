//! What the client says while a COPY FROM STDIN waits for its data.

use bytes::Bytes;
use job::{ErrorReport, SqlState};

use super::failure::{Failure, Hangup};
use super::framing::{Frame, take_frame};
use super::frontend::Body;
use super::socket::{Inbox, Writer};
use super::watch::Watch;
use crate::session::{CopyIn, Session, copy_failed};

/// A message during COPY.
#[derive(Debug, PartialEq, Eq)]
enum CopyMessage {
    Data(Bytes),
    Done,
    /// The client gives up, and says why.
    Fail(String),
    /// Sync and Flush, which clients send before they know that a COPY has begun.
    Nothing,
    Terminate,
}

fn copy_message(frame: Frame) -> Result<CopyMessage, ErrorReport> {
    Ok(match frame.kind {
        b'd' => CopyMessage::Data(frame.body),
        b'c' => CopyMessage::Done,
        b'f' => CopyMessage::Fail(Body(frame.body).text()?),
        b'H' | b'S' => CopyMessage::Nothing,
        b'X' => CopyMessage::Terminate,
        kind => {
            return Err(ErrorReport::new(
                SqlState::PROTOCOL_VIOLATION,
                format!("unexpected message type 0x{kind:02X} during COPY from stdin"),
            ));
        }
    })
}

/// Asks the client for its data and takes it to the end. Answers the command tag.
pub(super) async fn copy_in(
    session: &Session,
    inbox: &mut Inbox,
    writer: &mut Writer,
    watch: &mut Watch,
    mut copy: Box<CopyIn>,
    message_size_max: usize,
) -> Result<String, Failure> {
    writer.messages.copy_in(copy.format(), copy.columns());
    let asked = async { writer.flush().await.map_err(Failure::from) };
    watch.over(inbox, asked).await?;
    loop {
        let frame = match take_frame(&mut inbox.buf, message_size_max) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                let heard = watch.listen(inbox).await;
                heard.map_err(|failure| located(failure, &copy))?;
                continue;
            }
            Err(error) => return Err(Failure::Hangup(Hangup::Fatal(error))),
        };
        match copy_message(frame)? {
            CopyMessage::Data(bytes) => {
                let taken = async {
                    let taken = session.copy_data(&mut copy, &bytes).await;
                    taken.map_err(Failure::Statement)
                };
                watch.over(inbox, taken).await?;
            }
            CopyMessage::Done => {
                let done = async { Ok(session.copy_done(*copy).await?) };
                return watch.over(inbox, done).await;
            }
            CopyMessage::Fail(why) => return Err(copy_failed(&copy, &why).into()),
            CopyMessage::Nothing => {}
            CopyMessage::Terminate => return Err(Failure::Hangup(Hangup::Gone)),
        }
    }
}

/// A statement that is stopped says how far it got.
fn located(failure: Failure, copy: &CopyIn) -> Failure {
    match failure {
        Failure::Statement(error) => Failure::Statement(error.with_context(copy.context())),
        hangup @ Failure::Hangup(_) => hangup,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &'static [u8]) -> Frame {
        Frame {
            kind,
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn only_copy_messages_mean_something() {
        let message = |kind, body| copy_message(frame(kind, body));
        assert_eq!(message(b'd', b"x"), Ok(CopyMessage::Data("x".into())));
        assert_eq!(message(b'c', b""), Ok(CopyMessage::Done));
        assert_eq!(
            message(b'f', b"why\0"),
            Ok(CopyMessage::Fail("why".to_owned()))
        );
        assert_eq!(message(b'S', b""), Ok(CopyMessage::Nothing));
        assert_eq!(message(b'H', b""), Ok(CopyMessage::Nothing));
        let error = message(b'Q', b"SELECT 1\0").expect_err("refused");
        assert_eq!(error.sqlstate, SqlState::PROTOCOL_VIOLATION);
        assert_eq!(
            error.message,
            "unexpected message type 0x51 during COPY from stdin"
        );
        assert!(message(b'f', b"no end").is_err());
    }
}
