//! A drill: what is broken, when, and what must hold meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Heartbeat;

/// A value that may differ between the short and the full form of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByProfile<T> {
    pub quick: T,
    pub full: T,
}

impl<T: Copy> ByProfile<T> {
    pub fn at(&self, pace: Pace) -> T {
        match pace {
            Pace::Quick => self.quick,
            Pace::Full => self.full,
        }
    }
}

/// Which form of its durations a drill is run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    Quick,
    Full,
}

/// A drill (experiment): what is broken, when, and what must hold meanwhile.
#[derive(Clone, Debug)]
pub struct Drill {
    /// The file's stem.
    pub name: String,
    pub title: String,
    pub why: String,
    /// Ids of lines of the seed map.
    pub source: Vec<String>,
    pub needs: Needs,
    /// Defect name → id of the expectation that must be the one to fail.
    pub catches: BTreeMap<String, String>,
    /// Environment that the drill sets on the target's services, by service name.
    pub env: BTreeMap<String, BTreeMap<String, String>>,
    /// Number of instances per service, where it isn't one. Instances are called `webhook`, `webhook-2`, …
    pub replicas: BTreeMap<String, u32>,
    /// Background load from the first phase to the last one; phases can change its rate.
    pub load: Option<Load>,
    pub phases: Vec<Phase>,
    /// Every series of observations that the marks and expectations look at, each once.
    pub probes: Vec<Probe>,
    pub marks: Vec<Mark>,
    pub expects: Vec<Expect>,
    /// Alert rules that the stack's Prometheus loads.
    pub alerts: Option<AlertRules>,
    /// How long the system may take to finish what it accepted once the load has ended.
    pub quiesce: Duration,
}

/// A file of Prometheus rules that a drill is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRules {
    /// As the drill names it, relative to itself.
    pub file: String,
    /// Empty where a drill is only judged: what was observed of the rules stands in the journal.
    pub text: String,
}

/// What must hold before the first phase, or the drill proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// The mode that the target's mode probe must show in every service that has one.
    pub mode: Option<String>,
    /// First sends seen by the chain before the first fault.
    pub executing: Option<u64>,
    /// Signals acknowledged before the first fault.
    pub accepted: Option<u64>,
}

/// Open-loop load: signed, distinct signals at a fixed rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    pub signals_per_s: f64,
}

#[derive(Clone, Debug)]
pub struct Phase {
    pub id: String,
    /// How long the phase lasts once its faults are proven.
    pub hold: ByProfile<Duration>,
    /// Rate of the background load during this phase, where it differs.
    pub load: Option<Load>,
    /// Done in order when the phase starts, before its faults are injected.
    pub acts: Vec<Act>,
    /// Injected when the phase starts (after its acts), in order.
    pub faults: Vec<Fault>,
    /// Phase at whose end this phase's faults are healed; the phase itself unless said otherwise.
    pub until: String,
}

impl Phase {
    /// Whether the phase does anything to the system but wait and watch.
    pub fn touches(&self) -> bool {
        !self.faults.is_empty() || self.acts.iter().any(Act::touches)
    }
}

/// Something the drill does once. It is not healed.
#[derive(Clone, Debug)]
pub struct Act {
    /// Unique in the drill; given or derived (`phase/1`).
    pub id: String,
    pub kind: ActKind,
}

impl Act {
    /// Whether the act does something to the system; waiting doesn't.
    pub fn touches(&self) -> bool {
        !matches!(self.kind, ActKind::Await { .. })
    }
}

