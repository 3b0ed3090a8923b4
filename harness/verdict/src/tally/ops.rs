//! Operations, without their texts.

use std::collections::HashMap;

use firedrill_journal::{OpState, OpView};

use crate::load::percentile;
use crate::model::{LoadFigures, Percentiles};

/// No such moment.
const NEVER: u64 = u64::MAX;

/// One operation, both of its records taken together.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    pub intended: u64,
    invoked: u64,
    done: u64,
    /// `Unknown` if no completion was recorded.
    pub state: OpState,
    /// Acknowledged by a word that says that the signal was known already.
    pub duplicate: bool,
}

impl Brief {
    /// When it was sent, or would have been.
    pub fn sent_at(&self) -> u64 {
        match self.shed() {
            true => self.intended,
            false => self.invoked,
        }
    }

    /// Not sent at all, since too many requests were in flight.
    pub fn shed(&self) -> bool {
        self.invoked == NEVER
    }

    pub fn done(&self) -> Option<u64> {
        (self.done != NEVER).then_some(self.done)
    }
}

/// All operations of a run, in order of invocation.
#[derive(Debug, Default)]
pub struct Ops {
    all: Vec<Brief>,
    open: HashMap<u64, usize>,
}

impl Ops {
    pub fn see(&mut self, op: &OpView<'_>) {
        let invoked = op.state == OpState::Invoked;
        let at = match self.open.remove(&op.id).filter(|_| !invoked) {
            Some(at) => at,
            None => {
                self.all.push(Brief {
                    intended: op.intended_ns,
                    invoked: if invoked { op.at_ns } else { NEVER },
                    done: NEVER,
                    state: OpState::Unknown,
                    duplicate: false,
                });
                self.all.len() - 1
            }
        };
        if invoked {
            self.open.insert(op.id, at);
            return;
        }
        let brief = &mut self.all[at];
        brief.done = op.at_ns;
        brief.state = op.state;
        brief.duplicate = op.detail == Some("duplicate");
    }

    pub fn iter(&self) -> impl Iterator<Item = &Brief> {
        self.all.iter()
    }

    pub fn count(&self, is: impl Fn(&Brief) -> bool) -> u64 {
        self.all.iter().filter(|op| is(op)).count() as u64
    }

    /// Counts and latencies over the whole run. Latency counts from the intended time of sending.
    pub fn figures(&self) -> LoadFigures {
        let mut figures = LoadFigures::default();
        let mut latencies = Vec::new();
        for op in &self.all {
            if op.shed() {
                figures.shed += 1;
                continue;
            }
            figures.sent += 1;
            match op.state {
                OpState::Ok => {
                    figures.ok += 1;
                    latencies.extend(op.done().map(|done| done.saturating_sub(op.intended)));
                }
                OpState::Rejected => figures.rejected += 1,
                OpState::Failed => figures.failed += 1,
                OpState::Invoked | OpState::Unknown => figures.unknown += 1,
            }
        }
        latencies.sort_unstable();
        figures.latency_ms = (!latencies.is_empty()).then(|| Percentiles {
            p50: percentile(&latencies, 50),
            p95: percentile(&latencies, 95),
            p99: percentile(&latencies, 99),
            max: percentile(&latencies, 100),
        });
        figures
    }
}
