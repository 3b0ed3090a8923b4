//! Gate policies, waivers and attestations.

mod items;
mod lints;
mod stages;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::check::Broken;
use crate::diag::{Diagnostics, Parsed, Problem, Sink};
use crate::grammar;
use crate::model::*;
use crate::names::{self, known, unique};
use crate::node::{Node, Text};

/// What a policy can refer to.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Names of all drills.
    pub drills: Vec<String>,
    /// Per target file the names that it gives to variables, and the series that it is known to have.
    pub targets: BTreeMap<String, TargetSeries>,
}

/// The series of one target.
#[derive(Clone, Debug, Default)]
pub struct TargetSeries {
    /// `[metric]`: variable → series.
    pub names: BTreeMap<String, String>,
    pub series: BTreeSet<String>,
}

const EVERY: Duration = Duration::from_secs(15);
const TOLERANCE: f64 = 0.02;
/// Kinds of items that share one namespace: groups, waivers and `all_of` name them.
const ITEMS: [&str; 9] = [
    "rule", "drill", "audit", "config", "evidence", "import", "attest", "group", "rollback",
];

/// Parses a gate policy, which is named after its file.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_policy(path: &str, text: &str, known: &Known) -> Result<Parsed<Policy>, Diagnostics> {
    names::parse_file(path, text, &grammar::POLICY, |sink, root, broken| {
        Some(decode(sink, root, broken, known, names::stem(path)))
    })
}

/// Where findings go, and what the policy's parts can refer to.
struct Cx<'a, 's> {
    sink: &'a mut Sink<'s>,
    broken: &'a Broken,
    known: &'a Known,
    stages: Vec<String>,
    checkpoints: Vec<String>,
    items: Vec<String>,
    rules: Vec<String>,
    /// Rules that a step can be held to: a look at their expression is enough.
    shown_at_once: Vec<String>,
    imports: Vec<String>,
    rollbacks: Vec<String>,
    roles: Vec<String>,
    metrics: BTreeMap<String, String>,
    canary: bool,
}

fn decode(
    sink: &mut Sink<'_>,
    root: Node<'_>,
    broken: &Broken,
    known: &Known,
    name: String,
) -> Policy {
    identities(sink, root);
    let ids = |key: &str| -> Vec<String> {
        let nodes = root.nodes(key).into_iter();
        nodes.filter_map(|n| n.maybe_string("id")).collect()
    };
    let mut cx = Cx {
        stages: ids("stage"),
        checkpoints: ids("checkpoint"),
        items: ITEMS.iter().flat_map(|key| ids(key)).collect(),
        rules: ids("rule"),
        shown_at_once: shown_at_once(root),
        imports: ids("import"),
        rollbacks: ids("rollback"),
        roles: root.strings("roles"),
        metrics: root.map("metrics"),
        canary: root.has("canary"),
        sink,
        broken,
        known,
    };
    let canary = root
        .node("canary")
        .map(|node| stages::canary(&mut cx, node));
    let policy = Policy {
        name,
        title: root.string("title"),
        class: class(root),
        owner: cx.role(root, "owner"),
        release: root.maybe_string("release"),
        targets: cx.targets(root),
        roles: cx.roles.clone(),
        metrics: cx.metrics.clone(),
        canary,
        requires: requires(&mut cx, root),
        rules: cx.each(root, "rule", items::rule),
        triggers: cx.each(root, "trigger", items::trigger),
        stages: cx.each(root, "stage", stages::stage),
        checkpoints: cx.each(root, "checkpoint", stages::checkpoint),
        groups: cx.each(root, "group", items::group),
        drills: cx.each(root, "drill", items::drill),
        audits: cx.each(root, "audit", items::audit),
        configs: cx.each(root, "config", items::config),
        evidence: cx.each(root, "evidence", items::evidence),
        imports: cx.each(root, "import", items::import),
        attest: cx.each(root, "attest", items::attest),
        signatures: signatures(&mut cx, root),
        rollbacks: cx.each(root, "rollback", stages::rollback),
    };
    lints::all(&mut cx, root, &policy);
    policy
}

