//! `firedrill prove`: is each drill able to turn red? Every drill against every defect that it claims
//! to catch, and against the honest bot.
//!
//! Caught means: the expectation that `[catches]` names fails, while every fault was proven and every
//! need and precondition held. A run that fails for another reason has not caught the defect.
//!
//! A fault that was there and that this bot never met is no hindrance where the honest bot met that very
//! fault in the same drill: then it is the defect that keeps the bot away from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use firedrill_plan::Drill;
use firedrill_report::{SensitivityCell, sensitivity_html, sensitivity_markdown};
use firedrill_verdict::{DrillVerdict, FaultVerdict, Outcome, Verdict};

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
        shard: None,
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
    let wanted = wanted(plan.drills.iter().map(|d| &d.value));
    for Wanted {
        drill: name,
        defect,
        ..
    } in &wanted
    {
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
    let mut honest: BTreeMap<String, Verdict> = BTreeMap::new();
    for (one, result) in wanted.into_iter().zip(done) {
        let verdict = match result {
            Some(Ok(done)) if !done.interrupted => done.verdict,
            Some(Ok(_)) | None => return Ok(Exit::Interrupted),
            Some(Err(stop)) => return Err(stop),
        };
        let clean = honest.get(&one.drill);
        let cell = judge(&one, &verdict, clean);
        if cell.defect.is_none() && cell.as_it_should_be {
            honest.insert(one.drill, verdict);
        }
        cells.push(cell);
    }
    // Drill by drill, the honest run of each at its head; the sort keeps the order within a drill.
    cells.sort_by(|a, b| a.drill.cmp(&b.drill));
    write(&folder, &cells)?;
    match cells.iter().all(|cell| cell.as_it_should_be) {
        true => Ok(Exit::Pass),
        false => Ok(Exit::Fail),
    }
}

/// One run: a drill with a defect and the check that must fail, or with the honest bot.
struct Wanted {
    drill: String,
    defect: Option<String>,
    expectation: Option<String>,
}

/// All honest runs first: a defect proves nothing about a drill that is red anyway. Then one defect of each drill in
/// turn, for runs of one drill put their bursts at the same moments, and would be short of processors together.
fn wanted<'a>(drills: impl Iterator<Item = &'a Drill>) -> Vec<Wanted> {
    let mut wanted: Vec<(usize, Wanted)> = Vec::new();
    for drill in drills {
        let name = &drill.name;
        let honest = std::iter::once((None, None));
        let caught = drill.catches.iter().map(|(d, e)| (Some(d), Some(e)));
        for (turn, (defect, expectation)) in honest.chain(caught).enumerate() {
            let one = Wanted {
                drill: name.clone(),
                defect: defect.cloned(),
                expectation: expectation.cloned(),
            };
            wanted.push((turn, one));
        }
    }
    wanted.sort_by_key(|(turn, _)| *turn);
    wanted.into_iter().map(|(_, one)| one).collect()
}

fn write(folder: &Path, cells: &[SensitivityCell]) -> Result<(), Stop> {
    let table = sensitivity_markdown(cells);
    println!("{table}");
    evidence::create(folder)?;
    evidence::write(&folder.join("sensitivity.md"), &table)?;
    let json = serde_json::to_string_pretty(cells).map_err(|e| Stop::Internal(e.to_string()))?;
    evidence::write(&folder.join("sensitivity.json"), &(json + "\n"))?;
    let page = sensitivity_html(cells).map_err(|e| Stop::Internal(e.to_string()))?;
    evidence::write(&folder.join("report.html"), &page)?;
    println!("evidence: {}", folder.display());
    Ok(())
}

