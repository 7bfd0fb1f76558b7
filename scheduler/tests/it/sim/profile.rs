//! What kind of day a seed has: how many jobs and executors, and how much goes wrong.

use std::time::Duration;

use job::{ExchangeKind, JobGraph, Reading, Slicing, Stage, StageId, StageInput, StageOutput};
use scheduler::{JobOptions, PoolConfig, PoolMode, Replica, SchedulerConfig, SpeculationConfig};

use super::dice::Dice;

/// Drawn once per seed. Probabilities are per occasion.
pub(crate) struct Profile {
    pub(crate) config: SchedulerConfig,
    pub(crate) jobs: u64,
    pub(crate) executors: u64,
    pub(crate) slots_max: u32,
    /// Nothing goes wrong at or after this time, so that everything must come to its end.
    pub(crate) faults_until: u64,
    /// Executors that die, or seem to.
    pub(crate) deaths: u64,
    /// Streams that break.
    pub(crate) breaks: u64,
    /// The driver dies and starts again.
    pub(crate) driver_restarts: bool,
    /// Executors that leave in good order.
    pub(crate) drains: u64,
    /// A dying executor is only cut off: it goes on, and reports late.
    pub(crate) zombie: f64,
    /// An attempt fails in a way that may pass.
    pub(crate) fails: f64,
    /// An attempt fails in a way that won't.
    pub(crate) fails_for_good: f64,
    /// An attempt finds an input corrupt.
    pub(crate) corrupt: f64,
    /// An attempt takes ten times as long.
    pub(crate) slow: f64,
    /// An event is delivered twice.
    pub(crate) doubled: f64,
    /// A client cancels.
    pub(crate) cancels: f64,
    /// A client says it is done before the last report is in.
    pub(crate) releases_early: f64,
    /// A client sees rows of a result task while it runs.
    pub(crate) sees_rows: f64,
    /// Rows of a result task can't be read, though its executor is there.
    pub(crate) loses_rows: f64,
}

/// One second.
pub(crate) const SECOND: u64 = 1_000_000;
/// In bytes.
pub(crate) const MB: u64 = 1_000_000;

impl Profile {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        // One seed in eight is a calm day: then every job must finish.
        let calm = dice.chance(0.125);
        let wild = |dice: &mut Dice, most: f64| {
            if calm || dice.chance(0.3) {
                0.0
            } else {
                most * dice.between(1, 100) as f64 / 100.0
            }
        };
        let config = SchedulerConfig {
            task_attempts_max: dice.small(2, 5),
            stage_reruns_max: dice.small(0, 8),
            queued_jobs_max: if !calm && dice.chance(0.2) {
                dice.between(0, 3) as usize
            } else {
                1000
            },
            retry_backoff: Duration::from_millis(dice.between(0, 50)),
            retry_backoff_max: Duration::from_millis(200),
            exclusion_failures: dice.small(1, 5),
            exclusion_window: Duration::from_millis(dice.between(50, 1000)),
            exclusion_time: Duration::from_millis(dice.between(10, 500)),
            speculation: SpeculationConfig {
                quantile_percent: dice.small(30, 100),
                multiplier_percent: dice.small(50, 300),
                min_time: Duration::from_millis(dice.between(0, 100)),
            },
            locality_wait: Duration::from_millis(dice.between(0, 60)),
            load_wait: Duration::from_millis(dice.between(0, 300)),
            small_job_bytes: dice.between(0, 20) * MB,
            small_job_floor_bytes: dice.between(0, 10) * MB,
            pools: draw_pools(dice),
            pool_patience: dice.small(2, 100),
            ..SchedulerConfig::default()
        };
        Self {
            config,
            jobs: dice.between(1, 6),
            executors: dice.between(1, 5),
            slots_max: dice.small(1, 4),
            faults_until: if calm { 0 } else { 2 * SECOND },
            deaths: if calm || dice.chance(0.2) {
                0
            } else {
                dice.between(1, 6)
            },
            breaks: if calm || dice.chance(0.4) {
                0
            } else {
                dice.between(1, 4)
            },
            driver_restarts: !calm && dice.chance(0.2),
            drains: if dice.chance(0.5) {
                dice.between(1, 4)
            } else {
                0
            },
            zombie: wild(dice, 0.7),
            fails: wild(dice, 0.3),
            fails_for_good: wild(dice, 0.03),
            corrupt: wild(dice, 0.2),
            slow: if dice.chance(0.5) { 0.1 } else { 0.0 },
            doubled: wild(dice, 0.3),
            cancels: wild(dice, 0.5),
            releases_early: wild(dice, 0.2),
            sees_rows: wild(dice, 0.5),
            loses_rows: wild(dice, 0.2),
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.faults_until == 0
    }
}

