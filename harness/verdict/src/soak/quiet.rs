//! Quiet time: the soak without faults and acts, and what follows them.

use firedrill_plan::{Drill, Profile};

use crate::index::{Index, QUIESCE};
use crate::operators::Span;
use crate::plans::Plans;

/// Where a soak was quiet.
#[derive(Clone, Debug, Default)]
pub struct Quiet {
    pub whole: Span,
    /// Disturbed stretches, settle time included, in order and apart from one another.
    pub disturbed: Vec<Span>,
    pub spans: Vec<Span>,
    /// When each disturbance was over, its settle time not included.
    pub healed: Vec<u64>,
}

impl Quiet {
    /// The soak begins with its first drill, or with the first sample of a watch if that is earlier.
    pub fn of(index: &Index<'_>, plans: &Plans, profile: &Profile) -> Quiet {
        let settle = u64::try_from(profile.settle.as_nanos()).unwrap_or(u64::MAX);
        let edges = index.episodes.iter();
        let edges = edges.filter_map(|e| e.first.as_ref().map(|m| m.at));
        let samples = profile.watches.iter();
        let samples = samples.filter_map(|w| index.samples.get(w.probe.id.as_str())?.first());
        let from = edges
            .chain(samples.map(|s| s.sample.due_ns))
            .min()
            .unwrap_or(0);
        let over =
            |e: &crate::index::EpisodeEdges| e.phase(QUIESCE)?.requested.as_ref().map(|m| m.at);
        let to = index.episodes.last().and_then(over).unwrap_or(index.end);
        let whole = Span {
            from,
            to: to.max(from),
        };
        let mut raw: Vec<Span> = Vec::new();
        for (episode, drill) in plans.drills.iter().enumerate() {
            disturbances(index, episode, drill, &mut raw);
        }
        raw.sort_unstable_by_key(|s| s.from);
        let mut disturbed: Vec<Span> = Vec::new();
        let mut healed: Vec<u64> = Vec::new();
        for span in raw {
            let end = span.to.saturating_add(settle);
            match (disturbed.last_mut(), healed.last_mut()) {
                (Some(last), Some(over)) if span.from <= last.to => {
                    last.to = last.to.max(end);
                    *over = (*over).max(span.to);
                }
                _ => {
                    disturbed.push(Span {
                        from: span.from,
                        to: end,
                    });
                    healed.push(span.to);
                }
            }
        }
        let spans = between(whole, &disturbed);
        Quiet {
            whole,
            disturbed,
            spans,
            healed,
        }
    }

    /// All quiet time, nanoseconds.
    pub fn total(&self) -> u64 {
        self.spans.iter().map(Span::len).sum()
    }
}

/// Faults from their request to their proven healing, and acts to the end of their drill's phases: what
/// an act did, nobody undoes. What was never healed lasts to the end.
fn disturbances(index: &Index<'_>, episode: usize, drill: &Drill, out: &mut Vec<Span>) {
    let Some(edges) = index.episodes.get(episode) else {
        return;
    };
    let ended = edges.phase(QUIESCE).and_then(|q| q.requested.as_ref());
    let ended = ended.map_or(index.end, |m| m.at);
    for phase in &drill.phases {
        let Some(known) = edges.phases.get(&phase.id) else {
            continue;
        };
        if let (false, Some(start)) = (phase.acts.is_empty(), &known.own.requested) {
            out.push(Span {
                from: start.at,
                to: ended.max(start.at),
            });
        }
        for fault in known.faults.values() {
            let Some(start) = &fault.requested else {
                continue;
            };
            let end = fault.healed.as_ref().map_or(index.end, |m| m.at);
            out.push(Span {
                from: start.at,
                to: end.max(start.at),
            });
        }
    }
}

fn between(whole: Span, disturbed: &[Span]) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut from = whole.from;
    for gap in disturbed {
        if gap.from > from {
            spans.push(Span {
                from,
                to: gap.from.min(whole.to),
            });
        }
        from = from.max(gap.to);
        if from >= whole.to {
            return spans;
        }
    }
    spans.push(Span { from, to: whole.to });
    spans.retain(|s| !s.is_empty());
    spans
}
