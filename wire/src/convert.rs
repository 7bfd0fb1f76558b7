//! `job`'s words as messages, and back.
//!
//! Sending cannot fail. Receiving checks what a careless or hostile sender could leave out; what
//! it can't check (a job nobody knows) is for the receiver's own tables to refuse.

use job::{
    AttemptId, ErrorReport, ExchangeKind, FailureKind, InputLocations, JobId, MapOutput,
    OperatorMetrics, SqlState, StageId, TaskFailure, TaskId, TaskOutcome, TaskStats, WrittenFile,
};

use crate::error::{Result, WireError, required};
use crate::proto;

impl From<AttemptId> for proto::AttemptId {
    fn from(id: AttemptId) -> Self {
        Self {
            job: id.task.job.0,
            stage: id.task.stage.0,
            task: id.task.task,
            attempt: id.attempt,
        }
    }
}

impl From<proto::AttemptId> for AttemptId {
    fn from(id: proto::AttemptId) -> Self {
        Self {
            task: TaskId {
                job: JobId(id.job),
                stage: StageId(id.stage),
                task: id.task,
            },
            attempt: id.attempt,
        }
    }
}

impl From<ErrorReport> for proto::ErrorReport {
    fn from(report: ErrorReport) -> Self {
        Self {
            sqlstate: report.sqlstate.as_str().to_owned(),
            message: report.message,
            detail: report.detail,
            hint: report.hint,
            position: report.position,
            context: report.context,
            held_rows: report.held_rows,
        }
    }
}

impl From<proto::ErrorReport> for ErrorReport {
    fn from(report: proto::ErrorReport) -> Self {
        Self {
            sqlstate: SqlState::parse(&report.sqlstate).unwrap_or(SqlState::INTERNAL_ERROR),
            message: report.message,
            detail: report.detail,
            hint: report.hint,
            position: report.position,
            context: report.context,
            held_rows: report.held_rows,
        }
    }
}

impl From<ExchangeKind> for proto::ExchangeKind {
    fn from(kind: ExchangeKind) -> Self {
        match kind {
            ExchangeKind::Hash => Self::Hash,
            ExchangeKind::RoundRobin => Self::RoundRobin,
            ExchangeKind::Gather => Self::Gather,
            ExchangeKind::Broadcast => Self::Broadcast,
        }
    }
}

impl From<proto::ExchangeKind> for ExchangeKind {
    fn from(kind: proto::ExchangeKind) -> Self {
        match kind {
            proto::ExchangeKind::Hash => Self::Hash,
            proto::ExchangeKind::RoundRobin => Self::RoundRobin,
            proto::ExchangeKind::Gather => Self::Gather,
            proto::ExchangeKind::Broadcast => Self::Broadcast,
        }
    }
}

/// How an attempt ended, for the driver.
pub fn report(attempt: AttemptId, outcome: TaskOutcome) -> proto::Report {
    use proto::report::Outcome;
    proto::Report {
        attempt: Some(attempt.into()),
        outcome: Some(match outcome {
            TaskOutcome::Finished(stats) => Outcome::Finished(stats.into()),
            TaskOutcome::Failed(failure) => Outcome::Failed(failure.into()),
            TaskOutcome::Cancelled => Outcome::Cancelled(proto::Unit {}),
        }),
    }
}

/// The other end of [`report`].
pub fn read_report(report: proto::Report) -> Result<(AttemptId, TaskOutcome)> {
    use proto::report::Outcome;
    let attempt = required(report.attempt, "a report without its attempt")?.into();
    let outcome = match required(report.outcome, "a report without an outcome")? {
        Outcome::Finished(stats) => TaskOutcome::Finished(stats.into()),
        Outcome::Failed(failure) => TaskOutcome::Failed(failure.try_into()?),
        Outcome::Cancelled(proto::Unit {}) => TaskOutcome::Cancelled,
    };
    Ok((attempt, outcome))
}

