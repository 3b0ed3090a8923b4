//! The self-contained page: no script, no request to anywhere, legible on a phone and on paper.

use firedrill_verdict::{
    CheckVerdict, DrillVerdict, GateDecision, GateItem, Outcome, Percentiles, Verdict,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;

use crate::clean::tame;
use crate::words;
use crate::{Extras, RenderError};
use crate::{changes, observe, recovery, soak, timeline};

/// Drills that get a section of their own; failures come first, the table lists more.
const SECTIONS_MAX: usize = 60;
/// Rows of the table of drills, and of each other table.
const ROWS_MAX: usize = 400;
/// Log lines shown per service.
const LOG_LINES_MAX: usize = 40;

const TEMPLATES: [(&str, &str); 9] = [
    ("report.css", include_str!("../templates/report.css")),
    ("macros.html", include_str!("../templates/macros.html")),
    ("changes.html", include_str!("../templates/changes.html")),
    ("gate.html", include_str!("../templates/gate.html")),
    ("observe.html", include_str!("../templates/observe.html")),
    ("soak.html", include_str!("../templates/soak.html")),
    ("timeline.html", include_str!("../templates/timeline.html")),
    (
        "sensitivity.html",
        include_str!("../templates/sensitivity.html"),
    ),
    ("report.html", include_str!("../templates/report.html")),
];

/// A drill with its label, its checks failures first.
#[derive(Serialize)]
struct Section<'a> {
    label: String,
    drill: &'a DrillVerdict,
    checks: Vec<Row<'a>>,
    checks_cut: usize,
    passed: usize,
    faults_proven: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    check: &'a CheckVerdict,
    coverage: String,
    phase: Option<&'a str>,
}

#[derive(Serialize)]
struct Latency<'a> {
    name: &'a str,
    ms: f64,
}

/// The report as one HTML file, with the gate's decision where there is one.
pub fn html(
    verdict: &Verdict,
    gate: Option<&GateDecision>,
    extras: &Extras,
) -> Result<String, RenderError> {
    let mut verdict = tame(verdict)?;
    verdict
        .audit
        .checks
        .sort_by_key(|check| std::cmp::Reverse(check.verdict));
    let gate = gate.map(tame).transpose()?;
    let extras = tame(&last_lines(extras))?;
    let drills = words::drills_failures_first(&verdict);
    let rows: Vec<Section<'_>> = drills
        .iter()
        .take(ROWS_MAX)
        .map(|drill| section(&verdict, drill))
        .collect();
    let mut windows = verdict.timeline.windows.clone();
    windows.truncate(ROWS_MAX);
    let (headline_outcome, headline) = words::headline(&verdict, gate.as_ref());
    let page = context! {
        v => Serde(&verdict),
        gate => Serde(&gate),
        items => Serde(gate.as_ref().map(items_failures_first)),
        extras => Serde(&extras),
        warnings => words::warnings(&verdict),
        band => Serde(verdict.verdict.max(headline_outcome)),
        headline_outcome => Serde(headline_outcome),
        headline,
        why => verdict.reasons.first(),
        changes => Serde(changes::page(&verdict, &extras)),
        recovery => Serde(recovery::page(&verdict, &extras)),
        worst_margin => words::margin(words::worst_margin(&verdict)),
        soak => Serde(verdict.soak.as_ref().map(soak::page)),
        observe => Serde(verdict.observe.as_ref().map(observe::page)),
        sections => Serde(&rows[..rows.len().min(SECTIONS_MAX)]),
        sections_cut => rows.len().saturating_sub(SECTIONS_MAX),
        rows => Serde(&rows),
        rows_cut => drills.len() - rows.len(),
        windows => Serde(&windows),
        windows_cut => verdict.timeline.windows.len() - windows.len(),
        drawing => Serde(timeline::draw(&verdict.timeline)),
        acknowledged_share => words::share(verdict.load.ok, verdict.load.sent),
        latency => Serde(verdict.load.latency_ms.as_ref().map(latencies)),
        not_signed => words::NOT_SIGNED,
    };
    Ok(environment()?.get_template("report.html")?.render(page)?)
}

fn section<'a>(verdict: &'a Verdict, drill: &'a DrillVerdict) -> Section<'a> {
    let checks = words::checks_failures_first(&drill.checks);
    let row = |check: &'a CheckVerdict| Row {
        check,
        coverage: words::coverage(check.coverage, check.samples),
        phase: check
            .at_ms
            .and_then(|at| words::phase_at(verdict, drill.episode, at)),
    };
    Section {
        label: words::drill_label(verdict, drill),
        drill,
        checks_cut: checks.len().saturating_sub(ROWS_MAX),
        checks: checks.into_iter().take(ROWS_MAX).map(row).collect(),
        passed: drill
            .checks
            .iter()
            .filter(|check| check.verdict == Outcome::Pass)
            .count(),
        faults_proven: drill
            .faults
            .iter()
            .filter(|fault| fault.proven_at.is_some())
            .count(),
    }
}

/// The end of a log is what matters, so it is cut at its beginning.
fn last_lines(extras: &Extras) -> Extras {
    let mut extras = extras.clone();
    for lines in extras.last_log_lines.values_mut() {
        lines.drain(..lines.len().saturating_sub(LOG_LINES_MAX));
    }
    extras
}

fn items_failures_first(gate: &GateDecision) -> Vec<GateItem> {
    let mut items = gate.items.clone();
    items.sort_by_key(|item| std::cmp::Reverse(item.verdict));
    items
}

fn latencies(latency: &Percentiles) -> [Latency<'static>; 4] {
    [
        Latency {
            name: "p50",
            ms: latency.p50,
        },
        Latency {
            name: "p95",
            ms: latency.p95,
        },
        Latency {
            name: "p99",
            ms: latency.p99,
        },
        Latency {
            name: "max",
            ms: latency.max,
        },
    ]
}

/// The templates with the filters that write numbers. A misspelt field is an error, never empty text.
pub(crate) fn environment() -> Result<Environment<'static>, RenderError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.add_filter("ms", words::ms);
    environment.add_filter("margin", words::margin);
    environment.add_filter("plain", words::plain);
    environment.add_filter("count", words::count);
    environment.add_filter("span", words::span);
    environment.add_filter("moment", |at: &str| words::moment(at));
    environment.add_filter("short_digest", |digest: &str| words::short_digest(digest));
    environment.add_filter("symbol", |outcome: Serde<Outcome>| words::symbol(outcome.0));
    environment.add_filter("word", |outcome: Serde<Outcome>| outcome.0.word());
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    Ok(environment)
}