/// Rules about an expression that are compared with nothing else.
fn shown_at_once(root: Node<'_>) -> Vec<String> {
    let nodes = root.nodes("rule").into_iter();
    let alone = nodes.filter(|n| n.has("expr") && !n.has("baseline"));
    alone.filter_map(|n| n.maybe_string("id")).collect()
}

/// Ids are given once in their namespace.
fn identities(sink: &mut Sink<'_>, root: Node<'_>) {
    let ids = |key: &str| root.nodes(key).into_iter().filter_map(|n| n.text("id"));
    unique(sink, "item", ITEMS.iter().flat_map(|key| ids(key)));
    for key in ["trigger", "stage", "checkpoint"] {
        unique(sink, key, ids(key));
    }
    let of = |key: &str, lists: [&str; 2]| -> Vec<Text<'_>> {
        let nodes = root.nodes(key).into_iter();
        let steps = nodes.flat_map(|n| lists.map(|list| n.nodes(list)).concat());
        steps.filter_map(|n| n.text("id")).collect()
    };
    let steps = [
        of("stage", ["enter", "exit"]),
        of("rollback", ["step", "-"]),
    ];
    unique(sink, "step", steps.concat());
    unique(sink, "role", root.texts("roles"));
}

fn class(root: Node<'_>) -> PolicyClass {
    match root.string("class").as_str() {
        "release" => PolicyClass::Release,
        _ => PolicyClass::Smoke,
    }
}

impl<'a> Cx<'a, '_> {
    /// Decodes every table of a list that is whole.
    fn each<T>(
        &mut self,
        root: Node<'_>,
        key: &str,
        decode: fn(&mut Cx<'_, '_>, Node<'_>) -> Option<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for node in root.nodes(key) {
            self.sink.muted = self.broken.has(node);
            all.extend(decode(self, node));
            self.sink.muted = false;
        }
        all
    }

    /// A drill by its name. Without any drill at hand (a policy that a journal holds) there is nothing to
    /// compare with.
    fn drill(&mut self, name: Text<'_>) {
        if !self.known.drills.is_empty() {
            known(self.sink, "drill", name, &self.known.drills);
        }
    }

    fn role(&mut self, node: Node<'_>, key: &str) -> Option<String> {
        let role = node.text(key)?;
        known(self.sink, "role", role, &self.roles);
        Some(role.owned())
    }

    fn targets(&mut self, root: Node<'_>) -> Vec<String> {
        let names: Vec<&String> = self.known.targets.keys().collect();
        for target in root.texts("targets") {
            // Without any target at hand there is nothing to compare with.
            if !names.is_empty() {
                known(self.sink, "target", target, &names);
            }
        }
        root.strings("targets")
    }

    fn stages_of(&mut self, node: Node<'_>) -> Stages {
        let names = node.texts("stage");
        match names.as_slice() {
            [] => Stages::None,
            [one] if one.value == "all" => Stages::All,
            _ => {
                for name in &names {
                    known(self.sink, "stage", *name, &self.stages);
                }
                Stages::Of(node.strings("stage"))
            }
        }
    }

    fn names(&mut self, node: Node<'_>, key: &str, what: &str, all: &[String]) -> Vec<String> {
        for name in node.texts(key) {
            known(self.sink, what, name, all);
        }
        node.strings(key)
    }

    /// An expression whose variables are known.
    fn expr(&mut self, node: Node<'_>, key: &str) -> Option<String> {
        let text = node.text(key)?;
        let mut names: Vec<String> = self.metrics.keys().map(|n| format!("metric.{n}")).collect();
        if self.canary {
            names.push("canary".to_owned());
        }
        names::template(self.sink, text, &names);
        Some(text.owned())
    }

    /// The node's operator; exactly one where it is needed, else none.
    fn bound(&mut self, node: Node<'_>, needed: bool) -> Option<Predicate> {
        let given: Vec<&str> = grammar::OPERATORS
            .into_iter()
            .chain(["between"])
            .filter(|key| node.has(key))
            .collect();
        match given.as_slice() {
            [one, ..] if !needed => {
                let problem =
                    Problem::new(format!("operator \"{one}\" without a value to compare"));
                self.sink
                    .error(node.at(one), problem.expected("no operator"));
                None
            }
            ["between"] => {
                let pair = node.values("between");
                let number = |i: usize| crate::node::number(pair.get(i)?.get_ref());
                let (from, to) = (number(0)?, number(1)?);
                if from > to {
                    let problem = Problem::new("\"between\" holds for no number");
                    let expected = problem.expected("the smaller number first");
                    self.sink.error(node.at("between"), expected);
                }
                Some(Predicate::Between(from, to))
            }
            _ => crate::observe::predicate(self.sink, node, needed),
        }
    }
}

