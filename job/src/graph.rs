//! The topology of a job: what the scheduler sees of a plan.
//!
//! ```text
//!   stage 0 (scan lineitem) --hash 16--+
//!                                      +--> stage 2 (join, 16 partitions) --gather--> stage 3 (result)
//!   stage 1 (scan orders)   --hash 16--+
//! ```
//!
//! One rule covers every exchange: a map output has numbered *segments*, and consumer partition
//! `p` reads segment `p` of every map output of its producer ([`Reading::Segment`]), or a consumer
//! task reads all segments ([`Reading::Everything`], a broadcast). A gather keeps one segment per
//! producer partition, so an order-preserving merge still sees one sorted stream per partition.

use crate::{ErrorReport, SqlState, StageId};

/// A job's stages in topological order: a stage's inputs have smaller ids than the stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobGraph {
    /// `stages[i].id == StageId(i)`.
    pub stages: Vec<Stage>,
}

impl JobGraph {
    /// The stage whose output the client reads: always the last one.
    pub fn result_stage(&self) -> StageId {
        StageId(self.stages.len().saturating_sub(1) as u32)
    }

    pub fn stage(&self, id: StageId) -> Option<&Stage> {
        self.stages.get(id.0 as usize)
    }

    /// Whether this is a graph at all: what every reader of one may rely on. A planner that
    /// breaks it has a bug, so the error is `XX000`.
    pub fn check(&self) -> Result<(), ErrorReport> {
        let broken = |what: String| {
            Err(ErrorReport::new(
                SqlState::INTERNAL_ERROR,
                format!("invalid stage graph: {what}"),
            ))
        };
        if self.stages.is_empty() {
            return broken("it has no stages".to_owned());
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let id = stage.id;
            if id.0 as usize != index {
                return broken(format!("stage {id} is at position {index}"));
            }
            if stage.partitions == 0 {
                return broken(format!("stage {id} has no partitions"));
            }
            if stage.slicing == (Slicing::Whole { slots: 0 }) {
                return broken(format!("stage {id} asks for no slots"));
            }
            let keys = match stage.slicing {
                Slicing::Whole { .. } => 1,
                Slicing::PerPartition => stage.partitions as usize,
            };
            if !stage.placement.is_empty() && stage.placement.len() != keys {
                return broken(format!(
                    "stage {id} is placed by other partitions than it has"
                ));
            }
            if let Some(input) = stage.inputs.iter().find(|input| input.stage >= id) {
                return broken(format!("stage {id} reads stage {}", input.stage));
            }
            let is_result = matches!(stage.output, StageOutput::Result);
            if is_result != (id == self.result_stage()) {
                return broken(format!("stage {id} is not where the result should be"));
            }
        }
        Ok(())
    }
}

/// Work that needs no data to move between executors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub id: StageId,
    /// Exchanges this stage reads.
    pub inputs: Vec<StageInput>,
    /// Partitions of the stage's plan; at least 1.
    pub partitions: u32,
    pub slicing: Slicing,
    pub output: StageOutput,
    /// Planner's estimate of the bytes this stage reads, for admission and placement.
    pub estimated_bytes: Option<u64>,
    /// What each partition reads of tables, hashed, so that the same executor reads the same again: one
    /// number per partition, or a single one if the stage is one task. Empty: it does not matter where it runs.
    pub placement: Vec<u64>,
}

/// An exchange as its consumer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageInput {
    /// The producer.
    pub stage: StageId,
    pub reading: Reading,
}

/// Which segments of a producer's map outputs a consumer partition needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Consumer partition `p` reads segment `p` of every map output.
    Segment,
    /// Every consumer task reads every segment: broadcasts, scalar subqueries.
    Everything,
}

/// How a stage's partitions become tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slicing {
    /// The stage is one task: its plan shares state between partitions, or moves rows between
    /// them in process. It holds up to `slots` slots, fewer where the executor has fewer.
    Whole { slots: u32 },
    /// Any subset of partitions may be a task; a slice of w partitions holds w slots.
    PerPartition,
}

/// Where a stage's rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageOutput {
    /// Map outputs with `segments` segments each, kept until the job ends.
    Exchange { kind: ExchangeKind, segments: u32 },
    /// Encoded rows for the client, or files for a table, or nothing: the end of the job.
    Result,
}

/// Why rows move; shown by EXPLAIN. The scheduler treats all kinds alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// Rows go to the segment their key hashes to.
    Hash,
    /// Rows are dealt out evenly.
    RoundRobin,
    /// Segment i holds producer partition i; one consumer task reads them all.
    Gather,
    /// Segment i holds producer partition i; every consumer task reads them all.
    Broadcast,
}
