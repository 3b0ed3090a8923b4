//! The gate: from a policy and the verdicts of runs to a decision about a subject.
//!
//! Only the best evidence counts for, and the worst counts against: a FAIL of any run of the subject
//! blocks, whatever passed elsewhere.

use firedrill_plan::{Policy, PolicyClass, Predicate, Requires, Rule};

use crate::model::{
    DrillVerdict, GateDecision, GateEvidence, GateItem, GateOutcome, Outcome, SCHEMA_VERSION,
    Verdict,
};
use crate::predicate::Test;
use crate::words::{count, duration, number, predicate};

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
];

/// A run as the gate gets it.
#[derive(Clone, Debug)]
pub struct GateRun {
    pub manifest_sha256: String,
    /// Whether the run's folder is as its manifest says.
    pub sealed: Result<(), String>,
    /// Judged again from the journal by the caller.
    pub verdict: Verdict,
}

/// Decides about `subject` (its digest) at `now`.
pub fn gate(
    policy: &Policy,
    policy_sha256: &str,
    subject: &str,
    runs: &[GateRun],
    now: jiff::Timestamp,
) -> GateDecision {
    let mut items = Vec::new();
    if runs.is_empty() {
        items.push(
            item(
                "evidence",
                "there is a run of the subject",
                Outcome::Inconclusive,
            )
            .observed("no run was given"),
        );
    }
    for run in runs {
        items.extend(run_items(&policy.requires, subject, run, runs, now));
    }
    let usable: Vec<&GateRun> = runs
        .iter()
        .filter(|r| eligible(&policy.requires, subject, r, now))
        .collect();
    if usable.is_empty() && !runs.is_empty() {
        items.push(
            item(
                "evidence",
                "a run can serve as evidence",
                Outcome::Inconclusive,
            )
            .observed("none of the runs has the subject, profile, runtime and state asked for"),
        );
    }
    items.extend(
        policy
            .requires
            .drills
            .iter()
            .map(|d| required_drill(d, &usable)),
    );
    items.extend(policy.rules.iter().map(|r| judge_rule(r, &usable)));
    for attest in &policy.attest {
        let mut open = item(&attest.id, &attest.text, Outcome::Inconclusive)
            .expected(format!("signed by {}", attest.role))
            .observed("not signed");
        open.source = attest.source.clone();
        items.push(open);
    }
    decide(policy, policy_sha256, subject, runs, items)
}