fn requires(cx: &mut Cx<'_, '_>, root: Node<'_>) -> Requires {
    let Some(node) = root.node("requires") else {
        return Requires::default();
    };
    unique(cx.sink, "drill", node.texts("drills"));
    for drill in node.texts("drills") {
        cx.drill(drill);
    }
    let requires = Requires {
        drills: node.strings("drills"),
        profile: node.maybe_string("profile"),
        runtime: node.maybe_string("runtime"),
        allow_dirty: node.bool("allow_dirty").unwrap_or(false),
        fresh_within: node.duration("fresh_within"),
    };
    if class(root) == PolicyClass::Release && requires.allow_dirty {
        cx.sink.lint(
            node.at("allow_dirty"),
            "a release policy that accepts a build nobody can check out again",
        );
    }
    requires
}

fn signatures(cx: &mut Cx<'_, '_>, root: Node<'_>) -> Option<Signatures> {
    let node = root.node("signatures")?;
    unique(cx.sink, "role", node.texts("of"));
    let roles = cx.roles.clone();
    let of = cx.names(node, "of", "role", &roles);
    let need = node.small("need").unwrap_or(of.len());
    if need == 0 || need > of.len() {
        let problem = Problem::new(format!("{need} signatures of {} roles", of.len()));
        let expected = format!("a number from 1 to {}", of.len());
        cx.sink.error(node.at("need"), problem.expected(expected));
    }
    Some(Signatures { need, of })
}

/// Checks the figures that a policy's rules name against those that a verdict holds: one that no
/// verdict holds could never be judged.
///
/// # Errors
/// Each figure that is not among them.
pub fn check_figures(path: &str, text: &str, known_figures: &[String]) -> Result<(), Diagnostics> {
    let checked = names::parse_file(path, text, &grammar::POLICY, |sink, root, _| {
        for node in ["rule", "trigger"].map(|key| root.nodes(key)).concat() {
            if let Some(figure) = node.text("figure") {
                known(sink, "figure", figure, known_figures);
            }
        }
        let equations: Vec<&str> = known_figures
            .iter()
            .filter_map(|f| f.strip_prefix("audit."))
            .collect();
        for node in root.nodes("audit") {
            if let Some(equation) = node.text("equation") {
                known(sink, "equation of the audit", equation, &equations);
            }
        }
        Some(())
    });
    checked.map(|_| ())
}

/// Parses a file of waivers.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_waivers(path: &str, text: &str) -> Result<Parsed<Vec<Waiver>>, Diagnostics> {
    names::parse_file(path, text, &grammar::WAIVERS, |_, root, _| {
        let nodes = root.nodes("waiver").into_iter();
        let waiver = |node: Node<'_>| Waiver {
            item: node.string("item"),
            policy: node.string("policy"),
            reason: node.string("reason"),
            approver: node.string("approver"),
            expires: node.string("expires"),
        };
        Some(nodes.map(waiver).collect())
    })
}

/// Parses a file of attestations.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_attestations(path: &str, text: &str) -> Result<Parsed<Vec<Signed>>, Diagnostics> {
    names::parse_file(path, text, &grammar::ATTESTATIONS, |_, root, _| {
        let nodes = root.nodes("signed").into_iter();
        let signed = |node: Node<'_>| Signed {
            item: node.string("item"),
            subject: node.string("subject"),
            name: node.string("name"),
            role: node.string("role"),
            date: node.string("date"),
            note: node.maybe_string("note"),
            evidence: node.maybe_string("evidence"),
        };
        Some(nodes.map(signed).collect())
    })
}
