//! The command line. Every option has an environment name, so that `cargo test` can be steered too.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

/// Chaos drills and soak tests for trading bots, with a verdict that was earned.
///
/// Exit codes: 0 PASS or GO, 1 FAIL or NO-GO, 2 INCONCLUSIVE (also when the environment failed),
/// 64 bad usage or an invalid file, 70 internal error, 130 interrupted, after healing.
#[derive(Debug, Parser)]
#[command(name = "firedrill", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Validate drill, target, policy and profile files.
    Check {
        /// Files to validate; all that the project has, if none is given.
        files: Vec<PathBuf>,
    },
    /// Run drills, each on a stack of its own.
    Run(RunArgs),
    /// Run the drills of a profile one after the other on one stack, under load.
    Soak(SoakArgs),
    /// Show that drills can turn red: each against every defect that it claims to catch, and
    /// against the honest bot.
    Prove(ProveArgs),
    /// Judge a recorded run again, offline.
    Judge {
        /// A run's folder.
        run: PathBuf,
    },
    /// Render the reports of a recorded run again.
    Report {
        /// A run's folder.
        run: PathBuf,
        /// Formats to render.
        #[arg(long, value_delimiter = ',', default_value = "html,md,json,junit")]
        format: Vec<Format>,
    },
    /// Decide on a subject under a policy: GO, NO-GO or INCONCLUSIVE.
    Gate(GateArgs),
    /// Sweep every leftover of runs that died.
    Heal,
    /// Start the reference stack and leave it running, to try things by hand.
    Up(UpArgs),
    /// Remove the stacks that `up` and `--keep` left running.
    Down,
    /// Provision the images (the other commands do it by themselves).
    Images {
        #[command(flatten)]
        target: TargetArg,
    },
    /// Print the JSON Schema of a file format.
    Schema { format: SchemaOf },
    /// The fault proxy as a server, speaking Toxiproxy's HTTP API.
    Proxy,
    /// Services of the reference stack, served inside its containers.
    #[command(hide = true)]
    Fixture {
        #[command(subcommand)]
        which: Fixture,
    },
    /// Outlives a run and removes its stack if the run dies.
    #[command(hide = true)]
    Janitor { run_id: String },
}

#[derive(Clone, Debug, Args)]
pub struct TargetArg {
    /// Target file: the system under test.
    #[arg(
        long,
        env = "FIREDRILL_TARGET",
        default_value = "fixtures/targets/reference.toml"
    )]
    pub target: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct Common {
    #[command(flatten)]
    pub target: TargetArg,
    /// How the stack is run.
    #[arg(long, env = "FIREDRILL_RUNTIME", default_value = "auto")]
    pub runtime: Runtime,
    /// Seed of everything that is drawn; random and printed if not given.
    #[arg(long, env = "FIREDRILL_SEED")]
    pub seed: Option<u32>,
    /// Leave the stack running afterwards; `firedrill down` removes it.
    #[arg(long, env = "FIREDRILL_KEEP")]
    pub keep: bool,
    /// Set an environment variable of the target's services.
    #[arg(
        long,
        value_name = "KEY=VALUE",
        env = "FIREDRILL_SET",
        value_delimiter = ';'
    )]
    pub set: Vec<String>,
    /// Folder that run folders are created in.
    #[arg(long, env = "FIREDRILL_OUT", default_value = "reports")]
    pub out: PathBuf,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Drills by name or by path; all of them if none is given.
    #[arg(env = "FIREDRILL_DRILL_FILTER", value_delimiter = ',')]
    pub drills: Vec<String>,
    /// Short or full durations.
    #[arg(long, env = "FIREDRILL_PROFILE", default_value = "quick")]
    pub profile: RunProfile,
    /// Drills at once.
    #[arg(long, env = "FIREDRILL_JOBS")]
    pub jobs: Option<usize>,
    /// Start no further drill after the first that does not pass.
    #[arg(long, env = "FIREDRILL_FAIL_FAST")]
    pub fail_fast: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Clone, Debug, Args)]
pub struct ProveArgs {
    /// Drills by name or by path; all of them if none is given.
    #[arg(env = "FIREDRILL_DRILL_FILTER", value_delimiter = ',')]
    pub drills: Vec<String>,
    /// Runs at once.
    #[arg(long, env = "FIREDRILL_JOBS")]
    pub jobs: Option<usize>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Clone, Debug, Args)]
