//! Policies: what a release must have shown, and what undoes it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Predicate;

/// A gate policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub title: String,
    /// `smoke` or `release`. Only a release-class policy can say GO.
    pub class: PolicyClass,
    /// Role that owns the policy.
    pub owner: Option<String>,
    /// Version that it is about; any if it doesn't say.
    pub release: Option<String>,
    /// Names of the target files whose series it may name.
    pub targets: Vec<String>,
    /// Roles that sign.
    pub roles: Vec<String>,
    /// Variable name → the series' name, unless a target's `[metric]` gives another.
    pub metrics: BTreeMap<String, String>,
    pub canary: Option<Canary>,
    pub requires: Requires,
    pub rules: Vec<Rule>,
    pub triggers: Vec<Trigger>,
    pub stages: Vec<Stage>,
    pub checkpoints: Vec<Checkpoint>,
    pub groups: Vec<Group>,
    pub drills: Vec<DrillItem>,
    pub audits: Vec<AuditItem>,
    pub configs: Vec<Config>,
    pub evidence: Vec<Evidence>,
    pub imports: Vec<Import>,
    pub attest: Vec<Attest>,
    pub signatures: Option<Signatures>,
    pub rollbacks: Vec<Rollback>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyClass {
    Smoke,
    Release,
}

#[derive(Clone, Debug, Default)]
pub struct Requires {
    /// Drills that must have passed.
    pub drills: Vec<String>,
    /// Profile that the run must have had; `None`: any.
    pub profile: Option<String>,
    pub runtime: Option<String>,
    /// Whether a work tree with uncommitted changes is acceptable.
    pub allow_dirty: bool,
    /// Evidence older than this is refused.
    pub fresh_within: Option<Duration>,
}

/// How the canary's own series are told apart, and how often they are looked at.
#[derive(Clone, Debug)]
pub struct Canary {
    /// Label matchers: what `${canary}` stands for.
    pub selector: String,
    /// Expression of the measured share of the traffic.
    pub share: Option<String>,
    /// How far that may be from a stage's weight.
    pub tolerance: f64,
    pub every: Duration,
    pub scrape: Duration,
    pub source: Vec<String>,
}

/// Which stages an item belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stages {
    /// No stage: every usable run is looked at.
    #[default]
    None,
    /// Each stage for itself.
    All,
    Of(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Warning,
    Critical,
    ZeroTolerance,
}

impl Class {
    pub fn word(self) -> &'static str {
        match self {
            Class::Warning => "warning",
            Class::Critical => "critical",
            Class::ZeroTolerance => "zero-tolerance",
        }
    }
}

/// Which part of a run's time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Outside fault windows.
    Quiet,
    /// Within them.
    Fault,
    All,
}

/// What a number is taken from.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// A figure of the verdict or of the gate.
    Figure(String),
    /// Recorded values of an expression.
    Expr(String),
    /// Unexpected lines per minute at that level.
    Log(String),
    /// An import, by its id.
    Import(String),
    /// Other items.
    AllOf(Vec<String>),
    /// A setting that the target reports, by name.
    Setting(String),
    /// A field of a probe that was recorded.
    Probe { id: String, field: String },
    /// A person pulls it; the role.
    Manual(String),
    /// Something that the gate itself knows.
    Gate(String),
    /// Nothing can show it yet, and why.
    Missing(String),
}

/// Number of events that must stand behind a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    pub expr: String,
    pub min: f64,
}

/// A bound on a measure over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    pub measure: Measure,
    /// For a rule what must hold, for a trigger what makes it fire. `None` where the measure has no value.
    pub is: Option<Predicate>,
    /// How long it must last to count (`for`).
    pub lasts: Duration,
    /// How much longer until it acts.
    pub grace: Duration,
    pub min_samples: u64,
    pub volume: Option<Volume>,
    pub scope: Scope,
    /// Least share of the time that the scope leaves.
    pub quiet_min: f64,
    /// A stage or `accepted`: bounds are multiples of the median there.
    pub baseline: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub class: Class,
    pub stages: Stages,
    pub checkpoint: Option<String>,
    pub criterion: Criterion,
}

#[derive(Clone, Debug)]
pub struct Trigger {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub class: Class,
    pub stages: Stages,
    pub criterion: Criterion,
    /// Acts by itself; otherwise it asks a person.
    pub acts: bool,
    pub rollback: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Stage {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    /// Percent of the traffic.
    pub weight: Option<f64>,
    pub hold: Option<Duration>,
    pub hold_max: Option<Duration>,
    /// Left out at its start.
    pub settle: Duration,
    pub budget: Option<Duration>,
    pub ready_within: Option<Duration>,
    pub requires: Vec<String>,
    pub inherits: Vec<String>,
    /// Profile of the runs that are its evidence.
    pub profile: String,
    pub fresh_within: Option<Duration>,
    pub retry_embargo: Option<Duration>,
    /// Least share of the time that was watched.
    pub coverage: f64,
    pub enter: Vec<Step>,
    pub exit: Vec<Step>,
}

/// A command and what shows its effect.
#[derive(Clone, Debug)]
pub struct Step {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    /// Arguments, no shell; empty: only the check.
    pub run: Vec<String>,
    /// The step whose effect this is another way to.
    pub alternative: Option<String>,
    pub verify: Verify,
}

#[derive(Clone, Debug)]
pub struct Verify {
    pub how: VerifyBy,
    pub is: Option<Predicate>,
    pub within: Duration,
}

#[derive(Clone, Debug)]
pub enum VerifyBy {
    Expr(String),
    Run(Vec<String>),
    Rules(Vec<String>),
}

#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub stage: String,
    pub at: Duration,
    pub window: Duration,
    pub then_throughout: bool,
}

