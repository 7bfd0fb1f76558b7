//! The metrics pages: what the driver and an executor hold now, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use executor::{Executor, ExecutorView};
use scheduler::{Counters, JobPhase};

use crate::machine;
use crate::session::Services;

/// The driver's page, with its embedded executor if it has one.
pub async fn render(services: Arc<Services>, executor: Option<Arc<Executor>>) -> String {
    let mut page = Page::default();
    let sessions = services.registry.sessions().len() as u64;
    page.gauge("firesteel_sessions", "Client sessions.", sessions);
    page.process();
    page.counter(
        "firesteel_statements_replanned",
        "Times that a statement ran out of memory and was planned again, to hold less.",
        services.replanned.load(Ordering::Relaxed),
    );
    let [plans, results] = services.planner.cache_counts();
    page.counter(
        "firesteel_plan_cache_hits",
        "Queries whose plan was kept.",
        plans.hits,
    );
    page.counter(
        "firesteel_plan_cache_misses",
        "Queries that were planned, though plans are kept.",
        plans.misses,
    );
    page.counter(
        "firesteel_result_cache_hits",
        "Queries whose result was kept.",
        results.hits,
    );
    page.counter(
        "firesteel_result_cache_misses",
        "Queries that ran, though results are kept.",
        results.misses,
    );
    page.gauge(
        "firesteel_result_cache_bytes",
        "Bytes of kept results.",
        results.bytes,
    );
    // Without a driver there is nothing to tell about jobs; the rest still stands.
    if let Ok(view) = services.driver.view().await {
        page.gauge(
            "firesteel_jobs",
            "Jobs running or waiting.",
            view.jobs.len() as u64,
        );
        let queued = view.jobs.iter().filter(|job| job.phase == JobPhase::Queued);
        page.gauge(
            "firesteel_jobs_queued",
            "Jobs of which no task was launched yet.",
            queued.count() as u64,
        );
        page.gauge(
            "firesteel_executors",
            "Executors that are registered.",
            view.executors.len() as u64,
        );
        let over_all = |slots: fn(&scheduler::ExecutorView) -> u32| -> u64 {
            view.executors.iter().map(|at| u64::from(slots(at))).sum()
        };
        page.gauge(
            "firesteel_cluster_slots",
            "Slots of all executors.",
            over_all(|at| at.slots),
        );
        page.gauge(
            "firesteel_cluster_slots_free",
            "Slots that no attempt holds.",
            over_all(|at| at.slots_free),
        );
        page.gauge(
            "firesteel_slots_held",
            "Slots of all executors that task attempts hold: until their ends are reported.",
            over_all(|at| at.slots - at.slots_free),
        );
        page.gauge(
            "firesteel_express_slots_held",
            "Slots that task attempts of small statements hold beside as many others.",
            over_all(|at| at.slots - at.express_free),
        );
        page.scheduler(&view.counters);
    }
    if let Some(executor) = executor {
        page.executor(&executor.view());
    }
    page.text
}

/// The page of `firesteel executor`; without an executor it has no driver at the moment.
pub fn render_executor(executor: Option<Arc<Executor>>) -> String {
    let mut page = Page::default();
    page.process();
    if let Some(executor) = executor {
        page.executor(&executor.view());
    }
    page.text
}

impl Page {
    fn process(&mut self) {
        if let Some(bytes) = machine::resident_bytes() {
            self.gauge(
                "firesteel_resident_bytes",
                "Resident memory of the process.",
                bytes,
            );
        }
    }

    fn scheduler(&mut self, counters: &Counters) {
        let help = "Task attempts launched.";
        self.counter("firesteel_attempts_launched", help, counters.launched);
        let help = "Task attempts whose output counted.";
        self.counter("firesteel_attempts_accepted", help, counters.accepted);
        let help = "Task attempts failed.";
        self.counter("firesteel_attempts_failed", help, counters.failed);
        let help = "Accepted outputs that were lost while their job still ran.";
        self.counter("firesteel_outputs_lost", help, counters.outputs_lost);
        let help = "Task attempts launched where what they read is kept in memory, if anywhere.";
        let at_home = counters.launched_at_home;
        self.counter("firesteel_attempts_at_home", help, at_home);
        let help = "Task attempts launched at the second best place for what they read.";
        let at_second_home = counters.launched_at_second_home;
        self.counter("firesteel_attempts_at_second_home", help, at_second_home);
        let help = "Task attempts launched elsewhere, because there was no slot where what they read is kept.";
        let elsewhere = counters.launched_elsewhere;
        self.counter("firesteel_attempts_elsewhere", help, elsewhere);
        let help =
            "Task attempts of small statements launched beside as many others as there are slots.";
        let express = counters.launched_express;
        self.counter("firesteel_attempts_express", help, express);
        let help = "Second attempts of stragglers.";
        self.counter("firesteel_attempts_speculated", help, counters.speculated);
        let help = "Times that an executor got no tasks for a while because it failed too many.";
        self.counter("firesteel_exclusions", help, counters.exclusions);
        let help = "Reports ignored because they came late, twice or from a former registration.";
        self.counter("firesteel_reports_fenced", help, counters.fenced);
    }

