//! Judge: a pure function from a journal to a verdict, and from verdicts and a policy to a decision.
//!
//! What this crate must not know: clocks, files, containers, the network, and any name of a
//! particular bot. All that it knows about a run stands in the journal, the plan included, so that
//! an old run can be judged again and a wrong verdict can be reproduced from a file. It never
//! panics on what a journal says, and it never takes missing data for a zero.

mod audit;
mod checks;
mod counts;
mod coverage;
pub mod drift;
mod drill;
mod facts;
mod gate;
mod growth;
mod index;
mod judge;
mod load;
mod model;
mod needs;
mod operators;
mod plans;
mod predicate;
mod soak;
mod timeline;
mod window;
mod words;

pub use audit::{ChainEvent, Finding, Gaps, History, Offence, OnChain, Problem, equation_ids};
pub use gate::{
    Around, Content, FIGURES, GateRun, Imported, NoGo, Point, Recorded, SeriesSource, gate,
};
pub use judge::{judge, judge_with, schema, verdict_json};
pub use model::*;
pub use operators::{Decision, Obs, Span, eventually, not_before, throughout, within};
pub use plans::Plans;
pub use soak::{DriftVerdict, IntentShares, Interval, SoakVerdict, WatchVerdict};
