//! Synthetic soaks for the study of the drift test: series with nothing wrong in them, and the same
//! with a leak. Everything follows from a seed.

use firedrill_verdict::drift::{Answer, Bin, Drift, Series, bin, drift};

/// Every series is one part of its limit.
const LIMIT: f64 = 1.0;
/// After a fault's healing so many seconds more are left out.
const SETTLE_S: f64 = 10.0;

/// What a soak is like.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub hours: f64,
    pub every_s: f64,
    pub faults: usize,
    pub fault_s: f64,
    pub horizon: f64,
    /// Hours, from the soak's start, after which the leaks of the study reach the limit.
    pub leak: f64,
}

pub const FIVE_HOURS: Shape = Shape {
    name: "5 h",
    hours: 5.0,
    every_s: 1.0,
    faults: 12,
    fault_s: 60.0,
    horizon: 144.0,
    leak: 72.0,
};

pub const TWELVE_MINUTES: Shape = Shape {
    name: "12 min",
    hours: 0.2,
    every_s: 1.0,
    faults: 5,
    fault_s: 20.0,
    horizon: 4.0,
    leak: 2.0,
};

/// What a series does when nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    White,
    /// First-order autoregressive from sample to sample.
    Ar(f64),
    /// As slow as AR(1) 0.95 from one two-hundredth of the soak to the next.
    SlowAr,
    /// A wave of that many to 40 periods in the soak, with white noise on top.
    Season(f64),
    /// Student's t with three degrees of freedom.
    HeavyTail,
    /// One change of level, up or down, anywhere.
    Step,
    /// A whole number of things, such as descriptors.
    Counter,
    /// Memory that fills and is collected.
    Sawtooth,
    /// A cache that fills, and is full.
    WarmUp,
    /// What a fault leaves behind dies away in its settle time and after.
    AfterShock,
}

pub const NOISES: [Noise; 12] = [
    Noise::White,
    Noise::Ar(0.5),
    Noise::Ar(0.8),
    Noise::Ar(0.95),
    Noise::SlowAr,
    Noise::Season(3.0),
    Noise::HeavyTail,
    Noise::Step,
    Noise::Counter,
    Noise::Sawtooth,
    Noise::WarmUp,
    Noise::AfterShock,
];

impl Noise {
    pub fn name(self) -> String {
        match self {
            Noise::White => "white".to_owned(),
            Noise::Ar(phi) => format!("AR(1) {phi}"),
            Noise::SlowAr => "AR(1) 0.95 per bin".to_owned(),
            Noise::Season(least) => format!("season, {least} to 40 periods"),
            Noise::HeavyTail => "Student t3".to_owned(),
            Noise::Step => "one step".to_owned(),
            Noise::Counter => "counter".to_owned(),
            Noise::Sawtooth => "GC sawtooth".to_owned(),
            Noise::WarmUp => "warm-up".to_owned(),
            Noise::AfterShock => "after-shock".to_owned(),
        }
    }
}

/// What the leaks hide in, and whether they must be found in it: noise that is as slow as the leak
/// itself hides it from anybody, and stands here to be seen.
pub const HIDING: [(Noise, bool); 10] = [
    (Noise::White, true),
    (Noise::Ar(0.5), true),
    (Noise::Ar(0.8), true),
    (Noise::Ar(0.95), true),
    (Noise::Season(10.0), true),
    (Noise::HeavyTail, true),
    (Noise::Counter, true),
    (Noise::Sawtooth, true),
    (Noise::Season(3.0), false),
    (Noise::SlowAr, false),
];

/// What is wrong with a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leak {
    None,
    Slope,
    /// Every fault leaves its share.
    PerFault,
}