/// `clean` is the honest bot's run of the same drill, if there was nothing wrong with it.
fn judge(one: &Wanted, verdict: &Verdict, clean: Option<&Verdict>) -> SensitivityCell {
    let worst_margin = verdict.drills.first().and_then(|d| d.worst_margin);
    let (as_it_should_be, reason) = match &one.expectation {
        None => match verdict.verdict {
            Outcome::Pass => with_room(worst_margin),
            other => (
                false,
                format!("{}: {}", other.word(), verdict.reasons.join("; ")),
            ),
        },
        Some(id) => caught(id, verdict, clean),
    };
    SensitivityCell {
        drill: one.drill.clone(),
        defect: one.defect.clone(),
        expectation: one.expectation.clone(),
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
fn caught(expectation: &str, verdict: &Verdict, clean: Option<&Verdict>) -> (bool, String) {
    let Some(drill) = verdict.drills.first() else {
        return (false, "no drill was judged".to_owned());
    };
    let unmet = match unmet(drill, clean.and_then(|v| v.drills.first())) {
        Ok(unmet) => unmet,
        Err(why) => return (false, why),
    };
    if let Some(need) = drill.needs.iter().find(|n| n.verdict != Outcome::Pass) {
        let (expected, observed) = (&need.expected, &need.observed);
        return (false, format!("needs {expected}; observed {observed}"));
    }
    let precondition = drill
        .checks
        .iter()
        .find(|c| c.precondition && c.verdict != Outcome::Pass);
    if let Some(check) = precondition {
        return (
            false,
            format!("precondition {}: {}", check.id, check.observed),
        );
    }
    match check(expectation, verdict, drill) {
        None => (false, format!("there is no check {expectation}")),
        Some((Outcome::Fail, observed)) => (true, format!("{observed}{unmet}")),
        Some((other, observed)) => (
            false,
            format!("{expectation} is {}: {observed}", other.word()),
        ),
    }
}

/// A check of the drill, or one of the audit.
fn check<'a>(
    id: &str,
    verdict: &'a Verdict,
    drill: &'a DrillVerdict,
) -> Option<(Outcome, &'a str)> {
    match id.strip_prefix("audit/") {
        Some(id) => {
            let check = verdict.audit.checks.iter().find(|c| c.id == id)?;
            Some((check.verdict, &check.observed))
        }
        None => {
            let check = drill.checks.iter().find(|c| c.id == id)?;
            Some((check.verdict, &check.observed))
        }
    }
}

/// The faults that this bot never met and the honest one did, in words for the cell's reason. An error
/// names the first fault that can't be excused so: only one that was there from its proof to its healing can.
fn unmet(drill: &DrillVerdict, honest: Option<&DrillVerdict>) -> Result<String, String> {
    let mut words = String::new();
    for (at, fault) in drill.faults.iter().enumerate() {
        if fault.verdict == Outcome::Pass {
            continue;
        }
        let (kind, target, phase) = (&fault.kind, &fault.target, &fault.phase);
        let why = fault.reason.as_deref().unwrap_or("not proven");
        if fault.verdict == Outcome::Fail || fault.felt != Some(false) {
            return Err(format!("fault {kind} on {target}: {why}"));
        }
        let Some(honest) = honest else {
            return Err(format!(
                "fault {kind} on {target}: {why}; the honest bot's run isn't clean, so it doesn't show that this is the defect's doing"
            ));
        };
        let same = |h: &&FaultVerdict| (&h.kind, &h.target, &h.phase) == (kind, target, phase);
        let theirs = honest.faults.get(at).filter(same);
        if !theirs.is_some_and(|h| h.verdict == Outcome::Pass && h.felt == Some(true)) {
            return Err(format!(
                "fault {kind} on {target}: {why}; nor did the honest bot meet it"
            ));
        }
        words += &format!(
            "; fault {kind} on {target} in {phase} was not met by this bot; the honest one met it"
        );
    }
    Ok(words)
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
        caught("dry-at-once", &verdict, None)
    }

    /// The same of a defect that kept the bot from its one fault, beside an honest run changed by `spoil`.
    fn unmet_after(
        ours: impl Fn(&mut FaultVerdict),
        honest: Option<&dyn Fn(&mut FaultVerdict)>,
    ) -> (bool, String) {
        let bytes = include_bytes!("../../../fixtures/journals/outage-fails-open/journal.jsonl");
        let journal = firedrill_journal::read(&bytes[..]).expect("the journal is readable");
        let mut verdict = firedrill_verdict::judge(&journal);
        let clean = honest.map(|spoil| {
            let mut clean = verdict.clone();
            clean.drills[0].faults[0].felt = Some(true);
            spoil(&mut clean.drills[0].faults[0]);
            clean
        });
        let fault = &mut verdict.drills[0].faults[0];
        fault.verdict = Outcome::Inconclusive;
        fault.felt = Some(false);
        fault.reason = Some("nothing of the target passed through it".to_owned());
        ours(fault);
        caught("dry-at-once", &verdict, clean.as_ref())
    }

    #[test]
    fn honest_runs_come_first_and_no_drill_comes_twice_in_a_turn() {
        let target = crate::files::target("fixtures/targets/reference.toml".as_ref());
        let target = target.map_err(|e| e.to_string()).expect("it is readable");
        let paths = crate::files::in_folder("drills".as_ref());
        let paths = paths.map_err(|e| e.to_string()).expect("it is readable");
        let drills: Vec<Drill> = paths
            .iter()
            .map(|path| crate::files::drill(path, &target.value))
            .map(|drill| {
                drill
                    .map_err(|e| e.to_string())
                    .expect("it is readable")
                    .value
            })
            .collect();
        let all = wanted(drills.iter());
        let (honest, defects) = all.split_at(drills.len());
        assert!(drills.len() > 20 && honest.iter().all(|one| one.defect.is_none()));
        let claimed: usize = drills.iter().map(|d| d.catches.len()).sum();
        assert!(claimed > 50 && defects.len() == claimed);
        let before = |at: usize| {
            let same = defects[..at]
                .iter()
                .filter(|d| d.drill == defects[at].drill);
            same.count()
        };
        let turns: Vec<usize> = (0..defects.len()).map(before).collect();
        assert!(turns.is_sorted() && turns.last() > Some(&1), "{turns:?}");
        let whole = defects
            .iter()
            .all(|d| d.defect.is_some() && d.expectation.is_some());
        assert!(whole);
    }

    #[test]
    fn a_fault_that_only_the_honest_bot_met_is_no_hindrance() {
        let as_it_is = |_: &mut FaultVerdict| {};
        let (good, why) = unmet_after(as_it_is, Some(&as_it_is));
        assert!(good, "{why}");
        let words = "fault pause on redis in outage was not met by this bot; the honest one met it";
        assert!(why.contains(words), "{why}");
    }

    #[test]
    fn a_fault_that_was_not_there_or_that_nobody_met_hinders() {
        let as_it_is = |_: &mut FaultVerdict| {};
        // Lost, interrupted, not healed: whether it was felt isn't said of such a one.
        let (good, why) = unmet_after(|f| f.felt = None, Some(&as_it_is));
        assert!(!good && why.starts_with("fault pause on redis: "), "{why}");
        let (good, why) = unmet_after(|f| f.felt = Some(true), Some(&as_it_is));
        assert!(!good, "{why}");
        let (good, why) = unmet_after(|f| f.verdict = Outcome::Fail, Some(&as_it_is));
        assert!(!good, "{why}");
        let (good, why) = unmet_after(as_it_is, None);
        assert!(
            !good && why.contains("the honest bot's run isn't clean"),
            "{why}"
        );
        let honest: [&dyn Fn(&mut FaultVerdict); 6] = [
            &|h| h.felt = Some(false),
            &|h| h.felt = None,
            &|h| h.verdict = Outcome::Inconclusive,
            &|h| h.phase = "another".to_owned(),
            &|h| h.kind = "stop".to_owned(),
            &|h| h.target = "rpc".to_owned(),
        ];
        for (n, spoil) in honest.into_iter().enumerate() {
            let (good, why) = unmet_after(as_it_is, Some(spoil));
            assert!(
                !good && why.contains("nor did the honest bot meet it"),
                "{n}: {why}"
            );
        }
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
