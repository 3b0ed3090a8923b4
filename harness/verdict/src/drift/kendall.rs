//! Mann–Kendall: whether one series rises with another, by the signs of all pairs.

use super::student::normal_tail;

/// One-sided p-value of "y rises with x", with ties on both sides (Kendall 1970, ch. 4).
pub fn rises(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len();
    if n < 3 {
        return 1.0;
    }
    let mut s = 0_i64;
    for i in 0..n {
        for j in i + 1..n {
            s += sign(x[j] - x[i]) * sign(y[j] - y[i]);
        }
    }
    let n = n as f64;
    let (tx, ty) = (ties(x), ties(y));
    let all = n * (n - 1.0) * (2.0 * n + 5.0);
    let variance = (all - tx.v - ty.v) / 18.0
        + tx.pairs * ty.pairs / (2.0 * n * (n - 1.0))
        + tx.triples * ty.triples / (9.0 * n * (n - 1.0) * (n - 2.0));
    if variance <= 0.0 {
        return 1.0;
    }
    // One step towards zero, since S is a whole number.
    let s = s as f64;
    normal_tail((s - s.signum()) / variance.sqrt())
}

fn sign(d: f64) -> i64 {
    i64::from(d > 0.0) - i64::from(d < 0.0)
}

/// Sums over groups of equal values.
#[derive(Default)]
struct Ties {
    v: f64,
    pairs: f64,
    triples: f64,
}

fn ties(values: &[f64]) -> Ties {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut ties = Ties::default();
    for group in sorted.chunk_by(|a, b| a == b) {
        let t = group.len() as f64;
        ties.v += t * (t - 1.0) * (2.0 * t + 5.0);
        ties.pairs += t * (t - 1.0);
        ties.triples += t * (t - 1.0) * (t - 2.0);
    }
    ties
}

/// The series without its first-order autocorrelation, its trend untouched: `(y − ρ·y₋₁) / (1 − ρ)` and
/// the same of x, with ρ from the detrended residuals (von Storch 1995; Wang & Swail 2001). Only
/// neighbours on the grid have a predecessor; the first bin of each run is left out.
pub fn prewhitened(at: &[usize], x: &[f64], y: &[f64], residuals: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let neighbours = || (1..at.len()).filter(|i| at[*i] == at[i - 1] + 1);
    let rho = lag_one(residuals, neighbours());
    if rho <= 0.0 {
        return (x.to_vec(), y.to_vec());
    }
    let whiten = |v: &[f64]| -> Vec<f64> {
        neighbours()
            .map(|i| (v[i] - rho * v[i - 1]) / (1.0 - rho))
            .collect()
    };
    (whiten(x), whiten(y))
}

/// Autocorrelation at lag one, its bias in short series undone (Marriott & Pope 1954), below one.
fn lag_one(residuals: &[f64], neighbours: impl Iterator<Item = usize>) -> f64 {
    let n = residuals.len() as f64;
    let mean = residuals.iter().sum::<f64>() / n;
    let mut pairs = 0.0;
    let mut sum = 0.0;
    for i in neighbours {
        sum += (residuals[i] - mean) * (residuals[i - 1] - mean);
        pairs += 1.0;
    }
    let variance = residuals.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n;
    if pairs < 1.0 || variance <= 0.0 {
        return 0.0;
    }
    let raw = sum / pairs / variance;
    // A line was fitted as well, so the bias is about (2 + 4ρ)/n instead of (1 + 4ρ)/n.
    ((raw + 2.0 / n) / (1.0 - 4.0 / n)).clamp(0.0, 0.99)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        // S = 8 of 10 pairs, variance 5·4·15/18 = 16.67, z = 7/4.082 = 1.715.
        let p = rises(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.0, 3.0, 2.0, 4.0, 5.0]);
        assert!((p - 0.0432).abs() < 1e-3, "{p}");
        // S = 5 with one pair of ties: variance (4·3·13 − 2·1·9)/18 = 7.67, z = 4/2.769 = 1.4446.
        let p = rises(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 2.0, 3.0]);
        assert!((p - 0.0743).abs() < 1e-3, "{p}");
        assert_eq!(rises(&[1.0, 2.0, 3.0], &[7.0, 7.0, 7.0]), 1.0);
        assert!(rises(&[1.0, 2.0, 3.0, 4.0], &[4.0, 3.0, 2.0, 1.0]) > 0.9);
    }

    #[test]
    fn whitening_keeps_a_slope_and_leaves_out_the_first_of_a_run() {
        let at = [0, 1, 2, 5, 6];
        let x: Vec<f64> = at.iter().map(|a| *a as f64).collect();
        let y: Vec<f64> = x.iter().map(|x| 2.0 * x).collect();
        let (wx, wy) = prewhitened(&at, &x, &y, &[1.0, 0.9, 0.8, -1.0, -0.9]);
        assert_eq!(wx.len(), 3);
        for (x, y) in wx.iter().zip(&wy) {
            assert!((y - 2.0 * x).abs() < 1e-9);
        }
    }
}
