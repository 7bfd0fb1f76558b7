//! What a stage's partitions read of tables, in a number each: the same for the same files from
//! statement to statement, whatever columns and rows are wanted, so that the executors that have a
//! part of a table in memory get it again (`docs/decisions/0012-homes-of-cached-chunks.md`).
//!
//! The number is of the file alone. Where a file is cut depends on how many partitions a statement
//! has; equal numbers are dealt to executors in order of partition, so each gets about the same part
//! of the file. Only files are counted whose columns executors keep.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use super::stages::count;

type Plan = Arc<dyn ExecutionPlan>;

/// The largest piece of a file that a partition reads.
#[derive(Clone, Copy, Default)]
struct Piece {
    bytes: u64,
    key: u64,
}

impl Piece {
    fn of(file: &PartitionedFile) -> Self {
        Self {
            bytes: bytes(file),
            key: catalog::hash_of(file.object_meta.location.as_ref()),
        }
    }

    /// The larger one; of two of the same size, the one that was first.
    fn or_larger(&mut self, other: Self) {
        if other.bytes > self.bytes {
            *self = other;
        }
    }
}

/// For a stage that is one task: the first file of its largest scan.
pub(super) fn of_whole(plan: &Plan) -> Vec<u64> {
    let mut largest = Piece::default();
    // The walk cannot fail: its closure does not.
    let _ = plan.apply(|node| {
        let groups = cached_files(node).unwrap_or_default();
        let mut files = groups.iter().flat_map(FileGroup::iter);
        if let Some(first) = files.next() {
            let scanned = bytes(first) + files.map(bytes).sum::<u64>();
            largest.or_larger(Piece {
                bytes: scanned,
                ..Piece::of(first)
            });
        }
        Ok(TreeNodeRecursion::Continue)
    });
    (largest.bytes > 0)
        .then_some(largest.key)
        .into_iter()
        .collect()
}

/// For a stage that is sliced: of each partition.
pub(super) fn of_partitions(plan: &Plan) -> Vec<u64> {
    let mut pieces = vec![Piece::default(); count(plan)];
    note(plan, &mut pieces);
    if pieces.iter().all(|piece| piece.bytes == 0) {
        return Vec::new();
    }
    pieces.iter().map(|piece| piece.key).collect()
}

/// Notes what a node's partitions read. What all of them read together says nothing.
fn note(node: &Plan, pieces: &mut [Piece]) {
    for (piece, group) in pieces
        .iter_mut()
        .zip(cached_files(node).unwrap_or_default())
    {
        for file in group.iter() {
            piece.or_larger(Piece::of(file));
        }
    }
    if node.downcast_ref::<UnionExec>().is_some() {
        let mut rest = pieces;
        for input in node.children() {
            let (own, others) = rest.split_at_mut(count(input).min(rest.len()));
            note(input, own);
            rest = others;
        }
        return;
    }
    for child in node.children() {
        if count(child) == pieces.len() {
            note(child, pieces);
        }
    }
}

/// The files of a scan whose columns executors may keep, by partition.
fn cached_files(node: &Plan) -> Option<&[FileGroup]> {
    let scan = node.downcast_ref::<DataSourceExec>()?;
    let files = scan.data_source().downcast_ref::<FileScanConfig>()?;
    (files.file_source().file_type() == "parquet").then_some(&files.file_groups)
}

/// What is read of a file. None is nothing.
fn bytes(file: &PartitionedFile) -> u64 {
    let range = file.range.as_ref();
    let size = range.map_or(file.object_meta.size, |range| {
        u64::try_from(range.end - range.start).unwrap_or_default()
    });
    size.max(1)
}
