//! Rules files of Prometheus: read, so that an alert that no file defines is an error before anything is
//! started; and written, so that the rules of a policy can be loaded where the canary is watched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use saphyr::{LoadableYamlNode, MarkedYaml, YamlData};
use saphyr_parser::{Event, Parser};

use crate::Diagnostics;
use crate::diag::{Problem, Sink};
use crate::model::{Measure, Policy, Predicate, Volume};
use crate::promql;
use crate::template::UnknownPlaceholder;

/// A rules file needs seven.
const DEPTH_MAX: usize = 16;
const GROUP_KEYS: [&str; 7] = [
    "name",
    "interval",
    "limit",
    "query_offset",
    "labels",
    "rules",
    "partial_response_strategy",
];
const RULE_KEYS: [&str; 7] = [
    "alert",
    "record",
    "expr",
    "for",
    "keep_firing_for",
    "labels",
    "annotations",
];

/// A rules file's content, as far as a drill is about it.
#[derive(Clone, Debug, Default)]
pub struct RuleFile {
    pub alerts: Vec<RuleOfFile>,
    /// Series that its recording rules make.
    pub recorded: Vec<RuleOfFile>,
}

/// A rule: an alert's name or a recorded series' one, and what it is computed from.
#[derive(Clone, Debug)]
pub struct RuleOfFile {
    pub name: String,
    pub expr: String,
    /// Line in the file, from 1.
    pub line: usize,
}

/// Parses a rules file.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_rules(path: &str, text: &str) -> Result<RuleFile, Diagnostics> {
    let mut reader = Reader {
        sink: Sink::new(path, text),
        text,
        found: RuleFile::default(),
    };
    if let Some(at) = too_deep(text) {
        let problem = Problem::new("nested deeper than any rules file");
        reader.error_at(at, problem.expected("groups: […]"));
        return reader.sink.finish(None, None).map(|parsed| parsed.value);
    }
    match MarkedYaml::load_from_str(text) {
        Err(error) => reader.error_at(0, Problem::new(format!("not YAML: {error}"))),
        Ok(documents) => match documents.first() {
            Some(root) => reader.file(root),
            None => reader.error_at(0, Problem::new("the file is empty").expected("groups: […]")),
        },
    }
    let Reader { sink, found, .. } = reader;
    sink.finish(Some(found), None).map(|parsed| parsed.value)
}

/// Where the text is nested too deeply to be taken into memory as a tree. What isn't YAML is found later.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Some(span.start.index());
        }
    }
    None
}

struct Reader<'t> {
    sink: Sink<'t>,
    text: &'t str,
    found: RuleFile,
}

impl<'t> Reader<'t> {
    /// `at` counts characters, as the YAML reader does.
    fn error_at(&mut self, at: usize, problem: Problem) {
        let offset = self.text.char_indices().nth(at);
        let offset = offset.map_or(self.text.len(), |(offset, _)| offset);
        self.sink.error(offset, problem);
    }

    fn error(&mut self, node: &MarkedYaml<'_>, problem: Problem) {
        self.error_at(node.span.start.index(), problem);
    }

    fn file(&mut self, root: &MarkedYaml<'_>) {
        let groups = self.keys(root, "a rules file", &["groups"]);
        let Some(groups) = groups.into_iter().find(|(key, _)| key == "groups") else {
            return self.error(root, Problem::new("no groups").expected("groups: […]"));
        };
        let before = self.sink.len();
        for group in self.items(groups.1, "groups") {
            let keys = self.keys(group, "a group", &GROUP_KEYS);
            match keys.iter().find(|(key, _)| key == "rules") {
                Some((_, rules)) => {
                    for rule in self.items(rules, "rules") {
                        self.rule(rule);
                    }
                }
                None => self.error(group, Problem::new("a group without rules")),
            }
        }
        let none = self.found.alerts.is_empty() && self.found.recorded.is_empty();
        if none && self.sink.len() == before {
            self.error(root, Problem::new("the file holds no rule"));
        }
    }

