//! A driver and executor processes of the real binary, with a link in front of each listener that
//! matters: executors reach the driver, and all reach an executor's blocks, through one each.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sql_tests::executor::Executor;
use sql_tests::process::Environment;
use sql_tests::server::Server;
use sql_tests::tpch;
use sql_tests::wire::Wire;
use tempfile::TempDir;

use crate::Result;
use crate::dice::Dice;
use crate::network::{Link, Network};
use crate::oracle::{LARGE, Oracle};
use crate::watch::{self, Metrics};

/// Some seconds become one, so that rows need not wait for them.
const SHORT_TIMEOUTS: &str = "heartbeat_interval = \"100ms\"\nexecutor_timeout = \"1s\"\n";
/// 300,000 rows in lineitem.
const SCALE: f64 = 0.05;
/// What a loaded machine may take for what takes moments.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked at that can't be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Everything that is the same for all rows of a run.
#[derive(Debug)]
pub struct World {
    data: TempDir,
    pub oracle: Oracle,
}

impl World {
    /// Where its tables are.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Made when it is first asked for.
    pub fn get() -> Result<&'static Self> {
        static WORLD: OnceLock<World> = OnceLock::new();
        if let Some(world) = WORLD.get() {
            return Ok(world);
        }
        let data = TempDir::with_prefix("firesteel-chaos-")?;
        tpch::generate(data.path(), SCALE).map_err(|error| error.to_string())?;
        let oracle = Oracle::ask(data.path())?;
        Ok(WORLD.get_or_init(|| World { data, oracle }))
    }
}

/// What follows in `[cluster]` and after it, so that all slots can be held ([`block`]): small
/// statements wait like others, and rows wait in their tasks for slow clients, not on disk.
pub const BLOCKABLE: &str = "small_statement_size = 0\n\
     [executor]\nresult_spool = \"0\"\nresult_buffer = \"64KiB\"\n";

/// What a row wants of its cluster.
#[derive(Debug, Clone)]
pub struct Options {
    pub executors: usize,
    pub slots: u32,
    /// Of each executor.
    pub memory: &'static str,
    /// Protections to switch off.
    pub without: Option<&'static str>,
    /// Further lines of the section `cluster` of the configuration file, and other sections.
    pub config: String,
    /// Whether executors that are silent for one second are lost; otherwise as by default.
    pub short_timeouts: bool,
    /// Of the first executor, if not below its own directory.
    pub work_dir: Option<PathBuf>,
    /// TPC-H tables, if not those of [`World`].
    pub data: Option<PathBuf>,
    pub seed: u64,
}

impl Options {
    pub fn new(seed: u64, without: Option<&'static str>) -> Self {
        Self {
            executors: 3,
            slots: 1,
            memory: "512MiB",
            without,
            config: String::new(),
            short_timeouts: true,
            work_dir: None,
            data: None,
            seed,
        }
    }
}

/// An executor, and the ways to and from it.
#[derive(Debug)]
pub struct Node {
    pub executor: Executor,
    /// From it to the driver.
    pub control: Link,
    /// From all others to its blocks.
    pub blocks: Link,
    pub work_dir: PathBuf,
}

#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: executors before their driver, links after both.
    pub nodes: Vec<Node>,
    pub driver: Server,
    network: Network,
    slots: u32,
    _config: TempDir,
}

