//! Soak profiles and gate policies.

use crate::check::Broken;
use crate::diag::{Diagnostics, Parsed, Problem, Sink};
use crate::model::*;
use crate::names::{self, known, unique};
use crate::node::Node;
use crate::{grammar, observe, phase};

/// Parses a soak profile, which is named after its file; `known_drills` are the drills there are.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_profile(
    path: &str,
    text: &str,
    known_drills: &[String],
) -> Result<Parsed<Profile>, Diagnostics> {
    names::parse_file(path, text, &grammar::PROFILE, |sink, root, _| {
        profile(sink, root, known_drills, names::stem(path))
    })
}

fn profile(
    sink: &mut Sink<'_>,
    root: Node<'_>,
    known_drills: &[String],
    name: String,
) -> Option<Profile> {
    let drills = drills(sink, root, known_drills);
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
    if drills.is_empty() && root.has("drills") {
        sink.lint(root.at("drills"), "a profile without drills breaks nothing");
    }
    let quiet = root.duration("quiet").unwrap_or_default();
    // Without the drills' own time, which their files say: see `Profile::length`.
    let parts = u32::try_from(drills.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
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
        drills,
        quiet,
        class: root.string("class"),
    })
}

fn drills(sink: &mut Sink<'_>, node: Node<'_>, known_drills: &[String]) -> Vec<String> {
    for drill in node.texts("drills") {
        known(sink, "drill", drill, known_drills);
    }
    node.strings("drills")
}

/// Parses a gate policy, which is named after its file; `known_drills` are the drills there are.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_policy(
    path: &str,
    text: &str,
    known_drills: &[String],
) -> Result<Parsed<Policy>, Diagnostics> {
    names::parse_file(path, text, &grammar::POLICY, |sink, root, broken| {
        Some(policy(sink, root, broken, known_drills, names::stem(path)))
    })
}

fn policy(
    sink: &mut Sink<'_>,
    root: Node<'_>,
    broken: &Broken,
    known_drills: &[String],
    name: String,
) -> Policy {
    for key in ["rule", "attest"] {
        unique(
            sink,
            key,
            root.nodes(key).into_iter().filter_map(|n| n.text("id")),
        );
    }
    unique(sink, "role", root.texts("roles"));
    let roles = root.strings("roles");
    for attest in root.nodes("attest") {
        if let Some(role) = attest.text("role") {
            known(sink, "role", role, &roles);
        }
    }
    let class = match root.string("class").as_str() {
        "release" => PolicyClass::Release,
        _ => PolicyClass::Smoke,
    };
    let requires = requires(sink, root, known_drills);
    if class == PolicyClass::Release && requires.allow_dirty {
        let at = root
            .node("requires")
            .map_or(root.at, |n| n.at("allow_dirty"));
        sink.lint(
            at,
            "a release policy that accepts a build nobody can check out again",
        );
    }
    if requires.drills.is_empty() && !root.has("rule") && !root.has("attest") {
        sink.lint(
            root.at,
            "a policy that asks for nothing lets everything through",
        );
    }
    let mut rules = Vec::new();
    for node in root.nodes("rule") {
        sink.muted = broken.has(node);
        rules.extend(rule(sink, node));
        sink.muted = false;
    }
    let attest = root.nodes("attest").into_iter().map(attest).collect();
    Policy {
        name,
        title: root.string("title"),
        class,
        requires,
        roles,
        attest,
        rules,
    }
}

fn requires(sink: &mut Sink<'_>, root: Node<'_>, known_drills: &[String]) -> Requires {
    let Some(node) = root.node("requires") else {
        return Requires {
            drills: Vec::new(),
            profile: None,
            runtime: None,
            allow_dirty: false,
            fresh_within: None,
        };
    };
    unique(sink, "drill", node.texts("drills"));
    Requires {
        drills: drills(sink, node, known_drills),
        profile: node.maybe_string("profile"),
        runtime: node.maybe_string("runtime"),
        allow_dirty: node.bool("allow_dirty").unwrap_or(false),
        fresh_within: node.duration("fresh_within"),
    }
}

fn attest(node: Node<'_>) -> Attest {
    Attest {
        id: node.string("id"),
        text: node.string("text"),
        role: node.string("role"),
        source: node.maybe_string("source"),
    }
}

fn rule(sink: &mut Sink<'_>, node: Node<'_>) -> Option<Rule> {
    Some(Rule {
        is: observe::predicate(sink, node, true)?,
        id: node.string("id"),
        what: node.string("what"),
        figure: node.string("figure"),
        samples_min: node.uint("samples_min").unwrap_or(1),
        source: node.maybe_string("source"),
    })
}
