//! What is said of single series, and the study in small.

use firedrill_verdict::drift::{Answer, Bin, Binned, Drift, Reason, Series, bin, drift};

use crate::study::{
    FIVE_HOURS, HIDING, Leak, Noise, Rng, Shape, TWELVE_MINUTES, honest_soak, simulate,
};

const EVERY: f64 = 10.0 / 3600.0;

/// Five hours of samples, one every 10 s.
fn binned(value: impl Fn(f64) -> f64) -> Binned {
    let samples: Vec<(f64, f64)> = (0..1800)
        .map(|i| i as f64 * EVERY)
        .map(|at| (at, value(at)))
        .collect();
    bin(&samples, 5.0, EVERY, Bin::Median)
}

fn look(binned: &Binned, limit: f64, upward: bool, faults: &[f64]) -> Drift {
    within_sight(binned, limit, upward, (faults, 144.0))
}

fn within_sight(
    binned: &Binned,
    limit: f64,
    upward: bool,
    (faults, sight): (&[f64], f64),
) -> Drift {
    drift(&Series {
        binned,
        faults,
        limit,
        upward,
        horizon: 144.0,
        sight,
        steps: true,
    })
}

/// A little noise that is the same every time.
fn ripple(at: f64) -> f64 {
    (at * 977.0).sin() * 0.3 + (at * 411.0).cos() * 0.2
}

#[test]
fn a_constant_series_is_fine_unless_it_is_at_its_limit() {
    let flat = binned(|_| 40.0);
    let found = look(&flat, 100.0, true, &[]);
    assert_eq!(
        (found.answer, found.reason),
        (Answer::Holds, Reason::Constant)
    );
    let found = look(&flat, 40.0, true, &[]);
    assert_eq!(
        (found.answer, found.reason),
        (Answer::Drifts, Reason::Beyond)
    );
    assert_eq!(look(&flat, 40.5, false, &[]).answer, Answer::Drifts);
    assert_eq!(look(&flat, 39.0, false, &[]).answer, Answer::Holds);
}

#[test]
fn a_slope_is_found_in_the_direction_of_its_limit_only() {
    // Ninety left, one an hour: 90 h from the start, 85 from the end.
    let rising = binned(|at| 10.0 + at + ripple(at));
    let found = look(&rising, 100.0, true, &[]);
    assert_eq!(
        (found.answer, found.reason),
        (Answer::Drifts, Reason::Slope)
    );
    let slope = found.slope.expect("a slope");
    assert!((slope.value - 1.0).abs() < 0.02 && slope.low < 1.0 && slope.high > 1.0);
    assert!(slope.p < 1e-4 && slope.effective > 10.0);
    assert!((found.hours.expect("hours") - 85.0).abs() < 2.0);
    assert_eq!(look(&rising, 0.0, false, &[]).answer, Answer::Holds);
    let falling = binned(|at| 10.0 - 0.1 * at + ripple(at) * 0.1);
    let found = look(&falling, 0.0, false, &[]);
    assert_eq!(found.answer, Answer::Drifts);
    assert!(found.slope.expect("a slope").value < 0.0);
    assert_eq!(look(&falling, 20.0, true, &[]).answer, Answer::Holds);
}

#[test]
fn a_limit_beyond_the_horizon_is_no_alarm() {
    let rising = binned(|at| 10.0 + 0.1 * at + ripple(at) * 0.1);
    let found = look(&rising, 100.0, true, &[]);
    assert_eq!((found.answer, found.reason), (Answer::Holds, Reason::Flat));
    assert!(found.hours.expect("hours") > 144.0);
}

#[test]
fn what_is_out_of_sight_need_not_be_ruled_out_and_what_is_certain_counts_all_the_same() {
    let noisy = binned(|at| 10.0 + 100.0 * ripple(at));
    let seen = |sight| within_sight(&noisy, 100.0, true, (&[], sight));
    let far = seen(144.0);
    assert_eq!((far.answer, far.reason), (Answer::Unknown, Reason::Unsure));
    let near = seen(15.0);
    assert_eq!((near.answer, near.reason), (Answer::Holds, Reason::Flat));
    // The limit is 85 h away.
    let rising = binned(|at| 10.0 + at + ripple(at));
    let found = within_sight(&rising, 100.0, true, (&[], 15.0));
    assert_eq!(
        (found.answer, found.reason),
        (Answer::Drifts, Reason::Slope)
    );
}