impl Cluster {
    pub fn start(options: &Options) -> Result<Self> {
        let data = match &options.data {
            Some(data) => data,
            None => World::get()?.data.path(),
        };
        let config_dir = TempDir::with_prefix("firesteel-chaos-config-")?;
        let config = config_dir.path().join("firesteel.toml");
        let timeouts = if options.short_timeouts {
            SHORT_TIMEOUTS
        } else {
            ""
        };
        std::fs::write(&config, format!("[cluster]\n{timeouts}{}", options.config))?;
        let config = config.display().to_string();
        let mut environment = Environment::new();
        if let Some(without) = options.without {
            environment.insert("FIRESTEEL_CHAOS_DISABLE".to_owned(), without.to_owned());
        }
        let mut driver = Server::start_in(
            &environment,
            0,
            &[
                "--no-local-executor",
                "--cluster-listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
                "--config",
                &config,
            ],
        )?;
        if options.without.is_some() {
            driver.forgive_panics();
        }
        let cluster_port = driver.cluster_port().ok_or("no cluster port")?;
        let network = Network::new()?;
        let mut dice = Dice::new(options.seed);
        let mut nodes = Vec::new();
        for number in 0..options.executors {
            let control = network.link(dice.next())?;
            control.lead_to(cluster_port);
            let blocks = network.link(dice.next())?;
            let directory = driver.scratch().join(format!("executor-{number}"));
            let mut arguments: Vec<String> = [
                "--slots",
                &options.slots.to_string(),
                "--memory",
                options.memory,
                "--http-listen",
                "127.0.0.1:0",
                "--config",
                &config,
                "--advertise",
                &format!("127.0.0.1:{}", blocks.port()),
            ]
            .map(str::to_owned)
            .to_vec();
            let elsewhere = options.work_dir.as_ref().filter(|_| number == 0);
            if let Some(elsewhere) = elsewhere {
                arguments.extend(["--work-dir".to_owned(), elsewhere.display().to_string()]);
            }
            let mut executor =
                Executor::start_in(&environment, control.port(), &directory, &arguments)?;
            if options.without.is_some() {
                executor.forgive_panics();
            }
            blocks.lead_to(executor.blocks_port().ok_or("no port of blocks")?);
            nodes.push(Node {
                work_dir: elsewhere.cloned().unwrap_or_else(|| executor.work_dir()),
                executor,
                control,
                blocks,
            });
        }
        let cluster = Self {
            nodes,
            driver,
            network,
            slots: options.slots,
            _config: config_dir,
        };
        cluster.know_processes();
        let mut wire = cluster.driver.connect()?;
        tpch::create_tables(&mut wire, data)?;
        Ok(cluster)
    }

    fn know_processes(&self) {
        let mut processes: Vec<u32> = self.nodes.iter().map(|node| node.executor.pid()).collect();
        processes.push(self.driver.pid());
        self.network.know(processes);
    }

    /// A session whose statements are cut at exchanges into many small tasks.
    pub fn staged(&self) -> Result<Wire> {
        let mut wire = self.driver.connect()?;
        wire.simple("SET firesteel.force_exchange = on; SET firesteel.partitions = 8")?;
        Ok(wire)
    }

