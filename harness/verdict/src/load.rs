//! Figures of the load.

use firedrill_journal::OpState;

use crate::index::Index;
use crate::model::{LoadFigures, Percentiles};

/// Counts and latencies over the whole run. Latency counts from the intended time of sending.
pub fn figures(index: &Index<'_>) -> LoadFigures {
    let mut figures = LoadFigures::default();
    let mut latencies = Vec::new();
    for op in &index.ops {
        if op.shed() {
            figures.shed += 1;
            continue;
        }
        figures.sent += 1;
        match op.state {
            OpState::Ok => {
                figures.ok += 1;
                if let Some(done) = op.done {
                    latencies.push(done.saturating_sub(op.intended));
                }
            }
            OpState::Rejected => figures.rejected += 1,
            OpState::Failed => figures.failed += 1,
            OpState::Invoked | OpState::Unknown => figures.unknown += 1,
        }
    }
    latencies.sort_unstable();
    figures.latency_ms = (!latencies.is_empty()).then(|| Percentiles {
        p50: percentile(&latencies, 50),
        p95: percentile(&latencies, 95),
        p99: percentile(&latencies, 99),
        max: percentile(&latencies, 100),
    });
    figures
}

/// Nearest-rank percentile of sorted nanoseconds, in milliseconds; 0 of nothing.
pub fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |ns| *ns as f64 / 1e6)
}
