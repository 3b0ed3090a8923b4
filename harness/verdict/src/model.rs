//! The verdict as it is stored in `verdict.json`: the one struct from which every number in every
//! report comes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observe::ObserveVerdict;
use crate::soak::SoakVerdict;

/// Version of the format of `verdict.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// The three values, in their one order: FAIL > INCONCLUSIVE > PASS.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Pass,
    Inconclusive,
    Fail,
}

impl Outcome {
    /// The worst of several; of none at all it is INCONCLUSIVE, for nothing was judged.
    pub fn worst(all: impl IntoIterator<Item = Outcome>) -> Outcome {
        all.into_iter().max().unwrap_or(Outcome::Inconclusive)
    }

    /// As it stands on the verdict line.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "PASS",
            Outcome::Inconclusive => "INCONCLUSIVE",
            Outcome::Fail => "FAIL",
        }
    }
}

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    pub schema_version: u32,
    pub run: Run,
    pub subject: Subject,
    pub verdict: Outcome,
    /// Why it is not PASS, worst first; empty if it is.
    pub reasons: Vec<String>,
    pub drills: Vec<DrillVerdict>,
    pub audit: AuditVerdict,
    /// The soak as a whole; a drill run has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<SoakVerdict>,
    /// What was seen of a live system under a policy's stage; only `observe` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe: Option<ObserveVerdict>,
    /// Figures of the load over the whole run.
    pub load: LoadFigures,
    /// What is drawn in the report; derived from the journal like everything else.
    pub timeline: Timeline,
    /// SHA-256 of the journal's last trusted line.
    pub journal_head: String,
    /// What this run did not exercise, in words.
    pub not_exercised: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    pub id: String,
    /// `drill`, `soak` or `observe`.
    pub kind: String,
    pub profile: String,
    pub seed: u64,
    pub target: String,
    pub runtime: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Wall clock of the journal's last trusted line, RFC 3339, UTC.
    pub ended_at: String,
    /// Milliseconds between the two on the monotonic clock.
    pub duration_ms: u64,
    /// SHA-256 per document (path) that shaped the run.
    pub documents: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    pub name: String,
    pub digest: String,
    pub version: String,
    pub git_revision: Option<String>,
    pub dirty: Option<bool>,
    pub defect: Option<String>,
}

/// One drill (in a soak: one episode).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillVerdict {
    /// Index of the episode in the run.
    pub episode: u32,
    pub name: String,
    pub title: String,
    pub verdict: Outcome,
    pub reasons: Vec<String>,
    /// What had to be so before the drill first touched the system.
    pub needs: Vec<NeedVerdict>,
    pub faults: Vec<FaultVerdict>,
    pub checks: Vec<CheckVerdict>,
    /// From the last fault's proven heal until every recovery check was satisfied; `null` if there
    /// was no fault or no such check.
    pub recovery_ms: Option<u64>,
    /// What the drill allows for it: the longest bound of its recovery checks; `null` if it has none.
    #[serde(default)]
    pub recovery_budget_ms: Option<u64>,
    /// The smallest margin of its checks, as a share of the bound; `null` where no check has one.
    pub worst_margin: Option<f64>,
}