fn decide(
    policy: &Policy,
    policy_sha256: &str,
    subject: &str,
    runs: &[GateRun],
    items: Vec<GateItem>,
) -> GateDecision {
    let worst = Outcome::worst(items.iter().map(|i| i.verdict));
    let outcome = match worst {
        Outcome::Pass => GateOutcome::Go,
        Outcome::Inconclusive => GateOutcome::Inconclusive,
        Outcome::Fail => GateOutcome::NoGo,
    };
    let (class, headline) = match (policy.class, outcome) {
        (PolicyClass::Smoke, GateOutcome::Go) => ("smoke", "SMOKE PASS"),
        (PolicyClass::Smoke, GateOutcome::NoGo) => ("smoke", "SMOKE FAIL"),
        (PolicyClass::Smoke, GateOutcome::Inconclusive) => ("smoke", "INCONCLUSIVE"),
        (PolicyClass::Release, GateOutcome::Go) => ("release", "GO"),
        (PolicyClass::Release, GateOutcome::NoGo) => ("release", "NO-GO"),
        (PolicyClass::Release, GateOutcome::Inconclusive) => ("release", "INCONCLUSIVE"),
    };
    let mut bad: Vec<&GateItem> = items
        .iter()
        .filter(|i| i.verdict != Outcome::Pass)
        .collect();
    bad.sort_by_key(|i| std::cmp::Reverse(i.verdict));
    GateDecision {
        schema_version: SCHEMA_VERSION,
        policy: policy.name.clone(),
        policy_title: policy.title.clone(),
        policy_sha256: policy_sha256.to_owned(),
        class: class.to_owned(),
        subject: subject.to_owned(),
        outcome,
        headline: headline.to_owned(),
        reasons: bad
            .iter()
            .map(|i| format!("{} {}: {}", i.verdict.word(), i.id, i.observed))
            .collect(),
        evidence: runs
            .iter()
            .map(|r| GateEvidence {
                run: r.verdict.run.id.clone(),
                manifest_sha256: r.manifest_sha256.clone(),
                verdict: r.verdict.verdict,
                profile: r.verdict.run.profile.clone(),
                subject: r.verdict.subject.digest.clone(),
            })
            .collect(),
        roles: policy.roles.clone(),
        items,
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
}

/// Why a run can't serve as evidence about the subject, whatever it shows.
fn defects(needs: &Requires, subject: &str, run: &GateRun, now: jiff::Timestamp) -> Vec<String> {
    let verdict = &run.verdict;
    let mut all = Vec::new();
    if let Err(why) = &run.sealed {
        all.push(format!("its folder is not as its manifest says: {why}"));
    }
    if verdict.subject.digest != subject {
        all.push(format!(
            "mixed subjects: it is of {}",
            verdict.subject.digest
        ));
    }
    if let Some(defect) = &verdict.subject.defect {
        all.push(format!("the deliberate defect `{defect}` was switched on"));
    }
    if !needs.allow_dirty && verdict.subject.dirty != Some(false) {
        let how = match verdict.subject.dirty {
            Some(_) => "the work tree had changes that no revision holds",
            None => "it is not known whether the work tree had changes",
        };
        all.push(how.to_owned());
    }
    if let Some(limit) = needs.fresh_within {
        match verdict.run.ended_at.parse::<jiff::Timestamp>() {
            Ok(end) => {
                let age = now.as_millisecond().saturating_sub(end.as_millisecond());
                if i128::from(age) > limit.as_millis() as i128 {
                    all.push(format!("it is older than {}", duration(limit)));
                }
                if age < 0 {
                    all.push("it ended in the future".to_owned());
                }
            }
            Err(_) => all.push("its end has no readable time".to_owned()),
        }
    }
    all
}

fn eligible(needs: &Requires, subject: &str, run: &GateRun, now: jiff::Timestamp) -> bool {
    fits(needs, &run.verdict) && defects(needs, subject, run, now).is_empty()
}

fn fits(needs: &Requires, verdict: &Verdict) -> bool {
    needs
        .profile
        .as_ref()
        .is_none_or(|p| *p == verdict.run.profile)
        && needs
            .runtime
            .as_ref()
            .is_none_or(|r| *r == verdict.run.runtime)
}

fn run_items(
    needs: &Requires,
    subject: &str,
    run: &GateRun,
    runs: &[GateRun],
    now: jiff::Timestamp,
) -> Vec<GateItem> {
    let verdict = &run.verdict;
    let id = format!("run {}", verdict.run.id);
    let mut items: Vec<GateItem> = defects(needs, subject, run, now)
        .into_iter()
        .map(|why| item(&id, "the run can serve as evidence", Outcome::Inconclusive).observed(why))
        .collect();
    if verdict.subject.digest != subject || verdict.subject.defect.is_some() {
        return items;
    }
    let superseded = verdict.verdict == Outcome::Inconclusive
        && !verdict.drills.is_empty()
        && runs.iter().any(|other| {
            other.verdict.verdict == Outcome::Pass
                && eligible(needs, subject, other, now)
                && verdict
                    .drills
                    .iter()
                    .all(|d| passed(&other.verdict, &d.name))
        });
    let why = verdict
        .reasons
        .first()
        .map_or("no reason is given", String::as_str);
    let word = verdict.verdict.word();
    let (outcome, observed) = match verdict.verdict {
        Outcome::Pass => (Outcome::Pass, word.to_owned()),
        Outcome::Inconclusive if superseded => (
            Outcome::Pass,
            format!("{word}, but a later run passed all of it: {why}"),
        ),
        other => (other, format!("{word}: {why}")),
    };
    items.push(
        item(&id, "no run of the subject failed", outcome)
            .expected("PASS")
            .observed(observed),
    );
    items
}

fn passed(verdict: &Verdict, drill: &str) -> bool {
    let mut named = verdict.drills.iter().filter(|d| d.name == drill).peekable();
    named.peek().is_some() && named.all(|d| d.verdict == Outcome::Pass)
}

fn required_drill(name: &str, runs: &[&GateRun]) -> GateItem {
    let of = |outcome: Outcome| -> Vec<&DrillVerdict> {
        let drills = runs.iter().flat_map(|r| &r.verdict.drills);
        drills
            .filter(|d| d.name == name && d.verdict == outcome)
            .collect()
    };
    let id = format!("drill {name}");
    let required = |outcome| item(&id, "a required drill passed", outcome).expected("PASS");
    if let Some(failed) = of(Outcome::Fail).first() {
        let why = failed.reasons.first().map_or("", String::as_str);
        return required(Outcome::Fail).observed(format!("FAIL: {why}"));
    }
    // A drill in a run whose audit is not clean has not shown what it is for.
    let clean = runs
        .iter()
        .filter(|r| r.verdict.audit.verdict == Outcome::Pass);
    let good = clean.filter(|r| passed(&r.verdict, name)).count() as u64;
    if good > 0 {
        return required(Outcome::Pass).observed(format!("PASS in {}", count(good, "run")));
    }
    let observed = match of(Outcome::Inconclusive).first() {
        Some(drill) => {
            let why = drill.reasons.first().map_or("", String::as_str);
            format!("INCONCLUSIVE: {why}")
        }
        None if of(Outcome::Pass).is_empty() => {
            "it was not run with the subject, profile and runtime asked for".to_owned()
        }
        None => "it passed only in runs whose audit did not".to_owned(),
    };
    required(Outcome::Inconclusive).observed(observed)
}

fn judge_rule(rule: &Rule, runs: &[&GateRun]) -> GateItem {
    let mut result = item(&rule.id, &rule.what, Outcome::Inconclusive).expected(format!(
        "{} {}, from at least {}",
        rule.figure,
        predicate(&rule.is),
        count(rule.samples_min, "sample")
    ));
    result.source = rule.source.clone();
    let test = match Test::new(&rule.is) {
        Ok(test) => test,
        Err(why) => return result.observed(why),
    };
    let found: Vec<(f64, u64)> = runs
        .iter()
        .filter_map(|r| figure(&r.verdict, &rule.figure))
        .collect();
    if found.is_empty() {
        let figure = &rule.figure;
        return result.observed(format!("no run holds the figure `{figure}`"));
    }
    for (value, samples) in &found {
        if test.number(*value) == Some(false) {
            result.verdict = Outcome::Fail;
            let samples = count(*samples, "sample");
            return result.observed(format!("{} from {samples}", number(*value)));
        }
    }
    let enough: Vec<&(f64, u64)> = found
        .iter()
        .filter(|(value, n)| *n >= rule.samples_min.max(1) && test.number(*value) == Some(true))
        .collect();
    let Some((value, samples)) = enough.first() else {
        let most = found.iter().map(|(_, n)| *n).max().unwrap_or(0);
        return result.observed(format!("{} only", count(most, "sample")));
    };
    result.verdict = Outcome::Pass;
    let words = match &rule.is {
        Predicate::Equals(_) | Predicate::OneOf(_) | Predicate::Matches(_) => number(*value),
        _ => {
            let all = enough.iter().map(|(v, _)| *v);
            let worst = all.reduce(|a, b| crate::predicate::worse(&rule.is, a, b));
            number(worst.unwrap_or(*value))
        }
    };
    result.observed(format!("{words} from {}", count(*samples, "sample")))
}

/// A figure of the verdict and the number of samples behind it; `None` where the run has none.
fn figure(verdict: &Verdict, name: &str) -> Option<(f64, u64)> {
    let (group, rest) = name.split_once('.')?;
    match group {
        "audit" if rest == "accepted" => {
            Some((verdict.audit.accepted as f64, verdict.audit.accepted))
        }
        "audit" => {
            let check = verdict.audit.checks.iter().find(|c| c.id == rest)?;
            // An equation that couldn't be evaluated has no number of violations.
            (check.verdict != Outcome::Inconclusive)
                .then_some((check.violations as f64, check.samples))
        }
        "load" => {
            let load = &verdict.load;
            let n = match rest {
                "sent" => load.sent as f64,
                "ok" => load.ok as f64,
                "rejected" => load.rejected as f64,
                "failed" => load.failed as f64,
                "unknown" => load.unknown as f64,
                "shed" => load.shed as f64,
                "error_share" if load.sent > 0 => {
                    (load.failed + load.unknown) as f64 / load.sent as f64
                }
                _ => return None,
            };
            Some((n, load.sent))
        }
        "latency" => {
            let p = verdict.load.latency_ms.as_ref()?;
            let n = match rest {
                "p50" => p.p50,
                "p95" => p.p95,
                "p99" => p.p99,
                "max" => p.max,
                _ => return None,
            };
            Some((n, verdict.load.ok))
        }
        "drill" => drill_figure(verdict, rest),
        _ => None,
    }
}

/// The worst of all episodes of that drill.
fn drill_figure(verdict: &Verdict, name: &str) -> Option<(f64, u64)> {
    let (drill, what) = name.rsplit_once('.')?;
    let drills: Vec<&DrillVerdict> = verdict.drills.iter().filter(|d| d.name == drill).collect();
    let samples = drills.len() as u64;
    let value = match what {
        "recovery_ms" => {
            let all: Option<Vec<u64>> = drills.iter().map(|d| d.recovery_ms).collect();
            all?.into_iter().max()? as f64
        }
        "worst_margin" => {
            let all: Option<Vec<f64>> = drills.iter().map(|d| d.worst_margin).collect();
            all?.into_iter().reduce(f64::min)?
        }
        _ => return None,
    };
    Some((value, samples))
}
