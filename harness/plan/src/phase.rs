//! Phases, their acts and their faults.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diag::{Problem, Sink};
use crate::drill::Cx;
use crate::model::*;
use crate::names::{self, known};
use crate::node::{self, Node, Text};
use crate::signal;

/// Kinds of acts that send signals, which a later one can resend.
const SENDS: [&str; 3] = ["burst", "duplicate", "twins"];

pub(crate) fn load(node: Node<'_>) -> Option<Load> {
    let load = node.node("load")?;
    Some(Load {
        signals_per_s: load.number("signals_per_s")?,
    })
}

/// A phase; `sent` are the ids of the earlier acts that sent signals, and grows.
pub(crate) fn phase(cx: &mut Cx<'_, '_>, node: Node<'_>, sent: &mut Vec<String>) -> Phase {
    let id = node.string("id");
    let hold = hold(cx.sink, node);
    let mut acts = Vec::new();
    for (i, act_node) in node.nodes("act").into_iter().enumerate() {
        let id = act_node
            .maybe_string("id")
            .unwrap_or_else(|| format!("{id}/{}", i + 1));
        if let Some(kind) = cx.item(act_node, |cx| act(cx, act_node, sent)) {
            acts.push(Act {
                id: id.clone(),
                kind,
            });
        }
        if act_node
            .text("kind")
            .is_some_and(|k| SENDS.contains(&k.value))
        {
            sent.push(id);
        }
    }
    let faults = node
        .nodes("fault")
        .into_iter()
        .filter_map(|fault_node| cx.item(fault_node, |cx| fault(cx, fault_node)))
        .collect();
    let until = until(cx, node, &id);
    Phase {
        load: load(node),
        id,
        hold,
        acts,
        faults,
        until,
    }
}

fn hold(sink: &mut Sink<'_>, phase: Node<'_>) -> ByProfile<Duration> {
    let Some(node) = phase.node("hold") else {
        let both = phase.duration("hold").unwrap_or_default();
        return ByProfile {
            quick: both,
            full: both,
        };
    };
    let quick = node.duration("quick").unwrap_or_default();
    let full = node.duration("full").unwrap_or(quick);
    if quick > full {
        let problem = Problem::new("quick is longer than full");
        sink.error(
            node.at("quick"),
            problem.expected("the shorter one as quick"),
        );
    }
    ByProfile { quick, full }
}

fn until(cx: &mut Cx<'_, '_>, node: Node<'_>, id: &str) -> String {
    let Some(until) = node.text("until") else {
        return id.to_string();
    };
    if known(cx.sink, "phase", until, &cx.moments.phases)
        && cx.moments.index(until.value) < cx.moments.index(id)
    {
        let message = format!("until \"{}\" is before its phase \"{id}\"", until.value);
        cx.sink.error(
            until.at,
            Problem::new(message).expected(format!("\"{id}\" or a later phase")),
        );
    }
    if !node.has("fault") {
        cx.sink.error(
            until.at,
            Problem::new("until without a fault").expected("a fault in this phase"),
        );
    }
    until.owned()
}

