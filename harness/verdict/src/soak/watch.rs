//! One watched series: its coverage, its bounds, its drift.

use firedrill_plan::{BinBy, DriftLimit, Predicate, Toward, Watch};

use super::model::{DriftVerdict, Interval, WatchVerdict};
use super::quiet::Quiet;
use crate::coverage::{Seen, measure, too_little};
use crate::drift::{Answer, Bin, Binned, Drift, Reason, Series, Slope, bin, drift};
use crate::index::Index;
use crate::model::Outcome;
use crate::predicate::Test;
use crate::tally::Watched;
use crate::words;

const EVIDENCE_MAX: usize = 20;
const HOUR_NS: f64 = 3.6e12;

/// A sample with a number. An HTTP probe without an answer has an infinite latency, which breaks a
/// bound and is no level.
struct Value {
    at: u64,
    value: f64,
    seq: u64,
}

/// The quiet samples of a watch, and how much of the quiet time they cover.
struct Quietly {
    values: Vec<Value>,
    seen: Seen,
    /// The first reason for a sample without a value.
    missing: Option<String>,
}

pub fn judge_watch(
    index: &Index<'_>,
    watched: &Watched,
    watch: &Watch,
    (quiet, look_ahead): (&Quiet, Option<f64>),
) -> WatchVerdict {
    let quietly = collect(index, watched, watch, quiet);
    let finite: Vec<(f64, f64)> = quietly
        .values
        .iter()
        .map(|v| {
            (
                v.at.saturating_sub(quiet.whole.from) as f64 / HOUR_NS,
                v.value,
            )
        })
        .collect();
    let hours = quiet.whole.len() as f64 / HOUR_NS;
    let every = watch.probe.every.as_secs_f64() / 3600.0;
    let by = match watch.bin {
        BinBy::Median => Bin::Median,
        BinBy::Mean => Bin::Mean,
        BinBy::P95 => Bin::P95,
    };
    let binned = bin(&finite, hours, every, by);
    let mut outcome = Outcome::Pass;
    let mut said = Vec::new();
    let bounds = broken(watch, &quietly.values);
    if let Some((why, _)) = &bounds {
        outcome = Outcome::Fail;
        said.push(why.clone());
    }
    let thin = thin(watch, &quietly, quiet);
    let sight = look_ahead.map_or(f64::INFINITY, |times| hours * times);
    let drifted = watch
        .drift
        .map(|limit| drifting(&limit, &binned, (quiet, sight)));
    if let (Some(limit), Some(found)) = (&watch.drift, &drifted) {
        let verdict = outcome_of(found, thin.is_some());
        outcome = outcome.max(verdict);
        said.push(sentence(found, limit, sight));
    }
    if let Some(why) = &thin {
        outcome = outcome.max(Outcome::Inconclusive);
        let detail = quietly
            .missing
            .map(|m| format!(" ({m})"))
            .unwrap_or_default();
        said.insert(
            usize::from(bounds.is_some()),
            format!("too little was seen of the quiet time: {why}{detail}"),
        );
    }
    let finite = || {
        quietly
            .values
            .iter()
            .map(|v| v.value)
            .filter(|v| v.is_finite())
    };
    let (least, most) = (finite().reduce(f64::min), finite().reduce(f64::max));
    if let (None, Some(least), Some(most)) = (&drifted, least, most) {
        let (least, most) = (words::number(least), words::number(most));
        said.push(format!("between {least} and {most} in the quiet time"));
    }
    WatchVerdict {
        id: watch.id.clone(),
        what: watch.what.clone(),
        source: watch.source.clone(),
        verdict: outcome,
        expected: expected(watch),
        observed: said.join("; "),
        samples: quietly.seen.values,
        coverage: (!quiet.spans.is_empty()).then_some(quietly.seen.share),
        largest_gap_ms: (!quiet.spans.is_empty()).then(|| words::to_ms(quietly.seen.gap)),
        least,
        most,
        drift: watch
            .drift
            .zip(drifted)
            .map(|(limit, found)| figures(&limit, &found, (thin.is_some(), sight))),
        bins_from_ms: words::to_ms(quiet.whole.from),
        bin_ms: binned.width * 3.6e6,
        bins: laid_out(&binned),
        evidence: bounds.map(|(_, seqs)| seqs).unwrap_or_default(),
    }
}

