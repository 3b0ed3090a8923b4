//! What is watched over a whole soak, drills included.

use std::time::Duration;

use super::{Coverage, Predicate, Probe};

/// A series over the whole soak, and what is asked of it in its quiet time.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// Unique in the profile; `id/service` where the file names several services.
    pub id: String,
    /// In words, for the report.
    pub what: String,
    /// Where the bounds come from: a seed line, or a section of the contract.
    pub source: Option<String>,
    /// What is sampled, from the first moment of the soak to its last. Its id is a drill probe's with
    /// `watch:` before it. Watches of the same thing share one probe: see [`super::Profile::probes`].
    pub probe: Probe,
    /// The field of the probe's samples.
    pub field: String,
    /// How many samples become one.
    pub bin: BinBy,
    /// What the series must not be on its way to.
    pub drift: Option<DriftLimit>,
    /// [`Predicate::AtMost`] and [`Predicate::AtLeast`] that hold for every quiet sample.
    pub bounds: Vec<Predicate>,
    /// How much of the quiet time must have been seen.
    pub coverage: Coverage,
}

/// A limit that a series must not reach within the horizon, at the slope that it shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftLimit {
    pub limit: f64,
    pub toward: Toward,
    pub horizon: Duration,
    /// Whether a level that rises from fault to fault, or jumps, counts as well as a slope.
    pub steps: bool,
}

/// On which side of the series its limit lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    Up,
    Down,
}

/// What stands for the samples of one bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinBy {
    Median,
    Mean,
    P95,
}
