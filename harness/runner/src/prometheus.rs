//! A Prometheus, the stack's own or a live one: instant queries, and the state of the alert rules that it
//! has loaded.
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

/// How far back a live Prometheus is asked whether a target ever had a series.
const EVER: &str = "1h";

/// A Prometheus that can be asked.
pub struct Source {
    http: reqwest::Client,
    /// `http://host:port`, without a slash at its end.
    base: String,
    /// It also scrapes what has nothing to do with what it is asked.
    shared: bool,
}

impl Source {
    /// A Prometheus that watches more than the system under test.
    pub fn shared(http: reqwest::Client, base: &str) -> Self {
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            shared: true,
        }
    }

    /// The stack's own.
    pub fn of(world: &World) -> Result<Self, String> {
        Ok(Self {
            http: world.http.clone(),
            base: format!("http://{}", world.main_addr(PROMETHEUS)?),
            shared: false,
        })
    }
}

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
    let source = &Source::of(world)?;
    let targets = api(source, "/api/v1/targets?state=active").await?;
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
    let rules = api(source, "/api/v1/rules").await?;
    for group in list(&rules, "/groups")? {
        for rule in list(group, "/rules")? {
            if text(rule, "/health") != "ok" {
                return Err(rule_trouble(rule));
            }
        }
    }
    Ok(())
}

/// Whether it answers a question at all.
pub async fn answers(source: &Source) -> Result<(), String> {
    query(source, "vector(1)").await.map(|_| ())
}

/// The value of an instant query.
pub async fn value(source: &Source, expr: &str) -> Result<Fields, String> {
    scraped(source, expr).await?;
    let answer = query(source, expr).await?;
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
async fn scraped(source: &Source, expr: &str) -> Result<(), String> {
    let selectors = promql::selectors(expr).map_err(|e| e.to_string())?;
    let up = query(source, "up").await?;
    if up.is_empty() {
        return Err("scrape gap: no target was scraped".to_owned());
    }
    for (labels, _) in up.iter().filter(|(_, up)| *up != 1.0) {
        for selector in selectors.iter().filter(|s| !s.is_own() && !s.absence) {
            if selector.may_be_of(labels) && concerns(source, selector, labels).await? {
                return Err(format!(
                    "scrape gap: {} isn't scraped",
                    label(labels, "instance")
                ));
            }
        }
    }
    Ok(())
}

fn label<'l>(labels: &'l BTreeMap<String, String>, key: &str) -> &'l str {
    labels.get(key).map_or("", String::as_str)
}

/// Whether a target that isn't scraped may hold series of a selector. One that carries the selector's own
/// labels does. Of another target of a shared Prometheus the past decides: such a series of its job, or
/// none of anyone's.
async fn concerns(
    source: &Source,
    selector: &promql::Selector,
    target: &BTreeMap<String, String>,
) -> Result<bool, String> {
    if !source.shared || selector.is_told_by(target) {
        return Ok(true);
    }
    let exact = selector.exact();
    let ever = format!("count by (job, instance) (last_over_time({exact}[{EVER}]))");
    let held = query(source, &ever).await?;
    Ok(is_held_by(&held, target))
}

/// Whether a target's job holds a series, going by who held it lately. The target itself may be away for
/// longer than that: what its siblings hold was its own as well.
fn is_held_by(held: &[(BTreeMap<String, String>, f64)], target: &BTreeMap<String, String>) -> bool {
    let same = |labels: &BTreeMap<String, String>| label(labels, "job") == label(target, "job");
    held.is_empty() || held.iter().any(|(labels, _)| same(labels))
}

/// The state of an alert rule: `inactive`, `pending`, `firing`, or `blind: …` where it is inactive because
/// a series that it reads doesn't exist.
pub async fn alert(source: &Source, name: &str) -> Result<Fields, String> {
    let rules = api(source, "/api/v1/rules?type=alert").await?;
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
            let blind = blind(source, text(rule, "/query")).await?;
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
async fn blind(source: &Source, expr: &str) -> Result<Option<String>, String> {
    let selectors = promql::selectors(expr).map_err(|e| format!("the rule's query is {e}"))?;
    for selector in selectors.iter().filter(|s| !s.absence) {
        let exact = selector.exact();
        if query(source, &format!("count({exact})")).await?.is_empty() {
            return Ok(Some(format!("blind: there is no series {exact}")));
        }
    }
    Ok(None)
}

async fn query(source: &Source, expr: &str) -> Result<Vector, String> {
    let data = api(source, &format!("/api/v1/query?query={}", encoded(expr))).await?;
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
async fn api(source: &Source, path: &str) -> Result<Value, String> {
    let url = format!("{}{path}", source.base);
    let (status, body) = probes::fetch(&source.http, url).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_was_away_for_long_holds_what_its_siblings_hold() {
        let target = |job: &str, instance: &str| {
            let labels = [("job", job), ("instance", instance)];
            BTreeMap::from(labels.map(|(key, value)| (key.to_owned(), value.to_owned())))
        };
        let away = target("bot", "a:1");
        let held = |by: &[BTreeMap<String, String>]| -> Vector {
            by.iter().map(|labels| (labels.clone(), 1.0)).collect()
        };
        assert!(
            is_held_by(&held(&[target("bot", "b:1")]), &away),
            "a sibling"
        );
        assert!(is_held_by(&held(std::slice::from_ref(&away)), &away));
        assert!(is_held_by(&held(&[]), &away), "nobody's");
        assert!(!is_held_by(&held(&[target("node", "a:1")]), &away));
    }
}