pub struct SoakArgs {
    /// Profile by name: smoke, or nightly with --for.
    #[arg(long, env = "FIREDRILL_PROFILE")]
    pub profile: Option<String>,
    /// How long, where the profile draws its drills: 45m, 5h.
    #[arg(long = "for", value_name = "DURATION", env = "FIREDRILL_FOR")]
    pub length: Option<String>,
    /// Policy by which the soak is judged; drills/gates/<profile>.toml if there is one. Without any the
    /// verdict alone decides.
    #[arg(long, env = "FIREDRILL_POLICY")]
    pub policy: Option<PathBuf>,
    /// Take up a soak whose harness died: its folder, its schedule, a fresh stack.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["profile", "length", "seed", "dry_run"])]
    pub resume: Option<PathBuf>,
    /// Go on after what must never happen; without it that ends the soak at once.
    #[arg(long, env = "FIREDRILL_KEEP_GOING")]
    pub keep_going: bool,
    /// Most that the run's folder may take, such as 2GiB; the profile's disk_max by default.
    #[arg(long, value_name = "SIZE", env = "FIREDRILL_MAX_DISK")]
    pub max_disk: Option<String>,
    /// Shell command that gets verdict.json on its standard input when the soak is over.
    #[arg(long, value_name = "COMMAND", env = "FIREDRILL_ON_FINISH")]
    pub on_finish: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Clone, Debug, Args)]
pub struct GateArgs {
    /// Policy file.
    #[arg(long)]
    pub policy: PathBuf,
    /// Digest of the subject (`sha256:…`), or a run's folder that names it.
    #[arg(long)]
    pub subject: String,
    /// Run folders that are the evidence. A release policy also looks at every other run of the subject.
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Decide up to this stage of the policy only.
    #[arg(long)]
    pub stage: Option<String>,
    /// File of waivers; `drills/gates/waivers.toml` where there is one.
    #[arg(long)]
    pub waiver: Option<PathBuf>,
    /// File of attestations.
    #[arg(long)]
    pub attestations: Option<PathBuf>,
    /// Evidence of another tool: the import's id, a JUnit (.xml) or JSON file, and its revision if it holds none.
    #[arg(long, value_name = "ID=FILE[@REVISION]")]
    pub import: Vec<String>,
    /// Folder of the accepted run, with which others are compared.
    #[arg(long)]
    pub accepted: Option<PathBuf>,
    /// Folder in which a folder `gates` receives the decision.
    #[arg(long, env = "FIREDRILL_OUT", default_value = "reports")]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub target: TargetArg,
    /// Set an environment variable of the target's services.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    Auto,
    Docker,
    Compose,
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunProfile {
    Quick,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Html,
    Md,
    Json,
    Junit,
    GoNoGo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    Drill,
    Target,
    Policy,
    Profile,
    Verdict,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Fixture {
    /// A service of the reference bot.
    Bot { service: BotService },
    /// The chain simulator.
    Chain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BotService {
    Webhook,
    Worker,
    Tpsl,
}

const PREFIX: &str = "FIREDRILL_";
/// Names that are no option of a command: the log filter, and what the project's own tests read.
const OTHER_NAMES: [&str; 3] = ["FIREDRILL_LOG", "FIREDRILL_BLESS", "FIREDRILL_BIN"];
const TEST_PREFIX: &str = "FIREDRILL_TEST_";

/// A setting in the environment that nothing reads: misspelt, or made up. Its effect would be none,
/// while whoever set it believes otherwise.
pub fn unknown_setting(set: impl Iterator<Item = String>) -> Option<String> {
    let mut known: Vec<String> = OTHER_NAMES.map(str::to_owned).to_vec();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        let names = command.get_arguments().filter_map(clap::Arg::get_env);
        known.extend(names.map(|name| name.to_string_lossy().into_owned()));
        commands.extend(command.get_subcommands().cloned());
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut ours = set.filter(|name| name.starts_with(PREFIX));
    let unknown =
        ours.find(|name| !known.contains(&name.as_str()) && !name.starts_with(TEST_PREFIX))?;
    let nearest = firedrill_plan::nearest(&unknown, &known);
    let hint = nearest.map_or_else(String::new, |n| format!(" (did you mean {n}?)"));
    Some(format!(
        "{unknown} is set, but there is no such setting{hint}; unset it, or see `firedrill help`"
    ))
}
