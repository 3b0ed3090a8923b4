//! What a soak shows of itself while it goes on, and what ends it at once.
//!
//! It looks on at the events as they are recorded. Bounded: it keeps a minute of latencies and the last
//! intents that were sent, whatever the length of the soak. The journal is judged afterwards all the
//! same; what is seen here is only seen sooner.

use std::collections::VecDeque;
use std::sync::Arc;

use firedrill_journal::{Edge, EdgeKind, Event, Fact, FactSource, Op, OpState, View, act};
use firedrill_plan::{Drill, Schedule};
use firedrill_verdict::{Misdeed, Vigil};

const LATENCIES: usize = 4_096;
const MINUTE_NS: u64 = 60_000_000_000;

/// The state of a soak as far as the events tell.
pub struct Live {
    pub schedule: Arc<Schedule>,
    vigil: Vigil,
    /// Faults in force, as `kind service`.
    faults: Vec<String>,
    /// The episode that runs, or ran last, and whether it is over.
    episode: Option<(usize, bool)>,
    phase: String,
    /// When each answer came and how long it took, of the last minute.
    answers: VecDeque<(u64, f64)>,
    counts: Counts,
    /// Checkpoints that have passed.
    passed: Vec<Passed>,
    start_ns: Option<u64>,
    now_ns: u64,
    pub first_offence: Option<Misdeed>,
}

/// What was counted since the view began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub accepted: u64,
    pub rejected: u64,
    pub unknown: u64,
    pub first_sends: u64,
    pub mined: u64,
    pub offences: u64,
}

/// A checkpoint as it passed. What its watches say, the judge tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Passed {
    pub at_ms: u64,
    #[serde(flatten)]
    pub counts: Counts,
}

/// What is shown, in whatever form.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Progress {
    pub elapsed_ms: u64,
    pub length_ms: u64,
    pub phase: String,
    pub verdict: &'static str,
    pub answers_per_s: f64,
    pub p95_ms: Option<f64>,
    pub unknown: u64,
    pub checkpoints: Vec<Passed>,
    pub faults: Vec<String>,
    pub drills_done: usize,
    pub drills: usize,
    pub next: Option<String>,
    pub next_in_ms: Option<u64>,
    pub first_failing: Option<String>,
}

