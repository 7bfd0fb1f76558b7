//! Answers one statement or one extended message: what the session replies, as messages and rows.

use std::time::Duration;

use job::Protection;
use tokio::time::timeout;

use super::backend::Column;
use super::failure::Failure;
use super::frontend::Target;
use super::protocol_state::Request;
use super::socket::{FLUSH_SIZE, Writer};
use crate::session::{CopyIn, CopyOut, Executed, ParsedStatement, Reply, RowCursor, Session};

/// Rows wait so long for company before they are sent: a small result leaves in one piece, and a
/// slow query's first rows still leave at once.
const IDLE_FLUSH: Duration = Duration::from_millis(2);

/// What an answer leaves to do.
pub(super) enum Answered {
    Whole,
    /// The client has to send its data first.
    CopyIn(Box<CopyIn>),
}

pub(super) async fn answer_simple(
    session: &mut Session,
    writer: &mut Writer,
    statement: ParsedStatement,
    batch: bool,
) -> Result<Answered, Failure> {
    let reply = session.run_simple(&statement, batch).await?;
    let tag = match reply {
        Reply::Rows(mut rows) => {
            writer.messages.row_description(&rows.columns);
            let limit = rows.fetch.as_ref().map(|(_, limit)| *limit);
            let sent = stream_rows(writer, &mut rows.cursor, limit).await?;
            let tag = rows.tag(sent.rows);
            session.give_back(rows);
            tag
        }
        Reply::CopyOut(mut copy) => stream_copy(writer, &mut copy).await?,
        Reply::CopyIn(copy) => {
            send_notices(session, writer);
            return Ok(Answered::CopyIn(copy));
        }
        Reply::Done(tag) => tag,
    };
    complete(session, writer, tag);
    Ok(Answered::Whole)
}

/// Ends the answer to a statement.
pub(super) fn complete(session: &mut Session, writer: &mut Writer, tag: String) {
    send_notices(session, writer);
    writer.messages.command_complete(tag);
}

pub(super) async fn answer_extended(
    session: &mut Session,
    writer: &mut Writer,
    request: Request,
) -> Result<Answered, Failure> {
    match request {
        // Simple queries are answered statement by statement, by `Connection::query`.
        Request::Query { .. } => {}
        Request::Parse(parse) => {
            session.parse(parse).await?;
            writer.messages.parse_complete();
        }
        Request::Bind(bind) => {
            session.bind(bind).await?;
            writer.messages.bind_complete();
        }
        Request::Describe {
            target: Target::Statement,
            name,
        } => {
            let (parameters, columns) = session.describe_statement(&name)?;
            writer.messages.parameter_description(parameters);
            describe(writer, columns);
        }
        Request::Describe {
            target: Target::Portal,
            name,
        } => {
            let columns = session.describe_portal(&name)?;
            describe(writer, columns);
        }
        Request::Close { target, name } => {
            session.close_target(target, &name);
            writer.messages.close_complete();
        }
        Request::Execute { portal, rows_max } => match session.execute_portal(&portal).await? {
            Executed::Empty => writer.messages.empty_query(),
            Executed::Done(tag) => complete(session, writer, tag),
            Executed::CopyOut(mut copy) => {
                let tag = stream_copy(writer, &mut copy).await?;
                complete(session, writer, tag);
            }
            Executed::CopyIn(copy) => {
                send_notices(session, writer);
                return Ok(Answered::CopyIn(copy));
            }
            Executed::Rows(mut rows) => {
                let fetch = rows.fetch.as_ref().map(|(_, limit)| *limit);
                let limit = (rows_max > 0).then_some(u64::from(rows_max));
                let sent = stream_rows(writer, &mut rows.cursor, fetch.or(limit)).await?;
                send_notices(session, writer);
                if sent.more && fetch.is_none() {
                    session.suspend_portal(&portal, rows);
                    writer.messages.portal_suspended();
                } else {
                    let tag = rows.tag(sent.rows);
                    session.give_back(rows);
                    session.finish_portal(&portal);
                    writer.messages.command_complete(tag);
                }
            }
        },
    }
    send_notices(session, writer);
    Ok(Answered::Whole)
}

fn describe(writer: &mut Writer, columns: Option<Vec<Column>>) {
    match columns {
        Some(columns) => writer.messages.row_description(&columns),
        None => writer.messages.no_data(),
    }
}

/// Moves a COPY's rows to the socket, with what comes before and after them.
async fn stream_copy(writer: &mut Writer, copy: &mut CopyOut) -> Result<String, Failure> {
    writer.messages.copy_out(copy.format, copy.columns);
    if let Some(header) = copy.header.take() {
        writer.rows(header);
    }
    let sent = stream_rows(writer, &mut copy.cursor, None).await?;
    if let Some(trailer) = copy.trailer()? {
        writer.rows(trailer);
    }
    writer.messages.copy_done();
    Ok(format!("COPY {}", sent.rows))
}

/// How far a result got.
struct Sent {
    rows: u64,
    /// The limit came before the end.
    more: bool,
}

/// Moves rows to the socket as fast as the client reads them.
async fn stream_rows(
    writer: &mut Writer,
    cursor: &mut RowCursor,
    limit: Option<u64>,
) -> Result<Sent, Failure> {
    let mut sent = 0;
    let mut unsent_rows = false;
    loop {
        let wanted = match limit {
            Some(limit) if sent == limit => {
                return Ok(Sent {
                    rows: sent,
                    more: true,
                });
            }
            Some(limit) => limit - sent,
            None => u64::MAX,
        };
        let next = {
            let mut next = std::pin::pin!(cursor.next(wanted));
            let early = if unsent_rows {
                timeout(IDLE_FLUSH, &mut next).await.ok()
            } else {
                None
            };
            match early {
                Some(next) => next,
                None => {
                    if unsent_rows {
                        writer.flush().await?;
                    }
                    next.await
                }
            }
        };
        let Some(slice) = next? else {
            return Ok(Sent {
                rows: sent,
                more: false,
            });
        };
        sent += slice.rows;
        writer.rows(slice.bytes);
        if !Protection::Backpressure.is_on() {
            continue;
        }
        unsent_rows = true;
        if writer.len() >= FLUSH_SIZE {
            writer.flush().await?;
            unsent_rows = false;
        }
    }
}

pub(super) fn send_notices(session: &mut Session, writer: &mut Writer) {
    for (severity, report) in session.take_notices() {
        writer.messages.notice(severity, &report);
    }
}
