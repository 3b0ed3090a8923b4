//! Values beside a heartbeat that stands still: a loop that has died leaves its last ones behind, and a
//! page that still answers shows them for ever. They say nothing about the moment at which they were read.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use firedrill_journal::{Journal, SampleResult};
use firedrill_plan::{HEARTBEAT_FIELD, Probe, ProbeKind};

use crate::checks::nanos;
use crate::index::{Index, SampleAt, Stale};
use crate::plans::Plans;
use crate::predicate::number_of;

/// Marks the samples whose heartbeat had stood still for longer than it may.
pub fn mark_stale(index: &mut Index<'_>, plans: &Plans) {
    for (id, still_max) in limits(plans) {
        if let Some(samples) = index.samples.get_mut(id) {
            mark(samples, nanos(still_max));
        }
    }
}

/// Journal lines of the samples, of those probes, whose heartbeat had stood still for longer than it may or wasn't
/// there. A journal without plans has no probe that a heartbeat vouches for.
pub fn stale_lines(journal: &Journal, wanted: impl Fn(&str) -> bool) -> HashSet<u64> {
    let Ok(plans) = Plans::of(journal) else {
        return HashSet::new();
    };
    if !limits(&plans).keys().any(|id| wanted(id)) {
        return HashSet::new();
    }
    let mut index = Index::build(journal);
    mark_stale(&mut index, &plans);
    let samples = index.samples.values().flatten();
    let stale = samples.filter(|at| at.stale.is_some());
    stale.map(|at| at.seq).collect()
}

/// How long each heartbeat may stand still, by the probe that it vouches for.
fn limits(plans: &Plans) -> HashMap<&str, Duration> {
    let watches = plans.profile.iter().flat_map(|p| &p.watches);
    let probes = plans.drills.iter().flat_map(|d| &d.probes);
    let all = probes.chain(watches.map(|w| &w.probe));
    all.filter_map(limit).collect()
}

fn limit(probe: &Probe) -> Option<(&str, Duration)> {
    match &probe.kind {
        ProbeKind::Metrics { heartbeat, .. } => {
            Some((probe.id.as_str(), heartbeat.as_ref()?.still_max))
        }
        _ => None,
    }
}

/// Of samples in the order of their due times. A beat stood still for certain from the end of the first look at it
/// to the beginning of the last one.
fn mark(samples: &mut [SampleAt<'_>], still_max: u64) {
    let mut beat: Option<(f64, u64)> = None;
    for at in samples {
        let SampleResult::Value(fields) = &at.sample.result else {
            continue;
        };
        let Some(value) = fields.get(HEARTBEAT_FIELD).and_then(number_of) else {
            at.stale = Some(Stale::Absent);
            continue;
        };
        let due = at.sample.due_ns;
        match beat {
            Some((last, since)) if last == value => {
                let still = due.saturating_sub(since);
                at.stale = (still > still_max).then_some(Stale::Still(still));
            }
            _ => beat = Some((value, due.saturating_add(at.sample.took_ns))),
        }
    }
}