impl From<TaskStats> for proto::TaskStats {
    fn from(stats: TaskStats) -> Self {
        Self {
            rows: stats.rows,
            segment_bytes: stats.segment_bytes,
            segment_rows: stats.segment_rows,
            spilled_bytes: stats.spilled_bytes,
            files: stats.files.into_iter().map(Into::into).collect(),
            operators: stats.operators.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<proto::TaskStats> for TaskStats {
    fn from(stats: proto::TaskStats) -> Self {
        Self {
            rows: stats.rows,
            segment_bytes: stats.segment_bytes,
            segment_rows: stats.segment_rows,
            spilled_bytes: stats.spilled_bytes,
            files: stats.files.into_iter().map(Into::into).collect(),
            operators: stats.operators.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<WrittenFile> for proto::WrittenFile {
    fn from(file: WrittenFile) -> Self {
        let WrittenFile { path, rows, bytes } = file;
        Self { path, rows, bytes }
    }
}

impl From<proto::WrittenFile> for WrittenFile {
    fn from(file: proto::WrittenFile) -> Self {
        let proto::WrittenFile { path, rows, bytes } = file;
        Self { path, rows, bytes }
    }
}

impl From<OperatorMetrics> for proto::OperatorMetrics {
    fn from(metrics: OperatorMetrics) -> Self {
        Self {
            label: metrics.label,
            depth: metrics.depth,
            output_rows: metrics.output_rows,
            output_bytes: metrics.output_bytes,
            elapsed_compute_ns: metrics.elapsed_compute_ns,
            spilled_bytes: metrics.spilled_bytes,
            spill_count: metrics.spill_count,
            cached_bytes: metrics.cached_bytes,
            pruned_pieces: metrics.pruned_pieces,
            filtered_rows: metrics.filtered_rows,
        }
    }
}

impl From<proto::OperatorMetrics> for OperatorMetrics {
    fn from(metrics: proto::OperatorMetrics) -> Self {
        Self {
            label: metrics.label,
            depth: metrics.depth,
            output_rows: metrics.output_rows,
            output_bytes: metrics.output_bytes,
            elapsed_compute_ns: metrics.elapsed_compute_ns,
            spilled_bytes: metrics.spilled_bytes,
            spill_count: metrics.spill_count,
            cached_bytes: metrics.cached_bytes,
            pruned_pieces: metrics.pruned_pieces,
            filtered_rows: metrics.filtered_rows,
        }
    }
}

impl From<TaskFailure> for proto::TaskFailure {
    fn from(failure: TaskFailure) -> Self {
        use proto::task_failure::Kind;
        let unit = proto::Unit {};
        Self {
            kind: Some(match failure.kind {
                FailureKind::Statement => Kind::Statement(unit),
                FailureKind::Resources => Kind::Resources(unit),
                FailureKind::Transient => Kind::Transient(unit),
                FailureKind::LostInput { stage, outputs } => Kind::LostInput(proto::LostInput {
                    stage: stage.0,
                    outputs: outputs.into_iter().map(Into::into).collect(),
                }),
                FailureKind::Internal => Kind::Internal(unit),
            }),
            error: Some(failure.error.into()),
        }
    }
}

impl TryFrom<proto::TaskFailure> for TaskFailure {
    type Error = WireError;

    fn try_from(failure: proto::TaskFailure) -> Result<Self> {
        use proto::task_failure::Kind;
        Ok(Self {
            kind: match required(failure.kind, "a failure without its kind")? {
                Kind::Statement(_) => FailureKind::Statement,
                Kind::Resources(_) => FailureKind::Resources,
                Kind::Transient(_) => FailureKind::Transient,
                Kind::LostInput(lost) => FailureKind::LostInput {
                    stage: StageId(lost.stage),
                    outputs: lost.outputs.into_iter().map(Into::into).collect(),
                },
                Kind::Internal(_) => FailureKind::Internal,
            },
            error: required(failure.error, "a failure without its error")?.into(),
        })
    }
}

/// An input of a task; `holder` says where an executor is reached, if it ever was.
pub fn input(
    locations: &InputLocations,
    holder: impl Fn(job::ExecutorId) -> Option<proto::Holder>,
) -> proto::Input {
    let mut executors: Vec<_> = locations.outputs.iter().map(|o| o.executor).collect();
    executors.sort_unstable();
    executors.dedup();
    proto::Input {
        stage: locations.stage.0,
        outputs: locations
            .outputs
            .iter()
            .map(|output| proto::MapOutput {
                task: output.attempt.task.task,
                attempt: output.attempt.attempt,
                executor: output.executor.0,
            })
            .collect(),
        holders: executors.into_iter().filter_map(holder).collect(),
    }
}

/// The other end of [`input`], for a task of `job`; the holders are read apart.
pub fn read_input(input: &proto::Input, job: JobId) -> InputLocations {
    let stage = StageId(input.stage);
    InputLocations {
        stage,
        outputs: input
            .outputs
            .iter()
            .map(|output| MapOutput {
                attempt: AttemptId {
                    task: TaskId {
                        job,
                        stage,
                        task: output.task,
                    },
                    attempt: output.attempt,
                },
                executor: job::ExecutorId(output.executor),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(task: u32) -> AttemptId {
        AttemptId {
            task: TaskId {
                job: JobId(7),
                stage: StageId(2),
                task,
            },
            attempt: 3,
        }
    }

    fn error() -> ErrorReport {
        let error = ErrorReport::new(SqlState::DIVISION_BY_ZERO, "division by zero")
            .with_detail("A detail.")
            .with_hint("A hint.")
            .with_position(9)
            .with_context("COPY t, line 3");
        ErrorReport {
            held_rows: true,
            ..error
        }
    }

    #[test]
    fn outcomes_come_back_as_they_were() -> Result<()> {
        let stats = TaskStats {
            rows: 1,
            segment_bytes: vec![2, 3],
            segment_rows: vec![4, 5],
            spilled_bytes: 6,
            files: vec![WrittenFile {
                path: "/a".to_owned(),
                rows: 7,
                bytes: 8,
            }],
            operators: vec![OperatorMetrics {
                label: "FilterExec".to_owned(),
                depth: 1,
                output_rows: 2,
                output_bytes: 3,
                elapsed_compute_ns: 4,
                spilled_bytes: 5,
                spill_count: 6,
                cached_bytes: 7,
                pruned_pieces: 8,
                filtered_rows: 9,
            }],
        };
        let kinds = [
            FailureKind::Statement,
            FailureKind::Resources,
            FailureKind::Transient,
            FailureKind::Internal,
            FailureKind::LostInput {
                stage: StageId(1),
                outputs: vec![attempt(0), attempt(1)],
            },
        ];
        let mut outcomes = vec![TaskOutcome::Finished(stats), TaskOutcome::Cancelled];
        outcomes.extend(kinds.map(|kind| {
            TaskOutcome::Failed(TaskFailure {
                kind,
                error: error(),
            })
        }));
        for outcome in outcomes {
            let sent = report(attempt(4), outcome.clone());
            assert_eq!(read_report(sent)?, (attempt(4), outcome));
        }
        Ok(())
    }

    #[test]
    fn reports_that_lack_something_are_refused() {
        let mut no_outcome = report(attempt(0), TaskOutcome::Cancelled);
        no_outcome.outcome = None;
        assert!(read_report(no_outcome).is_err());
        let mut no_attempt = report(attempt(0), TaskOutcome::Cancelled);
        no_attempt.attempt = None;
        assert!(read_report(no_attempt).is_err());
    }

    #[test]
    fn inputs_come_back_as_they_were() {
        let locations = InputLocations {
            stage: StageId(2),
            outputs: vec![
                MapOutput {
                    attempt: attempt(0),
                    executor: job::ExecutorId(5),
                },
                MapOutput {
                    attempt: attempt(1),
                    executor: job::ExecutorId(6),
                },
            ],
        };
        let sent = input(&locations, |executor| {
            (executor.0 == 5).then(|| proto::Holder {
                executor: 5,
                address: "host:1".to_owned(),
                epoch: 2,
            })
        });
        assert_eq!(read_input(&sent, JobId(7)), locations);
        assert_eq!(sent.holders.len(), 1, "one of the two is gone");
    }
}
