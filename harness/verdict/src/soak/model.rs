//! What `verdict.json` says of a soak as a whole.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Outcome;

/// The soak as a whole, beside its drills.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SoakVerdict {
    pub verdict: Outcome,
    /// Why it is not PASS, worst first.
    pub reasons: Vec<String>,
    /// From the first drill or the first sample of a watch to the end of the load.
    pub duration_ms: f64,
    /// Outside of faults, acts and their settle time.
    pub quiet_ms: f64,
    /// Share of the quiet time, 0 to 1; `null` of no time.
    pub quiet_share: Option<f64>,
    /// What is left out after a disturbance.
    pub settle_ms: f64,
    pub faults: u64,
    pub faults_proven: u64,
    pub intents: IntentShares,
    /// What could be said at each checkpoint.
    #[serde(default)]
    pub checkpoints: Vec<CheckpointVerdict>,
    /// Of a build with a deliberate bug: whether the watch that must see it did.
    #[serde(default)]
    pub caught: Option<Caught>,
    /// One per series that the profile watches.
    pub watches: Vec<WatchVerdict>,
    /// Stretches that aren't quiet, milliseconds since the run's start, settle time included.
    pub disturbed: Vec<[f64; 2]>,
}

/// The state of the soak when it had come that far, by what had been recorded until then. Drift is judged at the
/// end only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointVerdict {
    /// Of the soak's own time: without what passed between its parts.
    pub at_ms: f64,
    /// Milliseconds since the run's start; `null` if the soak didn't come so far.
    pub run_ms: Option<f64>,
    pub verdict: Outcome,
    /// Why it is not PASS, worst first.
    pub reasons: Vec<String>,
    /// Answers so far.
    pub accepted: u64,
    pub rejected: u64,
    pub unknown: u64,
    /// First arrivals at the chain, and transactions mined.
    pub first_sends: u64,
    pub mined: u64,
    /// What must never happen, and had happened.
    pub offences: u64,
    /// Watches, and those whose bounds and coverage held in the quiet time so far.
    pub watches: u64,
    pub watches_within: u64,
}

/// A deliberate bug, and the watch that the profile names for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caught {
    pub defect: String,
    pub watch: String,
    /// Whether that watch failed.
    pub failed: bool,
}

/// What became of the intents that stand in the record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IntentShares {
    pub total: u64,
    /// In a state in which the trade was executed.
    pub executed: u64,
    /// `null` of no intents.
    pub executed_share: Option<f64>,
    /// The others, by final state and the reason that stands with it.
    pub rest: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchVerdict {
    pub id: String,
    pub what: String,
    /// Where the bounds come from.
    pub source: Option<String>,
    pub verdict: Outcome,
    /// In words, from the profile.
    pub expected: String,
    /// In words: what was seen, or what was missing.
    pub observed: String,
    /// Samples with a value in the quiet time.
    pub samples: u64,
    /// Share of the quiet time's due samples that held a value, 0 to 1; `null` of no quiet time.
    pub coverage: Option<f64>,
    /// Largest stretch of quiet time without a value.
    pub largest_gap_ms: Option<f64>,
    /// The smallest and the largest quiet sample.
    pub least: Option<f64>,
    pub most: Option<f64>,
    /// `null` where no limit is asked for.
    pub drift: Option<DriftVerdict>,
    /// Milliseconds since the run's start, and the length of a bin.
    pub bins_from_ms: f64,
    pub bin_ms: f64,
    /// `null` where nothing quiet was observed: a gap is drawn as a gap.
    pub bins: Vec<Option<f64>>,
    /// Sequence numbers of the journal lines that violate a bound (at most 20).
    pub evidence: Vec<u64>,
}

/// Whether a series is on its way to its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftVerdict {
    pub verdict: Outcome,
    pub limit: f64,
    /// Hours from the soak's end within which the limit must not be reached.
    pub horizon_h: f64,
    /// How far of that a soak of its length could see: for so long it is ruled out.
    #[serde(default)]
    pub sight_h: f64,
    pub slope_per_h: Option<Interval>,
    /// Change of the level from fault to fault.
    pub shift_per_fault: Option<Interval>,
    /// The level at the soak's end by the fitted line.
    pub level: Option<f64>,
    /// From the soak's end; `null` if the series doesn't go there.
    pub hours_to_limit: Option<f64>,
}

/// An estimate with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// One-sided, towards the limit: of the slope, and of Mann–Kendall on the prewhitened series.
    pub p: f64,
    pub p_kendall: f64,
    /// How many independent bins would say as much.
    pub effective_samples: f64,
}
