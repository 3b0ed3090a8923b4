//! Theil–Sen slope, with a standard error that holds for autocorrelated series.
//!
//! The long-run variance of the residuals is the mean square of their projections on the first
//! [`COSINES`] cosines of the time axis, made orthogonal to the fitted line (the equal-weighted cosine
//! estimator: Müller 2007; Lazarus, Lewis, Stock & Watson 2018). It looks at the slow part of the
//! noise, which is what passes for a trend, and Student's distribution with as many degrees of
//! freedom accounts for its own uncertainty. Residuals are cut at four robust deviations first, so
//! that a heavy tail doesn't hide a trend.

use super::bins::median;

/// Cosines, and degrees of freedom. Chosen by measurement: see the drift study.
pub const COSINES: u32 = 8;
/// Robust deviations at which a residual is cut.
const CUT: f64 = 4.0;
/// From a median absolute deviation to a standard deviation of normal noise.
const MAD: f64 = 1.482_6;

/// A fitted line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub slope: f64,
    pub intercept: f64,
    /// Standard error of the slope; 0 of a perfect line.
    pub error: f64,
    /// How many independent bins would say as much.
    pub effective: f64,
    pub residuals: Vec<f64>,
}

/// The line through `y` over `x`; `time` orders the noise and is `x` itself unless the regressor is
/// another. `None` if x doesn't vary.
pub fn fit(time: &[f64], x: &[f64], y: &[f64]) -> Option<Line> {
    let mut slopes = slopes(x, y);
    if slopes.is_empty() {
        return None;
    }
    let slope = median(&mut slopes);
    let mut levels: Vec<f64> = x.iter().zip(y).map(|(x, y)| y - slope * x).collect();
    let residuals = levels.clone();
    let intercept = median(&mut levels);
    let residuals: Vec<f64> = residuals.iter().map(|r| r - intercept).collect();
    let cut = winsorised(&residuals);
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let spread: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
    let centre = cut.iter().sum::<f64>() / n;
    let short_run = cut.iter().map(|r| (r - centre).powi(2)).sum::<f64>() / n;
    // Noise that swings back at once makes the slope more certain, not less; that is not relied on.
    let long_run = long_run(time, x, &cut).max(short_run);
    let effective = if long_run > 0.0 {
        n * short_run / long_run
    } else {
        n
    };
    Some(Line {
        slope,
        intercept,
        error: (long_run / spread).sqrt(),
        effective,
        residuals,
    })
}

/// The slopes of all pairs whose x differ.
fn slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let n = x.len();
    let mut slopes = Vec::with_capacity(n * n.saturating_sub(1) / 2);
    for i in 0..n {
        for j in i + 1..n {
            let run = x[j] - x[i];
            if run != 0.0 {
                slopes.push((y[j] - y[i]) / run);
            }
        }
    }
    slopes
}

fn winsorised(residuals: &[f64]) -> Vec<f64> {
    let mut sizes: Vec<f64> = residuals.iter().map(|r| r.abs()).collect();
    let deviation = median(&mut sizes) * MAD;
    if deviation <= 0.0 {
        // More than half of the bins lie on the line: nothing says which of the others are outliers.
        return residuals.to_vec();
    }
    let most = CUT * deviation;
    residuals.iter().map(|r| r.clamp(-most, most)).collect()
}

fn long_run(time: &[f64], x: &[f64], residuals: &[f64]) -> f64 {
    let (Some(first), Some(last)) = (time.first(), time.last()) else {
        return 0.0;
    };
    let length = (last - first).max(f64::MIN_POSITIVE);
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(COSINES as usize + 2);
    orthogonal(&mut basis, vec![1.0; x.len()]);
    orthogonal(&mut basis, x.to_vec());
    let before = basis.len();
    for j in 1..=COSINES {
        let omega = std::f64::consts::PI * f64::from(j) / length;
        let cosine = time.iter().map(|t| (omega * (t - first)).cos()).collect();
        orthogonal(&mut basis, cosine);
    }
    let cosines = &basis[before..];
    let power = cosines.iter().map(|c| dot(c, residuals).powi(2));
    power.sum::<f64>() / cosines.len().max(1) as f64
}

/// Adds what the vector has beside the basis, at length one; nothing if that is nothing.
fn orthogonal(basis: &mut Vec<Vec<f64>>, mut vector: Vec<f64>) {
    let before = dot(&vector, &vector);
    for known in basis.iter() {
        let part = dot(known, &vector);
        for (v, k) in vector.iter_mut().zip(known) {
            *v -= part * k;
        }
    }
    let norm = dot(&vector, &vector);
    if norm > before * 1e-9 {
        let scale = norm.sqrt().recip();
        vector.iter_mut().for_each(|v| *v *= scale);
        basis.push(vector);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_line_and_one_wild_bin() {
        let x: Vec<f64> = (0..40).map(f64::from).collect();
        let mut y: Vec<f64> = x.iter().map(|x| 3.0 + 0.5 * x).collect();
        let line = fit(&x, &x, &y).expect("a line");
        assert!((line.slope - 0.5).abs() < 1e-12 && (line.intercept - 3.0).abs() < 1e-9);
        assert!(line.error < 1e-9);
        y[20] = 1e6;
        let line = fit(&x, &x, &y).expect("a line");
        assert!((line.slope - 0.5).abs() < 0.02, "{}", line.slope);
        assert!(fit(&x[..2], &[1.0, 1.0], &y[..2]).is_none());
    }
}
