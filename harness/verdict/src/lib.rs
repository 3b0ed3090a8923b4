//! Judge: a pure function from a journal to a verdict, and from verdicts and a policy to a decision.
//!
//! What this crate must not know: clocks, files, containers, the network, and any name of a
//! particular bot. All that it knows about a run stands in the journal, the plan included, so that
//! an old run can be judged again and a wrong verdict can be reproduced from a file. It never
//! panics on what a journal says, and it never takes missing data for a zero.

mod audit;
mod checks;
mod chunked;
mod column;
mod compare;
mod counts;
mod coverage;
pub mod drift;
mod drill;
mod facts;
mod gate;
mod growth;
mod heartbeat;
mod index;
mod judge;
mod load;
mod model;
mod needs;
mod observe;
mod operators;
mod plans;
mod predicate;
mod soak;
mod stream;
mod tally;
mod timeline;
mod vigil;
mod window;
mod words;

pub use audit::{ChainEvent, Finding, Gaps, History, Offence, OnChain, Problem, equation_ids};
pub use compare::{
    Accepted, Baseline, Comparison, DocumentChange, Figure, FigureChange, RecoveryChange, Shift,
    Toward, compare,
};
pub use gate::{
    Armed, Around, Attested, Content, FIGURES, GateRun, Imported, Lack, NoGo, Point, Recorded,
    SeriesSource, SignedBy, gate, questions, rollback_of, unmet,
};
pub use judge::{judge, judge_with, schema, verdict_json};
pub use model::*;
pub use observe::{ObserveVerdict, RollbackVerdict, StepVerdict};
pub use operators::{Decision, Obs, Span, eventually, not_before, throughout, within};
pub use plans::Plans;
pub use soak::{
    Caught, CheckpointVerdict, DriftVerdict, IntentShares, Interval, SoakVerdict, WatchVerdict,
};
pub use stream::{Streamed, judge_run};
pub use vigil::{Misdeed, Vigil};
