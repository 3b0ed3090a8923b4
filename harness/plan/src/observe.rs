//! Marks and expectations: what is looked at, and what it must be.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::alerts;
use crate::diag::{Problem, list};
use crate::drill::Cx;
use crate::expand;
use crate::grammar::OPERATORS;
use crate::log;
use crate::model::*;
use crate::monitor::PROMETHEUS;
use crate::names::known;
use crate::node::{self, Node};
use crate::units;

const DEADLINE: Duration = Duration::from_secs(1);
const DEADLINE_MAX: Duration = Duration::from_secs(10);
/// What firedrill itself is called where a container is asked for.
const HARNESS: &str = "harness";
const EVERY_MIN: Duration = Duration::from_millis(10);
const EVERY_FAST: Duration = Duration::from_millis(100);
const EVERY_SLOW: Duration = Duration::from_secs(1);

/// The drill's probes, each once.
#[derive(Default)]
pub(crate) struct Probes(pub Vec<Probe>);

impl Probes {
    /// Adds what is asked for to the probe of the same thing, if there is one. The shared probe takes the
    /// faster pace, and the longer deadline: an answer's latency is judged by the checks themselves.
    pub fn add(&mut self, probe: Probe) {
        let Some(known) = self.0.iter_mut().find(|p| p.id == probe.id) else {
            self.0.push(probe);
            return;
        };
        known.every = known.every.min(probe.every);
        known.deadline = known.deadline.max(probe.deadline);
        match (&mut known.kind, probe.kind) {
            (ProbeKind::Http { pointers, .. }, ProbeKind::Http { pointers: more, .. }) => {
                merge(pointers, more);
            }
            (ProbeKind::Metrics { series, .. }, ProbeKind::Metrics { series: more, .. }) => {
                merge(series, more);
            }
            _ => {}
        }
    }
}

fn merge<T: PartialEq>(known: &mut Vec<T>, more: Vec<T>) {
    for item in more {
        if !known.contains(&item) {
            known.push(item);
        }
    }
}

/// A mark, if it can be made sense of.
pub(crate) fn mark(cx: &mut Cx<'_, '_>, node: Node<'_>, probes: &mut Probes) -> Option<Mark> {
    let phase = cx.moments.phase(cx.sink, node, "in");
    alerts::states_fit(cx, node);
    let mut observed = observe(cx, node, probes);
    if observed.len() > 1 {
        let problem = Problem::new("a mark looks at one service");
        cx.sink.error(node.at, problem.expected("service = \"…\""));
    }
    Some(Mark {
        id: node.text("id")?.owned(),
        phase: phase?,
        observe: observed.pop()?.observe,
    })
}

/// The checks of one `[[expect]]`: one, or one per service where it names several.
pub(crate) fn expects(cx: &mut Cx<'_, '_>, node: Node<'_>, probes: &mut Probes) -> Vec<Expect> {
    let observed = observe(cx, node, probes);
    let when = cx.moments.when(cx.sink, node.node("when"));
    alerts::states_fit(cx, node);
    growth_fits(cx, node, when.as_ref());
    let (Some(when), Some(id)) = (when, expand::id(node)) else {
        return Vec::new();
    };
    let counts = !node.has("probe");
    if let Some(op) = node
        .node("when")
        .filter(|w| counts && (w.has("op") || w.has("then")))
    {
        let key = if op.has("op") { "op" } else { "then" };
        let problem = Problem::new(format!(
            "\"{key}\" doesn't go with facts, which are counted over the window"
        ));
        cx.sink
            .error(op.at(key), problem.expected("a probe, or no such key"));
    }
    let several = observed.len() > 1;
    observed
        .into_iter()
        .map(|one| Expect {
            id: match &one.service {
                Some(service) if several => format!("{id}/{service}"),
                _ => id.clone(),
            },
            what: node.string("what"),
            source: node.maybe_string("source"),
            precondition: node.bool("precondition").unwrap_or(false),
            coverage: coverage(node, &when, one.every),
            observe: one.observe,
            when: when.clone(),
        })
        .collect()
}