#[derive(Clone, Debug)]
pub enum ActKind {
    /// Waits until a scalar of a service's JSON has that value. It touches nothing: what follows must not
    /// depend on how quickly a machine gets there.
    Await {
        service: String,
        path: String,
        pointer: String,
        equals: String,
        within: Duration,
    },
    /// SET a key; recorded as requested before and acknowledged after.
    RedisSet {
        service: String,
        key: String,
        value: String,
    },
    /// Stop and start again (SIGTERM, then SIGKILL after the grace), and wait until healthy.
    Restart { services: Vec<String> },
    /// Remove the containers and make them anew, with that environment on top of the one of bring-up, and wait
    /// until healthy.
    Recreate {
        services: Vec<String>,
        env: BTreeMap<String, String>,
    },
    /// Dump the database as the target file says.
    Dump,
    /// Restore the drill's last dump. What was recorded after it is lost.
    Restore,
    /// An HTTP request; its status must be an expected one. Headers may hold `${secret.NAME}`.
    Http {
        service: String,
        port: Option<String>,
        method: String,
        path: String,
        headers: BTreeMap<String, String>,
        body: Option<String>,
        /// Any of these.
        status: Vec<u16>,
    },
    /// That many distinct signals at once, at most `concurrency` in flight; waits for all answers.
    Burst { count: u32, concurrency: u32 },
    /// One signal's body, sent `copies` times at once, dealt out to the services in turn (instances of a
    /// replicated service count as services). `as_act`: resend exactly what that earlier act sent.
    /// `overrides`: template variables that differ from the load's (e.g. `source`, `signal_id`).
    Duplicate {
        copies: u32,
        services: Vec<String>,
        overrides: BTreeMap<String, String>,
        as_act: Option<String>,
        /// SQL that lets the target look into its database and makes it wait before it stores, such as a lock
        /// on a table: held until copies wait at it, so that they meet for certain, seen from the server.
        meet_at: Option<String>,
    },
    /// Distinct signals with equal parameters (all but the id).
    Twins { count: u32 },
    /// Requests that are no valid signals, made from the run's seed.
    Malformed {
        class: Malformed,
        count: u32,
        overrides: BTreeMap<String, String>,
    },
}

impl ActKind {
    /// Services that the act ends and starts again.
    pub fn ends(&self) -> &[String] {
        match self {
            ActKind::Restart { services } | ActKind::Recreate { services, .. } => services,
            _ => &[],
        }
    }
}

/// What is wrong with a malformed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A signal's body under a signature that isn't its own.
    Signature,
    /// A body that isn't one JSON object.
    Body,
    /// A body that no service should have to read to its end.
    Huge,
    /// One field that isn't what the target file says of it.
    Field,
    /// A signal at a path where none is taken.
    Path,
    /// A signal by another method than POST.
    Method,
}

/// The classes' names in drill files, in the order of [`Malformed`].
pub const MALFORMED: [&str; 6] = ["signature", "body", "huge", "field", "path", "method"];

impl Malformed {
    pub const ALL: [Malformed; 6] = [
        Malformed::Signature,
        Malformed::Body,
        Malformed::Huge,
        Malformed::Field,
        Malformed::Path,
        Malformed::Method,
    ];

    /// The class of that name.
    pub fn of(name: &str) -> Option<Malformed> {
        let at = MALFORMED.iter().position(|known| *known == name)?;
        Malformed::ALL.get(at).copied()
    }
}

/// A fault: injected, proven, held, healed, healing proven.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    /// A service, or for network faults a route of the fault proxy named after the service behind it.
    pub target: String,
    /// Injected at a moment between these two after the phase's acts, drawn from the run's seed; at once if not.
    pub between: Option<(Duration, Duration)>,
}

#[derive(Clone, Debug)]
pub enum FaultKind {
    Pause,
    Kill,
    Stop,
    Restart,
    Disconnect,
    /// Writes `value`; healed by compare-and-set of any value of ours to `heal`.
    RedisSet {
        key: String,
        value: String,
        heal: String,
    },
    Latency {
        latency: Duration,
        jitter: Duration,
    },
    Bandwidth {
        bytes_per_s: u64,
    },
    /// Swallows everything.
    Timeout,
    ResetPeer,
    /// Refuses connections.
    Down,
    LimitData {
        bytes: u64,
    },
    HttpError {
        status: u16,
        retry_after: Option<Duration>,
        methods: Vec<String>,
        path: Option<String>,
        drop_response: bool,
    },
}

impl FaultKind {
    /// Names of the faults that end their target's process.
    pub const ENDING: [&str; 3] = ["kill", "stop", "restart"];