    fn executor(&mut self, view: &ExecutorView) {
        self.gauge(
            "firesteel_slots",
            "Slots of the executor.",
            u64::from(view.slots),
        );
        self.gauge(
            "firesteel_attempts_running",
            "Attempts running now.",
            view.running_attempts as u64,
        );
        self.gauge(
            "firesteel_map_outputs",
            "Map outputs that are readable or being written.",
            view.map_outputs as u64,
        );
        self.gauge(
            "firesteel_result_jobs",
            "Jobs with rows that were not read to their end.",
            view.result_jobs as u64,
        );
        self.gauge(
            "firesteel_memory_budget_bytes",
            "Memory the executor may hand out.",
            view.memory.budget,
        );
        self.gauge(
            "firesteel_memory_execution_bytes",
            "Memory held by operators.",
            view.memory.execution,
        );
        self.gauge(
            "firesteel_memory_storage_bytes",
            "Memory held by blocks.",
            view.memory.storage,
        );
        self.gauge(
            "firesteel_memory_results_bytes",
            "Memory held by encoded rows.",
            view.memory.results,
        );
        self.gauge(
            "firesteel_memory_cached_bytes",
            "Memory held by cached columns, which give way to all the others.",
            view.memory.cached,
        );
        self.gauge(
            "firesteel_memory_unaccounted_bytes",
            "Memory the process holds beyond what anything is charged for and what is left to that.",
            view.memory.unaccounted,
        );
        self.gauge(
            "firesteel_cached_chunks",
            "Column chunks of tables that are cached.",
            view.cache.chunks as u64,
        );
        let help = "Cached column chunks that scans found.";
        self.counter("firesteel_cache_hits", help, view.cache.counts.hits);
        let help = "Column chunks that scans looked for in the cache in vain.";
        self.counter("firesteel_cache_misses", help, view.cache.counts.misses);
        let help = "Column chunks that had to leave the cache.";
        self.counter(
            "firesteel_cache_evictions",
            help,
            view.cache.counts.evictions,
        );
        let help = "Bytes of the cached column chunks that scans found.";
        self.counter(
            "firesteel_cache_hit_bytes",
            help,
            view.cache.counts.hit_bytes,
        );
        let help = "Bytes of the column chunks that came into the cache.";
        self.counter(
            "firesteel_cache_loaded_bytes",
            help,
            view.cache.counts.loaded_bytes,
        );
        self.gauge(
            "firesteel_cache_disk_bytes",
            "Bytes of cached column chunks on disk.",
            view.cache.disk_bytes,
        );
        let help = "Cached column chunks that were read from disk.";
        self.counter("firesteel_cache_disk_hits", help, view.cache.disk_hits);
        let help = "Bytes of column chunks that were written to disk.";
        let written = view.cache.disk_bytes_written;
        self.counter("firesteel_cache_disk_bytes_written", help, written);
        self.gauge(
            "firesteel_spill_files",
            "Files of spilled data.",
            view.spill_files,
        );
        self.gauge(
            "firesteel_spill_bytes",
            "Bytes of spilled data.",
            view.spill_bytes,
        );
        self.counter(
            "firesteel_spill_bytes_written",
            "Bytes ever spilled.",
            view.spill_bytes_written,
        );
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, help, "gauge", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric(&format!("{name}_total"), help, "counter", value);
    }

    fn metric(&mut self, name: &str, help: &str, kind: &str, value: u64) {
        // Writing to a string does not fail.
        let _ = writeln!(
            self.text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    }
}