    fn rule(&mut self, rule: &MarkedYaml<'_>) {
        let before = self.sink.len();
        let keys = self.keys(rule, "a rule", &RULE_KEYS);
        if self.sink.len() > before {
            // What is missing is what was misspelt.
            return;
        }
        let value = |name: &str| keys.iter().find(|(key, _)| key == name).map(|(_, v)| *v);
        let Some((expr_node, expr)) = value("expr").and_then(|n| Some((n, text_of(n)?))) else {
            return self.error(
                rule,
                Problem::new("a rule without an expression").expected("expr"),
            );
        };
        if let Err(error) = promql::selectors(&expr) {
            let problem = Problem::new(error.to_string());
            let problem = match error.remedy {
                Some(remedy) => problem.expected(remedy),
                None => problem,
            };
            self.error(expr_node, problem);
        }
        let (named, into) = match (value("alert"), value("record")) {
            (Some(alert), None) => (alert, &mut self.found.alerts),
            (None, Some(record)) => (record, &mut self.found.recorded),
            _ => {
                let problem = Problem::new("a rule is an alert or a recording");
                return self.error(rule, problem.expected("exactly one of alert, record"));
            }
        };
        match text_of(named) {
            Some(name) => into.push(RuleOfFile {
                name,
                expr,
                line: named.span.start.line(),
            }),
            None => self.error(named, Problem::new("a rule's name is text")),
        }
    }

    /// The entries of a mapping; keys that aren't known are reported.
    fn keys<'n, 'y>(
        &mut self,
        node: &'n MarkedYaml<'y>,
        what: &str,
        known: &[&str],
    ) -> Vec<(String, &'n MarkedYaml<'y>)> {
        let YamlData::Mapping(entries) = &node.data else {
            self.error(node, Problem::new(format!("{what} isn't a mapping")));
            return Vec::new();
        };
        let mut keys = Vec::new();
        for (key, value) in entries {
            let name = text_of(key).unwrap_or_default();
            if !known.contains(&name.as_str()) {
                let problem =
                    Problem::unknown(&format!("key in {what}"), &name, known.iter().copied());
                self.error(key, problem);
            }
            keys.push((name, value));
        }
        keys
    }

    fn items<'n, 'y>(&mut self, node: &'n MarkedYaml<'y>, key: &str) -> &'n [MarkedYaml<'y>] {
        match &node.data {
            YamlData::Sequence(items) => items,
            _ => {
                self.error(node, Problem::new(format!("{key} isn't a list")));
                &[]
            }
        }
    }
}

/// A scalar as text; `expr: 1` is PromQL too.
fn text_of(node: &MarkedYaml<'_>) -> Option<String> {
    use saphyr::Scalar;
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.trim().to_owned()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        YamlData::Representation(text, ..) => Some(text.trim().to_owned()),
        _ => None,
    }
}

/// A rule of a policy or one of its triggers, in the form in which a rules file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedRule {
    pub id: String,
    pub what: String,
    /// With every variable filled in.
    pub expr: String,
    pub fires: Fires,
    pub hold: Duration,
    /// `critical`, `warning`, …
    pub severity: String,
}

/// When an exported rule fires: where one of these chains of comparisons holds as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Fires(Vec<Vec<(&'static str, f64)>>);

impl Fires {
    /// Where the predicate holds, as a trigger does. `None` if it isn't about numbers.
    pub fn when(is: &Predicate) -> Option<Fires> {
        Some(Fires(match is {
            Predicate::Equals(value) => vec![vec![("==", value.as_f64()?)]],
            Predicate::OneOf(values) => {
                let values = values.iter().map(|v| Some(vec![("==", v.as_f64()?)]));
                values.collect::<Option<_>>()?
            }
            Predicate::AtMost(bound) => vec![vec![("<=", *bound)]],
            Predicate::Below(bound) => vec![vec![("<", *bound)]],
            Predicate::AtLeast(bound) => vec![vec![(">=", *bound)]],
            Predicate::Above(bound) => vec![vec![(">", *bound)]],
            Predicate::Between(from, to) => vec![vec![(">=", *from), ("<=", *to)]],
            Predicate::Matches(_) => return None,
        }))
    }

    /// Where the predicate doesn't hold: that is when a rule is broken. `None` if it isn't about numbers.
    pub fn unless(is: &Predicate) -> Option<Fires> {
        if let Predicate::Between(from, to) = is {
            return Some(Fires(vec![vec![("<", *from)], vec![(">", *to)]]));
        }
        // Not one of these alternatives: every single one is negated, and all of that holds at once.
        let Fires(alternatives) = Fires::when(is)?;
        let all = alternatives.into_iter().flatten();
        let all = all.map(|(op, bound)| (negated(op), bound));
        Some(Fires(vec![all.collect()]))
    }

