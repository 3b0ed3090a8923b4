//! What is allowed and yet most likely wrong: bounds that leave a zone to nobody, rules that contradict
//! or repeat each other, expressions that can't see what they are for.

use std::collections::BTreeMap;

use super::{Cx, EVERY};
use crate::diag::Problem;
use crate::model::*;
use crate::node::Node;
use crate::promql;

/// A lint before `accept` of its item is looked at.
struct Found {
    at: usize,
    message: String,
}

pub(super) fn all(cx: &mut Cx<'_, '_>, root: Node<'_>, policy: &Policy) {
    if policy.asks_for_nothing() {
        cx.sink.lint(
            root.at,
            "a policy that asks for nothing lets everything through",
        );
    }
    series(cx, root, policy);
    for key in ["rule", "trigger", "stage"] {
        for node in root.nodes(key) {
            let mut found = Vec::new();
            match key {
                "rule" => {
                    if let Some(rule) = policy.rules.iter().find(|r| r.id == node.string("id")) {
                        expression(cx, &mut found, policy, node, &rule.criterion);
                        fleet(&mut found, policy, node, &rule.criterion, &rule.stages);
                        twins(&mut found, policy, node, rule);
                    }
                }
                "trigger" => {
                    let own = |t: &&Trigger| t.id == node.string("id");
                    if let Some(trigger) = policy.triggers.iter().find(own) {
                        expression(cx, &mut found, policy, node, &trigger.criterion);
                        fleet(
                            &mut found,
                            policy,
                            node,
                            &trigger.criterion,
                            &trigger.stages,
                        );
                        zones(&mut found, policy, node, trigger);
                    }
                }
                _ => hold(&mut found, policy, node),
            }
            report(cx, node, found);
        }
    }
}

impl Policy {
    fn asks_for_nothing(&self) -> bool {
        self.requires.drills.is_empty()
            && self.rules.is_empty()
            && self.attest.is_empty()
            && self.stages.is_empty()
    }
}

/// Findings of one item: silenced by its `accept`, which must silence something.
fn report(cx: &mut Cx<'_, '_>, node: Node<'_>, found: Vec<Found>) {
    match (node.has("accept"), found.is_empty()) {
        (true, true) => cx.sink.lint(
            node.at("accept"),
            "accept silences nothing: the item has no lint left",
        ),
        (true, false) => {}
        (false, _) => {
            for one in found {
                cx.sink.lint(one.at, one.message);
            }
        }
    }
}

/// Variables that nothing uses, and a policy whose series nobody is known to have.
fn series(cx: &mut Cx<'_, '_>, root: Node<'_>, policy: &Policy) {
    let Some(node) = root.node("metrics") else {
        return;
    };
    let expressions = policy.expressions();
    if policy.targets.is_empty() && !root.has("no_target") {
        cx.sink.lint(
            node.at,
            "the policy names no target: nothing shows that these series exist; say why in \"no_target\"",
        );
    }
    for (name, _) in node.entries() {
        let used = format!("${{metric.{}}}", name.value);
        if !expressions.iter().any(|e| e.contains(&used)) {
            let message = format!("the metric \"{}\" is used by no expression", name.value);
            cx.sink.lint(name.at, message);
        }
    }
}

/// What is wrong with an expression whatever its series hold.
fn expression(
    cx: &mut Cx<'_, '_>,
    found: &mut Vec<Found>,
    policy: &Policy,
    node: Node<'_>,
    criterion: &Criterion,
) {
    let scrape = policy.canary.as_ref().map_or(EVERY, |c| c.scrape);
    let mut expressions = Vec::new();
    if let Measure::Expr(expr) = &criterion.measure {
        expressions.push(("expr", expr));
    }
    expressions.extend(criterion.volume.as_ref().map(|v| ("volume", &v.expr)));
    for (key, expr) in expressions {
        // Of each target the series' names may be others.
        let mut seen = Vec::new();
        for (names, known) in targets(cx, policy) {
            let Ok(rendered) = policy.render(expr, &names) else {
                continue;
            };
            match promql::lint(&rendered, scrape, &known) {
                Ok(lints) => seen.extend(lints.iter().map(ToString::to_string)),
                Err(error) => {
                    let problem = Problem::new(error.to_string());
                    let problem = match error.remedy {
                        Some(remedy) => problem.expected(remedy),
                        None => problem,
                    };
                    cx.sink.error(node.at(key), problem);
                    break;
                }
            }
        }
        seen.sort();
        seen.dedup();
        let at = node.at(key);
        found.extend(seen.into_iter().map(|message| Found { at, message }));
    }
    if !criterion.lasts.is_zero() && criterion.lasts < scrape {
        found.push(Found {
            at: node.at("for"),
            message: "\"for\" is shorter than the scrape interval: one sample decides".into(),
        });
    }
}

