//! Map outputs: in memory, on disk, damaged, elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use executor::ExecutorLink;
use job::{AttemptId, FailureKind, JobId, MapOutput, StageId, TaskOutcome};

use crate::support::*;

const SEGMENTS: u32 = 4;
const ROWS: u64 = 400_000;

/// About 50 MB, as views into large buffers.
const PRODUCER: &str = "SELECT value, arrow_cast(repeat(value::text, 16), 'Utf8View') AS text FROM generate_series(1, 400000)";

async fn producer() -> Arc<dyn ExecutionPlan> {
    plan(&session(2), PRODUCER).await
}

/// Runs the producer in one task and returns its attempt.
async fn produce(fixture: &mut Fixture, job: u64, plan: &Arc<dyn ExecutionPlan>) -> AttemptId {
    let id = attempt(job, 0, 0);
    let sink = hash_sink(plan, SEGMENTS);
    fixture.launch(id, &stage(0, Arc::clone(plan), sink));
    let stats = fixture.finished(id).await;
    assert_eq!(stats.rows, ROWS);
    assert_eq!(stats.segment_rows.len(), SEGMENTS as usize);
    assert_eq!(stats.segment_rows.iter().sum::<u64>(), ROWS);
    assert!(stats.segment_rows.iter().all(|rows| *rows > ROWS / 8));
    assert!(stats.segment_bytes.iter().all(|bytes| *bytes > MIB));
    id
}

/// Reads everything back in two tasks of two partitions each; checks every row.
async fn consume(fixture: &mut Fixture, job: u64, plan: &Arc<dyn ExecutionPlan>, from: AttemptId) {
    let consumer = stage(1, source(plan, SEGMENTS), rows_sink());
    let mut seen = vec![false; ROWS as usize + 1];
    for (task, partitions) in [vec![0, 1], vec![2, 3]].into_iter().enumerate() {
        let id = attempt(job, 1, task as u32);
        fixture.launch_slice(id, &consumer, partitions, fixture.inputs(&[from]));
        let rows = collect(fixture.executor.open_rows(id)).await.unwrap();
        let stats = fixture.finished(id).await;
        assert_eq!(stats.rows, rows.len() as u64);
        for row in rows {
            let value: usize = row[0].parse().unwrap();
            assert_eq!(row[1], value.to_string().repeat(16));
            assert!(!std::mem::replace(&mut seen[value], true), "{value} twice");
        }
    }
    assert_eq!(seen.iter().filter(|seen| **seen).count(), ROWS as usize);
}

