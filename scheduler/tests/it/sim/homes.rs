//! Where tasks whose data is in memory somewhere may go, and how long they may wait for that.

use job::{AttemptId, Epoch, ExecutorId, Lane, Slicing};
use scheduler::{Ring, SchedulerView};

use super::checker::{Checked, Checker, must};
use super::model::{Model, Registered};

impl Model {
    /// The executors that get tasks.
    pub(crate) fn cluster(&self) -> Vec<(ExecutorId, Epoch, u32)> {
        let active = self.executors.iter().filter(|(_, at)| at.is_active());
        active.map(|(id, at)| (*id, at.epoch, at.slots)).collect()
    }
}

impl Checker {
    /// Somebody may have come or gone.
    pub(super) fn note_cluster(&mut self) {
        let cluster = self.model.cluster();
        let jobs = self.model.jobs.values_mut();
        jobs.filter(|job| job.cluster != cluster)
            .for_each(|job| job.cluster.clear());
    }

    /// A new task goes to no home of its partitions only if none of them has a slot. This much is
    /// certain where the executors are those that were there when the job came.
    pub(super) fn check_home(
        &self,
        executor: ExecutorId,
        lane: Lane,
        attempt: AttemptId,
        partitions: &[u32],
    ) -> Checked {
        let id = attempt.task;
        let Some(job) = self.model.jobs.get(&id.job) else {
            return Ok(());
        };
        let spec = &job.graph.stages[id.stage.0 as usize];
        let sliced = spec.slicing == Slicing::PerPartition;
        let cluster = self.model.cluster();
        if attempt.attempt > 0
            || spec.placement.is_empty()
            || !sliced
            || cluster.len() < 2
            || cluster != job.cluster
        {
            return Ok(());
        }
        let mut ring = Ring::default();
        for (executor, _, slots) in cluster {
            ring.add(executor, slots);
        }
        let homes = ring.assign(&spec.placement);
        for partition in partitions {
            let homes = homes[*partition as usize];
            let homes = job.replica.map_or(homes, |replica| homes.only(replica));
            let homes = [homes.first, homes.second];
            let mut others = homes.into_iter().flatten();
            let free = others.find(|home| self.model.free(*home, lane) > 0);
            must(homes.contains(&Some(executor)) || free.is_none(), || {
                format!(
                    "{attempt} runs on {executor}, and partition {partition} has room at home, {free:?}"
                )
            })?;
        }
        Ok(())
    }

    /// Between events: no stage waits for its homes longer than it may.
    pub(super) fn check_waits(&mut self) -> Checked {
        if !self.model.any_free(Lane::Regular) {
            return Ok(());
        }
        let now = self.now;
        for (id, job) in &mut self.model.jobs {
            if job.ended.is_some() || !job.admitted {
                continue;
            }
            let wait = match job.replica {
                None => self.config.locality_wait,
                Some(_) => self.config.load_wait,
            };
            let wait = wait.as_micros() as u64;
            for stage in job.placed_stages(now) {
                self.home_waits += 1;
                let since = *job.aside_since.entry(stage).or_insert(now);
                must(now < since + wait, || {
                    format!("stage {id}.{stage} waits for its homes too long")
                })?;
            }
        }
        Ok(())
    }

    /// What a stage waits for is not there.
    pub(super) fn check_awaited(&self, view: &SchedulerView) -> Checked {
        for job in &view.jobs {
            for stage in &job.stages {
                let sliced = self.model.jobs.get(&job.job).is_some_and(|job| {
                    job.graph.stages[stage.stage.0 as usize].slicing == Slicing::PerPartition
                });
                for home in stage.awaits.iter().filter(|_| sliced) {
                    let active = self.model.executors.get(home);
                    must(active.is_some_and(Registered::is_active), || {
                        format!(
                            "stage {}.{} waits for {home}, which is not there",
                            job.job, stage.stage
                        )
                    })?;
                    must(self.model.free(*home, Lane::Regular) == 0, || {
                        format!(
                            "stage {}.{} waits for {home}, which has slots",
                            job.job, stage.stage
                        )
                    })?;
                }
            }
        }
        Ok(())
    }
}
