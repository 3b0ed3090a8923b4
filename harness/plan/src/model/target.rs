//! A target: the system under test, as a file describes it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Series;

/// A system under test, as a file describes it.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    /// Refused for any fault.
    pub production: bool,
    /// Name → how it comes about.
    pub secrets: BTreeMap<String, Secret>,
    pub defects: Option<Defects>,
    pub services: Vec<Service>,
    /// Environment shared by all services of role app.
    pub env: BTreeMap<String, String>,
    pub signals: Signals,
    pub mode: Option<ModeProbe>,
    /// The Prometheus that a stack gets when something asks for it: [`Target::with_prometheus`].
    pub prometheus: Option<Prometheus>,
    pub audit: Audit,
    pub backup: Option<Backup>,
    /// Metrics that the drills need, checked by `target check` and by preflight.
    pub metrics: Vec<String>,
    /// `[metric]`: what the `${metric.NAME}` of policies are called here.
    pub metric: BTreeMap<String, String>,
    /// How long bring-up may take until everything is healthy.
    pub ready_within: Duration,
}

impl Target {
    /// Every series that the target says it has.
    pub fn series(&self) -> std::collections::BTreeSet<String> {
        let audited = self.audit.metrics.iter().map(|m| m.series.name.clone());
        let beating = self.services.iter().filter_map(|s| s.heartbeat.as_ref());
        let beating = beating.map(|h| h.series.name.clone());
        let named = self.metrics.iter().chain(self.metric.values()).cloned();
        named.chain(audited).chain(beating).collect()
    }
}

#[derive(Clone, Debug)]
pub enum Secret {
    /// Random hexadecimal of that many bytes, new for each run, from the seed of nothing.
    Random { bytes: u32 },
    /// Taken from the environment variable.
    Env { var: String },
    /// A fixed throw-away value, published in the file itself.
    Fixed { value: String },
}

/// Deliberate bugs that the target can be started with.
#[derive(Clone, Debug)]
pub struct Defects {
    /// Environment variable that switches one on.
    pub env: String,
    /// Services that get it.
    pub services: Vec<String>,
    pub names: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub role: Role,
    pub image: ImageSource,
    /// Arguments; of the firedrill executable where the image is `self`.
    pub command: Vec<String>,
    /// Path inside → text, put there before it starts.
    pub files: BTreeMap<String, String>,
    /// Values may hold `${secret.NAME}`, `${run.id}`.
    pub env: BTreeMap<String, String>,
    /// Port name → container port. The first service port is `main`.
    pub ports: BTreeMap<String, u16>,
    pub healthy: Healthy,
    /// Whether its log is followed.
    pub logs: bool,
    /// What shows that its metrics are kept up to date.
    pub heartbeat: Option<Heartbeat>,
    /// Lines at error level that are expected whatever happens (regular expressions).
    pub expected_errors: Vec<String>,
    /// Memory limit in bytes.
    pub memory_max: Option<u64>,
}

/// Path of metrics where a file names none.
pub const METRICS_PATH: &str = "/metrics";
/// Field of a metrics probe's samples that holds the heartbeat. No series is called so.
pub const HEARTBEAT_FIELD: &str = "@heartbeat";

