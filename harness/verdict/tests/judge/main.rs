//! The judge against hand-built journals, its operators against slow evaluators, and the gate.

mod gate;
mod gate_kindness;
mod gate_signatures;
mod golden;
mod golden_rules;
mod growth;
mod observed;
mod operators;
mod origins;
mod parts;
mod restored;
mod rules;
mod streamed;
mod support;
