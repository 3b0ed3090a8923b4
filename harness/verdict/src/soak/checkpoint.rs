//! Checkpoints: what could be said of the soak when it had come that far.
//!
//! Derived from the journal like everything else, so that a checkpoint says the same whenever it is asked for.

use firedrill_journal::{FactSource, OpState, act};
use firedrill_plan::Profile;
use serde_json::Value;

use super::model::CheckpointVerdict;
use super::quiet::Quiet;
use super::watch;
use crate::chunked::Chunked;
use crate::index::Index;
use crate::model::Outcome;
use crate::tally::{Stamp, Tally};
use crate::words::{duration, to_ms};

/// Judges the soak at each of its checkpoints by what had been recorded until then.
///
/// `length_ms` is how long the soak was to last; a checkpoint beyond it isn't one of this soak.
pub fn judge_checkpoints(
    index: &Index<'_>,
    tally: &Tally<'_>,
    profile: &Profile,
    (quiet, length_ms): (&Quiet, u64),
) -> Vec<CheckpointVerdict> {
    let within = profile.checkpoints.iter();
    let within = within.filter(|c| c.as_millis() <= u128::from(length_ms));
    within
        .map(|c| {
            let soak_ns = u64::try_from(c.as_nanos()).unwrap_or(u64::MAX);
            match reached(index, quiet.whole.to, soak_ns) {
                Some(at) => so_far(index, tally, profile, (&quiet.until(at), soak_ns, at)),
                None => CheckpointVerdict {
                    reasons: vec![format!("the soak did not last for {}", duration(*c))],
                    ..counts(tally, soak_ns, None)
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
    tally: &Tally<'_>,
    profile: &Profile,
    (quiet, soak_ns, at): (&Quiet, u64, u64),
) -> CheckpointVerdict {
    let mut row = counts(tally, soak_ns, Some(at));
    row.verdict = Outcome::Pass;
    let mut reasons: Vec<(Outcome, String)> = Vec::new();
    for misdeed in tally.misdeeds.iter().filter(|m| m.at_ns <= at) {
        row.offences += 1;
        reasons.push((Outcome::Fail, misdeed.words()));
    }
    for watch in &profile.watches {
        let (verdict, why) = watch::bounds_so_far(index, &tally.watched, watch, quiet);
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
fn counts(tally: &Tally<'_>, soak_ns: u64, at: Option<u64>) -> CheckpointVerdict {
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
    for op in tally.ops.iter() {
        if op.done().is_none_or(|done| done > at) {
            continue;
        }
        match op.state {
            OpState::Ok => row.accepted += 1,
            OpState::Rejected => row.rejected += 1,
            OpState::Unknown => row.unknown += 1,
            OpState::Invoked | OpState::Failed => {}
        }
    }
    let until = |times: &Chunked<Stamp>| times.iter().filter(|t| t.ns() <= at).count() as u64;
    row.first_sends = until(&tally.first_sends);
    row.mined = until(&tally.mined);
    row
}
