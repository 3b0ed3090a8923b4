//! A live system under one stage: what was watched, what fired, what was done about it.

use std::cmp::Reverse;
use std::fmt::Write as _;

use firedrill_verdict::{
    GateItem, ObserveVerdict, Outcome, RollbackVerdict, StepVerdict, TriggerFired, Verdict,
};
use serde::Serialize;

use crate::clean;
use crate::words::{count, ms, plain, symbol};

/// Rows of each table.
const ROWS_MAX: usize = 400;

/// Items with failures first, in the policy's order otherwise.
pub(crate) fn failures_first(seen: &ObserveVerdict) -> Vec<&GateItem> {
    let mut items: Vec<&GateItem> = seen.items.iter().collect();
    items.sort_by_key(|item| Reverse(item.verdict));
    items
}

fn percent(share: Option<f64>) -> String {
    match share {
        Some(share) => format!("{} %", plain(Some(share * 100.0))),
        None => "not known".to_owned(),
    }
}

/// What is to be said of the watch as a whole.
pub(crate) fn lines(seen: &ObserveVerdict) -> Vec<String> {
    let mut lines = vec![format!(
        "stage {} of {}: watched for {} in {} rounds of questions, canary {}",
        seen.stage,
        seen.policy,
        ms(Some(seen.watched_ms)),
        count(seen.rounds),
        seen.selector,
    )];
    if seen.asked_share.is_some() || seen.measured_share.is_some() {
        lines.push(format!(
            "share of the traffic: asked {}, measured {}",
            percent(seen.asked_share),
            percent(seen.measured_share),
        ));
    }
    lines.extend(seen.triggers.iter().map(trigger));
    for rollback in &seen.rollbacks {
        lines.push(format!(
            "roll-back {} for {}: {}, {}",
            rollback.id,
            rollback.trigger,
            rollback.verdict.word(),
            rollback.observed,
        ));
        lines.extend(rollback.steps.iter().map(step));
    }
    lines.extend(seen.steps.iter().map(step));
    if !seen.executed {
        lines.push("nothing was executed: --execute was not given".to_owned());
    }
    lines
}

/// When it fired, and how long the harness took to see it.
pub(crate) fn trigger(shot: &TriggerFired) -> String {
    let mut line = format!(
        "trigger {} ({}) fired: {}",
        shot.id, shot.class, shot.observed
    );
    if shot.due_ms.is_some() {
        let _infallible = write!(line, "; due at {}", ms(shot.due_ms));
    }
    if let Some(late) = shot.late_ms {
        let _infallible = write!(line, ", seen {} later", ms(Some(late.max(0.0))));
    }
    line
}

fn step(step: &StepVerdict) -> String {
    format!(
        "step {}: {}, {} ({})",
        step.id,
        step.verdict.word(),
        step.observed,
        ms(Some(step.took_ms)),
    )
}

/// The watch for a terminal; nothing for a run that is none.
pub fn text_observe(verdict: &Verdict) -> Option<String> {
    let seen = verdict.observe.as_ref()?;
    let mut out = String::new();
    for line in lines(seen) {
        let _infallible = writeln!(out, "  {}", clean::line(&line));
    }
    let passed = seen
        .items
        .iter()
        .filter(|i| i.verdict == Outcome::Pass)
        .count();
    let _infallible = writeln!(out, "  {passed} of {} items passed", seen.items.len());
    for item in failures_first(seen).into_iter().take(ROWS_MAX) {
        if item.verdict != Outcome::Pass {
            let (mark, word) = (symbol(item.verdict), item.verdict.word());
            let (id, observed) = (clean::line(&item.id), clean::line(&item.observed));
            let _infallible = writeln!(out, "  {mark} {word}  {id}: {observed}");
        }
    }
    Some(out)
}

/// What the page shows of a watch.
#[derive(Serialize)]
pub(crate) struct Page<'a> {
    verdict: Outcome,
    lines: Vec<String>,
    items: Vec<&'a GateItem>,
    items_cut: usize,
    triggers: &'a [TriggerFired],
    rollbacks: &'a [RollbackVerdict],
}

pub(crate) fn page(seen: &ObserveVerdict) -> Page<'_> {
    let mut items = failures_first(seen);
    let items_cut = items.len().saturating_sub(ROWS_MAX);
    items.truncate(ROWS_MAX);
    Page {
        verdict: seen.verdict,
        lines: lines(seen),
        items,
        items_cut,
        triggers: &seen.triggers,
        rollbacks: &seen.rollbacks,
    }
}