    fn expr(&self, of: &str) -> String {
        let chains = self.0.iter().map(|chain| {
            let bounds = chain.iter().map(|(op, bound)| format!(" {op} {bound}"));
            format!("({of}){}", bounds.collect::<String>())
        });
        chains.collect::<Vec<_>>().join(" or ")
    }
}

fn negated(op: &str) -> &'static str {
    match op {
        "<=" => ">",
        "<" => ">=",
        ">=" => "<",
        ">" => "<=",
        _ => "!=",
    }
}

/// The rules and triggers of a policy that a rules file can say, and why the others can't be said. What has
/// too few events behind it is missing data, in a policy and there.
///
/// # Errors
/// A variable that has no value.
pub fn rules_of(
    policy: &Policy,
    names: &BTreeMap<String, String>,
) -> Result<(Vec<ExportedRule>, Vec<String>), UnknownPlaceholder> {
    let rules = policy.rules.iter();
    let rules = rules.map(|r| (&r.id, &r.what, r.class, &r.criterion, false));
    let triggers = policy.triggers.iter();
    let triggers = triggers.map(|t| (&t.id, &t.what, t.class, &t.criterion, true));
    let (mut said, mut left) = (Vec::new(), Vec::new());
    for (id, what, class, criterion, trigger) in rules.chain(triggers) {
        let id = match trigger {
            true => format!("trigger-{id}"),
            false => id.clone(),
        };
        let Measure::Expr(expr) = &criterion.measure else {
            left.push(format!("{id}: it isn't about an expression"));
            continue;
        };
        if let Some(baseline) = &criterion.baseline {
            left.push(format!("{id}: it is compared with \"{baseline}\""));
            continue;
        }
        let fires = criterion.is.as_ref().and_then(|is| match trigger {
            true => Fires::when(is),
            false => Fires::unless(is),
        });
        let Some(fires) = fires else {
            left.push(format!("{id}: its bound isn't about numbers"));
            continue;
        };
        said.push(ExportedRule {
            id,
            what: what.clone(),
            expr: backed(policy, names, expr, criterion.volume.as_ref())?,
            fires,
            hold: criterion.lasts + criterion.grace,
            severity: class.word().to_owned(),
        });
    }
    Ok((said, left))
}

/// An expression that has a value only while enough events stand behind it.
fn backed(
    policy: &Policy,
    names: &BTreeMap<String, String>,
    expr: &str,
    volume: Option<&Volume>,
) -> Result<String, UnknownPlaceholder> {
    let expr = policy.render(expr, names)?;
    let vector = |expr: String| match promql::is_scalar(&expr) {
        true => format!("vector({expr})"),
        false => expr,
    };
    let Some(volume) = volume else {
        return Ok(expr);
    };
    let behind = vector(policy.render(&volume.expr, names)?);
    Ok(format!(
        "({}) and on() (({behind}) >= {})",
        vector(expr),
        volume.min
    ))
}

/// A rules file with an alert for each rule. A rule whose series isn't there must not be silent: each has a
/// companion that fires when its expression yields nothing, or NaN, of which no comparison holds.
pub fn export_rules(group: &str, rules: &[ExportedRule]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = format!("groups:\n- name: {}\n  rules:\n", quoted(group));
    let mut names = BTreeSet::new();
    let mut alert = |rule: &ExportedRule, suffix: &str, expr: String, what: String| {
        let mut name = alert_name(&rule.id, suffix);
        while !names.insert(name.clone()) {
            name.push('_');
        }
        // Writing to a string can't fail.
        let _ = write!(
            out,
            "  - alert: {name}\n    expr: {}\n    for: {}ms\n    labels: {{ severity: {}, rule: {} }}\n    annotations: {{ summary: {} }}\n",
            quoted(&expr),
            rule.hold.as_millis(),
            quoted(&rule.severity),
            quoted(&rule.id),
            // An annotation is a template; what a policy says is text.
            quoted(&what.replace("{{", "{ {")),
        );
    };
    for rule in rules {
        let expr = match promql::is_scalar(&rule.expr) {
            true => format!("vector({})", rule.expr),
            false => rule.expr.clone(),
        };
        alert(rule, "", rule.fires.expr(&expr), rule.what.clone());
        let missing = format!("no data: {}", rule.what);
        let number = format!("({expr}) >= -Inf");
        alert(rule, "NoData", format!("absent({number})"), missing);
    }
    out
}

