//! Values beside a heartbeat that stands still: a loop that has died leaves its last ones behind, and a
//! page that still answers shows them for ever. They say nothing about the moment at which they were read.

use std::collections::HashMap;

use firedrill_journal::ResultView;
use firedrill_plan::{HEARTBEAT_FIELD, Probe, ProbeKind};

use crate::checks::nanos;
use crate::index::Index;
use crate::plans::Plans;
use crate::predicate::number_of;
use crate::words::ms;

/// Marks the samples whose heartbeat had stood still for longer than it may.
pub fn mark_stale(index: &mut Index<'_>, plans: &Plans) {
    for (id, still_max) in limits(plans) {
        let mut heart = Heart::new(still_max);
        for at in index.samples.get_mut(id).into_iter().flatten() {
            let due = at.sample.due_ns;
            let end = due.saturating_add(at.sample.took_ns);
            at.stale = heart.see(beat_of((&at.sample.result).into()), due, end);
        }
    }
}

/// How long each heartbeat may stand still, in nanoseconds, by the probe that it vouches for.
pub fn limits(plans: &Plans) -> HashMap<&str, u64> {
    let watches = plans.profile.iter().flat_map(|p| &p.watches);
    let probes = plans.drills.iter().flat_map(|d| &d.probes);
    let all = probes.chain(watches.map(|w| &w.probe));
    all.filter_map(|probe| Some((probe.id.as_str(), still_max(probe)?)))
        .collect()
}

/// The same of one probe.
pub fn still_max(probe: &Probe) -> Option<u64> {
    match &probe.kind {
        ProbeKind::Metrics { heartbeat, .. } => heartbeat.as_ref().map(|h| nanos(h.still_max)),
        _ => None,
    }
}

/// What is wrong with the heartbeat beside a sample's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// It has stood still for that many nanoseconds.
    Still(u64),
    /// There is none.
    Absent,
}

impl Stale {
    pub fn words(self) -> String {
        match self {
            Stale::Still(ns) => format!("stale: the heartbeat stood still for {}", ms(ns)),
            Stale::Absent => "the answer holds no heartbeat".to_owned(),
        }
    }
}

/// What a look says of the heartbeat.
#[derive(Clone, Copy, Debug)]
pub enum Beat {
    At(f64),
    /// The answer holds none.
    Absent,
    /// There was no answer.
    Unseen,
}

impl Beat {
    /// As one number: no heartbeat is infinite, nor NaN.
    pub fn to_number(self) -> f64 {
        match self {
            Beat::At(beat) => beat,
            Beat::Absent => f64::INFINITY,
            Beat::Unseen => f64::NAN,
        }
    }

    pub fn of_number(number: f64) -> Self {
        match number {
            n if n.is_nan() => Beat::Unseen,
            f64::INFINITY => Beat::Absent,
            n => Beat::At(n),
        }
    }
}

/// Follows a heartbeat, look by look in the order of their due times. A beat stood still for certain from the end of
/// the first look at it to the beginning of the last one.
pub struct Heart {
    still_max: u64,
    last: Option<(f64, u64)>,
}

impl Heart {
    pub fn new(still_max: u64) -> Self {
        Heart {
            still_max,
            last: None,
        }
    }

    pub fn see(&mut self, beat: Beat, due: u64, end: u64) -> Option<Stale> {
        let beat = match beat {
            Beat::At(beat) => beat,
            Beat::Absent => return Some(Stale::Absent),
            Beat::Unseen => return None,
        };
        match self.last {
            Some((last, since)) if last == beat => {
                let still = due.saturating_sub(since);
                (still > self.still_max).then_some(Stale::Still(still))
            }
            _ => {
                self.last = Some((beat, end));
                None
            }
        }
    }
}

/// What a sample says of the heartbeat.
pub fn beat_of(result: ResultView<'_>) -> Beat {
    match result {
        ResultView::Missing(_) => Beat::Unseen,
        ResultView::Value(fields) => {
            let beat = fields.get(HEARTBEAT_FIELD).and_then(number_of);
            let beat = beat.filter(|beat| beat.is_finite());
            beat.map_or(Beat::Absent, Beat::At)
        }
    }
}

#[cfg(test)]
mod tests {
    use firedrill_journal::SampleResult;
    use serde_json::json;

    use super::*;

    fn beat(heartbeat: serde_json::Value) -> f64 {
        let fields = [(HEARTBEAT_FIELD.to_owned(), heartbeat)];
        let result = SampleResult::Value(fields.into_iter().collect());
        beat_of((&result).into()).to_number()
    }

    #[test]
    fn a_heartbeat_is_kept_as_a_number_and_an_infinite_one_is_none() {
        assert_eq!(beat(json!(7.5)), 7.5);
        for none in [json!("inf"), json!("-inf"), json!(null), json!("late")] {
            assert_eq!(beat(none), f64::INFINITY);
        }
        let missing = SampleResult::Missing("no answer".to_owned());
        assert!(beat_of((&missing).into()).to_number().is_nan());
        assert!(matches!(Beat::of_number(7.5), Beat::At(beat) if beat == 7.5));
        assert!(matches!(Beat::of_number(f64::INFINITY), Beat::Absent));
        assert!(matches!(Beat::of_number(f64::NAN), Beat::Unseen));
    }
}
