//! Tasks where their data is: a stage whose partitions have homes (`ring`) prefers those.
//!
//! A stage whose turn it is takes free slots at home, then at second homes. If there are none it
//! waits for one, aside, so that others take the slots meanwhile: once, for as long as reading
//! what it would find there takes, and at most `locality_wait`. After that it takes any slot, as it
//! does when too many wait. So homes cost a stage no more than that, and the time counts from its
//! first refusal.
//!
//! A task that takes an express slot doesn't wait: its stage reads little.
//!
//! A job that loads a cache ([`Replica`](crate::Replica)) wants its own home and no other, and waits longer.
//!
//! A stage that is ready while a single executor is there has no homes, and none of this cost.

use std::time::Duration;

use job::{ExecutorId, JobId, Lane, Slicing, StageId};

use crate::Instant;
use crate::executors::{Executors, Room};
use crate::homes::{Place, StageHomes};
use crate::scheduler::Scheduler;
use crate::stage_state::StageState;

/// Stages that wait at a time. Each is asked when a slot becomes free, and where so many wait, the
/// executors that they wait for won't come round to all of them soon.
const WAITING_MAX: usize = 64;

/// Bytes in memory that a slot makes of a file in a microsecond, at the least.
const READ_BYTES_PER_MICRO: u64 = 256;

/// How long stages may wait for their homes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    pub(crate) to_read: Duration,
    /// What is read in order to be kept is of no use elsewhere.
    pub(crate) to_load: Duration,
}

/// What becomes of a stage whose turn it is.
pub(crate) enum Next {
    Launch {
        task: u32,
        room: Room,
        place: Place,
    },
    /// It waits for a slot where its data is.
    Wait {
        until: Instant,
    },
}

impl StageState {
    /// Cuts the next task and says where it goes. `wait`: how long the stage may wait, if it may.
    pub(crate) fn cut_next(
        &mut self,
        executors: &mut Executors,
        lane: Lane,
        now: Instant,
        wait: Option<Waits>,
    ) -> Option<Next> {
        let freest = executors.freest(lane, &[])?;
        let is_new = self.tasks.is_empty() && self.homes.is_none();
        if is_new && !self.spec.placement.is_empty() && executors.active() > 1 {
            let mut homes = executors.ring().assign(&self.spec.placement);
            if let Some(replica) = self.replica {
                homes
                    .iter_mut()
                    .for_each(|homes| *homes = homes.only(replica));
            }
            self.homes = Some(Box::new(StageHomes::new(homes)));
        }
        let slicing = self.spec.slicing;
        let wanted = match slicing {
            Slicing::Whole { slots } => slots,
            Slicing::PerPartition => 1,
        };
        let any_width = self.cut_width(freest);
        if self.homes.is_none() {
            let task = self.cut(any_width);
            let place = Place::Anywhere;
            return Some(Next::Launch {
                task,
                room: freest,
                place,
            });
        }
        let wait = wait.map(|wait| match self.replica {
            None => wait.to_read.min(self.reading_time()),
            Some(_) => wait.to_load,
        });
        let homes = self.homes.as_mut()?;
        let executors = &*executors;
        let has_room = |executor| executors.has_room(executor, wanted, freest);
        let found = [Place::Home, Place::SecondHome]
            .into_iter()
            .find_map(|place| {
                let executor = homes.find(place, executors, lane, has_room)?;
                Some((place, executors.room(lane, executor)?))
            });
        let (place, room, partitions) = match found {
            Some((place, room)) => (place, room, homes.take(place, room.executor, room.free)),
            None => {
                if let Some(wait) = wait
                    && !homes.has_homeless()
                {
                    let until = *homes.wait_until.get_or_insert(now.after(wait));
                    if now < until {
                        return Some(Next::Wait { until });
                    }
                }
                (Place::Elsewhere, freest, homes.take_any(any_width))
            }
        };
        let task = match slicing {
            Slicing::Whole { .. } => self.cut(any_width),
            Slicing::PerPartition => self.cut_these(partitions),
        };
        Some(Next::Launch { task, room, place })
    }