/// SplitMix64: small, and the same on every machine.
pub struct Rng {
    state: u64,
    /// The second of a pair of normal draws.
    spare: Option<f64>,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    pub fn new(seed: u64, stream: u64) -> Rng {
        // Mixed twice: neighbouring seeds and streams have nothing in common.
        let state = mix(mix(seed ^ 0xD1B5_4A32_D192_ED03).wrapping_add(stream));
        Rng {
            state: mix(state),
            spare: None,
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// From 0 to 1, neither included.
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    fn student3(&mut self) -> f64 {
        let chi: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        // Scaled to a deviation of one.
        self.normal() / (chi / 3.0).sqrt() / 3.0_f64.sqrt()
    }
}

/// Makes a series and looks for a drift. `deviation` is a share of the headroom.
pub fn simulate(shape: &Shape, noise: Noise, leak: Leak, deviation: f64, rng: &mut Rng) -> Drift {
    let level = rng.between(0.1, 0.5);
    let headroom = LIMIT - level;
    let quiet = Quiet::new(shape);
    let mut wave = Wave::new(shape, noise, deviation * headroom, rng);
    let count = (shape.hours * 3600.0 / shape.every_s) as usize;
    let mut samples = Vec::with_capacity(count);
    for i in 0..count {
        let second = i as f64 * shape.every_s;
        let value =
            level + wave.at(second, &quiet, rng) + leaked(shape, leak, headroom, second, &quiet);
        if quiet.holds(second) {
            samples.push((second / 3600.0, wave.rounded(value)));
        }
    }
    let binned = bin(&samples, shape.hours, shape.every_s / 3600.0, Bin::Median);
    let faults: Vec<f64> = quiet.healed.iter().map(|s| s / 3600.0).collect();
    drift(&Series {
        binned: &binned,
        faults: &faults,
        limit: LIMIT,
        upward: true,
        horizon: shape.horizon,
        sight: shape.horizon,
        steps: true,
    })
}

fn leaked(shape: &Shape, leak: Leak, headroom: f64, second: f64, quiet: &Quiet) -> f64 {
    match leak {
        Leak::None => 0.0,
        Leak::Slope => headroom * second / 3600.0 / shape.leak,
        Leak::PerFault => {
            let per_fault = headroom * shape.hours / shape.leak / shape.faults as f64;
            per_fault * quiet.healed_before(second) as f64
        }
    }
}

/// Evenly spread faults.
struct Quiet {
    injected: Vec<f64>,
    healed: Vec<f64>,
}

impl Quiet {
    fn new(shape: &Shape) -> Quiet {
        let pace = shape.hours * 3600.0 / (shape.faults as f64 + 1.0);
        let injected: Vec<f64> = (1..=shape.faults).map(|i| i as f64 * pace).collect();
        let healed = injected.iter().map(|at| at + shape.fault_s).collect();
        Quiet { injected, healed }
    }

    fn healed_before(&self, second: f64) -> usize {
        self.healed.partition_point(|at| *at <= second)
    }

    fn holds(&self, second: f64) -> bool {
        let begun = self.injected.partition_point(|at| *at <= second);
        begun == 0 || second > self.healed[begun - 1] + SETTLE_S
    }
}

/// The state of one series.
struct Wave {
    noise: Noise,
    deviation: f64,
    state: f64,
    phi: f64,
    period: f64,
    phase: f64,
    moment: f64,
    size: f64,
}

impl Wave {
    fn new(shape: &Shape, noise: Noise, deviation: f64, rng: &mut Rng) -> Wave {
        let seconds = shape.hours * 3600.0;
        let phi = match noise {
            Noise::Ar(phi) => phi,
            Noise::SlowAr => 0.95_f64.powf(200.0 * shape.every_s / seconds),
            Noise::Step | Noise::WarmUp | Noise::AfterShock => 0.8,
            _ => 0.0,
        };
        Wave {
            noise,
            deviation,
            state: rng.normal(),
            phi,
            period: match noise {
                Noise::Season(least) => seconds / rng.between(least, 40.0),
                _ => seconds / rng.between(3.0, 40.0),
            },
            phase: rng.uniform(),
            moment: seconds * rng.uniform(),
            // Shapes of their own are up to twenty deviations high, and no more than 40 % of the headroom.
            size: (deviation * rng.between(2.0, 20.0)).min(0.4),
        }
    }

    fn at(&mut self, second: f64, quiet: &Quiet, rng: &mut Rng) -> f64 {
        let turn = (second / self.period + self.phase).fract();
        let unit = match self.noise {
            Noise::White | Noise::Counter => rng.normal(),
            Noise::HeavyTail => rng.student3(),
            Noise::Season(_) => {
                let wave = (std::f64::consts::TAU * turn).sin() * std::f64::consts::SQRT_2;
                0.95 * wave + 0.312 * rng.normal()
            }
            Noise::Sawtooth => {
                let tooth = (turn - 0.5) * 12.0_f64.sqrt();
                0.95 * tooth + 0.312 * rng.normal()
            }
            _ => {
                let innovation = (1.0 - self.phi * self.phi).sqrt();
                self.state = self.phi * self.state + innovation * rng.normal();
                self.state
            }
        };
        unit * self.deviation + self.shape(second, quiet)
    }

    fn shape(&self, second: f64, quiet: &Quiet) -> f64 {
        match self.noise {
            Noise::Step if second >= self.moment => match self.phase < 0.7 {
                true => self.size,
                false => -self.size,
            },
            Noise::WarmUp => self.size * (1.0 - (-second / (0.2 * self.moment + 1.0)).exp()),
            Noise::AfterShock => {
                let begun = quiet.injected.partition_point(|at| *at <= second);
                match begun.checked_sub(1) {
                    Some(last) => self.size * (-(second - quiet.injected[last]) / 30.0).exp(),
                    None => 0.0,
                }
            }
            _ => 0.0,
        }
    }

    /// A counter has 400 steps up to its limit.
    fn rounded(&self, value: f64) -> f64 {
        match self.noise {
            Noise::Counter => (value * 400.0).round() / 400.0,
            _ => value,
        }
    }
}

/// A soak of 20 series with nothing wrong: the kinds in turn, each with a deviation drawn between 0.5
/// and 20 % of the headroom. Which series came to what.
pub fn honest_soak(shape: &Shape, seed: u64, soak: u64) -> Vec<(usize, f64, Answer)> {
    let mut rng = Rng::new(seed, soak);
    (0..20)
        .map(|i| {
            let kind = (soak as usize * 20 + i) % NOISES.len();
            let deviation = 0.005 * 40.0_f64.powf(rng.uniform());
            let found = simulate(shape, NOISES[kind], Leak::None, deviation, &mut rng);
            (kind, deviation, found.answer)
        })
        .collect()
}