impl Live {
    /// `drills` are the soak's, one per episode.
    pub fn new<'a>(schedule: Arc<Schedule>, drills: impl IntoIterator<Item = &'a Drill>) -> Self {
        Self {
            schedule,
            vigil: Vigil::new(drills),
            faults: Vec::new(),
            episode: None,
            phase: "starting".to_owned(),
            answers: VecDeque::new(),
            counts: Counts::default(),
            passed: Vec::new(),
            start_ns: None,
            now_ns: 0,
            first_offence: None,
        }
    }

    /// Takes an event in; says if it must never happen.
    pub fn see(&mut self, event: &Event) -> Option<Misdeed> {
        match event {
            Event::Edge(edge) => self.edge(edge),
            Event::Op(op) => self.op(op),
            Event::Fact(fact) => self.fact(fact),
            _ => {}
        }
        let offence = self.vigil.see(View::of(event));
        self.counts.offences += u64::from(offence.is_some());
        self.pass();
        if self.first_offence.is_none() {
            self.first_offence.clone_from(&offence);
        }
        offence
    }

    /// Notes the checkpoints that lie behind by now.
    fn pass(&mut self) {
        let Some(start) = self.start_ns else { return };
        let elapsed_ms = self.now_ns.saturating_sub(start) / 1_000_000;
        while let Some(next) = self.schedule.checkpoints.get(self.passed.len())
            && next.at_ms <= elapsed_ms
        {
            self.passed.push(Passed {
                at_ms: next.at_ms,
                counts: self.counts,
            });
        }
    }

    fn edge(&mut self, edge: &Edge) {
        self.now_ns = self.now_ns.max(edge.at_ns);
        let episode = edge.episode as usize;
        match &edge.fault {
            Some(fault) => {
                let name = format!("{} {}", fault.kind, fault.target);
                self.faults.retain(|f| *f != name);
                if edge.kind == EdgeKind::Proven {
                    self.faults.push(name);
                }
            }
            None => {
                let ends = edge.phase == "quiesce" && edge.kind == EdgeKind::HealRequested;
                // The end itself ends a moment later.
                let over = ends || self.episode == Some((episode, true));
                self.episode = Some((episode, over));
                if edge.kind == EdgeKind::Requested {
                    self.phase = format!("{}: {}", self.name(episode), edge.phase);
                }
                if ends {
                    self.phase = "quiet".to_owned();
                }
            }
        }
    }

    fn name(&self, episode: usize) -> &str {
        let planned = self.schedule.episodes.get(episode);
        planned.map_or("", |p| p.drill.as_str())
    }

    fn op(&mut self, op: &Op) {
        self.now_ns = self.now_ns.max(op.at_ns);
        match op.state {
            OpState::Invoked => return,
            OpState::Ok => self.counts.accepted += 1,
            OpState::Rejected => self.counts.rejected += 1,
            OpState::Unknown => self.counts.unknown += 1,
            OpState::Failed => {}
        }
        let took_ms = op.at_ns.saturating_sub(op.intended_ns) as f64 / 1e6;
        self.answers.push_back((op.at_ns, took_ms));
        let old = self.now_ns.saturating_sub(MINUTE_NS);
        while self.answers.len() > LATENCIES || self.answers.front().is_some_and(|a| a.0 < old) {
            self.answers.pop_front();
        }
    }

    fn fact(&mut self, fact: &Fact) {
        if (fact.source, fact.what.as_str()) == (FactSource::Act, act::BEGINS) {
            let elapsed = fact.keys.get("elapsed_ms").and_then(|v| v.as_u64());
            let elapsed_ns = elapsed.unwrap_or(0).saturating_mul(1_000_000);
            self.start_ns = Some(fact.at_ns.saturating_sub(elapsed_ns));
            self.phase = "quiet".to_owned();
        }
        if fact.source == FactSource::Chain {
            let first = fact.keys.get("first_send") == Some(&true.into());
            self.counts.first_sends += u64::from(fact.what == "submission" && first);
            self.counts.mined += u64::from(fact.what == "mined");
        }
    }

    /// How many checkpoints have passed.
    pub fn passed(&self) -> usize {
        self.passed.len()
    }

    pub fn progress_phase(&self) -> &str {
        &self.phase
    }

    /// What there is to show. `now_ns` is the time of the last event.
    pub fn progress(&self) -> Progress {
        let elapsed_ms = self
            .start_ns
            .map_or(0, |start| self.now_ns.saturating_sub(start) / 1_000_000);
        let done = self.episode.map_or(0, |(e, over)| e + usize::from(over));
        let next_at = self.episode.map_or(0, |(e, _)| e + 1);
        let next = self.schedule.episodes.get(next_at);
        let mut sorted: Vec<f64> = self.answers.iter().map(|a| a.1).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = (0.95 * sorted.len() as f64).ceil() as usize;
        let span_ns = match self.answers.front() {
            Some((first, _)) => self.now_ns.saturating_sub(*first).max(1),
            None => MINUTE_NS,
        };
        Progress {
            elapsed_ms,
            length_ms: self.schedule.length_ms,
            phase: self.phase.clone(),
            verdict: if self.first_offence.is_some() {
                "FAIL"
            } else {
                "no offence"
            },
            answers_per_s: sorted.len() as f64 / (span_ns as f64 / 1e9),
            p95_ms: sorted.get(rank.max(1) - 1).copied(),
            unknown: self.counts.unknown,
            checkpoints: self.passed.clone(),
            faults: self.faults.clone(),
            drills_done: done,
            drills: self.schedule.episodes.len(),
            next: next.map(|p| p.drill.clone()),
            next_in_ms: next.map(|p| p.at_ms.saturating_sub(elapsed_ms)),
            first_failing: self.first_offence.as_ref().map(Misdeed::words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_offence_is_seen_and_stays_the_first_failing() {
        let schedule: Schedule = serde_json::from_value(json!({
            "seed": 1, "length_ms": 60_000, "gap_ms": 1_000, "waits": true, "rates": [], "checkpoints": [],
            "episodes": [{"drill": "one", "at_ms": 10_000, "lasts_ms": 5_000}],
        }))
        .expect("it is a schedule");
        let mut live = Live::new(Arc::new(schedule), []);
        let fact = |source, what: &str, keys: serde_json::Value| {
            Event::Fact(Fact {
                source,
                what: what.to_owned(),
                at_ns: 5_000_000_000,
                keys: serde_json::from_value(keys).expect("keys"),
            })
        };
        let die = fact(FactSource::Engine, "die", json!({ "service": "worker" }));
        assert_eq!(live.see(&die), None, "the soak has not begun");
        assert_eq!(live.progress().verdict, "no offence");
        live.see(&fact(FactSource::Act, act::BEGINS, json!({})));
        assert_eq!(live.see(&die).map(|o| o.rule), Some("died"));
        live.see(&fact(
            FactSource::Engine,
            "oom",
            json!({ "service": "worker" }),
        ));
        let progress = live.progress();
        assert_eq!(progress.verdict, "FAIL");
        assert_eq!(progress.checkpoints, [], "none lies behind yet");
        let first = progress.first_failing.unwrap_or_default();
        assert!(first.starts_with("died: worker ended"), "{first}");
    }

    #[test]
    fn a_drill_that_is_over_is_done() {
        let schedule: Schedule = serde_json::from_value(json!({
            "seed": 1, "length_ms": 60_000, "gap_ms": 1_000, "waits": true, "rates": [], "checkpoints": [],
            "episodes": [{"drill": "one", "at_ms": 10_000, "lasts_ms": 5_000}],
        }))
        .expect("it is a schedule");
        let mut live = Live::new(Arc::new(schedule), []);
        let mut done = Vec::new();
        for (phase, kind) in [
            ("outage", EdgeKind::Requested),
            ("quiesce", EdgeKind::Requested),
            ("quiesce", EdgeKind::HealRequested),
            ("quiesce", EdgeKind::Healed),
        ] {
            live.see(&Event::Edge(Edge {
                episode: 0,
                phase: phase.to_owned(),
                fault: None,
                kind,
                at_ns: 1,
                proof: None,
                felt: None,
            }));
            done.push(live.progress().drills_done);
        }
        assert_eq!(done, [0, 0, 1, 1]);
    }

    #[test]
    fn a_checkpoint_keeps_what_was_counted_when_it_passed() {
        let schedule: Schedule = serde_json::from_value(json!({
            "seed": 1, "length_ms": 60_000, "gap_ms": 1_000, "waits": true, "rates": [], "episodes": [],
            "checkpoints": [{"at_ms": 10_000}, {"at_ms": 50_000}],
        }))
        .expect("it is a schedule");
        let mut live = Live::new(Arc::new(schedule), []);
        let begins = Fact {
            source: FactSource::Act,
            what: act::BEGINS.to_owned(),
            at_ns: 2_000_000_000,
            keys: [("elapsed_ms".to_owned(), json!(0))].into(),
        };
        live.see(&Event::Fact(begins));
        for (id, second) in [(1, 3), (2, 12), (3, 13)] {
            let at_ns = second * 1_000_000_000;
            live.see(&Event::Op(Op {
                id,
                state: OpState::Ok,
                intended_ns: at_ns,
                at_ns,
                signal: None,
                status: Some(200),
                detail: None,
                names: None,
            }));
        }
        let passed = live.progress().checkpoints;
        assert_eq!(passed.len(), 1);
        assert_eq!((passed[0].at_ms, passed[0].counts.accepted), (10_000, 2));
    }
}
