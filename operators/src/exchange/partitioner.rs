//! Deals a task's output to the segments of its map output.
//!
//! Hash dealing uses DataFusion's own hash and seed, so every producer of an exchange, and both
//! sides of a join, agree on the segment of a key. Input batches are held back until a segment
//! gets about a batch of rows from them, and rows are then copied once, straight into the
//! segment's batch: dealing each input batch by itself would make many tiny batches that have to
//! be copied again to be useful.
//!
//! What is dealt stands alone: string and binary views are compacted, so that a stored segment
//! does not keep the buffers of the scan it came from.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{BatchCoalescer, interleave_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::hash_utils::create_hashes;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;
use job::ExchangeKind;

use crate::ExchangeSpec;
use crate::compact::shown_bytes;

/// Bytes of input a hash partitioner holds back at most. Reached by wide rows and by exchanges
/// of many segments; then segments get smaller batches.
const HELD_BYTES_MAX: usize = 16 << 20;

/// A batch for a segment.
pub type Dealt = (u32, RecordBatch);

/// Deals one partition of a task. Not shared: a task that runs several partitions at once makes
/// one per partition.
pub struct Partitioner {
    dealer: Dealer,
    compact: bool,
}

enum Dealer {
    Hash(HashDealer),
    /// Gather and broadcast: everything goes to the partition's own segment.
    Own {
        segment: u32,
        coalescer: BatchCoalescer,
    },
    RoundRobin {
        next: u32,
        segments: u32,
    },
}

impl Partitioner {
    /// `partition` is the stage's partition this one deals (not its index in the slice).
    pub fn try_new(
        spec: &ExchangeSpec,
        schema: SchemaRef,
        partition: u32,
        batch_size: usize,
    ) -> Result<Self> {
        if spec.segments == 0 {
            return internal_err!("exchange without segments");
        }
        let compact = schema.fields().iter().any(|f| holds_views(f.data_type()));
        let dealer = match spec.kind {
            ExchangeKind::Hash => {
                if spec.hash_keys.is_empty() {
                    return internal_err!("hash exchange without keys");
                }
                Dealer::Hash(HashDealer {
                    keys: spec.hash_keys.clone(),
                    held: Vec::new(),
                    held_rows: 0,
                    held_bytes: 0,
                    batch_size: batch_size.max(1),
                    rows_wanted: batch_size.saturating_mul(spec.segments as usize),
                    indices: vec![Vec::new(); spec.segments as usize],
                    hashes: Vec::new(),
                })
            }
            ExchangeKind::Gather | ExchangeKind::Broadcast => {
                if partition >= spec.segments {
                    return internal_err!(
                        "partition {partition} of an exchange with {} segments",
                        spec.segments
                    );
                }
                Dealer::Own {
                    segment: partition,
                    coalescer: BatchCoalescer::new(schema, batch_size)
                        .with_biggest_coalesce_batch_size(Some(batch_size / 2)),
                }
            }
            ExchangeKind::RoundRobin => Dealer::RoundRobin {
                next: partition % spec.segments,
                segments: spec.segments,
            },
        };
        Ok(Self { dealer, compact })
    }

    /// Takes a batch; returns what has become ready. A segment's batches keep their input order.
    pub fn partition(&mut self, batch: RecordBatch) -> Result<Vec<Dealt>> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let ready = match &mut self.dealer {
            Dealer::Hash(dealer) => dealer.push(batch)?,
            Dealer::Own { segment, coalescer } => {
                coalescer.push_batch(batch)?;
                take_completed(*segment, coalescer)
            }
            Dealer::RoundRobin { next, segments } => {
                let segment = *next;
                *next = (*next + 1) % *segments;
                vec![(segment, batch)]
            }
        };
        self.compacted(ready)
    }

    /// What was held back. Call once, after the last batch.
    pub fn finish(&mut self) -> Result<Vec<Dealt>> {
        let ready = match &mut self.dealer {
            Dealer::Hash(dealer) => dealer.flush()?,
            Dealer::Own { segment, coalescer } => {
                coalescer.finish_buffered_batch()?;
                take_completed(*segment, coalescer)
            }
            Dealer::RoundRobin { .. } => Vec::new(),
        };
        self.compacted(ready)
    }

    /// Bytes held back; to be charged to the task's memory.
    pub fn held_bytes(&self) -> usize {
        match &self.dealer {
            Dealer::Hash(dealer) => dealer.held_bytes,
            Dealer::Own { coalescer, .. } => coalescer.size(),
            Dealer::RoundRobin { .. } => 0,
        }
    }

    fn compacted(&self, dealt: Vec<Dealt>) -> Result<Vec<Dealt>> {
        if !self.compact {
            return Ok(dealt);
        }
        dealt
            .into_iter()
            .map(|(segment, batch)| Ok((segment, compact_views(batch)?)))
            .collect()
    }
}

fn take_completed(segment: u32, coalescer: &mut BatchCoalescer) -> Vec<Dealt> {
    std::iter::from_fn(|| coalescer.next_completed_batch())
        .map(|batch| (segment, batch))
        .collect()
}

