//! A soak profile: its drills in order or as a mix, its quiet time, the shape of its load.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diag::{Problem, Sink};
use crate::model::*;
use crate::names::known;
use crate::node::{self, Node};
use crate::phase;

/// After a fault's healing this much more isn't quiet yet.
const SETTLE: Duration = Duration::from_secs(10);
const QUIET_SHARE: f64 = 0.5;
const DISK_MAX: u64 = 4 << 30;

pub(crate) fn profile(
    sink: &mut Sink<'_>,
    root: Node<'_>,
    known_drills: &[String],
    target: &Target,
    (name, watches): (String, Vec<Watch>),
) -> Option<Profile> {
    let drills = drills(sink, root, known_drills);
    if drills.is_empty() && root.has("drills") {
        sink.lint(root.at("drills"), "a profile without drills breaks nothing");
    }
    let load = phase::load(root);
    if let Some(node) = root.node("load")
        && load.is_some_and(|l| l.signals_per_s == 0.0)
    {
        let problem = Problem::new("a load of no signals");
        sink.error(
            node.at("signals_per_s"),
            problem.expected("a rate above zero"),
        );
    }
    let quiet = root.duration("quiet").unwrap_or_default();
    let mix = mix(sink, root, known_drills, quiet);
    // Without the drills' own time, which their files say: see `Profile::length`.
    let parts = u32::try_from(drills.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let catches = catches(sink, root, target);
    let mut checkpoints: Vec<Duration> = durations(root, "checkpoints");
    checkpoints.sort_unstable();
    checkpoints.dedup();
    Some(Profile {
        name,
        duration: root
            .duration("duration")
            .unwrap_or_else(|| quiet.saturating_mul(parts)),
        pace: match root.text("pace")?.value {
            "full" => Pace::Full,
            _ => Pace::Quick,
        },
        load: load?,
        shape: shape(root.node("load")),
        drills,
        mix,
        quiet,
        checkpoints,
        mode: root.maybe_string("mode"),
        env: env(sink, root, target),
        disk_max: root.size("disk_max").unwrap_or(DISK_MAX),
        class: root.string("class"),
        settle: root.duration("settle").unwrap_or(SETTLE),
        look_ahead: root.number("look_ahead"),
        watches,
        catches,
    })
}

fn catches(sink: &mut Sink<'_>, root: Node<'_>, target: &Target) -> BTreeMap<String, String> {
    let Some(node) = root.node("catches") else {
        return BTreeMap::new();
    };
    let defects = target.defects.iter().flat_map(|d| &d.names);
    let defects: Vec<&str> = defects.map(String::as_str).collect();
    let watches = root.nodes("watch");
    let watches: Vec<&str> = watches
        .iter()
        .filter_map(|w| Some(w.text("id")?.value))
        .collect();
    let mut catches = BTreeMap::new();
    for (defect, value) in node.entries() {
        known(sink, "defect", defect, &defects);
        if let Some(watch) = node::text(value) {
            known(sink, "watch", watch, &watches);
            catches.insert(defect.owned(), watch.owned());
        }
    }
    catches
}

fn durations(node: Node<'_>, key: &str) -> Vec<Duration> {
    let texts = node.texts(key).into_iter();
    texts
        .filter_map(|t| crate::units::parse_duration(t.value).ok())
        .collect()
}

pub(crate) fn drills(sink: &mut Sink<'_>, node: Node<'_>, known_drills: &[String]) -> Vec<String> {
    for drill in node.texts("drills") {
        known(sink, "drill", drill, known_drills);
    }
    node.strings("drills")
}

/// What the schedule is drawn from, and what goes with it only.
fn mix(
    sink: &mut Sink<'_>,
    root: Node<'_>,
    known_drills: &[String],
    quiet: Duration,
) -> Option<Mix> {
    let Some(node) = root.node("mix") else {
        for key in ["quiet_share", "first_quiet"] {
            if root.has(key) {
                let problem = Problem::new(format!("\"{key}\" without a mix"));
                sink.error(root.at(key), problem.expected("mix = { … }"));
            }
        }
        return None;
    };
    let mut weights = BTreeMap::new();
    for (name, value) in node.entries() {
        known(sink, "drill", name, known_drills);
        let weight = node::integer(value.get_ref()).and_then(|n| u32::try_from(n).ok());
        weights.insert(name.owned(), weight.unwrap_or(1));
    }
    if weights.is_empty() {
        sink.error(
            node.at,
            Problem::new("an empty mix").expected("drill = weight"),
        );
    }
    if !root.has("duration") {
        let problem = Problem::new("a mix without a duration: how much of it?");
        sink.error(
            root.at("mix"),
            problem.expected("duration = \"5h\" or the like"),
        );
    }
    if quiet.is_zero() {
        let problem = Problem::new("drills that are drawn need time to recover between them");
        sink.error(root.at("quiet"), problem.expected("a duration above zero"));
    }
    Some(Mix {
        weights,
        quiet_share: root.number("quiet_share").unwrap_or(QUIET_SHARE),
        first_quiet: root.duration("first_quiet").unwrap_or(quiet),
    })
}

fn shape(load: Option<Node<'_>>) -> LoadShape {
    let of = |key: &str| load.and_then(|l| l.node(key));
    LoadShape {
        ramp: of("ramp").and_then(|n| {
            Some(Ramp {
                signals_per_s: n.number("signals_per_s")?,
                share: n.number("share")?,
            })
        }),
        burst: of("burst").and_then(|n| {
            Some(Burst {
                signals_per_s: n.number("signals_per_s")?,
                lasts: n.duration("lasts")?,
                share: n.number("share")?,
            })
        }),
    }
}

fn env(
    sink: &mut Sink<'_>,
    root: Node<'_>,
    target: &Target,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let services: Vec<&str> = target.services.iter().map(|s| s.name.as_str()).collect();
    let Some(node) = root.node("env") else {
        return BTreeMap::new();
    };
    let mut env = BTreeMap::new();
    for (service, _) in node.entries() {
        known(sink, "service", service, &services);
        env.insert(service.owned(), node.map(service.value));
    }
    env
}
