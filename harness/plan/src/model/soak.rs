//! How a long soak is drawn: its mix of drills, its quiet time, the shape of its load.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a schedule is drawn from. See [`crate::Schedule::draw`].
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// Drill name → how often it comes among the others.
    pub weights: BTreeMap<String, u32>,
    /// Least share of the time that belongs to no drill.
    pub quiet_share: f64,
    /// Before the first drill.
    pub first_quiet: Duration,
}

/// How the rate differs from the load's own in some of the quiet stretches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadShape {
    pub ramp: Option<Ramp>,
    pub burst: Option<Burst>,
}

/// The rate climbs in equal steps over the first half of the stretch, and comes down over the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    pub signals_per_s: f64,
    /// Share of the stretches that are a ramp.
    pub share: f64,
}

/// The rate jumps in the middle of the stretch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    pub signals_per_s: f64,
    pub lasts: Duration,
    /// Share of the stretches that hold a burst.
    pub share: f64,
}
