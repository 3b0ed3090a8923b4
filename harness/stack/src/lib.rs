//! Brings a target up and down in containers, and hands out what a drill needs to act on it.
//!
//! It provides the images (from a registry, from the distribution's packages, and from the
//! running executable itself), starts every service of a target on a network of the run's own,
//! waits until all of them are healthy, and gives handles to pause, kill, stop, start, cut off
//! and observe them. What a harness that died left behind is removed by [`janitor`] and [`sweep()`].
//!
//! It must not know: drills, phases, faults, the journal, verdicts. It judges nothing, and it
//! keeps no secret longer than the container that it is given to.

mod engine;
mod health;
pub mod images;
pub mod janitor;
mod owner;
pub mod slots;
mod stack;
mod sweep;

pub use engine::{Engine, EngineError, EngineInfo};
pub use images::{ExecutableImage, ImageError, Images};
pub use janitor::{Janitor, JanitorError};
pub use slots::{SlotError, SlotGuard};
pub use stack::{
    ContainerEvent, LogLine, LogSource, Ran, Stack, StackError, State, Stats, Timings, UpError,
    UpOptions,
};
pub use sweep::{Swept, sweep, sweep_kept, sweep_run};

/// Label of everything that belongs to a run; its value is the run's id.
pub const LABEL: &str = "firedrill";
/// Label that holds the instance's name (`webhook-2`).
/// On what is to outlive the process that made it.
pub(crate) const LABEL_KEPT: &str = "firedrill.kept";
pub(crate) const LABEL_SERVICE: &str = "firedrill.service";
