//! Runs as evidence: which may serve, and what each says against the subject.

use firedrill_plan::Requires;

use super::{GateRun, item};
use crate::model::{DrillVerdict, GateItem, Outcome, Verdict};
use crate::words::{count, duration};

/// Why a run is none of the subject as it was recorded.
fn foreign(subject: &str, run: &GateRun) -> Vec<String> {
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
    all
}

/// Why a run of the subject is too old or too unclean to be evidence.
fn unfit(needs: &Requires, verdict: &Verdict, now: jiff::Timestamp) -> Vec<String> {
    let mut all = Vec::new();
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

pub(super) fn eligible(
    needs: &Requires,
    subject: &str,
    run: &GateRun,
    now: jiff::Timestamp,
) -> bool {
    let verdict = &run.verdict;
    fits(needs, verdict)
        && foreign(subject, run).is_empty()
        && unfit(needs, verdict, now).is_empty()
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

pub(super) fn run_items(
    needs: &Requires,
    subject: &str,
    run: &GateRun,
    runs: &[GateRun],
    now: jiff::Timestamp,
) -> Vec<GateItem> {
    let verdict = &run.verdict;
    let id = format!("run {}", verdict.run.id);
    let superseded = verdict.verdict == Outcome::Inconclusive
        && !verdict.drills.is_empty()
        && runs.iter().any(|other| {
            other.verdict.verdict == Outcome::Pass
                && later(&other.verdict, verdict)
                && eligible(needs, subject, other, now)
                && verdict
                    .drills
                    .iter()
                    .all(|d| passed(&other.verdict, &d.name))
        });
    let mut defects = foreign(subject, run);
    // Who needs a run no longer doesn't need it to be young and clean.
    if !superseded {
        defects.extend(unfit(needs, verdict, now));
    }
    let unusable = format!("evidence {}", verdict.run.id);
    let what = "the run can serve as evidence";
    let mut items: Vec<GateItem> = defects
        .into_iter()
        .map(|why| item(&unusable, what, Outcome::Inconclusive).observed(why))
        .collect();
    if verdict.subject.digest != subject || verdict.subject.defect.is_some() {
        return items;
    }
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

pub(super) fn required_drill(name: &str, runs: &[&GateRun]) -> GateItem {
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

/// How long ago a run ended; `None` where that can't be known.
pub(super) fn age(run: &GateRun, now: jiff::Timestamp) -> Option<std::time::Duration> {
    let end: jiff::Timestamp = run.verdict.run.ended_at.parse().ok()?;
    let age = now.as_millisecond().checked_sub(end.as_millisecond())?;
    u64::try_from(age)
        .ok()
        .map(std::time::Duration::from_millis)
}

/// Whether that run is of the same kind and profile, and ended after this one did.
fn later(other: &Verdict, verdict: &Verdict) -> bool {
    let ended = |v: &Verdict| v.run.ended_at.parse::<jiff::Timestamp>().ok();
    let same = other.run.profile == verdict.run.profile && other.run.kind == verdict.run.kind;
    match (ended(other), ended(verdict)) {
        (Some(other), Some(own)) => same && other > own,
        _ => false,
    }
}
