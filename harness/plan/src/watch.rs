//! Watches: what a profile looks at over the whole soak.

use std::time::Duration;

use crate::check::Broken;
use crate::diag::{Problem, Sink};
use crate::drill::Cx;
use crate::model::*;
use crate::names::unique;
use crate::node::Node;
use crate::observe::{self, Probes};
use crate::when::Moments;

/// Pace of a watch that names none: hours of samples at a drill's pace are of no use.
const EVERY: Duration = Duration::from_secs(1);
/// Fields that aren't numbers.
const NO_NUMBERS: [&str; 4] = ["running", "paused", "oom_killed", "state"];
const SAMPLES_MIN: u64 = 30;
const SHARE_MIN: f64 = 0.9;
const GAP_MAX: Duration = Duration::from_secs(30);

/// The watches of a profile. Those of the same thing share one probe, which is in each of them.
pub(crate) fn watches(
    sink: &mut Sink<'_>,
    root: Node<'_>,
    broken: &Broken,
    target: &Target,
) -> Vec<Watch> {
    let nodes = root.nodes("watch");
    unique(sink, "watch", nodes.iter().filter_map(|n| n.text("id")));
    let mut cx = Cx {
        sink,
        target,
        broken,
        moments: Moments {
            phases: Vec::new(),
            faulty: Vec::new(),
            marks: Vec::new(),
        },
        instances: target.services.iter().map(|s| s.name.clone()).collect(),
        has_rules: false,
        rules: None,
    };
    let mut shared = Probes::default();
    let mut watches = Vec::new();
    for node in nodes {
        watches.extend(cx.item(node, |cx| watch(cx, node, &mut shared)));
    }
    for watch in &mut watches {
        if let Some(probe) = shared.0.iter().find(|p| p.id == watch.probe.id) {
            watch.probe = probe.clone();
        }
    }
    watches
}

/// One watch, or one per service where it names several.
fn watch(cx: &mut Cx<'_, '_>, node: Node<'_>, shared: &mut Probes) -> Vec<Watch> {
    let drift = drift(cx, node);
    let bounds = bounds(cx, node);
    let asks = ["limit", "horizon", "toward", "steps", "at_most", "at_least"];
    if !asks.iter().any(|key| node.has(key)) {
        let problem = Problem::new("a watch that asks for nothing");
        cx.sink.error(
            node.at,
            problem.expected("limit with horizon, at_most or at_least"),
        );
    }
    let (Some(id), Some(probe)) = (node.text("id"), node.node("probe")) else {
        return Vec::new();
    };
    let given = probe.has("every");
    let made = observe::probe(cx, probe);
    let several = made.len() > 1;
    let mut watches = Vec::new();
    for (mut probe_of, field) in made {
        if NO_NUMBERS.contains(&field.as_str()) {
            let problem = Problem::new(format!("\"{field}\" isn't a number"));
            let expected = problem.expected("a field with a number");
            cx.sink.error(probe.at("field"), expected);
        }
        let service = observe::service_of(&probe_of.kind).to_string();
        probe_of.id = format!("watch:{}", probe_of.id);
        if !given {
            probe_of.every = EVERY;
        }
        shared.add(probe_of.clone());
        watches.push(Watch {
            id: match several {
                true => format!("{}/{service}", id.value),
                false => id.owned(),
            },
            what: node.string("what"),
            source: node.maybe_string("source"),
            coverage: coverage(node, probe_of.every),
            probe: probe_of,
            field,
            bin: match node.string("bin").as_str() {
                "mean" => BinBy::Mean,
                "p95" => BinBy::P95,
                _ => BinBy::Median,
            },
            drift,
            bounds: bounds.clone(),
        });
    }
    watches
}

fn drift(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<DriftLimit> {
    if let Some(key) = ["horizon", "toward", "steps"]
        .into_iter()
        .find(|key| node.has(key) && !node.has("limit"))
    {
        let problem = Problem::new(format!("\"{key}\" without a limit"));
        cx.sink.error(node.at(key), problem.expected("limit = …"));
        return None;
    }
    let limit = node.number("limit")?;
    let Some(horizon) = node.duration("horizon") else {
        if !node.has("horizon") {
            let problem =
                Problem::new("a limit without a horizon: every slope reaches it some day");
            let expected = problem.expected("horizon = \"24h\" or the like");
            cx.sink.error(node.at("limit"), expected);
        }
        return None;
    };
    Some(DriftLimit {
        limit,
        toward: match node.string("toward").as_str() {
            "down" => Toward::Down,
            _ => Toward::Up,
        },
        horizon,
        steps: node.bool("steps").unwrap_or(true),
    })
}

fn bounds(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Vec<Predicate> {
    let most = node.number("at_most");
    let least = node.number("at_least");
    if let (Some(most), Some(least)) = (most, least)
        && least > most
    {
        let problem = Problem::new(format!("at least {least} and at most {most}: nothing is"));
        let at = node.at("at_most").max(node.at("at_least"));
        cx.sink.error(at, problem.expected("at_least ≤ at_most"));
    }
    let most = most.map(Predicate::AtMost).into_iter();
    most.chain(least.map(Predicate::AtLeast)).collect()
}

fn coverage(node: Node<'_>, every: Duration) -> Coverage {
    let node = node.node("coverage");
    Coverage {
        samples_min: node.and_then(|n| n.uint("samples")).unwrap_or(SAMPLES_MIN),
        share_min: node.and_then(|n| n.number("share")).unwrap_or(SHARE_MIN),
        gap_max: node
            .and_then(|n| n.duration("gap"))
            .unwrap_or_else(|| GAP_MAX.max(every.saturating_mul(5))),
    }
}

impl Profile {
    /// What is sampled over the whole soak, each probe once.
    pub fn probes(&self) -> Vec<&Probe> {
        let mut probes: Vec<&Probe> = Vec::new();
        for watch in &self.watches {
            if probes.iter().all(|p| p.id != watch.probe.id) {
                probes.push(&watch.probe);
            }
        }
        probes
    }
}
