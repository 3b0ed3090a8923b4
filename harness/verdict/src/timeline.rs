//! What is drawn: series in bins, windows, stretches of the mode. A gap stays a gap.

use firedrill_journal::{OpState, StreamState};

use crate::index::{Edges, Index};
use crate::load::percentile;
use crate::model::{Timeline, TimelineSeries, TimelineSpan, TimelineStates, TimelineWindow};
use crate::plans::Plans;
use crate::tally::{Modes, Tally};
use crate::words::to_ms;

/// Bins at the most.
const BINS_MAX: u64 = 600;
/// Shortest bin: below it rates are noise.
const BIN_MIN_NS: u64 = 100_000_000;
/// So many missing observations in a row are a gap of the mode.
const GAP_FACTOR: u64 = 5;

/// Derives all that is drawn.
pub fn timeline(index: &Index<'_>, tally: &Tally<'_>, plans: &Plans) -> Timeline {
    let bin = index.end.div_ceil(BINS_MAX).max(BIN_MIN_NS);
    let bins = usize::try_from(index.end.div_ceil(bin).max(1)).unwrap_or(1);
    let axis = Axis {
        index,
        tally,
        bin,
        bins,
    };
    Timeline {
        start_ms: 0.0,
        end_ms: to_ms(index.end),
        bin_ms: to_ms(bin),
        series: axis.series(),
        windows: windows(index, plans),
        states: states(&tally.modes),
    }
}

struct Axis<'a> {
    index: &'a Index<'a>,
    tally: &'a Tally<'a>,
    bin: u64,
    bins: usize,
}

impl Axis<'_> {
    fn bin_of(&self, at: u64) -> usize {
        usize::try_from(at / self.bin)
            .unwrap_or(usize::MAX)
            .min(self.bins - 1)
    }

    fn series(&self) -> Vec<TimelineSeries> {
        let mut ok = vec![0_u64; self.bins];
        let mut refused = vec![0_u64; self.bins];
        let mut errors = vec![0_u64; self.bins];
        let (mut first, mut last) = (None::<usize>, None::<usize>);
        for op in self.tally.ops.iter().filter(|op| !op.shed()) {
            let sent = self.bin_of(op.sent_at());
            first = Some(first.map_or(sent, |f| f.min(sent)));
            if matches!(
                op.state,
                OpState::Failed | OpState::Unknown | OpState::Invoked
            ) {
                let at = op.done().map_or(sent, |done| self.bin_of(done));
                errors[at] += 1;
                last = last.max(Some(at));
            }
            let Some(done) = op.done() else { continue };
            let at = self.bin_of(done);
            last = last.max(Some(at)).max(Some(sent));
            match op.state {
                OpState::Ok => ok[at] += 1,
                OpState::Rejected => refused[at] += 1,
                _ => {}
            }
        }
        let loaded = |bin: usize| first.is_some_and(|f| f <= bin) && last.is_some_and(|l| bin <= l);
        let mut sends = vec![0_u64; self.bins];
        for at in self.tally.first_sends.iter() {
            sends[self.bin_of(at.ns())] += 1;
        }
        let attached = self.attached("chain");
        vec![
            named("acknowledged/s", self.rates(&ok, loaded)),
            named("refused/s", self.rates(&refused, loaded)),
            named("errors/s", self.rates(&errors, loaded)),
            named("first sends/s", self.rates(&sends, |bin| attached[bin])),
            named("latency p95 (ms)", self.latencies(&ok)),
        ]
    }

    /// Of the operations that ended well in each bin; `ok`: how many these are.
    fn latencies(&self, ok: &[u64]) -> Vec<Option<f64>> {
        // Room for all of them at once: a list that grows is held twice for a moment.
        let room = |n: &u64| Vec::with_capacity(usize::try_from(*n).unwrap_or_default());
        let mut bins: Vec<Vec<u64>> = ok.iter().map(room).collect();
        for op in self.tally.ops.iter() {
            if let (false, OpState::Ok, Some(done)) = (op.shed(), op.state, op.done()) {
                bins[self.bin_of(done)].extend(op.latency());
            }
        }
        let p95 = bins.iter_mut().map(|all| {
            all.sort_unstable();
            (!all.is_empty()).then(|| percentile(all, 95))
        });
        p95.collect()
    }

    fn rates(&self, counts: &[u64], seen: impl Fn(usize) -> bool) -> Vec<Option<f64>> {
        let seconds = self.bin as f64 / 1e9;
        let starved = self.starved();
        let rate =
            |(bin, n): (usize, &u64)| (seen(bin) && !starved[bin]).then(|| *n as f64 / seconds);
        counts.iter().enumerate().map(rate).collect()
    }

    /// Bins in which the harness itself did not run at all.
    fn starved(&self) -> Vec<bool> {
        let mut starved = vec![false; self.bins];
        for (from, to) in &self.index.starved {
            let first = self.bin_of(*from);
            for (bin, flag) in starved.iter_mut().enumerate().skip(first) {
                let start = (bin as u64).saturating_mul(self.bin);
                if start.saturating_add(self.bin) > *to {
                    break;
                }
                *flag |= start >= *from;
            }
        }
        starved
    }

    fn attached(&self, stream: &str) -> Vec<bool> {
        let mut attached = vec![false; self.bins];
        let Some(events) = self.index.streams.get(stream) else {
            return attached;
        };
        let mut since = None;
        let mut cover = |from: u64, to: u64| {
            let (first, last) = (self.bin_of(from), self.bin_of(to));
            attached[first..=last.max(first)].fill(true);
        };
        for event in events {
            match (event.state, since) {
                (StreamState::Attached, None) => since = Some(event.at),
                (StreamState::Gap | StreamState::Detached, Some(from)) => {
                    cover(from, event.at);
                    since = None;
                }
                _ => {}
            }
        }
        if let Some(from) = since {
            cover(from, self.index.end);
        }
        attached
    }
}

