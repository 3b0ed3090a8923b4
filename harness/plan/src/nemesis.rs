//! The nemesis: which drill comes when, and how the load goes meanwhile. Drawn from a seed, once,
//! before anything is started.
//!
//! A pure function in whole milliseconds: the same profile, drills, duration and seed give the same
//! schedule, byte for byte, on every machine and in every later version. So the numbers come from
//! SplitMix64 (Steele, Lea and Flood 2014), which is ten lines here and will never change.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::*;

/// Beyond its holds a drill needs time for its needs, proofs and quiescence.
const AROUND: Duration = Duration::from_secs(8);
/// Steps on each side of a ramp.
const STEPS: u64 = 5;
/// A stretch that is shorter keeps its constant rate: a shape needs room to be seen.
const SHAPED_MIN_MS: u64 = 30_000;

/// The course of a soak, in milliseconds since its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    pub seed: u64,
    pub length_ms: u64,
    /// Least time between the end of a drill and the start of the next one.
    pub gap_ms: u64,
    /// Whether drills wait for their time. If not they follow one another, a gap before each.
    pub waits: bool,
    pub episodes: Vec<Planned>,
    /// Rate of the background load from then on, outside of drills.
    pub rates: Vec<Rate>,
    pub checkpoints: Vec<PlannedCheckpoint>,
}

/// A drill and its time. `lasts_ms` is an estimate: quiescence takes what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub drill: String,
    pub at_ms: u64,
    pub lasts_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub from_ms: u64,
    pub signals_per_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCheckpoint {
    pub at_ms: u64,
}

/// Why nothing could be scheduled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSchedule {
    #[error("the profile {profile} has drills in order, and its own length")]
    Fixed { profile: String },
    #[error(
        "{given} s are too short: {drill} takes {lasts} s, with quiet time around it at least {least} s"
    )]
    TooShort {
        given: u64,
        drill: String,
        lasts: u64,
        least: u64,
    },
    #[error("{drill} can't be part of a soak: {why}")]
    Unfit { drill: String, why: String },
}

impl Schedule {
    /// Draws the schedule of `profile` over `length`, or over the profile's own duration. `drills` are
    /// those that the profile names.
    ///
    /// # Errors
    /// The time is too short for any drill, or a drill can't share a stack with the others.
    pub fn draw(
        profile: &Profile,
        drills: &[Drill],
        length: Option<Duration>,
        seed: u64,
    ) -> Result<Schedule, NoSchedule> {
        for drill in drills {
            fits(profile, drill, drills.len())?;
        }
        match &profile.mix {
            None if length.is_some() => Err(NoSchedule::Fixed {
                profile: profile.name.clone(),
            }),
            None => Ok(in_order(profile, drills, seed)),
            Some(mix) => drawn(profile, mix, drills, length, seed),
        }
    }

    /// Rate of the background load at a time, outside of drills.
    pub fn rate_at(&self, at_ms: u64) -> f64 {
        let before = self.rates.iter().rev().find(|r| r.from_ms <= at_ms);
        before.map_or(0.0, |r| r.signals_per_s)
    }

    /// When the rate changes next.
    pub fn next_rate(&self, after_ms: u64) -> Option<u64> {
        let later = self.rates.iter().find(|r| r.from_ms > after_ms);
        later.map(|r| r.from_ms)
    }
}

/// A drill that changes the stack under all the others, or that others disturb, wants one of its own.
fn fits(profile: &Profile, drill: &Drill, of: usize) -> Result<(), NoSchedule> {
    let unfit = |why: String| {
        Err(NoSchedule::Unfit {
            drill: drill.name.clone(),
            why,
        })
    };
    if !drill.env.is_empty() && (of > 1 || profile.mix.is_some()) {
        return unfit("it sets environment of its own, and the stack is shared".to_owned());
    }
    if profile.mix.is_some() && drill.replicas.values().any(|n| *n > 1) {
        return unfit("it needs more than one instance, and the stack is shared".to_owned());
    }
    let mut acts = drill.phases.iter().flat_map(|p| &p.acts);
    let alone = acts.find_map(|a| match a.kind {
        ActKind::Recreate { .. } => Some("it makes containers anew"),
        ActKind::Restore => Some("it restores the database"),
        _ => None,
    });
    if let (true, Some(what)) = (profile.mix.is_some(), alone) {
        return unfit(format!(
            "{what}, and what the other drills and the audit know of the stack would no longer hold"
        ));
    }
    if profile.mix.is_some() && drill.load.is_none() {
        let why = "it has no load of its own: it wants a stack where nothing else happens";
        return unfit(why.to_owned());
    }
    match (&profile.mode, &drill.needs.mode) {
        (Some(mode), Some(needs)) if mode != needs => {
            unfit(format!("it needs mode {needs}, and the soak is {mode}"))
        }
        _ => Ok(()),
    }
}

