//! Quiet time: the soak without faults and acts, and what follows them.

use firedrill_journal::{FactSource, act};
use firedrill_plan::{Drill, Profile};

use crate::index::{EpisodeEdges, Index, QUIESCE};
use crate::operators::Span;
use crate::plans::Plans;
use crate::tally::Watched;

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
    /// The soak begins with its first drill, or with the first sample of a watch if that is earlier. It ends
    /// when its load does; if that isn't recorded, with its last drill or the last sample of a watch.
    pub fn of(index: &Index<'_>, watched: &Watched, plans: &Plans, profile: &Profile) -> Quiet {
        let settle = u64::try_from(profile.settle.as_nanos()).unwrap_or(u64::MAX);
        let edges = index.episodes.iter();
        let edges = edges.filter_map(|e| e.first.as_ref().map(|m| m.at));
        let ends = watched.ends();
        let first = ends.map(|(first, _)| first);
        let from = edges.chain(first).min().unwrap_or(0);
        let over = |e: &EpisodeEdges| e.phase(QUIESCE)?.requested.as_ref().map(|m| m.at);
        let last = ends.map_or(0, |(_, last)| last);
        let told = index.facts(FactSource::Act).iter();
        let told = told.rev().find(|at| at.fact.what == act::ENDS);
        let to = match told {
            Some(at) => at.fact.at_ns,
            None => {
                let drilled = index.episodes.last().and_then(over);
                drilled.unwrap_or(index.end).max(last)
            }
        };
        let whole = Span {
            from,
            to: to.max(from),
        };
        let mut raw: Vec<Span> = Vec::new();
        for (episode, drill) in plans.drills.iter().enumerate() {
            if let Some(edges) = index.episodes.get(episode) {
                disturbances(edges, drill, index.end, &mut raw);
            }
        }
        for void in &index.void {
            if let Some(drill) = plans.drills.get(void.episode) {
                disturbances(&void.edges, drill, void.until, &mut raw);
            }
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

    /// As it was when that moment had come.
    pub fn until(&self, at: u64) -> Quiet {
        let cut = |span: &Span| Span {
            from: span.from,
            to: span.to.min(at),
        };
        let before = |spans: &[Span]| -> Vec<Span> {
            let begun = spans.iter().filter(|s| s.from < at);
            begun.map(cut).collect()
        };
        Quiet {
            whole: cut(&self.whole),
            disturbed: before(&self.disturbed),
            spans: before(&self.spans),
            healed: self.healed.iter().copied().filter(|h| *h <= at).collect(),
        }
    }

    /// All quiet time, nanoseconds.
    pub fn total(&self) -> u64 {
        self.spans.iter().map(Span::len).sum()
    }
}

/// Faults from their request to their proven healing, and acts to the end of their drill's phases: what
/// an act did, nobody undoes. What was never healed lasts to the end.
fn disturbances(edges: &EpisodeEdges, drill: &Drill, last: u64, out: &mut Vec<Span>) {
    let ended = edges.phase(QUIESCE).and_then(|q| q.requested.as_ref());
    let ended = ended.map_or(last, |m| m.at);
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
            let end = fault.healed.as_ref().map_or(last, |m| m.at);
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
