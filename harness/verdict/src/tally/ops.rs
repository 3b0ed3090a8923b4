//! Operations, without their texts.

use std::collections::BTreeMap;

use firedrill_journal::{OpState, OpView};

use super::stamp::Stamp;
use crate::chunked::Chunked;
use crate::load::percentile;
use crate::model::{LoadFigures, Percentiles};

/// One operation, both of its records taken together, in twenty-three bytes.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    intended: Stamp,
    invoked: Stamp,
    done: Stamp,
    /// `Unknown` if no completion was recorded.
    pub state: OpState,
    /// Acknowledged by a word that says that the signal was known already.
    pub duplicate: bool,
}

impl Brief {
    /// When it was sent, or would have been.
    pub fn sent_at(&self) -> u64 {
        self.invoked.known().unwrap_or(self.intended.ns())
    }

    /// How long it took, counted from the intended time of sending.
    pub fn latency(&self) -> Option<u64> {
        Some(self.done()?.saturating_sub(self.intended.ns()))
    }

    /// Not sent at all, since too many requests were in flight.
    pub fn shed(&self) -> bool {
        self.invoked == Stamp::NEVER
    }

    pub fn done(&self) -> Option<u64> {
        self.done.known()
    }
}

/// All operations of a run, in order of invocation.
#[derive(Debug, Default)]
pub struct Ops {
    all: Chunked<Brief>,
    open: BTreeMap<u64, usize>,
}

impl Ops {
    pub fn see(&mut self, op: &OpView<'_>) {
        let invoked = op.state == OpState::Invoked;
        let at = match self.open.remove(&op.id).filter(|_| !invoked) {
            Some(at) => at,
            None => {
                self.all.push(Brief {
                    intended: Stamp::of(op.intended_ns),
                    invoked: match invoked {
                        true => Stamp::of(op.at_ns),
                        false => Stamp::NEVER,
                    },
                    done: Stamp::NEVER,
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
        brief.done = Stamp::of(op.at_ns);
        brief.state = op.state;
        brief.duplicate = op.detail == Some("duplicate");
    }

    pub fn iter(&self) -> impl Iterator<Item = &Brief> {
        self.all.iter()
    }

    pub fn count(&self, is: impl Fn(&Brief) -> bool) -> u64 {
        self.all.iter().filter(|op| is(op)).count() as u64
    }

    /// Counts and latencies over the whole run.
    pub fn figures(&self) -> LoadFigures {
        let mut figures = LoadFigures::default();
        let ok = |op: &Brief| op.state == OpState::Ok && !op.shed();
        // Room for all of them at once: a list that grows is held twice for a moment.
        let mut latencies = Vec::with_capacity(self.all.iter().filter(|op| ok(op)).count());
        for op in self.all.iter() {
            if op.shed() {
                figures.shed += 1;
                continue;
            }
            figures.sent += 1;
            match op.state {
                OpState::Ok => {
                    figures.ok += 1;
                    latencies.extend(op.latency());
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
