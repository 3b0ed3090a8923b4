//! The shipped policies against `policy_truth.tsv`, which is kept by hand from the seed documents: bound,
//! direction, window and class of each rule and trigger. And each of them through the gate: at the bound, just
//! beside it on both sides, and without data, which must be INCONCLUSIVE.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use firedrill_plan::{
    Class, Criterion, DrillItem, Known, Measure, Policy, Predicate, Requires, Stages, parse_policy,
};
use firedrill_verdict::{
    Around, AuditCheck, Content, GateItem, GateRun, Imported, Outcome, Point, Recorded, gate,
};
use serde_json::{Value, json};
use support::{root, verdict};

struct Truth {
    policy: String,
    trigger: bool,
    id: String,
    line: String,
    op: String,
    bound: String,
    window: String,
    class: String,
}

impl Truth {
    fn name(&self) -> String {
        let kind = if self.trigger { "trigger" } else { "rule" };
        format!("{} {kind} {}", self.policy, self.id)
    }

    /// The bounds and what they are multiples of.
    fn bounds(&self) -> (Vec<f64>, Option<&str>) {
        let (numbers, baseline) = match self.bound.split_once(" x ") {
            Some((numbers, baseline)) => (numbers, Some(baseline)),
            None => (self.bound.as_str(), None),
        };
        let parsed = numbers.split(' ').filter_map(|n| n.parse().ok());
        (parsed.collect(), baseline)
    }

    /// Whether the seed's words hold for a number.
    fn says(&self, n: f64) -> bool {
        let (bounds, _) = self.bounds();
        match self.op.as_str() {
            "=" => n == bounds[0],
            "<" => n < bounds[0],
            "<=" => n <= bounds[0],
            ">" => n > bounds[0],
            ">=" => n >= bounds[0],
            "in" => bounds[0] <= n && n <= bounds[1],
            other => panic!("{}: {other}", self.name()),
        }
    }
}

fn truths() -> Vec<Truth> {
    let text = fs::read_to_string(root().join("tests/policy_truth.tsv")).expect("it is there");
    let truth = |line: &str| {
        let c: Vec<&str> = line.split('\t').collect();
        assert_eq!(c.len(), 8, "{line}");
        Truth {
            policy: c[0].to_owned(),
            trigger: c[1] == "trigger",
            id: c[2].to_owned(),
            line: c[3].to_owned(),
            op: c[4].to_owned(),
            bound: c[5].to_owned(),
            window: c[6].to_owned(),
            class: c[7].to_owned(),
        }
    };
    text.lines().skip(1).map(truth).collect()
}

fn policies() -> Vec<Policy> {
    let stems = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
        let names = entries.map(|e| e.expect("an entry").file_name());
        names
            .filter_map(|n| n.to_str()?.strip_suffix(".toml").map(str::to_owned))
            .collect()
    };
    let known = Known {
        drills: stems("drills"),
        ..Known::default()
    };
    let parse = |name: &String| {
        let path = format!("drills/gates/{name}.toml");
        let text = fs::read_to_string(root().join(&path)).expect("it is readable");
        parse_policy(&path, &text, &known)
            .unwrap_or_else(|e| panic!("{e}"))
            .value
    };
    stems("drills/gates").iter().map(parse).collect()
}

/// Operator and bounds of a predicate, as the table writes them.
fn words(criterion: &Criterion) -> (String, String) {
    let (op, bound) = match criterion.is.as_ref().expect("it has a bound") {
        Predicate::Equals(Value::String(text)) => ("=", text.clone()),
        Predicate::Equals(value) => ("=", value.to_string()),
        Predicate::AtMost(b) => ("<=", b.to_string()),
        Predicate::Below(b) => ("<", b.to_string()),
        Predicate::AtLeast(b) => (">=", b.to_string()),
        Predicate::Above(b) => (">", b.to_string()),
        Predicate::Between(a, b) => ("in", format!("{a} {b}")),
        other => panic!("{other:?}"),
    };
    let bound = match &criterion.baseline {
        Some(baseline) => format!("{bound} x {baseline}"),
        None => bound,
    };
    (op.to_owned(), bound)
}

fn short(d: Duration) -> String {
    match d.as_secs() {
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s => format!("{}m", s / 60),
    }
}

/// Checkpoint, `for` or `grace`, as the table writes them.
fn window(policy: &Policy, criterion: &Criterion, checkpoint: Option<&String>) -> String {
    if let Some(id) = checkpoint {
        let found = policy.checkpoints.iter().find(|c| c.id == *id);
        return format!("at {}", short(found.expect("it is there").at));
    }
    match (criterion.lasts.is_zero(), criterion.grace.is_zero()) {
        (true, true) => "-".to_owned(),
        (false, true) => format!("for {}", short(criterion.lasts)),
        (true, false) => format!("grace {}", short(criterion.grace)),
        (false, false) => panic!("both for and grace"),
    }
}