/// A series that holds when a loop of the service was last alive. While it stands still, the metrics beside it
/// are those of a loop that may be dead.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Of several samples that match, the oldest counts.
    pub series: Series,
    /// Path of the metrics that it vouches for.
    pub path: String,
    /// Longest time for which it may stand still.
    pub still_max: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Redis,
    Postgres,
    Chain,
    Proxy,
    Prometheus,
    App,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// The executable that is running, with its libraries.
    Executable,
    /// `name:tag`: present, else pulled, else built from the distribution's packages by the recipe of that name.
    Named {
        reference: String,
        recipe: Option<String>,
    },
    /// A database image with the schema (SQL text) applied once at image time.
    Postgres {
        reference: String,
        recipe: Option<String>,
        database: String,
        user: String,
        password: String,
        schema: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Healthy {
    /// GET answers 200 on the port named.
    Http { port: String, path: String },
    /// PING answers PONG.
    Redis { port: String },
    /// SELECT 1 answers.
    Postgres { port: String, url: String },
    /// The port accepts a connection.
    Tcp { port: String },
}

/// How a signal is made and signed, and how the target names it.
#[derive(Clone, Debug)]
pub struct Signals {
    pub service: String,
    pub port: String,
    pub path: String,
    /// JSON text with `{source}`, `{signal_id}`, `{run}`, `{seq}` and the variables below.
    pub body: String,
    pub variables: BTreeMap<String, String>,
    pub signature_header: String,
    /// Name of the secret under which the raw body's HMAC-SHA256 is computed (lowercase hex).
    pub secret: String,
    /// Key by which the target stores a signal, with the same placeholders.
    pub key: String,
    pub deadline: Duration,
    /// JSON pointer of the answer's word (`/status`), and of its reason.
    pub word: String,
    pub reason: String,
    /// JSON pointers of what a refusal names (a field, a cap); the first that holds text counts.
    pub names: Vec<String>,
    /// What the fields of a body may hold, as far as it is known.
    pub fields: BTreeMap<String, Field>,
    /// Reasons of a 503 after which the signal may have been stored all the same.
    pub unknown_reasons: Vec<String>,
    pub max_in_flight: u32,
}

/// What a field of a signal may hold. Anything else makes the signal malformed.
#[derive(Clone, Debug)]
pub struct Field {
    /// It may be left out, or null.
    pub optional: bool,
    pub takes: Takes,
}

#[derive(Clone, Debug)]
pub enum Takes {
    /// Text of 1 to `longest` characters without control characters, that matches.
    Text {
        longest: u32,
        matches: Option<String>,
    },
    /// One of these words.
    Word { of: Vec<String> },
    /// A whole number of 64 bits.
    Integer,
    /// A finite number above zero, or from zero up.
    Number { zero: bool },
}

/// A Prometheus that scrapes the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prometheus {
    pub image: ImageSource,
    /// Pace of the scrapes, and of the rules' evaluation.
    pub scrape_every: Duration,
    /// Services that have metrics, each a scrape job of its name.
    pub services: Vec<String>,
    pub path: String,
}

/// How the database is dumped and restored: commands inside a service's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub service: String,
    pub dump: Vec<String>,
    pub restore: Vec<String>,
    /// Of each command.
    pub deadline: Duration,
}

/// Where a service shows its execution mode.
#[derive(Clone, Debug)]
pub struct ModeProbe {
    pub services: Vec<String>,
    pub path: String,
    pub pointer: String,
}

/// How the record and the chain are read for the audit.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Service of role postgres, and connection URL template (`{host}`, `{port}`).
    pub postgres: Option<(String, String)>,
    /// Fact name (`intent`, `send`, `receipt`, `execution`, `position`, `transition`) → query. Columns become keys.
    pub sql: BTreeMap<String, String>,
    /// Query whose single number is 0 once nothing is left to do.
    pub pending: Option<String>,
    /// Service of role chain and the port name of its audit API.
    pub chain: Option<(String, String)>,
    /// Words for the states of an intent.
    pub states: States,
    /// Metric (series text) → SQL that must agree with it after quiescence; `services`: summed over them.
    pub metrics: Vec<MetricEquation>,
    /// What the record and the chain must say alike.
    pub same: Vec<Agreement>,
}

#[derive(Clone, Debug, Default)]
pub struct States {
    pub terminal: Vec<String>,
    pub executed: Vec<String>,
    pub not_sent: Vec<String>,
    /// Allowed transitions.
    pub transitions: Vec<(String, String)>,
}

/// The tables that the audit's equations read, in the order in which they are read: whose a row is, is known from the
/// tables before.
pub const RECORD_ORDER: [&str; 6] = [
    "intent",
    "send",
    "receipt",
    "execution",
    "transition",
    "position",
];

/// A column of the record and a field of the chain that say the same thing.
#[derive(Clone, Debug)]
pub struct Agreement {
    pub id: String,
    pub what: String,
    /// Fact name of the record, one of the keys of `sql`.
    pub table: String,
    pub column: String,
    /// Field of the event `mined`.
    pub field: String,
}

#[derive(Clone, Debug)]
pub struct MetricEquation {
    pub id: String,
    pub series: Series,
    pub services: Vec<String>,
    pub sql: String,
}
