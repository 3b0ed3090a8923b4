//! Figures of verdicts.

use super::GateRun;
use crate::compare::{Baseline, compare};
use crate::model::{DrillVerdict, Outcome, Verdict};

/// A figure of the verdict and the number of samples behind it; `None` where the run has none.
pub(super) fn figure(verdict: &Verdict, name: &str) -> Option<(f64, u64)> {
    // Where a live system was watched, no load was sent and no drill was run: their zeros are none.
    if verdict.observe.is_some() {
        return None;
    }
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

/// Figures that became worse, in the run with the most of them. What could not be compared is no proof
/// that nothing did.
pub(super) fn regressions(baselines: &[Baseline], runs: &[&GateRun]) -> Result<f64, String> {
    let mut worst: Option<usize> = None;
    let mut unknown = None;
    for run in runs {
        let verdict = &run.verdict;
        let Some(baseline) = baselines.iter().find(|b| b.is_for(verdict)) else {
            let run = &verdict.run;
            unknown = Some(format!(
                "no {} of target {} under profile {} was accepted",
                run.kind, run.target, run.profile
            ));
            continue;
        };
        let comparison = compare(baseline, verdict);
        let (all, compared) = (comparison.figures.len(), comparison.compared());
        if compared < all || all == 0 {
            unknown = Some(format!(
                "{compared} of the accepted run's {all} figures could be compared with run {}",
                verdict.run.id
            ));
        }
        worst = worst.max(Some(comparison.regressions()));
    }
    match (worst, unknown) {
        (Some(worst), None) => Ok(worst as f64),
        (Some(worst), Some(_)) if worst > 0 => Ok(worst as f64),
        (_, Some(why)) => Err(why),
        (None, None) => Err("there is no run to compare".to_owned()),
    }
}
