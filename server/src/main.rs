//! The `firesteel` binary. Reads the command line and the environment, which nothing else does,
//! sets up logging and the runtime, and hands over to [`server`].

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use job::Protection;
use server::app::{App, ExitOnSignals};
use server::cli::{Cli, Command, DemoArgs};
use server::config::Config;
use server::{allocator, demo, executor_process, machine};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the process says of itself when it can't go on: a failure of start-up or configuration.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Variables that are not UTF-8 can't be ours.
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    init_logging(&env);
    if let Err(error) = switch_off_protections(&env) {
        let _ = writeln!(std::io::stderr(), "firesteel: {error}");
        return ExitCode::FAILURE;
    }
    let result = match cli.command {
        Command::Serve(args) => args.config(env).map_err(Failure::from).and_then(|config| {
            allocator::return_pages_early(&config);
            run(async { serve(config).await })
        }),
        Command::Executor(args) => {
            let driver = args.driver.clone();
            args.config(env).map_err(Failure::from).and_then(|config| {
                allocator::return_pages_early(&config);
                run(async { run_executor(driver, config).await })
            })
        }
        Command::Demo(args) => args
            .config(env)
            .map_err(Failure::from)
            .and_then(|config| run(async { run_demo(config, args).await })),
        Command::CheckConfig { file } => file
            .config(env, Vec::new())
            .map_err(Failure::from)
            .and_then(|config| print(config.describe().trim_end())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "firesteel: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the chaos harness takes away to see that it notices; see `chaos/README.md`.
fn switch_off_protections(env: &BTreeMap<String, String>) -> Result<(), Failure> {
    if let Some(names) = env.get("FIRESTEEL_CHAOS_DISABLE") {
        Protection::switch_off(names)?;
        tracing::warn!(
            protections = names,
            "FIRESTEEL_CHAOS_DISABLE is set: this process loses data, for tests only"
        );
    }
    Ok(())
}

fn run(main: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(machine::cores().clamp(1, 4) as usize)
        .thread_name("driver")
        // Of address space, not of memory.
        .thread_stack_size(wire::STACK_BYTES)
        .enable_all()
        .build()?
        .block_on(main)
}

async fn serve(config: Config) -> Result<(), Failure> {
    let signals = ExitOnSignals::install()?;
    let app = App::start(config).await?;
    print(&app.ready_line())?;
    signals.drain(app).await;
    Ok(())
}

async fn run_executor(driver: String, config: Config) -> Result<(), Failure> {
    let signals = ExitOnSignals::install()?;
    let drain = CancellationToken::new();
    let running = executor_process::run(driver, config, drain.clone(), |line| {
        // If stdout is gone there is nobody to tell.
        let _ = print(line);
    });
    signals.cancel(drain, running).await?;
    Ok(())
}

async fn run_demo(config: Config, args: DemoArgs) -> Result<(), Failure> {
    let signals = ExitOnSignals::install()?;
    let data = std::path::absolute(&args.data_dir)?.join(format!("tpch-sf{}", args.scale));
    print(&format!(
        "Generating TPC-H at scale {} in {} …",
        args.scale,
        data.display()
    ))?;
    let (dir, scale, threads) = (data.clone(), args.scale, machine::cores() as usize);
    tokio::task::spawn_blocking(move || demo::tpch::generate(&dir, scale, threads)).await??;
    let app = App::start(config).await?;
    let address = app.postgres_address();
    let answer = demo::ask(address, &data).await?;
    print(&format!(
        "\n{answer}\nTry it:  psql -h {} -p {} -U firesteel -d firesteel\n\n{}",
        address.ip(),
        address.port(),
        app.ready_line()
    ))?;
    signals.drain(app).await;
    Ok(())
}

/// The only writer to stdout: scripts read it.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

/// Logs go to stderr; `RUST_LOG` chooses what.
fn init_logging(env: &BTreeMap<String, String>) {
    let filter = env
        .get("RUST_LOG")
        .map_or("warn,server=info,executor=info", String::as_str);
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
