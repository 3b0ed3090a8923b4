//! How often the drift test cries wolf, and how often it misses a leak: the table of `just drift-study`.
//!
//! `drift_study [SOAKS] [SEED…]`, by default 2,000 and the seeds 1, 2 and 3. Exits with 1 if there are more
//! alarms in honest soaks than 12 in 2,000, or if fewer than 95 % of the
//! leaks are found in the noise in which they must be.

#[path = "../tests/drift/study.rs"]
mod study;

use std::process::ExitCode;
use std::thread;

use firedrill_verdict::drift::Answer;
use study::{FIVE_HOURS, HIDING, Leak, NOISES, Rng, Shape, TWELVE_MINUTES, honest_soak, simulate};

/// Alarms that 2,000 honest soaks may raise.
const ALARMS_MAX: f64 = 12.0 / 2000.0;
const POWER_MIN: f64 = 0.95;
/// Noise of the leaking series, as a share of the headroom.
const DEVIATION: f64 = 0.01;

/// What came of many series of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    series: u64,
    alarms: u64,
    unknown: u64,
    /// Those whose noise is at most 2 % of the headroom, and how many of them are inconclusive.
    calm: u64,
    calm_unknown: u64,
}

impl Tally {
    fn add(&mut self, answer: Answer, deviation: f64) {
        let calm = deviation <= 0.02;
        self.calm += u64::from(calm);
        self.calm_unknown += u64::from(calm && answer == Answer::Unknown);
        self.series += 1;
        self.alarms += u64::from(answer == Answer::Drifts);
        self.unknown += u64::from(answer == Answer::Unknown);
    }
}

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let parsed: Result<Vec<u64>, _> = given.by_ref().collect();
    let Ok(numbers) = parsed else {
        eprintln!("usage: drift_study [SOAKS] [SEED…], whole numbers");
        return ExitCode::from(64);
    };
    let soaks = numbers.first().copied().unwrap_or(2000);
    let seeds = match numbers.get(1..) {
        Some(seeds) if !seeds.is_empty() => seeds.to_vec(),
        _ => vec![1, 2, 3],
    };
    let mut held = true;
    for shape in [FIVE_HOURS, TWELVE_MINUTES] {
        for seed in &seeds {
            held &= honest(&shape, *seed, soaks);
        }
        for seed in &seeds {
            held &= leaking(&shape, *seed, soaks / 10);
        }
    }
    match held {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn honest(shape: &Shape, seed: u64, soaks: u64) -> bool {
    let results = split(soaks, |soak| honest_soak(shape, seed, soak));
    let mut tallies = vec![Tally::default(); NOISES.len()];
    let mut alarmed = 0;
    for soak in &results {
        let mut any = false;
        for (kind, deviation, answer) in soak {
            tallies[*kind].add(*answer, *deviation);
            any |= *answer == Answer::Drifts;
        }
        alarmed += u64::from(any);
    }
    println!(
        "\n{} soaks of {} with nothing wrong, 20 series each, horizon {} h, seed {seed}",
        soaks, shape.name, shape.horizon
    );
    println!(
        "                             series   alarms   inconclusive   of those with noise ≤ 2 %"
    );
    for (noise, tally) in NOISES.iter().zip(&tallies) {
        let share = |part: u64, of: u64| 100.0 * part as f64 / of.max(1) as f64;
        println!(
            "{:<26} {:>8} {:>8} {:>12.2} % {:>12.2} %",
            noise.name(),
            tally.series,
            tally.alarms,
            share(tally.unknown, tally.series),
            share(tally.calm_unknown, tally.calm)
        );
    }
    let most = (ALARMS_MAX * soaks as f64).max(1.0);
    let held = alarmed as f64 <= most;
    println!(
        "soaks with an alarm: {alarmed} of {soaks}, at most {most:.0}: {}",
        word(held)
    );
    held
}

fn leaking(shape: &Shape, seed: u64, series: u64) -> bool {
    println!(
        "\n{series} leaks each, {} soak, limit reached {} h after its start, noise {:.0} % of the headroom, seed {seed}",
        shape.name,
        shape.leak,
        100.0 * DEVIATION
    );
    println!("{:<26} {:>14} {:>14}", "noise", "slope", "per fault");
    let mut held = true;
    for (kind, (noise, required)) in HIDING.iter().enumerate() {
        let power = [Leak::Slope, Leak::PerFault].map(|leak| {
            let found = split(series, |i| {
                let stream = 1_000_000 * (kind as u64 + 1) + 2 * i + u64::from(leak == Leak::Slope);
                let mut rng = Rng::new(seed, stream);
                simulate(shape, *noise, leak, DEVIATION, &mut rng).answer
            });
            let mut tally = Tally::default();
            found
                .into_iter()
                .for_each(|answer| tally.add(answer, DEVIATION));
            tally.alarms as f64 / tally.series.max(1) as f64
        });
        let note = if *required { "" } else { "  (not required)" };
        println!(
            "{:<26} {:>12.1} % {:>12.1} %{note}",
            noise.name(),
            100.0 * power[0],
            100.0 * power[1]
        );
        held &= !required || power.iter().all(|p| *p >= POWER_MIN);
    }
    println!(
        "leaks found, at least {:.0} %: {}",
        100.0 * POWER_MIN,
        word(held)
    );
    held
}

fn word(held: bool) -> &'static str {
    if held { "held" } else { "NOT HELD" }
}

/// Runs the work on two threads; the results are in order, and the same on any number of them.
fn split<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let half = count / 2;
    thread::scope(|scope| {
        let second = scope.spawn(|| (half..count).map(&work).collect::<Vec<T>>());
        let mut first: Vec<T> = (0..half).map(&work).collect();
        match second.join() {
            Ok(more) => first.extend(more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        first
    })
}
