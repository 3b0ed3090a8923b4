//! The stored event types. They are kept apart from the live types of the other crates, so that a
//! change there cannot silently change what old journals mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the journal's format. A reader refuses a journal of a later version.
pub const SCHEMA: u32 = 1;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Position in the journal, from 0, without gaps.
    pub seq: u64,
    /// Monotonic nanoseconds since the run's start at which the line was written.
    pub mono_ns: u64,
    /// Wall clock at the same moment. For people; no check reads it.
    pub wall: jiff::Timestamp,
    /// SHA-256 of the line before, newline excluded; [`crate::GENESIS`] in the first line.
    pub prev: String,
    pub event: Event,
}

/// What can happen in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    Header(Box<Header>),
    Edge(Edge),
    Op(Op),
    Sample(Sample),
    Fact(Fact),
    Stream(Stream),
    /// The harness itself did not get the processor: nothing was observed in between.
    Starved {
        from_ns: u64,
        to_ns: u64,
    },
    Part(Box<Part>),
    End(End),
}

/// The harness had died, and another one took the run up again, on a fresh stack. Between the last line
/// before and this one nothing was observed, and what the stack before held in its tables is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// 2 for the first one: the header begins the first part.
    pub number: u32,
    /// Time of the last line before.
    pub from_ns: u64,
    pub at_ns: u64,
    /// What could not be read of the part before, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// The episode that is carried out next. One that was under way is carried out anew.
    pub episode: u32,
    pub subject: Subject,
    pub argv: Vec<String>,
}

/// The first event: what was run, on what, by which command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub schema: u32,
    pub run: RunInfo,
    /// The raw text of every file that shaped the run, so that the journal can be judged again
    /// when those files have changed.
    pub documents: Vec<Document>,
    pub subject: Subject,
    /// Service name to image reference with content digest.
    pub images: BTreeMap<String, String>,
    /// Versions of the harness, the engine, the kernel.
    pub versions: BTreeMap<String, String>,
    /// The drills of the run in the order in which they are executed. A drill run has one; a soak
    /// has as many as its schedule holds.
    pub episodes: Vec<EpisodeInfo>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    pub id: String,
    pub kind: RunKind,
    /// Name of the profile: `quick`, `full`, `smoke`, …
    pub profile: String,
    pub seed: u64,
    /// Name of the target.
    pub target: String,
    /// `docker`, `compose` or `process`.
    pub runtime: String,
    pub argv: Vec<String>,
    pub started_at: jiff::Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    Drill,
    Soak,
    Observe,
}

/// A file that shaped the run, verbatim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub role: DocumentRole,
    /// Path as given; drills are told apart by it.
    pub path: String,
    pub sha256: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentRole {
    Drill,
    Target,
    Profile,
    Policy,
    /// A soak's course as it was drawn.
    Schedule,
    /// Alert rules that the stack's Prometheus loaded.
    Rules,
}

/// The exact build under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub name: String,
    /// `sha256:` and the digest of the executable or image.
    pub digest: String,
    pub version: String,
    pub git_revision: Option<String>,
    /// Whether the work tree had changes that no revision holds.
    pub dirty: Option<bool>,
    /// Name of the deliberate bug that was switched on, if any. Such a run can never pass a gate.
    pub defect: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodeInfo {
    /// Name of the drill.
    pub drill: String,
    /// Path of its document in [`Header::documents`].
    pub document: String,
}

/// A boundary in time. Phases carry `fault: None`; each fault of a phase has edges of its own.
///
/// A phase is `Proven` when all its faults are, and `Healed` when all its faults are; a phase
/// without faults is proven as soon as it starts and healed as soon as it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Index into [`Header::episodes`].
    pub episode: u32,
    pub phase: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultRef>,
    pub kind: EdgeKind,
    /// Monotonic nanoseconds since the run's start at which it happened.
    pub at_ns: u64,
    /// What was observed, independently of the call that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Of a healed fault: whether anything of the target met it. Not there where nothing counts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub felt: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FaultRef {
    /// Position in the phase's list of faults.
    pub index: u32,
    pub kind: String,
    pub target: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// The harness asked for it (taken before the call).
    Requested,
    /// An independent observation shows it (taken after the observation).
    Proven,
    /// The fault ended early, or could not be proven; the proof says how that was seen.
    Lost,
    HealRequested,
    Healed,
}

