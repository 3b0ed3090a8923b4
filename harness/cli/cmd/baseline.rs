//! `firedrill baseline accept RUN`: the run that later ones are compared with.

use std::fs;
use std::path::Path;

use firedrill_verdict::{Accepted, Baseline, Outcome};

use crate::context;
use crate::evidence::parts;
use crate::evidence::{self, Rejudged};
use crate::exit::{Exit, Stop};
use crate::planned;

/// Accepts a sealed run that passed, judged again from its journal; anything else is refused.
pub fn accept(run: &Path, store: &Path) -> Result<Exit, Stop> {
    let mut judged = Vec::new();
    if let Some(why) = planned::doubts(&planned::whole(run)).first() {
        let run = run.display();
        return Err(Stop::Usage(format!("{run}: not accepted: {why}")));
    }
    for part in parts(run)? {
        let again = evidence::rejudge(&part)?;
        fit(&again)?;
        judged.push(again);
    }
    let worst = Outcome::worst(judged.iter().map(|again| again.run.verdict.verdict));
    if worst != Outcome::Pass {
        for again in judged.iter().filter(|a| a.verdict().verdict == worst) {
            println!("{}", firedrill_report::summary_line(&again.run.verdict));
            for reason in &again.run.verdict.reasons {
                println!("  - {reason}");
            }
        }
        println!("not accepted: only a run that passed can be");
        return Ok(worst.into());
    }
    let subjects = judged.iter().map(|a| a.verdict().subject.digest.as_str());
    let subjects: std::collections::BTreeSet<&str> = subjects.collect();
    if subjects.len() > 1 {
        let text = format!(
            "{}: its parts are of {} builds",
            run.display(),
            subjects.len()
        );
        return Err(Stop::Usage(text));
    }
    let found: Vec<_> = judged.iter().map(|a| (a.verdict(), accepted(a))).collect();
    let now = jiff::Timestamp::now().to_string();
    let (Some(baseline), Some(first)) = (Baseline::of(&found, now), judged.first()) else {
        return Err(Stop::Usage(format!("{}: holds no run", run.display())));
    };
    let path = context::baseline_path(store, first.verdict());
    keep(&path, &baseline)?;
    println!(
        "accepted {}: {} figures of {} {} ({})",
        run.display(),
        baseline.figures.len(),
        baseline.target,
        baseline.kind,
        baseline.profile
    );
    println!("baseline: {}", path.display());
    Ok(Exit::Pass)
}

/// Why a run can't be accepted, whatever it showed.
fn fit(again: &Rejudged) -> Result<(), Stop> {
    let refused = |why: &str| {
        Err(Stop::Usage(format!(
            "{}: not accepted: {why}",
            again.dir.display()
        )))
    };
    if let Err(why) = &again.sealed.intact {
        return refused(why);
    }
    let subject = &again.run.verdict.subject;
    if let Some(defect) = &subject.defect {
        return refused(&format!("the deliberate defect {defect} was switched on"));
    }
    match subject.dirty {
        Some(false) => Ok(()),
        Some(true) => {
            refused("the work tree had changes that no revision holds; commit and run again")
        }
        None => refused("it is not known whether the work tree had changes"),
    }
}

fn accepted(again: &Rejudged) -> Accepted {
    Accepted {
        run: again.run.verdict.run.id.clone(),
        manifest_sha256: again.sealed.manifest_sha256.clone(),
        started_at: again.run.verdict.run.started_at.clone(),
    }
}

/// Replaces the accepted run of before in one step, and says that it did.
fn keep(path: &Path, baseline: &Baseline) -> Result<(), Stop> {
    match context::read_baseline(path) {
        Ok(None) => {}
        Ok(Some(old)) => {
            let runs: Vec<&str> = old.runs.iter().map(|r| r.run.as_str()).collect();
            println!("it takes the place of {}", runs.join(", "));
        }
        Err(why) => println!("it takes the place of a file that can't be read: {why}"),
    }
    if let Some(folder) = path.parent() {
        evidence::create(folder)?;
    }
    let json = serde_json::to_string_pretty(baseline).map_err(|e| Stop::Internal(e.to_string()))?;
    let fresh = path.with_extension("fresh");
    evidence::write(&fresh, &(json + "\n"))?;
    fs::rename(&fresh, path).map_err(|e| Stop::Environment(format!("{}: {e}", path.display())))
}