#[tokio::test]
async fn a_map_output_in_memory_is_read_without_touching_the_disk() {
    let mut fixture = Fixture::new(256 * MIB);
    let plan = producer().await;
    let output = produce(&mut fixture, 1, &plan).await;
    let view = fixture.executor.view();
    assert_eq!(view.map_outputs, 1);
    assert!(view.memory.storage > 20 * MIB, "{view:?}");
    assert_eq!(view.memory.execution, 0);
    consume(&mut fixture, 1, &plan, output).await;
    // It stays readable: a consumer may have to run again.
    consume_again(&mut fixture, 1, &plan, output).await;
    assert_eq!(fixture.executor.view().spill_bytes_written, 0);
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

async fn consume_again(
    fixture: &mut Fixture,
    job: u64,
    plan: &Arc<dyn ExecutionPlan>,
    output: AttemptId,
) {
    let id = AttemptId {
        attempt: 1,
        ..attempt(job, 1, 0)
    };
    let consumer = stage(1, source(plan, SEGMENTS), rows_sink());
    fixture.launch_slice(id, &consumer, vec![0], fixture.inputs(&[output]));
    let rows = collect(fixture.executor.open_rows(id)).await.unwrap();
    assert!(rows.len() as u64 > ROWS / 8);
    fixture.finished(id).await;
}

#[tokio::test]
async fn a_map_output_that_does_not_fit_is_on_disk_while_it_is_written() {
    let mut fixture = Fixture::new(24 * MIB);
    let plan = producer().await;
    let output = produce(&mut fixture, 1, &plan).await;
    let view = fixture.executor.view();
    assert!(view.memory.used() <= 24 * MIB, "{view:?}");
    assert!(view.moved_bytes > 20 * MIB, "{view:?}");
    assert_eq!(view.spill_files, 1, "one file per map output");
    consume(&mut fixture, 1, &plan, output).await;
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

/// Produces on disk, lets `damage` loose on the file, and expects the loss to be noticed.
async fn notices(damage: impl Fn(&PathBuf)) {
    let mut fixture = Fixture::new(24 * MIB);
    let plan = producer().await;
    let output = produce(&mut fixture, 1, &plan).await;
    // Positive control: before the damage all is well.
    consume(&mut fixture, 1, &plan, output).await;
    let files = fixture.spilled_files("map-");
    assert_eq!(files.len(), 1);
    damage(&files[0]);
    let id = attempt(1, 1, 7);
    let consumer = stage(1, source(&plan, SEGMENTS), rows_sink());
    fixture.launch_slice(id, &consumer, vec![0, 1, 2, 3], fixture.inputs(&[output]));
    let rows = collect(fixture.executor.open_rows(id)).await;
    let failure = fixture.failed(id).await;
    assert_eq!(
        failure.kind,
        FailureKind::LostInput {
            stage: StageId(0),
            outputs: vec![output]
        }
    );
    assert_eq!(rows.unwrap_err(), failure.error);
    fixture.assert_nothing_left([1]).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_flipped_bit_is_lost_input() {
    notices(|file| {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_truncated_file_is_lost_input() {
    notices(|file| {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_output_that_was_dropped_is_lost_input() {
    let mut fixture = Fixture::new(256 * MIB);
    let plan = producer().await;
    let output = produce(&mut fixture, 1, &plan).await;
    fixture.executor.drop_job(JobId(1));
    fixture.executor.idle().await;
    let id = attempt(2, 1, 0);
    let consumer = stage(1, source(&plan, SEGMENTS), rows_sink());
    fixture.launch_slice(id, &consumer, vec![0], fixture.inputs(&[output]));
    let failure = fixture.failed(id).await;
    assert!(matches!(failure.kind, FailureKind::LostInput { .. }));
    fixture.assert_nothing_left([1, 2]).await;
    fixture.end().await;
}

#[tokio::test]
async fn an_output_of_another_executor_is_refused_clearly() {
    let mut first = Fixture::with(1, 256 * MIB, 1 << 40);
    let mut second = Fixture::with(2, 256 * MIB, 1 << 40);
    let plan = producer().await;
    let output = produce(&mut first, 1, &plan).await;
    let mut inputs = first.inputs(&[output]);
    assert_eq!(
        inputs[0].outputs,
        [MapOutput {
            attempt: output,
            executor: job::ExecutorId(1)
        }]
    );
    let id = attempt(1, 1, 0);
    let consumer = stage(1, source(&plan, SEGMENTS), rows_sink());
    second.launch_slice(id, &consumer, vec![0], std::mem::take(&mut inputs));
    let failure = second.failed(id).await;
    let lost = FailureKind::LostInput {
        stage: StageId(0),
        outputs: vec![output],
    };
    assert_eq!(failure.kind, lost);
    assert!(
        failure.error.message.contains("no way to executor 1"),
        "{failure:?}"
    );
    // The other one still has it.
    consume(&mut first, 1, &plan, output).await;
    first.assert_nothing_left([1]).await;
    second.assert_nothing_left([1]).await;
    first.end().await;
    second.end().await;
}

#[tokio::test]
async fn a_full_disk_fails_the_task_and_frees_everything() {
    let mut fixture = Fixture::with(1, 24 * MIB, MIB);
    let plan = producer().await;
    let id = attempt(1, 0, 0);
    let sink = hash_sink(&plan, SEGMENTS);
    fixture.launch(id, &stage(0, Arc::clone(&plan), sink));
    let failure = fixture.failed(id).await;
    assert_eq!(failure.kind, FailureKind::Resources, "{failure:?}");
    assert_eq!(failure.error.sqlstate.as_str(), "53100", "{failure:?}");
    fixture.assert_nothing_left([]).await;
    fixture.end().await;
}

#[tokio::test]
async fn launching_twice_is_refused() {
    let mut fixture = Fixture::new(64 * MIB);
    let endless = plan(
        &session(1),
        "SELECT value FROM generate_series(1, 1000000000000)",
    )
    .await;
    let endless = stage(0, endless, operators::Sink::Discard);
    let id = attempt(1, 0, 0);
    fixture.launch(id, &endless);
    fixture.launch(id, &endless);
    let failure = fixture.failed(id).await;
    assert_eq!(failure.kind, FailureKind::Internal);
    fixture.executor.cancel(id);
    assert_eq!(fixture.outcome(id).await, TaskOutcome::Cancelled);
    fixture.end().await;
}
