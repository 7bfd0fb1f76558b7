//! From row group to row group of an open file.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::BatchCoalescer;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use futures::StreamExt;
use futures::stream::BoxStream;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};

use super::from_file;
use super::open::{Column, OpenFile, reader};
use super::rows::{PieceRows, Pieces, Step};
use crate::chunks::{ChunkCache, ChunkKey, ChunkSlot, HeldChunk, PIECE_ROWS, Prospect};

/// Loading a chunk pays if at least one row of so many is wanted: decoding is most of the work of
/// reading, and rows that are skipped are not decoded.
const ROWS_PER_WANTED: usize = 8;
/// Row groups that are left to DataFusion's reader in one go after the cache took none of one.
const RUN_MAX: usize = 16;
/// Pieces without a row that passes before others get a turn.
const PIECES_PER_TURN: usize = 16;
/// Batches that are decoded before others get a turn.
const BATCHES_PER_TURN: usize = 16;

/// All rows of the file.
pub(super) fn rows(open: OpenFile) -> BoxStream<'static, Result<RecordBatch>> {
    let row_groups = (0..open.access.len())
        .filter(|row_group| open.access[*row_group].should_scan())
        .collect();
    let batch_size = open.scan.batch_size.max(1);
    let together = BatchCoalescer::new(Arc::clone(&open.output.schema), batch_size)
        .with_biggest_coalesce_batch_size(Some(batch_size / 2));
    let rows = Rows {
        open,
        row_groups,
        current: Current::None,
        together,
        idle: 0,
    };
    futures::stream::try_unfold(rows, |mut rows| async move {
        Ok(rows.next().await?.map(|batch| (batch, rows)))
    })
    .boxed()
}

struct Rows {
    open: OpenFile,
    /// Still to come.
    row_groups: VecDeque<usize>,
    current: Current,
    /// Rows of pieces of which few are left, until they make a batch.
    together: BatchCoalescer,
    /// Pieces since the last row.
    idle: usize,
}