fn in_order(profile: &Profile, drills: &[Drill], seed: u64) -> Schedule {
    let mut episodes = Vec::new();
    let mut at_ms = 0;
    for name in &profile.drills {
        let Some(drill) = drills.iter().find(|d| d.name == *name) else {
            continue;
        };
        at_ms += ms(profile.quiet);
        let lasts_ms = lasts(drill, profile.pace);
        episodes.push(Planned {
            drill: name.clone(),
            at_ms,
            lasts_ms,
        });
        at_ms += lasts_ms;
    }
    Schedule {
        seed,
        length_ms: at_ms,
        gap_ms: ms(profile.quiet),
        waits: false,
        episodes,
        rates: vec![Rate {
            from_ms: 0,
            signals_per_s: profile.load.signals_per_s,
        }],
        checkpoints: checkpoints(profile, at_ms),
    }
}

fn drawn(
    profile: &Profile,
    mix: &Mix,
    drills: &[Drill],
    length: Option<Duration>,
    seed: u64,
) -> Result<Schedule, NoSchedule> {
    let length_ms = ms(length.unwrap_or(profile.duration));
    let gap_ms = ms(profile.quiet);
    let own_ms = ms(profile.duration).max(1);
    // The first stretch scales with the time that there is, but recovery takes what it takes.
    let scaled = u128::from(ms(mix.first_quiet)) * u128::from(length_ms) / u128::from(own_ms);
    let first_ms = u64::try_from(scaled).unwrap_or(u64::MAX).max(gap_ms);
    let lasts: BTreeMap<&str, u64> = drills
        .iter()
        .map(|d| (d.name.as_str(), self::lasts(d, profile.pace)))
        .collect();
    let share = (1.0 - mix.quiet_share).clamp(0.0, 1.0);
    let budget_ms = (length_ms as f64 * share) as u64;
    let mut random = SplitMix64(seed);
    let room = Room {
        budget_ms,
        left_ms: length_ms.saturating_sub(first_ms),
        gap_ms,
    };
    let names = choose(&mut random, mix, &lasts, room);
    if names.is_empty() {
        return Err(too_short(&lasts, length_ms, (first_ms, gap_ms), share));
    }
    let busy_ms: u64 = names.iter().map(|n| lasts[n.as_str()] + gap_ms).sum();
    let slack_ms = length_ms - first_ms - busy_ms;
    let gaps = divide(&mut random, slack_ms, names.len());
    let mut at_ms = first_ms;
    let mut episodes = Vec::new();
    for (name, extra_ms) in names.into_iter().zip(gaps) {
        let lasts_ms = lasts[name.as_str()];
        episodes.push(Planned {
            drill: name,
            at_ms,
            lasts_ms,
        });
        at_ms += lasts_ms + gap_ms + extra_ms;
    }
    let rates = rates(&mut random, profile, &episodes, length_ms);
    Ok(Schedule {
        seed,
        length_ms,
        gap_ms,
        waits: true,
        episodes,
        rates,
        checkpoints: checkpoints(profile, length_ms),
    })
}

/// Time that drills may take.
#[derive(Clone, Copy)]
struct Room {
    /// Of drills alone.
    budget_ms: u64,
    /// Of drills and the gaps after them.
    left_ms: u64,
    gap_ms: u64,
}

/// Draws drills from a bag that holds each as often as it weighs, and is filled anew when it is empty:
/// so none is left out for long. Ends when none of the bag's fits any more.
fn choose(
    random: &mut SplitMix64,
    mix: &Mix,
    lasts: &BTreeMap<&str, u64>,
    mut room: Room,
) -> Vec<String> {
    let mut chosen: Vec<String> = Vec::new();
    loop {
        let mut bag: Vec<&str> = Vec::new();
        for (name, weight) in &mix.weights {
            if lasts.contains_key(name.as_str()) {
                bag.extend((0..*weight).map(|_| name.as_str()));
            }
        }
        let before = chosen.len();
        while !bag.is_empty() {
            let name = bag.swap_remove(random.below(bag.len() as u64) as usize);
            let lasts_ms = lasts[name];
            if lasts_ms > room.budget_ms || lasts_ms + room.gap_ms > room.left_ms {
                continue;
            }
            room.budget_ms -= lasts_ms;
            room.left_ms -= lasts_ms + room.gap_ms;
            chosen.push(name.to_owned());
        }
        if chosen.len() == before {
            return chosen;
        }
    }
}

