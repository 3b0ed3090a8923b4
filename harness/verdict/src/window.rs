//! Windows, edges and marks: from names in the plan to nanoseconds in the journal.

use std::collections::HashMap;

use firedrill_journal::{ResultView, Scalar};
use firedrill_plan::{Drill, Edge, EdgeRef, Mark, Observe, Probe, ProbeKind, ProbeRef, Window};

use crate::audit::Record;
use crate::facts::select;
use crate::index::{Edges, EpisodeEdges, Index, Moment, QUIESCE, SampleAt};
use crate::operators::{Obs, Span};
use crate::predicate::{Observed, Test, number_of};
use crate::words;

/// One episode, with all that is needed to judge it.
pub struct Scene<'a> {
    pub index: &'a Index<'a>,
    pub record: &'a Record<'a>,
    pub drill: &'a Drill,
    pub episode: usize,
    marks: HashMap<String, Result<Sides, String>>,
}

/// A moment that is known up to an interval: lower bounds count from `lo`, upper ones from `hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    pub lo: u64,
    pub hi: u64,
    pub seq: u64,
}

/// A window on the run's clock.
#[derive(Clone, Copy, Debug)]
pub struct Resolved {
    pub span: Span,
    /// Earliest moment that can belong to the window: what has to be *there* is looked for from the
    /// request (and the transition before it) on, since the effect may come before the proof.
    pub loose_from: u64,
    /// Where the window would start without its grace.
    pub proven: u64,
    /// Whether the window's end was reached.
    pub complete: bool,
}

/// Observations of one field, with the samples that they come from.
pub struct Series<'a> {
    pub obs: Vec<Obs>,
    pub samples: &'a [SampleAt<'a>],
}

impl<'a> Scene<'a> {
    pub fn new(
        index: &'a Index<'a>,
        record: &'a Record<'a>,
        drill: &'a Drill,
        episode: usize,
    ) -> Self {
        let mut scene = Scene {
            index,
            record,
            drill,
            episode,
            marks: HashMap::new(),
        };
        for mark in &drill.marks {
            let sides = scene.find_mark(mark);
            scene.marks.insert(mark.id.clone(), sides);
        }
        scene
    }

    pub fn edges(&self) -> Option<&EpisodeEdges> {
        self.index.episodes.get(self.episode)
    }

    pub fn phase(&self, id: &str) -> Result<&Edges, String> {
        self.edges()
            .and_then(|e| e.phase(id))
            .filter(|e| e.requested.is_some())
            .ok_or_else(|| format!("phase {id} never started"))
    }

    fn moment(&self, phase: &str, edge: Edge) -> Result<&Moment, String> {
        let edges = self.phase(phase)?;
        let (moment, what) = match edge {
            Edge::Requested => (&edges.requested, "never started"),
            Edge::Proven => (&edges.proven, "was never proven"),
            Edge::HealRequested => (&edges.heal_requested, "never ended"),
            Edge::Healed => (&edges.healed, "was never healed"),
        };
        moment
            .as_ref()
            .ok_or_else(|| format!("phase {phase} {what}"))
    }

    pub fn edge(&self, of: &EdgeRef) -> Result<Sides, String> {
        match of {
            EdgeRef::Phase { phase, edge } => {
                let moment = self.moment(phase, *edge)?;
                Ok(Sides {
                    lo: moment.at,
                    hi: moment.at,
                    seq: moment.seq,
                })
            }
            EdgeRef::Mark { id } => match self.marks.get(id) {
                Some(sides) => sides.clone(),
                None => Err(format!("the drill has no mark {id}")),
            },
        }
    }

    /// End of the window that belongs to an edge, and whether it was reached: its phase's, or the
    /// run's where the edge is that phase's own end.
    pub fn end_after(&self, of: &EdgeRef) -> (u64, bool) {
        let phase = match of {
            EdgeRef::Phase {
                phase,
                edge: Edge::Requested | Edge::Proven,
            } => Some(phase.as_str()),
            EdgeRef::Phase { .. } => None,
            EdgeRef::Mark { id } => {
                let mark = self.drill.marks.iter().find(|m| m.id == *id);
                mark.map(|m| m.phase.as_str())
            }
        };
        self.end_of(phase)
    }

    fn end_of(&self, phase: Option<&str>) -> (u64, bool) {
        let end = self
            .edges()
            .and_then(|e| e.phase(phase.unwrap_or(QUIESCE)))
            .and_then(|e| e.heal_requested.as_ref());
        match end {
            Some(moment) => (moment.at, true),
            None => (self.index.end, false),
        }
    }

    /// When observation of this episode ended.
    pub fn horizon(&self) -> u64 {
        self.end_of(None).0
    }

    pub fn window(&self, window: &Window) -> Result<Resolved, String> {
        let first = self.drill.phases.first().map(|p| p.id.as_str());
        let from = window
            .from
            .as_deref()
            .or(first)
            .ok_or("the drill has no phase")?;
        let proven = self.moment(from, Edge::Proven)?.at;
        let grace = u64::try_from(window.grace.as_nanos()).unwrap_or(u64::MAX);
        if let Some(to) = &window.to {
            self.phase(to)?;
        }
        let (to, complete) = self.end_of(window.to.as_deref());
        let start = proven.saturating_add(grace);
        let loose_from = if grace == 0 {
            self.loose_start(from)?
        } else {
            start
        };
        if complete && start >= to {
            let grace = words::duration(window.grace);
            return Err(format!(
                "nothing is left of the window after {grace} of grace"
            ));
        }
        Ok(Resolved {
            span: Span {
                from: start,
                to: to.max(start),
            },
            loose_from,
            proven,
            complete,
        })
    }

