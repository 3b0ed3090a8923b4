//! What a soak shows of itself while it goes on, and what ends it at once.
//!
//! It looks on at the events as they are recorded. Bounded: it keeps a minute of latencies and the last
//! intents that were sent, whatever the length of the soak. The journal is judged afterwards all the
//! same; what is seen here is only seen sooner.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use firedrill_journal::{Edge, EdgeKind, Event, Fact, FactSource, Op, OpState};
use firedrill_plan::{ActKind, Drill, FaultKind, Schedule};

/// Intents whose first send is remembered, to see a second one under another nonce.
const INTENTS: usize = 20_000;
const LATENCIES: usize = 4_096;
const MINUTE_NS: u64 = 60_000_000_000;

/// Something that must never happen, whatever is broken at the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    pub rule: &'static str,
    pub why: String,
}

/// The state of a soak as far as the events tell.
pub struct Live {
    pub schedule: Arc<Schedule>,
    drills: BTreeMap<String, Arc<Drill>>,
    /// Faults in force, as `kind service`.
    faults: Vec<String>,
    /// The episode that runs, or ran last, and whether it is over.
    episode: Option<(usize, bool)>,
    phase: String,
    /// When each answer came and how long it took, of the last minute.
    answers: VecDeque<(u64, f64)>,
    unknown: u64,
    sends: HashMap<String, String>,
    sent: VecDeque<String>,
    start_ns: Option<u64>,
    now_ns: u64,
    pub first_offence: Option<Offence>,
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
    pub faults: Vec<String>,
    pub drills_done: usize,
    pub drills: usize,
    pub next: Option<String>,
    pub next_in_ms: Option<u64>,
    pub first_failing: Option<String>,
}

impl Live {
    pub fn new(schedule: Arc<Schedule>, drills: BTreeMap<String, Arc<Drill>>) -> Self {
        Self {
            schedule,
            drills,
            faults: Vec::new(),
            episode: None,
            phase: "starting".to_owned(),
            answers: VecDeque::new(),
            unknown: 0,
            sends: HashMap::new(),
            sent: VecDeque::new(),
            start_ns: None,
            now_ns: 0,
            first_offence: None,
        }
    }