    /// Whether the fault ends its target's process.
    pub fn ends(&self) -> bool {
        Self::ENDING.contains(&self.name())
    }

    /// The name in drill files, journals and reports.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Pause => "pause",
            FaultKind::Kill => "kill",
            FaultKind::Stop => "stop",
            FaultKind::Restart => "restart",
            FaultKind::Disconnect => "disconnect",
            FaultKind::RedisSet { .. } => "redis_set",
            FaultKind::Latency { .. } => "latency",
            FaultKind::Bandwidth { .. } => "bandwidth",
            FaultKind::Timeout => "timeout",
            FaultKind::ResetPeer => "reset",
            FaultKind::Down => "down",
            FaultKind::LimitData { .. } => "limit",
            FaultKind::HttpError { .. } => "http_error",
        }
    }
}

/// A named moment: the first time that a condition holds in a phase.
#[derive(Clone, Debug)]
pub struct Mark {
    pub id: String,
    pub phase: String,
    pub observe: Observe,
}

/// An expectation (check).
#[derive(Clone, Debug)]
pub struct Expect {
    pub id: String,
    /// In words, for the report.
    pub what: String,
    /// Where the bound comes from: a seed line, or a section of the contract.
    pub source: Option<String>,
    /// A precondition that doesn't hold makes the drill INCONCLUSIVE rather than FAIL.
    pub precondition: bool,
    pub observe: Observe,
    pub when: When,
    pub coverage: Coverage,
}

/// What is looked at, and what it must be.
#[derive(Clone, Debug)]
pub enum Observe {
    /// A value sampled at a fixed pace.
    Value { probe: ProbeRef, is: Predicate },
    /// How much a sampled counter grew over the window. What can't be known from the samples (the growth
    /// between the window's edge and the sample next to it, what was counted between a sample and a
    /// restart) makes it a range, and a bound inside of that range is INCONCLUSIVE.
    Growth {
        probe: ProbeRef,
        growth: Growth,
        is: Predicate,
    },
    /// Facts matching a selector, counted; `is` applies to the count. Needs the selector's stream to
    /// have been attached throughout, or the check is INCONCLUSIVE.
    Count { facts: FactSelector, is: Predicate },
    /// Log lines that must appear in this order in one service, each after the one before.
    Sequence { facts: Vec<FactSelector> },
}

/// In which form a counter's growth is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The increase over the window.
    Total,
    /// The increase divided by the window's length in seconds.
    PerSecond,
}

/// A field of a probe's samples.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeRef {
    /// Id of a [`Probe`] in [`Drill::probes`].
    pub probe: String,
    pub field: String,
}

/// A series of observations: one request, several fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Derived from what is probed, e.g. `http:webhook:/health` or `metrics:worker`; the same text
    /// always has the same id, and expectations that look at the same thing share it.
    pub id: String,
    pub kind: ProbeKind,
    pub every: Duration,
    pub deadline: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    /// Fields: `status`, `latency_ms`, and one per JSON pointer asked for (`/execution_mode/mode`).
    Http {
        service: String,
        path: String,
        pointers: Vec<String>,
    },
    /// Fields: one per series asked for, named as written (`x_total{mode="DRY"}`): the labels given
    /// must match, series that match are summed.
    Metrics {
        service: String,
        path: String,
        series: Vec<Series>,
        /// Recorded beside them as [`super::HEARTBEAT_FIELD`].
        heartbeat: Option<Heartbeat>,
    },
    /// Field `value`: first column of the first row.
    Sql { service: String, query: String },
    /// Field `value`: result of GET.
    RedisGet { service: String, key: String },
    /// Fields: `running`, `paused`, `restarts`, `oom_killed`, and while it runs `rss_bytes`, `cpu_percent`,
    /// `threads`, `fds` (where the engine's processes can be seen from here) and, once a minute, `disk_bytes`.
    Container { service: String },
    /// The harness itself. Fields: `rss_bytes`, `fds`, `threads`, and `disk_bytes` of the run's folder.
    Harness,
    /// The background load since the sample before. Fields: `answers`, and if there were any
    /// `latency_p50_ms` and `latency_p95_ms`, from the intended time of each request.
    Load,
    /// Field `value`: what the stack's Prometheus answers to an instant query.
    Promql { query: String },
    /// Field `state` of one of the loaded alert rules: `inactive`, `pending` or `firing`; or `blind: …` where
    /// it is inactive because a series that it reads doesn't exist.
    Alert { alert: String },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// As written in the file; the field's name.
    pub text: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// Which facts.
