//! One pass over the journal: everything that is looked at later, in time order.

use std::collections::{BTreeMap, HashMap};

use firedrill_journal::{
    EdgeKind, EndReason, Event, Fact, FactSource, Journal, OpState, Sample, SignalRef, StreamState,
};

use crate::heartbeat::Stale;

/// Name of the runner's own phase after the last one of the drill.
pub const QUIESCE: &str = "quiesce";

/// A moment and the journal line that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: u64,
    pub seq: u64,
    pub proof: Option<String>,
    /// Of a healed fault: whether anything of the target met it.
    pub felt: Option<bool>,
}

/// The edges of one phase or one fault, the first of each kind.
#[derive(Clone, Debug, Default)]
pub struct Edges {
    pub requested: Option<Moment>,
    pub proven: Option<Moment>,
    pub lost: Option<Moment>,
    pub heal_requested: Option<Moment>,
    pub healed: Option<Moment>,
}

impl Edges {
    fn put(&mut self, kind: EdgeKind, moment: Moment) {
        let slot = match kind {
            EdgeKind::Requested => &mut self.requested,
            EdgeKind::Proven => &mut self.proven,
            EdgeKind::Lost => &mut self.lost,
            EdgeKind::HealRequested => &mut self.heal_requested,
            EdgeKind::Healed => &mut self.healed,
        };
        slot.get_or_insert(moment);
    }
}

#[derive(Clone, Debug, Default)]
pub struct PhaseEdges {
    pub own: Edges,
    /// By position in the phase's list of faults.
    pub faults: BTreeMap<u32, Edges>,
}

/// What is known about one episode's course.
#[derive(Clone, Debug, Default)]
pub struct EpisodeEdges {
    pub phases: HashMap<String, PhaseEdges>,
    pub first: Option<Moment>,
    /// Latest edge of the episode.
    pub last: u64,
}

impl EpisodeEdges {
    pub fn phase(&self, id: &str) -> Option<&Edges> {
        self.phases.get(id).map(|p| &p.own)
    }

    /// Whether the runner has come to the end of the quiescence: nothing of the episode can follow.
    pub fn closed(&self) -> bool {
        self.phase(QUIESCE)
            .is_some_and(|p| p.heal_requested.is_some())
    }
}

/// An episode that was under way when the harness died, and was carried out anew later.
#[derive(Clone, Debug)]
pub struct Void {
    pub episode: usize,
    pub edges: EpisodeEdges,
    /// When the stack that it was tried on was gone.
    pub until: u64,
}

/// One operation, both of its records taken together.
#[derive(Clone, Debug)]
pub struct OpRecord<'a> {
    pub seq: u64,
    pub done_seq: Option<u64>,
    pub intended: u64,
    pub invoked: Option<u64>,
    pub done: Option<u64>,
    /// `Unknown` if no completion was recorded.
    pub state: OpState,
    pub signal: Option<&'a SignalRef>,
    pub status: Option<u16>,
    pub detail: Option<&'a str>,
    pub names: Option<&'a str>,
}

impl OpRecord<'_> {
    /// When it was sent, or would have been.
    pub fn sent_at(&self) -> u64 {
        self.invoked.unwrap_or(self.intended)
    }

    /// Acknowledged by a word that says that the signal was known already.
    pub fn duplicate(&self) -> bool {
        self.detail == Some("duplicate")
    }
}

#[derive(Clone, Copy, Debug)]
pub struct SampleAt<'a> {
    pub seq: u64,
    pub sample: &'a Sample,
    /// Why its values may be those of a loop that is dead.
    pub stale: Option<Stale>,
}

#[derive(Clone, Copy, Debug)]
pub struct FactAt<'a> {
    pub seq: u64,
    pub fact: &'a Fact,
}

#[derive(Clone, Copy, Debug)]
pub struct StreamAt<'a> {
    pub seq: u64,
    pub at: u64,
    pub state: StreamState,
    pub detail: Option<&'a str>,
}

