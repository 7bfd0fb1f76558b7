//! The stage plans that the driver has sent: each once, tasks name them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use job::{ErrorReport, JobId, SqlError, SqlState, StageId};
use operators::StagePlan;
use wire::proto;

/// What came out of a stage plan's bytes.
type Decoded = Result<(Arc<StagePlan>, Arc<SessionConfig>), ErrorReport>;

/// A driver sends plans of jobs that it launches here and drops them with the job.
#[derive(Default)]
pub(crate) struct Plans(BTreeMap<(JobId, StageId), Decoded>);

impl Plans {
    /// Decodes and keeps a plan. One that can't be decoded fails the tasks that name it.
    pub(crate) fn put(&mut self, message: proto::StagePlan, env: &RuntimeEnv) {
        let key = (JobId(message.job), StageId(message.stage));
        let decoded = wire::decode_stage_plan(message)
            .map_err(|error| error.report())
            .and_then(|(_, stage, config)| {
                let plan = catalog::guard_scans(Arc::clone(&stage.plan), env)
                    .map_err(|error| functions::error::report(&error))?;
                Ok((Arc::new(StagePlan { plan, ..stage }), config))
            });
        if let Err(error) = &decoded {
            tracing::error!(job_id = %key.0, stage_id = %key.1, %error, "a plan could not be read");
        }
        self.0.insert(key, decoded);
    }

    pub(crate) fn get(&self, job: JobId, stage: StageId) -> Decoded {
        self.0.get(&(job, stage)).cloned().unwrap_or_else(|| {
            Err(ErrorReport::new(
                SqlState::INTERNAL_ERROR,
                format!("a task of stage {stage} of job {job} came before its plan"),
            ))
        })
    }

    pub(crate) fn drop_job(&mut self, job: JobId) {
        self.0.retain(|(of, _), _| *of != job);
    }
}
