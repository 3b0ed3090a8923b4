//! The judge against hand-built journals, its operators against slow evaluators, and the gate.

mod gate;
mod growth;
mod operators;
mod rules;
mod support;
