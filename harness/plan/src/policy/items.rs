//! The items of a policy: what must hold, what fires, what must be there.

use super::Cx;
use crate::diag::Problem;
use crate::model::*;
use crate::names::{known, unique};
use crate::node::Node;

/// Default of `quiet_min`.
const QUIET_MIN: f64 = 0.5;

fn class_of(node: Node<'_>) -> Class {
    match node.string("class").as_str() {
        "warning" => Class::Warning,
        "zero-tolerance" => Class::ZeroTolerance,
        _ => Class::Critical,
    }
}

fn after(node: Node<'_>) -> After {
    match node.string("after").as_str() {
        "trigger" => After::Trigger,
        "no-go" => After::NoGo,
        _ => After::Always,
    }
}

fn measure(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Measure> {
    if node.has("expr") {
        return Some(Measure::Expr(cx.expr(node, "expr")?));
    }
    if node.has("all_of") {
        return Some(Measure::AllOf(all_of(cx, node)));
    }
    if let Some(import) = node.text("import") {
        known(cx.sink, "import", import, &cx.imports);
        return Some(Measure::Import(import.owned()));
    }
    if node.has("manual") {
        return Some(Measure::Manual(cx.role(node, "manual")?));
    }
    let text = |key: &str| node.maybe_string(key);
    text("figure")
        .map(Measure::Figure)
        .or_else(|| text("log").map(Measure::Log))
        .or_else(|| text("missing").map(Measure::Missing))
        .or_else(|| text("setting").map(Measure::Setting))
        .or_else(|| text("gate").map(Measure::Gate))
        .or_else(|| {
            Some(Measure::Probe {
                id: text("probe")?,
                field: text("field").unwrap_or_else(|| "value".to_owned()),
            })
        })
}

fn all_of(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Vec<String> {
    unique(cx.sink, "item", node.texts("all_of"));
    for name in node.texts("all_of") {
        match name.value.strip_prefix("stage:") {
            Some(stage) => {
                let stage = crate::node::Text {
                    value: stage,
                    at: name.at,
                };
                known(cx.sink, "stage", stage, &cx.stages);
            }
            None if name.value == "rules" => {}
            None => {
                known(cx.sink, "item", name, &cx.items);
            }
        }
    }
    node.strings("all_of")
}

/// Whether the measure gives a number that a bound is put on.
fn has_value(measure: &Measure) -> bool {
    !matches!(
        measure,
        Measure::AllOf(_) | Measure::Missing(_) | Measure::Manual(_) | Measure::Gate(_)
    )
}

fn criterion(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Criterion> {
    let measure = measure(cx, node)?;
    // An import says itself what is good; a rule may put another bound on its value.
    let may = matches!(measure, Measure::Missing(_) | Measure::Import(_));
    let given = crate::grammar::OPERATORS
        .iter()
        .chain(&["between"])
        .any(|key| node.has(key));
    let is = match may && !given {
        true => None,
        false => cx.bound(node, has_value(&measure) || may),
    };
    if has_value(&measure) && !may && is.is_none() {
        return None;
    }
    let volume = match (cx.expr(node, "volume"), node.number("min_volume")) {
        (Some(expr), Some(min)) => Some(Volume { expr, min }),
        (None, None) => None,
        _ => {
            let problem = Problem::new("\"volume\" and \"min_volume\" go together");
            cx.sink.error(node.at, problem.expected("both, or none"));
            None
        }
    };
    let series = measure.series().is_some();
    if let Some(key) = ["for", "grace", "volume", "baseline"]
        .into_iter()
        .find(|key| !series && !matches!(measure, Measure::Missing(_)) && node.has(key))
    {
        let problem = Problem::new(format!("\"{key}\" of what isn't recorded over time"));
        cx.sink.error(node.at(key), problem.expected("expr or log"));
    }
    if let Some(baseline) = node.text("baseline")
        && baseline.value != "accepted"
    {
        known(cx.sink, "stage", baseline, &cx.stages);
    }
    Some(Criterion {
        measure,
        is,
        lasts: node.duration("for").unwrap_or_default(),
        grace: node.duration("grace").unwrap_or_default(),
        min_samples: node.uint("min_samples").unwrap_or(1),
        volume,
        scope: match node.string("scope").as_str() {
            "fault" => Scope::Fault,
            "all" => Scope::All,
            _ => Scope::Quiet,
        },
        quiet_min: node.number("quiet_min").unwrap_or(QUIET_MIN),
        baseline: node.maybe_string("baseline"),
    })
}

pub(super) fn rule(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Rule> {
    if let Some(checkpoint) = node.text("checkpoint") {
        known(cx.sink, "checkpoint", checkpoint, &cx.checkpoints);
        if node.has("stage") {
            let problem = Problem::new("a checkpoint says the stage already");
            cx.sink
                .error(node.at("stage"), problem.expected("no stage"));
        }
    }
    Some(Rule {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        class: class_of(node),
        stages: cx.stages_of(node),
        checkpoint: node.maybe_string("checkpoint"),
        criterion: criterion(cx, node)?,
    })
}

pub(super) fn trigger(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Trigger> {
    let class = class_of(node);
    let grace = node.duration("grace").unwrap_or_default();
    if class != Class::Warning && !grace.is_zero() {
        let problem = Problem::new(format!("a {} trigger has no grace", class.word()));
        cx.sink.error(
            node.at("grace"),
            problem.expected("for, or class = \"warning\""),
        );
    }
    let rollback = node.text("rollback");
    if let Some(rollback) = rollback {
        known(cx.sink, "rollback", rollback, &cx.rollbacks);
    }
    let acts = node.string("act") != "ask";
    if acts && cx.rollbacks.is_empty() {
        let problem = Problem::new("a trigger without a roll-back to start");
        cx.sink.error(
            node.at,
            problem.expected("a [[rollback]], or act = \"ask\""),
        );
    }
    Some(Trigger {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        class,
        stages: cx.stages_of(node),
        criterion: criterion(cx, node)?,
        acts,
        rollback: rollback.map(|r| r.owned()),
    })
}

pub(super) fn group(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Group> {
    let items = cx.items.clone();
    unique(cx.sink, "item", node.texts("of"));
    let of = cx.names(node, "of", "item", &items);
    let need = node.small("need").unwrap_or(of.len());
    if need > of.len() {
        let problem = Problem::new(format!("{need} of {} can never hold", of.len()));
        cx.sink
            .error(node.at("need"), problem.expected("a number up to that"));
    }
    Some(Group {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        need,
        of,
    })
}

pub(super) fn drill(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<DrillItem> {
    let how = if let Some(name) = node.text("name") {
        cx.drill(name);
        DrillBy::Drill(name.owned())
    } else if node.has("run") {
        DrillBy::Run(node.strings("run"))
    } else {
        DrillBy::Missing(node.maybe_string("missing")?)
    };
    Some(DrillItem {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        stages: cx.stages_of(node),
        how,
        fresh_within: node.duration("fresh_within"),
    })
}

pub(super) fn audit(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<AuditItem> {
    if let Some(checkpoint) = node.text("checkpoint") {
        known(cx.sink, "checkpoint", checkpoint, &cx.checkpoints);
    }
    Some(AuditItem {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        stages: cx.stages_of(node),
        checkpoint: node.maybe_string("checkpoint"),
        equation: match node.maybe_string("equation") {
            Some(equation) => Ok(equation),
            None => Err(node.maybe_string("missing")?),
        },
        min_samples: node.uint("min_samples").unwrap_or(1),
    })
}

pub(super) fn config(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Config> {
    let measure = measure(cx, node)?;
    let interval = matches!(&measure, Measure::Gate(what) if what == "interval");
    let needed = interval
        || !matches!(
            measure,
            Measure::Gate(_) | Measure::Missing(_) | Measure::Import(_)
        );
    Some(Config {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        stages: cx.stages_of(node),
        is: cx.bound(node, needed),
        measure,
    })
}

pub(super) fn evidence(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Evidence> {
    if let Some(import) = node.text("import") {
        known(cx.sink, "import", import, &cx.imports);
    }
    let text = |key: &str| node.maybe_string(key);
    let by = text("file")
        .map(EvidenceBy::File)
        .or_else(|| text("field").map(EvidenceBy::Field))
        .or_else(|| text("decision").map(EvidenceBy::Decision))
        .or_else(|| text("import").map(EvidenceBy::Import))?;
    Some(Evidence {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        stages: cx.stages_of(node),
        after: after(node),
        by,
    })
}

pub(super) fn import(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Import> {
    let json = node.maybe_string("json");
    Some(Import {
        id: node.string("id"),
        what: node.string("what"),
        source: node.strings("source"),
        stages: cx.stages_of(node),
        is: cx.bound(node, json.is_some()),
        samples: node.maybe_string("samples"),
        revision: node.maybe_string("revision"),
        min_samples: node.uint("min_samples").unwrap_or(1),
        json,
    })
}

pub(super) fn attest(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Attest> {
    if let Some(stage) = node.text("stage") {
        known(cx.sink, "stage", stage, &cx.stages);
    }
    let items = cx.items.clone();
    Some(Attest {
        id: node.string("id"),
        text: node.string("text"),
        role: cx.role(node, "role")?,
        source: node.strings("source"),
        stage: node.maybe_string("stage"),
        requires: cx.names(node, "requires", "item", &items),
        after: after(node),
        due: node.duration("due"),
        shows: node.maybe_string("shows"),
    })
}
