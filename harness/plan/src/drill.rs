//! Drill files.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::alerts::{self, ReadBeside};
use crate::check::Broken;
use crate::diag::{Diagnostics, Parsed, Problem, Sink};
use crate::model::*;
use crate::names::{self, known, unique};
use crate::node::{Node, Text};
use crate::observe::Probes;
use crate::plan::instance_name;
use crate::rules::RuleFile;
use crate::when::Moments;
use crate::{expand, grammar, observe, phase};

const QUIESCE: Duration = Duration::from_secs(20);

/// Parses a drill file against the target that it is for. The drill is named after the file.
///
/// Files that it names aren't read: this is how a recorded drill is parsed again.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_drill(path: &str, text: &str, target: &Target) -> Result<Parsed<Drill>, Diagnostics> {
    parse(path, text, target, None)
}

/// Parses a drill file together with the alert rules that it names relative to itself.
///
/// # Errors
/// Everything that is wrong with the texts, in their order.
pub fn parse_drill_with(
    path: &str,
    text: &str,
    target: &Target,
    read: ReadBeside<'_>,
) -> Result<Parsed<Drill>, Diagnostics> {
    parse(path, text, target, Some(read))
}

fn parse(
    path: &str,
    text: &str,
    target: &Target,
    read: Option<ReadBeside<'_>>,
) -> Result<Parsed<Drill>, Diagnostics> {
    names::parse_file(path, text, &grammar::DRILL, |sink, root, broken| {
        let mut cx = Cx {
            sink,
            target,
            broken,
            moments: moments(root),
            instances: Vec::new(),
            has_rules: root.has("alerts"),
            rules: None,
        };
        let alerts = alerts::rules(&mut cx, root, read);
        Some(Drill {
            alerts,
            ..decode(&mut cx, root, names::stem(path))
        })
    })
}

/// What a drill's parts can refer to, and where findings go.
pub(crate) struct Cx<'a, 's> {
    pub sink: &'a mut Sink<'s>,
    pub target: &'a Target,
    pub broken: &'a Broken,
    pub moments: Moments<'a>,
    /// Names of all instances.
    pub instances: Vec<String>,
    /// Whether the drill names a rules file, and its content where that was read.
    pub has_rules: bool,
    pub rules: Option<RuleFile>,
}

impl Cx<'_, '_> {
    pub fn services(&self) -> Vec<String> {
        self.target
            .services
            .iter()
            .map(|s| s.name.clone())
            .collect()
    }

    /// Reports a name that is no instance of a service.
    pub fn instance(&mut self, name: Text<'_>) -> bool {
        known(self.sink, "service", name, &self.instances)
    }

    /// The instances that a key names.
    pub fn instances(&mut self, node: Node<'_>, key: &str) -> Vec<String> {
        let texts = node.texts(key);
        unique(self.sink, "service", texts.iter().copied());
        for name in &texts {
            self.instance(*name);
        }
        texts.iter().map(Text::owned).collect()
    }

    /// Reports a name that is no service of that role.
    pub fn role(&mut self, name: Text<'_>, role: Role, what: &str) {
        let names: Vec<&String> = self.target.services_of(role).map(|s| &s.name).collect();
        known(self.sink, what, name, &names);
    }

    /// Decodes an item of the file; one that is broken gets no findings on top.
    pub fn item<T>(&mut self, node: Node<'_>, decode: impl FnOnce(&mut Self) -> T) -> T {
        let muted = self.sink.muted;
        self.sink.muted = muted || self.broken.has(node);
        let value = decode(self);
        self.sink.muted = muted;
        value
    }
}

fn moments<'a>(root: Node<'a>) -> Moments<'a> {
    let id = |node: Node<'a>| node.text("id").map(|t| t.value);
    let phases = root.nodes("phase");
    let mark = |node: Node<'a>| Some((id(node)?, node.text("in").map_or("", |t| t.value)));
    Moments {
        phases: phases.iter().filter_map(|n| id(*n)).collect(),
        faulty: phases
            .iter()
            .filter(|n| n.has("fault"))
            .filter_map(|n| id(*n))
            .collect(),
        marks: root.nodes("mark").into_iter().filter_map(mark).collect(),
    }
}

fn decode(cx: &mut Cx<'_, '_>, root: Node<'_>, name: String) -> Drill {
    for key in ["phase", "mark"] {
        let ids = root.nodes(key).into_iter().filter_map(|n| n.text("id"));
        unique(cx.sink, key, ids);
    }
    unique_expects(cx, root);
    let acts = root.nodes("phase").into_iter().flat_map(|p| p.nodes("act"));
    unique(cx.sink, "act", acts.filter_map(|act| act.text("id")));

    let replicas = phase::replicas(cx, root);
    cx.instances = instances(cx.target, &replicas);
    let env = phase::environment(cx, root);
    let load = load(cx, root);
    let mut sent = Vec::new();
    let mut phases = Vec::new();
    for node in root.nodes("phase") {
        phases.push(cx.item(node, |cx| phase::phase(cx, node, &mut sent)));
    }
    dumped_before_restored(cx, root);
    let mut probes = Probes::default();
    let mut marks = Vec::new();
    for node in root.nodes("mark") {
        marks.extend(cx.item(node, |cx| observe::mark(cx, node, &mut probes)));
    }
    let mut expects = Vec::new();
    for node in root.nodes("expect") {
        expects.extend(cx.item(node, |cx| observe::expects(cx, node, &mut probes)));
    }
    let catches = catches(cx, root, &expects);
    let drill = Drill {
        name,
        title: root.string("title"),
        why: root.string("why"),
        source: root.strings("source"),
        needs: needs(cx, root),
        catches,
        env,
        replicas,
        load,
        phases,
        probes: probes.0,
        marks,
        expects,
        alerts: None,
        quiesce: root.duration("quiesce").unwrap_or(QUIESCE),
    };
    lints(cx, root, &drill);
    drill
}

