//! Profiles.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Load, LoadShape, Mix, Pace, Watch};

/// A soak profile.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    /// Sum of everything, for information and for `--for`.
    pub duration: Duration,
    pub pace: Pace,
    pub load: Load,
    /// How the rate differs from `load` in some of the quiet stretches.
    pub shape: LoadShape,
    /// Drills by name, in order; none where a mix is drawn from.
    pub drills: Vec<String>,
    /// What the schedule is drawn from, where the drills have no order.
    pub mix: Option<Mix>,
    /// Quiet time before each drill; with a mix the least time between two.
    pub quiet: Duration,
    /// Times after the start at which the soak is looked at.
    pub checkpoints: Vec<Duration>,
    /// Mode that every service with one shows before the load begins.
    pub mode: Option<String>,
    /// Environment for the whole soak, by service name.
    pub env: BTreeMap<String, BTreeMap<String, String>>,
    /// Bytes that the run's folder may take.
    pub disk_max: u64,
    /// Class of the verdict: `smoke` says SMOKE PASS, `release` may say GO.
    pub class: String,
    /// After a fault's healing this much more isn't quiet yet.
    pub settle: Duration,
    /// For so many times its own length a soak must rule a growth out; for its watches' horizons where there is none. A
    /// growth that is certain counts for the whole horizon.
    pub look_ahead: Option<f64>,
    /// Series that are watched over the whole soak.
    pub watches: Vec<Watch>,
    /// Defect name → the watch that must be among those to fail: its id, or the part before the slash.
    pub catches: BTreeMap<String, String>,
}