#[derive(Clone, Debug)]
pub struct Group {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    /// How many of `of` must hold.
    pub need: usize,
    pub of: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct DrillItem {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub stages: Stages,
    pub how: DrillBy,
    pub fresh_within: Option<Duration>,
}

#[derive(Clone, Debug)]
pub enum DrillBy {
    /// A drill of the catalogue.
    Drill(String),
    Run(Vec<String>),
    Missing(String),
}

#[derive(Clone, Debug)]
pub struct AuditItem {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub stages: Stages,
    pub checkpoint: Option<String>,
    /// The equation, or why there is none.
    pub equation: Result<String, String>,
    pub min_samples: u64,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub stages: Stages,
    pub measure: Measure,
    pub is: Option<Predicate>,
}

#[derive(Clone, Debug)]
pub struct Evidence {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub stages: Stages,
    pub after: After,
    pub by: EvidenceBy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceBy {
    /// File of the run's folder.
    File(String),
    /// JSON pointer into the run's verdict.
    Field(String),
    /// JSON pointer into the gate's decision.
    Decision(String),
    Import(String),
}

#[derive(Clone, Debug)]
pub struct Import {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub stages: Stages,
    /// JSON pointer of the value; `None`: a JUnit file.
    pub json: Option<String>,
    pub samples: Option<String>,
    pub revision: Option<String>,
    pub is: Option<Predicate>,
    pub min_samples: u64,
}

#[derive(Clone, Debug)]
pub struct Attest {
    pub id: String,
    pub text: String,
    pub role: String,
    pub source: Vec<String>,
    pub stage: Option<String>,
    pub requires: Vec<String>,
    pub after: After,
    pub due: Option<Duration>,
    /// Document whose digest the signature must name.
    pub shows: Option<String>,
}

/// Whose signatures over the evidence are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// How many of the roles, each by another person with another key.
    pub need: usize,
    pub of: Vec<String>,
}

/// When a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Always,
    /// Once a trigger has fired.
    Trigger,
    /// Once the release had a NO-GO.
    NoGo,
}

#[derive(Clone, Debug)]
pub struct Rollback {
    pub id: String,
    pub what: String,
    pub source: Vec<String>,
    pub on: StartedBy,
    pub positions: Positions,
    pub role: Option<String>,
    pub rehearsed_within: Option<Duration>,
    pub within: Option<Duration>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartedBy {
    Any,
    Critical,
    Manual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    Close,
    Keep,
}

/// A waiver: an item that doesn't block, by whose word and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    pub item: String,
    pub policy: String,
    pub reason: String,
    pub approver: String,
    /// RFC 3339.
    pub expires: String,
}

/// What a person has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub item: String,
    pub subject: String,
    pub name: String,
    pub role: String,
    /// RFC 3339.
    pub date: String,
    pub note: Option<String>,
    pub evidence: Option<String>,
}

impl Policy {
    /// The expression as a metrics server takes it: variables filled in, the target's names first.
    ///
    /// # Errors
    /// A variable that has no value.
    pub fn render(
        &self,
        expr: &str,
        target: &BTreeMap<String, String>,
    ) -> Result<String, crate::UnknownPlaceholder> {
        let mut vars = BTreeMap::new();
        for (name, default) in &self.metrics {
            let value = target.get(name).unwrap_or(default);
            vars.insert(format!("metric.{name}"), value.clone());
        }
        if let Some(canary) = &self.canary {
            vars.insert("canary".to_owned(), canary.selector.clone());
        }
        crate::render(expr, &vars)
    }

    /// Every expression of the policy, as it is written, each once.
    pub fn expressions(&self) -> Vec<&str> {
        let criteria = self
            .rules
            .iter()
            .map(|r| &r.criterion)
            .chain(self.triggers.iter().map(|t| &t.criterion));
        let mut all: Vec<&str> = Vec::new();
        for criterion in criteria {
            if let Measure::Expr(expr) = &criterion.measure {
                all.push(expr);
            }
            all.extend(criterion.volume.as_ref().map(|v| v.expr.as_str()));
        }
        for config in &self.configs {
            if let Measure::Expr(expr) = &config.measure {
                all.push(expr);
            }
        }
        all.extend(self.canary.as_ref().and_then(|c| c.share.as_deref()));
        let steps = self
            .stages
            .iter()
            .flat_map(|s| s.enter.iter().chain(&s.exit))
            .chain(self.rollbacks.iter().flat_map(|r| &r.steps));
        all.extend(steps.filter_map(|s| match &s.verify.how {
            VerifyBy::Expr(expr) => Some(expr.as_str()),
            _ => None,
        }));
        all.sort_unstable();
        all.dedup();
        all
    }

    pub fn stage(&self, id: &str) -> Option<&Stage> {
        self.stages.iter().find(|s| s.id == id)
    }
}

impl Measure {
    /// Id of the recorded probe and the field of its samples that holds the value, where it is a series.
    /// An expression's series is named after its text as written: an edited one is another series.
    pub fn series(&self) -> Option<(String, String)> {
        let value = || "value".to_owned();
        match self {
            Measure::Expr(expr) => Some((format!("promql:{expr}"), value())),
            Measure::Log(level) => Some((format!("log:{level}"), value())),
            Measure::Setting(name) => Some((format!("setting:{name}"), value())),
            Measure::Probe { id, field } => Some((id.clone(), field.clone())),
            _ => None,
        }
    }
}