/// A counter's growth is a number over a window: no other operator fits it.
fn growth_fits(cx: &mut Cx<'_, '_>, node: Node<'_>, when: Option<&When>) {
    if !node.has("growth") {
        return;
    }
    let at = node.at("growth");
    if !node.has("probe") {
        let problem = Problem::new("\"growth\" without a probe");
        cx.sink.error(at, problem.expected("probe = …"));
        return;
    }
    if let Some(key) = ["one_of", "matches"].into_iter().find(|k| node.has(k)) {
        let problem = Problem::new(format!("\"{key}\" of a growth, which is a number"));
        cx.sink
            .error(node.at(key), problem.expected("an operator on numbers"));
    }
    if when.is_some_and(|w| !matches!(w, When::Throughout { .. })) {
        let problem = Problem::new("a growth is one number for its whole window");
        let expected = problem.expected("when = { in = … } or { from = …, to = … }, without op");
        cx.sink.error(node.at("when"), expected);
    }
}

fn coverage(node: Node<'_>, when: &When, every: Option<Duration>) -> Coverage {
    let node = node.node("coverage");
    let samples = match (every, when) {
        (None, _) => 0,
        (Some(_), When::Eventually { .. }) => 1,
        (Some(_), _) => 3,
    };
    let gap = (every.unwrap_or_default() * 5).max(Duration::from_secs(1));
    Coverage {
        samples_min: node.and_then(|n| n.uint("samples")).unwrap_or(samples),
        share_min: node.and_then(|n| n.number("share")).unwrap_or(0.9),
        gap_max: node.and_then(|n| n.duration("gap")).unwrap_or(gap),
    }
}

/// One thing looked at, the service it is about, and the pace of its samples if it has any.
struct Observed {
    observe: Observe,
    service: Option<String>,
    every: Option<Duration>,
}

fn observe(cx: &mut Cx<'_, '_>, node: Node<'_>, probes: &mut Probes) -> Vec<Observed> {
    let operated = node.has("probe") || node.has("count");
    let is = predicate(cx.sink, node, operated);
    can_fail(cx.sink, node);
    if let Some(probe) = node.node("probe") {
        let made = self::probe(cx, probe);
        return made
            .into_iter()
            .filter_map(|(probe, field)| {
                let service = service_of(&probe.kind).to_string();
                let id = probe.id.clone();
                let every = probe.every;
                probes.add(probe);
                let probe = ProbeRef { probe: id, field };
                let is = is.clone()?;
                let growth = node.text("growth").map(|g| match g.value {
                    "per_second" => Growth::PerSecond,
                    _ => Growth::Total,
                });
                Some(Observed {
                    observe: match growth {
                        Some(growth) => Observe::Growth { probe, growth, is },
                        None => Observe::Value { probe, is },
                    },
                    service: Some(service),
                    every: Some(every),
                })
            })
            .collect();
    }
    if node.has("sequence") {
        return sequence(cx, node).into_iter().collect();
    }
    let (key, is) = match node.has("none") {
        true => ("none", Some(Predicate::Equals(0.into()))),
        false => ("count", is),
    };
    let selected = node.node(key).map(|n| selectors(cx, n)).unwrap_or_default();
    log::can_be_found(cx, node, is.as_ref());
    if key == "count" && matches!(is, Some(Predicate::AtLeast(n)) if n <= 0.0) {
        cx.sink.lint(
            node.at("at_least"),
            "a count is never less than this: it always holds",
        );
    }
    selected
        .into_iter()
        .filter_map(|(facts, service)| {
            let is = is.clone()?;
            Some(Observed {
                observe: Observe::Count { facts, is },
                service,
                every: None,
            })
        })
        .collect()
}

