//! Executes a plan: brings the stack up, drives load, injects faults and proves them, samples
//! probes, follows logs and the chain, and writes all of it to the journal.
//!
//! What this crate must not know: what a check is and what makes one pass. It never compares an
//! observation with a bound and never sees a verdict; it only records. And it knows no name of a
//! particular bot: those come from the target file.

mod acts;
mod backup;
mod chain;
mod clock;
mod collect;
mod engine;
mod error;
mod faults;
mod ledger;
mod load;
mod malformed;
mod meter;
mod metrics_text;
mod network;
mod observe;
mod probes;
mod prometheus;
mod recorder;
mod recreate;
mod redact;
mod resources;
mod run;
mod schedule;
mod soak;
mod store;
mod streams;
mod tail;

pub use clock::Clock;
pub use error::RunError;
pub use metrics_text::{MetricsTextError, parse as parse_metrics_text};
pub use observe::{Question, Ran, Session};
pub use redact::{Redactor, resolve_secrets};
pub use run::{
    Cancel, Episode, Finished, Offence, Onlooker, Options, Progress, Resume, RunPlan, execute,
};
pub use soak::Soak;