#[test]
fn a_growth_that_has_slowed_down_is_not_out_of_sight() {
    for noise in [1.0, 4.0] {
        let slower = |at: f64| 10.0 + 4.0 * at.min(2.5) + 0.8 * (at - 2.5).max(0.0);
        let slower = binned(|at| slower(at) + noise * ripple(at));
        for sight in [144.0, 15.0] {
            let found = within_sight(&slower, 100.0, true, (&[], sight));
            assert_eq!(
                (found.answer, found.reason),
                (Answer::Unknown, Reason::Uneven),
                "{noise}, {sight}"
            );
        }
    }
    let settled = binned(|at| 10.0 + 8.0 * at.min(2.5) + ripple(at));
    let found = within_sight(&settled, 100.0, true, (&[], 15.0));
    assert_eq!(found.answer, Answer::Holds, "{:?}", found.reason);
}

#[test]
fn a_level_that_rises_from_fault_to_fault_is_found_and_one_step_is_not() {
    let faults = [0.7, 1.4, 2.1, 2.8, 3.5, 4.2];
    let before = |at: f64| faults.iter().filter(|f| **f <= at).count() as f64;
    let stairs = binned(|at| 10.0 + 2.0 * before(at) + ripple(at));
    let found = look(&stairs, 100.0, true, &faults);
    assert_eq!(
        (found.answer, found.reason),
        (Answer::Drifts, Reason::Shift { faults: 6 })
    );
    assert!((found.shift.expect("a shift").value - 2.0).abs() < 0.1);
    for step in faults {
        let once = binned(|at| 10.0 + 12.0 * f64::from(at >= step) + ripple(at));
        assert_ne!(
            look(&once, 100.0, true, &faults).answer,
            Answer::Drifts,
            "{step}"
        );
    }
}

#[test]
fn too_little_is_inconclusive() {
    let mut few = binned(|at| 10.0 + at);
    few.points.truncate(23);
    let found = look(&few, 100.0, true, &[]);
    assert_eq!(found.answer, Answer::Unknown);
    assert_eq!(
        found.reason,
        Reason::FewBins {
            found: 23,
            wanted: 24
        }
    );
    let none = bin(&[], 5.0, EVERY, Bin::Mean);
    assert_eq!(look(&none, 100.0, true, &[]).answer, Answer::Unknown);
    // It fell, and now it rises: nothing says for how long.
    let valley = binned(|at| 50.0 - 45.0 * (at * std::f64::consts::PI / 5.0).sin() + ripple(at));
    assert_eq!(look(&valley, 100.0, true, &[]).answer, Answer::Unknown);
}

/// The study's shapes with a tenth of the samples: a debug build has seconds.
fn small(shape: &Shape) -> Shape {
    Shape {
        every_s: shape.every_s * if shape.hours > 1.0 { 60.0 } else { 3.0 },
        ..*shape
    }
}

#[test]
fn honest_soaks_raise_no_alarm() {
    for shape in [FIVE_HOURS, TWELVE_MINUTES] {
        let soaks = 100;
        let alarmed = (0..soaks)
            .filter(|soak| {
                let found = honest_soak(&small(&shape), 42, *soak);
                found.iter().any(|(_, _, answer)| *answer == Answer::Drifts)
            })
            .count();
        // Twelve in 2,000 is 0.6 in 100: more than two would be one chance in forty.
        assert!(alarmed <= 2, "{}: {alarmed} of {soaks}", shape.name);
    }
}

#[test]
fn leaks_are_found() {
    for shape in [FIVE_HOURS, TWELVE_MINUTES] {
        // With a sample a minute AR(1) 0.95 is slower than in the study, which takes one a second.
        let hiding = HIDING
            .iter()
            .filter(|(n, required)| *required && *n != Noise::Ar(0.95));
        for (i, (noise, _)) in hiding.enumerate() {
            let leak = if i % 2 == 0 {
                Leak::Slope
            } else {
                Leak::PerFault
            };
            let series = 20;
            let found = (0..series)
                .filter(|i| {
                    let mut rng = Rng::new(43, *i);
                    let found = simulate(&small(&shape), *noise, leak, 0.01, &mut rng);
                    found.answer == Answer::Drifts
                })
                .count() as u64;
            assert!(
                found >= series - 2,
                "{} {noise:?}: {found} of {series}",
                shape.name
            );
        }
    }
}
