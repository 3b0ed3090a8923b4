//! The soak as a whole: its figures in words, and each watched series as a small drawing. It only
//! computes coordinates; the template draws.

use std::cmp::Reverse;
use std::fmt::Write as _;

use firedrill_verdict::{CheckpointVerdict, Outcome, SoakVerdict, Verdict, WatchVerdict};
use serde::Serialize;

use crate::clean;
use crate::words::{count, coverage, ms, plain, share, span, symbol};

/// Size of a drawing in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 72.0;
/// Kept free above and below the series.
const PAD: f64 = 6.0;
/// Most of each that is drawn.
const WATCHES_MAX: usize = 100;
const BINS_MAX: usize = 600;
const DISTURBED_MAX: usize = 400;

/// Watches with failures first, in the profile's order otherwise.
pub(crate) fn failures_first(soak: &SoakVerdict) -> Vec<&WatchVerdict> {
    let mut watches: Vec<&WatchVerdict> = soak.watches.iter().collect();
    watches.sort_by_key(|watch| Reverse(watch.verdict));
    watches
}

/// What is to be said of the soak beside its watches.
pub(crate) fn lines(soak: &SoakVerdict) -> Vec<String> {
    let intents = &soak.intents;
    let mut lines = vec![
        format!(
            "{} of load, {} of it quiet ({}): outside of faults, acts and {} of settle time after them",
            span(soak.duration_ms as u64),
            span(soak.quiet_ms as u64),
            coverage(soak.quiet_share, 1),
            ms(Some(soak.settle_ms)),
        ),
        format!(
            "{} of {} faults proven",
            count(soak.faults_proven),
            count(soak.faults)
        ),
        format!(
            "{} of {} intents executed ({})",
            count(intents.executed),
            count(intents.total),
            share(intents.executed, intents.total),
        ),
    ];
    for (class, number) in &intents.rest {
        lines.push(format!("{} intents {class}", count(*number)));
    }
    lines.extend(soak.checkpoints.iter().map(checkpoint));
    if let Some(caught) = &soak.caught {
        let seen = match caught.failed {
            true => "saw it",
            false => "did not see it",
        };
        let (defect, watch) = (&caught.defect, &caught.watch);
        lines.push(format!("the watch named for {defect}, {watch}, {seen}"));
    }
    lines
}

/// A checkpoint in one line: when, what had been counted until then, and what was wrong.
fn checkpoint(row: &CheckpointVerdict) -> String {
    let at = ms(Some(row.at_ms));
    let (mark, word) = (symbol(row.verdict), row.verdict.word());
    let mut line = format!("checkpoint at {at}: {mark} {word}");
    if row.run_ms.is_some() {
        let _infallible = write!(
            line,
            ", {} of {} watches within their bounds, {} offences, {} accepted, {} rejected, {} unknown, {} first sends, {} mined",
            count(row.watches_within),
            count(row.watches),
            count(row.offences),
            count(row.accepted),
            count(row.rejected),
            count(row.unknown),
            count(row.first_sends),
            count(row.mined),
        );
    }
    for why in &row.reasons {
        let _infallible = write!(line, "; {why}");
    }
    line
}

/// The soak as a whole for a terminal; nothing for a run that is no soak.
pub fn text_soak(verdict: &Verdict) -> Option<String> {
    let soak = verdict.soak.as_ref()?;
    let mut out = String::new();
    let (mark, word) = (symbol(soak.verdict), soak.verdict.word());
    let _infallible = writeln!(out, "{mark} {word}  the soak as a whole");
    for line in lines(soak) {
        let _infallible = writeln!(out, "    {}", clean::line(&line));
    }
    for watch in failures_first(soak) {
        let (mark, word) = (symbol(watch.verdict), watch.verdict.word());
        let (id, seen) = (clean::line(&watch.id), clean::line(&watch.observed));
        let _infallible = writeln!(out, "  {mark} {word}  {id}: {seen}");
        if watch.verdict != Outcome::Pass {
            let expected = clean::line(&watch.expected);
            let _infallible = writeln!(out, "      expected  {expected}");
        }
    }
    Some(out)
}

/// What the page shows of a soak.
#[derive(Serialize)]
pub(crate) struct Page<'a> {
    verdict: Outcome,
    lines: Vec<String>,
    watches: Vec<Row<'a>>,
    watches_cut: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    watch: &'a WatchVerdict,
    coverage: String,
    drawing: Option<Drawing>,
}

#[derive(Serialize)]
struct Drawing {
    width: f64,
    height: f64,
    /// Disturbed stretches: left edge and width.
    disturbed: Vec<[f64; 2]>,
    path: String,
    gaps: String,
    /// Height of the limit, where it lies within the drawing.
    limit: Option<f64>,
    top: String,
    bottom: String,
}

pub(crate) fn page(soak: &SoakVerdict) -> Page<'_> {
    let watches = failures_first(soak);
    Page {
        verdict: soak.verdict,
        lines: lines(soak),
        watches_cut: watches.len().saturating_sub(WATCHES_MAX),
        watches: watches
            .into_iter()
            .take(WATCHES_MAX)
            .map(|watch| Row {
                watch,
                coverage: coverage(watch.coverage, watch.samples),
                drawing: draw(soak, watch),
            })
            .collect(),
    }
}

/// The series in its bins, from its least to its most; nothing if nothing was seen.
fn draw(soak: &SoakVerdict, watch: &WatchVerdict) -> Option<Drawing> {
    let bins = &watch.bins[..watch.bins.len().min(BINS_MAX)];
    let seen = || bins.iter().flatten().copied().filter(|v| v.is_finite());
    let (low, high) = (seen().reduce(f64::min)?, seen().reduce(f64::max)?);
    let length = watch.bin_ms * bins.len() as f64;
    if !length.is_finite() || length <= 0.0 {
        return None;
    }
    let span = if high > low { high - low } else { 1.0 };
    let y = |value: f64| round(HEIGHT - PAD - (value - low) / span * (HEIGHT - 2.0 * PAD));
    let x = |at_ms: f64| {
        let share = ((at_ms - watch.bins_from_ms) / length).clamp(0.0, 1.0);
        round(share * WIDTH)
    };
    let (mut path, mut gaps) = (String::new(), String::new());
    let mut joined = false;
    for (index, value) in bins.iter().enumerate() {
        let (from, to) = (
            index as f64 * watch.bin_ms,
            (index + 1) as f64 * watch.bin_ms,
        );
        let (from, to) = (x(watch.bins_from_ms + from), x(watch.bins_from_ms + to));
        match value.filter(|v| v.is_finite()) {
            Some(value) => {
                let level = y(value);
                let joint = match joined {
                    true => format!("V{level}"),
                    false => format!("M{from} {level}"),
                };
                let _infallible = write!(path, "{joint}H{to}");
                joined = true;
            }
            None => {
                let _infallible = write!(gaps, "M{from} {HEIGHT}H{to}");
                joined = false;
            }
        }
    }
    let limit = watch.drift.as_ref().map(|d| d.limit);
    Some(Drawing {
        width: WIDTH,
        height: HEIGHT,
        disturbed: soak
            .disturbed
            .iter()
            .take(DISTURBED_MAX)
            .map(|[from, to]| [x(*from), round(x(*to) - x(*from))])
            .collect(),
        path,
        gaps,
        limit: limit.filter(|l| (low..=high).contains(l)).map(y),
        top: plain(Some(high)),
        bottom: plain(Some(low)),
    })
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