/// The names of pools that jobs ask for. Not all of them are there.
const POOLS: [&str; 4] = ["a", "b", "c", "d"];

fn draw_pools(dice: &mut Dice) -> Vec<PoolConfig> {
    let pools = dice.between(0, 3) as usize;
    let pools = POOLS[..pools].iter().map(|name| PoolConfig {
        name: (*name).to_owned(),
        mode: if dice.chance(0.5) {
            PoolMode::Fair
        } else {
            PoolMode::Fifo
        },
        weight: dice.small(1, 4),
        min_share: if dice.chance(0.3) {
            dice.small(1, 6)
        } else {
            0
        },
    });
    pools.collect()
}

/// What a job asks for. Executors bring 50 to 150 bytes each.
pub(crate) fn draw_options(dice: &mut Dice) -> JobOptions {
    JobOptions {
        pool: dice
            .chance(0.8)
            .then(|| dice.pick(&POOLS).map(|name| (*name).to_owned()))
            .flatten(),
        memory_bytes: dice.chance(0.4).then(|| dice.between(1, 250) * MB),
        rows: dice.chance(0.7),
        speculation: dice.chance(0.7),
        other_plan: dice.chance(0.3),
        replica: dice
            .chance(0.2)
            .then(|| dice.pick(&[Replica::First, Replica::Second]).copied())
            .flatten(),
    }
}

/// A graph of up to six stages in which every stage is read by somebody.
pub(crate) fn draw_graph(dice: &mut Dice) -> JobGraph {
    let stages = dice.small(1, 6);
    let mut inputs: Vec<Vec<StageInput>> = vec![Vec::new(); stages as usize];
    let reading = |dice: &mut Dice| {
        if dice.chance(0.3) {
            Reading::Everything
        } else {
            Reading::Segment
        }
    };
    for producer in 0..stages.saturating_sub(1) {
        let readers = if dice.chance(0.25) { 2 } else { 1 };
        for _ in 0..readers {
            let consumer = dice.small(producer + 1, stages - 1);
            inputs[consumer as usize].push(StageInput {
                stage: StageId(producer),
                reading: reading(dice),
            });
        }
    }
    let known = if dice.chance(0.5) { 1.0 } else { 0.3 };
    let stages = inputs.into_iter().enumerate().map(|(index, inputs)| {
        let whole = dice.chance(0.3);
        let partitions = if whole {
            1
        } else {
            let most = if dice.chance(0.1) { 30 } else { 8 };
            dice.small(1, most)
        };
        let placed = dice.chance(if inputs.is_empty() { 0.5 } else { 0.2 });
        // Some of them read the same, in this stage and in others.
        let placement = (0..if placed { partitions } else { 0 }).map(|_| dice.between(0, 20));
        Stage {
            id: StageId(index as u32),
            inputs,
            placement: placement.collect(),
            partitions,
            slicing: if whole {
                Slicing::Whole {
                    slots: dice.small(1, 4),
                }
            } else {
                Slicing::PerPartition
            },
            output: if index as u32 + 1 == stages {
                StageOutput::Result
            } else {
                StageOutput::Exchange {
                    kind: ExchangeKind::Hash,
                    segments: 8,
                }
            },
            estimated_bytes: dice.chance(known).then(|| dice.between(0, 20 * MB)),
        }
    });
    JobGraph {
        stages: stages.collect(),
    }
}
