//! SQL cursors: DECLARE, FETCH, MOVE. They are portals, filled by FETCH instead of Execute.
//!
//! A cursor's query starts with its first FETCH, when the format of its rows is known, and reads
//! the snapshot it was declared under only from then on. It reads forward: rows that are out are
//! not kept, so going back is an error, as it is for PostgreSQL's NO SCROLL cursors.

use std::sync::Arc;
use std::time::SystemTime;

use catalog::system::CursorRow;
use functions::pg_type::Format;
use job::{ErrorReport, SqlState};
use planner::{Declare, Fetch, FetchDirection, ParsedStatement};

use super::prepared::{Portal, PortalState, undefined_portal};
use super::rows::{Reply, RowCursor, RowSource, Rows};
use super::{Session, epoch_us};

/// What a FETCH asks of a cursor that only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The row the cursor is on, again.
    Current,
    /// So many of the next rows.
    Next(u64),
    All,
    /// Only the last of so many.
    Nth(u64),
}

impl Session {
    /// DECLARE.
    pub(super) async fn declare(
        &mut self,
        parsed: &ParsedStatement,
        declare: &Declare,
    ) -> Result<Reply, ErrorReport> {
        if !declare.hold && !self.transaction.in_block() && !self.in_batch {
            return Err(ErrorReport::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            ));
        }
        if self.portals.contains_key(&declare.name) {
            return Err(ErrorReport::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{}\" already exists", declare.name),
            ));
        }
        self.check_portal_limit()?;
        let prepared = self.prepare(Some(declare.query.clone()), None).await?;
        let portal = Portal {
            prepared: Arc::new(prepared),
            parameters: Vec::new(),
            formats: Vec::new(),
            state: PortalState::Ready,
            hold: declare.hold,
            depth: self.transaction.depth(),
            committed: false,
            binary: declare.binary,
            scroll: declare.scroll,
            text: parsed.text().into(),
            made: SystemTime::now(),
        };
        self.portals.insert(declare.name.clone(), portal);
        Ok(Reply::Done("DECLARE CURSOR".to_owned()))
    }

    /// FETCH.
    pub(super) async fn fetch(
        &mut self,
        fetch: &Fetch,
        formats: &[Format],
    ) -> Result<Reply, ErrorReport> {
        let wanted = wanted(&fetch.direction)?;
        let mut rows = self.take_cursor(&fetch.cursor, formats).await?;
        let limit = match wanted {
            Wanted::Current => {
                let current = rows.cursor.current();
                let columns = rows.columns.clone();
                self.suspend_portal(&fetch.cursor, rows);
                self.check_scroll(&fetch.cursor, current.is_some())?;
                let source = RowSource::Chunks(current.into_iter().collect());
                return Ok(Reply::Rows(Rows::new(columns, source, "FETCH")));
            }
            Wanted::Next(n) => n,
            Wanted::All => u64::MAX,
            Wanted::Nth(n) => {
                skip(&mut rows.cursor, n - 1).await?;
                1
            }
        };
        // The connection takes so many rows and then gives the cursor back.
        rows.fetch = Some((fetch.cursor.clone(), limit));
        Ok(Reply::Rows(rows))
    }

    /// MOVE: as FETCH, but the rows are dropped.
    pub(super) async fn move_cursor(&mut self, fetch: &Fetch) -> Result<Reply, ErrorReport> {
        let wanted = wanted(&fetch.direction)?;
        let mut rows = self.take_cursor(&fetch.cursor, &[]).await?;
        let moved = match wanted {
            Wanted::Current => u64::from(rows.cursor.current().is_some()),
            Wanted::Next(n) => skip(&mut rows.cursor, n).await?,
            Wanted::All => skip(&mut rows.cursor, u64::MAX).await?,
            Wanted::Nth(n) => u64::from(skip(&mut rows.cursor, n).await? == n),
        };
        self.suspend_portal(&fetch.cursor, rows);
        Ok(Reply::Done(format!("MOVE {moved}")))
    }

    /// A cursor declared NO SCROLL does not give a row twice.
    fn check_scroll(&self, name: &str, on_row: bool) -> Result<(), ErrorReport> {
        let scroll = self.portals.get(name).and_then(|portal| portal.scroll);
        if scroll == Some(false) && on_row {
            return Err(ErrorReport::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "cursor can only scan forward",
            )
            .with_hint("Declare it with SCROLL option to enable backward scan."));
        }
        Ok(())
    }

    /// The cursor's rows, for a while; starts its query when it has not run yet.
    async fn take_cursor(&mut self, name: &str, formats: &[Format]) -> Result<Rows, ErrorReport> {
        let portal = self
            .portals
            .get_mut(name)
            .ok_or_else(|| undefined_portal("cursor", name))?;
        let prepared = Arc::clone(&portal.prepared);
        match std::mem::replace(&mut portal.state, PortalState::Taken) {
            PortalState::Open(rows) => {
                let settled = rows.columns.iter().map(|column| column.format);
                let wanted = prepared.columns_in(formats)?.unwrap_or_default();
                let same = portal.binary || settled.eq(wanted.iter().map(|column| column.format));
                if !same && !formats.is_empty() {
                    portal.state = PortalState::Open(rows);
                    return Err(ErrorReport::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        format!("cursor \"{name}\" cannot change its result format"),
                    )
                    .with_hint("Fetch all of its rows in the format of the first FETCH."));
                }
                Ok(rows)
            }
            PortalState::Ready => {
                portal.formats = if portal.binary {
                    vec![Format::Binary]
                } else {
                    formats.to_vec()
                };
                let formats = portal.formats.clone();
                let parameters = portal.parameters.clone();
                let Some(statement) = &prepared.statement else {
                    return Err(cannot_run(name));
                };
                let reply = self
                    .run_planned(statement, &prepared, &parameters, &formats, false)
                    .await?;
                match reply {
                    Reply::Rows(rows) => Ok(rows),
                    Reply::Done(_) | Reply::CopyOut(_) | Reply::CopyIn(_) => Err(cannot_run(name)),
                }
            }
            PortalState::Finished => {
                portal.state = PortalState::Finished;
                let columns = prepared.columns_in(formats)?.unwrap_or_default();
                Ok(Rows::new(columns, RowSource::Chunks([].into()), "FETCH"))
            }
            PortalState::Taken | PortalState::Failed => {
                portal.state = PortalState::Failed;
                Err(cannot_run(name))
            }
        }
    }

    /// Rows of `pg_cursors`.
    pub(super) fn cursor_rows(&self) -> Arc<[CursorRow]> {
        let row = |(name, portal): (&String, &Portal)| CursorRow {
            name: name.clone(),
            statement: portal.text.as_ref().to_owned(),
            is_holdable: portal.hold,
            is_binary: portal.binary,
            is_scrollable: portal.scroll == Some(true),
            creation_time: epoch_us(portal.made),
        };
        self.portals.iter().map(row).collect()
    }

    /// Columns of a FETCH, for Describe.
    pub(super) fn cursor_columns(
        &self,
        name: &str,
    ) -> Option<Vec<(String, functions::pg_type::PgType)>> {
        self.portals.get(name)?.prepared.columns.clone()
    }
}

