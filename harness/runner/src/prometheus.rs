//! The stack's own Prometheus: instant queries, and the state of the alert rules that it has loaded.
//!
//! What it can't see is missing data. A target that it doesn't scrape makes every sum over it a part
//! that looks like the whole, so such an answer isn't one.

use std::collections::BTreeMap;
use std::time::Duration;

use firedrill_plan::{PROMETHEUS, Role, promql};
use serde_json::{Value, json};

use crate::probes::{self, Fields};
use crate::run::World;

/// How long Prometheus may take to see every target and to evaluate every rule once.
const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_EVERY: Duration = Duration::from_millis(100);
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// An evaluation of a rule is too old after so many of its intervals, and a moment for a busy machine.
const EVALUATIONS_LATE: f64 = 3.0;
const EVALUATION_SLACK_S: f64 = 1.0;

/// What a query answered, one element a series.
type Vector = Vec<(BTreeMap<String, String>, f64)>;

/// Waits until every target is scraped and every rule has been evaluated; the error says what isn't. A
/// stack without a Prometheus is ready.
pub async fn ready(world: &World) -> Result<(), String> {
    if world.target.services_of(Role::Prometheus).next().is_none() {
        return Ok(());
    }
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let seen = tokio::time::timeout(LOOK_WITHIN, look(world)).await;
        let Err(why) = seen.unwrap_or_else(|_| Err("no answer".to_owned())) else {
            return Ok(());
        };
        if tokio::time::Instant::now() >= deadline {
            let within = READY_WITHIN.as_secs();
            return Err(format!("Prometheus isn't ready within {within} s: {why}"));
        }
        tokio::time::sleep(READY_EVERY).await;
    }
}

async fn look(world: &World) -> Result<(), String> {
    let targets = api(world, "/api/v1/targets?state=active").await?;
    let targets = list(&targets, "/activeTargets")?;
    let spec = world.target.prometheus.as_ref();
    let scraped = spec.map(|p| p.services.as_slice()).unwrap_or_default();
    let wanted: usize = scraped
        .iter()
        .map(|service| world.stack.instances(service).len())
        .sum();
    if targets.len() != wanted {
        return Err(format!("it has {} targets of {wanted}", targets.len()));
    }
    let down = targets.iter().find(|t| text(t, "/health") != "up");
    if let Some(down) = down {
        return Err(format!(
            "target {} is {}: {}",
            text(down, "/labels/instance"),
            text(down, "/health"),
            text(down, "/lastError")
        ));
    }
    let rules = api(world, "/api/v1/rules").await?;
    for group in list(&rules, "/groups")? {
        for rule in list(group, "/rules")? {
            if text(rule, "/health") != "ok" {
                return Err(rule_trouble(rule));
            }
        }
    }
    Ok(())
}

/// The value of an instant query.
pub async fn value(world: &World, expr: &str) -> Result<Fields, String> {
    scraped(world, expr).await?;
    let answer = query(world, expr).await?;
    let number = match answer.as_slice() {
        [] => return Err("no series".to_owned()),
        [(_, number)] => *number,
        several => {
            return Err(format!(
                "{} series instead of one: aggregate them, as in sum(…) or max(…)",
                several.len()
            ));
        }
    };
    if !number.is_finite() {
        return Err(format!("the value is {number}"));
    }
    Ok(Fields::from([("value".to_owned(), json!(number))]))
}

/// Fails where a target isn't scraped that the expression could be about.
async fn scraped(world: &World, expr: &str) -> Result<(), String> {
    let selectors = promql::selectors(expr).map_err(|e| e.to_string())?;
    let up = query(world, "up").await?;
    if up.is_empty() {
        return Err("scrape gap: no target was scraped".to_owned());
    }
    let of =
        |labels: &BTreeMap<String, String>, key: &str| labels.get(key).cloned().unwrap_or_default();
    for (labels, _) in up.iter().filter(|(_, up)| *up != 1.0) {
        let job = of(labels, "job");
        let about = |s: &promql::Selector| !s.is_own() && !s.absence && s.may_be_of_job(&job);
        if selectors.iter().any(about) {
            return Err(format!(
                "scrape gap: {} isn't scraped",
                of(labels, "instance")
            ));
        }
    }
    Ok(())
}