struct HashDealer {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    held: Vec<RecordBatch>,
    held_rows: usize,
    held_bytes: usize,
    batch_size: usize,
    rows_wanted: usize,
    /// Per segment: (held batch, row) in input order.
    indices: Vec<Vec<(usize, usize)>>,
    hashes: Vec<u64>,
}

impl HashDealer {
    fn push(&mut self, batch: RecordBatch) -> Result<Vec<Dealt>> {
        let rows = batch.num_rows();
        let keys = self
            .keys
            .iter()
            .map(|key| key.evaluate(&batch)?.into_array(rows))
            .collect::<Result<Vec<_>>>()?;
        self.hashes.clear();
        self.hashes.resize(rows, 0);
        create_hashes(
            &keys,
            REPARTITION_RANDOM_STATE.random_state(),
            &mut self.hashes,
        )?;
        let held = self.held.len();
        let segments = self.indices.len() as u64;
        if segments.is_power_of_two() {
            // The same segment as the division gives, without one per row.
            let mask = segments - 1;
            for (row, hash) in self.hashes.iter().enumerate() {
                self.indices[(hash & mask) as usize].push((held, row));
            }
        } else {
            for (row, hash) in self.hashes.iter().enumerate() {
                self.indices[(hash % segments) as usize].push((held, row));
            }
        }
        self.held_rows += rows;
        self.held_bytes += shown_bytes(&batch);
        self.held.push(batch);
        if self.held_rows >= self.rows_wanted || self.held_bytes >= HELD_BYTES_MAX {
            self.flush()
        } else {
            Ok(Vec::new())
        }
    }

    fn flush(&mut self) -> Result<Vec<Dealt>> {
        let held = std::mem::take(&mut self.held);
        self.held_rows = 0;
        self.held_bytes = 0;
        let Some(first) = held.first() else {
            return Ok(Vec::new());
        };
        let columns = first.num_columns();
        let batches: Vec<&RecordBatch> = held.iter().collect();
        let mut dealt = Vec::with_capacity(self.indices.len());
        for (segment, indices) in self.indices.iter_mut().enumerate() {
            if indices.is_empty() {
                continue;
            }
            // A frequent key brings its segment all that is held, which is far more than a batch.
            let pieces = indices.len().div_ceil(self.batch_size * 2);
            for rows in indices.chunks(indices.len().div_ceil(pieces)) {
                let batch = if columns == 0 {
                    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
                    RecordBatch::try_new_with_options(first.schema(), vec![], &options)?
                } else {
                    interleave_record_batch(&batches, rows)?
                };
                dealt.push((segment as u32, batch));
            }
            indices.clear();
        }
        Ok(dealt)
    }
}

fn holds_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView => true,
        // Views inside nested types keep their buffers: compacting them means rebuilding the
        // nesting, for columns that are rare and whose rows are few.
        _ => false,
    }
}

