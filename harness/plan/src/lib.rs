//! Drill, target, policy and profile files → typed plan. Pure: text in, plan or diagnostics out.
//!
//! What this crate must not know: files, clocks, containers, and any name of a particular bot. It
//! reads nothing and starts nothing; who calls it hands in the text.

mod check;
mod diag;
mod drill;
mod gate;
mod grammar;
mod model;
mod names;
mod node;
mod observe;
mod phase;
mod plan;
mod reference;
mod schema;
mod signal;
mod spec;
mod target;
mod template;
mod units;
mod when;

pub use diag::{Diagnostic, Diagnostics, Parsed, Severity, nearest};
pub use drill::parse_drill;
pub use gate::{parse_policy, parse_profile};
pub use model::*;
pub use reference::reference;
pub use schema::{FileKind, schema};
pub use signal::Signal;
pub use spec::{Key, Table, Ty};
pub use target::parse_target;
pub use template::{UnknownPlaceholder, render};
pub use units::{parse_duration, parse_series, parse_size};