fn bounded(criterion: &Criterion) -> bool {
    criterion.is.is_some()
}

#[test]
fn the_policies_say_what_the_seeds_say() {
    let (policies, truths) = (policies(), truths());
    let mut wrong = Vec::new();
    for truth in &truths {
        let Some(policy) = policies.iter().find(|p| p.name == truth.policy) else {
            wrong.push(format!("{}: no such policy", truth.name()));
            continue;
        };
        let found: Option<(&Criterion, Class, Option<&String>, &Vec<String>)> = match truth.trigger
        {
            true => {
                let found = policy.triggers.iter().find(|t| t.id == truth.id);
                found.map(|t| (&t.criterion, t.class, None, &t.source))
            }
            false => {
                let found = policy.rules.iter().find(|r| r.id == truth.id);
                found.map(|r| (&r.criterion, r.class, r.checkpoint.as_ref(), &r.source))
            }
        };
        let Some((criterion, class, checkpoint, source)) = found else {
            wrong.push(format!("{}: it is gone", truth.name()));
            continue;
        };
        let (op, bound) = words(criterion);
        let window = window(policy, criterion, checkpoint);
        let is = [op.as_str(), &bound, &window, class.word()];
        let should = [&*truth.op, &*truth.bound, &*truth.window, &*truth.class];
        if is != should {
            wrong.push(format!(
                "{}: {is:?}, the seed says {should:?}",
                truth.name()
            ));
        }
        if truth.line != "-" && !source.contains(&truth.line) {
            wrong.push(format!("{}: it doesn't cite {}", truth.name(), truth.line));
        }
    }
    let known: BTreeSet<String> = truths.iter().map(Truth::name).collect();
    for policy in &policies {
        let rules = policy.rules.iter().filter(|r| bounded(&r.criterion));
        let rules = rules.map(|r| format!("{} rule {}", policy.name, r.id));
        let triggers = policy.triggers.iter().filter(|t| bounded(&t.criterion));
        let triggers = triggers.map(|t| format!("{} trigger {}", policy.name, t.id));
        let all = rules.chain(triggers).filter(|name| !known.contains(name));
        wrong.extend(all.map(|name| format!("{name}: not in the table")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(known.len(), truths.len(), "a row is there twice");
}

/// Number of due values of a series.
const POINTS: u64 = 240;

/// A policy that holds nothing but one item.
fn alone(policy: &Policy, truth: &Truth) -> Policy {
    let mut one = policy.clone();
    one.requires = Requires::default();
    one.rules.retain(|r| !truth.trigger && r.id == truth.id);
    let critical = one
        .rules
        .iter()
        .any(|r| r.criterion.measure == Measure::Figure("triggers.critical".to_owned()));
    one.triggers
        .retain(|t| (truth.trigger && t.id == truth.id) || (critical && t.id == "bist-staleness"));
    one.groups.clear();
    one.drills = Vec::<DrillItem>::new();
    one.audits.clear();
    one.configs.clear();
    one.evidence.clear();
    one.attest.clear();
    one
}

/// The stages in which the item is looked at, and how long a run of it lasts.
fn length(policy: &Policy, one: &Policy) -> (Vec<String>, u64) {
    let rule = one.rules.first();
    let checkpoint = rule.and_then(|r| r.checkpoint.as_ref());
    let checkpoint = checkpoint.and_then(|id| policy.checkpoints.iter().find(|c| c.id == *id));
    let stages = match (rule, one.triggers.first()) {
        (Some(rule), _) => &rule.stages,
        (None, Some(trigger)) => &trigger.stages,
        (None, None) => panic!("{}: nothing is left", policy.name),
    };
    let all = policy.stages.iter().map(|s| s.id.clone());
    let counts = one
        .rules
        .iter()
        .any(|r| !one.triggers.is_empty() && r.checkpoint.is_none());
    let names: Vec<String> = match (checkpoint, stages) {
        // What is counted is a trigger, which is armed in stages.
        (None, Stages::None) if counts => vec!["s1".to_owned()],
        (Some(checkpoint), _) => vec![checkpoint.stage.clone()],
        (None, Stages::None) => vec!["any".to_owned()],
        (None, Stages::All) => all.collect(),
        (None, Stages::Of(names)) => names.clone(),
    };
    let seconds = checkpoint.map_or(3600, |c| c.at.as_secs().max(1));
    (names, seconds * 1_000_000_000)
}

fn flat(value: &Value, length: u64) -> Vec<Point> {
    let step = length / POINTS;
    let point = |n| Point {
        at: n * step,
        value: Some(value.clone()),
    };
    (0..=POINTS).map(point).collect()
}

/// Runs that recorded the item's measure at `value`.
fn recorded(policy: &Policy, one: &Policy, value: &Value) -> (Vec<GateRun>, Around) {
    let (stages, length) = length(policy, one);
    let (measure, volume) = match (one.rules.first(), one.triggers.first()) {
        (Some(rule), _) => (&rule.criterion.measure, &rule.criterion.volume),
        (None, Some(trigger)) => (&trigger.criterion.measure, &trigger.criterion.volume),
        (None, None) => panic!("{}: nothing is left", policy.name),
    };
    let mut around = Around::default();
    let mut runs: Vec<GateRun> = Vec::new();
    for stage in &stages {
        let profile = policy
            .stage(stage)
            .map_or(stage.as_str(), |s| s.profile.as_str());
        let mut run = GateRun {
            manifest_sha256: "m".to_owned(),
            sealed: Ok(()),
            verdict: verdict(profile),
            files: Vec::new(),
            recorded: Recorded::default(),
        };
        run.verdict.run.duration_ms = length / 1_000_000;
        let number = value.as_f64().unwrap_or_default();
        let series = &mut run.recorded.series;
        match measure {
            Measure::Figure(name) if name == "rollback.seconds" => {
                for (n, step) in policy.rollbacks[0].steps.iter().take(2).enumerate() {
                    let point = Point {
                        at: (n as f64 * number * 1e9) as u64,
                        value: Some(json!(true)),
                    };
                    let key = (format!("step:{}", step.id), "verified".to_owned());
                    series.insert(key, vec![point]);
                }
            }
            Measure::Figure(name) if name == "series.largest_gap_scrapes" => {
                let mut points = flat(&json!(1), length);
                let middle = points.len() - 20;
                for point in points.iter_mut().skip(middle).take(number as usize - 1) {
                    point.value = None;
                }
                series.insert(("promql:x".to_owned(), "value".to_owned()), points);
            }
            Measure::Figure(name) if name == "triggers.critical" => {
                let fires = json!(if number > 0.0 { 1000 } else { 0 });
                let key = one.triggers[0]
                    .criterion
                    .measure
                    .series()
                    .expect("a series");
                series.insert(key, flat(&fires, length));
            }
            Measure::Figure(name) => {
                let id = name.strip_prefix("audit.").expect("of the audit");
                run.verdict.audit.checks.push(AuditCheck {
                    id: id.to_owned(),
                    what: String::new(),
                    verdict: Outcome::Pass,
                    samples: 1000,
                    violations: number as u64,
                    observed: String::new(),
                    slice: Vec::new(),
                });
            }
            Measure::Import(id) => {
                let import = policy
                    .imports
                    .iter()
                    .find(|i| i.id == *id)
                    .expect("it is there");
                let content = match &import.json {
                    Some(_) => Content::Json(json!({
                        "full_apply_ratio": number, "proposals": 5, "revision": "abc"
                    })),
                    None => Content::Junit {
                        tests: 1000,
                        failed: 1000 - (number * 1000.0).floor().min(1000.0) as u64,
                        skipped: 0,
                    },
                };
                let imported = Imported {
                    sha256: "0".repeat(64),
                    revision: Some("abc".to_owned()),
                    content,
                };
                around.imports.insert(id.clone(), imported);
            }
            measure => {
                let key = measure.series().expect("a series");
                series.insert(key, flat(value, length));
            }
        }
        if let Some(volume) = volume {
            let key = (format!("promql:{}", volume.expr), "value".to_owned());
            series.insert(key, flat(&json!(1e9), length));
        }
        runs.push(run);
    }
    baseline(policy, one, &mut runs, &mut around, length);
    (runs, around)
}

/// The stage or run that bounds are multiples of recorded 1.
fn baseline(
    policy: &Policy,
    one: &Policy,
    runs: &mut Vec<GateRun>,
    around: &mut Around,
    length: u64,
) {
    let rules = one.rules.iter().map(|r| &r.criterion);
    let mut all = rules.chain(one.triggers.iter().map(|t| &t.criterion));
    let Some(criterion) = all.find(|c| c.baseline.is_some()) else {
        return;
    };
    let Some(key) = criterion.measure.series() else {
        return;
    };
    let mut before = Recorded::default();
    before.series.insert(key, flat(&json!(1), length));
    match criterion.baseline.as_deref() {
        Some("accepted") => around.accepted = Some(before),
        Some(stage) => {
            let profile = policy.stage(stage).map_or(stage, |s| s.profile.as_str());
            runs.push(GateRun {
                manifest_sha256: "m".to_owned(),
                sealed: Ok(()),
                verdict: verdict(profile),
                files: Vec::new(),
                recorded: before,
            });
        }
        None => {}
    }
}

/// What the gate says of the item, in each stage in which it is looked at.
fn judged(one: &Policy, truth: &Truth, runs: &[GateRun], around: &Around) -> Vec<GateItem> {
    let now = "2026-11-21T00:02:00Z".parse().expect("a time");
    let decision = gate(one, "digest", "sha256:aa", runs, around, now);
    let wanted = match truth.trigger {
        true => format!("trigger {}", truth.id),
        false => truth.id.clone(),
    };
    let own = |i: &GateItem| i.id == wanted || i.id.starts_with(&format!("{wanted}@"));
    let ran: BTreeSet<&str> = runs
        .iter()
        .map(|r| r.verdict.run.profile.as_str())
        .collect();
    // A checkpoint that stays in force is looked at in later stages too, of which there is no run here.
    let here = |i: &GateItem| {
        let Some((_, stage)) = i.id.split_once('@') else {
            return true;
        };
        let stage = one.stage(stage).map_or("", |s| s.profile.as_str());
        ran.contains(stage)
    };
    let items = decision.items.into_iter();
    items
        .filter(|i| own(i) && (runs.is_empty() || here(i)))
        .collect()
}

/// Values at the bound and just beside it on both sides.
fn probes(truth: &Truth) -> Vec<Value> {
    let (bounds, _) = truth.bounds();
    if bounds.is_empty() {
        return vec![json!(truth.bound), json!(format!("{}x", truth.bound))];
    }
    let whole = matches!(truth.bound.as_str(), "0" | "2" | "900")
        && [
            "no-critical-trigger",
            "series-arrive",
            "watched-hour-4",
            "audit-mismatch",
        ]
        .contains(&truth.id.as_str())
        || ["smoke", "mm-bot"].contains(&truth.policy.as_str()) && truth.line.starts_with("004")
        || truth.id == "nothing-lost";
    let step = |b: f64| {
        if whole {
            1.0
        } else {
            (b.abs() * 1e-4).max(1e-6)
        }
    };
    let around = bounds
        .iter()
        .flat_map(|b| [*b - step(*b), *b, *b + step(*b)]);
    let mut all: Vec<f64> = around.collect();
    // A count can't be negative.
    if whole {
        all.retain(|n| *n >= 0.0);
    }
    // No share of tests is more than all of them.
    if truth.id == "tests-passed" {
        all = vec![0.999, 1.0];
    }
    all.into_iter().map(Value::from).collect()
}

#[test]
fn each_rule_is_judged_at_its_bound_beside_it_and_without_data() {
    let policies = policies();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for truth in truths() {
        let policy = policies
            .iter()
            .find(|p| p.name == truth.policy)
            .expect("it is there");
        let one = alone(policy, &truth);
        let missing = one
            .rules
            .iter()
            .any(|r| matches!(r.criterion.measure, Measure::Missing(_)));
        let asks = one.triggers.iter().any(|t| truth.trigger && !t.acts);
        for value in probes(&truth) {
            let holds = match value.as_f64() {
                Some(n) => truth.says(n),
                None => value == json!(truth.bound),
            };
            let softened = (truth.class == "warning" && !truth.trigger) || asks;
            let expected = match (missing, holds != truth.trigger) {
                (true, _) => Outcome::Inconclusive,
                (false, true) => Outcome::Pass,
                (false, false) if softened => Outcome::Inconclusive,
                (false, false) => Outcome::Fail,
            };
            let (runs, around) = match missing {
                true => (Vec::new(), Around::default()),
                false => recorded(policy, &one, &value),
            };
            let items = judged(&one, &truth, &runs, &around);
            cases += 1;
            if items.is_empty() || items.iter().any(|i| i.verdict != expected) {
                wrong.push(format!(
                    "{} at {value}: {expected:?}, but {items:?}",
                    truth.name()
                ));
            }
        }
        cases += 1;
        let items = judged(&one, &truth, &[], &Around::default());
        let open = |i: &GateItem| i.verdict == Outcome::Inconclusive;
        if items.is_empty() || !items.iter().all(open) {
            wrong.push(format!("{} without data: {items:?}", truth.name()));
        }
    }
    assert!(cases > 500, "only {cases} cases");
    assert!(
        wrong.is_empty(),
        "{} of {cases} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
