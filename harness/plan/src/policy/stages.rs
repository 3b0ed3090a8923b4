//! The ramp and the way back: stages, checkpoints, steps, roll-backs.

use super::{Cx, EVERY, TOLERANCE};
use crate::diag::Problem;
use crate::model::*;
use crate::names::known;
use crate::node::Node;

pub(super) fn canary(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Canary {
    Canary {
        selector: node.string("selector"),
        share: cx.expr(node, "share"),
        tolerance: node.number("tolerance").unwrap_or(TOLERANCE),
        every: node.duration("every").unwrap_or(EVERY),
        scrape: node.duration("scrape").unwrap_or(EVERY),
        source: node.strings("source"),
    }
}

pub(super) fn stage(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Stage> {
    let id = node.string("id");
    let weight = node.number("weight");
    if weight.is_some_and(|w| w > 100.0) {
        let problem = Problem::new("more than the whole traffic");
        cx.sink
            .error(node.at("weight"), problem.expected("percent, 0 to 100"));
    }
    if weight.is_some_and(|w| w > 0.0 && w < 100.0) && !cx.canary {
        let problem = Problem::new("a canary is judged by its own series");
        let expected = problem.expected("[canary] with its selector");
        cx.sink.error(node.at("weight"), expected);
    }
    let stages = cx.stages.clone();
    let requires = cx.names(node, "requires", "stage", &stages);
    let position = stages.iter().position(|s| *s == id);
    for needed in node.texts("requires") {
        if stages.iter().position(|s| s == needed.value) >= position {
            let problem = Problem::new(format!("stage \"{}\" comes later", needed.value));
            cx.sink.error(
                needed.at,
                problem.expected("a stage that stands before this one"),
            );
        }
    }
    if node.duration("hold_max") < node.duration("hold") && node.has("hold_max") {
        let problem = Problem::new("\"hold_max\" is shorter than \"hold\"");
        cx.sink
            .error(node.at("hold_max"), problem.expected("at least as long"));
    }
    Some(Stage {
        what: node.string("what"),
        source: node.strings("source"),
        weight,
        hold: node.duration("hold"),
        hold_max: node.duration("hold_max"),
        settle: node.duration("settle").unwrap_or_default(),
        budget: node.duration("budget"),
        ready_within: node.duration("ready_within"),
        requires,
        inherits: cx.names(node, "inherits", "stage", &stages),
        profile: node.maybe_string("profile").unwrap_or_else(|| id.clone()),
        fresh_within: node.duration("fresh_within"),
        retry_embargo: node.duration("retry_embargo"),
        coverage: node.number("coverage").unwrap_or(0.9),
        enter: steps(cx, node, "enter"),
        exit: steps(cx, node, "exit"),
        id,
    })
}

fn steps(cx: &mut Cx<'_, '_>, node: Node<'_>, key: &str) -> Vec<Step> {
    let nodes = node.nodes(key);
    let ids: Vec<String> = nodes.iter().map(|n| n.string("id")).collect();
    let mut steps = Vec::new();
    for node in nodes {
        if let Some(other) = node.text("alternative") {
            known(cx.sink, "step", other, &ids);
        }
        let Some(verify) = node.node("verify").and_then(|v| verify(cx, v)) else {
            continue;
        };
        steps.push(Step {
            id: node.string("id"),
            what: node.string("what"),
            source: node.strings("source"),
            run: node.strings("run"),
            alternative: node.maybe_string("alternative"),
            verify,
        });
    }
    steps
}

fn verify(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Verify> {
    let (how, is) = if node.has("expr") {
        (VerifyBy::Expr(cx.expr(node, "expr")?), cx.bound(node, true))
    } else if node.has("run") {
        let given = crate::grammar::OPERATORS.iter().any(|key| node.has(key));
        (VerifyBy::Run(node.strings("run")), cx.bound(node, given))
    } else {
        (VerifyBy::Rules(rules(cx, node)), cx.bound(node, false))
    };
    Some(Verify {
        how,
        is,
        within: node.duration("within")?,
    })
}

/// Rules that a step is held to: each must have a bound on what one look can show.
fn rules(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Vec<String> {
    let all = cx.rules.clone();
    for name in node.texts("rules") {
        let id = name.owned();
        if all.contains(&id) && !cx.shown_at_once.contains(&id) {
            let problem = Problem::new(format!("a step can't be held to the rule \"{id}\""));
            let expected = problem.expected("a rule with an expr and without a baseline");
            cx.sink.error(name.at, expected);
        }
    }
    cx.names(node, "rules", "rule", &all)
}

pub(super) fn checkpoint(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Checkpoint> {
    let stage = node.text("stage")?;
    known(cx.sink, "stage", stage, &cx.stages);
    let (at, window) = (node.duration("at")?, node.duration("window")?);
    if window > at {
        let problem = Problem::new("the window begins before the stage does");
        cx.sink.error(
            node.at("window"),
            problem.expected("at most the checkpoint's own time"),
        );
    }
    Some(Checkpoint {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        stage: stage.owned(),
        at,
        window,
        then_throughout: node.has("then"),
    })
}

pub(super) fn rollback(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Rollback> {
    Some(Rollback {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        on: match node.string("on").as_str() {
            "critical" => StartedBy::Critical,
            "manual" => StartedBy::Manual,
            _ => StartedBy::Any,
        },
        positions: match node.string("positions").as_str() {
            "close" => Positions::Close,
            _ => Positions::Keep,
        },
        role: cx.role(node, "role"),
        rehearsed_within: node.duration("rehearsed_within"),
        within: node.duration("within"),
        steps: steps(cx, node, "step"),
    })
}