/// Neither cut nor ended early.
pub fn is_complete(journal: &Journal) -> bool {
    let end = journal.end();
    journal.truncation.is_none() && end.is_some_and(|end| end.reason == EndReason::Completed)
}

/// The journal, sorted by what is asked of it.
pub struct Index<'a> {
    pub episodes: Vec<EpisodeEdges>,
    pub samples: HashMap<&'a str, Vec<SampleAt<'a>>>,
    pub facts: BTreeMap<FactSource, Vec<FactAt<'a>>>,
    pub streams: HashMap<&'a str, Vec<StreamAt<'a>>>,
    pub starved: Vec<(u64, u64)>,
    /// Where the harness had died and was started again: from the last line before to the first after.
    pub parts: Vec<(u64, u64)>,
    pub void: Vec<Void>,
    /// In order of invocation.
    pub ops: Vec<OpRecord<'a>>,
    /// The signal of a key, as it was sent first.
    pub signals: HashMap<&'a str, &'a SignalRef>,
    /// The same by the chain's name for it.
    pub tags: HashMap<&'a str, &'a SignalRef>,
    /// Monotonic time of the last trusted line.
    pub end: u64,
    /// Neither cut nor ended early.
    pub complete: bool,
}

impl<'a> Index<'a> {
    /// Of a whole journal.
    pub fn build(journal: &'a Journal) -> Self {
        Index::of(
            journal.header.episodes.len(),
            journal.events.iter().map(|l| (l.seq, l.mono_ns, &l.event)),
            is_complete(journal),
        )
    }

