//! What a soak's drills look at besides the few lines that are always kept: the rest is counted as it passes.

use std::collections::BTreeSet;
use std::sync::Arc;

use firedrill_journal::{FactSource, View};
use firedrill_plan::{Drill, FactSelector, Observe};

/// Probes and logs that some drill asks about.
pub struct Sought<'p> {
    probes: BTreeSet<&'p str>,
    logs: BTreeSet<&'p str>,
}

impl<'p> Sought<'p> {
    pub fn of(drills: &'p [Arc<Drill>]) -> Self {
        let probes = drills.iter().flat_map(|d| &d.probes);
        let logs = drills.iter().flat_map(|d| selectors(d));
        let logs = logs.filter_map(|selector| match selector {
            FactSelector::Log { service, .. } => Some(service.as_str()),
            _ => None,
        });
        Sought {
            probes: probes.map(|p| p.id.as_str()).collect(),
            logs: logs.collect(),
        }
    }

    /// Whether a drill may look at that line.
    pub fn holds(&self, line: &View<'_>) -> bool {
        match line {
            View::Sample(sample) => self.probes.contains(sample.probe),
            View::Fact(fact) => match fact.source {
                // What goes into blocks is the audit's to reconcile.
                FactSource::Chain => fact.what == "submission",
                FactSource::Log => fact.text("service").is_some_and(|s| self.logs.contains(s)),
                _ => true,
            },
            View::Op(_) | View::Other(_) => true,
        }
    }
}

fn selectors(drill: &Drill) -> impl Iterator<Item = &FactSelector> {
    let expects = drill.expects.iter().map(|e| &e.observe);
    let marks = drill.marks.iter().map(|m| &m.observe);
    expects.chain(marks).flat_map(|observe| match observe {
        Observe::Count { facts, .. } => std::slice::from_ref(facts),
        Observe::Sequence { facts } => facts.as_slice(),
        _ => &[],
    })
}