/// One operation of the load, recorded twice: when invoked and when completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// Unique in the run. Both records of an operation carry the same id.
    pub id: u64,
    pub state: OpState,
    /// When the operation should have been sent; latency counts from here.
    pub intended_ns: u64,
    /// When this record's event happened.
    pub at_ns: u64,
    /// Set on `Invoked` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalRef>,
    /// HTTP status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The answer's own word (`queued`, `duplicate`, a reason) or the transport's error; bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the answer says is wrong: a field, a cap; bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpState {
    Invoked,
    /// Acknowledged: must be accounted for.
    Ok,
    /// Refused by a definite answer: must have had no effect.
    Rejected,
    /// Never reached the target: must have had no effect.
    Failed,
    /// Timed out or cut off: may or may not have happened.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalRef {
    /// The key by which the target stores it, rendered from the target file.
    pub key: String,
    /// Keccak-256 of the key, `0x` and hex: how the chain names it.
    pub tag: String,
    /// SHA-256 of the body as sent.
    pub payload: String,
    /// Episode and phase in which it was sent.
    pub episode: u32,
    pub phase: String,
    /// Which part of the drill sent it: `load` for the background load, otherwise the id of the act.
    pub origin: String,
    /// The service that it was sent to.
    pub service: String,
    /// What is wrong with it, where it was malformed on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malformed: Option<String>,
}

/// One observation of a probe, due at a fixed time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Id of the probe, as the plan derives it from its text.
    pub probe: String,
    /// When the observation was due.
    pub due_ns: u64,
    /// How long it took from `due_ns` to its end; the value was seen at `due_ns + took_ns` at the latest.
    pub took_ns: u64,
    pub result: SampleResult,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleResult {
    /// Field name to value. A field that the answer did not hold is not in the map.
    Value(BTreeMap<String, Value>),
    /// Nothing could be observed, and why. Never to be read as zero.
    Missing(String),
}

/// Something that was found out about the world: a transaction, a row, a log line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    pub source: FactSource,
    /// What it is, within its source: `submission`, `mined`, a table's name, `line`, `oom`, …
    pub what: String,
    /// When it happened on the run's monotonic clock, as well as that can be known.
    pub at_ns: u64,
    pub keys: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactSource {
    Chain,
    Sql,
    Metric,
    Log,
    Engine,
    /// An act of the drill itself: a key written, a service restarted.
    Act,
}

/// What facts of [`FactSource::Act`] are called that the harness records of itself.
pub mod act {
    /// A soak's time begins, or goes on: `elapsed_ms` of it had passed.
    pub const BEGINS: &str = "soak_begins";
    /// A soak's time is over: its load ends, and the target may finish.
    pub const ENDS: &str = "soak_ends";
    /// The harness ends a `service` and starts it anew because a fault can't be undone otherwise: `state` is
    /// `begins` or `ended`.
    pub const FORCED: &str = "forced_heal";
    /// What must never happen, as somebody saw it who looked on.
    pub const OFFENCE: &str = "zero_tolerance";
}

/// A stream of facts that must have been attached for its silence to mean anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// `log:webhook`, `chain`, `engine`.
    pub id: String,
    pub state: StreamState,
    pub at_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    Attached,
    Gap,
    Detached,
}

/// The last event. A journal without it was cut, and cannot pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    pub reason: EndReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub at_ns: u64,
    /// Number of events per type, the header included, this one excluded.
    pub counts: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    Completed,
    /// A signal, or `--fail-fast`.
    Interrupted,
    /// The environment or the harness failed.
    Failed,
}

impl Header {
    /// The document at `path`.
    pub fn document(&self, path: &str) -> Option<&Document> {
        self.documents.iter().find(|d| d.path == path)
    }
}

impl Event {
    /// Name of the event's type, as in the stored form.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Header(_) => "header",
            Event::Edge(_) => "edge",
            Event::Op(_) => "op",
            Event::Sample(_) => "sample",
            Event::Fact(_) => "fact",
            Event::Stream(_) => "stream",
            Event::Starved { .. } => "starved",
            Event::Part(_) => "part",
            Event::End(_) => "end",
        }
    }
}