#[derive(Clone, Debug, PartialEq)]
pub enum FactSelector {
    /// Lines of a service's log that match a regular expression.
    Log { service: String, pattern: String },
    /// First arrivals at the chain of a (sender, nonce, intent), accepted or refused. With
    /// `outcome`: only those of which the chain made this. With `signals_of`: only those of signals that were
    /// sent in one of these phases; with `origin`: only those that came from the load or the act of that id.
    ChainFirstSend {
        outcome: Option<String>,
        signals_of: Vec<String>,
        origin: Option<String>,
        fields: Vec<FieldBound>,
    },
    /// Any submission, re-sends included.
    ChainSubmission {
        outcome: Option<String>,
        signals_of: Vec<String>,
        origin: Option<String>,
        fields: Vec<FieldBound>,
    },
    /// Container events: `die`, `oom`, `restart`, `start`.
    Engine { service: String, event: String },
    /// Completed operations of the load and the acts: by state and optionally status, reason,
    /// what the answer names, and origin.
    Op {
        state: Option<String>,
        status: Option<u16>,
        detail: Option<String>,
        names: Option<String>,
        origin: Option<String>,
    },
    /// Rows collected at the end of the run under a name of the target's `[audit.sql]`, by column values.
    Row {
        table: String,
        columns: BTreeMap<String, String>,
        signals_of: Vec<String>,
        origin: Option<String>,
        fields: Vec<FieldBound>,
    },
}

/// A condition on a numeric field of a fact. A fact without that number makes the check INCONCLUSIVE:
/// it says nothing about the field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldBound {
    pub field: String,
    /// [`Predicate::Above`] or [`Predicate::Below`].
    pub is: Predicate,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    Equals(serde_json::Value),
    /// One of several values.
    OneOf(Vec<serde_json::Value>),
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    Above(f64),
    /// From the first to the second, both included. In policies.
    Between(f64, f64),
    Matches(String),
}

/// The temporal operator. Upper bounds count from proven edges, lower bounds from requested ones;
/// `Throughout` and `Never` hold over [proven start, heal requested] of their phase.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Every sample in the window satisfies the predicate; for counts: the count over the window does.
    Throughout { window: Window },
    /// At least one sample in the window does.
    Eventually { window: Window },
    /// The first satisfying sample ends no later than `bound` after `of`; with `then_throughout`, all
    /// later ones up to the end of the window of `of`'s phase satisfy it as well.
    Within {
        bound: Duration,
        of: EdgeRef,
        then_throughout: bool,
    },
    /// No satisfying sample was due before `of` + `bound` (a lower bound), looked for from `of` to the end
    /// of `window`; and one is found afterwards.
    NotBefore {
        bound: Duration,
        of: EdgeRef,
        window: Window,
    },
    /// No sample satisfies it.
    Never { window: Window },
}

/// From one phase's start to the same or a later phase's end, shifted inwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// First phase; `None`: from the start of the first phase of the drill.
    pub from: Option<String>,
    /// Last phase; `None`: to the end of quiescence.
    pub to: Option<String>,
    /// Left out at the start.
    pub grace: Duration,
}

/// A moment: `outage.proven`, `outage.heal_requested`, or a mark (`@first-read`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeRef {
    Phase { phase: String, edge: Edge },
    Mark { id: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Requested,
    Proven,
    HealRequested,
    Healed,
}

/// How much of its window a check must have seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    pub samples_min: u64,
    /// Share of the window's due observations that must hold a value, 0 to 1.
    pub share_min: f64,
    /// Largest time without a value.
    pub gap_max: Duration,
}