/// The state of an alert rule: `inactive`, `pending`, `firing`, or `blind: …` where it is inactive because
/// a series that it reads doesn't exist.
pub async fn alert(world: &World, name: &str) -> Result<Fields, String> {
    let rules = api(world, "/api/v1/rules?type=alert").await?;
    let mut worst: Option<(&str, &Value)> = None;
    let groups = list(&rules, "/groups")?;
    for group in groups {
        for rule in list(group, "/rules")? {
            if text(rule, "/name") != name {
                continue;
            }
            fresh(group, rule)?;
            let state = text(rule, "/state");
            if worst.is_none_or(|(known, _)| rank(state) > rank(known)) {
                worst = Some((state, rule));
            }
        }
    }
    let (state, rule) = worst.ok_or_else(|| format!("Prometheus has loaded no alert {name:?}"))?;
    let state = match state {
        "inactive" => {
            let blind = blind(world, text(rule, "/query")).await?;
            blind.unwrap_or_else(|| state.to_owned())
        }
        "pending" | "firing" => state.to_owned(),
        other => return Err(format!("the rule's state is {other:?}")),
    };
    Ok(Fields::from([("state".to_owned(), json!(state))]))
}

fn rank(state: &str) -> u8 {
    match state {
        "firing" => 2,
        "pending" => 1,
        _ => 0,
    }
}

/// Whether the rule was evaluated, successfully and lately.
fn fresh(group: &Value, rule: &Value) -> Result<(), String> {
    if text(rule, "/health") != "ok" {
        return Err(rule_trouble(rule));
    }
    let last = text(rule, "/lastEvaluation").parse::<jiff::Timestamp>();
    let last = last.map_err(|_| "the rule was never evaluated".to_owned())?;
    let age_s = jiff::Timestamp::now().duration_since(last).as_secs_f64();
    let interval_s = group.pointer("/interval").and_then(Value::as_f64);
    let late_s = interval_s.unwrap_or(1.0) * EVALUATIONS_LATE + EVALUATION_SLACK_S;
    match age_s > late_s {
        true => Err(format!(
            "the rule was evaluated {age_s:.1} s ago, and not since"
        )),
        false => Ok(()),
    }
}

/// The first series of an expression that doesn't exist. Conditions that aren't equalities are left out: no
/// request may have ended in 5xx yet.
async fn blind(world: &World, expr: &str) -> Result<Option<String>, String> {
    let selectors = promql::selectors(expr).map_err(|e| format!("the rule's query is {e}"))?;
    for selector in selectors.iter().filter(|s| !s.absence) {
        let exact = selector.exact();
        if query(world, &format!("count({exact})")).await?.is_empty() {
            return Ok(Some(format!("blind: there is no series {exact}")));
        }
    }
    Ok(None)
}

async fn query(world: &World, expr: &str) -> Result<Vector, String> {
    let data = api(world, &format!("/api/v1/query?query={}", encoded(expr))).await?;
    let number = |sample: &Value| -> Result<f64, String> {
        let text = sample.pointer("/1").and_then(Value::as_str);
        let parsed = text.and_then(|t| t.parse().ok());
        parsed.ok_or_else(|| "Prometheus' answer holds no number".to_owned())
    };
    match text(&data, "/resultType") {
        "scalar" => {
            let sample = data.pointer("/result").unwrap_or(&Value::Null);
            Ok(vec![(BTreeMap::new(), number(sample)?)])
        }
        "vector" => list(&data, "/result")?
            .iter()
            .map(|series| {
                let labels = series.pointer("/metric").and_then(Value::as_object);
                let labels = labels.into_iter().flatten();
                let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or("").to_owned()));
                let sample = series.pointer("/value").unwrap_or(&Value::Null);
                Ok((labels.collect(), number(sample)?))
            })
            .collect(),
        other => Err(format!("the query's result is a {other}, not a number")),
    }
}

/// The `data` of an answer of Prometheus' API.
async fn api(world: &World, path: &str) -> Result<Value, String> {
    let (status, body) = probes::get(world, PROMETHEUS, path).await?;
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|_| format!("status {status} without JSON from Prometheus"))?;
    match text(&answer, "/status") {
        "success" => Ok(answer.pointer("/data").cloned().unwrap_or_default()),
        _ => Err(format!("Prometheus: {}", text(&answer, "/error"))),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn list<'v>(value: &'v Value, pointer: &str) -> Result<&'v [Value], String> {
    let items = value.pointer(pointer).and_then(Value::as_array);
    let items = items.map(Vec::as_slice);
    items.ok_or_else(|| format!("Prometheus' answer has no {pointer}"))
}

fn rule_trouble(rule: &Value) -> String {
    let (name, error) = (text(rule, "/name"), text(rule, "/lastError"));
    match text(rule, "/health") {
        "err" => format!("rule {name} can't be evaluated: {error}"),
        _ => format!("rule {name} was not evaluated yet"),
    }
}

/// Percent-encodes everything but letters and digits.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
