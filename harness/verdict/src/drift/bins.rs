//! From samples to at most [`BINS_MAX`] bins, on an even grid with holes where nothing was quiet.

/// Most bins of a series. Theil–Sen looks at every pair of them.
pub const BINS_MAX: usize = 200;
/// Fewest samples for which a bin is laid out.
const PER_BIN: f64 = 5.0;
/// The same where a bin's 95th percentile is asked for.
const PER_BIN_P95: f64 = 20.0;
/// Share of a bin's due samples that it must hold to count.
const FILLED_MIN: f64 = 0.5;

/// What stands for the samples of a bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bin {
    Median,
    Mean,
    P95,
}

/// A bin that holds enough samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Position on the grid: neighbours differ by one.
    pub at: usize,
    /// Mean time of its samples, in hours since the grid's start.
    pub hours: f64,
    pub value: f64,
}

/// How a series was binned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Binned {
    /// Length of the grid, bins without data included.
    pub count: usize,
    /// Length of a bin in hours.
    pub width: f64,
    pub points: Vec<Point>,
}

/// Bins samples of `(hours since the start, value)` over `hours`; one was due every `every` hours of
/// quiet time. Samples that aren't finite are left out.
pub fn bin(samples: &[(f64, f64)], hours: f64, every: f64, by: Bin) -> Binned {
    let per_bin = match by {
        Bin::P95 => PER_BIN_P95,
        Bin::Median | Bin::Mean => PER_BIN,
    };
    let due = hours / every;
    if !due.is_finite() || due < 1.0 {
        return Binned::default();
    }
    let count = ((due / per_bin).floor() as usize).clamp(1, BINS_MAX);
    let width = hours / count as f64;
    let needed = (width / every * FILLED_MIN).max(1.0);
    let mut cells: Vec<Vec<(f64, f64)>> = vec![Vec::new(); count];
    for (at, value) in samples {
        if value.is_finite() && *at >= 0.0 && *at <= hours {
            let cell = ((at / width) as usize).min(count - 1);
            cells[cell].push((*at, *value));
        }
    }
    let mut points = Vec::new();
    let mut values = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        if (cell.len() as f64) < needed {
            continue;
        }
        values.clear();
        values.extend(cell.iter().map(|(_, v)| *v));
        points.push(Point {
            at,
            hours: cell.iter().map(|(t, _)| t).sum::<f64>() / cell.len() as f64,
            value: stand_in(&mut values, by),
        });
    }
    Binned {
        count,
        width,
        points,
    }
}

fn stand_in(values: &mut [f64], by: Bin) -> f64 {
    match by {
        Bin::Median => median(values),
        Bin::Mean => values.iter().sum::<f64>() / values.len().max(1) as f64,
        Bin::P95 => {
            let rank = (values.len() * 95).div_ceil(100).max(1) - 1;
            nth(values, rank)
        }
    }
}

/// The value of that rank, from 0; of nothing it is not a number.
pub fn nth(values: &mut [f64], rank: usize) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let rank = rank.min(values.len() - 1);
    *values.select_nth_unstable_by(rank, f64::total_cmp).1
}

/// The median; of nothing it is not a number.
pub fn median(values: &mut [f64]) -> f64 {
    let half = values.len() / 2;
    let upper = nth(values, half);
    if values.len() % 2 == 1 || values.is_empty() {
        return upper;
    }
    let below = values[..half].iter().copied().fold(f64::MIN, f64::max);
    (below + upper) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_stays_a_hole_and_nan_is_no_sample() {
        let every = 1.0 / 3600.0;
        let quiet = |i: &usize| !(200..320).contains(i);
        let samples: Vec<(f64, f64)> = (0..600)
            .filter(quiet)
            .map(|i| (i as f64 * every, if i % 2 == 0 { 1.0 } else { 3.0 }))
            .chain([(0.01, f64::NAN)])
            .collect();
        let binned = bin(&samples, 600.0 * every, every, Bin::Mean);
        assert_eq!(binned.count, 120);
        assert_eq!(binned.points.len(), 96);
        assert!(binned.points.iter().all(|p| p.at < 40 || p.at >= 64));
        assert!(binned.points.iter().all(|p| (1.0..=3.0).contains(&p.value)));
        assert_eq!(bin(&[], 0.0, every, Bin::Median), Binned::default());
    }

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
        let mut values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(stand_in(&mut values, Bin::P95), 19.0);
    }
}
