//! One drill: its faults, its preconditions, its checks.

use std::time::Duration;

use firedrill_journal::FactSource;
use firedrill_plan::{Edge, EdgeRef, Expect, Fault, FaultKind, Observe, Pace, Phase, When};
use serde_json::Value;

use crate::checks::judge_check;
use crate::facts::{stream_gap, text};
use crate::index::{Edges, Moment, QUIESCE};
use crate::model::{CheckVerdict, DrillVerdict, FaultVerdict, NeedVerdict, Outcome};
use crate::needs::judge_needs;
use crate::operators::Span;
use crate::window::Scene;
use crate::words::{duration, ms, quote, to_ms};

/// How much shorter than planned a phase may have been: the hold starts when the last proof was
/// seen, which is a moment before the edge is written.
const HOLD_SLACK_NS: u64 = 100_000_000;

/// The engine stamps its events by the wall clock, which is carried over to the run's.
const EVENT_SLACK_NS: u64 = 50_000_000;
/// Exit code of a process that SIGKILL ended.
const BY_SIGKILL: i64 = 137;

const UNFELT: &str =
    "nothing of the target passed through it: it touched no connection but that of its own proof";

/// What was found out about an episode while its lines were there. A check that needs the record, which is read when
/// the run is over, is still open.
pub struct Looked {
    reasons: Vec<(Outcome, String)>,
    faults: Vec<FaultVerdict>,
    needs: Vec<NeedVerdict>,
    checks: Vec<Option<CheckVerdict>>,
}

/// Judges one episode of the run, all of whose lines are there.
pub fn judge_drill(scene: &Scene<'_>, pace: Option<Pace>) -> DrillVerdict {
    conclude(scene, look(scene, pace, |_| false))
}

/// Looks at an episode; `open` checks are left for its conclusion.
pub fn look(scene: &Scene<'_>, pace: Option<Pace>, open: impl Fn(&Expect) -> bool) -> Looked {
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
    let needs = judge_needs(scene);
    for need in needs.iter().filter(|n| n.verdict != Outcome::Pass) {
        let (expected, observed) = (&need.expected, &need.observed);
        let why = format!("needs {expected}; observed {observed}");
        reasons.push((need.verdict, why));
    }
    let judged = |e: &Expect| (!open(e)).then(|| judge_check(scene, e));
    Looked {
        reasons,
        faults,
        needs,
        checks: scene.drill.expects.iter().map(judged).collect(),
    }
}

/// Judges what is open, and says what all of it comes to.
pub fn conclude(scene: &Scene<'_>, looked: Looked) -> DrillVerdict {
    let Looked {
        mut reasons,
        faults,
        needs,
        checks,
    } = looked;
    let checks: Vec<CheckVerdict> = checks
        .into_iter()
        .zip(&scene.drill.expects)
        .map(|(judged, expect)| judged.unwrap_or_else(|| judge_check(scene, expect)))
        .collect();
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
        recovery_budget_ms: budget(scene, &checks),
        worst_margin: checks.iter().filter_map(|c| c.margin).reduce(f64::min),
        reasons: reasons.into_iter().map(|(_, why)| why).collect(),
        needs,
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
    let trouble = if let Some(lost) = &edges.lost {
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
    } else if matches!(fault.kind, FaultKind::Kill) {
        no_death(scene, &fault.target, edges).or_else(|| interrupted(scene, fault, edges))
    } else {
        interrupted(scene, fault, edges)
    };
    // What wasn't in force wasn't there to be felt.
    let felt = match &trouble {
        None => edges.healed.as_ref().and_then(|m| m.felt),
        Some(_) => None,
    };
    let reason = trouble.or((felt == Some(false)).then(|| UNFELT.to_owned()));
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
        felt,
        verdict: if reason.is_some() {
            Outcome::Inconclusive
        } else {
            Outcome::Pass
        },
        reason,
    }
}