    /// The driver's page.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::scrape(
            self.driver.http_port().ok_or("the driver has no metrics")?,
        )?)
    }

    /// An executor's page.
    pub fn metrics_of(&self, node: usize) -> Result<Metrics> {
        let port = self.nodes[node].executor.http_port();
        Ok(Metrics::scrape(port.ok_or("the executor has no metrics")?)?)
    }

    /// A counter or gauge, added up over these executors.
    pub fn total(&self, name: &str, nodes: impl IntoIterator<Item = usize>) -> Result<u64> {
        let values = nodes
            .into_iter()
            .map(|node| Ok(self.metrics_of(node)?.get(name)));
        values.sum()
    }

    pub fn kill(&mut self, node: usize) -> Result {
        let node = &mut self.nodes[node];
        node.executor.kill9()?;
        Ok(())
    }

    /// A new process in the place of one that ended; its link leads there.
    pub fn start_again(&mut self, node: usize) -> Result {
        let node = &mut self.nodes[node];
        // It is registered a moment before its port is known here: whoever is quicker waits.
        node.blocks.lead_to(0);
        node.executor.start_again()?;
        let port = node.executor.blocks_port().ok_or("no port of blocks")?;
        node.blocks.lead_to(port);
        self.know_processes();
        Ok(())
    }

    /// Starts all that have ended, and waits until the driver has them.
    pub fn make_whole(&mut self) -> Result {
        for node in 0..self.nodes.len() {
            if !self.nodes[node].executor.is_running() {
                self.start_again(node)?;
            }
        }
        let all = self.nodes.len() as u64;
        self.wait_until("all executors are registered", PATIENCE, |metrics| {
            metrics.get("executors") == all
        })?;
        Ok(())
    }

    /// Looks at the driver's page until it is as wanted. Returns how long that took.
    pub fn wait_until(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&Metrics) -> bool,
    ) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let metrics = self.metrics()?;
            if holds(&metrics) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > within {
                return Err(format!("not within {within:?}: {what}: {metrics:?}").into());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until so many more attempts were launched than `before`, or `is_over`.
    pub fn await_launches(
        &self,
        before: &Metrics,
        launches: u64,
        is_over: impl Fn() -> bool,
    ) -> Result {
        while !is_over() && self.metrics()?.since(before, "attempts_launched_total") < launches {
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Waits until nothing is held anywhere: slots, memory, blocks, files.
    pub fn idle_within(&self, within: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let held = self.held()?;
            if held.is_empty() {
                return Ok(start.elapsed());
            }
            if start.elapsed() > within {
                return Err(format!("still held after {within:?}: {}", held.join(", ")).into());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn held(&self) -> Result<Vec<String>> {
        let mut held = Vec::new();
        let driver = self.metrics()?;
        let slots = self.nodes.len() as u64 * u64::from(self.slots);
        if driver.get("jobs") > 0 {
            held.push(format!("{} jobs", driver.get("jobs")));
        }
        if driver.get("cluster_slots_free") != slots {
            let free = driver.get("cluster_slots_free");
            held.push(format!("{} of {slots} slots", slots.saturating_sub(free)));
        }
        if driver.get("express_slots_held") > 0 {
            let held_slots = driver.get("express_slots_held");
            held.push(format!("{held_slots} express slots"));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let executor = self.metrics_of(number)?;
            for name in [
                "attempts_running",
                "map_outputs",
                "result_jobs",
                "memory_execution_bytes",
                "memory_storage_bytes",
                "memory_results_bytes",
                "spill_files",
                "spill_bytes",
            ] {
                match executor.get(name) {
                    0 => {}
                    value => held.push(format!("executor {number}: {name} {value}")),
                }
            }
            let files = watch::files_below(&node.work_dir);
            if !files.is_empty() {
                held.push(format!("executor {number}: {} files", files.len()));
            }
        }
        Ok(held)
    }

    /// Processes of the cluster, the driver first.
    pub fn pids(&self) -> Vec<u32> {
        let executors = self.nodes.iter().map(|node| node.executor.pid());
        std::iter::once(self.driver.pid())
            .chain(executors)
            .collect()
    }

    /// How often the driver has logged something.
    pub fn logged(&self, what: &str) -> u64 {
        self.driver.log().matches(what).count() as u64
    }
}

/// Takes all slots and uses none: the rows of a large result that nobody reads. Needs
/// [`BLOCKABLE`].
pub fn block(cluster: &Cluster) -> Result<Vec<Wire>> {
    let mut blockers = Vec::new();
    let free = |metrics: &Metrics| metrics.get("cluster_slots_free");
    while free(&cluster.metrics()?) > 0 {
        let mut wire = cluster.driver.connect()?;
        let before = cluster.metrics()?.get("attempts_launched_total");
        let mut body = LARGE.as_bytes().to_vec();
        body.push(0);
        wire.send(b'Q', &body)?;
        blockers.push(wire);
        cluster.wait_until("a slot is taken", PATIENCE, |metrics| {
            metrics.get("attempts_launched_total") > before
        })?;
    }
    Ok(blockers)
}

/// Open files of each process.
pub fn open_files(pids: &[u32]) -> io::Result<Vec<usize>> {
    pids.iter().map(|pid| watch::open_files(*pid)).collect()
}
