//! Tails of the normal and of Student's distribution, as far as the drift tests need them.

/// P(T > t) of Student's distribution with an even number of degrees of freedom (Abramowitz & Stegun
/// 26.7.4: a finite sum).
pub fn student_tail(t: f64, degrees: u32) -> f64 {
    if t.is_nan() {
        return 1.0;
    }
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    let nu = f64::from(degrees);
    let cos2 = nu / (nu + t * t);
    let sin = t / (nu + t * t).sqrt();
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..degrees / 2 {
        let k = f64::from(k);
        term *= (2.0 * k - 1.0) / (2.0 * k) * cos2;
        sum += term;
    }
    (0.5 * (1.0 - sin * sum)).clamp(0.0, 1.0)
}

/// The t that a share `p` of the distribution lies above.
pub fn student_quantile(p: f64, degrees: u32) -> f64 {
    let (mut low, mut high) = (-1e3, 1e3);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if student_tail(middle, degrees) > p {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// P(Z > z) of the normal distribution; relative error below 1.2e-7 (Press et al., erfc by a
/// Chebyshev fit).
pub fn normal_tail(z: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    if z.is_nan() {
        return 1.0;
    }
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let fit = FIT.iter().rev().fold(0.0, |sum, c| sum * t + c);
    let erfc = t * (-x * x + fit).exp();
    if z >= 0.0 {
        0.5 * erfc
    } else {
        1.0 - 0.5 * erfc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_agree_with_printed_tables() {
        for (z, p) in [
            (0.0, 0.5),
            (1.644_854, 0.05),
            (3.719_016, 1e-4),
            (-1.644_854, 0.95),
        ] {
            assert!((normal_tail(z) - p).abs() < 1e-6, "{z}: {}", normal_tail(z));
        }
        for (t, degrees, p) in [
            (1.859_548, 8, 0.05),
            (6.442_0, 8, 1e-4),
            (2.919_986, 2, 0.05),
        ] {
            let tail = student_tail(t, degrees);
            assert!((tail - p).abs() < 2e-6, "{t}: {tail}");
        }
        assert!((student_quantile(0.025, 8) - 2.306_004).abs() < 1e-5);
        assert_eq!(student_tail(f64::NAN, 8), 1.0);
        assert_eq!(normal_tail(f64::NAN), 1.0);
    }
}