/// A kill is seen by the engine's own stream as well: a death by SIGKILL while the fault was in force.
fn no_death(scene: &Scene<'_>, target: &str, edges: &Edges) -> Option<String> {
    let (from, to) = (
        edges.requested.as_ref()?.at,
        edges.heal_requested.as_ref()?.at,
    );
    let from = from.saturating_sub(EVENT_SLACK_NS);
    let facts = scene.index.facts_in(FactSource::Engine, from, to);
    let killed = facts.iter().any(|at| {
        at.fact.what == "die"
            && text(at, "service") == Some(target)
            && at.fact.keys.get("exit_code").and_then(Value::as_i64) == Some(BY_SIGKILL)
    });
    let why = || format!("the engine tells of no death with exit code {BY_SIGKILL}");
    (!killed).then(
        || match stream_gap(scene.index, "engine", Span { from, to }) {
            Some(gap) => format!("{}: {gap}", why()),
            None => why(),
        },
    )
}

/// What the engine itself recorded of the container while the fault was to be in force: something that
/// ended it, even if it was put back before the next look.
fn interrupted(scene: &Scene<'_>, fault: &Fault, edges: &Edges) -> Option<String> {
    let ends: &[&str] = match &fault.kind {
        FaultKind::Pause => &["unpause", "die", "start"],
        FaultKind::Kill | FaultKind::Stop => &["start"],
        FaultKind::Disconnect => &["die", "start"],
        _ => return None,
    };
    // None of these events comes from the injection itself, so the first moments count as well.
    let from = edges.requested.as_ref()?.at;
    let to = edges.heal_requested.as_ref()?.at;
    let to = to.saturating_sub(EVENT_SLACK_NS);
    let facts = scene.index.facts_in(FactSource::Engine, from, to);
    let hit = facts.iter().find(|f| {
        ends.contains(&f.fact.what.as_str()) && text(f, "service") == Some(fault.target.as_str())
    });
    if let Some(hit) = hit {
        let (what, at) = (&hit.fact.what, ms(hit.fact.at_ns));
        return Some(format!("interrupted: the engine recorded {what} at {at}"));
    }
    let gap = stream_gap(scene.index, "engine", Span { from, to })?;
    Some(format!("whether it was interrupted isn't known: {gap}"))
}

/// Each check of recovery (`within … of X.healed`): the bound, the healed phase, its verdict.
fn recoveries<'a>(
    scene: &'a Scene<'_>,
    checks: &'a [CheckVerdict],
) -> impl Iterator<Item = (Duration, &'a str, &'a CheckVerdict)> {
    let pairs = scene.drill.expects.iter().zip(checks);
    pairs.filter_map(|(expect, check)| {
        let (Observe::Value { .. }, When::Within { bound, of, .. }) =
            (&expect.observe, &expect.when)
        else {
            return None;
        };
        let EdgeRef::Phase {
            phase,
            edge: Edge::Healed | Edge::HealRequested,
        } = of
        else {
            return None;
        };
        let faulty = |p: &Phase| p.id == *phase && !p.faults.is_empty();
        let any = scene.drill.phases.iter().any(faulty);
        any.then_some((*bound, phase.as_str(), check))
    })
}

/// The longest way from a proven heal to a satisfied check of recovery.
fn recovery(scene: &Scene<'_>, checks: &[CheckVerdict]) -> Option<u64> {
    let mut longest: Option<u64> = None;
    for (_, phase, check) in recoveries(scene, checks) {
        let healed = scene.phase(phase).ok()?.healed.as_ref()?.at;
        if check.verdict != Outcome::Pass {
            return None;
        }
        let took = (check.at_ms? - to_ms(healed)).max(0.0).round() as u64;
        longest = Some(longest.map_or(took, |l| l.max(took)));
    }
    longest
}

/// By when all of them must be satisfied.
fn budget(scene: &Scene<'_>, checks: &[CheckVerdict]) -> Option<u64> {
    let longest = recoveries(scene, checks).map(|(bound, ..)| bound).max()?;
    u64::try_from(longest.as_millis()).ok()
}