/// Those that one `[[expect]]` stands for have ids of their own.
fn unique_expects(cx: &mut Cx<'_, '_>, root: Node<'_>) {
    let nodes = root.nodes("expect");
    let ids: Vec<(String, usize)> = nodes
        .iter()
        .filter_map(|node| Some((expand::id(*node)?, node.at("id"))))
        .collect();
    let texts = ids.iter().map(|(id, at)| Text { value: id, at: *at });
    unique(cx.sink, "expect", texts);
}

/// A restore without a dump before it would restore nothing, or another run's state.
fn dumped_before_restored(cx: &mut Cx<'_, '_>, root: Node<'_>) {
    let mut dumped = false;
    for act in root.nodes("phase").into_iter().flat_map(|p| p.nodes("act")) {
        match act.text("kind").map(|kind| (kind.value, kind.at)) {
            Some(("dump", _)) => dumped = true,
            Some(("restore", at)) if !dumped => {
                let problem = Problem::new("nothing was dumped before this restore");
                cx.sink.error(
                    at,
                    problem.expected("an act of kind dump in an earlier place"),
                );
            }
            _ => {}
        }
    }
}

fn instances(target: &Target, replicas: &BTreeMap<String, u32>) -> Vec<String> {
    let count = |service: &str| replicas.get(service).copied().unwrap_or(1);
    target
        .services
        .iter()
        .flat_map(|s| (1..=count(&s.name)).map(|n| instance_name(&s.name, n)))
        .collect()
}

fn load(cx: &mut Cx<'_, '_>, root: Node<'_>) -> Option<Load> {
    let load = phase::load(root)?;
    if load.signals_per_s == 0.0 {
        let at = root.node("load").map_or(root.at, |n| n.at("signals_per_s"));
        let problem = Problem::new("a load of no signals");
        cx.sink
            .error(at, problem.expected("a rate above zero, or no [load]"));
    }
    Some(load)
}

fn needs(cx: &mut Cx<'_, '_>, root: Node<'_>) -> Needs {
    let Some(node) = root.node("needs") else {
        return Needs::default();
    };
    if cx.target.mode.is_none() && node.has("mode") {
        let problem = Problem::new("the target doesn't say where its mode is");
        cx.sink.error(
            node.at("mode"),
            problem.expected("[mode] in the target file"),
        );
    }
    if node.has("executing") {
        observe::needs_chain(cx, node.at("executing"));
    }
    Needs {
        mode: node.maybe_string("mode"),
        executing: node.uint("executing"),
        accepted: node.uint("accepted"),
    }
}

/// Prefix of what the target file says that the record and the chain must say alike, where a drill names it.
const AUDIT_SAME: &str = "audit/same/";

fn catches(cx: &mut Cx<'_, '_>, root: Node<'_>, expects: &[Expect]) -> BTreeMap<String, String> {
    let Some(node) = root.node("catches") else {
        return BTreeMap::new();
    };
    let none = Vec::new();
    let target = cx.target;
    let defects = target.defects.as_ref().map_or(&none, |d| &d.names);
    // Those that didn't decode were reported; naming them is no second mistake.
    let mut ids: Vec<String> = expects.iter().map(|e| e.id.clone()).collect();
    let agreements = target.audit.same.iter();
    let agreements: Vec<String> = agreements
        .map(|same| format!("{AUDIT_SAME}{}", same.id))
        .collect();
    for expect in root.nodes("expect") {
        let id = expand::id(expect).unwrap_or_default();
        let split = ids.iter().any(|known| known.starts_with(&format!("{id}/")));
        if !split && !ids.contains(&id) {
            ids.push(id);
        }
    }
    let mut catches = BTreeMap::new();
    for (defect, value) in node.entries() {
        known(cx.sink, "defect", defect, defects);
        if let Some(expect) = crate::node::text(value) {
            if expect.value.starts_with(AUDIT_SAME) {
                known(cx.sink, "agreement of audit.same", expect, &agreements);
            } else {
                known(cx.sink, "expectation", expect, &ids);
            }
            catches.insert(defect.owned(), expect.owned());
        }
    }
    catches
}

fn lints(cx: &mut Cx<'_, '_>, root: Node<'_>, drill: &Drill) {
    let at = |key: &str| root.at(key);
    if drill.catches.is_empty() {
        cx.sink.lint(
            at("catches"),
            "a drill that catches nothing proves nothing: [catches] is empty",
        );
    }
    if drill
        .phases
        .iter()
        .all(|p| p.faults.is_empty() && p.acts.is_empty())
    {
        cx.sink.lint(
            at("phase"),
            "no phase has a fault or an act: nothing is tried",
        );
    }
    alerts::silence_lint(cx.sink, at("expect"), drill);
    let needs = &drill.needs;
    if needs.mode.is_none() && needs.executing.is_none() && needs.accepted.is_none() {
        cx.sink.lint(
            at("needs"),
            "the drill needs nothing: a dead target would look like a safe one",
        );
    }
    let used = |id: &str| drill.expects.iter().any(|e| names_mark(&e.when, id));
    for node in root.nodes("mark") {
        if let Some(id) = node.text("id").filter(|id| !used(id.value)) {
            cx.sink.lint(
                id.at,
                format!("mark \"{}\" is named by no expectation", id.value),
            );
        }
    }
}

fn names_mark(when: &When, mark: &str) -> bool {
    match when {
        When::Within { of, .. } | When::NotBefore { of, .. } => {
            matches!(of, EdgeRef::Mark { id } if id == mark)
        }
        When::Throughout { .. } | When::Eventually { .. } | When::Never { .. } => false,
    }
}
