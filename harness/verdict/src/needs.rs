//! Preconditions of a drill: what had to be so before it first touched the system. A bot that is DRY
//! already proves nothing by being DRY, and one that sends nothing proves nothing by sending nothing.

use firedrill_journal::{FactSource, OpState};
use firedrill_plan::Act;
use serde_json::Value;

use crate::facts::text;
use crate::index::QUIESCE;
use crate::model::{NeedVerdict, Outcome};
use crate::window::Scene;
use crate::words;

/// Judges each need that the drill names, in a fixed order.
pub fn judge_needs(scene: &Scene<'_>) -> Vec<NeedVerdict> {
    let needs = &scene.drill.needs;
    let mut judged = Vec::new();
    if let Some(mode) = &needs.mode {
        judged.push(mode_need(scene, mode));
    }
    if let Some(wanted) = needs.accepted {
        let expected = format!("{wanted} accepted signals before the first fault");
        judged.push(counted("accepted", expected, wanted, accepted(scene)));
    }
    if let Some(wanted) = needs.executing {
        let expected = format!("{wanted} first sends before the first fault");
        judged.push(counted("executing", expected, wanted, first_sends(scene)));
    }
    judged
}

/// A need that doesn't hold accuses nobody: the drill showed nothing.
fn need(what: &str, expected: String, holds: bool, observed: String) -> NeedVerdict {
    NeedVerdict {
        what: what.to_owned(),
        verdict: if holds {
            Outcome::Pass
        } else {
            Outcome::Inconclusive
        },
        expected,
        observed,
    }
}

fn counted(what: &str, expected: String, wanted: u64, seen: Option<u64>) -> NeedVerdict {
    match seen {
        Some(n) => need(what, expected, n >= wanted, n.to_string()),
        None => {
            let observed = "nothing: the first fault was never requested".to_owned();
            need(what, expected, false, observed)
        }
    }
}

/// How long before its first edge what a drill needs may have come. In a soak the load was there all the time.
pub const BACK_NS: u64 = 60_000_000_000;

/// Signals acknowledged as new before the first disturbance.
fn accepted(scene: &Scene<'_>) -> Option<u64> {
    let (start, cutoff) = calm(scene)?;
    let from = start.saturating_sub(BACK_NS);
    let ops = scene.index.ops.iter().filter(|op| {
        let mine = op
            .signal
            .is_some_and(|s| s.episode as usize == scene.episode);
        mine && op.sent_at() >= from
            && op.state == OpState::Ok
            && !op.duplicate()
            && op.done.is_some_and(|at| at <= cutoff)
    });
    Some(ops.count() as u64)
}

/// First sends that the chain saw before the first disturbance.
fn first_sends(scene: &Scene<'_>) -> Option<u64> {
    let (start, cutoff) = calm(scene)?;
    let facts = scene.index.facts_in(FactSource::Chain, start, cutoff);
    let first = facts.iter().filter(|f| {
        f.fact.what == "submission" && f.fact.keys.get("first_send") == Some(&Value::Bool(true))
    });
    Some(first.count() as u64)
}

/// From the episode's first edge to its first disturbance.
fn calm(scene: &Scene<'_>) -> Option<(u64, u64)> {
    let start = scene.edges()?.first.as_ref()?.at;
    Some((start, first_disturbance(scene)?))
}

/// When the drill first touched the system: its first act or fault, in the phases' order. A drill
/// without either never does; then all of it is calm.
fn first_disturbance(scene: &Scene<'_>) -> Option<u64> {
    for phase in &scene.drill.phases {
        if phase.acts.iter().any(Act::touches) {
            return scene
                .phase(&phase.id)
                .ok()?
                .requested
                .as_ref()
                .map(|m| m.at);
        }
        if !phase.faults.is_empty() {
            let faults = &scene.edges()?.phases.get(&phase.id)?.faults;
            return faults.get(&0)?.requested.as_ref().map(|m| m.at);
        }
    }
    Some(scene.horizon())
}

/// The runner waits for the mode and records what it saw; the record belongs to the episode that
/// begins next.
fn mode_need(scene: &Scene<'_>, mode: &str) -> NeedVerdict {
    let before = scene
        .episode
        .checked_sub(1)
        .and_then(|e| scene.index.episodes.get(e))
        .and_then(|e| e.phase(QUIESCE))
        .and_then(|p| p.requested.as_ref())
        .map_or(0, |m| m.at);
    let until = first_disturbance(scene).unwrap_or(scene.index.end);
    let facts = scene.index.facts_in(FactSource::Act, before, until);
    let looks = facts
        .iter()
        .filter(|at| at.fact.what == "need" && text(at, "need") == Some("mode"));
    let mut observed = None;
    for at in looks {
        let keys = &at.fact.keys;
        let saw = keys
            .get("observed")
            .map_or("nothing".to_owned(), words::value);
        if keys.get("held") != Some(&Value::Bool(true)) {
            return need("mode", format!("mode {mode}"), false, saw);
        }
        observed = Some(saw);
    }
    let holds = observed.is_some();
    let unseen = || "nothing: nobody looked before the first fault".to_owned();
    need(
        "mode",
        format!("mode {mode}"),
        holds,
        observed.unwrap_or_else(unseen),
    )
}
