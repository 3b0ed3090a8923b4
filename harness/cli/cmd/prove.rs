//! `firedrill prove`: is each drill able to turn red? Every drill against every defect that it claims
//! to catch, and against the honest bot.
//!
//! Caught means: the expectation that `[catches]` names fails, while every fault was proven and every
//! precondition held. A run that fails for another reason has not caught the defect.

use std::fmt::Write as _;
use std::sync::Arc;

use firedrill_verdict::{Outcome, Verdict};
use serde::Serialize;

use crate::args::{ProveArgs, RunArgs, RunProfile};
use crate::cmd::run;
use crate::evidence;
use crate::exit::{Exit, Stop};
use crate::launch;

/// One cell of the table: a drill and a defect, or the honest bot.
#[derive(Debug, Serialize)]
struct Cell {
    drill: String,
    /// `None`: the honest bot.
    defect: Option<String>,
    /// The expectation that must fail; `None` for the honest bot.
    expectation: Option<String>,
    as_it_should_be: bool,
    reason: String,
    worst_margin: Option<f64>,
}

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
    let ready = cancel
        .clone()
        .guard(launch::ready(&plan.target, common.runtime, &common.out))
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
    let table = table(&cells);
    println!("{table}");
    evidence::create(&folder)?;
    evidence::write(&folder.join("sensitivity.md"), &table)?;
    let json = serde_json::to_string_pretty(&cells).map_err(|e| Stop::Internal(e.to_string()))?;
    evidence::write(&folder.join("sensitivity.json"), &(json + "\n"))?;
    println!("evidence: {}", folder.display());
    Ok(exit)
}

fn judge(
    drill: String,
    defect: Option<String>,
    expectation: Option<String>,
    verdict: &Verdict,
) -> Cell {
    let worst_margin = verdict.drills.first().and_then(|d| d.worst_margin);
    let (as_it_should_be, reason) = match &expectation {
        None => match verdict.verdict {
            Outcome::Pass => (true, "clean".to_owned()),
            other => (
                false,
                format!("{}: {}", other.word(), verdict.reasons.join("; ")),
            ),
        },
        Some(id) => caught(id, verdict),
    };
    Cell {
        drill,
        defect,
        expectation,
        as_it_should_be,
        reason,
        worst_margin,
    }
}

/// Whether the named expectation failed on a run whose faults and preconditions held.
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

fn table(cells: &[Cell]) -> String {
    let mut out =
        String::from("| drill | bot | must fail | result | why |\n|---|---|---|---|---|\n");
    for cell in cells {
        let result = match (cell.as_it_should_be, &cell.defect) {
            (true, None) => "✓ clean",
            (true, Some(_)) => "✓ caught",
            (false, None) => "✗ NOT CLEAN",
            (false, Some(_)) => "✗ SLIPPED THROUGH",
        };
        let why: String = cell
            .reason
            .replace(['|', '\n'], " ")
            .chars()
            .take(160)
            .collect();
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {result} | {why} |",
            cell.drill,
            cell.defect.as_deref().unwrap_or("honest"),
            cell.expectation.as_deref().unwrap_or("—"),
        );
    }
    let good = cells.iter().filter(|c| c.as_it_should_be).count();
    let _ = writeln!(
        out,
        "\n{good} of {} cells are as they should be",
        cells.len()
    );
    out
}
