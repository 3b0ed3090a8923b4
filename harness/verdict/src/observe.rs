//! What was seen of a live system under one stage of a policy, as it is stored in `verdict.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{GateItem, Outcome, TriggerFired, Verdict};

/// A stage that was watched live. Times are milliseconds since the run's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObserveVerdict {
    pub verdict: Outcome,
    pub policy: String,
    pub policy_title: String,
    pub stage: String,
    pub what: String,
    /// Label matchers by which the canary was told apart.
    pub selector: String,
    /// Where it was asked.
    pub prometheus: String,
    /// Whether commands of the policy were run (`--execute`).
    pub executed: bool,
    /// When the stage had been entered, and its watch began.
    pub began_ms: f64,
    /// From then to the last moment at which something was asked.
    pub watched_ms: f64,
    /// Rounds of questions.
    pub rounds: u64,
    /// The share of the traffic that the stage asks for, 0 to 1.
    pub asked_share: Option<f64>,
    /// The median of what was measured; `null` where nothing was.
    pub measured_share: Option<f64>,
    /// Steps that entered or left the stage.
    pub steps: Vec<StepVerdict>,
    pub items: Vec<GateItem>,
    pub triggers: Vec<TriggerFired>,
    pub rollbacks: Vec<RollbackVerdict>,
    /// The stage's items that one watch can't show: the gate judges them.
    pub left_to_gate: Vec<String>,
}

/// A roll-back that a trigger called for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackVerdict {
    pub id: String,
    pub what: String,
    /// Trigger that called for it.
    pub trigger: String,
    /// PASS only if it was carried out, each of its steps has had its effect, and in time.
    pub verdict: Outcome,
    pub observed: String,
    pub began_ms: f64,
    /// From the trigger until the last step's effect was seen, or given up.
    pub took_ms: Option<f64>,
    pub steps: Vec<StepVerdict>,
}

/// A step: its command, and what was to show its effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepVerdict {
    pub id: String,
    pub what: String,
    pub verdict: Outcome,
    /// What shows its effect, and by when.
    pub expected: String,
    pub observed: String,
    pub began_ms: f64,
    pub took_ms: f64,
}

impl Verdict {
    /// How long the run counts as one of its stage: for a live system the time in which it was watched.
    pub fn watched_ms(&self) -> u64 {
        match &self.observe {
            Some(seen) => seen.watched_ms as u64,
            None => self.run.duration_ms,
        }
    }

    /// When its stage began, in nanoseconds since the run's start.
    pub fn began_ns(&self) -> u64 {
        let began = self.observe.as_ref().map_or(0.0, |seen| seen.began_ms);
        (began * 1e6).round() as u64
    }
}
