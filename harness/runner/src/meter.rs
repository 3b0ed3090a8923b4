//! How long the background load's requests took lately, for whoever wants to watch it.
//!
//! Bounded: what nobody has looked at in time is forgotten, oldest first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Requests that are remembered: half a minute at 250 a second.
const KEPT: usize = 8_192;

#[derive(Default)]
pub struct Meter(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Number of the next request.
    next: u64,
    latencies_ms: VecDeque<f64>,
}

impl Meter {
    pub fn add(&self, latency_ms: f64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.latencies_ms.len() == KEPT {
            kept.latencies_ms.pop_front();
        }
        kept.latencies_ms.push_back(latency_ms);
        kept.next += 1;
    }

    /// Latencies since `cursor`, sorted; moves the cursor on.
    pub fn since(&self, cursor: &mut u64) -> Vec<f64> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = usize::try_from(kept.next.saturating_sub(*cursor)).unwrap_or(KEPT);
        *cursor = kept.next;
        let skip = kept.latencies_ms.len().saturating_sub(wanted);
        let mut recent: Vec<f64> = kept.latencies_ms.iter().skip(skip).copied().collect();
        recent.sort_by(f64::total_cmp);
        recent
    }
}

/// The value below or at which that share of the sorted values lies (nearest rank).
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_sees_what_came_since_it_looked() {
        let meter = Meter::default();
        let (mut one, mut other) = (0, 0);
        meter.add(3.0);
        meter.add(1.0);
        assert_eq!(meter.since(&mut one), [1.0, 3.0]);
        meter.add(2.0);
        assert_eq!(meter.since(&mut one), [2.0]);
        assert_eq!(meter.since(&mut other), [1.0, 2.0, 3.0]);
        assert_eq!(meter.since(&mut one), [] as [f64; 0]);
        (0..20_000).for_each(|i| meter.add(f64::from(i)));
        assert_eq!(meter.since(&mut one).len(), KEPT);
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.95), Some(95.0));
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&[7.0], 0.95), Some(7.0));
        assert_eq!(quantile(&[], 0.95), None);
    }
}
