//! The gate: from a policy and what runs recorded to a decision about a subject.
//!
//! Only the best evidence counts for, and the worst counts against: a FAIL of any run of the subject
//! blocks, whatever passed elsewhere. What nothing shows is INCONCLUSIVE, and that blocks as well.

mod effects;
mod figures;
mod given;
mod items;
mod live;
pub(crate) mod observed;
mod people;
mod runs;
mod series;
mod settings;
mod signatures;
mod stages;

use std::collections::BTreeMap;

use firedrill_plan::{Policy, PolicyClass, Signed, Stage, Stages, Waiver};
use serde_json::Value;

use crate::compare::Baseline;
use crate::model::{
    GateDecision, GateEvidence, GateItem, GateOutcome, Outcome, RoleSignature, SCHEMA_VERSION,
    TriggerFired, Verdict,
};
pub use effects::unmet;
pub use live::{Armed, questions, rollback_of};
pub use series::{Point, Recorded, SeriesSource};
pub use signatures::{Attested, SignedBy};

/// The figures that a rule can name; `<…>` stands for a name.
pub const FIGURES: &[(&str, &str)] = &[
    ("audit.accepted", "signals acknowledged as new"),
    (
        "audit.<equation>",
        "violations of an equation of the audit, e.g. `audit.lost`",
    ),
    ("load.sent", "requests sent"),
    ("load.ok", "requests acknowledged"),
    ("load.rejected", "requests refused by a definite answer"),
    ("load.failed", "requests that never reached the target"),
    ("load.unknown", "requests without an answer"),
    (
        "load.shed",
        "requests not sent, since too many were in flight",
    ),
    (
        "load.error_share",
        "failed and unknown requests as a share of those sent",
    ),
    (
        "latency.p50",
        "milliseconds from the intended time of sending, median",
    ),
    ("latency.p95", "the same, 95th percentile"),
    ("latency.p99", "the same, 99th percentile"),
    ("latency.max", "the same, worst"),
    (
        "drill.<name>.recovery_ms",
        "milliseconds from proven heal to recovery",
    ),
    (
        "drill.<name>.worst_margin",
        "smallest margin of a drill's checks, as a share of the bound",
    ),
    (
        "baseline.regressions",
        "figures that are significantly and largely worse than the accepted run's",
    ),
    (
        "triggers.critical",
        "critical and zero-tolerance triggers of the policy that fired",
    ),
    (
        "triggers.warning",
        "warning triggers of the policy that fired",
    ),
    (
        "rollback.seconds",
        "seconds from the first step of the roll-back to the last one verified",
    ),
    (
        "series.largest_gap_scrapes",
        "largest time without a value of any series that the policy names, in steps",
    ),
];

/// A run as the gate gets it.
#[derive(Clone, Debug)]
pub struct GateRun {
    pub manifest_sha256: String,
    /// Whether the run's folder is as its manifest says.
    pub sealed: Result<(), String>,
    /// Judged again from the journal by the caller.
    pub verdict: Verdict,
    /// Files that the manifest lists.
    pub files: Vec<String>,
    /// The series that the policy asks for.
    pub recorded: Recorded,
}

/// What another tool has shown.
#[derive(Clone, Debug)]
pub struct Imported {
    pub sha256: String,
    /// Revision that it is about, where the file or its giver says so.
    pub revision: Option<String>,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Junit {
        tests: u64,
        failed: u64,
        skipped: u64,
    },
    Json(Value),
}

/// A NO-GO that was said before.
#[derive(Clone, Debug)]
pub struct NoGo {
    pub policy: String,
    pub release: Option<String>,
    pub decided_at: jiff::Timestamp,
}

/// Evidence that should be there and isn't, or can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// A run, a folder, a file.
    pub of: String,
    pub why: String,
}

/// What the decision takes into account besides the runs.
#[derive(Clone, Debug, Default)]
pub struct Around {
    pub signed: Vec<Signed>,
    pub attested: Vec<Attested>,
    pub lacks: Vec<Lack>,
    pub waivers: Vec<Waiver>,
    pub imports: BTreeMap<String, Imported>,
    pub no_gos: Vec<NoGo>,
    /// The accepted run, with which others are compared.
    pub accepted: Option<Recorded>,
    /// The figures of accepted runs, one for each kind of run.
    pub baselines: Vec<Baseline>,
    /// Only up to this stage.
    pub stage: Option<String>,
}

