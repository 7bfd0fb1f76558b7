//! Two executors and a network between them that resets, flips, stalls and lies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::expressions::col;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use executor::{
    CurrentExecutor, ExecutorLink, Membership, RowStream, WaitingRows, blocks_server, remote_rows,
};
use futures::StreamExt;
use job::{AttemptId, Epoch, ExecutorId, FailureKind, JobId, StageId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use wire::{Security, proto};

use crate::support::*;

const SEGMENTS: u32 = 4;
const ROWS: usize = 200_000;
const INCARNATION: u64 = 77;
const HOLDER: ExecutorId = ExecutorId(1);

/// More than a connection's window once was for.
const SLOW_CLIENTS: u64 = 20;
/// Sorted streams of one executor.
const MERGED: u32 = 300;
/// Far longer than it takes.
const HANGS: Duration = Duration::from_secs(60);

/// Tasks that read the same broadcast.
const READERS: u32 = 6;

const PRODUCER: &str =
    "SELECT value, repeat(value::text, 8) AS text FROM generate_series(1, 200000)";

const ENDLESS: &str = "SELECT value FROM generate_series(1, 1000000000000)";

/// What the network does to bytes on their way from the holder.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Each of the first so many connections ends after so many bytes.
    Reset {
        connections: u64,
        after: u64,
    },
    /// Nothing passes after so many bytes, and nobody is told.
    Stall {
        after: u64,
    },
    /// On each of the first so many connections the byte at this offset changes.
    Flip {
        connections: u64,
        at: u64,
    },
}

/// A proxy in front of a service.
struct Network {
    address: SocketAddr,
    fired: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Network {
    async fn before(target: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fired = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&fired);
        let serving = tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(target).await.unwrap();
                connections += 1;
                tokio::spawn(relay(near, far, fault, connections, Arc::clone(&count)));
            }
        });
        Self {
            address,
            fired,
            serving,
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn relay(near: TcpStream, far: TcpStream, fault: Fault, number: u64, fired: Arc<AtomicU64>) {
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let requests = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut near_read, &mut far_write).await;
    });
    let mut passed = 0;
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read) = far_read.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        let bytes = &mut buffer[..read];
        let end = passed + read as u64;
        match fault {
            Fault::Reset { connections, after } if number <= connections && end > after => {
                fired.fetch_add(1, Ordering::Relaxed);
                break;
            }
            Fault::Stall { after } if end > after => {
                fired.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            Fault::Flip { connections, at }
                if number <= connections && (passed..end).contains(&at) =>
            {
                fired.fetch_add(1, Ordering::Relaxed);
                bytes[(at - passed) as usize] ^= 0x10;
            }
            Fault::None | Fault::Reset { .. } | Fault::Stall { .. } | Fault::Flip { .. } => {}
        }
        passed = end;
        if near_write.write_all(bytes).await.is_err() {
            break;
        }
    }
    requests.abort();
}

/// A holder of one map output, the service that gives it out, and a reader behind a network.
struct Cluster {
    holder: Fixture,
    current: CurrentExecutor,
    rows: WaitingRows,
    service: JoinHandle<()>,
    address: SocketAddr,
    network: Network,
    reader: Fixture,
    /// The reader's.
    membership: Membership,
    plan: Arc<dyn ExecutionPlan>,
    output: AttemptId,
    /// Tasks launched to read it.
    reads: u32,
}

impl Cluster {
    async fn new(fault: Fault, holder_memory: u64) -> Self {
        Self::new_with(fault, holder_memory, 256 * MIB).await
    }