/// Copies the strings that a view column points to, when its buffers hold much else.
fn compact_views(batch: RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch
        .columns()
        .iter()
        .map(|column| -> ArrayRef {
            match column.data_type() {
                DataType::Utf8View => {
                    let views = column.as_string_view();
                    if is_sparse(views.data_buffers(), views.total_buffer_bytes_used()) {
                        Arc::new(views.gc())
                    } else {
                        Arc::clone(column)
                    }
                }
                DataType::BinaryView => {
                    let views = column.as_binary_view();
                    if is_sparse(views.data_buffers(), views.total_buffer_bytes_used()) {
                        Arc::new(views.gc())
                    } else {
                        Arc::clone(column)
                    }
                }
                _ => Arc::clone(column),
            }
        })
        .collect();
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

fn is_sparse(buffers: &[datafusion::arrow::buffer::Buffer], used: usize) -> bool {
    let held: usize = buffers.iter().map(|b| b.capacity()).sum();
    // A quarter of slack is cheaper to keep than to copy away.
    held > used + used / 4
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::HashMap;

    use datafusion::arrow::array::{Int64Array, StringArray, StringViewArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::physical_expr::expressions::Column;
    use datafusion::physical_plan::metrics::Time;
    use datafusion::physical_plan::repartition::BatchPartitioner;

    use super::*;

    fn batch(keys: Vec<Option<i64>>) -> RecordBatch {
        let names: Vec<String> = keys.iter().map(|k| format!("{k:?}")).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(keys)),
            Arc::new(StringArray::from(names)),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("s", DataType::Utf8, true),
        ]))
    }

    fn spec(kind: ExchangeKind, segments: u32) -> ExchangeSpec {
        let key = Arc::new(Column::new("k", 0)) as Arc<dyn PhysicalExpr>;
        ExchangeSpec {
            kind,
            hash_keys: if kind == ExchangeKind::Hash {
                vec![key]
            } else {
                vec![]
            },
            segments,
        }
    }

    /// Deals 20 batches of 50 rows; returns (segment, key) of every row.
    fn deal(segments: u32, batch_size: usize) -> (Vec<Dealt>, Vec<(u32, Option<i64>)>) {
        let spec = spec(ExchangeKind::Hash, segments);
        let mut partitioner = Partitioner::try_new(&spec, schema(), 0, batch_size).unwrap();
        let mut dealt = Vec::new();
        for start in 0..20 {
            let keys = (0..50).map(|i| (i % 7 != 0).then_some((start * 50 + i) % 113));
            dealt.extend(partitioner.partition(batch(keys.collect())).unwrap());
        }
        dealt.extend(partitioner.finish().unwrap());
        assert_eq!(partitioner.held_bytes(), 0);
        let mut rows = Vec::new();
        for (segment, batch) in &dealt {
            let keys = batch
                .column(0)
                .as_primitive::<datafusion::arrow::datatypes::Int64Type>();
            rows.extend(keys.iter().map(|key| (*segment, key)));
        }
        (dealt, rows)
    }

    #[test]
    fn a_key_has_one_segment_and_no_row_is_lost() {
        for segments in [1, 2, 3, 16] {
            let (_, rows) = deal(segments, 64);
            assert_eq!(rows.len(), 1000);
            let mut home = HashMap::new();
            for (segment, key) in rows {
                assert_eq!(*home.entry(key).or_insert(segment), segment, "key {key:?}");
            }
        }
    }

    #[test]
    fn segments_are_those_of_datafusions_repartition() {
        for segments in [3, 8] {
            let (_, rows) = deal(segments, 1);
            let keys: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(Column::new("k", 0))];
            let mut theirs =
                BatchPartitioner::new_hash_partitioner(keys, segments as usize, Time::new())
                    .unwrap();
            for (segment, key) in rows {
                theirs
                    .partition(batch(vec![key]), |partition, _| {
                        assert_eq!(partition as u32, segment, "key {key:?}");
                        Ok(())
                    })
                    .unwrap();
            }
        }
    }

    #[test]
    fn segments_get_batches_worth_reading() {
        // 20 batches into 4 segments: dealt one by one, that would be 80 batches.
        let (dealt, _) = deal(4, 100);
        assert_eq!(dealt.len(), 12);
    }

    #[test]
    fn a_frequent_key_gets_batches_no_larger_than_others() {
        let spec = spec(ExchangeKind::Hash, 16);
        let mut partitioner = Partitioner::try_new(&spec, schema(), 0, 64).unwrap();
        let mut dealt = partitioner.partition(batch(vec![Some(7); 900])).unwrap();
        dealt.extend(partitioner.finish().unwrap());
        let rows: Vec<usize> = dealt.iter().map(|(_, batch)| batch.num_rows()).collect();
        assert_eq!(rows.iter().sum::<usize>(), 900);
        assert!(rows.iter().all(|&rows| rows <= 128), "{rows:?}");
    }

    #[test]
    fn a_gather_keeps_order_in_the_partitions_own_segment() {
        let spec = spec(ExchangeKind::Gather, 3);
        let mut partitioner = Partitioner::try_new(&spec, schema(), 2, 64).unwrap();
        let mut dealt = Vec::new();
        for start in 0..10 {
            let keys = (0..10).map(|i| Some(start * 10 + i)).collect();
            dealt.extend(partitioner.partition(batch(keys)).unwrap());
        }
        dealt.extend(partitioner.finish().unwrap());
        let mut expected = 0..100;
        for (segment, batch) in &dealt {
            assert_eq!(*segment, 2);
            let keys = batch
                .column(0)
                .as_primitive::<datafusion::arrow::datatypes::Int64Type>();
            assert!(keys.iter().all(|key| key == expected.next()));
        }
        assert_eq!(expected.next(), None);
        assert!(Partitioner::try_new(&spec, schema(), 3, 64).is_err());
    }

    #[test]
    fn stored_views_do_not_keep_the_scans_buffers() {
        let schema = Arc::new(Schema::new(vec![Field::new(
            "k",
            DataType::Utf8View,
            false,
        )]));
        let long = |i: usize| format!("a string that is much longer than twelve bytes, {i}");
        let scanned = StringViewArray::from_iter_values((0..10_000).map(long));
        let whole: usize = scanned.data_buffers().iter().map(|b| b.len()).sum();
        let few = scanned.slice(5_000, 10);
        for kind in [
            ExchangeKind::Hash,
            ExchangeKind::Gather,
            ExchangeKind::RoundRobin,
        ] {
            let spec = spec(kind, 1);
            let input = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(few.clone())]);
            let mut partitioner =
                Partitioner::try_new(&spec, Arc::clone(&schema), 0, 8192).unwrap();
            let mut dealt = partitioner.partition(input.unwrap()).unwrap();
            dealt.extend(partitioner.finish().unwrap());
            let [(0, stored)] = &dealt[..] else {
                panic!("{dealt:?}");
            };
            let stored = stored.column(0).as_string_view();
            assert_eq!(stored.value(3), long(5_003));
            let kept: usize = stored.data_buffers().iter().map(|b| b.capacity()).sum();
            assert!(kept < whole / 100, "{kind:?} keeps {kept} of {whole} bytes");
        }
    }
}