/// `p95-latency` → `P95Latency`.
fn alert_name(id: &str, suffix: &str) -> String {
    let words = id.split(|c: char| !c.is_ascii_alphanumeric());
    let name: String = words
        .filter_map(|word| {
            let mut chars = word.chars();
            Some(chars.next()?.to_ascii_uppercase().to_string() + chars.as_str())
        })
        .collect();
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("Rule{name}{suffix}"),
        false => format!("{name}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "groups:\n- name: g\n  rules:\n  - alert: Down\n    expr: up == 0\n    for: 1m\n  - record: x:y\n    expr: |\n      sum(up)\n";

    #[test]
    fn alerts_and_recordings_are_told_apart() {
        let rules = parse_rules("r.yml", GOOD).expect("it is valid");
        assert_eq!(rules.alerts[0].name, "Down");
        assert_eq!(
            (rules.alerts[0].expr.as_str(), rules.alerts[0].line),
            ("up == 0", 4)
        );
        assert_eq!(rules.recorded[0].name, "x:y");
        assert_eq!(rules.recorded[0].expr, "sum(up)");
    }

    #[test]
    fn what_prometheus_would_refuse_has_a_place_and_a_remedy() {
        let cases = [
            (
                "expr: up == 0",
                "exprr: up == 0",
                "r.yml:5:5: unknown key in a rule \"exprr\"",
            ),
            (
                "expr: up == 0",
                "expr: up == 0 for 3m",
                "r.yml:5:11: not PromQL",
            ),
            ("alert: Down", "alerts: Down", "did you mean \"alert\"?"),
            ("groups:", "group:", "did you mean \"groups\"?"),
            ("name: g", "name: [", "not YAML"),
        ];
        for (from, to, wanted) in cases {
            let broken = GOOD.replacen(from, to, 1);
            let error = parse_rules("r.yml", &broken)
                .expect_err("it is refused")
                .to_string();
            assert!(error.contains(wanted), "{wanted:?} isn't in {error:?}");
        }
        assert!(parse_rules("r.yml", "").is_err());
        assert!(parse_rules("r.yml", "groups: []").is_err());
    }

    #[test]
    fn a_rule_fires_where_it_is_broken_and_a_trigger_where_it_holds() {
        let one_of = Predicate::OneOf(vec![1.into(), 2.into()]);
        let cases = [
            (Predicate::AtMost(3.0), "(e) <= 3", "(e) > 3"),
            (Predicate::Below(3.0), "(e) < 3", "(e) >= 3"),
            (Predicate::AtLeast(0.5), "(e) >= 0.5", "(e) < 0.5"),
            (Predicate::Above(-1.0), "(e) > -1", "(e) <= -1"),
            (Predicate::Equals(0.into()), "(e) == 0", "(e) != 0"),
            (one_of, "(e) == 1 or (e) == 2", "(e) != 1 != 2"),
        ];
        for (is, when, unless) in cases {
            assert_eq!(Fires::when(&is).expect("a number").expr("e"), when);
            assert_eq!(Fires::unless(&is).expect("a number").expr("e"), unless);
        }
        assert_eq!(Fires::when(&Predicate::Matches("x".to_owned())), None);
        assert_eq!(Fires::unless(&Predicate::Equals("LIVE".into())), None);
    }

    #[test]
    fn what_is_exported_is_read_back() {
        let rule = ExportedRule {
            id: "p95-latency".to_owned(),
            what: "p95 \"below\" {{ 400 }}".to_owned(),
            expr: "histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m])))".to_owned(),
            fires: Fires::unless(&Predicate::AtMost(0.4)).expect("a number"),
            hold: Duration::from_secs(180),
            severity: "critical".to_owned(),
        };
        let text = export_rules("gate", &[rule.clone(), rule]);
        let read = parse_rules("out.yml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let names: Vec<&str> = read.alerts.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "P95Latency",
                "P95LatencyNoData",
                "P95Latency_",
                "P95LatencyNoData_"
            ]
        );
        assert!(
            read.alerts[0].expr.ends_with("> 0.4"),
            "{}",
            read.alerts[0].expr
        );
        // NaN is a value to `absent`, and no comparison holds for it.
        let silent = &read.alerts[1].expr;
        assert!(
            silent.starts_with("absent((histogram_quantile(") && silent.ends_with(") >= -Inf)"),
            "{silent}"
        );
    }
}
