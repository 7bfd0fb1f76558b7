//! How much really happened: a simulator that injects nothing proves nothing.

use job::SqlState;
use scheduler::{Counters, JobEnd};

macro_rules! tally {
    ($($field:ident)*) => {
        #[derive(Debug, Default, Clone, Copy)]
        pub(crate) struct Tally {
            $(pub(crate) $field: u64,)*
        }

        impl Tally {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }

            pub(crate) fn fields(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }
    };
}

tally! {
    seeds
    events
    launched
    accepted
    stopped
    failed
    failed_for_good
    lost_inputs
    corrupted
    crashes
    zombies
    breaks
    lost_reports
    driver_restarts
    drained
    fenced
    outputs_lost
    delivered
    lost_rows
    excluded
    speculated
    memory_waits
    at_home
    at_second_home
    elsewhere
    express
    home_waits
    out_of_turn
    jobs_finished
    jobs_failed
    jobs_refused
    jobs_cancelled
}

impl Tally {
    pub(crate) fn count_end(&mut self, end: &JobEnd) {
        match end {
            JobEnd::Finished => self.jobs_finished += 1,
            JobEnd::Failed(error) if error.sqlstate == SqlState::TOO_MANY_CONNECTIONS => {
                self.jobs_refused += 1;
            }
            JobEnd::Failed(_) => self.jobs_failed += 1,
            JobEnd::Cancelled(_) => self.jobs_cancelled += 1,
        }
    }

    pub(crate) fn count_scheduler(&mut self, counters: Counters) {
        self.fenced += counters.fenced;
        self.outputs_lost += counters.outputs_lost;
        self.excluded += counters.exclusions;
        self.speculated += counters.speculated;
        self.at_home += counters.launched_at_home;
        self.at_second_home += counters.launched_at_second_home;
        self.elsewhere += counters.launched_elsewhere;
        self.express += counters.launched_express;
    }
}
