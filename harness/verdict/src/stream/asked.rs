//! The rows of the record that a drill asks about: they come when all drills are over, and only they are kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use firedrill_journal::{Event, Fact, FactView, Kept, Line, SignalRef, SignalView};
use firedrill_plan::{Drill, Expect, FactSelector, Observe};

use crate::audit::Books;
use crate::column::Column;
use crate::facts::{is_meant, row_fits};
use crate::index::FactAt;

/// Whether an expectation is about rows, which come when all drills are over.
pub fn is_open(expect: &Expect) -> bool {
    matches!(
        expect.observe,
        Observe::Count {
            facts: FactSelector::Row { .. },
            ..
        }
    )
}

/// Where a signal was sent from.
#[derive(Clone, Copy)]
struct Sent {
    episode: u32,
    phase: u16,
    origin: u16,
}

impl Sent {
    fn pack(self) -> u64 {
        let (phase, origin) = (u64::from(self.phase), u64::from(self.origin));
        u64::from(self.episode) << 32 | phase << 16 | origin
    }

    fn unpack(bits: u64) -> Self {
        Sent {
            episode: (bits >> 32) as u32,
            phase: (bits >> 16) as u16,
            origin: bits as u16,
        }
    }
}

/// Texts by number.
#[derive(Default)]
struct Words {
    all: Vec<String>,
    known: HashMap<String, u16>,
}

impl Words {
    /// Phases and acts of the drills: there are few of them.
    fn id(&mut self, text: &str) -> u16 {
        if let Some(id) = self.known.get(text) {
            return *id;
        }
        let id = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
        if id < u16::MAX {
            self.all.push(text.to_owned());
            self.known.insert(text.to_owned(), id);
        }
        id
    }

    fn text(&self, id: u16) -> &str {
        self.all.get(usize::from(id)).map_or("", String::as_str)
    }
}

/// A row that is asked for, and where its signal was sent from.
struct Row {
    line: Kept,
    sent: Option<Sent>,
}

/// Rows that are asked for together, and what belongs to them.
#[derive(Default)]
pub struct Rows {
    facts: Vec<(u64, Fact)>,
    pub signals: Vec<SignalRef>,
}

impl Rows {
    /// In the order of an index.
    pub fn with<'r>(&'r self, others: &'r Rows) -> Vec<FactAt<'r>> {
        let all = self.facts.iter().chain(&others.facts);
        let mut all: Vec<FactAt<'_>> = all.map(|(seq, fact)| FactAt { seq: *seq, fact }).collect();
        all.sort_by_key(|at| (at.fact.at_ns, at.seq));
        all
    }
}

/// Which rows drills ask for, and whose they are.
pub struct Asked<'p> {
    drills: &'p [Arc<Drill>],
    words: Words,
    /// By the number of a signal's key.
    sent: Column,
    /// By the episode in which their signals were sent, where that is known.
    rows: HashMap<Option<usize>, Vec<Row>>,
    /// Keys of intents to which other rows belong that drills ask for.
    pub intents: HashMap<String, String>,
    /// Tables of whose rows drills ask something.
    asked: BTreeSet<&'p str>,
    /// A row came that was asked for, and whose it is wasn't known yet.
    pub disorder: bool,
}

impl<'p> Asked<'p> {
    pub fn new(drills: &'p [Arc<Drill>]) -> Self {
        let expects = drills.iter().flat_map(|d| &d.expects);
        let asked = expects.filter_map(|e| match &e.observe {
            Observe::Count {
                facts: FactSelector::Row { table, .. },
                ..
            } => Some(table.as_str()),
            _ => None,
        });
        Asked {
            drills,
            words: Words::default(),
            sent: Column::default(),
            rows: HashMap::new(),
            intents: HashMap::new(),
            asked: asked.collect(),
            disorder: false,
        }
    }

    /// The stack is another: whose a signal was says nothing any more.
    pub fn forget(&mut self) {
        self.sent = Column::default();
    }

    /// Remembers where a signal was sent from.
    pub fn place(&mut self, key: Option<u32>, signal: Option<SignalView<'_>>) {
        let (Some(key), Some(signal)) = (key, signal) else {
            return;
        };
        let at = key as usize;
        if self.sent.get(at).is_some() {
            return;
        }
        let sent = Sent {
            // There is no such episode, but somewhere it was sent.
            episode: signal.episode.min(u32::MAX - 1),
            phase: self.words.id(signal.phase),
            origin: self.words.id(signal.origin),
        };
        self.sent.put(at, Some(sent.pack()));
    }

