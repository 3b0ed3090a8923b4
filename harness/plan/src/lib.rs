//! Drill, target, policy and profile files → typed plan. Pure: text in, plan or diagnostics out.
//!
//! What this crate must not know: files, clocks, containers, and any name of a particular bot. It
//! reads nothing and starts nothing; who calls it hands in the text.

mod alerts;
mod check;
mod diag;
mod drill;
mod expand;
mod gate;
mod grammar;
mod log;
mod model;
mod monitor;
mod names;
mod nemesis;
mod node;
mod observe;
mod phase;
mod plan;
mod policy;
pub mod promql;
mod reference;
mod rules;
mod schema;
mod signal;
mod soak;
mod spec;
mod target;
mod template;
mod units;
mod watch;
mod when;

pub use alerts::ReadBeside;
pub use diag::{Diagnostic, Diagnostics, Parsed, Severity, nearest};
pub use drill::{parse_drill, parse_drill_with};
pub use gate::parse_profile;
pub use model::*;
pub use monitor::PROMETHEUS;
pub use nemesis::{NoSchedule, Planned, PlannedCheckpoint, Rate, Schedule};
pub use observe::promql_probe;
pub use policy::{
    Known, TargetSeries, check_figures, parse_attestations, parse_policy, parse_waivers,
};
pub use reference::reference;
pub use rules::{ExportedRule, Fires, RuleFile, RuleOfFile, export_rules, parse_rules, rules_of};
pub use schema::{FileKind, schema};
pub use signal::Signal;
pub use spec::{Key, Table, Ty};
pub use target::parse_target;
pub use template::{UnknownPlaceholder, render};
pub use units::{parse_duration, parse_series, parse_size};