/// The policy, the evidence, and when.
struct Cx<'a> {
    policy: &'a Policy,
    policy_sha256: &'a str,
    subject: &'a str,
    usable: Vec<&'a GateRun>,
    around: &'a Around,
    now: jiff::Timestamp,
}

/// Decides about `subject` (its digest) at `now`.
pub fn gate(
    policy: &Policy,
    policy_sha256: &str,
    subject: &str,
    runs: &[GateRun],
    around: &Around,
    now: jiff::Timestamp,
) -> GateDecision {
    let needs = &policy.requires;
    let cx = Cx {
        policy,
        policy_sha256,
        subject,
        usable: runs
            .iter()
            .filter(|r| runs::eligible(needs, subject, r, now))
            .collect(),
        around,
        now,
    };
    let mut items = cx.evidence(runs);
    let drills = policy.requires.drills.iter();
    items.extend(drills.map(|d| runs::required_drill(d, &cx.usable)));
    let mut fired = Vec::new();
    items.extend(cx.triggers(&mut fired));
    items.extend(cx.rules(&fired));
    items.extend(cx.drills());
    items.extend(cx.audits());
    items.extend(cx.configs());
    items.extend(cx.imports());
    items.extend(cx.documents(&fired));
    items.extend(cx.stage_items());
    items.extend(cx.rollbacks(&fired));
    let derived = cx.derived(&items);
    items.extend(derived);
    cx.groups(&mut items);
    let confirmed = cx.confirmed(&items, &fired);
    items.extend(confirmed);
    let signatures = cx.role_signatures();
    items.extend(cx.signed_enough(&signatures));
    let waived = cx.waive(&mut items);
    decide(&cx, runs, items, fired, (waived, signatures))
}

fn decide(
    cx: &Cx<'_>,
    runs: &[GateRun],
    items: Vec<GateItem>,
    triggers: Vec<TriggerFired>,
    (waivers, signatures): (Vec<String>, Vec<RoleSignature>),
) -> GateDecision {
    let policy = cx.policy;
    let blocking = items.iter().filter(|i| !i.passed_over);
    let worst = Outcome::worst(blocking.map(|i| i.verdict));
    let (class, outcome, headline) = match (policy.class, worst) {
        (PolicyClass::Smoke, Outcome::Pass) => ("smoke", GateOutcome::SmokePass, "SMOKE PASS"),
        (PolicyClass::Smoke, Outcome::Fail) => ("smoke", GateOutcome::SmokeFail, "SMOKE FAIL"),
        (PolicyClass::Release, Outcome::Pass) => ("release", GateOutcome::Go, "GO"),
        (PolicyClass::Release, Outcome::Fail) => ("release", GateOutcome::NoGo, "NO-GO"),
        (PolicyClass::Smoke, Outcome::Inconclusive) => {
            ("smoke", GateOutcome::Inconclusive, "INCONCLUSIVE")
        }
        (PolicyClass::Release, Outcome::Inconclusive) => {
            ("release", GateOutcome::Inconclusive, "INCONCLUSIVE")
        }
    };
    let mut bad: Vec<&GateItem> = items
        .iter()
        .filter(|i| i.verdict != Outcome::Pass && !i.passed_over)
        .collect();
    bad.sort_by_key(|i| std::cmp::Reverse(i.verdict));
    let reasons = bad
        .iter()
        .map(|i| format!("{} {}: {}", i.verdict.word(), i.id, i.observed))
        .collect();
    GateDecision {
        schema_version: SCHEMA_VERSION,
        policy: policy.name.clone(),
        policy_title: policy.title.clone(),
        policy_sha256: cx.policy_sha256.to_owned(),
        class: class.to_owned(),
        release: policy.release.clone(),
        decided_at: cx.now.to_string(),
        stage: cx.around.stage.clone(),
        subject: cx.subject.to_owned(),
        outcome,
        headline: headline.to_owned(),
        reasons,
        evidence: runs.iter().map(evidence).collect(),
        stages: cx.stages(&items),
        triggers,
        waivers,
        signed: cx.signed(),
        roles: policy.roles.clone(),
        signatures,
        items,
    }
}

