//! Signals that were sent before the harness died: their record went with its stack, and what the chain said of them
//! stands in the journal.

use super::equations::OnTheChain;
use super::finding::Finding;
use crate::model::{AuditCheck, Outcome};
use crate::words::count;

/// What is known of one part of a soak that another part followed.
pub struct Earlier {
    pub on_chain: OnTheChain,
    pub first_sends: u64,
    pub mined: u64,
    /// What the equations found; of those that read the record only what stands whatever it said.
    pub findings: Vec<Finding>,
}

impl Earlier {
    /// The check of the part with that number, from 1.
    pub fn check(&self, number: usize) -> AuditCheck {
        let OnTheChain {
            accepted,
            sent,
            in_block,
        } = self.on_chain;
        let broken = || self.findings.iter().filter(|f| f.definite() > 0);
        let violations = broken().map(Finding::definite).sum();
        let signals = count(accepted, "accepted signal");
        let seen = format!("of {signals} {sent} were sent to the chain, {in_block} are in a block");
        let (verdict, observed) = match broken().next() {
            Some(first) => {
                let (n, what) = (first.definite(), first.what);
                let why = format!("{n} against “{what}”; {seen}");
                (Outcome::Fail, why)
            }
            None if accepted == 0 => {
                let seen = "no signal was accepted: there is nothing to account for";
                (Outcome::Inconclusive, seen.to_owned())
            }
            None if in_block < accepted => {
                let left = accepted - in_block;
                let why = "whether the record explained it can't be told";
                (Outcome::Inconclusive, format!("{seen}: of {left} {why}"))
            }
            None => (Outcome::Pass, format!("{seen}, none of them twice")),
        };
        AuditCheck {
            id: format!("part-{number}"),
            what: "what was accepted before the harness died was executed once, as far as the chain tells"
                .to_owned(),
            verdict,
            samples: accepted,
            violations,
            observed,
            slice: Vec::new(),
        }
    }
}
