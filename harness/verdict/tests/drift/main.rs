//! Drift: single series, a small form of the study, and whole soaks judged from their journals.

mod series;
mod soak;
// The example `drift_study` uses all of it.
#[allow(dead_code)]
mod study;
#[path = "../judge/support.rs"]
#[allow(dead_code)]
mod support;
mod vigil;
