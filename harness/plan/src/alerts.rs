//! What a drill asks of the stack's Prometheus: queries, and the team's own alert rules.

use crate::diag::{Problem, Sink};
use crate::drill::Cx;
use crate::model::*;
use crate::names::known;
use crate::node::{self, Node, Text};
use crate::promql;
use crate::rules::{RuleFile, parse_rules};

/// What an alert can be. A rule that can't see (`blind: …`) is none of them, so that it satisfies nothing.
const STATES: [&str; 3] = ["inactive", "pending", "firing"];
const FIRING: &str = "firing";

/// Reads a file named relative to the drill; the error says why it can't.
pub type ReadBeside<'r> = &'r dyn Fn(&str) -> Result<String, String>;

/// The rules under `[alerts]`. Their content is looked at where it can be read: not when a drill is judged.
pub(crate) fn rules(
    cx: &mut Cx<'_, '_>,
    root: Node<'_>,
    read: Option<ReadBeside<'_>>,
) -> Option<AlertRules> {
    let node = root.node("alerts")?;
    let file = node.text("rules")?;
    needs_prometheus(cx, node.at);
    let mut alerts = AlertRules {
        file: file.owned(),
        text: String::new(),
    };
    let Some(read) = read else {
        return Some(alerts);
    };
    match read(file.value) {
        Err(why) => {
            let message = format!("rules \"{}\" can't be read: {why}", file.value);
            cx.sink.error(file.at, Problem::new(message));
        }
        Ok(text) => {
            match parse_rules(file.value, &text) {
                Ok(rules) => {
                    rules_lints(cx.sink, file, cx.target, &rules);
                    cx.rules = Some(rules);
                }
                Err(errors) => {
                    let message = format!("the rules can't be used: {errors}");
                    cx.sink.error(file.at, Problem::new(message));
                }
            }
            alerts.text = text;
        }
    }
    Some(alerts)
}

fn rules_lints(sink: &mut Sink<'_>, file: Text<'_>, target: &Target, rules: &RuleFile) {
    let known = known_series(target, Some(rules));
    for rule in rules.alerts.iter().chain(&rules.recorded) {
        for found in linted(target, &rule.expr, &known) {
            let (path, line, name) = (file.value, rule.line, &rule.name);
            sink.lint(file.at, format!("{path}:{line}: {name}: {found}"));
        }
    }
}

fn linted(target: &Target, expr: &str, known: &[String]) -> Vec<promql::Lint> {
    let scrape = target.prometheus.as_ref().map(|p| p.scrape_every);
    promql::lint(expr, scrape.unwrap_or_default(), known).unwrap_or_default()
}

/// Names of the series that the target says it has, and those that the rules make.
fn known_series(target: &Target, rules: Option<&RuleFile>) -> Vec<String> {
    let mut names = target.metrics.clone();
    names.extend(target.audit.metrics.iter().map(|m| m.series.name.clone()));
    if let Some(rules) = rules {
        names.extend(rules.recorded.iter().map(|rule| rule.name.clone()));
    }
    names
}

fn needs_prometheus(cx: &mut Cx<'_, '_>, at: usize) {
    if cx.target.prometheus.is_none() {
        let problem = Problem::new("the target describes no Prometheus");
        cx.sink
            .error(at, problem.expected("[prometheus] in the target file"));
    }
}

/// The probe and its field, where the table is one of a query or an alert.
pub(crate) fn probe(cx: &mut Cx<'_, '_>, node: Node<'_>) -> Option<(ProbeKind, String)> {
    if let Some(query) = node.text("promql") {
        needs_prometheus(cx, query.at);
        match promql::selectors(query.value) {
            Ok(_) => {
                let known = known_series(cx.target, cx.rules.as_ref());
                for found in linted(cx.target, query.value, &known) {
                    cx.sink.lint(query.at, found.to_string());
                }
            }
            Err(error) => {
                let problem = Problem::new(error.to_string());
                let expected = error.remedy.map(|r| problem.clone().expected(r));
                cx.sink.error(query.at, expected.unwrap_or(problem));
            }
        }
        let query = query.owned();
        return Some((ProbeKind::Promql { query }, "value".to_string()));
    }
    let alert = node.text("alert")?;
    if !cx.has_rules {
        let problem = Problem::new("an alert of no rules file");
        cx.sink
            .error(alert.at, problem.expected("[alerts] with rules = \"…\""));
    }
    let names = cx.rules.as_ref().map(|rules| {
        let names = rules.alerts.iter();
        names.map(|rule| rule.name.clone()).collect::<Vec<_>>()
    });
    if let Some(names) = names {
        known(cx.sink, "alert", alert, &names);
    }
    let alert = alert.owned();
    Some((ProbeKind::Alert { alert }, "state".to_string()))
}

/// An alert is compared with the states that it can be in, and with nothing that a blind one satisfies.
pub(crate) fn states_fit(cx: &mut Cx<'_, '_>, node: Node<'_>) {
    if node.node("probe").is_none_or(|probe| !probe.has("alert")) {
        return;
    }
    for key in ["at_most", "below", "at_least", "above", "matches", "growth"] {
        if node.has(key) {
            let problem = Problem::new(format!("\"{key}\" of an alert, which has a state"));
            cx.sink
                .error(node.at(key), problem.expected("equals or one_of"));
        }
    }
    for key in ["equals", "one_of"] {
        for value in node.values(key) {
            let at = value.span().start;
            match node::text(value) {
                Some(state) => {
                    known(cx.sink, "state of an alert", state, &STATES);
                }
                None => {
                    let problem = Problem::new("an alert's state is text");
                    cx.sink.error(at, problem.expected(STATES.join(", ")));
                }
            }
        }
    }
    let op = node.node("when").and_then(|when| when.text("op"));
    if let Some(never) = op.filter(|op| op.value == "never") {
        let problem = Problem::new("\"never\" would hold for an alert that can't see its series");
        let expected = problem.expected("one_of = [\"inactive\", \"pending\"], throughout");
        cx.sink.error(never.at, expected);
    }
}

/// An alert that must fire must be silent before: one that always fires says nothing.
pub(crate) fn silence_lint(sink: &mut Sink<'_>, at: usize, drill: &Drill) {
    let mut fires: Vec<&str> = Vec::new();
    let mut silent: Vec<&str> = Vec::new();
    for expect in &drill.expects {
        let Observe::Value { probe, is } = &expect.observe else {
            continue;
        };
        let Some(ProbeKind::Alert { alert }) = drill.probe(&probe.probe).map(|p| &p.kind) else {
            continue;
        };
        let states: Vec<&serde_json::Value> = match is {
            Predicate::Equals(state) => vec![state],
            Predicate::OneOf(states) => states.iter().collect(),
            _ => Vec::new(),
        };
        match states.iter().any(|state| **state == FIRING) {
            true => fires.push(alert),
            false => silent.push(alert),
        }
    }
    for alert in fires.iter().filter(|alert| !silent.contains(alert)) {
        sink.lint(
            at,
            format!(
                "alert {alert} must fire and is nowhere expected to be silent: one that always fires would pass"
            ),
        );
    }
}
