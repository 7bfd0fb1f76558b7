//! Pools: who gets the next slot.

use scheduler::{PoolConfig, PoolMode, SchedulerConfig};

use crate::fixture::{Fixture, graph, sliced, whole};

fn pool(name: &str, mode: PoolMode, weight: u32, min_share: u32) -> PoolConfig {
    PoolConfig {
        name: name.to_owned(),
        mode,
        weight,
        min_share,
    }
}

fn fixture(pools: Vec<PoolConfig>, slots: u32) -> Fixture {
    let mut it = Fixture::with(SchedulerConfig {
        pools,
        pool_patience: 10,
        ..SchedulerConfig::default()
    });
    for executor in 1..=slots {
        it.join(u64::from(executor), 1);
    }
    it
}

/// Jobs of the launches among these lines.
fn jobs(lines: &[String]) -> Vec<u64> {
    let launches = lines.iter().filter_map(|line| line.strip_prefix("launch "));
    launches
        .map(|line| line.split('.').next().unwrap().parse().unwrap())
        .collect()
}

/// Ends attempts in the order they were launched; answers with the jobs launched meanwhile.
fn run(it: &mut Fixture, steps: usize) -> Vec<u64> {
    let mut launched = Vec::new();
    for _ in 0..steps {
        let view = it.scheduler.snapshot();
        let attempts = view.jobs.iter().flat_map(|job| &job.attempts);
        let oldest = attempts.max_by_key(|a| (a.age, std::cmp::Reverse(a.attempt)));
        let lines = it.finish(&oldest.unwrap().attempt.to_string());
        launched.extend(jobs(&lines));
        it.pass(std::time::Duration::from_micros(1));
    }
    launched
}

fn held(it: &Fixture) -> Vec<(String, u64)> {
    let view = it.scheduler.snapshot();
    let pools = view.pools.into_iter();
    pools.map(|p| (p.config.name, p.slots_held)).collect()
}

#[test]
fn an_unknown_pool_is_the_default_one_and_that_is_fifo() {
    let mut it = fixture(Vec::new(), 1);
    it.submit_to("nowhere", 1, graph([sliced(3, &[])]));
    it.submit(2, graph([whole(1, &[])]));
    assert_eq!(it.scheduler.snapshot().jobs[0].pool, "default");
    assert_eq!(run(&mut it, 3), [1, 1, 2]);
}

#[test]
fn the_default_pool_may_be_configured() {
    let mut it = fixture(vec![pool("default", PoolMode::Fair, 1, 0)], 1);
    it.submit(1, graph([sliced(3, &[])]));
    it.submit(2, graph([sliced(3, &[])]));
    assert_eq!(run(&mut it, 4), [1, 2, 1, 2]);
}

#[test]
fn jobs_of_a_fair_pool_share_its_slots_evenly() {
    let mut it = fixture(vec![pool("p", PoolMode::Fair, 1, 0)], 6);
    it.submit_to("p", 1, graph([sliced(60, &[])]));
    it.submit_to("p", 2, graph([sliced(60, &[])]));
    it.submit_to("p", 3, graph([sliced(60, &[])]));
    run(&mut it, 12);
    let view = it.scheduler.snapshot();
    let running: Vec<usize> = view.jobs.iter().map(|job| job.attempts.len()).collect();
    assert_eq!(running, [2, 2, 2]);
}

#[test]
fn pools_share_slots_by_weight() {
    let pools = vec![
        pool("heavy", PoolMode::Fifo, 3, 0),
        pool("light", PoolMode::Fifo, 1, 0),
    ];
    let mut it = fixture(pools, 8);
    it.submit_to("light", 1, graph([sliced(80, &[])]));
    it.submit_to("heavy", 2, graph([sliced(80, &[])]));
    run(&mut it, 16);
    assert_eq!(
        held(&it),
        [
            ("heavy".into(), 6),
            ("light".into(), 2),
            ("default".into(), 0)
        ]
    );
}