fn evidence(run: &GateRun) -> GateEvidence {
    GateEvidence {
        run: run.verdict.run.id.clone(),
        manifest_sha256: run.manifest_sha256.clone(),
        verdict: run.verdict.verdict,
        profile: run.verdict.run.profile.clone(),
        subject: run.verdict.subject.digest.clone(),
    }
}

fn item(id: &str, what: &str, verdict: Outcome) -> GateItem {
    GateItem {
        id: id.to_owned(),
        what: what.to_owned(),
        verdict,
        expected: String::new(),
        observed: String::new(),
        source: None,
        passed_over: false,
    }
}

impl GateItem {
    fn expected(mut self, words: impl Into<String>) -> Self {
        self.expected = words.into();
        self
    }

    fn observed(mut self, words: impl Into<String>) -> Self {
        self.observed = words.into();
        self
    }

    fn source(mut self, lines: &[String]) -> Self {
        self.source = (!lines.is_empty()).then(|| lines.join(", "));
        self
    }

    /// The policy's own id: what stands before the stage.
    fn base(&self) -> &str {
        self.id
            .split_once('@')
            .map_or(self.id.as_str(), |(id, _)| id)
    }

    fn of_stage(&self, stage: &str) -> bool {
        let own = self.id.strip_prefix("stage ");
        own == Some(stage) || self.id.split_once('@').is_some_and(|(_, s)| s == stage)
    }
}

impl<'a> Cx<'a> {
    fn evidence(&self, all: &[GateRun]) -> Vec<GateItem> {
        let mut items = Vec::new();
        if all.is_empty() {
            let none = item(
                "evidence",
                "there is a run of the subject",
                Outcome::Inconclusive,
            );
            items.push(none.observed("no run was given"));
        }
        for lack in &self.around.lacks {
            let id = format!("evidence {}", lack.of);
            let missing = item(&id, "the evidence is whole", Outcome::Inconclusive);
            items.push(missing.observed(lack.why.clone()));
        }
        let needs = &self.policy.requires;
        for run in all {
            items.extend(runs::run_items(needs, self.subject, run, all, self.now));
        }
        if self.usable.is_empty() && !all.is_empty() {
            let none = item(
                "evidence",
                "a run can serve as evidence",
                Outcome::Inconclusive,
            );
            items.push(none.observed(
                "none of the runs has the subject, profile, runtime and state asked for",
            ));
        }
        items
    }

    /// The stages that are decided about: all, or one and what it requires.
    fn wanted(&self) -> Vec<&'a Stage> {
        let all = &self.policy.stages;
        let Some(last) = &self.around.stage else {
            return all.iter().collect();
        };
        let mut names = vec![last.as_str()];
        // A stage requires earlier ones only, so that one pass from the end finds them all.
        for stage in all.iter().rev() {
            if names.contains(&stage.id.as_str()) {
                names.extend(stage.requires.iter().map(String::as_str));
            }
        }
        all.iter()
            .filter(|s| names.contains(&s.id.as_str()))
            .collect()
    }

    /// The stages in which an item is looked at; `None` stands for all usable runs.
    fn places(&self, stages: &Stages) -> Vec<Option<&'a Stage>> {
        let wanted = self.wanted();
        let weighted = self.policy.stages.iter().any(|s| s.weight.is_some());
        let here = |stage: &&'a Stage| match stages {
            Stages::None => false,
            Stages::All if weighted => stage.weight.is_some(),
            Stages::All => stage.hold.is_some(),
            Stages::Of(_) => {
                stages.hold(&stage.id) || stage.inherits.iter().any(|s| stages.hold(s))
            }
        };
        match stages {
            Stages::None => vec![None],
            _ => wanted.into_iter().filter(here).map(Some).collect(),
        }
    }

    /// The usable runs of a stage, or all of them.
    fn runs_of(&self, stage: Option<&Stage>) -> Vec<&'a GateRun> {
        let Some(stage) = stage else {
            return self.usable.clone();
        };
        let fits = |run: &&&'a GateRun| {
            let fresh = stage
                .fresh_within
                .is_none_or(|limit| runs::age(run, self.now).is_some_and(|age| age <= limit));
            run.verdict.run.profile == stage.profile && fresh
        };
        self.usable.iter().filter(fits).copied().collect()
    }
}

/// Id of an item in a stage.
fn placed(id: &str, stage: Option<&Stage>) -> String {
    stage.map_or_else(|| id.to_owned(), |s| format!("{id}@{}", s.id))
}
