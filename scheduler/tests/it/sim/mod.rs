//! The seeded simulator: random jobs on a random, failing cluster, every invariant checked after
//! every event.
//!
//! `FIRESTEEL_SIM_SEEDS=100000` runs more seeds, `FIRESTEEL_SIM_SEED=42` one alone. A failure
//! names its seed; `run(seed, Mutant::None)` then shows the same course of events every time.

mod checker;
mod dice;
mod exclusion;
mod expectations;
mod faults;
mod homes;
mod model;
mod mutants;
mod profile;
mod sharing;
mod stragglers;
mod tally;
mod world;

use scheduler::Instant;

use checker::{Checker, Violation};
use mutants::{BROKEN, Mutant, Subject};
use tally::Tally;
use world::{Happening, World};

/// More events than any seed needs: a run that gets here goes round in circles.
const EVENTS_MAX: u64 = 100_000;

/// One seed from its first event to the last.
fn run(seed: u64, mutant: Mutant) -> Result<Tally, Violation> {
    let mut world = World::new(seed);
    let mut subject = Subject::new(world.profile.config.clone(), mutant);
    let mut checker = Checker::new(world.profile.config.clone());
    while let Some(happening) = world.next(subject.next_timeout()) {
        let event = match happening {
            Happening::Arrives(event) if world.loses(&event) => continue,
            Happening::Arrives(event) => event,
            Happening::DriverRestarts => {
                tally_up(&mut world.tally, &subject, &checker);
                subject = Subject::new(world.profile.config.clone(), mutant);
                checker = Checker::new(world.profile.config.clone());
                world.happens(happening);
                continue;
            }
            other => {
                world.happens(other);
                continue;
            }
        };
        world.tally.events += 1;
        if world.tally.events > EVENTS_MAX {
            return Err(Violation("it does not terminate".to_owned()));
        }
        let now = Instant(world.now);
        world.note_links(&event);
        checker.event(now, &event);
        let actions = subject.handle(now, event);
        checker.actions(&actions)?;
        for action in &actions {
            world.perform(action);
        }
        checker.between()?;
        if mutant == Mutant::None {
            // A mutant must be caught by what it does, not by what it says of itself.
            checker.view(&subject.scheduler)?;
        }
    }
    checker.idle(&subject.scheduler)?;
    let forgotten = world.forgotten_blocks();
    if !forgotten.is_empty() {
        return Err(Violation(format!("blocks left behind: {forgotten:?}")));
    }
    world.tally.seeds = 1;
    tally_up(&mut world.tally, &subject, &checker);
    let tally = world.tally;
    if world.profile.is_calm() && tally.launched != tally.accepted + tally.speculated {
        return Err(Violation(format!("work was lost on a calm day: {tally:?}")));
    }
    if world.profile.is_calm() && tally.jobs_finished != world.profile.jobs {
        return Err(Violation(format!("a job failed on a calm day: {tally:?}")));
    }
    Ok(tally)
}

/// Adds what a scheduler and its checker have counted.
fn tally_up(tally: &mut Tally, subject: &Subject, checker: &Checker) {
    tally.memory_waits += checker.memory_waits;
    tally.home_waits += checker.home_waits;
    tally.out_of_turn += checker.sharing.out_of_turn;
    tally.count_scheduler(subject.scheduler.snapshot().counters);
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Names the seed if the scheduler itself panics.
struct SeedAtPanic(u64);

impl Drop for SeedAtPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the panic was at FIRESTEEL_SIM_SEED={}", self.0);
        }
    }
}

#[test]
fn no_seed_breaks_an_invariant() {
    let seeds = match number_from_environment("FIRESTEEL_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from_environment("FIRESTEEL_SIM_SEEDS").unwrap_or(10_000),
    };
    let alone = seeds.end - seeds.start == 1;
    let mut total = Tally::default();
    for seed in seeds {
        let _named = SeedAtPanic(seed);
        match run(seed, Mutant::None) {
            Ok(tally) => total.add(&tally),
            Err(Violation(what)) => panic!("FIRESTEEL_SIM_SEED={seed}: {what}"),
        }
    }
    eprintln!("{total:?}");
    for (what, count) in total.fields() {
        assert!(alone || count > 0, "{what} never happened");
    }
}

#[test]
fn a_seed_runs_the_same_way_every_time() {
    for seed in 0..20 {
        let first = format!("{:?}", run(seed, Mutant::None));
        assert_eq!(first, format!("{:?}", run(seed, Mutant::None)));
    }
}

/// The positive control: each protection switched off must be noticed, by the check meant for it.
#[test]
fn every_broken_scheduler_is_caught() {
    for (mutant, words) in BROKEN {
        let caught = (0..10_000).find(|seed| match run(*seed, mutant) {
            Ok(_) => false,
            Err(Violation(what)) => what.contains(words),
        });
        match caught {
            Some(seed) => eprintln!("{mutant:?} is caught at seed {seed}: {words}"),
            None => panic!("{mutant:?} was not caught by {words:?}"),
        }
    }
}