/// Refuses checks that hold whatever the target does.
fn can_fail(sink: &mut crate::diag::Sink<'_>, node: Node<'_>) {
    let status = node
        .node("probe")
        .is_some_and(|p| p.text("field").is_some_and(|f| f.value == "status"));
    let ordered = ["at_most", "below", "at_least", "above"];
    if let Some(key) = ordered.into_iter().find(|k| status && node.has(k)) {
        let problem = Problem::new(format!(
            "\"{key}\" of a status, which is no quantity: errors hold it as well"
        ));
        sink.error(node.at(key), problem.expected("equals or one_of"));
    }
    let sent = node
        .node("count")
        .filter(|c| c.text("op").is_some_and(|op| op.value == "any"))
        .filter(|c| !c.has("status") && !c.has("detail"));
    if let Some(sent) = sent {
        let problem = Problem::new("this counts what the drill itself sent, whatever became of it");
        let expected =
            "op = \"ok\", \"rejected\", \"failed\" or \"unknown\", a status, or a detail";
        sink.error(sent.at("op"), problem.expected(expected));
    }
}

/// The node's operator. Exactly one where one is needed, else none.
pub(crate) fn predicate(
    sink: &mut crate::diag::Sink<'_>,
    node: Node<'_>,
    needed: bool,
) -> Option<Predicate> {
    let given: Vec<&str> = OPERATORS.iter().copied().filter(|k| node.has(k)).collect();
    let names = list(&OPERATORS).unwrap_or_default();
    match given.as_slice() {
        [] if needed => {
            sink.error(node.at, Problem::new("no operator").expected(names));
            None
        }
        [] => None,
        [one] if needed => operator(node, one),
        [one, ..] if !needed => {
            let problem = Problem::new(format!("operator \"{one}\" with none or sequence"));
            sink.error(node.at(one), problem.expected("no operator"));
            None
        }
        [first, second, ..] => {
            let at = node.at(first).max(node.at(second));
            let problem = Problem::new(format!("two operators, \"{first}\" and \"{second}\""));
            sink.error(
                at,
                problem.expected("one; the other in an expectation of its own"),
            );
            None
        }
        [_] => None,
    }
}

fn operator(node: Node<'_>, key: &str) -> Option<Predicate> {
    let scalars = || {
        let values = node.values(key).into_iter();
        values
            .filter_map(|v| node::scalar(v.get_ref()))
            .collect::<Vec<_>>()
    };
    Some(match key {
        "equals" => Predicate::Equals(scalars().pop()?),
        "one_of" => Predicate::OneOf(scalars()),
        "at_most" => Predicate::AtMost(node.number(key)?),
        "below" => Predicate::Below(node.number(key)?),
        "at_least" => Predicate::AtLeast(node.number(key)?),
        "above" => Predicate::Above(node.number(key)?),
        _ => Predicate::Matches(node.string(key)),
    })
}

