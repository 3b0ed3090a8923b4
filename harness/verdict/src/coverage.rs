//! How much of a window was seen: samples, share of the due ones, largest time without a value.

use std::time::Duration;

use firedrill_plan::Coverage;

use crate::operators::{Obs, Span, inside};
use crate::words::{duration, ms};

/// What was seen of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Observations that held a value.
    pub values: u64,
    /// Share of the due ones that did, 0 to 1.
    pub share: f64,
    /// Largest time without a value, from the window's start to its end, nanoseconds.
    pub gap: u64,
}

/// Measures the coverage of a span by observations that were due every `every`.
///
/// A value counts from the end of its observation. A stretch in which the harness itself didn't get
/// the processor is a time without a value, whatever was written about it.
pub fn measure(all: &[Obs], span: Span, every: Duration, starved: &[(u64, u64)]) -> Seen {
    let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    // A window of this length holds at least so many due times, and the last one may straddle its end.
    let expected = (span.len() / every).saturating_sub(1).max(1);
    let mut values = 0_u64;
    let mut gap = 0;
    let mut last = span.from;
    for obs in inside(all, span).filter(|o| o.ok.is_some()) {
        values += 1;
        gap = gap.max(obs.end.saturating_sub(last));
        last = last.max(obs.end);
    }
    gap = gap.max(span.to.saturating_sub(last));
    for (from, to) in starved {
        let part = to.min(&span.to).saturating_sub(*from.max(&span.from));
        gap = gap.max(part);
    }
    Seen {
        values,
        share: (values as f64 / expected as f64).min(1.0),
        gap,
    }
}

/// The minimum for a stretch that may be shorter than the window for which it was written.
pub fn scaled(min: &Coverage, span: Span, every: Duration) -> Coverage {
    let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    Coverage {
        samples_min: min.samples_min.min((span.len() / every / 2).max(1)),
        ..*min
    }
}

/// Why this is too little, in words; `None` if it is enough.
pub fn too_little(seen: &Seen, min: &Coverage) -> Option<String> {
    if seen.values < min.samples_min.max(1) {
        let wanted = min.samples_min.max(1);
        return Some(format!("{} of at least {wanted} samples", seen.values));
    }
    if seen.share < min.share_min {
        return Some(format!(
            "values in {:.1} % of the due observations, {:.1} % wanted",
            seen.share * 100.0,
            min.share_min * 100.0
        ));
    }
    if u128::from(seen.gap) > min.gap_max.as_nanos() {
        return Some(format!(
            "{} without a value, at most {} wanted",
            ms(seen.gap),
            duration(min.gap_max)
        ));
    }
    None
}