/// Per target that the policy is for: the names of its variables, and its series if they are known.
fn targets(cx: &Cx<'_, '_>, policy: &Policy) -> Vec<(BTreeMap<String, String>, Vec<String>)> {
    let named = policy.targets.iter();
    let known: Vec<_> = named
        .filter_map(|name| cx.known.targets.get(name))
        .map(|t| (t.names.clone(), t.series.iter().cloned().collect()))
        .collect();
    match known.is_empty() {
        true => vec![(BTreeMap::new(), Vec::new())],
        false => known,
    }
}

/// An expression over the whole fleet can't see a canary.
fn fleet(
    found: &mut Vec<Found>,
    policy: &Policy,
    node: Node<'_>,
    criterion: &Criterion,
    stages: &Stages,
) {
    let Measure::Expr(expr) = &criterion.measure else {
        return;
    };
    let checkpoint = node.text("checkpoint").and_then(|c| {
        let own = |p: &&Checkpoint| p.id == c.value;
        policy.checkpoints.iter().find(own)
    });
    let partial = policy.stages.iter().any(|s| {
        let weighted = s.weight.is_some_and(|w| w > 0.0 && w < 100.0);
        let here = checkpoint.is_some_and(|c| c.stage == s.id);
        weighted && (here || stages.hold(&s.id))
    });
    if partial && !expr.contains("${canary}") {
        found.push(Found {
            at: node.at("expr"),
            message: "without ${canary} it is the fleet's value, which hides a dead canary".into(),
        });
    }
}

impl Stages {
    /// Whether a stage is among them.
    pub fn hold(&self, stage: &str) -> bool {
        match self {
            Stages::None => false,
            Stages::All => true,
            Stages::Of(all) => all.iter().any(|s| s == stage),
        }
    }

    fn overlap(&self, other: &Stages) -> bool {
        match (self, other) {
            (Stages::None, Stages::None) => true,
            (Stages::None, _) | (_, Stages::None) => false,
            (Stages::All, _) | (_, Stages::All) => true,
            (Stages::Of(a), Stages::Of(b)) => a.iter().any(|s| b.contains(s)),
        }
    }
}

/// The bound, and whether it is an upper one; with whether the bound itself holds.
fn limit(is: &Predicate) -> Option<(f64, bool, bool)> {
    match is {
        Predicate::AtMost(b) => Some((*b, true, true)),
        Predicate::Below(b) => Some((*b, true, false)),
        Predicate::AtLeast(b) => Some((*b, false, true)),
        Predicate::Above(b) => Some((*b, false, false)),
        Predicate::Equals(value) => value
            .as_f64()
            .filter(|b| *b == 0.0)
            .map(|b| (b, true, true)),
        _ => None,
    }
}

fn same_measure(a: &Criterion, b: &Criterion) -> bool {
    let same = match (&a.measure, &b.measure) {
        (Measure::Expr(a), Measure::Expr(b)) => bare(a) == bare(b),
        (Measure::Missing(_), _) => false,
        (a, b) => a == b,
    };
    same && a.baseline == b.baseline
}

/// An expression without the length of its windows: over five minutes or an hour it is the same measure.
fn bare(expr: &str) -> String {
    let mut out = String::with_capacity(expr.len());
    let mut inside = false;
    for c in expr.chars() {
        inside = c == '[' || (inside && c != ']');
        if !inside || c == '[' {
            out.push(c);
        }
    }
    out
}

