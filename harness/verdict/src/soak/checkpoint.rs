//! Checkpoints: what could be said of the soak when it had come that far.
//!
//! Derived from the journal like everything else, so that a checkpoint says the same whenever it is asked for.

use firedrill_journal::{FactSource, OpState, act};
use firedrill_plan::Profile;
use serde_json::Value;

use super::model::CheckpointVerdict;
use super::quiet::Quiet;
use super::watch;
use crate::index::Index;
use crate::model::Outcome;
use crate::vigil::Misdeed;
use crate::words::{duration, to_ms};

/// Judges the soak at each of its checkpoints by what had been recorded until then.
///
/// `length_ms` is how long the soak was to last; a checkpoint beyond it isn't one of this soak.
pub fn judge_checkpoints(
    index: &Index<'_>,
    profile: &Profile,
    quiet: &Quiet,
    (length_ms, misdeeds): (u64, &[Misdeed]),
) -> Vec<CheckpointVerdict> {
    let within = profile.checkpoints.iter();
    let within = within.filter(|c| c.as_millis() <= u128::from(length_ms));
    within
        .map(|c| {
            let soak_ns = u64::try_from(c.as_nanos()).unwrap_or(u64::MAX);
            match reached(index, quiet.whole.to, soak_ns) {
                Some(at) => so_far(index, profile, &quiet.until(at), (soak_ns, at, misdeeds)),
                None => CheckpointVerdict {
                    reasons: vec![format!("the soak did not last for {}", duration(*c))],
                    ..counts(index, soak_ns, None)
                },
            }
        })
        .collect()
}

/// When that much of the soak's time had passed, on the run's clock; nothing if it never had. The time
/// between two parts of a soak doesn't count.
fn reached(index: &Index<'_>, end: u64, soak_ns: u64) -> Option<u64> {
    let mut begins = index.facts(FactSource::Act).iter().filter_map(|at| {
        let elapsed_ms = at.fact.keys.get("elapsed_ms").and_then(Value::as_u64);
        let begins = at.fact.what == act::BEGINS;
        begins.then(|| {
            (
                at.fact.at_ns,
                elapsed_ms.unwrap_or(0).saturating_mul(1_000_000),
            )
        })
    });
    let (began, before) = begins.rfind(|(_, elapsed)| *elapsed <= soak_ns)?;
    let at = began.saturating_add(soak_ns - before);
    let died = index.parts.iter().find(|(from, _)| *from > began);
    (at <= died.map_or(end, |(from, _)| *from)).then_some(at)
}

fn so_far(
    index: &Index<'_>,
    profile: &Profile,
    quiet: &Quiet,
    (soak_ns, at, misdeeds): (u64, u64, &[Misdeed]),
) -> CheckpointVerdict {
    let mut row = counts(index, soak_ns, Some(at));
    row.verdict = Outcome::Pass;
    let mut reasons: Vec<(Outcome, String)> = Vec::new();
    for misdeed in misdeeds.iter().filter(|m| m.at_ns <= at) {
        row.offences += 1;
        reasons.push((Outcome::Fail, misdeed.words()));
    }
    for watch in &profile.watches {
        let (verdict, why) = watch::bounds_so_far(index, watch, quiet);
        row.watches += 1;
        match why {
            None => row.watches_within += 1,
            Some(why) => reasons.push((verdict, format!("watch {}: {why}", watch.id))),
        }
    }
    if let Some((from, to)) = index.parts.iter().find(|(from, _)| *from <= at) {
        let gap = crate::words::ms(to.saturating_sub(*from));
        let why = format!("the harness was away for {gap} before that");
        reasons.push((Outcome::Inconclusive, why));
    }
    reasons.sort_by_key(|(outcome, _)| std::cmp::Reverse(*outcome));
    row.verdict = Outcome::worst(reasons.iter().map(|(o, _)| *o).chain([Outcome::Pass]));
    row.reasons = reasons.into_iter().map(|(_, why)| why).collect();
    row
}

/// The audit's counts up to then; of a checkpoint that wasn't reached none.
fn counts(index: &Index<'_>, soak_ns: u64, at: Option<u64>) -> CheckpointVerdict {
    let mut row = CheckpointVerdict {
        at_ms: to_ms(soak_ns),
        run_ms: at.map(to_ms),
        verdict: Outcome::Inconclusive,
        reasons: Vec::new(),
        accepted: 0,
        rejected: 0,
        unknown: 0,
        first_sends: 0,
        mined: 0,
        offences: 0,
        watches: 0,
        watches_within: 0,
    };
    let Some(at) = at else { return row };
    for op in index
        .ops
        .iter()
        .filter(|op| op.done.is_some_and(|d| d <= at))
    {
        match op.state {
            OpState::Ok => row.accepted += 1,
            OpState::Rejected => row.rejected += 1,
            OpState::Unknown => row.unknown += 1,
            OpState::Invoked | OpState::Failed => {}
        }
    }
    for fact in index.facts_in(FactSource::Chain, 0, at) {
        let first = fact.fact.keys.get("first_send") == Some(&Value::Bool(true));
        match fact.fact.what.as_str() {
            "submission" if first => row.first_sends += 1,
            "mined" => row.mined += 1,
            _ => {}
        }
    }
    row
}
