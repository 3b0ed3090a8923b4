//! What changed since the accepted run, in words.

use firedrill_verdict::{Comparison, FigureChange, Shift, Verdict};
use serde::Serialize;

use crate::Extras;
use crate::words::{count, plain, short_digest};

/// Rows and lines that are shown.
const ROWS_MAX: usize = 40;

#[derive(Serialize)]
pub(crate) struct Page {
    /// The sentence on top.
    pub(crate) summary: String,
    pub(crate) lines: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) cut: usize,
}

#[derive(Serialize)]
pub(crate) struct Row {
    /// Class of its colour, symbol and word: none of them alone.
    pub(crate) tone: &'static str,
    pub(crate) symbol: &'static str,
    pub(crate) word: &'static str,
    pub(crate) id: String,
    pub(crate) was: String,
    pub(crate) is: String,
    pub(crate) change: String,
    pub(crate) effect: String,
    pub(crate) why: Option<String>,
}

/// What is said of a comparison, or of there being none.
pub(crate) fn page(verdict: &Verdict, extras: &Extras) -> Page {
    let run = &verdict.run;
    let Some(comparison) = &extras.comparison else {
        return Page {
            summary: match &extras.not_compared {
                Some(why) => format!("Not compared with the accepted run: {why}"),
                None => format!(
                    "Nothing to compare with: of kind {}, target {}, profile {} no run was accepted yet (firedrill baseline accept RUN).",
                    run.kind, run.target, run.profile
                ),
            },
            lines: Vec::new(),
            rows: Vec::new(),
            cut: 0,
        };
    };
    let figures = &comparison.figures;
    Page {
        summary: summary(comparison),
        lines: lines(verdict, comparison),
        rows: figures.iter().take(ROWS_MAX).map(row).collect(),
        cut: figures.len().saturating_sub(ROWS_MAX),
    }
}

fn summary(comparison: &Comparison) -> String {
    let of = |shift: Shift| {
        let all = comparison.figures.iter();
        count(all.filter(|f| f.shift == shift).count() as u64)
    };
    if comparison.figures.is_empty() {
        return "The accepted run holds no figure of this one.".to_owned();
    }
    format!(
        "Of {} figures {} became worse and {} better; {} show no regression, {} could not be compared.",
        count(comparison.figures.len() as u64),
        of(Shift::Worse),
        of(Shift::Better),
        of(Shift::Same),
        of(Shift::Unknown),
    )
}

fn lines(verdict: &Verdict, comparison: &Comparison) -> Vec<String> {
    let runs: Vec<&str> = comparison.runs.iter().map(|r| r.run.as_str()).collect();
    let (is, was) = (&verdict.subject, &comparison.subject);
    let mut lines = vec![format!(
        "accepted run: {} (accepted {})",
        runs.join(", "),
        comparison.accepted_at
    )];
    lines.push(match comparison.same_subject {
        true => format!("the same build: {}", short_digest(&is.digest)),
        false => format!(
            "another build: {} {} instead of {} {}",
            is.version,
            short_digest(&is.digest),
            was.version,
            short_digest(&was.digest)
        ),
    });
    for how in ["changed", "added", "gone"] {
        let paths = comparison.documents.iter().filter(|d| d.how == how);
        let paths: Vec<&str> = paths.map(|d| d.path.as_str()).collect();
        if !paths.is_empty() {
            lines.push(format!(
                "files that shape the run, {how}: {}",
                paths.join(", ")
            ));
        }
    }
    for (names, what) in [
        (&comparison.drills_gone, "not run any more"),
        (&comparison.drills_new, "not in the accepted run"),
    ] {
        if !names.is_empty() {
            lines.push(format!("drills {what}: {}", names.join(", ")));
        }
    }
    lines
}

fn row(figure: &FigureChange) -> Row {
    let (tone, symbol, word) = match figure.shift {
        Shift::Worse => ("fail", "✗", "worse"),
        Shift::Better => ("pass", "✓", "better"),
        Shift::Same => ("nil", "=", "no regression"),
        Shift::Unknown => ("inconclusive", "?", "not compared"),
    };
    let two = |value: f64| format!("{value:.2}").replace('-', "−");
    Row {
        tone,
        symbol,
        word,
        id: figure.id.clone(),
        was: plain(figure.was),
        is: plain(figure.is),
        change: figure.change.map_or_else(
            || plain(None),
            |c| format!("{:+.1} %", c * 100.0).replace('-', "−"),
        ),
        effect: match (figure.effect, figure.p) {
            (Some(delta), Some(p)) if p < 1e-4 => format!("{}, p < 0.0001", two(delta)),
            (Some(delta), Some(p)) => format!("{}, p = {p:.4}", two(delta)),
            _ => plain(None),
        },
        why: figure.why.clone(),
    }
}
