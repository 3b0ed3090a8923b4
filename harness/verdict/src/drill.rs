//! One drill: its faults, its preconditions, its checks.

use firedrill_journal::{FactSource, OpState};
use firedrill_plan::{Edge, EdgeRef, Fault, Observe, Pace, Phase, When};
use serde_json::Value;

use crate::checks::judge_check;
use crate::facts::text;
use crate::index::{Edges, Moment, QUIESCE};
use crate::model::{CheckVerdict, DrillVerdict, FaultVerdict, Outcome};
use crate::window::Scene;
use crate::words::{duration, ms, quote, to_ms};

/// How much shorter than planned a phase may have been: the hold starts when the last proof was
/// seen, which is a moment before the edge is written.
const HOLD_SLACK_NS: u64 = 100_000_000;

/// Judges one episode of the run.
pub fn judge_drill(scene: &Scene<'_>, pace: Option<Pace>) -> DrillVerdict {
    let mut reasons: Vec<(Outcome, String)> = Vec::new();
    let mut faults = Vec::new();
    for phase in &scene.drill.phases {
        if let Some(why) = phase_trouble(scene, phase, pace) {
            reasons.push((Outcome::Inconclusive, why));
        }
        for (position, fault) in phase.faults.iter().enumerate() {
            faults.push(judge_fault(scene, phase, position, fault));
        }
    }
    if scene.phase(QUIESCE).is_err() {
        let why = "the run did not come to its quiescence".to_owned();
        reasons.push((Outcome::Inconclusive, why));
    }
    for fault in &faults {
        if let Some(why) = &fault.reason {
            let name = format!("{} of {} in {}", fault.kind, fault.target, fault.phase);
            reasons.push((fault.verdict, format!("fault {name}: {why}")));
        }
    }
    for why in needs(scene) {
        reasons.push((Outcome::Inconclusive, why));
    }
    let expects = &scene.drill.expects;
    let checks: Vec<CheckVerdict> = expects.iter().map(|e| judge_check(scene, e)).collect();
    if checks.is_empty() {
        let why = "the drill checks nothing".to_owned();
        reasons.push((Outcome::Inconclusive, why));
    }
    for check in checks.iter().filter(|c| c.verdict != Outcome::Pass) {
        let why = format!(
            "{}: expected {}; observed {}",
            check.id, check.expected, check.observed
        );
        reasons.push((check.verdict, why));
    }
    reasons.sort_by_key(|(outcome, _)| std::cmp::Reverse(*outcome));
    let all = reasons.iter().map(|(o, _)| *o);
    DrillVerdict {
        episode: scene.episode as u32,
        name: scene.drill.name.clone(),
        title: scene.drill.title.clone(),
        verdict: Outcome::worst(all.chain([Outcome::Pass])),
        recovery_ms: recovery(scene, &checks),
        worst_margin: checks.iter().filter_map(|c| c.margin).reduce(f64::min),
        reasons: reasons.into_iter().map(|(_, why)| why).collect(),
        faults,
        checks,
    }
}

/// Why a phase wasn't what the plan asked for.
fn phase_trouble(scene: &Scene<'_>, phase: &Phase, pace: Option<Pace>) -> Option<String> {
    let edges = match scene.phase(&phase.id) {
        Ok(edges) => edges,
        Err(why) => return Some(why),
    };
    let id = &phase.id;
    if let Some(lost) = &edges.lost {
        return Some(format!("phase {id} was lost at {}", ms(lost.at)));
    }
    let Some(proven) = &edges.proven else {
        return Some(format!("phase {id} was never proven"));
    };
    let Some(end) = &edges.heal_requested else {
        return Some(format!("phase {id} never ended"));
    };
    if edges.healed.is_none() {
        return Some(format!("phase {id} was never healed"));
    }
    let held = end.at.saturating_sub(proven.at);
    let wanted = phase.hold.at(pace?);
    let wanted_ns = u64::try_from(wanted.as_nanos()).unwrap_or(u64::MAX);
    (held.saturating_add(HOLD_SLACK_NS) < wanted_ns).then(|| {
        let wanted = duration(wanted);
        format!("phase {id} lasted {} instead of {wanted}", ms(held))
    })
}