fn cannot_run(name: &str) -> ErrorReport {
    ErrorReport::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("portal \"{name}\" cannot be run"),
    )
}

fn wanted(direction: &FetchDirection) -> Result<Wanted, ErrorReport> {
    match *direction {
        FetchDirection::ForwardAll => Ok(Wanted::All),
        FetchDirection::Forward(0) | FetchDirection::Backward(0) | FetchDirection::Relative(0) => {
            Ok(Wanted::Current)
        }
        FetchDirection::Forward(n) if n > 0 => Ok(Wanted::Next(n.unsigned_abs())),
        // Going back by a negative count is going forward.
        FetchDirection::Backward(n) if n < 0 => Ok(Wanted::Next(n.unsigned_abs())),
        FetchDirection::Relative(n) if n > 0 => Ok(Wanted::Nth(n.unsigned_abs())),
        FetchDirection::Forward(_)
        | FetchDirection::Backward(_)
        | FetchDirection::BackwardAll
        | FetchDirection::Absolute(_)
        | FetchDirection::Relative(_) => Err(only_forward()),
    }
}

fn only_forward() -> ErrorReport {
    ErrorReport::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "cursor can only scan forward",
    )
    .with_hint("Firesteel does not keep rows that have been fetched.")
}

/// Drops at most `limit` rows; answers how many there were.
async fn skip(cursor: &mut RowCursor, limit: u64) -> Result<u64, ErrorReport> {
    let mut skipped = 0;
    while skipped < limit {
        match cursor.next(limit - skipped).await? {
            Some(slice) => skipped += slice.rows,
            None => break,
        }
    }
    Ok(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forward_directions_are_served() {
        use FetchDirection as D;
        assert_eq!(wanted(&D::Forward(3)), Ok(Wanted::Next(3)));
        assert_eq!(wanted(&D::Backward(-3)), Ok(Wanted::Next(3)));
        for here in [D::Forward(0), D::Backward(0), D::Relative(0)] {
            assert_eq!(wanted(&here), Ok(Wanted::Current));
        }
        assert_eq!(wanted(&D::ForwardAll), Ok(Wanted::All));
        assert_eq!(wanted(&D::Relative(2)), Ok(Wanted::Nth(2)));
        for back in [
            D::Forward(-1),
            D::Backward(1),
            D::BackwardAll,
            D::Absolute(1),
            D::Absolute(-1),
            D::Relative(-1),
            D::Forward(i64::MIN),
        ] {
            assert!(wanted(&back).is_err(), "{back:?}");
        }
    }
}