/// Whether the bounds held in that quiet time and enough of it was seen; else why not.
pub fn bounds_so_far(
    index: &Index<'_>,
    watched: &Watched,
    watch: &Watch,
    quiet: &Quiet,
) -> (Outcome, Option<String>) {
    let quietly = collect(index, watched, watch, quiet);
    if let Some((why, _)) = broken(watch, &quietly.values) {
        return (Outcome::Fail, Some(why));
    }
    match thin(watch, &quietly, quiet) {
        Some(why) => (Outcome::Inconclusive, Some(why)),
        None => (Outcome::Pass, None),
    }
}

fn thin(watch: &Watch, quietly: &Quietly, quiet: &Quiet) -> Option<String> {
    match quiet.spans.is_empty() {
        true => Some("there was no quiet time".to_owned()),
        false => too_little(&quietly.seen, &watch.coverage),
    }
}

fn collect(index: &Index<'_>, watched: &Watched, watch: &Watch, quiet: &Quiet) -> Quietly {
    let every = u64::try_from(watch.probe.every.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1);
    let mut values = Vec::new();
    let mut missing = None;
    let (mut found, mut wanted, mut gap) = (0_u64, 0_u64, 0_u64);
    for span in &quiet.spans {
        let mut seen = Vec::new();
        for (look, number) in watched.within(watch, span.from, span.to) {
            seen.push(look.obs(number.is_ok()));
            match number {
                Ok(value) => values.push(Value {
                    at: look.due(),
                    value,
                    seq: look.seq(),
                }),
                Err(why) => {
                    missing.get_or_insert_with(|| why.to_owned());
                }
            }
        }
        let part = measure(&seen, *span, watch.probe.every, &index.starved);
        let due = (span.len() / every).saturating_sub(1);
        found += part.values;
        wanted += due;
        // A stretch with no room for a sample says nothing about gaps.
        if due > 0 {
            gap = gap.max(part.gap);
        }
    }
    let share = (found as f64 / wanted.max(1) as f64).min(1.0);
    Quietly {
        values,
        seen: Seen {
            values: found,
            share,
            gap,
        },
        missing,
    }
}

/// The first bound that a quiet sample breaks, in words, with the lines that show it.
fn broken(watch: &Watch, values: &[Value]) -> Option<(String, Vec<u64>)> {
    for bound in &watch.bounds {
        let Ok(test) = Test::new(bound) else { continue };
        let wrong = || {
            values
                .iter()
                .filter(|v| test.number(v.value) == Some(false))
        };
        let Some(first) = wrong().next() else {
            continue;
        };
        let value = words::number(first.value);
        let (n, at) = (wrong().count() as u64, words::ms(first.at));
        let why = format!(
            "{} of {} quiet samples break the bound, the first with {value} at {at}",
            n,
            values.len()
        );
        return Some((why, wrong().take(EVIDENCE_MAX).map(|v| v.seq).collect()));
    }
    None
}

fn drifting(limit: &DriftLimit, binned: &Binned, (quiet, sight): (&Quiet, f64)) -> Drift {
    let hour = |at: &u64| at.saturating_sub(quiet.whole.from) as f64 / HOUR_NS;
    let faults: Vec<f64> = quiet.healed.iter().map(hour).collect();
    drift(&Series {
        binned,
        faults: &faults,
        limit: limit.limit,
        upward: limit.toward == Toward::Up,
        horizon: hours_of(limit),
        sight: sight.min(hours_of(limit)),
        steps: limit.steps,
    })
}

/// A drift that was computed from too little is no proof of one.
fn outcome_of(found: &Drift, thin: bool) -> Outcome {
    match found.answer {
        Answer::Drifts if !thin => Outcome::Fail,
        Answer::Holds => Outcome::Pass,
        Answer::Drifts | Answer::Unknown => Outcome::Inconclusive,
    }
}

fn figures(limit: &DriftLimit, found: &Drift, (thin, sight): (bool, f64)) -> DriftVerdict {
    let interval = |s: Slope| Interval {
        value: s.value,
        low: s.low,
        high: s.high,
        p: s.p,
        p_kendall: s.p_kendall,
        effective_samples: s.effective,
    };
    DriftVerdict {
        verdict: outcome_of(found, thin),
        limit: limit.limit,
        horizon_h: hours_of(limit),
        sight_h: sight.min(hours_of(limit)),
        slope_per_h: found.slope.map(interval),
        shift_per_fault: found.shift.map(interval),
        level: found.level,
        hours_to_limit: found.hours,
    }
}

