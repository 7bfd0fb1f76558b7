//! Rows of a row group of which columns are in memory, piece by piece.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter;
use arrow::record_batch::RecordBatchOptions;
use datafusion::common::{Result, internal_err};
use datafusion::datasource::physical_plan::parquet::RowGroupAccess;
use parquet::arrow::arrow_reader::RowSelection;

use super::ScanCounts;
use super::filter::{PieceColumns, RowFilter};
use super::open::{Column, Output};
use super::prune::{PieceStatistics, Pruner};
use crate::chunks::{HeldChunk, PIECE_ROWS, Piece};

/// Which pieces of a row group are wanted, in order. Pruning by pages leaves a piece out if it leaves
/// out all its rows; the others come whole, since what filters is above the scan anyway.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    wanted: VecDeque<usize>,
    /// Rows of the row group.
    rows: usize,
}

impl Pieces {
    pub(super) fn new(rows: usize, access: &RowGroupAccess) -> Self {
        let mut wanted = vec![false; rows.div_ceil(PIECE_ROWS)];
        match access {
            RowGroupAccess::Skip => {}
            RowGroupAccess::Scan => wanted.fill(true),
            RowGroupAccess::Selection(pages) => {
                let mut start = 0;
                for run in pages.iter() {
                    let end = start + run.row_count;
                    if !run.skip && end > start {
                        wanted[start / PIECE_ROWS..end.div_ceil(PIECE_ROWS)].fill(true);
                    }
                    start = end;
                }
            }
        }
        let wanted = wanted.iter().enumerate();
        Self {
            wanted: wanted
                .filter_map(|(piece, wanted)| wanted.then_some(piece))
                .collect(),
            rows,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Rows of the pieces.
    pub(super) fn selected(&self) -> usize {
        self.ranges().map(|range| range.len()).sum()
    }

    /// For a reader that is to read these pieces alone; `None`: all.
    pub(super) fn to_read(&self) -> Option<RowSelection> {
        (self.selected() < self.rows)
            .then(|| RowSelection::from_consecutive_ranges(self.ranges(), self.rows))
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.wanted.iter().map(|piece| self.range(*piece))
    }

    fn range(&self, piece: usize) -> Range<usize> {
        let start = piece * PIECE_ROWS;
        start..(start + PIECE_ROWS).min(self.rows)
    }
}

/// The rows to come of a row group.
pub(super) struct PieceRows {
    /// For each column of the output: in memory, or the next column of what is read.
    columns: Vec<Option<HeldColumn>>,
    pieces: Pieces,
    /// Rows of the first piece that are out already.
    used: usize,
    batch_size: usize,
    /// Which version of the predicate `pieces` passed.
    pruned_by: Option<u64>,
}

/// A column in memory, and its piece that rows come from now.
struct HeldColumn {
    chunk: HeldChunk,
    current: Option<(usize, ArrayRef)>,
}

impl HeldColumn {
    fn piece(&mut self, piece: usize) -> Result<&ArrayRef> {
        if self.current.as_ref().is_none_or(|(at, _)| *at != piece) {
            self.current = Some((piece, self.chunk.chunk().piece(piece)?));
        }
        match &self.current {
            Some((_, array)) => Ok(array),
            None => internal_err!("a piece was there and is not"),
        }
    }

    /// Rows of a piece, which is not decoded for the sake of few.
    fn selected(&mut self, piece: usize, rows: &BooleanArray) -> Result<ArrayRef> {
        Ok(match &self.current {
            Some((at, array)) if *at == piece => filter(array, rows)?,
            _ => self.chunk.chunk().selected(piece, rows)?,
        })
    }
}

/// One piece of all columns.
struct HeldPiece<'a> {
    columns: &'a mut [Option<HeldColumn>],
    piece: usize,
}

impl PieceColumns for HeldPiece<'_> {
    fn rows(&mut self, column: usize, selected: Option<&BooleanArray>) -> Result<ArrayRef> {
        match (&mut self.columns[column], selected) {
            (Some(held), Some(rows)) => held.selected(self.piece, rows),
            (Some(held), None) => Ok(ArrayRef::clone(held.piece(self.piece)?)),
            (None, _) => internal_err!("a column is not in memory"),
        }
    }

    fn kept(&self, column: usize) -> Option<&dyn Piece> {
        self.columns[column]
            .as_ref()?
            .chunk
            .chunk()
            .kept(self.piece)
    }
}

/// What comes next of a row group.
pub(super) enum Step {
    Rows(RecordBatch),
    /// These rows have passed a filter, and others of their piece did not.
    Filtered(RecordBatch),
    /// No row of the piece passes.
    Nothing,
    Done,
}

impl PieceRows {
    pub(super) fn new(columns: Vec<Option<HeldChunk>>, pieces: Pieces, batch_size: usize) -> Self {
        let held = |chunk| HeldColumn {
            chunk,
            current: None,
        };
        Self {
            columns: columns.into_iter().map(|chunk| chunk.map(held)).collect(),
            pieces,
            used: 0,
            batch_size: batch_size.max(1),
            pruned_by: None,
        }
    }