fn fault(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<Fault> {
    let kind = node.text("kind")?;
    let target = node.text("target")?;
    if cx.target.production {
        let message = format!("target \"{}\" is marked production", cx.target.name);
        cx.sink
            .error(kind.at, Problem::new(message).expected("no fault at all"));
    }
    if kind.value == "redis_set" {
        cx.role(target, Role::Redis, "service of role redis");
    } else {
        cx.instance(target);
    }
    Some(Fault {
        kind: fault_kind(cx.sink, kind.value, node)?,
        target: target.owned(),
        between: between(cx.sink, node),
    })
}

fn between(sink: &mut Sink<'_>, node: Node<'_>) -> Option<(Duration, Duration)> {
    let texts = node.texts("between");
    let times = texts.iter().map(|t| crate::units::parse_duration(t.value));
    let times: Vec<Duration> = times.collect::<Result<_, _>>().ok()?;
    let [from, to] = times[..] else { return None };
    if from >= to {
        let problem = Problem::new("no moment lies between these two");
        sink.error(
            node.at("between"),
            problem.expected("the earlier one first"),
        );
    }
    Some((from, to))
}

fn fault_kind(sink: &mut Sink<'_>, kind: &str, node: Node<'_>) -> Option<FaultKind> {
    Some(match kind {
        "pause" => FaultKind::Pause,
        "kill" => FaultKind::Kill,
        "stop" => FaultKind::Stop,
        "restart" => FaultKind::Restart,
        "disconnect" => FaultKind::Disconnect,
        "redis_set" => FaultKind::RedisSet {
            key: node.string("key"),
            value: node.string("value"),
            heal: node.string("heal"),
        },
        "latency" => {
            let latency = node.duration("latency")?;
            let jitter = node.duration("jitter").unwrap_or_default();
            if jitter >= latency {
                let problem = Problem::new("the jitter is no less than the latency");
                let wanted = "less jitter: a delay that may be none can't be proven";
                sink.error(node.at("jitter"), problem.expected(wanted));
            }
            FaultKind::Latency { latency, jitter }
        }
        "bandwidth" => FaultKind::Bandwidth {
            bytes_per_s: node.size("bytes_per_s")?,
        },
        "timeout" => FaultKind::Timeout,
        "reset" => FaultKind::ResetPeer,
        "down" => FaultKind::Down,
        "limit" => FaultKind::LimitData {
            bytes: node.size("bytes")?,
        },
        "http_error" => FaultKind::HttpError {
            status: node.small("status")?,
            retry_after: node.duration("retry_after"),
            methods: node.strings("methods"),
            path: node.maybe_string("path"),
            drop_response: node.bool("drop_response").unwrap_or(false),
        },
        _ => return None,
    })
}

fn act(cx: &mut Cx<'_, '_>, node: Node<'_>, sent: &[String]) -> Option<ActKind> {
    Some(match node.text("kind")?.value {
        "await" => {
            let service = node.text("http")?;
            cx.instance(service);
            ActKind::Await {
                service: service.owned(),
                path: node.string("path"),
                pointer: node.string("json"),
                equals: node.string("equals"),
                within: node.duration("within")?,
            }
        }
        "redis_set" => {
            let service = node.text("target")?;
            cx.role(service, Role::Redis, "service of role redis");
            ActKind::RedisSet {
                service: service.owned(),
                key: node.string("key"),
                value: node.string("value"),
            }
        }
        "restart" => ActKind::Restart {
            services: cx.instances(node, "services"),
        },
        "recreate" => recreate(cx, node),
        "dump" => backup(cx, node, ActKind::Dump),
        "restore" => backup(cx, node, ActKind::Restore),
        "http" => http(cx, node)?,
        "burst" => ActKind::Burst {
            count: node.small("count")?,
            concurrency: node.small("concurrency").unwrap_or(64),
        },
        "duplicate" => duplicate(cx, node, sent)?,
        "twins" => ActKind::Twins {
            count: node.small("count")?,
        },
        "malformed" => malformed(cx, node)?,
        _ => return None,
    })
}

fn recreate(cx: &mut Cx<'_, '_>, node: Node<'_>) -> ActKind {
    let references = names::references(&cx.target.secrets);
    crate::target::environment(cx.sink, node.node("env"), &references);
    ActKind::Recreate {
        services: cx.instances(node, "services"),
        env: node.map("env"),
    }
}

/// An act that needs the target to say how it is backed up, and a table by whose rows a restore shows.
fn backup(cx: &mut Cx<'_, '_>, node: Node<'_>, kind: ActKind) -> ActKind {
    if cx.target.backup.is_none() {
        let problem = Problem::new("the target doesn't say how it is backed up");
        cx.sink.error(
            node.at("kind"),
            problem.expected("[backup] in the target file"),
        );
    } else if !cx.target.audit.sql.contains_key("intent") {
        let problem = Problem::new("the target names no rows by which a restore shows");
        cx.sink.error(
            node.at("kind"),
            problem.expected("intent in [audit.sql] of the target file"),
        );
    }
    kind
}

fn http(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<ActKind> {
    let service = node.text("service")?;
    if cx.instance(service)
        && let Some(port) = node.text("port")
        && let Some(service) = cx.target.service(service.value)
    {
        let ports: Vec<&String> = service.ports.keys().collect();
        known(cx.sink, "port", port, &ports);
    }
    let references = names::references(&cx.target.secrets);
    crate::target::environment(cx.sink, node.node("headers"), &references);
    if let Some(body) = node.text("body") {
        names::template(cx.sink, body, &references);
    }
    Some(ActKind::Http {
        service: service.owned(),
        port: node.maybe_string("port"),
        method: node.text("method").map_or("GET", |m| m.value).to_string(),
        path: node.string("path"),
        headers: node.map("headers"),
        body: node.maybe_string("body"),
        status: statuses(node),
    })
}

/// The statuses that an answer may have.
fn statuses(node: Node<'_>) -> Vec<u16> {
    let given = node.values("status").into_iter();
    let all: Vec<u16> = given
        .filter_map(|v| node::integer(v.get_ref())?.try_into().ok())
        .collect();
    if all.is_empty() { vec![200] } else { all }
}

fn malformed(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<ActKind> {
    let word = node.text("class")?;
    let class = Malformed::of(word.value)?;
    if class == Malformed::Field && cx.target.signals.fields.is_empty() {
        let problem = Problem::new("the target doesn't say what the fields of a signal may hold");
        let problem = problem.expected("[signals.fields] in the target file");
        cx.sink.error(word.at, problem);
    }
    if let Some(overrides) = node.node("overrides") {
        signal::check_overrides(cx.sink, overrides, &cx.target.signals);
    }
    Some(ActKind::Malformed {
        class,
        count: node.small("count")?,
        overrides: node.map("overrides"),
    })
}

fn duplicate(cx: &mut Cx<'_, '_>, node: Node<'_>, sent: &[String]) -> Option<ActKind> {
    let mut services = cx.instances(node, "services");
    if services.is_empty() {
        services.push(cx.target.signals.service.clone());
    }
    if let Some(overrides) = node.node("overrides") {
        signal::check_overrides(cx.sink, overrides, &cx.target.signals);
    }
    if let Some(act) = node.text("as_act") {
        known(cx.sink, "earlier act", act, sent);
    }
    Some(ActKind::Duplicate {
        copies: node.small("copies")?,
        services,
        overrides: node.map("overrides"),
        as_act: node.maybe_string("as_act"),
        meet_at: node.maybe_string("meet_at"),
    })
}

/// Environment that the drill sets, by service.
pub(crate) fn environment(
    cx: &mut Cx<'_, '_>,
    root: Node<'_>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let Some(node) = root.node("env") else {
        return BTreeMap::new();
    };
    let services = cx.services();
    let references = names::references(&cx.target.secrets);
    let mut env = BTreeMap::new();
    for (name, _) in node.entries() {
        known(cx.sink, "service", name, &services);
        crate::target::environment(cx.sink, node.node(name.value), &references);
        env.insert(name.owned(), node.map(name.value));
    }
    env
}

/// Number of instances by service.
pub(crate) fn replicas(cx: &mut Cx<'_, '_>, root: Node<'_>) -> BTreeMap<String, u32> {
    let Some(node) = root.node("replicas") else {
        return BTreeMap::new();
    };
    let services = cx.services();
    let entries: Vec<(Text<'_>, Option<u32>)> = node
        .entries()
        .iter()
        .map(|(name, _)| (*name, node.small(name.value)))
        .collect();
    entries
        .into_iter()
        .filter_map(|(name, count)| {
            known(cx.sink, "service", name, &services);
            Some((name.owned(), count?))
        })
        .collect()
}
