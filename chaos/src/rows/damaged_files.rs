//! Row 6: files of exchanges, spilled operators and waiting rows are damaged, cut short or
//! deleted under their owners; and a disk is full.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Outcome, Tally, ask};
use crate::cluster::{Cluster, Options, World};
use crate::dice::Dice;
use crate::oracle::{GROUPS, SORTED, WIDE};
use crate::report::Report;
use crate::{Result, Run, watch};

const ROUNDS_SHORT: u64 = 4;
/// So little that exchanges and sorts go to disk.
const MEMORY: &str = "48MiB";
/// Per statement: an attempt may fail four times.
const DAMAGE_MAX: usize = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Those that every run must see.
const FAULTS: [&str; 3] = [
    "exchange file flipped",
    "exchange file cut short",
    "exchange file deleted",
];
/// A disk of so many bytes is full soon.
const SMALL_DISK: &str = "size=2m";

pub(super) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(6, "damaged files and a full disk", run);
    damaged(run, &mut report)?;
    full(run, &mut report)?;
    Ok(report.done())
}

fn damaged(run: &Run, report: &mut Report) -> Result {
    let world = World::get()?;
    let cluster = Cluster::start(&Options {
        memory: MEMORY,
        config: "[executor]\nresult_buffer = \"64KiB\"\n".to_owned(),
        ..Options::new(run.seed, run.without)
    })?;
    let mut dice = Dice::new(run.seed);
    let before = cluster.metrics()?;
    let (mut rounds, mut tally) = (0, Tally::default());
    while run.wants_more(rounds, ROUNDS_SHORT, report, &FAULTS) {
        for query in [WIDE, SORTED] {
            let mut wire = cluster.staged()?;
            let done = AtomicBool::new(false);
            let (asked, damage) = std::thread::scope(|scope| -> Result<_> {
                let (cluster, done, mut dice) = (&cluster, &done, dice.fork());
                let damaging = scope.spawn(move || damage(cluster, &mut dice, done));
                let expected = world.oracle.answer(query);
                let asked = ask(&mut wire, query, expected, |rows| {
                    if rows % 30_000 == 0 {
                        // So slowly that its rows go to disk.
                        std::thread::sleep(Duration::from_millis(400));
                    }
                });
                done.store(true, Ordering::Relaxed);
                let damage = damaging
                    .join()
                    .map_err(|_| "the damaging thread panicked")?;
                Ok((asked, damage))
            })?;
            for fault in damage {
                report.fired(fault, 1);
            }
            tally.add(asked);
        }
        rounds += 1;
    }
    let after = cluster.metrics()?;
    report.figure("asked", tally.asked());
    report.figure("broken off after the first row", tally.broken_off);
    report.figure(
        "noticed",
        format!(
            "{} attempts failed, {} outputs lost",
            after.since(&before, "attempts_failed_total"),
            after.since(&before, "outputs_lost_total")
        ),
    );
    for what in tally.wrong {
        report.problem(format!("a wrong answer: {what}"));
    }
    for what in tally.failed {
        report.problem(format!("a read failed: {what}"));
    }
    report.require(&FAULTS);
    report.check(after.since(&before, "attempts_failed_total") > 0, || {
        "no damage was noticed".to_owned()
    });
    Ok(())
}

/// Damages files as they come. Returns what was done.
fn damage(cluster: &Cluster, dice: &mut Dice, done: &AtomicBool) -> Vec<&'static str> {
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    let mut faults = Vec::new();
    while !done.load(Ordering::Relaxed) && faults.len() < DAMAGE_MAX {
        for node in &cluster.nodes {
            for path in watch::files_below(&node.work_dir) {
                let length = std::fs::metadata(&path).map_or(0, |data| data.len());
                if length == 0 || faults.len() >= DAMAGE_MAX || !seen.insert(path.clone()) {
                    continue;
                }
                if dice.below(2) == 0 {
                    faults.extend(damage_file(&path, length, dice));
                }
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    faults
}

/// `None` if the file was gone before.
fn damage_file(path: &Path, length: u64, dice: &mut Dice) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let names: [&'static str; 3] = match name.split('-').next()? {
        "map" => [
            "exchange file flipped",
            "exchange file cut short",
            "exchange file deleted",
        ],
        "spill" => [
            "spill file flipped",
            "spill file cut short",
            "spill file deleted",
        ],
        "rows" => [
            "result file flipped",
            "result file cut short",
            "result file deleted",
        ],
        _ => return None,
    };
    let kind = dice.index(3);
    let done = match kind {
        0 => flip(path, length, dice),
        1 => File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(length / 2)),
        _ => std::fs::remove_file(path),
    };
    done.is_ok().then_some(names[kind])
}

/// Several bits, spread over the file: any read of it meets one.
fn flip(path: &Path, length: u64, dice: &mut Dice) -> std::io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    for at in (0..16).map(|part| part * length / 16) {
        let at = at + dice.below(length / 16);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << dice.below(8);
        file.write_all_at(&byte, at)?;
    }
    Ok(())
}

/// A file system of a few megabytes, while this lives.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount() -> Result<Option<Self>> {
        let directory = TempDir::with_prefix("firesteel-chaos-disk-")?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"])
            .arg(directory.path())
            .output();
        Ok(mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(directory)))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whatever it says, the directory below is removed next.
        drop(
            Command::new("umount")
                .arg("--lazy")
                .arg(self.0.path())
                .output(),
        );
    }
}

fn full(run: &Run, report: &mut Report) -> Result {
    let world = World::get()?;
    let disk = SmallDisk::mount()?;
    // Without the right to mount, a quota has to do.
    let config = if disk.is_some() {
        ""
    } else {
        "[executor]\nspill_quota = \"2MiB\"\n"
    };
    let cluster = Cluster::start(&Options {
        memory: MEMORY,
        config: config.to_owned(),
        work_dir: disk.as_ref().map(|disk| disk.0.path().to_owned()),
        ..Options::new(run.seed, run.without)
    })?;
    let (mut right, mut clear) = (0, 0);
    for query in [WIDE, GROUPS, WIDE, SORTED] {
        let mut wire = cluster.staged()?;
        match ask(&mut wire, query, world.oracle.answer(query), |_| {}).outcome {
            Outcome::Right => right += 1,
            // The disk is full, or what would have gone there does not fit into memory.
            Outcome::Failed(_, Some(sqlstate)) if sqlstate == "53100" || sqlstate == "53200" => {
                clear += 1;
            }
            Outcome::BrokenOff(_) => clear += 1,
            other => report.problem(format!("with a full disk: {other:?}")),
        }
    }
    report.figure("full disk", format!("{right} right, {clear} clear errors"));
    let log = cluster.nodes[0].executor.log();
    let full = log.matches("No space left").count() + log.matches("no space left").count();
    report.fired("disk full", full as u64);
    report.require(&["disk full"]);
    if let Err(error) = cluster.idle_within(Duration::from_secs(20)) {
        report.problem(error.to_string());
    }
    drop(cluster);
    drop(disk);
    Ok(())
}