    /// Takes an event in; says if it must never happen.
    pub fn see(&mut self, event: &Event) -> Option<Offence> {
        let offence = match event {
            Event::Edge(edge) => {
                self.edge(edge);
                None
            }
            Event::Op(op) => {
                self.op(op);
                None
            }
            Event::Fact(fact) => self.fact(fact),
            _ => None,
        };
        if self.first_offence.is_none() {
            self.first_offence.clone_from(&offence);
        }
        offence
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
                let over = edge.phase == "quiesce" && edge.kind == EdgeKind::HealRequested;
                self.episode = Some((episode, over));
                if edge.kind == EdgeKind::Requested {
                    self.phase = format!("{}: {}", self.name(episode), edge.phase);
                }
                if over {
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
        if op.state == OpState::Invoked {
            return;
        }
        if op.state == OpState::Unknown {
            self.unknown += 1;
        }
        let took_ms = op.at_ns.saturating_sub(op.intended_ns) as f64 / 1e6;
        self.answers.push_back((op.at_ns, took_ms));
        let old = self.now_ns.saturating_sub(MINUTE_NS);
        while self.answers.len() > LATENCIES || self.answers.front().is_some_and(|a| a.0 < old) {
            self.answers.pop_front();
        }
    }

    fn fact(&mut self, fact: &Fact) -> Option<Offence> {
        let text = |key: &str| fact.keys.get(key).and_then(|v| v.as_str());
        match (fact.source, fact.what.as_str()) {
            (FactSource::Act, firedrill_runner::BEGINS) => {
                let elapsed = fact.keys.get("elapsed_ms").and_then(|v| v.as_u64());
                let elapsed_ns = elapsed.unwrap_or(0).saturating_mul(1_000_000);
                self.start_ns = Some(fact.at_ns.saturating_sub(elapsed_ns));
                self.phase = "quiet".to_owned();
                None
            }
            (FactSource::Engine, "oom") => Some(Offence {
                rule: "out-of-memory",
                why: format!("{} was killed by the kernel", text("service")?),
            }),
            (FactSource::Engine, "die") => {
                let service = text("service")?;
                (self.start_ns.is_some() && !self.may_die(service)).then(|| Offence {
                    rule: "died",
                    why: format!("{service} ended, and nothing in force ends it"),
                })
            }
            (FactSource::Chain, "submission") => self.submission(fact),
            _ => None,
        }
    }

    /// Whether the drill that runs ends that service on purpose.
    fn may_die(&self, service: &str) -> bool {
        let Some((episode, false)) = self.episode else {
            return false;
        };
        let Some(drill) = self.drills.get(self.name(episode)) else {
            return false;
        };
        let ends = |kind: &FaultKind| {
            matches!(kind, FaultKind::Kill | FaultKind::Stop | FaultKind::Restart)
        };
        drill.phases.iter().any(|phase| {
            let by_fault = phase
                .faults
                .iter()
                .any(|f| f.target == service && ends(&f.kind));
            let by_act = phase.acts.iter().any(|act| match &act.kind {
                ActKind::Restart { services } | ActKind::Recreate { services, .. } => {
                    services.iter().any(|s| s == service)
                }
                _ => false,
            });
            by_fault || by_act
        })
    }

    /// One intent, accepted by the chain under two nonces: two trades.
    fn submission(&mut self, fact: &Fact) -> Option<Offence> {
        let text = |key: &str| fact.keys.get(key).and_then(|v| v.as_str());
        if text("outcome")? != "accepted" {
            return None;
        }
        let intent = text("intent").filter(|i| !i.is_empty())?;
        let nonce = fact.keys.get("nonce")?.to_string();
        match self.sends.get(intent) {
            Some(before) if *before != nonce => Some(Offence {
                rule: "sent-twice",
                why: format!("the intent {intent} went out under the nonces {before} and {nonce}"),
            }),
            Some(_) => None,
            None => {
                if self.sent.len() == INTENTS
                    && let Some(oldest) = self.sent.pop_front()
                {
                    self.sends.remove(&oldest);
                }
                self.sent.push_back(intent.to_owned());
                self.sends.insert(intent.to_owned(), nonce);
                None
            }
        }
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
            unknown: self.unknown,
            faults: self.faults.clone(),
            drills_done: done,
            drills: self.schedule.episodes.len(),
            next: next.map(|p| p.drill.clone()),
            next_in_ms: next.map(|p| p.at_ms.saturating_sub(elapsed_ms)),
            first_failing: self
                .first_offence
                .as_ref()
                .map(|o| format!("{}: {}", o.rule, o.why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live() -> Live {
        let schedule: Schedule = serde_json::from_value(json!({
            "seed": 1, "length_ms": 60_000, "gap_ms": 1_000, "waits": true, "rates": [], "checkpoints": [],
            "episodes": [{"drill": "one", "at_ms": 10_000, "lasts_ms": 5_000}],
        }))
        .expect("it is a schedule");
        Live::new(Arc::new(schedule), BTreeMap::new())
    }

    fn fact(source: FactSource, what: &str, keys: serde_json::Value) -> Event {
        Event::Fact(Fact {
            source,
            what: what.to_owned(),
            at_ns: 5_000_000_000,
            keys: serde_json::from_value(keys).expect("keys"),
        })
    }

    fn sent(intent: &str, nonce: u64, outcome: &str) -> Event {
        let keys = json!({ "intent": intent, "nonce": nonce, "outcome": outcome });
        fact(FactSource::Chain, "submission", keys)
    }

    #[test]
    fn an_intent_under_two_nonces_is_an_offence_and_a_replacement_is_none() {
        let mut live = live();
        assert_eq!(live.see(&sent("a", 1, "accepted")), None);
        assert_eq!(live.see(&sent("a", 1, "accepted")), None, "a replacement");
        assert_eq!(
            live.see(&sent("a", 2, "refused")),
            None,
            "it never went out"
        );
        let offence = live.see(&sent("a", 2, "accepted")).expect("it is seen");
        assert_eq!(offence.rule, "sent-twice");
        assert_eq!(live.progress().verdict, "FAIL");
    }

    #[test]
    fn a_service_that_ends_in_quiet_time_is_an_offence() {
        let mut live = live();
        let died = fact(FactSource::Engine, "die", json!({ "service": "worker" }));
        assert_eq!(live.see(&died), None, "the soak has not begun");
        live.see(&fact(
            FactSource::Act,
            firedrill_runner::BEGINS,
            json!({ "elapsed_ms": 0 }),
        ));
        let offence = live.see(&died).expect("it is seen");
        assert_eq!(offence.rule, "died");
        let oom = fact(FactSource::Engine, "oom", json!({ "service": "worker" }));
        assert_eq!(live.see(&oom).map(|o| o.rule), Some("out-of-memory"));
    }

    #[test]
    fn memory_is_bounded_whatever_is_sent() {
        let mut live = live();
        for n in 0..50_000_u64 {
            live.see(&sent(&n.to_string(), n, "accepted"));
        }
        assert_eq!((live.sends.len(), live.sent.len()), (INTENTS, INTENTS));
    }
}
