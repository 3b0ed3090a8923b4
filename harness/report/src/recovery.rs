//! How long each drill took to recover, against its budget and the runs before. It only computes
//! coordinates; the template draws.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use firedrill_verdict::{DrillVerdict, Outcome, Verdict};
use serde::{Deserialize, Serialize};

use crate::Extras;
use crate::words::{NOT_APPLICABLE, count, ms, share, symbol};

/// Earlier runs of a drill that its trend shows.
pub const RUNS_MAX: usize = 10;
/// Size of a trend's drawing in its own units, and what is kept free on each side.
const WIDTH: f64 = 168.0;
const HEIGHT: f64 = 34.0;
const PAD: f64 = 5.0;
const ROWS_MAX: usize = 100;

/// What earlier runs of the same target, kind and profile showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Oldest first.
    pub runs: Vec<PastRun>,
    /// What was left out, in words.
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastRun {
    pub run: String,
    pub manifest_sha256: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The longest recovery of each of its drills, milliseconds; `null` where one was not shown, or the
    /// drill did not pass.
    pub recovery_ms: BTreeMap<String, Option<u64>>,
}

/// The longest recovery of a verdict's drills that have a budget for one, and that budget.
struct Recovered<'a> {
    drill: &'a str,
    episodes: usize,
    took: Option<u64>,
    budget: u64,
    /// The worst of its episodes.
    verdict: Outcome,
}

#[derive(Serialize)]
pub(crate) struct Page {
    rows: Vec<Row>,
    cut: usize,
    /// Drills that measure no recovery.
    unmeasured: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) drill: String,
    pub(crate) episodes: usize,
    /// Class of its colour, symbol and words: none of them alone.
    pub(crate) tone: Outcome,
    pub(crate) symbol: &'static str,
    pub(crate) words: &'static str,
    /// The drill's verdict, where it did not pass.
    pub(crate) note: Option<String>,
    pub(crate) took: String,
    pub(crate) budget: String,
    pub(crate) used: String,
    /// Of the accepted run.
    pub(crate) accepted: String,
    /// The trend as text, this run last.
    pub(crate) trend: String,
    drawing: Option<Drawing>,
}

#[derive(Serialize)]
struct Drawing {
    width: f64,
    height: f64,
    path: String,
    dots: Vec<[f64; 2]>,
    /// Where a run's recovery was not shown.
    unseen: Vec<f64>,
    now: Option<[f64; 2]>,
    budget: f64,
    base: f64,
}

pub(crate) fn page(verdict: &Verdict, extras: &Extras) -> Page {
    let mut all = recovered(verdict);
    all.sort_by_key(|r| (r.took.is_some(), std::cmp::Reverse(r.verdict)));
    let unmeasured = verdict.drills.iter().map(|d| d.name.as_str());
    let mut unmeasured: Vec<String> = unmeasured
        .filter(|name| all.iter().all(|r| r.drill != *name))
        .map(str::to_owned)
        .collect();
    unmeasured.sort();
    unmeasured.dedup();
    Page {
        cut: all.len().saturating_sub(ROWS_MAX),
        rows: all.iter().take(ROWS_MAX).map(|r| row(r, extras)).collect(),
        unmeasured,
        notes: extras.history.left_out.clone(),
    }
}

/// One per drill, in the order of the run; of several episodes the longest, or none if one has none.
fn recovered(verdict: &Verdict) -> Vec<Recovered<'_>> {
    let mut all: Vec<Recovered<'_>> = Vec::new();
    for drill in &verdict.drills {
        let Some(budget) = drill.recovery_budget_ms else {
            continue;
        };
        match all.iter_mut().find(|r| r.drill == drill.name) {
            Some(known) => {
                known.episodes += 1;
                known.took = longest(known.took, drill);
                known.budget = known.budget.max(budget);
                known.verdict = known.verdict.max(drill.verdict);
            }
            None => all.push(Recovered {
                drill: &drill.name,
                episodes: 1,
                took: drill.recovery_ms,
                budget,
                verdict: drill.verdict,
            }),
        }
    }
    all
}

fn longest(known: Option<u64>, drill: &DrillVerdict) -> Option<u64> {
    known.zip(drill.recovery_ms).map(|(a, b)| a.max(b))
}

fn row(recovered: &Recovered<'_>, extras: &Extras) -> Row {
    let past: Vec<Option<u64>> = extras
        .history
        .runs
        .iter()
        .filter_map(|run| run.recovery_ms.get(recovered.drill).copied())
        .collect();
    let past = &past[past.len().saturating_sub(RUNS_MAX)..];
    let accepted = extras.comparison.iter().flat_map(|c| &c.recoveries);
    let accepted = accepted.rev().find(|r| r.drill == recovered.drill);
    let written = |value: Option<u64>| ms(value.map(|v| v as f64));
    let short = |value: &Option<u64>| value.map_or_else(|| NOT_APPLICABLE.to_owned(), count);
    let before: Vec<String> = past.iter().map(short).collect();
    // What a drill that didn't pass shows of a recovery is nothing to be proud of.
    let (tone, said) = match recovered.took {
        None => (Outcome::Inconclusive, "not shown"),
        Some(_) => (recovered.verdict, "in budget"),
    };
    let open = recovered.took.is_some() && recovered.verdict != Outcome::Pass;
    Row {
        drill: recovered.drill.to_owned(),
        episodes: recovered.episodes,
        tone,
        symbol: symbol(tone),
        words: said,
        note: open.then(|| format!("drill {}", recovered.verdict.word())),
        took: written(recovered.took),
        budget: written(Some(recovered.budget)),
        used: recovered
            .took
            .map_or_else(|| NOT_APPLICABLE.to_owned(), |t| share(t, recovered.budget)),
        accepted: accepted.map_or_else(|| "—".to_owned(), |r| written(r.was)),
        trend: match before.is_empty() {
            true => "no earlier run".to_owned(),
            false => format!("{} → {}", before.join(" · "), written(recovered.took)),
        },
        drawing: (!past.is_empty()).then(|| draw(past, recovered)),
    }
}

/// From nothing to the budget, or to the longest recovery if that is more.
fn draw(past: &[Option<u64>], recovered: &Recovered<'_>) -> Drawing {
    let most = past.iter().chain([&recovered.took]).flatten().max();
    let top = most.copied().unwrap_or(0).max(recovered.budget).max(1) as f64;
    let y = |value: u64| round(HEIGHT - PAD - value as f64 / top * (HEIGHT - 2.0 * PAD));
    let step = (WIDTH - 2.0 * PAD) / past.len() as f64;
    let x = |at: usize| round(PAD + at as f64 * step);
    let mut drawing = Drawing {
        width: WIDTH,
        height: HEIGHT,
        path: String::new(),
        dots: Vec::new(),
        unseen: Vec::new(),
        now: None,
        budget: y(recovered.budget),
        base: HEIGHT - PAD,
    };
    let mut joined = false;
    for (at, value) in past.iter().chain([&recovered.took]).enumerate() {
        match value {
            Some(value) => {
                let letter = if joined { 'L' } else { 'M' };
                let _infallible = write!(drawing.path, "{letter}{} {}", x(at), y(*value));
                match at == past.len() {
                    true => drawing.now = Some([x(at), y(*value)]),
                    false => drawing.dots.push([x(at), y(*value)]),
                }
            }
            None => drawing.unseen.push(x(at)),
        }
        joined = value.is_some();
    }
    drawing
}

/// The same as rows for Markdown.
pub(crate) fn rows(verdict: &Verdict, extras: &Extras) -> Vec<Row> {
    page(verdict, extras).rows
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