fn too_short(
    lasts: &BTreeMap<&str, u64>,
    length_ms: u64,
    (first_ms, gap_ms): (u64, u64),
    share: f64,
) -> NoSchedule {
    let shortest = lasts.iter().min_by_key(|(name, ms)| (**ms, **name));
    let (drill, lasts_ms) = shortest.map_or(("", 0), |(name, ms)| (*name, *ms));
    let by_share = match share > 0.0 {
        true => (lasts_ms as f64 / share).ceil() as u64,
        false => u64::MAX,
    };
    let least_ms = (first_ms + lasts_ms + gap_ms).max(by_share);
    NoSchedule::TooShort {
        given: length_ms / 1_000,
        drill: drill.to_owned(),
        lasts: lasts_ms.div_ceil(1_000),
        least: least_ms.div_ceil(1_000),
    }
}

/// Deals `total` out to `parts`, none of which gets more than three times as much as another.
fn divide(random: &mut SplitMix64, total: u64, parts: usize) -> Vec<u64> {
    let weights: Vec<u64> = (0..parts).map(|_| 500 + random.below(1_001)).collect();
    let sum: u64 = weights.iter().sum::<u64>().max(1);
    let part = |w: &u64| u128::from(total) * u128::from(*w) / u128::from(sum);
    weights
        .iter()
        .map(|w| u64::try_from(part(w)).unwrap_or(0))
        .collect()
}

/// The rates of all quiet stretches: constant, a ramp or a burst each.
fn rates(
    random: &mut SplitMix64,
    profile: &Profile,
    episodes: &[Planned],
    length_ms: u64,
) -> Vec<Rate> {
    let base = profile.load.signals_per_s;
    let mut rates = vec![Rate {
        from_ms: 0,
        signals_per_s: base,
    }];
    let starts = [0].into_iter().chain(episodes.iter().map(Planned::end_ms));
    let ends = episodes.iter().map(|e| e.at_ms).chain([length_ms]);
    for (from_ms, to_ms) in starts.zip(ends) {
        let drawn = random.share();
        let stretch_ms = to_ms.saturating_sub(from_ms);
        if stretch_ms < SHAPED_MIN_MS {
            continue;
        }
        let ramp = profile.shape.ramp.filter(|r| drawn < r.share);
        let before = profile.shape.ramp.map_or(0.0, |r| r.share);
        let burst = profile.shape.burst;
        let burst = burst.filter(|b| drawn >= before && drawn < before + b.share);
        match (ramp, burst) {
            (Some(ramp), _) => climb(&mut rates, base, ramp.signals_per_s, from_ms, stretch_ms),
            (None, Some(burst)) => {
                let lasts_ms = ms(burst.lasts).min(stretch_ms / 2);
                let from_ms = from_ms + (stretch_ms - lasts_ms) / 2;
                for (from_ms, signals_per_s) in
                    [(from_ms, burst.signals_per_s), (from_ms + lasts_ms, base)]
                {
                    rates.push(Rate {
                        from_ms,
                        signals_per_s,
                    });
                }
            }
            (None, None) => {}
        }
    }
    rates
}

/// Equal steps up to `top` and down again.
fn climb(rates: &mut Vec<Rate>, base: f64, top: f64, from_ms: u64, stretch_ms: u64) {
    let step_ms = stretch_ms / (2 * STEPS);
    for step in 1..2 * STEPS {
        let height = step.min(2 * STEPS - step) as f64 / STEPS as f64;
        rates.push(Rate {
            from_ms: from_ms + step * step_ms,
            signals_per_s: base + (top - base) * height,
        });
    }
    rates.push(Rate {
        from_ms: from_ms + 2 * STEPS * step_ms,
        signals_per_s: base,
    });
}

impl Planned {
    pub fn end_ms(&self) -> u64 {
        self.at_ms + self.lasts_ms
    }
}

fn lasts(drill: &Drill, pace: Pace) -> u64 {
    ms(drill.hold(pace) + AROUND)
}

fn checkpoints(profile: &Profile, length_ms: u64) -> Vec<PlannedCheckpoint> {
    let within = profile.checkpoints.iter().map(|c| ms(*c));
    within
        .filter(|at_ms| *at_ms <= length_ms)
        .map(|at_ms| PlannedCheckpoint { at_ms })
        .collect()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// SplitMix64, as published.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`, by multiplication: the bias is less than 2⁻⁵⁰ for bounds of this size.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// From 0 to less than 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // Reference output for the seed 1234567.
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }
}