    async fn new_with(fault: Fault, holder_memory: u64, reader_memory: u64) -> Self {
        let mut holder = Fixture::with(HOLDER.0, holder_memory, 1 << 40);
        let current = CurrentExecutor::default();
        let rows = current.set(INCARNATION, Arc::clone(&holder.executor));
        let security = Security::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = security
            .server()
            .unwrap()
            .add_service(blocks_server(current.clone(), &security));
        let service = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            router.serve_with_incoming(incoming).await.unwrap();
        });
        let network = Network::before(address, fault).await;
        let membership = Membership::new(INCARNATION, security);
        membership.learn(HOLDER, Epoch(1), &network.address.to_string());
        let reader = Fixture::member(2, reader_memory, 1 << 40, Some(membership.clone()));
        let plan = plan(&session(2), PRODUCER).await;
        let output = attempt(1, 0, 0);
        let sink = hash_sink(&plan, SEGMENTS);
        holder.launch(output, &stage(0, Arc::clone(&plan), sink));
        assert_eq!(holder.finished(output).await.rows, ROWS as u64);
        Self {
            holder,
            current,
            rows,
            service,
            address,
            network,
            reader,
            membership,
            plan,
            output,
            reads: 0,
        }
    }

    /// Launches a task that reads all segments on the reader.
    fn launch_reader(&mut self) -> (AttemptId, RowStream) {
        let id = AttemptId {
            attempt: self.reads,
            ..attempt(1, 1, 0)
        };
        self.reads += 1;
        let consumer = stage(1, source(&self.plan, SEGMENTS), rows_sink());
        let rows = self.reader.executor.open_rows(id);
        let inputs = self.holder.inputs(&[self.output]);
        let partitions = (0..SEGMENTS).collect();
        self.reader.launch_slice(id, &consumer, partitions, inputs);
        (id, rows)
    }

    /// Launches a task of a stage that each read all segments: a broadcast.
    fn launch_broadcast_reader(&self, task: u32, outputs: &[AttemptId]) -> (AttemptId, RowStream) {
        let id = attempt(1, 2, task);
        let source = broadcast_source(&self.plan, SEGMENTS);
        let rows = self.reader.executor.open_rows(id);
        let inputs = self.holder.inputs(outputs);
        self.reader
            .launch_slice(id, &stage(2, source, rows_sink()), vec![0], inputs);
        (id, rows)
    }

    /// Several tasks at once read two outputs, each of which comes over the network once.
    async fn read_broadcast(&mut self) {
        let second = attempt(1, 0, 1);
        let sink = hash_sink(&self.plan, SEGMENTS);
        self.holder
            .launch(second, &stage(0, Arc::clone(&self.plan), sink));
        self.holder.finished(second).await;
        let outputs = [self.output, second];
        let mut reading = Vec::new();
        for task in 0..READERS {
            let (_, rows) = self.launch_broadcast_reader(task, &outputs);
            reading.push(tokio::spawn(collect(rows)));
        }
        for reading in reading {
            let rows = reading.await.unwrap().unwrap();
            let sum: usize = rows
                .iter()
                .map(|row| row[0].parse::<usize>().unwrap())
                .sum();
            assert_eq!((rows.len(), sum), (2 * ROWS, ROWS * (ROWS + 1)));
        }
        for _ in 0..READERS {
            let report = self.reader.reports.recv().await.unwrap();
            assert!(
                matches!(report.outcome, job::TaskOutcome::Finished(_)),
                "{report:?}"
            );
        }
    }

    /// Every row once, over the network.
    async fn read_all(&mut self) {
        let (id, rows) = self.launch_reader();
        let mut seen = vec![false; ROWS + 1];
        for row in collect(rows).await.unwrap() {
            let value: usize = row[0].parse().unwrap();
            assert_eq!(row[1], value.to_string().repeat(8));
            assert!(!std::mem::replace(&mut seen[value], true), "{value} twice");
        }
        assert_eq!(seen.iter().filter(|seen| **seen).count(), ROWS);
        self.reader.finished(id).await;
    }

    /// The read fails and blames the output.
    async fn read_nothing(&mut self) {
        let (id, rows) = self.launch_reader();
        let failure = self.reader.failed(id).await;
        let lost = FailureKind::LostInput {
            stage: StageId(0),
            outputs: vec![self.output],
        };
        assert_eq!(failure.kind, lost, "{failure:?}");
        assert!(collect(rows).await.is_err(), "it must not look whole");
    }

    async fn end(self) {
        self.service.abort();
        self.reader.assert_nothing_left([1]).await;
        self.holder.assert_nothing_left([1]).await;
        self.reader.end().await;
        self.holder.end().await;
    }
}