/// The bins over the whole grid, holes included.
fn laid_out(binned: &Binned) -> Vec<Option<f64>> {
    let mut bins = vec![None; binned.count];
    for point in &binned.points {
        if let Some(slot) = bins.get_mut(point.at) {
            *slot = Some(point.value);
        }
    }
    bins
}

fn hours_of(limit: &DriftLimit) -> f64 {
    limit.horizon.as_secs_f64() / 3600.0
}

fn expected(watch: &Watch) -> String {
    let mut parts = Vec::new();
    if let Some(limit) = &watch.drift {
        let hours = limit.horizon.as_secs_f64() / 3600.0;
        parts.push(format!(
            "not on its way to {} within {}",
            words::number(limit.limit),
            hours_words(hours)
        ));
    }
    parts.extend(watch.bounds.iter().map(|bound| match bound {
        Predicate::AtMost(n) => format!("at most {} in the quiet time", words::number(*n)),
        Predicate::AtLeast(n) => format!("at least {} in the quiet time", words::number(*n)),
        other => words::predicate(other),
    }));
    parts.join("; ")
}

fn sentence(found: &Drift, limit: &DriftLimit, sight: f64) -> String {
    let goal = words::number(limit.limit);
    let horizon = hours_words(hours_of(limit));
    let ahead = hours_words(sight.min(hours_of(limit)));
    let level = found.level.map_or("nothing".to_owned(), significant);
    let reached = match found.hours {
        Some(hours) => format!(
            "at this slope the limit {goal} is reached in {}",
            hours_words(hours)
        ),
        None => format!("the limit {goal} isn't approached"),
    };
    let slope = found.slope.map_or(String::new(), |s| per(&s, "h"));
    match found.reason {
        Reason::FewBins { found, wanted } => {
            format!("{found} of at least {wanted} bins of quiet time hold enough samples")
        }
        Reason::Constant => format!("constant at {level}"),
        Reason::Beyond => format!("the level is {level}, and the limit {goal}"),
        Reason::Slope => format!("{slope}: {reached}, the horizon is {horizon}"),
        Reason::Shift { faults } => {
            let shift = found.shift.map_or(String::new(), |s| per(&s, "fault"));
            format!(
                "the level rises from fault to fault ({faults} faults), {shift}: at that rate the limit {goal} is reached in {}, the horizon is {horizon}",
                found.hours.map_or("n/a".to_owned(), hours_words)
            )
        }
        Reason::Flat if sight < hours_of(limit) => {
            format!("{slope}: {reached}; not within {ahead}, and no further can be seen")
        }
        Reason::Flat => format!("{slope}: {reached}, beyond the horizon of {horizon}").replace(
            "isn't approached, beyond the horizon of",
            "isn't approached within the horizon of",
        ),
        Reason::Settled => format!("it changed ({slope}) and has settled at {level}"),
        Reason::Uneven => {
            format!("{slope}: {reached}, but it didn't grow all the time; a longer soak would tell")
        }
        Reason::Unsure => format!(
            "{slope}: too noisy or too short to rule out that the limit {goal} is reached within {ahead}; a longer soak would tell"
        ),
    }
}

fn per(slope: &Slope, unit: &str) -> String {
    format!(
        "{} per {unit} (95 %: {} to {})",
        signed(slope.value),
        signed(slope.low),
        signed(slope.high)
    )
}

fn signed(n: f64) -> String {
    let sign = if n >= 0.0 { "+" } else { "" };
    format!("{sign}{}", significant(n))
}

/// Four digits that mean something; none after the point where there are four before it.
fn significant(n: f64) -> String {
    if n == 0.0 || !n.is_finite() {
        return words::number(n);
    }
    let digits = 3 - n.abs().log10().floor() as i32;
    let places = usize::try_from(digits.clamp(0, 9)).unwrap_or(0);
    let text = format!("{n:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn hours_words(hours: f64) -> String {
    match hours {
        h if h < 1.0 => format!("{:.0} min", h * 60.0),
        h if h < 10.0 => format!("{} h", significant((h * 10.0).round() / 10.0)),
        h => format!("{h:.0} h"),
    }
}
