//! The judge against hand-built journals, its operators against slow evaluators, and the gate.

mod gate;
mod golden;
mod golden_rules;
mod growth;
mod operators;
mod origins;
mod restored;
mod rules;
mod support;