fn sequence(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Observed> {
    let mut facts = Vec::new();
    let mut first: Option<String> = None;
    for selector in node.nodes("sequence") {
        let Some(log) = selector.text("log") else {
            let problem = Problem::new("a sequence is one of log lines");
            cx.sink
                .error(selector.at, problem.expected("{ log = …, matches = … }"));
            continue;
        };
        let service = first.get_or_insert_with(|| log.owned());
        if service != log.value {
            let message = format!("a sequence is of one service, \"{service}\"");
            cx.sink.error(log.at, Problem::new(message));
        }
        facts.extend(selectors(cx, selector).into_iter().map(|(facts, _)| facts));
    }
    Some(Observed {
        observe: Observe::Sequence { facts },
        service: first,
        every: None,
    })
}

/// The selectors that a table means: one, or one per service; with the service if it is about one.
fn selectors(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Vec<(FactSelector, Option<String>)> {
    if let Some(chain) = node.text("chain") {
        needs_chain(cx, chain.at);
        let signals_of = cx.moments.signals_of(cx.sink, node);
        let origin = node.maybe_string("origin");
        let fields = field_bounds(node);
        let outcome = node.maybe_string("outcome");
        let selector = match chain.value {
            "submission" => FactSelector::ChainSubmission {
                outcome,
                signals_of,
                origin,
                fields,
            },
            _ => FactSelector::ChainFirstSend {
                outcome,
                signals_of,
                origin,
                fields,
            },
        };
        return vec![(selector, None)];
    }
    if let Some(log) = node.text("log") {
        if cx.instance(log) && cx.target.service(log.value).is_some_and(|s| !s.logs) {
            let problem = Problem::new(format!("the log of \"{}\" isn't followed", log.value));
            cx.sink
                .error(log.at, problem.expected("logs = true in the target file"));
        }
        log::like_fits(cx, node);
        let selector = FactSelector::Log {
            service: log.owned(),
            pattern: node.string("matches"),
        };
        return vec![(selector, Some(log.owned()))];
    }
    if node.has("engine") {
        let event = node.string("engine");
        return service_keys(cx, node)
            .into_iter()
            .map(|service| {
                let selector = FactSelector::Engine {
                    service: service.clone(),
                    event: event.clone(),
                };
                (selector, Some(service))
            })
            .collect();
    }
    if node.has("op") {
        let selector = FactSelector::Op {
            state: node.maybe_string("op").filter(|op| op != "any"),
            status: node.small("status"),
            detail: node.maybe_string("detail"),
            names: names_of_refusals(cx, node),
            origin: node.maybe_string("origin"),
        };
        return vec![(selector, None)];
    }
    row(cx, node).map(|row| (row, None)).into_iter().collect()
}

fn row(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<FactSelector> {
    let row = node.text("row")?;
    let names: Vec<&String> = cx.target.audit.sql.keys().collect();
    known(cx.sink, "query of audit.sql", row, &names);
    Some(FactSelector::Row {
        table: row.owned(),
        columns: node.map("where"),
        signals_of: cx.moments.signals_of(cx.sink, node),
        origin: node.maybe_string("origin"),
        fields: field_bounds(node),
    })
}

/// What a refusal must name; only a target that says where its answers do so can be asked.
fn names_of_refusals(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<String> {
    let names = node.text("names")?;
    if cx.target.signals.names.is_empty() {
        let problem = Problem::new("the target doesn't say where its answers name what is wrong");
        let problem = problem.expected("signals.names in the target file");
        cx.sink.error(names.at, problem);
    }
    Some(names.owned())
}

/// The conditions on numeric fields that a selector names.
fn field_bounds(node: Node<'_>) -> Vec<FieldBound> {
    type Make = fn(f64) -> Predicate;
    let mut bounds = Vec::new();
    for (key, make) in [
        ("above", Predicate::Above as Make),
        ("below", Predicate::Below as Make),
    ] {
        let entries = node.node(key).map(|n| n.entries()).unwrap_or_default();
        bounds.extend(entries.into_iter().filter_map(|(field, value)| {
            Some(FieldBound {
                field: field.owned(),
                is: make(node::number(value.get_ref())?),
            })
        }));
    }
    bounds
}

/// Facts of the chain need a chain that can be asked.
pub(crate) fn needs_chain(cx: &mut Cx<'_, '_>, at: usize) {
    if cx.target.audit.chain.is_none() {
        let problem = Problem::new("the target doesn't say how its chain is read");
        cx.sink
            .error(at, problem.expected("audit.chain in the target file"));
    }
}

/// What `service` or `services` names.
fn service_keys(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Vec<String> {
    let mut services = cx.instances(node, "service");
    services.extend(cx.instances(node, "services"));
    services
}

/// The probes that a table means, and the field of each.
pub(crate) fn probe(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Vec<(Probe, String)> {
    let kinds = kinds(cx, node);
    let fast = node.has("http") || node.has("redis");
    let every = node
        .duration("every")
        .unwrap_or(if fast { EVERY_FAST } else { EVERY_SLOW });
    if every < EVERY_MIN {
        let problem = Problem::new("a pace that no probe keeps");
        cx.sink
            .error(node.at("every"), problem.expected("10ms or more"));
    }
    let deadline = node.duration("deadline").unwrap_or(DEADLINE);
    if deadline > DEADLINE_MAX {
        let problem = Problem::new("a deadline so long that a paused server would hang the drill");
        cx.sink
            .error(node.at("deadline"), problem.expected("10s or less"));
    }
    kinds
        .into_iter()
        .map(|(kind, field)| {
            let probe = Probe {
                id: probe_id(&kind),
                kind,
                every,
                deadline,
            };
            (probe, field)
        })
        .collect()
}

fn kinds(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Vec<(ProbeKind, String)> {
    if let Some(asked) = alerts::probe(cx, node) {
        return vec![asked];
    }
    let field = node.string("field");
    if let Some(service) = node.text("http") {
        cx.instance(service);
        let pointer = node.maybe_string("json");
        let kind = ProbeKind::Http {
            service: service.owned(),
            path: node.string("path"),
            pointers: pointer.clone().into_iter().collect(),
        };
        return vec![(kind, pointer.unwrap_or(field))];
    }
    if let Some(text) = node.text("metric") {
        let Ok(series) = units::parse_series(text.value) else {
            return Vec::new();
        };
        let path = node
            .maybe_string("path")
            .unwrap_or_else(|| METRICS_PATH.to_string());
        return service_keys(cx, node)
            .into_iter()
            .map(|service| {
                let beats = cx.target.service(&service);
                let heartbeat = beats.and_then(|s| s.heartbeat.clone());
                let kind = ProbeKind::Metrics {
                    service,
                    path: path.clone(),
                    series: vec![series.clone()],
                    heartbeat: heartbeat.filter(|h| h.path == path),
                };
                (kind, text.owned())
            })
            .collect();
    }
    let value = || "value".to_string();
    if let Some(query) = node.text("sql") {
        let Some((service, _)) = &cx.target.audit.postgres else {
            let problem = Problem::new("the target doesn't say how its database is read");
            cx.sink.error(
                query.at,
                problem.expected("audit.postgres in the target file"),
            );
            return Vec::new();
        };
        let kind = ProbeKind::Sql {
            service: service.clone(),
            query: query.owned(),
        };
        return vec![(kind, value())];
    }
    if let Some(service) = node.text("redis") {
        cx.role(service, Role::Redis, "service of role redis");
        let kind = ProbeKind::RedisGet {
            service: service.owned(),
            key: node.string("key"),
        };
        return vec![(kind, value())];
    }
    if node.has("load") {
        return vec![(ProbeKind::Load, node.string("load"))];
    }
    let Some(service) = node.text("container") else {
        return Vec::new();
    };
    if service.value == HARNESS && cx.target.service(HARNESS).is_none() {
        return vec![(ProbeKind::Harness, field)];
    }
    cx.instance(service);
    let kind = ProbeKind::Container {
        service: service.owned(),
    };
    vec![(kind, field)]
}

pub(crate) fn service_of(kind: &ProbeKind) -> &str {
    match kind {
        ProbeKind::Http { service, .. }
        | ProbeKind::Metrics { service, .. }
        | ProbeKind::Sql { service, .. }
        | ProbeKind::RedisGet { service, .. }
        | ProbeKind::Container { service } => service,
        ProbeKind::Harness => HARNESS,
        ProbeKind::Load => "load",
        ProbeKind::Promql { .. } | ProbeKind::Alert { .. } => PROMETHEUS,
    }
}

fn digest(query: &str) -> String {
    hex::encode(&Sha256::digest(query.as_bytes())[..8])
}

/// Id of the probe that asks a metrics server for an expression.
pub fn promql_probe(query: &str) -> String {
    format!("promql:{}", digest(query))
}

/// What is probed, as text; a query by its digest.
fn probe_id(kind: &ProbeKind) -> String {
    match kind {
        ProbeKind::Http { service, path, .. } => format!("http:{service}:{path}"),
        ProbeKind::Metrics { service, path, .. } => format!("metrics:{service}:{path}"),
        ProbeKind::Sql { service, query } => format!("sql:{service}:{}", digest(query)),
        ProbeKind::Promql { query } => promql_probe(query),
        ProbeKind::Alert { alert } => format!("alert:{alert}"),
        ProbeKind::RedisGet { service, key } => format!("redis:{service}:{key}"),
        ProbeKind::Container { service } => format!("container:{service}"),
        ProbeKind::Harness => HARNESS.to_owned(),
        ProbeKind::Load => "load".to_owned(),
    }
}
