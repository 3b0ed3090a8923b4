//! `firedrill prove`: is each drill able to turn red? Every drill against every defect that it claims
//! to catch, and against the honest bot.
//!
//! Caught means: the expectation that `[catches]` names fails, while every fault was proven and every
//! need and precondition held. A run that fails for another reason has not caught the defect.

use std::sync::Arc;

use firedrill_report::{SensitivityCell, sensitivity_html, sensitivity_markdown};
use firedrill_verdict::{Outcome, Verdict};

use crate::args::{ProveArgs, RunArgs, RunProfile};
use crate::cmd::run;
use crate::evidence;
use crate::exit::{Exit, Stop};
use crate::launch;

/// Worst margin that the honest bot must keep.
const MARGIN_MIN: f64 = 0.3;

pub async fn prove(args: ProveArgs) -> Result<Exit, Stop> {
    let run_args = RunArgs {
        drills: args.drills,
        profile: RunProfile::Quick,
        jobs: args.jobs,
        fail_fast: false,
        common: args.common,
    };
    let plan = run::plan(&run_args)?;
    if let Some(defect) = &plan.defect {
        let text =
            format!("a defect ({defect}) is set in the environment; prove sets its own, unset it");
        return Err(Stop::Usage(text));
    }
    eprintln!("seed {}", plan.seed);
    let (_switch, cancel) = launch::on_signal()?;
    let common = &run_args.common;
    let drills = plan.drills.iter().map(|d| &d.value);
    let whole = launch::monitored(&plan.target, drills, false)?;
    let ready = cancel
        .clone()
        .guard(launch::ready(&whole, common.runtime, &common.out))
        .await;
    let ready = Arc::new(ready.map_err(|_| Stop::Interrupted)??);
    let folder = common.out.join(evidence::run_id("prove", plan.seed));
    let mut jobs = Vec::new();
    let mut wanted: Vec<(String, Option<String>, Option<String>)> = Vec::new();
    for drill in &plan.drills {
        let name = drill.value.name.clone();
        wanted.push((name.clone(), None, None));
        for (defect, expectation) in &drill.value.catches {
            wanted.push((
                name.clone(),
                Some(defect.clone()),
                Some(expectation.clone()),
            ));
        }
    }
    // All honest runs first: a defect proves nothing about a drill that is red anyway.
    wanted.sort_by_key(|(_, defect, _)| defect.is_some());
    for (name, defect, _) in &wanted {
        let dir = folder
            .join(name)
            .join(defect.as_deref().unwrap_or("honest"));
        jobs.push(run::job(
            &run_args,
            &plan,
            name,
            defect.clone(),
            dir,
            cancel.clone(),
        )?);
    }
    let done = run::all(jobs, &ready, run::width(&run_args), &mut |_| false).await;
    let mut cells = Vec::new();
    let mut exit = Exit::Pass;
    for ((drill, defect, expectation), result) in wanted.into_iter().zip(done) {
        let cell = match result {
            Some(Ok(done)) if !done.interrupted => judge(drill, defect, expectation, &done.verdict),
            Some(Ok(_)) | None => return Ok(Exit::Interrupted),
            Some(Err(stop)) => return Err(stop),
        };
        if !cell.as_it_should_be {
            exit = Exit::Fail;
        }
        cells.push(cell);
    }
    let table = sensitivity_markdown(&cells);
    println!("{table}");
    evidence::create(&folder)?;
    evidence::write(&folder.join("sensitivity.md"), &table)?;
    let json = serde_json::to_string_pretty(&cells).map_err(|e| Stop::Internal(e.to_string()))?;
    evidence::write(&folder.join("sensitivity.json"), &(json + "\n"))?;
    let page = sensitivity_html(&cells).map_err(|e| Stop::Internal(e.to_string()))?;
    evidence::write(&folder.join("report.html"), &page)?;
    println!("evidence: {}", folder.display());
    Ok(exit)
}