    /// Of some lines of a journal with that many episodes: their numbers, when they were written, what they tell.
    /// `complete`: it was neither cut nor ended early.
    pub fn of(
        episodes: usize,
        lines: impl IntoIterator<Item = (u64, u64, &'a Event)>,
        complete: bool,
    ) -> Self {
        let mut index = Index {
            episodes: vec![EpisodeEdges::default(); episodes],
            samples: HashMap::new(),
            facts: BTreeMap::new(),
            streams: HashMap::new(),
            starved: Vec::new(),
            parts: Vec::new(),
            void: Vec::new(),
            ops: Vec::new(),
            signals: HashMap::new(),
            tags: HashMap::new(),
            end: 0,
            complete,
        };
        let mut open = HashMap::new();
        for (seq, mono_ns, event) in lines {
            index.end = index.end.max(mono_ns);
            index.add(seq, event, &mut open);
        }
        for samples in index.samples.values_mut() {
            samples.sort_by_key(|s| (s.sample.due_ns, s.seq));
        }
        for facts in index.facts.values_mut() {
            facts.sort_by_key(|f| (f.fact.at_ns, f.seq));
        }
        for stream in index.streams.values_mut() {
            stream.sort_by_key(|s| (s.at, s.seq));
        }
        index.starved.sort_unstable();
        index
    }

    fn add(&mut self, seq: u64, event: &'a Event, open: &mut HashMap<u64, usize>) {
        match event {
            Event::Edge(edge) => self.add_edge(seq, edge),
            Event::Op(op) => self.add_op(seq, op, open),
            Event::Sample(sample) => {
                let series = self.samples.entry(&sample.probe).or_default();
                series.push(SampleAt {
                    seq,
                    sample,
                    stale: None,
                });
            }
            Event::Fact(fact) => {
                let facts = self.facts.entry(fact.source).or_default();
                facts.push(FactAt { seq, fact });
            }
            Event::Stream(stream) => {
                self.streams.entry(&stream.id).or_default().push(StreamAt {
                    seq,
                    at: stream.at_ns,
                    state: stream.state,
                    detail: stream.detail.as_deref(),
                });
            }
            Event::Starved { from_ns, to_ns } if from_ns < to_ns => {
                self.starved.push((*from_ns, *to_ns));
            }
            // What was under way when the part before died is carried out anew: its first try is void.
            Event::Part(part) => {
                let from = self.episodes.len().min(part.episode as usize);
                for (episode, edges) in self.episodes.iter_mut().enumerate().skip(from) {
                    let edges = std::mem::take(edges);
                    if edges.first.is_some() {
                        self.void.push(Void {
                            episode,
                            edges,
                            until: part.at_ns,
                        });
                    }
                }
                for stream in self.streams.values_mut() {
                    stream.push(StreamAt {
                        seq,
                        at: part.from_ns,
                        state: StreamState::Gap,
                        detail: Some("the harness died"),
                    });
                }
                self.starved.push((part.from_ns, part.at_ns));
                self.parts.push((part.from_ns, part.at_ns));
            }
            Event::Starved { .. } | Event::Header(_) | Event::End(_) => {}
        }
    }

    fn add_edge(&mut self, seq: u64, edge: &firedrill_journal::Edge) {
        // An edge of an episode that the header doesn't know belongs to nothing that is judged.
        let Some(episode) = self.episodes.get_mut(edge.episode as usize) else {
            return;
        };
        let moment = Moment {
            at: edge.at_ns,
            seq,
            proof: edge.proof.clone(),
            felt: edge.felt,
        };
        episode.last = episode.last.max(edge.at_ns);
        episode.first.get_or_insert_with(|| moment.clone());
        let phase = episode.phases.entry(edge.phase.clone()).or_default();
        let edges = match &edge.fault {
            Some(fault) => phase.faults.entry(fault.index).or_default(),
            None => &mut phase.own,
        };
        edges.put(edge.kind, moment);
    }

    fn add_op(&mut self, seq: u64, op: &'a firedrill_journal::Op, open: &mut HashMap<u64, usize>) {
        if let Some(signal) = &op.signal {
            self.signals.entry(&signal.key).or_insert(signal);
            self.tags.entry(&signal.tag).or_insert(signal);
        }
        if op.state == OpState::Invoked {
            open.insert(op.id, self.ops.len());
            self.ops.push(OpRecord {
                seq,
                done_seq: None,
                intended: op.intended_ns,
                invoked: Some(op.at_ns),
                done: None,
                state: OpState::Unknown,
                signal: op.signal.as_ref(),
                status: None,
                detail: None,
                names: None,
            });
            return;
        }
        let completed = match open.remove(&op.id) {
            Some(at) => at,
            None => {
                self.ops.push(OpRecord {
                    seq,
                    done_seq: None,
                    intended: op.intended_ns,
                    invoked: None,
                    done: None,
                    state: OpState::Unknown,
                    signal: op.signal.as_ref(),
                    status: None,
                    detail: None,
                    names: None,
                });
                self.ops.len() - 1
            }
        };
        let record = &mut self.ops[completed];
        record.done_seq = Some(seq);
        record.done = Some(op.at_ns);
        record.state = op.state;
        record.status = op.status;
        record.detail = op.detail.as_deref();
        record.names = op.names.as_deref();
    }

    pub fn facts(&self, source: FactSource) -> &[FactAt<'a>] {
        self.facts.get(&source).map_or(&[], Vec::as_slice)
    }

    /// Facts of a source within `[from, to]`.
    pub fn facts_in(&self, source: FactSource, from: u64, to: u64) -> &[FactAt<'a>] {
        let all = self.facts(source);
        let start = all.partition_point(|f| f.fact.at_ns < from);
        let end = all.partition_point(|f| f.fact.at_ns <= to);
        &all[start..end.max(start)]
    }

    /// Samples of a probe that were due within `[from, to]`.
    pub fn samples_in(&self, probe: &str, from: u64, to: u64) -> &[SampleAt<'a>] {
        let Some(all) = self.samples.get(probe) else {
            return &[];
        };
        let start = all.partition_point(|s| s.sample.due_ns < from);
        let end = all.partition_point(|s| s.sample.due_ns <= to);
        &all[start..end.max(start)]
    }

    /// Whether nothing that belongs to this episode can be missing because the journal ends.
    pub fn settled(&self, episode: usize) -> bool {
        self.complete || self.episodes.get(episode).is_some_and(EpisodeEdges::closed)
    }
}