/// A precondition of the drill: INCONCLUSIVE where it doesn't hold, for then nothing was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NeedVerdict {
    /// `mode`, `accepted`, `executing`.
    pub what: String,
    pub verdict: Outcome,
    pub expected: String,
    pub observed: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultVerdict {
    pub phase: String,
    pub kind: String,
    pub target: String,
    /// Milliseconds since the run's start.
    pub requested_at: Option<f64>,
    pub proven_at: Option<f64>,
    pub heal_requested_at: Option<f64>,
    pub healed_at: Option<f64>,
    pub proof: Option<String>,
    /// Whether anything of the target met it; `null` where nothing counts that, and where the fault wasn't
    /// in force from its proof to its healing. `false` is then all that is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub felt: Option<bool>,
    pub verdict: Outcome,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckVerdict {
    pub id: String,
    pub what: String,
    /// Where the bound comes from.
    pub source: Option<String>,
    pub precondition: bool,
    pub verdict: Outcome,
    /// In words, from the plan.
    pub expected: String,
    /// In words: what was seen, or what was missing.
    pub observed: String,
    /// The worst value seen, in the check's own unit.
    pub worst: Option<f64>,
    /// (bound − worst) / bound for upper bounds, (worst − bound) / bound for lower ones; `null` for
    /// checks without a bound (equality, order).
    pub margin: Option<f64>,
    pub samples: u64,
    /// Share of the due observations that held a value, 0 to 1; `null` for checks on facts.
    pub coverage: Option<f64>,
    /// Largest time without a value.
    pub largest_gap_ms: Option<f64>,
    /// Milliseconds since the run's start at which the check was decided or violated.
    pub at_ms: Option<f64>,
    /// Sequence numbers of the journal lines that decide it (at most 20).
    pub evidence: Vec<u64>,
}

/// The reconciliation of what was sent with the record and the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerdict {
    pub verdict: Outcome,
    pub reasons: Vec<String>,
    /// Signals sent, by what became of the request.
    pub accepted: u64,
    pub rejected: u64,
    pub unknown: u64,
    pub failed: u64,
    /// Intents by final state.
    pub states: BTreeMap<String, u64>,
    pub first_sends: u64,
    pub mined: u64,
    /// What restores of the record lost, where there were any: not held against the target, and never silent.
    pub lost_by_restore: Option<LostByRestore>,
    /// One per equation of the audit.
    pub checks: Vec<AuditCheck>,
}