    /// From the phase's request, or from the end of the phase before it: what happens in between
    /// (while its faults are healed) belongs to no window otherwise.
    fn loose_start(&self, phase: &str) -> Result<u64, String> {
        let requested = self.moment(phase, Edge::Requested)?.at;
        let position = self.drill.phases.iter().position(|p| p.id == phase);
        let before = position
            .and_then(|at| at.checked_sub(1))
            .and_then(|at| self.drill.phases.get(at))
            .and_then(|p| self.moment(&p.id, Edge::HealRequested).ok())
            .map(|m| m.at);
        Ok(before.filter(|at| *at <= requested).unwrap_or(requested))
    }

    fn find_mark(&self, mark: &Mark) -> Result<Sides, String> {
        let from = self.loose_start(&mark.phase)?;
        let (to, _) = self.end_of(Some(&mark.phase));
        let span = Span { from, to };
        let unseen = || format!("@{} was not seen in {}", mark.id, mark.phase);
        match &mark.observe {
            Observe::Value { probe, is } => {
                let series = self.series(probe, &Test::new(is)?, from, to)?;
                let at = series
                    .obs
                    .iter()
                    .position(|o| o.ok == Some(true) && span.holds(o))
                    .ok_or_else(unseen)?;
                let before = series.obs[..at].iter().rev().find(|o| o.ok == Some(false));
                Ok(Sides {
                    lo: before.map_or(from, |o| o.due),
                    hi: series.obs[at].end,
                    seq: series.obs[at].seq,
                })
            }
            Observe::Growth { .. } => Err("a growth has no moment at which it holds".to_owned()),
            Observe::Count { facts, is } => {
                let test = Test::new(is)?;
                let found = select(self, facts, span)?;
                let nth = (1..=found.hits.len()).find(|n| test.number(*n as f64) == Some(true));
                let hit = nth.map(|n| &found.hits[n - 1]).ok_or_else(unseen)?;
                Ok(Sides {
                    lo: hit.at,
                    hi: hit.at,
                    seq: hit.seq,
                })
            }
            Observe::Sequence { facts } => {
                let run = crate::facts::sequence(self, facts, span)?;
                match (run.hits.last(), run.missing) {
                    (Some(hit), None) => Ok(Sides {
                        lo: hit.at,
                        hi: hit.at,
                        seq: hit.seq,
                    }),
                    _ => Err(unseen()),
                }
            }
        }
    }

    pub fn probe(&self, id: &str) -> Result<&'a Probe, String> {
        let probe = self.drill.probes.iter().find(|p| p.id == id);
        probe.ok_or_else(|| format!("the drill has no probe {id}"))
    }

    /// The observations of a field that were due within `[from, to]`.
    pub fn series(
        &self,
        probe: &ProbeRef,
        test: &Test<'_>,
        from: u64,
        to: u64,
    ) -> Result<Series<'a>, String> {
        let http = matches!(self.probe(&probe.probe)?.kind, ProbeKind::Http { .. });
        let samples = self.index.samples_in(&probe.probe, from, to);
        let obs = samples
            .iter()
            .map(|s| Obs {
                due: s.sample.due_ns,
                end: s.sample.due_ns.saturating_add(s.sample.took_ns),
                ok: test.apply(&observed(s, &probe.field, http)),
                seq: s.seq,
            })
            .collect();
        Ok(Series { obs, samples })
    }

    pub fn is_http(&self, probe: &ProbeRef) -> bool {
        self.probe(&probe.probe)
            .is_ok_and(|p| matches!(p.kind, ProbeKind::Http { .. }))
    }
}

/// What a sample says about one field, if a heartbeat vouches for it.
pub fn observed<'a>(at: &SampleAt<'a>, field: &str, http: bool) -> Observed<'a> {
    match at.stale {
        Some(stale) => Observed::Missing(stale.words()),
        None => said((&at.sample.result).into(), field, http),
    }
}

/// What an answer says about one field. An HTTP probe that got no answer in time is an observation
/// where latency or status is asked for, and missing data where a value is.
pub fn said<'a>(result: ResultView<'a>, field: &str, http: bool) -> Observed<'a> {
    match result {
        ResultView::Value(fields) => match fields.get(field) {
            Some(Scalar::Text(text))
                if number_of(Scalar::Text(text)).is_none() && text.eq_ignore_ascii_case("nan") =>
            {
                Observed::Missing(format!("`{field}` is NaN"))
            }
            Some(Scalar::Null) => Observed::Missing(format!("`{field}` is null")),
            Some(value) => Observed::Value(value),
            None => Observed::Missing(format!("the answer holds no `{field}`")),
        },
        ResultView::Missing(why) => {
            let unreachable = why.starts_with("deadline") || why.starts_with("connect");
            match field {
                "latency_ms" if http && unreachable => Observed::Number(f64::INFINITY),
                "status" if http && unreachable => Observed::Unavailable,
                _ => Observed::Missing(words::quote(why)),
            }
        }
    }
}

impl Scene<'_> {
    /// Whether all that happened up to then must stand in the journal.
    pub fn settled_at(&self, at: u64) -> bool {
        self.index.settled(self.episode) && self.horizon() >= at
    }
}
