//! firedrill's one executable: it drives the runs, and it is what runs inside the containers.

mod args;
mod around;
mod attest;
mod cmd;
mod context;
mod course;
mod decision;
mod evidence;
mod execute;
mod exit;
mod files;
mod inspect;
mod keys;
mod launch;
mod live;
mod logs;
mod planned;
mod ramp;
mod rerun;
mod resume;
mod show;
mod store;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Stop};

/// It gives memory back after a burst: a soak's own memory is watched as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // If not even this can be printed, the exit code still says it.
            let _ = error.print();
            let exit = if help { Exit::Pass } else { Exit::Usage };
            std::process::exit(exit.code());
        }
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some(unknown) = args::unknown_setting(names) {
        eprintln!("firedrill: {unknown}");
        std::process::exit(Exit::Usage.code());
    }
    init_logging(&cli.command);
    let exit = match std::panic::catch_unwind(|| start(cli.command)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(stop)) => {
            eprintln!("firedrill: {stop}");
            stop.exit()
        }
        Err(_) => Exit::Internal,
    };
    std::process::exit(exit.code());
}

/// Services log to standard output, as containers do; the harness logs to standard error.
fn init_logging(command: &Command) {
    let filter = |default: &str| {
        tracing_subscriber::EnvFilter::try_from_env("FIREDRILL_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default))
    };
    let builder = tracing_subscriber::fmt();
    match command {
        Command::Fixture { .. } | Command::Proxy => {
            builder
                .with_env_filter(filter("info"))
                .with_ansi(false)
                .with_target(false)
                .init();
        }
        _ => builder
            .with_env_filter(filter("warn"))
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init(),
    }
}

fn start(command: Command) -> Result<Exit, Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Stop::Internal(e.to_string()))?;
    runtime.block_on(dispatch(command))
}

async fn dispatch(command: Command) -> Result<Exit, Stop> {
    match command {
        Command::Check {
            files,
            export_rules,
        } => cmd::check::check(&files, export_rules.as_deref()),
        Command::Schema { format } => cmd::check::schema(format),
        Command::Run(args) => cmd::run::run(args).await,
        Command::Soak(args) => cmd::soak::soak(args).await,
        Command::Prove(args) => cmd::prove::prove(args).await,
        Command::Judge { run } => cmd::judge::judge(&run),
        Command::Report { run, format } => cmd::judge::report(&run, &format),
        Command::Gate(args) => cmd::gate::run(&args),
        Command::Keygen { out } => cmd::keygen::keygen(&out),
        Command::Sign(args) => cmd::sign::sign(&args),
        Command::Verify(args) => cmd::verify::verify(&args),
        Command::Observe(args) => cmd::observe::observe(args).await,
        Command::Baseline {
            which: args::BaselineCommand::Accept { run, out },
        } => cmd::baseline::accept(&run, &out),
        Command::Heal => cmd::stacks::heal().await,
        Command::Up(args) => cmd::stacks::up(&args).await,
        Command::Down => cmd::stacks::down().await,
        Command::Images { target } => cmd::stacks::images(&target.target).await,
        Command::Proxy => cmd::serve::proxy().await,
        Command::Fixture { which } => cmd::serve::fixture(which).await,
        Command::Janitor { run_id } => cmd::serve::janitor(&run_id).await,
    }
}
