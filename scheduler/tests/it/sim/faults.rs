//! What becomes of executors, streams and the driver itself: starts, crashes, cuts, drains.

use job::{AttemptId, Epoch, ExecutorId};
use scheduler::Event;

use super::profile::{MB, SECOND};
use super::world::{Happening, LAST, Process, World};

impl World {
    pub(super) fn start_executor(&mut self, executor: ExecutorId, delay: u64) {
        let epoch = self.epochs.entry(executor).or_insert(Epoch(0));
        epoch.0 += 1;
        let epoch = *epoch;
        let slots = self.dice.small(1, self.profile.slots_max);
        self.processes.insert((executor, epoch), Process::default());
        let joined = Event::ExecutorJoined {
            executor,
            epoch,
            slots,
            memory_bytes: self.dice.between(50, 150) * MB,
        };
        // Never doubled: the driver numbers registrations itself. Losses may be, because a
        // stream and a heartbeat can both tell.
        self.plan(delay, Happening::Arrives(joined));
    }

    /// Processes that the driver reaches.
    fn alive(&self) -> Vec<(ExecutorId, Epoch)> {
        self.processes
            .iter()
            .filter(|((executor, epoch), process)| {
                !process.zombie && !process.broken && self.links.get(executor) == Some(epoch)
            })
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn someone_dies(&mut self) {
        let alive = self.alive();
        let Some(&(executor, epoch)) = self.dice.pick(&alive) else {
            return;
        };
        if self.dice.chance(self.profile.zombie) {
            self.tally.zombies += 1;
            if let Some(process) = self.processes.get_mut(&(executor, epoch)) {
                process.zombie = true;
            }
        } else {
            self.tally.crashes += 1;
            self.processes.remove(&(executor, epoch));
        }
        self.is_gone(executor, epoch);
    }

    /// The driver will notice, and perhaps the executor comes back.
    pub(super) fn is_gone(&mut self, executor: ExecutorId, epoch: Epoch) {
        let noticed = self.dice.between(0, SECOND / 5);
        self.plan_event(noticed, Event::ExecutorLost { executor, epoch });
        if self.dice.chance(0.8) {
            // Perhaps back before anyone noticed.
            let back = self.dice.between(0, SECOND / 2);
            self.start_executor(executor, back);
        }
    }

    /// The stream between an executor and the driver breaks: all that is on its way is lost, in
    /// both directions. The executor registers again, with nothing running and a newer epoch;
    /// perhaps before the driver has noticed.
    pub(super) fn a_stream_breaks(&mut self) {
        let alive = self.alive();
        let Some(&(executor, epoch)) = self.dice.pick(&alive) else {
            return;
        };
        self.tally.breaks += 1;
        if let Some(process) = self.processes.get_mut(&(executor, epoch)) {
            process.broken = true;
        }
        let noticed = self.dice.between(0, SECOND / 5);
        self.plan_event(noticed, Event::ExecutorLost { executor, epoch });
        let noticed = self.dice.between(0, SECOND / 5);
        self.plan(noticed, Happening::Rejoins(executor, epoch));
    }

    pub(super) fn rejoins(&mut self, executor: ExecutorId, epoch: Epoch) {
        if self.processes.remove(&(executor, epoch)).is_none() {
            return;
        }
        let delay = self.dice.between(0, SECOND / 100);
        self.start_executor(executor, delay);
        if self.draining.contains(&executor)
            && let Some(&epoch) = self.epochs.get(&executor)
        {
            // It still wants to leave.
            self.plan_event(delay + 1, Event::ExecutorDraining { executor, epoch });
        }
    }

    /// Whether an event is a report that was lost with its stream.
    pub(crate) fn loses(&mut self, event: &Event) -> bool {
        let Event::TaskEnded {
            executor, epoch, ..
        } = event
        else {
            return false;
        };
        let process = self.processes.get(&(*executor, *epoch));
        let lost = process.is_some_and(|process| process.broken);
        self.tally.lost_reports += u64::from(lost);
        lost
    }

    pub(super) fn someone_drains(&mut self) {
        let mut leaving = self.alive();
        leaving.retain(|(executor, _)| *executor != LAST);
        if let Some(&(executor, epoch)) = self.dice.pick(&leaving) {
            self.draining.insert(executor);
            let delay = self.dice.between(0, SECOND / 100);
            self.plan_event(delay, Event::ExecutorDraining { executor, epoch });
        }
    }

    /// The driver dies, and another one starts that knows nothing. Its clients are gone with what
    /// they would have said; executors register again with newer epochs, while what they ran for
    /// the old driver goes on for a while and is reported to the new one. Job ids start anew.
    pub(super) fn driver_restarts(&mut self) {
        self.tally.driver_restarts += 1;
        let submitted = std::mem::take(&mut self.submitted);
        self.queue.retain(|_, happening| match happening {
            Happening::Arrives(Event::JobCancelled { job, .. } | Event::JobReleased { job }) => {
                !submitted.contains(job)
            }
            Happening::Arrives(
                Event::ResultStarted { .. }
                | Event::ResultDelivered { .. }
                | Event::ResultLost { .. },
            )
            | Happening::Reads(..) => false,
            _ => true,
        });
        for (executor, epoch) in self.alive() {
            if let Some(process) = self.processes.get_mut(&(executor, epoch)) {
                process.zombie = true;
            }
            if self.dice.chance(0.9) {
                let delay = self.dice.between(0, SECOND / 5);
                self.start_executor(executor, delay);
            }
        }
        self.links.clear();
        self.selects.clear();
        self.results.clear();
        for job in submitted {
            if self.dice.chance(0.5) {
                let delay = self.dice.between(0, SECOND / 2);
                self.plan_job(job, delay);
            }
        }
    }

    /// Blocks that a registered executor still holds: none may be left in the end.
    pub(crate) fn forgotten_blocks(&self) -> Vec<AttemptId> {
        let linked = self
            .processes
            .iter()
            .filter(|((executor, epoch), process)| {
                !process.zombie && !process.broken && self.links.get(executor) == Some(epoch)
            });
        linked
            .flat_map(|(_, process)| process.blocks.iter().copied())
            .collect()
    }
}
