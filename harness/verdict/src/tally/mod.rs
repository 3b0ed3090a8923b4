//! What is kept of a whole run: numbers, taken in line by line.
//!
//! A soak of a day has more lines than fit into memory. What is judged over all of it is counted here; what a drill
//! looks at is looked at while its lines are there.

mod numbers;
mod ops;
mod stamp;
mod watched;

use std::collections::{BTreeSet, HashMap};

use firedrill_journal::{
    Event, FactSource, FactView, RunKind, SampleView, Stream, StreamState, View, act,
};
use firedrill_plan::ProbeKind;

use crate::audit::{Books, Loss};
use crate::chunked::Chunked;
use crate::plans::Plans;
use crate::predicate::Observed;
use crate::vigil::{Misdeed, Vigil};
use crate::window::said;
use crate::words::{quote, value};
pub use ops::{Brief, Ops};
pub use stamp::Stamp;
pub use watched::Watched;

/// Offences that are named; they are of a kind more often than not.
pub const OFFENCES_MAX: usize = 20;

/// What must be known of a journal before its lines are taken in.
#[derive(Clone, Debug)]
pub struct Before {
    /// What restores of the record may have lost, or why that can't be told.
    pub losses: Result<Vec<Loss>, String>,
    /// The line with which the last collection of the tables began, where that is known.
    pub collected: Option<u64>,
}

/// What a service showed as its mode, as a number of `Modes::values`, and when.
type Shown = Chunked<(Stamp, u32)>;

/// The modes that the services showed.
#[derive(Debug, Default)]
pub struct Modes {
    /// Per service of the target's `mode`: its probes, and the longest pace of them in nanoseconds.
    services: Vec<(String, BTreeSet<String>, u64)>,
    pointer: String,
    seen: Vec<Shown>,
    values: Vec<String>,
    known: HashMap<String, u32>,
}

/// Takes a run in, line by line.
pub struct Tally<'p> {
    vigil: Option<Vigil>,
    pub misdeeds: Vec<Misdeed>,
    /// What who looked on while the run went on said must never happen.
    pub told: Vec<String>,
    pub ops: Ops,
    /// When the chain saw a first send, and when a transaction went into a block.
    pub first_sends: Chunked<Stamp>,
    pub mined: Chunked<Stamp>,
    pub watched: Watched,
    pub modes: Modes,
    pub books: Books<'p>,
}

impl<'p> Tally<'p> {
    pub fn new(plans: &'p Plans, kind: RunKind, before: Before) -> Self {
        let watches = plans.profile.iter().flat_map(|p| &p.watches);
        Tally {
            // In a soak only: a drill's own expectations say what it forbids.
            vigil: (kind == RunKind::Soak).then(|| Vigil::new(plans.drills.iter().map(|d| &**d))),
            misdeeds: Vec::new(),
            told: Vec::new(),
            ops: Ops::default(),
            first_sends: Chunked::default(),
            mined: Chunked::default(),
            watched: Watched::new(watches),
            modes: Modes::new(plans),
            books: Books::new(&plans.target, before.losses, before.collected),
        }
    }

    /// Takes a line in. The number of the key of the signal that was sent by it, if one was.
    pub fn see(&mut self, seq: u64, event: View<'_>) -> Option<u32> {
        let misdeed = self.vigil.as_mut().and_then(|v| v.see(event));
        if self.misdeeds.len() < OFFENCES_MAX {
            self.misdeeds.extend(misdeed);
        }
        match event {
            View::Op(op) => {
                self.ops.see(&op);
                return self.books.op(&op);
            }
            View::Sample(sample) => {
                self.watched.see(seq, &sample);
                self.modes.see(&sample);
            }
            View::Fact(fact) => self.fact(seq, &fact),
            View::Other(Event::Stream(stream)) => self.stream(seq, stream),
            View::Other(Event::Part(part)) => {
                self.books.part(part.at_ns);
                self.books.tables.broke(seq);
            }
            _ => {}
        }
        None
    }

    fn fact(&mut self, seq: u64, fact: &FactView<'_>) {
        match fact.source {
            FactSource::Chain => {
                if fact.is_true("first_send") {
                    self.first_sends.push(Stamp::of(fact.at_ns));
                }
                if fact.what == "mined" {
                    self.mined.push(Stamp::of(fact.at_ns));
                }
                self.books.chain(fact);
            }
            FactSource::Sql => self.books.record(seq, fact),
            FactSource::Act if fact.what == act::OFFENCE => {
                let why = fact.text("why").map(quote);
                if self.told.len() < OFFENCES_MAX {
                    self.told.extend(why);
                }
            }
            _ => {}
        }
    }

    fn stream(&mut self, seq: u64, stream: &Stream) {
        match (stream.id.as_str(), stream.state) {
            ("sql", StreamState::Attached) => self.books.tables.attached(seq),
            ("sql", StreamState::Gap) => self.books.tables.broke(seq),
            _ => {}
        }
    }

    /// Nothing more will come.
    pub fn close(&mut self) {
        self.books.close();
        self.watched.close();
        self.modes.close();
    }
}

impl Modes {
    fn new(plans: &Plans) -> Self {
        let Some(mode) = &plans.target.mode else {
            return Modes::default();
        };
        let mut modes = Modes {
            pointer: mode.pointer.clone(),
            ..Modes::default()
        };
        for service in &mode.services {
            let (mut probes, mut every) = (BTreeSet::new(), 0);
            for probe in plans.drills.iter().flat_map(|d| &d.probes) {
                if let ProbeKind::Http {
                    service: s,
                    path,
                    pointers,
                } = &probe.kind
                    && s == service
                    && *path == mode.path
                    && pointers.contains(&mode.pointer)
                {
                    probes.insert(probe.id.clone());
                    every = every.max(u64::try_from(probe.every.as_nanos()).unwrap_or(u64::MAX));
                }
            }
            modes.services.push((service.clone(), probes, every));
            modes.seen.push(Chunked::default());
        }
        modes
    }

    fn see(&mut self, sample: &SampleView<'_>) {
        for (at, (_, probes, _)) in self.services.iter().enumerate() {
            if !probes.contains(sample.probe) {
                continue;
            }
            if let Observed::Value(v) = said(sample.result, &self.pointer, true) {
                let next = self.values.len() as u32;
                let id = *self.known.entry(value(v)).or_insert_with_key(|text| {
                    self.values.push(text.clone());
                    next
                });
                let end = sample.due_ns.saturating_add(sample.took_ns);
                self.seen[at].push((Stamp::of(end), id));
            }
        }
    }

    fn close(&mut self) {
        let key = |(at, id): &(Stamp, u32)| (at.ns(), self.values.get(*id as usize));
        for seen in &mut self.seen {
            if !seen.iter().is_sorted_by_key(key) {
                let mut all: Vec<(Stamp, u32)> = seen.iter().copied().collect();
                all.sort_by(|a, b| key(a).cmp(&key(b)));
                *seen = all.into_iter().collect();
            }
        }
    }

    /// Per service: its name, the longest pace of its probes, and what was seen when.
    pub fn each(&self) -> impl Iterator<Item = (&str, u64, impl Iterator<Item = (u64, &str)>)> {
        let words = |id: u32| self.values.get(id as usize).map_or("", String::as_str);
        self.services.iter().zip(&self.seen).map(move |(of, seen)| {
            let seen = seen.iter().map(move |(at, id)| (at.ns(), words(*id)));
            (of.0.as_str(), of.2, seen)
        })
    }
}
