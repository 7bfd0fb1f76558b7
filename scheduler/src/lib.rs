//! The DAG and task scheduler: a pure, deterministic state machine.
//!
//! The driver tells it what happened ([`Event`]) and does what it answers ([`Action`]). It has no
//! clock, no thread, no I/O and no randomness: the same events give the same actions, which is
//! what lets the simulator in `tests/it` replay any interleaving from a seed.
//!
//! # Words
//! - **active**, of a job: from its submission to its `JobEnded`.
//! - **needed**: a stage whose outputs somebody will still read: the result stage, and each input
//!   of a stage that is needed and not complete.
//! - **complete**: a stage with an accepted output of every partition.
//! - **delivered**, of a result task: its rows have been taken, or it has none.
//! - **ready**: a stage that is needed, has a task to launch, and whose inputs are complete.
//! - **accepted**: the one attempt per task whose output counts. Lost outputs are replaced by
//!   accepting a later attempt.
//! - **stopping**: an attempt that was told to stop and still holds its slots.
//! - **draining**: an executor that gets no new tasks and leaves when nobody needs it any more.
//! - **excluded**: an executor that failed too many tasks, or was lost too often, and gets none for a while.
//! - **active**, of an executor: it gets tasks.
//! - **home**, of a partition: an executor that reads what the partition reads again and again, so that it
//!   has it in memory (`ring`). There are two, and executors beyond don't hear of it.
//! - **holder**: an executor that was given a task of a job, so that it may hold its blocks.
//!
//! # Decisions
//! - *Order.* By pool (`pools`), then by job as the pool's mode says, then by stage. With one pool,
//!   FIFO: a later job takes slots that an earlier one has no ready task for.
//! - *Admission.* A job that reserves memory doesn't start before the cluster has it (`admission`).
//! - *No slot idles while a stage of an admitted job is ready.* So a task never waits for the number of slots it
//!   would like: it takes what the freest executor has, up to what it can use. A plan that gets
//!   fewer slots than partitions runs more slowly and just as correctly; waiting for a wide gap
//!   would idle slots or starve behind narrow tasks.
//! - *Homes are preferred, not promised.* A stage that reads tables goes where it was read before. If there
//!   is no slot it waits aside, some tens of milliseconds in all, then it takes any (`placing`).
//! - *Slices* are cut at launch: as wide as the freest executor's free slots, narrower only where
//!   that would leave equally free executors idle (`stage_state`).
//! - *Stragglers* may have a second attempt on a slot that nothing else wants (`speculation`).
//! - *Losses.* An executor's loss takes the outputs it held; needed stages that are
//!   thereby incomplete run the lost tasks again, and only those. Running consumers go on: they
//!   may have read what they need. A rerun that is no longer needed is stopped.
//! - *Rows.* A job whose result is rows is not finished before they are delivered: until then they
//!   are lost with their executor like any output, and computed again unless the client has seen
//!   some of them. Delivered ones are done, whatever becomes of their executor.
//!
//! # Invariants (checked after every event by the simulator)
//! - An executor's slots are never oversubscribed, and are free again when nothing runs.
//! - At most one attempt per task runs unstopped, or two of a straggler; and at most one output per task is accepted.
//! - A task is launched only with inputs that are registered at registered executors.
//! - A task of a stage with homes goes elsewhere only if its homes have no room.
//! - `JobEnded` comes exactly once per submitted job; no task of the job is launched after it.
//! - When all jobs are gone, every map is empty ([`Scheduler::is_idle`]).
//!
//! # Deliberately not here
//! Plans, rows, sizes of blocks, sockets, heartbeats (the driver decides that an executor is
//! lost), where blocks are best read, what executors have in memory.
//!
//! # Cost
//! Every event costs O(log n) for each action it causes; a loss, for each thing lost, plus the
//! number of stages of active jobs. Nothing walks all executors; all jobs are asked whether they
//! need an executor that is lost, or that drains and runs nothing. The tasks of a stage
//! are walked when its consumers first ask where its outputs are, when it is known how long a
//! straggler takes, and when a rerun turns out not to be needed; executors that drain, and the
//! pools' first waiting jobs, when a stage is complete or memory is freed.
//!
//! `cargo xtask bench scheduler` measures: on a machine with other things to do, 2.5 million reports
//! a second on 100 executors and 1.8 million on 10,000. The instructions per report are almost the
//! same; the rest is that the records of 10,000 executors and their tasks don't fit into the
//! processor's inner caches. So a report looks at three short records, at once: the executor's one
//! with its running attempt, the task's, and where the job's list of outputs on that executor starts
//! (`holders`), which runs through the tasks themselves. What only failures need is elsewhere, and
//! what grows with a stage is allocated once: copying it drives the rest out of the cache.

mod absence;
mod admission;
mod config;
mod delivery;
mod dispatch;
mod drain;
mod ending;
mod event;
mod exclusion;
mod executor_state;
mod executors;
mod free_slots;
mod holders;
mod homes;
mod job_state;
mod loss;
mod outcome;
mod placing;
mod pools;
mod retry;
mod ring;
mod scheduler;
mod speculation;
mod stage_state;
mod time;
mod view;

pub use config::{PoolConfig, PoolMode, SchedulerConfig, SpeculationConfig};
pub use event::{Action, Event, JobEnd, JobOptions, Replica};
pub use ring::{Homes, Ring};
pub use scheduler::Scheduler;
pub use time::Instant;
pub use view::{
    AttemptView, Counters, ExecutorState, ExecutorView, JobPhase, JobView, PoolView, SchedulerView,
    StagePhase, StageView, WaitReason,
};