    /// Where a task that was cut before goes: not where it failed, if it can go elsewhere.
    pub(crate) fn place_again(
        &self,
        task: u32,
        executors: &mut Executors,
        lane: Lane,
    ) -> Option<(Room, Place)> {
        let avoid = self.avoided(task);
        let freest = executors.freest(lane, avoid)?;
        if self.spec.placement.is_empty() || executors.active() <= 1 {
            return Some((freest, Place::Anywhere));
        }
        let partition = match self.spec.slicing {
            Slicing::Whole { .. } => 0,
            Slicing::PerPartition => self.partitions(task).first().copied().unwrap_or_default(),
        };
        let key = self.spec.placement.get(partition as usize).copied();
        let mut homes = executors.ring().homes(key.unwrap_or_default());
        if let Some(replica) = self.replica {
            homes = homes.only(replica);
        }
        let wanted = self.slots_wanted(task);
        let executors = &*executors;
        let at_home = [
            (homes.first, Place::Home),
            (homes.second, Place::SecondHome),
        ]
        .into_iter()
        .find_map(|(executor, place)| {
            let executor = executor.filter(|executor| !avoid.contains(executor))?;
            let has_room = executors.has_room(executor, wanted, freest);
            Some((executors.room(lane, executor).filter(|_| has_room)?, place))
        });
        Some(at_home.unwrap_or((freest, Place::Elsewhere)))
    }

    /// How long a slot takes to read a partition that is in nobody's memory.
    fn reading_time(&self) -> Duration {
        let slots = match self.spec.slicing {
            Slicing::Whole { slots } => slots,
            Slicing::PerPartition => self.spec.partitions,
        };
        let bytes = self.spec.estimated_bytes.unwrap_or(u64::MAX) / u64::from(slots.max(1));
        Duration::from_micros(bytes / READ_BYTES_PER_MICRO)
    }
}

impl Scheduler {
    /// How long a stage may wait for its homes now.
    pub(crate) fn may_wait(&self) -> Option<Waits> {
        // A job that would have to be refused because others wait must not be one of them.
        let few = self.waiting.len() < WAITING_MAX && self.queued <= self.config.queued_jobs_max;
        few.then_some(Waits {
            to_read: self.config.locality_wait,
            to_load: self.config.load_wait,
        })
    }

    /// Puts a stage aside.
    pub(crate) fn set_aside(&mut self, job: JobId, stage: StageId, until: Instant) {
        if let Some(state) = self.jobs.get_mut(&job) {
            state.stage_mut(stage).aside = true;
            self.waiting.insert((job, stage), until);
            self.refresh_ready(job, stage);
        }
    }

    fn take_up(&mut self, job: JobId, stage: StageId) {
        self.waiting.remove(&(job, stage));
        if let Some(state) = self.jobs.get_mut(&job).filter(|job| job.is_active()) {
            state.stage_mut(stage).aside = false;
            self.refresh_ready(job, stage);
        }
    }

    /// Takes up the stages that have waited long enough.
    pub(crate) fn take_up_due(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let due = self.waiting.iter().filter(|(_, until)| **until <= self.now);
        let due: Vec<(JobId, StageId)> = due.map(|(stage, _)| *stage).collect();
        for (job, stage) in due {
            self.take_up(job, stage);
        }
    }

    /// Takes up the stages that wait for a slot of this executor.
    pub(crate) fn take_up_at(&mut self, executor: ExecutorId) {
        if self.waiting.is_empty() {
            return;
        }
        let jobs = &mut self.jobs;
        let waiting = self.waiting.keys();
        let wants = waiting.filter(|(job, stage)| {
            let homes = jobs.get_mut(job).map(|job| job.stage_mut(*stage));
            let homes = homes.and_then(|stage| stage.homes.as_mut());
            homes.is_some_and(|homes| homes.wants(executor))
        });
        let wants: Vec<(JobId, StageId)> = wants.copied().collect();
        for (job, stage) in wants {
            self.take_up(job, stage);
        }
    }

    /// An executor gets no more tasks. O(stages of active jobs).
    pub(crate) fn forget_home(&mut self, executor: ExecutorId) {
        let mut changed = Vec::new();
        for (id, job) in &mut self.jobs {
            for stage in &mut job.stages {
                if let Some(homes) = &mut stage.homes
                    && homes.wants(executor)
                {
                    homes.forget(executor);
                    changed.push((*id, stage.spec.id));
                }
            }
        }
        for (job, stage) in changed {
            self.take_up(job, stage);
        }
    }

    /// A job has ended: nothing of it waits.
    pub(crate) fn forget_waiting(&mut self, job: JobId) {
        let stages = (job, StageId(0))..=(job, StageId(u32::MAX));
        let stages: Vec<_> = self
            .waiting
            .range(stages)
            .map(|(stage, _)| *stage)
            .collect();
        for stage in stages {
            self.waiting.remove(&stage);
        }
    }

    pub(crate) fn count_place(&mut self, place: Place) {
        let counters = &mut self.counters;
        match place {
            Place::Home => counters.launched_at_home += 1,
            Place::SecondHome => counters.launched_at_second_home += 1,
            Place::Elsewhere => counters.launched_elsewhere += 1,
            Place::Anywhere => {}
        }
    }
}