/// The row group that is being read.
enum Current {
    None,
    /// All columns are in memory.
    Memory(PieceRows),
    /// Some are; the same rows of the others come from the file.
    Mixed {
        rows: PieceRows,
        file: Box<ParquetRecordBatchStream<Box<dyn AsyncFileReader>>>,
        /// Was read, and is not out yet.
        read: Option<RecordBatch>,
    },
    /// DataFusion reads it, and some that follow.
    File(BoxStream<'static, Result<RecordBatch>>),
}

impl Rows {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.together.next_completed_batch() {
                self.idle = 0;
                return Ok(Some(batch));
            }
            if self.idle >= PIECES_PER_TURN {
                self.idle = 0;
                tokio::task::yield_now().await;
            }
            let open = &mut self.open;
            let output = &open.output;
            let counts = &open.scan.cache.counts;
            let batch = match &mut self.current {
                Current::None => {
                    let Some(row_group) = self.next_row_group() else {
                        self.together.finish_buffered_batch()?;
                        return Ok(self.together.next_completed_batch());
                    };
                    self.current = self.start(row_group).await?;
                    if matches!(self.current, Current::Mixed { .. } | Current::File(_)) {
                        self.together.finish_buffered_batch()?;
                    }
                    // Row groups that are pruned must not keep a slot's thread for ever.
                    tokio::task::yield_now().await;
                    continue;
                }
                Current::Memory(rows) => {
                    if let Some(pruner) = &mut open.pruner {
                        rows.prune(pruner, &open.columns, counts);
                    }
                    match rows.next(output, open.filter.as_mut(), counts)? {
                        Step::Rows(batch) => {
                            // In order, and not copied.
                            self.together.finish_buffered_batch()?;
                            match self.together.next_completed_batch() {
                                Some(before) => {
                                    self.together.push_batch(batch)?;
                                    Some(before)
                                }
                                None => Some(batch),
                            }
                        }
                        Step::Filtered(batch) => {
                            self.together.push_batch(batch)?;
                            continue;
                        }
                        Step::Nothing => {
                            self.idle += 1;
                            continue;
                        }
                        Step::Done => None,
                    }
                }
                Current::Mixed { rows, file, read } => match read.take() {
                    Some(batch) => {
                        let (out, count) = rows.beside(output, &batch)?;
                        if count < batch.num_rows() {
                            *read = Some(batch.slice(count, batch.num_rows() - count));
                        }
                        Some(out)
                    }
                    None => match file.next().await.transpose()? {
                        Some(batch) => {
                            *read = Some(batch).filter(|batch| batch.num_rows() > 0);
                            continue;
                        }
                        None if rows.is_done() => None,
                        None => return internal_err!("fewer rows were read than wanted"),
                    },
                },
                Current::File(stream) => stream.next().await.transpose()?,
            };
            match batch {
                Some(batch) => {
                    self.idle = 0;
                    return Ok(Some(batch));
                }
                None => self.current = Current::None,
            }
        }
    }

    /// The next row group that may have rows.
    fn next_row_group(&mut self) -> Option<usize> {
        let OpenFile {
            pruner,
            reading,
            file,
            ..
        } = &mut self.open;
        while let Some(row_group) = self.row_groups.pop_front() {
            let pruned = pruner
                .as_mut()
                .is_some_and(|pruner| pruner.prunes(reading, file, row_group));
            if !pruned {
                return Some(row_group);
            }
        }
        None
    }

    async fn start(&mut self, row_group: usize) -> Result<Current> {
        let only_loads = self.open.scan.cache.only_loads;
        let gain = [Prospect::Here, Prospect::OnDisk, Prospect::Welcome];
        if !only_loads && !self.open.has_any(row_group, &gain) {
            return self.leave(row_group);
        }
        let pieces = Pieces::new(self.open.rows(row_group), &self.open.access[row_group]);
        if pieces.is_empty() {
            return Ok(Current::None);
        }
        let all = 0..self.open.columns.len();
        if only_loads {
            // Nobody needs them at once, and what is held or loaded must fit into the cache's floor.
            for column in all {
                self.bring(row_group, &pieces, column..column + 1).await?;
            }
            return Ok(Current::None);
        }
        let columns = self.bring(row_group, &pieces, all).await?;
        if columns.iter().all(Option::is_none) {
            return self.leave(row_group);
        }
        let missing: Vec<usize> = (self.open.columns.iter().zip(&columns))
            .filter(|(_, held)| held.is_none())
            .map(|(column, _)| column.leaf)
            .collect();
        let mut rows = PieceRows::new(columns, pieces, self.open.scan.batch_size);
        if let Some(pruner) = &mut self.open.pruner {
            rows.prune(pruner, &self.open.columns, &self.open.scan.cache.counts);
        }
        if rows.is_done() {
            return Ok(Current::None);
        }
        let to_read = rows.to_read();
        if missing.is_empty() {
            return Ok(Current::Memory(rows));
        }
        let mut file = self.read(row_group, missing)?;
        if let Some(selection) = to_read {
            file = file.with_row_selection(selection);
        }
        Ok(Current::Mixed {
            rows,
            file: Box::new(file.build()?),
            read: None,
        })
    }

    /// Holds those of some columns that are here, and loads those that are welcome.
    async fn bring(
        &mut self,
        row_group: usize,
        pieces: &Pieces,
        wanted: Range<usize>,
    ) -> Result<Vec<Option<HeldChunk>>> {
        let cache = self.open.scan.cache.clone();
        let rows = self.open.rows(row_group);
        let worth_loading = pieces.selected() * ROWS_PER_WANTED >= rows;
        let mut held: Vec<Option<HeldChunk>> = self.open.columns.iter().map(|_| None).collect();
        let mut to_load = Vec::new();
        let mut on_disk = Vec::new();
        for index in wanted {
            let column = &self.open.columns[index];
            let key = self.open.key(row_group, index);
            match self.open.prospect(row_group, index) {
                Prospect::Here => {
                    held[index] = cache
                        .chunks
                        .hold(&key)
                        .filter(|chunk| is_usable(chunk, column, rows));
                }
                Prospect::OnDisk => on_disk.push((index, key)),
                Prospect::Welcome if worth_loading => {
                    let wanted = self.open.wanted(row_group, index);
                    if let Some(slot) = cache.chunks.begin(&wanted, self.open.level) {
                        to_load.push((index, slot));
                    }
                }
                Prospect::Welcome | Prospect::Elsewhere => {}
            }
        }
        for (index, chunk) in read_from_disk(Arc::clone(&cache.chunks), on_disk).await? {
            let column = &self.open.columns[index];
            held[index] = Some(chunk).filter(|chunk| is_usable(chunk, column, rows));
        }
        for chunk in held.iter().flatten() {
            let bytes = usize::try_from(chunk.chunk().bytes()).unwrap_or(usize::MAX);
            cache.counts.found_bytes.add(bytes);
        }
        if !to_load.is_empty() {
            self.load(row_group, to_load, &mut held).await?;
        }
        Ok(held)
    }

    /// Decodes whole chunks into their slots.
    async fn load(
        &mut self,
        row_group: usize,
        slots: Vec<(usize, Box<dyn ChunkSlot>)>,
        held: &mut [Option<HeldChunk>],
    ) -> Result<()> {
        let leaves = slots
            .iter()
            .map(|(column, _)| self.open.columns[*column].leaf);
        let mut read = self.read(row_group, leaves)?.build()?;
        let mut pieces: Vec<Vec<ArrayRef>> = slots.iter().map(|_| Vec::new()).collect();
        let mut rows = 0;
        let mut batches = 0;
        while let Some(batch) = read.next().await {
            let batch = batch?;
            rows += batch.num_rows();
            for (pieces, column) in pieces.iter_mut().zip(batch.columns()) {
                pieces.push(ArrayRef::clone(column));
            }
            batches += 1;
            if batches % BATCHES_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        if rows != self.open.rows(row_group) {
            return Err(DataFusionError::Execution(format!(
                "row group {row_group} has {rows} rows, but should have {}",
                self.open.rows(row_group)
            )));
        }
        for ((column, slot), pieces) in slots.into_iter().zip(pieces) {
            held[column] = slot.fill(self.open.columns[column].field.data_type(), pieces);
            // Finding a small form for a chunk takes some time.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// A reader of some columns of one row group.
    fn read(
        &self,
        row_group: usize,
        leaves: impl IntoIterator<Item = usize>,
    ) -> Result<ParquetRecordBatchStreamBuilder<Box<dyn AsyncFileReader>>> {
        let open = &self.open;
        let mask = ProjectionMask::leaves(open.reading.parquet_schema(), leaves);
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(
            reader(&open.scan, &open.file)?,
            open.reading.clone(),
        );
        Ok(builder
            .with_row_groups(vec![row_group])
            .with_projection(mask)
            .with_batch_size(PIECE_ROWS))
    }

    /// Leaves this row group to DataFusion's reader, and those after it of which nothing is here.
    fn leave(&mut self, row_group: usize) -> Result<Current> {
        let groups = self.open.access.len();
        let mut access = ParquetAccessPlan::new_none(groups);
        access.scan(row_group);
        let mut run = 1;
        // The cache had and took nothing of this one: it is full of better, and will be for a while.
        while let Some(next) = self.row_groups.front().copied()
            && run < RUN_MAX
            && !self.open.has_any(next, &[Prospect::Here, Prospect::OnDisk])
        {
            self.row_groups.pop_front();
            access.scan(next);
            run += 1;
        }
        let file = self.open.file.clone().with_extension(access);
        Ok(Current::File(from_file(&self.open.scan, file)?))
    }
}

/// A chunk may have been read as another type: tables may see the same file differently.
fn is_usable(chunk: &HeldChunk, column: &Column, rows: usize) -> bool {
    chunk.chunk().data_type() == column.field.data_type() && chunk.chunk().rows() == rows
}

/// Chunks that the cache has on disk, each with the index of its column.
async fn read_from_disk(
    chunks: Arc<dyn ChunkCache>,
    keys: Vec<(usize, ChunkKey)>,
) -> Result<Vec<(usize, HeldChunk)>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let read = move || {
        keys.into_iter()
            .filter_map(|(index, key)| Some((index, chunks.hold_from_disk(&key)?)))
            .collect()
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| DataFusionError::External(Box::new(error)))
}
