//! What shows that a step of a policy has had its effect.

use std::time::Duration;

use firedrill_plan::{Policy, Predicate, Rollback, Rule, Step, VerifyBy};
use serde_json::Value;

use crate::model::Outcome;
use crate::observe::StepVerdict;
use crate::predicate::{Observed, Test, number_of};
use crate::words::{duration, number, quote};

/// Why a step's effect was not seen; `None` if it was. `exit` is its command's exit code, `seen` what its
/// check saw last: a number, `{exit, stdout}` of a command, or `{value, volume}` per rule.
pub fn unmet(policy: &Policy, step: &Step, exit: Option<i64>, seen: &Value) -> Option<String> {
    if !step.run.is_empty() && exit != Some(0) {
        return Some(match exit {
            Some(code) => format!("its command ended with {code}"),
            None => "its command did not end".to_owned(),
        });
    }
    let holds = |is: &Predicate, value: &Value| {
        let test = Test::new(is).ok()?;
        test.apply(&Observed::Value(value.into()))
    };
    match &step.verify.how {
        VerifyBy::Expr(_) => {
            let Some(is) = step.verify.is.as_ref() else {
                return Some("its check has no bound".to_owned());
            };
            match (seen.is_null(), holds(is, seen)) {
                (false, Some(true)) => None,
                (true, _) => Some("its check saw nothing".to_owned()),
                _ => Some(format!("its check saw {}", shown(seen))),
            }
        }
        VerifyBy::Run(argv) => {
            let name = argv.first().map_or("", String::as_str);
            let stdout = seen.get("stdout").unwrap_or(&Value::Null);
            match (seen.get("exit").and_then(Value::as_i64), &step.verify.is) {
                (Some(0), None) => None,
                (Some(0), Some(is)) if holds(is, stdout) == Some(true) => None,
                (Some(0), Some(_)) => Some(format!("its check {name} printed {}", shown(stdout))),
                (Some(code), _) => Some(format!("its check {name} ended with {code}")),
                (None, _) => Some(format!("its check {name} did not end")),
            }
        }
        VerifyBy::Rules(ids) if ids.is_empty() => Some("its check names no rule".to_owned()),
        VerifyBy::Rules(ids) => ids.iter().find_map(|id| {
            let Some(rule) = policy.rules.iter().find(|r| r.id == *id) else {
                return Some(format!("there is no rule {id}"));
            };
            rule_unmet(rule, seen.get(id).unwrap_or(&Value::Null))
        }),
    }
}

fn shown(value: &Value) -> String {
    match number_of(value) {
        Some(n) => number(n),
        None => quote(value.as_str().unwrap_or("nothing")),
    }
}

fn rule_unmet(rule: &Rule, seen: &Value) -> Option<String> {
    let id = &rule.id;
    let (Some(is), None) = (&rule.criterion.is, &rule.criterion.baseline) else {
        return Some(format!(
            "the rule {id} has no bound that a step can be held to"
        ));
    };
    let value = seen.get("value").unwrap_or(&Value::Null);
    let volume = seen.get("volume").and_then(number_of);
    if let Some(wanted) = &rule.criterion.volume
        && volume.is_none_or(|n| n < wanted.min)
    {
        return Some(format!("too little stands behind the rule {id}"));
    }
    let test = Test::new(is).ok();
    let held = test.and_then(|t| t.apply(&Observed::Value(value.into())));
    match (value.is_null(), held) {
        (false, Some(true)) => None,
        (true, _) => Some(format!("the rule {id} has no value")),
        _ => Some(format!("the rule {id} is broken: {}", shown(value))),
    }
}

/// Whether each step has had its effect by itself, and all of it in time. Another way that helped is tried after a step
/// has failed, and doesn't make that good.
pub(super) fn carried_out(
    rollback: &Rollback,
    steps: &[StepVerdict],
    took_ms: Option<f64>,
) -> (Outcome, String) {
    if let Some(step) = steps.iter().find(|s| s.verdict != Outcome::Pass) {
        return (
            Outcome::Fail,
            format!("step {}: {}", step.id, step.observed),
        );
    }
    let due = rollback.steps.iter().filter(|s| s.alternative.is_none());
    for step in due {
        if steps.iter().all(|s| s.id != step.id) {
            return (
                Outcome::Fail,
                format!("step {} was not carried out", step.id),
            );
        }
    }
    let took_ms = took_ms.unwrap_or(0.0);
    let took = duration(Duration::from_millis(took_ms as u64));
    match rollback.within {
        Some(within) if took_ms > within.as_secs_f64() * 1e3 => (
            Outcome::Fail,
            format!(
                "verified after {took}, within {} was asked",
                duration(within)
            ),
        ),
        _ => (
            Outcome::Pass,
            format!("carried out, and each effect was seen, in {took}"),
        ),
    }
}