    /// Leaves out pieces that can't pass, if the predicate is not the one that was asked before.
    pub(super) fn prune(&mut self, pruner: &mut Pruner, columns: &[Column], counts: &ScanCounts) {
        let version = pruner.version();
        // Rows of a piece that is half out may not be waited for any more, but its columns are decoded.
        if self.used > 0 || self.pruned_by == Some(version) {
            return;
        }
        self.pruned_by = Some(version);
        let known = columns.iter().zip(&self.columns);
        let known = known.filter_map(|(column, held)| {
            let statistics = held.as_ref()?.chunk.chunk().statistics()?;
            Some((column.field.name().as_str(), statistics))
        });
        let count = self.pieces.rows.div_ceil(PIECE_ROWS);
        let rows = (0..count).map(|piece| self.pieces.range(piece).len() as u64);
        let statistics = PieceStatistics {
            columns: known.collect(),
            rows: rows.collect(),
        };
        let Some(passing) = pruner.passing(&statistics) else {
            return;
        };
        let before = self.pieces.wanted.len();
        self.pieces.wanted.retain(|piece| passing[*piece]);
        counts.pruned_pieces.add(before - self.pieces.wanted.len());
    }

    /// For a reader of the other columns; `None`: all rows.
    pub(super) fn to_read(&self) -> Option<RowSelection> {
        self.pieces.to_read()
    }

    pub(super) fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The next rows, if all columns are in memory.
    pub(super) fn next(
        &mut self,
        output: &Output,
        filter: Option<&mut RowFilter>,
        counts: &ScanCounts,
    ) -> Result<Step> {
        let Some(piece) = self.pieces.wanted.front().copied() else {
            return Ok(Step::Done);
        };
        if self.used == 0
            && let Some(filter) = filter
            && let Some(passing) = self.passing(piece, filter)?
        {
            self.pieces.wanted.pop_front();
            let left = passing.true_count();
            counts.filtered_rows.add(passing.len() - left);
            if left == 0 {
                return Ok(Step::Nothing);
            }
            let columns = self.columns.iter_mut().map(|column| match column {
                Some(held) => held.selected(piece, &passing),
                None => internal_err!("a column is not in memory"),
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(left));
            let batch = RecordBatch::try_new_with_options(output.input.clone(), columns, &options)?;
            return Ok(Step::Filtered(output.project(&batch)?));
        }
        let batch = self.take(output, None)?;
        Ok(batch.map_or(Step::Done, |(batch, _)| Step::Rows(batch)))
    }

    /// Which rows of a piece may pass; `None`: all.
    fn passing(&mut self, piece: usize, filter: &mut RowFilter) -> Result<Option<BooleanArray>> {
        let rows = self.pieces.range(piece).len();
        let columns = &mut self.columns;
        filter.passing(rows, &mut HeldPiece { columns, piece })
    }

    /// The next rows, beside the first ones of `read`; and how many these were.
    pub(super) fn beside(
        &mut self,
        output: &Output,
        read: &RecordBatch,
    ) -> Result<(RecordBatch, usize)> {
        match self.take(output, Some(read))? {
            Some(rows) => Ok(rows),
            None => internal_err!("more rows were read than wanted"),
        }
    }

    /// At most the rest of a piece.
    fn take(
        &mut self,
        output: &Output,
        read: Option<&RecordBatch>,
    ) -> Result<Option<(RecordBatch, usize)>> {
        let Some(piece) = self.pieces.wanted.front().copied() else {
            return Ok(None);
        };
        let all = self.pieces.range(piece).len();
        let start = self.used;
        let count = (all - start)
            .min(self.batch_size)
            .min(read.map_or(usize::MAX, RecordBatch::num_rows));
        let part = |array: &ArrayRef, start: usize| {
            if array.len() == count {
                ArrayRef::clone(array)
            } else {
                array.slice(start, count)
            }
        };
        let mut from_file = read.map_or(&[][..], RecordBatch::columns).iter();
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            columns.push(match column {
                Some(held) => part(held.piece(piece)?, start),
                None => match from_file.next() {
                    Some(column) => part(column, 0),
                    None => return internal_err!("a column of the file was not read"),
                },
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(output.input.clone(), columns, &options)?;
        self.used += count;
        if self.used == all {
            self.pieces.wanted.pop_front();
            self.used = 0;
        }
        Ok(Some((output.project(&batch)?, count)))
    }
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::RowSelector;

    use super::*;

    fn pieces(rows: usize, runs: Vec<RowSelector>) -> Pieces {
        Pieces::new(rows, &RowGroupAccess::Selection(RowSelection::from(runs)))
    }

    #[test]
    fn pages_that_are_wanted_want_their_pieces() {
        let rows = 3 * PIECE_ROWS + 100;
        let some = pieces(
            rows,
            vec![
                RowSelector::skip(10),
                RowSelector::select(PIECE_ROWS - 10),
                RowSelector::skip(2 * PIECE_ROWS + 99),
                RowSelector::select(1),
            ],
        );
        assert_eq!(some.wanted, [0, 3]);
        assert_eq!(some.selected(), PIECE_ROWS + 100);
        let read = some.to_read().unwrap();
        assert_eq!(read.row_count(), PIECE_ROWS + 100);
        assert_eq!(pieces(rows, read.into()).wanted, [0, 3]);

        let across = vec![RowSelector::skip(PIECE_ROWS - 1), RowSelector::select(2)];
        assert_eq!(pieces(rows, across).wanted, [0, 1]);
        assert!(pieces(rows, vec![RowSelector::skip(rows)]).is_empty());

        let all = Pieces::new(rows, &RowGroupAccess::Scan);
        assert_eq!(all.selected(), rows);
        assert!(all.to_read().is_none());
        assert!(Pieces::new(0, &RowGroupAccess::Scan).is_empty());
    }
}
