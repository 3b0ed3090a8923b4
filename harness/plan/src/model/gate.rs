//! Profiles and policies.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Load, Pace, Predicate};

/// A soak profile.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    /// Sum of everything, for information and for `--for`.
    pub duration: Duration,
    pub pace: Pace,
    pub load: Load,
    /// Drills by name, in order; later a mix drawn from the seed.
    pub drills: Vec<String>,
    /// Quiet time before, between and after drills.
    pub quiet: Duration,
    /// Class of the verdict: `smoke` says SMOKE PASS, `release` may say GO.
    pub class: String,
}

/// A gate policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub title: String,
    /// `smoke` or `release`. Only a release-class policy can say GO.
    pub class: PolicyClass,
    pub requires: Requires,
    /// Roles that sign.
    pub roles: Vec<String>,
    pub attest: Vec<Attest>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyClass {
    Smoke,
    Release,
}

#[derive(Clone, Debug)]
pub struct Requires {
    /// Drills that must have passed.
    pub drills: Vec<String>,
    /// Profile that the run must have had; `None`: any.
    pub profile: Option<String>,
    pub runtime: Option<String>,
    /// Whether a work tree with uncommitted changes is acceptable.
    pub allow_dirty: bool,
    /// Evidence older than this is refused.
    pub fresh_within: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Attest {
    pub id: String,
    pub text: String,
    pub role: String,
    pub source: Option<String>,
}

/// A threshold on a figure that the verdict holds.
#[derive(Clone, Debug)]
pub struct Rule {
    pub id: String,
    pub what: String,
    pub figure: String,
    pub is: Predicate,
    pub samples_min: u64,
    pub source: Option<String>,
}