fn judge_fault(scene: &Scene<'_>, phase: &Phase, position: usize, fault: &Fault) -> FaultVerdict {
    let nothing = Edges::default();
    let edges = scene
        .edges()
        .and_then(|e| e.phases.get(&phase.id))
        .and_then(|p| p.faults.get(&(position as u32)))
        .unwrap_or(&nothing);
    let reason = if let Some(lost) = &edges.lost {
        let how = lost.proof.as_deref().unwrap_or("no proof was recorded");
        Some(format!("lost at {}: {}", ms(lost.at), quote(how)))
    } else if edges.requested.is_none() {
        Some("it was never requested".to_owned())
    } else if edges.proven.is_none() {
        Some("it was never proven".to_owned())
    } else if edges.heal_requested.is_none() {
        Some("its healing was never requested".to_owned())
    } else if edges.healed.is_none() {
        Some("its healing was never proven".to_owned())
    } else if edges.proven.as_ref().is_some_and(|m| m.proof.is_none()) {
        Some("it is called proven, but no observation is given".to_owned())
    } else {
        None
    };
    let at = |m: &Option<Moment>| m.as_ref().map(|m| to_ms(m.at));
    FaultVerdict {
        phase: phase.id.clone(),
        kind: fault.kind.name().to_owned(),
        target: fault.target.clone(),
        requested_at: at(&edges.requested),
        proven_at: at(&edges.proven),
        heal_requested_at: at(&edges.heal_requested),
        healed_at: at(&edges.healed),
        proof: edges.proven.as_ref().and_then(|m| m.proof.clone()),
        verdict: if reason.is_some() {
            Outcome::Inconclusive
        } else {
            Outcome::Pass
        },
        reason,
    }
}

/// The preconditions that don't hold.
fn needs(scene: &Scene<'_>) -> Vec<String> {
    let needs = &scene.drill.needs;
    let mut missing = Vec::new();
    if let Some(mode) = &needs.mode {
        missing.extend(mode_need(scene, mode));
    }
    let cutoff = first_disturbance(scene);
    let start = scene.edges().and_then(|e| e.first.as_ref()).map(|m| m.at);
    let (Some(start), Some(cutoff)) = (start, cutoff) else {
        if needs.accepted.is_some() || needs.executing.is_some() {
            missing.push("the need for load can't be judged: nothing was requested".to_owned());
        }
        return missing;
    };
    if let Some(wanted) = needs.accepted {
        let ops = scene.index.ops.iter().filter(|op| {
            let mine = op
                .signal
                .is_some_and(|s| s.episode as usize == scene.episode);
            mine && op.state == OpState::Ok
                && !op.duplicate()
                && op.done.is_some_and(|at| at <= cutoff)
        });
        let n = ops.count() as u64;
        if n < wanted {
            missing.push(format!(
                "needs {wanted} accepted signals before the first fault, {n} were"
            ));
        }
    }
    if let Some(wanted) = needs.executing {
        let facts = scene.index.facts_in(FactSource::Chain, start, cutoff);
        let first = facts.iter().filter(|f| {
            f.fact.what == "submission" && f.fact.keys.get("first_send") == Some(&Value::Bool(true))
        });
        let n = first.count() as u64;
        if n < wanted {
            missing.push(format!(
                "needs {wanted} first sends before the first fault, {n} were seen"
            ));
        }
    }
    missing
}

/// When the drill first touched the system: its first act or fault, in the phases' order. A drill
/// without either never does; then all of it is calm.
fn first_disturbance(scene: &Scene<'_>) -> Option<u64> {
    for phase in &scene.drill.phases {
        if !phase.acts.is_empty() {
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
fn mode_need(scene: &Scene<'_>, mode: &str) -> Option<String> {
    let before = scene
        .episode
        .checked_sub(1)
        .and_then(|e| scene.index.episodes.get(e))
        .and_then(|e| e.phase(QUIESCE))
        .and_then(|p| p.requested.as_ref())
        .map_or(0, |m| m.at);
    let until = first_disturbance(scene).unwrap_or(scene.index.end);
    let facts = scene.index.facts_in(FactSource::Act, before, until);
    let mut seen = false;
    for at in facts {
        let keys = &at.fact.keys;
        if at.fact.what != "need" || text(at, "need") != Some("mode") {
            continue;
        }
        seen = true;
        if keys.get("held") != Some(&Value::Bool(true)) {
            let observed = keys.get("observed").map(crate::words::value);
            let observed = observed.unwrap_or_else(|| "nothing".to_owned());
            return Some(format!("needs mode {mode}, observed {observed}"));
        }
    }
    (!seen).then(|| format!("needs mode {mode}, which nobody looked at before the first fault"))
}

/// The longest way from a proven heal to a satisfied check of recovery (`within … of X.healed`).
fn recovery(scene: &Scene<'_>, checks: &[CheckVerdict]) -> Option<u64> {
    let mut longest: Option<u64> = None;
    for (expect, check) in scene.drill.expects.iter().zip(checks) {
        let (Observe::Value { .. }, When::Within { of, .. }) = (&expect.observe, &expect.when)
        else {
            continue;
        };
        let EdgeRef::Phase {
            phase,
            edge: Edge::Healed | Edge::HealRequested,
        } = of
        else {
            continue;
        };
        let faulty = |p: &&Phase| p.id == *phase && !p.faults.is_empty();
        if !scene.drill.phases.iter().any(|p| faulty(&p)) {
            continue;
        }
        let healed = scene.phase(phase).ok()?.healed.as_ref()?.at;
        if check.verdict != Outcome::Pass {
            return None;
        }
        let took = (check.at_ms? - to_ms(healed)).max(0.0).round() as u64;
        longest = Some(longest.map_or(took, |l| l.max(took)));
    }
    longest
}