/// Values at which a rule no longer holds and the trigger doesn't fire yet, or the other way round.
fn zones(found: &mut Vec<Found>, policy: &Policy, node: Node<'_>, trigger: &Trigger) {
    let Some((fires, below, fires_at)) = trigger.criterion.is.as_ref().and_then(limit) else {
        return;
    };
    for rule in &policy.rules {
        let stages = match &rule.checkpoint {
            None => rule.stages.clone(),
            Some(id) => {
                let checkpoint = policy.checkpoints.iter().find(|c| c.id == *id);
                Stages::Of(checkpoint.iter().map(|c| c.stage.clone()).collect())
            }
        };
        let Some((passes, upper, passes_at)) = rule.criterion.is.as_ref().and_then(limit) else {
            continue;
        };
        if !same_measure(&rule.criterion, &trigger.criterion)
            || upper == below
            || !(stages.overlap(&trigger.stages) || stages == trigger.stages)
        {
            continue;
        }
        let apart = match upper {
            true => fires - passes,
            false => passes - fires,
        };
        let message = if apart > 0.0 || (apart == 0.0 && !fires_at && !passes_at) {
            let (from, to) = (passes.min(fires), passes.max(fires));
            format!(
                "dead zone: from {from} to {to} the rule \"{}\" no longer holds and this doesn't fire",
                rule.id
            )
        } else if (apart < 0.0 || (fires_at && passes_at)) && trigger.class != Class::Warning {
            format!(
                "contradiction: it fires where the rule \"{}\" holds",
                rule.id
            )
        } else {
            continue;
        };
        let at = node.at("id");
        found.push(Found { at, message });
        return;
    }
}

/// Rules on the same measure that can't both hold, or of which one says all.
fn twins(found: &mut Vec<Found>, policy: &Policy, node: Node<'_>, rule: &Rule) {
    let Some((bound, upper, _)) = rule.criterion.is.as_ref().and_then(limit) else {
        return;
    };
    for other in policy.rules.iter().take_while(|o| o.id != rule.id) {
        let together = other.checkpoint == rule.checkpoint && other.stages.overlap(&rule.stages);
        let Some((theirs, their_upper, _)) = other.criterion.is.as_ref().and_then(limit) else {
            continue;
        };
        if !together || !same_measure(&other.criterion, &rule.criterion) {
            continue;
        }
        let grouped = |id: &String| policy.groups.iter().any(|g| g.of.contains(id));
        let message = if upper != their_upper {
            let (most, least) = if upper {
                (bound, theirs)
            } else {
                (theirs, bound)
            };
            if most >= least {
                continue;
            }
            format!(
                "contradiction: it can't hold together with the rule \"{}\"",
                other.id
            )
        } else if rule.class == other.class && !grouped(&rule.id) && !grouped(&other.id) {
            format!(
                "redundant: the rule \"{}\" bounds the same measure",
                other.id
            )
        } else {
            continue;
        };
        let at = node.at("id");
        found.push(Found { at, message });
        return;
    }
}

/// A stage that is shorter than what is judged over it.
fn hold(found: &mut Vec<Found>, policy: &Policy, node: Node<'_>) {
    let Some(stage) = policy.stage(&node.string("id")) else {
        return;
    };
    let Some(hold) = stage.hold else {
        return;
    };
    let longest = policy
        .triggers
        .iter()
        .filter(|t| t.acts && t.stages.hold(&stage.id))
        .map(|t| t.criterion.lasts + t.criterion.grace)
        .max();
    if longest.is_some_and(|longest| hold < longest * 2) {
        found.push(Found {
            at: node.at("hold"),
            message: "the hold is shorter than twice its longest trigger".into(),
        });
    }
    let last = policy.checkpoints.iter().filter(|c| c.stage == stage.id);
    if last.map(|c| c.at).max().is_some_and(|at| hold < at) {
        found.push(Found {
            at: node.at("hold"),
            message: "the hold ends before its last checkpoint".into(),
        });
    }
}