    /// Takes a row in: it is kept if a drill asks for it, and remembered if it says whose another one is.
    pub fn row(&mut self, books: &Books<'_>, line: &Line<'_>, row: &FactView<'_>) {
        let is_asked = self.asked.contains(row.what);
        if !is_asked && row.what != "intent" {
            return;
        }
        let history = &books.history;
        let (key, intent) = (row.text("key"), row.text("intent"));
        let id = match (key, intent) {
            (Some(key), _) => history.known_key(key),
            (None, Some(intent)) => history.key_of_intent(intent),
            (None, None) => None,
        };
        let sent = id.and_then(|id| self.sent.get(id as usize));
        let sent = sent.map(Sent::unpack);
        if let ("intent", Some(key), Some(id), Some(sent)) = (row.what, key, row.text("id"), sent)
            && self.asks_beyond_intents(sent)
        {
            self.intents.insert(id.to_owned(), key.to_owned());
        }
        let unread = !books.tables.is_closed("intent");
        self.disorder |= is_asked && row.what != "intent" && key.is_none() && unread;
        if is_asked && self.is_asked(row, sent) {
            let of = sent.map(|s| s.episode as usize);
            let line = line.keep();
            self.rows.entry(of).or_default().push(Row { line, sent });
        }
    }

    /// Whether the drill that a signal was sent in asks for rows that don't name the signal themselves.
    fn asks_beyond_intents(&self, sent: Sent) -> bool {
        let drill = self.drills.get(sent.episode as usize);
        let expects = drill.into_iter().flat_map(|d| &d.expects);
        let mut tables = expects.filter_map(|e| match &e.observe {
            Observe::Count {
                facts: FactSelector::Row { table, .. },
                ..
            } => Some(table.as_str()),
            _ => None,
        });
        tables.any(|table| table != "intent")
    }

    fn is_asked(&self, row: &FactView<'_>, sent: Option<Sent>) -> bool {
        let asks = |(episode, drill): (usize, &Arc<Drill>)| {
            drill.expects.iter().any(|e| match &e.observe {
                Observe::Count {
                    facts:
                        FactSelector::Row {
                            table,
                            columns,
                            signals_of,
                            origin,
                            ..
                        },
                    ..
                } => {
                    let from = sent.map(|s| {
                        let (phase, by) = (self.words.text(s.phase), self.words.text(s.origin));
                        (s.episode as usize, phase, by)
                    });
                    *table == row.what
                        && is_meant(from, episode, signals_of, origin.as_deref())
                        && row_fits(row, columns)
                }
                _ => false,
            })
        };
        match sent {
            Some(sent) => {
                let episode = sent.episode as usize;
                let drill = self.drills.get(episode);
                drill.is_some_and(|drill| asks((episode, drill)))
            }
            None => self.drills.iter().enumerate().any(asks),
        }
    }

    /// The rows of signals that were sent in an episode, or those of which nobody knows whose they are. `None` if one
    /// of them was shown and can't be read whole.
    pub fn rows(&self, episode: Option<usize>) -> Option<Rows> {
        let mut rows = Rows::default();
        for row in self.rows.get(&episode).into_iter().flatten() {
            let Some(Event::Fact(fact)) = row.line.event() else {
                return None;
            };
            if let Some(sent) = row.sent {
                let text = |name: &str| fact.keys.get(name)?.as_str();
                let own = || self.intents.get(text("intent")?).map(String::as_str);
                let key = text("key").or_else(own);
                rows.signals.extend(key.map(|key| self.signal(key, sent)));
            }
            rows.facts.push((row.line.seq, fact));
        }
        Some(rows)
    }

    fn signal(&self, key: &str, sent: Sent) -> SignalRef {
        SignalRef {
            key: key.to_owned(),
            tag: String::new(),
            payload: String::new(),
            episode: sent.episode,
            phase: self.words.text(sent.phase).to_owned(),
            origin: self.words.text(sent.origin).to_owned(),
            service: String::new(),
            malformed: None,
        }
    }
}