fn judge(
    drill: String,
    defect: Option<String>,
    expectation: Option<String>,
    verdict: &Verdict,
) -> SensitivityCell {
    let worst_margin = verdict.drills.first().and_then(|d| d.worst_margin);
    let (as_it_should_be, reason) = match &expectation {
        None => match verdict.verdict {
            Outcome::Pass => with_room(worst_margin),
            other => (
                false,
                format!("{}: {}", other.word(), verdict.reasons.join("; ")),
            ),
        },
        Some(id) => caught(id, verdict),
    };
    SensitivityCell {
        drill,
        defect,
        expectation,
        as_it_should_be,
        reason,
        worst_margin,
    }
}

/// A bot that only just passes is one that fails on a slower day.
fn with_room(worst_margin: Option<f64>) -> (bool, String) {
    match worst_margin {
        Some(margin) if margin < MARGIN_MIN => {
            let text = format!(
                "worst margin {:.0} %, below {:.0} %",
                margin * 100.0,
                MARGIN_MIN * 100.0
            );
            (false, text)
        }
        _ => (true, "clean".to_owned()),
    }
}

/// Whether the named expectation failed on a run whose faults, needs and preconditions held.
fn caught(expectation: &str, verdict: &Verdict) -> (bool, String) {
    let Some(drill) = verdict.drills.first() else {
        return (false, "no drill was judged".to_owned());
    };
    if let Some(fault) = drill.faults.iter().find(|f| f.verdict != Outcome::Pass) {
        let why = fault.reason.as_deref().unwrap_or("not proven");
        return (
            false,
            format!("fault {} on {}: {why}", fault.kind, fault.target),
        );
    }
    if let Some(need) = drill.needs.iter().find(|n| n.verdict != Outcome::Pass) {
        let (expected, observed) = (&need.expected, &need.observed);
        return (false, format!("needs {expected}; observed {observed}"));
    }
    let unmet = drill
        .checks
        .iter()
        .find(|c| c.precondition && c.verdict != Outcome::Pass);
    if let Some(check) = unmet {
        return (
            false,
            format!("precondition {}: {}", check.id, check.observed),
        );
    }
    match drill.checks.iter().find(|c| c.id == expectation) {
        None => (false, format!("there is no check {expectation}")),
        Some(check) if check.verdict == Outcome::Fail => (true, check.observed.clone()),
        Some(check) => (
            false,
            format!(
                "{expectation} is {}: {}",
                check.verdict.word(),
                check.observed
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the judge says of a recorded run of a defect, changed by `spoil`.
    fn caught_after(spoil: impl Fn(&mut Verdict)) -> (bool, String) {
        let bytes = include_bytes!("../../../fixtures/journals/outage-fails-open/journal.jsonl");
        let journal = firedrill_journal::read(&bytes[..]).expect("the journal is readable");
        let mut verdict = firedrill_verdict::judge(&journal);
        spoil(&mut verdict);
        caught("dry-at-once", &verdict)
    }

    #[test]
    fn caught_needs_faults_needs_and_preconditions_that_hold() {
        let (good, why) = caught_after(|_| {});
        assert!(good, "{why}");
        let (good, why) = caught_after(|v| v.drills[0].needs[0].verdict = Outcome::Inconclusive);
        assert!(!good && why.starts_with("needs mode LIVE"), "{why}");
        let (good, why) = caught_after(|v| v.drills[0].faults[0].verdict = Outcome::Inconclusive);
        assert!(!good && why.starts_with("fault pause"), "{why}");
        let (good, why) = caught_after(|v| {
            let check = &mut v.drills[0].checks[0];
            (check.precondition, check.verdict) = (true, Outcome::Inconclusive);
        });
        assert!(!good && why.starts_with("precondition"), "{why}");
        let (good, _) = caught_after(|v| v.drills[0].checks.clear());
        assert!(!good);
    }

    #[test]
    fn caught_by_another_expectation_is_not_caught() {
        let (good, why) = caught_after(|v| {
            let named = v.drills[0]
                .checks
                .iter_mut()
                .find(|c| c.id == "dry-at-once");
            named.expect("it is there").verdict = Outcome::Pass;
        });
        assert!(!good && why.starts_with("dry-at-once is PASS"), "{why}");
    }
}