/// What lies between a dump and its restore, and is in the record no longer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LostByRestore {
    pub restores: u64,
    /// When the first dump began, milliseconds since the run's start.
    pub dumped_at_ms: f64,
    /// When the last restore was done.
    pub restored_at_ms: f64,
    /// Acknowledged signals without an intent.
    pub signals: u64,
    /// Transactions that the chain accepted and the record doesn't hold.
    pub transactions: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditCheck {
    /// `lost`, `duplicates`, `stop-discipline`, `transitions`, `chain-in-record`, …
    pub id: String,
    pub what: String,
    pub verdict: Outcome,
    /// How many things were compared.
    pub samples: u64,
    pub violations: u64,
    pub observed: String,
    /// The smallest offending slice: a signal, its operations, its transactions, in order.
    pub slice: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadFigures {
    pub sent: u64,
    pub ok: u64,
    pub rejected: u64,
    pub failed: u64,
    pub unknown: u64,
    /// Requests that were not sent since too many were in flight.
    pub shed: u64,
    /// Latency of acknowledged requests from their intended time, milliseconds.
    pub latency_ms: Option<Percentiles>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// Series over one common time axis, in at most 600 bins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// Milliseconds.
    pub start_ms: f64,
    pub end_ms: f64,
    pub bin_ms: f64,
    /// `null` where nothing was observed: a gap is drawn as a gap.
    pub series: Vec<TimelineSeries>,
    pub windows: Vec<TimelineWindow>,
    /// Stretches of categorical values (mode DRY / LIVE).
    pub states: Vec<TimelineStates>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineSeries {
    /// `acknowledged/s`, `refused/s`, `errors/s`, `first sends/s`, `latency p95 (ms)`.
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// A phase or a fault as a window on the time axis, milliseconds since the run's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineWindow {
    pub episode: u32,
    pub phase: String,
    /// `None` for a phase without faults.
    pub fault: Option<String>,
    pub requested: f64,
    pub proven: Option<f64>,
    pub heal_requested: Option<f64>,
    pub healed: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineStates {
    /// `mode of worker`.
    pub name: String,
    pub spans: Vec<TimelineSpan>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineSpan {
    pub from_ms: f64,
    pub to_ms: f64,
    /// The value, or `null` where it was not observed.
    pub value: Option<String>,
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// Said by policies of class release only.
    Go,
    NoGo,
    /// A smoke policy's PASS: it is no GO.
    SmokePass,
    SmokeFail,
    Inconclusive,
}

/// The gate's decision about a subject under a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateDecision {
    pub schema_version: u32,
    pub policy: String,
    pub policy_title: String,
    pub policy_sha256: String,
    /// `smoke` or `release`.
    pub class: String,
    /// Version that the policy is about.
    pub release: Option<String>,
    /// RFC 3339, UTC.
    pub decided_at: String,
    /// The stage up to which it was decided; the whole policy if it is `null`.
    pub stage: Option<String>,
    /// Digest asked for.
    pub subject: String,
    pub outcome: GateOutcome,
    /// The first line of every output: `GO`, `NO-GO`, `INCONCLUSIVE`, `SMOKE PASS`, `SMOKE FAIL`, …
    pub headline: String,
    pub reasons: Vec<String>,
    pub items: Vec<GateItem>,
    /// Runs looked at, with manifest digests.
    pub evidence: Vec<GateEvidence>,
    /// The policy's stages, in order.
    pub stages: Vec<StageDecision>,
    /// Triggers that would have fired, when.
    pub triggers: Vec<TriggerFired>,
    /// Waivers that were used, and those that were not and why, in full.
    pub waivers: Vec<String>,
    /// Who has confirmed what.
    pub signed: Vec<SignedItem>,
    /// Roles that sign.
    pub roles: Vec<String>,
    /// The signatures over the evidence, by role.
    #[serde(default)]
    pub signatures: Vec<RoleSignature>,
}

/// A role that signs the evidence, and whether it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleSignature {
    pub role: String,
    pub counts: bool,
    pub signer: Option<String>,
    /// RFC 3339, by the signer's clock.
    pub signed_at: Option<String>,
    /// Fingerprint of the key.
    pub key: Option<String>,
    /// Why it doesn't count.
    pub why: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateItem {
    /// Required drill, rule, attestation item or property of the evidence.
    pub id: String,
    pub what: String,
    pub verdict: Outcome,
    pub expected: String,
    pub observed: String,
    pub source: Option<String>,
    /// It doesn't block: it was waived, or it counts through its group only.
    #[serde(default)]
    pub passed_over: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageDecision {
    pub id: String,
    pub what: String,
    /// Of its own items and of the stages that it requires.
    pub verdict: Outcome,
    /// Runs that were its evidence.
    pub runs: Vec<String>,
}

/// A trigger that a live gate would have seen firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerFired {
    pub id: String,
    /// `critical`, `warning` or `zero-tolerance`.
    pub class: String,
    pub stage: Option<String>,
    pub run: String,
    /// Milliseconds since the run's start; `null` for what is known at its end only.
    pub at_ms: Option<f64>,
    /// When its bound had been broken for `for` and `grace`, counted from the first sample that shows it.
    #[serde(default)]
    pub due_ms: Option<f64>,
    /// When the harness that watched saw it; `null` where nobody watched as it happened.
    #[serde(default)]
    pub seen_ms: Option<f64>,
    /// From the one to the other: how long it took to see it.
    #[serde(default)]
    pub late_ms: Option<f64>,
    /// `at_ms` on the wall clock, RFC 3339.
    pub fired_at: Option<String>,
    pub value: Option<f64>,
    pub observed: String,
    /// The roll-back that it starts; `null` where it asks a person.
    pub rollback: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedItem {
    pub item: String,
    pub name: String,
    pub role: String,
    pub date: String,
    pub note: Option<String>,
    pub evidence: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateEvidence {
    pub run: String,
    pub manifest_sha256: String,
    pub verdict: Outcome,
    pub profile: String,
    pub subject: String,
}
