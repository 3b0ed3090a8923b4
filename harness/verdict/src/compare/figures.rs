//! The figures by which runs are compared, and the blocks that stand for each.

use serde::{Deserialize, Serialize};

use super::BLOCKS_MIN;
use crate::drift::median;
use crate::model::Verdict;

/// Shortest block: below it rates are noise.
const BLOCK_MIN_MS: f64 = 1_000.0;
/// Autocorrelation of neighbouring blocks above which they are made longer.
const CORRELATION_MAX: f64 = 0.2;
/// Share of a block's bins that must hold a value.
const FILLED_MIN: f64 = 0.5;
/// What follows a fault in a run that has no settle time of its own.
const SETTLE_MS: f64 = 5_000.0;

/// Where a figure must not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toward {
    Up,
    Down,
}

/// A series in its quiet time, as medians of blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub id: String,
    /// The drill of a run of drills; `null` in a soak.
    pub drill: Option<String>,
    pub worse: Toward,
    pub block_ms: f64,
    /// In order of time, holes left out.
    pub blocks: Vec<f64>,
    /// Autocorrelation of neighbouring blocks, 0 to 0.95.
    pub correlation: f64,
}

/// Series of the timeline, and where they must not go.
const SERIES: [(&str, Toward); 3] = [
    ("latency p95 (ms)", Toward::Up),
    ("acknowledged/s", Toward::Down),
    ("first sends/s", Toward::Down),
];

/// The load's series, and each series of a soak that is watched for a limit. Faults, acts and their
/// settle time are left out.
pub fn figures(verdict: &Verdict) -> Vec<Figure> {
    let drill = match (verdict.run.kind.as_str(), verdict.drills.as_slice()) {
        ("drill", [one]) => Some(one.name.clone()),
        _ => None,
    };
    let id = |name: &str| match &drill {
        Some(drill) => format!("{drill}: {name}"),
        None => name.to_owned(),
    };
    let timeline = &verdict.timeline;
    let disturbed = disturbed(verdict);
    let mut all = Vec::new();
    for (name, worse) in SERIES {
        let Some(series) = timeline.series.iter().find(|s| s.name == name) else {
            continue;
        };
        let quiet = |(at, value): (usize, &Option<f64>)| {
            let from = timeline.start_ms + at as f64 * timeline.bin_ms;
            let to = from + timeline.bin_ms;
            let apart = disturbed.iter().all(|[a, b]| to <= *a || *b <= from);
            value.filter(|_| apart)
        };
        let bins: Vec<Option<f64>> = series.values.iter().enumerate().map(quiet).collect();
        all.push(figure(
            id(name),
            drill.clone(),
            worse,
            &bins,
            timeline.bin_ms,
        ));
    }
    let watches = verdict.soak.iter().flat_map(|soak| &soak.watches);
    for watch in watches {
        let Some(drift) = &watch.drift else { continue };
        let seen = watch.bins.iter().flatten().copied();
        let below = seen.reduce(f64::max).is_none_or(|most| most <= drift.limit);
        let worse = match below {
            true => Toward::Up,
            false => Toward::Down,
        };
        let name = format!("watch {}", watch.id);
        all.push(figure(name, None, worse, &watch.bins, watch.bin_ms));
    }
    all
}

fn disturbed(verdict: &Verdict) -> Vec<[f64; 2]> {
    if let Some(soak) = &verdict.soak {
        return soak.disturbed.clone();
    }
    let end = verdict.timeline.end_ms;
    let faults = verdict
        .timeline
        .windows
        .iter()
        .filter(|w| w.fault.is_some());
    faults
        .map(|w| [w.requested, w.healed.unwrap_or(end) + SETTLE_MS])
        .collect()
}

/// Blocks as short as they may be, and so long that neighbours say little of one another, as far as
/// there is time for that. What correlation is left goes into the test.
fn figure(
    id: String,
    drill: Option<String>,
    worse: Toward,
    bins: &[Option<f64>],
    bin_ms: f64,
) -> Figure {
    let mut width = 1;
    if bin_ms.is_finite() && bin_ms > 0.0 {
        width = ((BLOCK_MIN_MS / bin_ms).ceil() as usize).clamp(1, bins.len().max(1));
    }
    let mut blocks = medians(bins, width);
    let mut correlation = lag_one(&blocks);
    while correlation > CORRELATION_MAX {
        let longer = medians(bins, width * 2);
        if longer.len() < BLOCKS_MIN {
            break;
        }
        width *= 2;
        correlation = lag_one(&longer);
        blocks = longer;
    }
    Figure {
        id,
        drill,
        worse,
        block_ms: bin_ms * width as f64,
        blocks: blocks.into_iter().map(|(_, value)| value).collect(),
        correlation: correlation.clamp(0.0, 0.95),
    }
}

/// Medians of stretches of so many bins, with their place on the grid.
fn medians(bins: &[Option<f64>], width: usize) -> Vec<(usize, f64)> {
    let chunks = bins.chunks(width.max(1)).enumerate();
    chunks
        .filter_map(|(at, chunk)| {
            let finite = chunk.iter().flatten().copied().filter(|v| v.is_finite());
            let mut seen: Vec<f64> = finite.collect();
            let enough = (seen.len() as f64) >= (width as f64 * FILLED_MIN).max(1.0);
            enough.then(|| (at, median(&mut seen)))
        })
        .collect()
}

/// Autocorrelation of neighbours on the grid; 0 where there are none, or no variance.
fn lag_one(blocks: &[(usize, f64)]) -> f64 {
    let n = blocks.len() as f64;
    let mean = blocks.iter().map(|(_, v)| v).sum::<f64>() / n;
    let variance = blocks.iter().map(|(_, v)| (v - mean).powi(2)).sum::<f64>() / n;
    let (mut pairs, mut sum) = (0.0, 0.0);
    for pair in blocks.windows(2) {
        if let [(a, x), (b, y)] = pair
            && *b == a + 1
        {
            pairs += 1.0;
            sum += (x - mean) * (y - mean);
        }
    }
    if pairs < 1.0 || variance.is_nan() || variance <= 0.0 {
        return 0.0;
    }
    sum / pairs / variance
}
