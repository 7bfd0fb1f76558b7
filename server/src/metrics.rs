//! The metrics page: what the driver and its executor hold now, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;

use executor::Executor;

use crate::machine;
use crate::session::Services;

/// Renders the page.
pub async fn render(services: Arc<Services>, executor: Option<Arc<Executor>>) -> String {
    let mut page = Page::default();
    let sessions = services.registry.sessions().len() as u64;
    page.gauge("firesteel_sessions", "Client sessions.", sessions);
    if let Some(bytes) = machine::resident_bytes() {
        page.gauge(
            "firesteel_resident_bytes",
            "Resident memory of the process.",
            bytes,
        );
    }
    // Without a driver there is nothing to tell about jobs; the rest still stands.
    if let Ok(view) = services.driver.view().await {
        page.gauge(
            "firesteel_jobs",
            "Jobs running or waiting.",
            view.jobs.len() as u64,
        );
        page.counter(
            "firesteel_attempts_launched",
            "Task attempts launched.",
            view.counters.launched,
        );
        page.counter(
            "firesteel_attempts_accepted",
            "Task attempts whose output was accepted.",
            view.counters.accepted,
        );
        page.counter(
            "firesteel_attempts_failed",
            "Task attempts failed.",
            view.counters.failed,
        );
        page.counter(
            "firesteel_outputs_lost",
            "Accepted outputs that were lost while somebody needed them.",
            view.counters.outputs_lost,
        );
        let executors = view.executors.iter();
        page.gauge(
            "firesteel_executors",
            "Executors here.",
            executors.len() as u64,
        );
        page.gauge(
            "firesteel_slots_held",
            "Slots of all executors that task attempts hold: until their ends are reported.",
            executors.map(|e| u64::from(e.slots - e.slots_free)).sum(),
        );
    }
    let Some(executor) = executor else {
        return page.text;
    };
    let view = executor.view();
    page.gauge(
        "firesteel_slots",
        "Slots of the executor.",
        u64::from(view.slots),
    );
    page.gauge(
        "firesteel_attempts_running",
        "Attempts running now.",
        view.running_attempts as u64,
    );
    page.gauge(
        "firesteel_memory_budget_bytes",
        "Memory the executor may hand out.",
        view.memory.budget,
    );
    page.gauge(
        "firesteel_memory_execution_bytes",
        "Memory held by operators.",
        view.memory.execution,
    );
    page.gauge(
        "firesteel_memory_storage_bytes",
        "Memory held by blocks.",
        view.memory.storage,
    );
    page.gauge(
        "firesteel_memory_results_bytes",
        "Memory held by encoded rows.",
        view.memory.results,
    );
    page.gauge(
        "firesteel_spill_files",
        "Files of spilled data.",
        view.spill_files,
    );
    page.gauge(
        "firesteel_spill_bytes",
        "Bytes of spilled data.",
        view.spill_bytes,
    );
    page.counter(
        "firesteel_spill_bytes_written",
        "Bytes ever spilled.",
        view.spill_bytes_written,
    );
    page.text
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