/// A frozen executor keeps its connections open.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_an_executor_that_the_driver_gave_up() {
    let mut cluster = Cluster::new(Fault::Stall { after: 200_000 }, 256 * MIB).await;
    let (id, rows) = cluster.launch_reader();
    let fired = Arc::clone(&cluster.network.fired);
    while fired.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Of an earlier life of it: says nothing of this one.
    cluster.membership.lost(HOLDER, Epoch(0));
    cluster.membership.lost(HOLDER, Epoch(1));
    let failure = cluster.reader.failed(id).await;
    assert!(
        matches!(failure.kind, FailureKind::LostInput { .. })
            && failure.error.to_string().contains("executor 1 is lost"),
        "{failure:?}"
    );
    assert!(collect(rows).await.is_err(), "it must not look whole");
    // When it comes back it is asked again, and whoever reads what it held then is told.
    let address = cluster.address.to_string();
    cluster.membership.learn(HOLDER, Epoch(2), &address);
    cluster.membership.lost(HOLDER, Epoch(1));
    cluster.read_all().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_read_from_another_executor() {
    let mut cluster = Cluster::new(Fault::None, 256 * MIB).await;
    cluster.read_all().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_comes_once_for_all_tasks() {
    let mut cluster = Cluster::new(Fault::None, 256 * MIB).await;
    cluster.read_broadcast().await;
    let once = cluster.reader.executor.view();
    assert_eq!(once.map_outputs, 2, "copies: {once:?}");
    assert!(once.memory.storage > 0, "{once:?}");
    // As much as one task would read for itself alone, twice: there are two outputs.
    cluster.read_all().await;
    let alone = cluster.reader.executor.view().fetched_bytes - once.fetched_bytes;
    assert_eq!(once.fetched_bytes, 2 * alone);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_broadcast_move_to_disk_like_outputs() {
    let mut cluster = Cluster::new_with(Fault::None, 256 * MIB, 24 * MIB).await;
    cluster.read_broadcast().await;
    let view = cluster.reader.executor.view();
    assert!(view.moved_bytes > 0, "{view:?}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_survives_resets_and_a_reader_that_is_cancelled() {
    let fault = Fault::Reset {
        connections: 3,
        after: 1 << 20,
    };
    let mut cluster = Cluster::new(fault, 256 * MIB).await;
    // Whoever fetches when it is cancelled, another takes over.
    let (cancelled, rows) = cluster.launch_broadcast_reader(READERS, &[cluster.output]);
    cluster.reader.executor.cancel(cancelled);
    drop(rows);
    cluster.reader.outcome(cancelled).await;
    cluster.read_broadcast().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_that_is_gone_is_lost_to_all_tasks() {
    let mut cluster = Cluster::new(Fault::None, 256 * MIB).await;
    cluster.holder.executor.drop_job(JobId(1));
    let outputs = [cluster.output];
    let launched: Vec<_> = (0..READERS)
        .map(|task| cluster.launch_broadcast_reader(task, &outputs))
        .collect();
    for (_, rows) in launched {
        assert!(collect(rows).await.is_err(), "it must not look whole");
        let report = cluster.reader.reports.recv().await.unwrap();
        let job::TaskOutcome::Failed(failure) = report.outcome else {
            panic!("{report:?}");
        };
        let lost = FailureKind::LostInput {
            stage: StageId(0),
            outputs: vec![cluster.output],
        };
        assert_eq!(failure.kind, lost, "{failure:?}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_on_the_holders_disk_are_sent_as_they_are() {
    let mut cluster = Cluster::new(Fault::None, 8 * MIB).await;
    assert!(cluster.holder.executor.view().spill_bytes_written > 0);
    cluster.read_all().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_connection_costs_nothing_but_another_call() {
    let fault = Fault::Reset {
        connections: 3,
        after: 1 << 20,
    };
    let mut cluster = Cluster::new(fault, 256 * MIB).await;
    cluster.read_all().await;
    assert_eq!(cluster.network.fired.load(Ordering::Relaxed), 3);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_noticed_wherever_it_is() {
    // Some hit frames of HTTP/2, most hit data.
    for at in [60, 9_000, 100_001, 777_777, 1_500_000] {
        let fault = Fault::Flip { connections: 1, at };
        let mut cluster = Cluster::new(fault, 256 * MIB).await;
        cluster.read_all().await;
        assert_eq!(cluster.network.fired.load(Ordering::Relaxed), 1, "at {at}");
        cluster.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_gone_is_lost_at_once() {
    let mut cluster = Cluster::new(Fault::None, 256 * MIB).await;
    cluster.holder.executor.drop_job(JobId(1));
    cluster.read_nothing().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_for_an_earlier_driver_is_not_given_out() {
    let mut cluster = Cluster::new(Fault::None, 256 * MIB).await;
    let executor = Arc::clone(&cluster.holder.executor);
    cluster.current.set(INCARNATION + 1, executor);
    cluster.read_nothing().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_never_works_is_given_up_on() {
    let fault = Fault::Reset {
        connections: u64::MAX,
        after: 100,
    };
    let mut cluster = Cluster::new(fault, 256 * MIB).await;
    cluster.read_nothing().await;
    cluster.end().await;
}

/// What a driver does for its clients.
struct Driver {
    waiting: WaitingRows,
    security: Security,
    channel: Channel,
}

impl Driver {
    fn new(waiting: &WaitingRows, address: SocketAddr) -> Self {
        let security = Security::default();
        Self {
            waiting: waiting.clone(),
            channel: security.rows_channel(&address.to_string()).unwrap(),
            security,
        }
    }

    /// As a registration does with what it launches, and the driver with what it is told: whether rows
    /// were few, and the rows.
    fn rows_of(&self, holder: &Fixture, id: AttemptId) -> (JoinHandle<bool>, RowStream) {
        let first = self.waiting.first(id, holder.executor.open_rows(id));
        let mut client = self.security.blocks_client(self.channel.clone());
        let request = proto::RowsRequest {
            incarnation: INCARNATION,
            attempt: Some(id.into()),
        };
        let (sender, told) = oneshot::channel();
        let telling = tokio::spawn(async move {
            let parts = first.await.parts;
            let few = !parts.is_empty();
            sender.send(parts).unwrap();
            few
        });
        let call = async move { Ok(client.read_rows(request).await?.into_inner()) };
        (telling, remote_rows(told, call))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_from_another_process() {
    let cluster = Cluster::new(Fault::None, 256 * MIB).await;
    let mut holder = cluster.holder;
    let driver = Driver::new(&cluster.rows, cluster.address);
    let waiting = &cluster.rows;

    // Many rows are read with a call.
    let id = attempt(2, 0, 0);
    let (telling, rows) = driver.rows_of(&holder, id);
    let reading = tokio::spawn(collect(rows));
    let query = stage(0, plan(&session(2), PRODUCER).await, rows_sink());
    holder.launch(id, &query);
    holder.finished(id).await;
    assert_eq!(reading.await.unwrap().unwrap().len(), ROWS);
    assert!(!telling.await.unwrap());

    // Few are told.
    let few = stage(
        0,
        plan(&session(1), "SELECT 1 UNION ALL SELECT 2").await,
        rows_sink(),
    );
    let id = attempt(3, 0, 0);
    let (telling, rows) = driver.rows_of(&holder, id);
    holder.launch(id, &few);
    assert_eq!(collect(rows).await.unwrap().len(), 2);
    holder.finished(id).await;
    assert!(telling.await.unwrap());

    // A reader that goes away stops its task.
    let endless = stage(0, plan(&session(1), ENDLESS).await, rows_sink());
    let id = attempt(4, 0, 0);
    let (telling, mut rows) = driver.rows_of(&holder, id);
    holder.launch(id, &endless);
    assert!(rows.next().await.is_some_and(|rows| rows.is_ok()));
    drop(rows);
    assert_eq!(holder.outcome(id).await, job::TaskOutcome::Cancelled);
    assert!(!telling.await.unwrap());

    // Rows that nobody comes for go with their job.
    let id = attempt(5, 0, 0);
    let (telling, rows) = driver.rows_of(&holder, id);
    holder.launch(id, &endless);
    assert!(!telling.await.unwrap());
    waiting.drop_job(JobId(5));
    assert_eq!(holder.outcome(id).await, job::TaskOutcome::Cancelled);
    assert!(collect(rows).await.is_err());

    cluster.service.abort();
    holder.assert_nothing_left([1, 2, 3, 4, 5]).await;
    holder.end().await;
    cluster.reader.end().await;
}

/// One connection carries all of them: what waits in it unread leaves room for the others.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_hold_up_no_others() {
    let cluster = Cluster::new(Fault::None, 256 * MIB).await;
    let mut holder = cluster.holder;
    let driver = Driver::new(&cluster.rows, cluster.address);
    let endless = stage(0, plan(&session(1), ENDLESS).await, rows_sink());
    let mut slow = Vec::new();
    for job in 2..2 + SLOW_CLIENTS {
        let id = attempt(job, 0, 0);
        let (_, mut rows) = driver.rows_of(&holder, id);
        holder.launch(id, &endless);
        assert!(rows.next().await.is_some_and(|rows| rows.is_ok()));
        slow.push(rows);
    }
    // As much is on its way as may be.
    tokio::time::sleep(Duration::from_millis(300)).await;

    let id = attempt(100, 0, 0);
    let (_, rows) = driver.rows_of(&holder, id);
    let query = stage(0, plan(&session(2), PRODUCER).await, rows_sink());
    holder.launch(id, &query);
    let rows = timeout(HANGS, collect(rows)).await;
    drop(slow);
    assert_eq!(rows.expect("it hangs").unwrap().len(), ROWS);
    holder.finished(id).await;
    for _ in 0..SLOW_CLIENTS {
        let report = holder.reports.recv().await.unwrap();
        assert_eq!(report.outcome, job::TaskOutcome::Cancelled);
    }
    cluster.service.abort();
    let jobs = (1..2 + SLOW_CLIENTS).chain([100]);
    holder.assert_nothing_left(jobs).await;
    holder.end().await;
    cluster.reader.end().await;
}

/// A merge reads now of one and then of another, and each has more than a connection carries at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_reads_hundreds_of_streams_of_one_executor() {
    let mut cluster = Cluster::new(Fault::None, 256 * MIB).await;
    let context = session(1);
    let wide = "SELECT value, repeat('wide ', 80) AS text FROM generate_series(1, 200000)";
    let wide = plan(&context, wide).await;
    let output = attempt(3, 0, 0);
    cluster.holder.launch(
        output,
        &stage(0, Arc::clone(&wide), hash_sink(&wide, MERGED)),
    );
    cluster.holder.finished(output).await;
    let read = source(&wide, MERGED);
    let value = col("value", &read.schema()).unwrap();
    let order = LexOrdering::new([PhysicalSortExpr::new_default(value)]).unwrap();
    let merge = Arc::new(SortPreservingMergeExec::new(order, read));
    let id = attempt(3, 1, 0);
    let inputs = cluster.holder.inputs(&[output]);
    let merge = stage(1, merge, operators::Sink::Discard);
    cluster.reader.launch_slice(id, &merge, vec![0], inputs);
    let stats = timeout(HANGS, cluster.reader.finished(id)).await;
    assert_eq!(stats.expect("it hangs").rows, ROWS as u64);
    cluster.holder.executor.drop_job(JobId(3));
    cluster.reader.executor.drop_job(JobId(3));
    cluster.end().await;
}