#[test]
fn minimum_shares_come_before_weights() {
    let pools = vec![
        pool("heavy", PoolMode::Fifo, 100, 0),
        pool("sure", PoolMode::Fifo, 1, 3),
    ];
    let mut it = fixture(pools, 4);
    it.submit_to("heavy", 1, graph([sliced(80, &[])]));
    it.submit_to("sure", 2, graph([sliced(80, &[])]));
    assert_eq!(run(&mut it, 3), [2, 2, 2]);
    run(&mut it, 20);
    assert_eq!(held(&it)[..2], [("heavy".into(), 1), ("sure".into(), 3)]);
}

#[test]
fn the_pool_furthest_below_its_minimum_is_first() {
    let pools = vec![
        pool("large", PoolMode::Fifo, 1, 8),
        pool("small", PoolMode::Fifo, 1, 2),
    ];
    let mut it = fixture(pools, 0);
    it.submit_to("large", 1, graph([sliced(80, &[])]));
    it.submit_to("small", 2, graph([sliced(80, &[])]));
    let mut launched = Vec::new();
    for executor in 1..=6 {
        launched.extend(jobs(&it.join(executor, 1)));
    }
    // After one each it is 1/8 against 1/2, and four of eight are as good as one of two.
    assert_eq!(launched, [1, 2, 1, 1, 1, 2]);
}

#[test]
fn slots_a_pool_cannot_use_go_to_others() {
    let pools = vec![pool("sure", PoolMode::Fifo, 1, 4)];
    let mut it = fixture(pools, 4);
    let lines = it.submit(1, graph([sliced(8, &[])]));
    assert_eq!(jobs(&lines), [1, 1, 1, 1]);
}

#[test]
fn a_pool_without_slots_waits_for_a_bounded_number_of_launches() {
    // The minimum share takes all there is.
    let pools = vec![pool("greedy", PoolMode::Fifo, 1, 2)];
    let mut it = fixture(pools, 2);
    it.submit_to("greedy", 1, graph([sliced(1000, &[])]));
    it.submit(2, graph([sliced(1000, &[])]));
    let launched = run(&mut it, 100);
    let waits: Vec<usize> = launched.split(|job| *job == 2).map(<[u64]>::len).collect();
    assert!(waits.len() > 5, "{launched:?}");
    assert!(waits.iter().all(|wait| *wait <= 12), "{waits:?}");
}

#[test]
fn short_jobs_do_not_starve_a_long_one_in_a_fair_pool() {
    let mut it = fixture(vec![pool("p", PoolMode::Fair, 1, 0)], 1);
    it.submit_to("p", 1, graph([sliced(1000, &[])]));
    let mut launched = Vec::new();
    for job in 2..50 {
        it.submit_to("p", job, graph([whole(1, &[])]));
        launched.extend(run(&mut it, 1));
    }
    let long = launched.iter().filter(|job| **job == 1).count();
    assert!(long > 5, "{launched:?}");
}

#[test]
fn stopping_attempts_count_until_they_end() {
    let pools = vec![pool("p", PoolMode::Fifo, 1, 0)];
    let mut it = fixture(pools, 1);
    it.submit_to("p", 1, graph([whole(1, &[])]));
    it.cancel(1);
    assert_eq!(held(&it)[0], ("p".into(), 1));
    it.stopped("1.0.0#0");
    assert_eq!(held(&it)[0], ("p".into(), 0));
    assert!(it.scheduler.is_idle());
}

#[test]
fn a_lost_executor_gives_its_slots_back_to_the_account() {
    let pools = vec![pool("p", PoolMode::Fair, 1, 0)];
    let mut it = fixture(pools, 2);
    it.submit_to("p", 1, graph([sliced(2, &[])]));
    it.lose(1);
    assert_eq!(held(&it)[0], ("p".into(), 1));
    it.cancel(1);
    it.lose(2);
    assert!(it.scheduler.is_idle());
}
