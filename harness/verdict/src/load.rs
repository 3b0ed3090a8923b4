//! Figures of the load.

/// Nearest-rank percentile of sorted nanoseconds, in milliseconds; 0 of nothing.
pub fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |ns| *ns as f64 / 1e6)
}
