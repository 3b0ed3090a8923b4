//! The command line. Every option has an environment name, so that `cargo test` can be steered too.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

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
        /// Write the rules and triggers of the one policy that is given as a Prometheus rules file.
        #[arg(long, value_name = "FILE")]
        export_rules: Option<PathBuf>,
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
    /// Make a pair of keys for attestations.
    Keygen {
        /// File of the private key; the public one gets the same name with .pub.
        #[arg(long)]
        out: PathBuf,
    },
    /// Attest sealed runs, and a decision about them, with a key.
    Sign(SignArgs),
    /// Check sealed runs and attestations; without a key as far as a folder can tell.
    Verify(VerifyArgs),
    /// Watch a live canary's Prometheus under a policy's stage; injects nothing. A trigger that fires is
    /// exit code 1, missing data 2.
    Observe(ObserveArgs),
    /// The run that later ones of its target, kind and profile are compared with.
    Baseline {
        #[command(subcommand)]
        which: BaselineCommand,
    },
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
    /// One part of the drills, for several machines: 2/4 is the second of four.
    #[arg(long, value_name = "PART/OF", env = "FIREDRILL_SHARD")]
    pub shard: Option<Shard>,
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
    /// File of what people confirm, item by item.
    #[arg(long)]
    pub attestations: Option<PathBuf>,
    /// Signed attestation of the runs, as `sign` writes it; one per signer.
    #[arg(long, value_name = "FILE")]
    pub attestation: Vec<PathBuf>,
    /// A role of the policy, and the public key that its signatures are checked with.
    #[arg(long, value_name = "ROLE=PUB")]
    pub key: Vec<String>,
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

#[derive(Clone, Debug, Subcommand)]
pub enum BaselineCommand {
    /// Accept a sealed run that passed; it takes the place of the one before.
    Accept {
        /// A run's folder.
        run: PathBuf,
        /// Folder of the runs, in which a folder `baseline` receives its figures.
        #[arg(long, env = "FIREDRILL_OUT", default_value = "reports")]
        out: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
pub struct SignArgs {
    /// Folders of sealed runs, all of one subject.
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// File of the private key.
    #[arg(long)]
    pub key: PathBuf,
    /// Who signs.
    #[arg(long)]
    pub signer: String,
    /// As what: a role of the policy.
    #[arg(long)]
    pub role: Option<String>,
    /// Folder of a decision of `gate` that rests on these runs.
    #[arg(long)]
    pub decision: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Folders of sealed runs, and attestation files. Attestations beside a run are found.
    #[arg(required = true)]
    pub what: Vec<PathBuf>,
    /// Files of public keys.
    #[arg(long)]
    pub key: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct ObserveArgs {
    /// Prometheus of the live system: http://HOST:PORT.
    #[arg(long, value_name = "URL", env = "FIREDRILL_PROMETHEUS")]
    pub prometheus: String,
    /// Policy file.
    #[arg(long, env = "FIREDRILL_POLICY")]
    pub policy: PathBuf,
    /// Stage of the policy that the canary is in.
    #[arg(long, required_unless_present = "stages", conflicts_with = "stages")]
    pub stage: Option<String>,
    /// Walk all stages that have a hold, in the policy's order, as long as each passes. Their `enter` and
    /// `exit` steps are run with --execute only.
    #[arg(long)]
    pub stages: Option<StagesArg>,
    /// How long a stage is watched: 15m, 1h; the stage's own hold by default.
    #[arg(long = "for", value_name = "DURATION", env = "FIREDRILL_FOR")]
    pub length: Option<String>,
    /// Label matchers of the canary's own series, such as 'track="canary"'. Mandatory where the policy has no
    /// [canary]; where it has one, it must be the same.
    #[arg(long, value_name = "MATCHERS")]
    pub selector: Option<String>,
    /// Log files to follow from their present end; without any, items about logs are INCONCLUSIVE.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub logs: Vec<PathBuf>,
    /// The build that the canary runs: a run's folder that names it, or its digest (`sha256:…`). A gate needs it; a release
    /// gate needs the folder, for a digest doesn't tell whether its work tree had changes.
    #[arg(long)]
    pub subject: Option<String>,
    /// Target file that gives the policy's variables their names; the policy's own names by default.
    #[arg(long, env = "FIREDRILL_TARGET")]
    pub target: Option<PathBuf>,
    /// Run the policy's commands: roll-backs when a trigger fires, and with --stages the steps of each stage.
    /// Without it they are printed, and nothing is executed.
    #[arg(long)]
    pub execute: bool,
    /// Folder that run folders are created in.
    #[arg(long, env = "FIREDRILL_OUT", default_value = "reports")]
    pub out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StagesArg {
    All,
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

/// Every `of`-th thing, from the `part`-th on. Parts overlap nowhere, leave nothing out, and differ by one thing at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    part: usize,
    of: usize,
}

impl Shard {
    pub fn take<T>(self, things: Vec<T>) -> Vec<T> {
        let mine = things.into_iter().skip(self.part - 1).step_by(self.of);
        mine.collect()
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n > 0);
        let halves = text.split_once('/');
        let parts = halves.and_then(|(part, of)| Some((number(part)?, number(of)?)));
        match parts {
            Some((part, of)) if part <= of => Ok(Shard { part, of }),
            _ => Err("expected PART/OF, from 1/N to N/N, such as 2/4".to_owned()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
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