fn named(name: &str, values: Vec<Option<f64>>) -> TimelineSeries {
    TimelineSeries {
        name: name.to_owned(),
        values,
    }
}

fn windows(index: &Index<'_>, plans: &Plans) -> Vec<TimelineWindow> {
    let mut all = Vec::new();
    for (episode, (edges, drill)) in index.episodes.iter().zip(&plans.drills).enumerate() {
        for phase in &drill.phases {
            let Some(known) = edges.phases.get(&phase.id) else {
                continue;
            };
            if phase.faults.is_empty() {
                all.extend(window(episode, &phase.id, None, &known.own));
            }
            for (position, fault) in phase.faults.iter().enumerate() {
                let name = format!("{} of {}", fault.kind.name(), fault.target);
                if let Some(edges) = known.faults.get(&(position as u32)) {
                    all.extend(window(episode, &phase.id, Some(name), edges));
                }
            }
        }
    }
    all
}

fn window(
    episode: usize,
    phase: &str,
    fault: Option<String>,
    edges: &Edges,
) -> Option<TimelineWindow> {
    let at = |m: &Option<crate::index::Moment>| m.as_ref().map(|m| to_ms(m.at));
    Some(TimelineWindow {
        episode: episode as u32,
        phase: phase.to_owned(),
        fault,
        requested: at(&edges.requested)?,
        proven: at(&edges.proven),
        heal_requested: at(&edges.heal_requested),
        healed: at(&edges.healed),
    })
}

/// Stretches of the mode that each service showed.
fn states(modes: &Modes) -> Vec<TimelineStates> {
    let shown = modes.each().map(|(service, every, seen)| TimelineStates {
        name: format!("mode of {service}"),
        spans: spans(seen, every.saturating_mul(GAP_FACTOR)),
    });
    shown.filter(|states| !states.spans.is_empty()).collect()
}

fn spans<'s>(seen: impl Iterator<Item = (u64, &'s str)>, gap: u64) -> Vec<TimelineSpan> {
    let mut spans: Vec<TimelineSpan> = Vec::new();
    let mut before: Option<u64> = None;
    for (at, value) in seen {
        let near = before.is_some_and(|b| at.saturating_sub(b) <= gap);
        if let (true, Some(last)) = (near, spans.last_mut()) {
            last.to_ms = to_ms(at);
            if last.value.as_deref() == Some(value) {
                before = Some(at);
                continue;
            }
        } else if let Some(before) = before {
            spans.push(span(before, at, None));
        }
        spans.push(span(at, at, Some(value.to_owned())));
        before = Some(at);
    }
    spans
}

fn span(from: u64, to: u64, value: Option<String>) -> TimelineSpan {
    TimelineSpan {
        from_ms: to_ms(from),
        to_ms: to_ms(to),
        value,
    }
}
