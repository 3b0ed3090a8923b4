//! Judging a soak without holding its lines: each drill is judged while its lines are at hand, everything else is
//! counted as it passes.
//!
//! The same judge as for a journal in memory; the two differ in what they hold. Kept to the end are edges, streams, what the
//! engine and the harness's own acts tell, and the rows of the record that a drill asks about.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use firedrill_journal::{
    EdgeKind, Envelope, Event, Fact, FactSource, Header, Journal, Lines as JournalLines, ReadError,
    RunKind, SCHEMA, SignalRef,
};
use firedrill_plan::{Drill, EdgeRef, Expect, FactSelector, Observe, When};

use crate::audit::{Lines, Record, Tables, Wanted, row_text};
use crate::drill::{Looked, conclude, look};
use crate::facts::{is_meant, row_fits};
use crate::heartbeat::mark_stale;
use crate::index::{FactAt, Index, QUIESCE, is_complete};
use crate::judge::{assemble, judge, planned, unequal, unreadable};
use crate::model::Verdict;
use crate::needs;
use crate::plans::Plans;
use crate::tally::{Before, Tally};
use crate::window::Scene;

/// What a drill looks back on from its first edge: its needs count what came before, and a heartbeat has a past.
const BACK_NS: u64 = needs::BACK_NS + LATE_NS;
/// How long lines that belong to a drill may come after it: the chain is asked every so often, logs are followed.
const LATE_NS: u64 = 10_000_000_000;

/// A run that was judged from its folder.
pub struct Streamed {
    /// The journal: in full, or, of a soak, with the lines that were kept.
    pub journal: Journal,
    /// How many lines it has.
    pub lines: u64,
    pub verdict: Verdict,
}

/// Opens the journal, as often as it has to be read.
pub type Open<'o> = dyn Fn() -> Result<JournalLines, ReadError> + 'o;

/// Judges a run line by line. `onlook` is shown every line once, in order.
///
/// # Errors
/// The journal can't be opened, or has no header.
pub fn judge_run(
    open: &Open<'_>,
    onlook: &mut dyn FnMut(&Envelope),
) -> Result<Streamed, ReadError> {
    let mut lines = open()?;
    let first = lines.next();
    let Some(Envelope {
        event: Event::Header(header),
        ..
    }) = &first
    else {
        return Err(no_header(&lines, first.as_ref()));
    };
    if header.schema > SCHEMA {
        return Err(ReadError::TooNew {
            found: header.schema,
        });
    }
    let header = (**header).clone();
    let plans = Plans::of(&header);
    let plans = plans.ok().filter(|plans| streams(&header, plans));
    let first = first.into_iter();
    let Some(plans) = plans else {
        let events: Vec<Envelope> = first.chain(&mut lines).inspect(|l| onlook(l)).collect();
        let journal = brief(header, events, &lines);
        return Ok(Streamed {
            lines: journal.events.len() as u64,
            verdict: judge(&journal),
            journal,
        });
    };
    let mut stage = Stage::new(&header, &plans, None);
    for line in first.chain(&mut lines) {
        onlook(&line);
        stage.take(line);
    }
    if stage.tally.books.tables.again {
        // The tables were collected more than once, and only the last time counts.
        let collected = stage.collected;
        lines = open()?;
        stage = Stage::new(&header, &plans, collected);
        (&mut lines).for_each(|line| stage.take(line));
    }
    if stage.disorder {
        // Rows came before the intents that say whose they are: older journals have their tables in another order.
        return in_memory(open);
    }
    let count = stage.lines;
    let (journal, verdict) = stage.finish(&header, &lines, open);
    Ok(Streamed {
        journal,
        lines: count,
        verdict,
    })
}

fn in_memory(open: &Open<'_>) -> Result<Streamed, ReadError> {
    let mut lines = open()?;
    let events: Vec<Envelope> = (&mut lines).collect();
    let Some(Event::Header(header)) = events.first().map(|line| &line.event) else {
        return Err(no_header(&lines, events.first()));
    };
    let journal = brief((**header).clone(), events, &lines);
    Ok(Streamed {
        lines: journal.events.len() as u64,
        verdict: judge(&journal),
        journal,
    })
}

fn no_header(lines: &JournalLines, first: Option<&Envelope>) -> ReadError {
    let why = match (first, lines.truncation()) {
        (Some(line), _) => format!("it starts with an event of type {}", line.event.kind()),
        (None, Some(cut)) if cut.line == 1 => cut.why.clone(),
        (None, _) => "it is empty".to_owned(),
    };
    ReadError::NoHeader { why }
}

fn brief(header: Header, events: Vec<Envelope>, lines: &JournalLines) -> Journal {
    Journal {
        header,
        events,
        truncation: lines.truncation().cloned(),
        head: lines.head().to_owned(),
    }
}

/// Whether nothing that is judged needs more than a drill's own lines and what is counted: no restore, which reaches
/// back in time, and no check that takes rows and other facts together.
fn streams(header: &Header, plans: &Plans) -> bool {
    let plain = |drill: &Drill| {
        let marked = |facts: &FactSelector| matches!(facts, FactSelector::Row { .. });
        let marks = drill.marks.iter().all(|mark| match &mark.observe {
            Observe::Count { facts, .. } => !marked(facts),
            Observe::Sequence { facts } => !facts.iter().any(marked),
            _ => true,
        });
        marks
            && drill.expects.iter().all(|expect| match &expect.observe {
                Observe::Sequence { facts } => !facts.iter().any(marked),
                Observe::Count { facts, .. } if marked(facts) => !of_mark(expect),
                _ => true,
            })
    };
    header.run.kind == RunKind::Soak
        && header.episodes.len() == plans.drills.len()
        && planned(plans).restores == 0
        && plans.drills.iter().all(plain)
}

/// Whether an expectation hangs on a mark, which isn't known any more when rows are judged.
fn of_mark(expect: &Expect) -> bool {
    match &expect.when {
        When::Within { of, .. } | When::NotBefore { of, .. } => matches!(of, EdgeRef::Mark { .. }),
        _ => false,
    }
}

/// Whether an expectation is about rows, which come when all drills are over.
fn is_open(expect: &Expect) -> bool {
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

/// A soak on its way through the judge.
struct Stage<'p> {
    plans: &'p Plans,
    tally: Tally<'p>,
    lines: u64,
    /// The last line with which a collection of the tables began.
    collected: Option<u64>,
    kept: Vec<Envelope>,
    recent: VecDeque<Envelope>,
    /// The last line, if it isn't kept.
    last: Option<Envelope>,
    /// The episode that is under way, when it began, and when it was over.
    under_way: Option<(usize, u64, Option<u64>)>,
    looked: Vec<Option<Looked>>,
    words: Words,
    /// By the number of a signal's key.
    sent: Vec<Option<Sent>>,
    /// Signals that kept rows belong to.
    meant: BTreeMap<String, Sent>,
    /// Keys of intents to which other rows belong that drills ask for.
    intents: HashMap<String, String>,
    /// Tables of whose rows drills ask something.
    asked: BTreeSet<&'p str>,
    /// A row came that was asked for, and whose it is wasn't known yet.
    disorder: bool,
}

impl<'p> Stage<'p> {
    fn new(header: &Header, plans: &'p Plans, collected: Option<u64>) -> Self {
        let before = Before {
            losses: Ok(Vec::new()),
            collected,
        };
        let expects = plans.drills.iter().flat_map(|d| &d.expects);
        let asked = expects.filter_map(|e| match &e.observe {
            Observe::Count {
                facts: FactSelector::Row { table, .. },
                ..
            } => Some(table.as_str()),
            _ => None,
        });
        Stage {
            plans,
            tally: Tally::new(plans, header.run.kind, before),
            lines: 0,
            collected: None,
            kept: Vec::new(),
            recent: VecDeque::new(),
            last: None,
            under_way: None,
            looked: plans.drills.iter().map(|_| None).collect(),
            words: Words::default(),
            sent: Vec::new(),
            meant: BTreeMap::new(),
            intents: HashMap::new(),
            asked: asked.collect(),
            disorder: false,
        }
    }

    fn take(&mut self, line: Envelope) {
        self.lines += 1;
        let key = self.tally.see(&line);
        let now = line.mono_ns;
        match &line.event {
            Event::Op(op) => self.place(key, op.signal.as_ref()),
            Event::Edge(edge) => self.edge(edge, now),
            Event::Part(part) => self.part(part.episode as usize),
            _ => {}
        }
        self.last = None;
        match &line.event {
            Event::Op(_) | Event::Sample(_) => self.recent.push_back(line),
            Event::Fact(fact) => match fact.source {
                FactSource::Chain | FactSource::Log => self.recent.push_back(line),
                FactSource::Sql => match self.asks_for(line.seq, fact) {
                    true => self.kept.push(line),
                    false => self.last = Some(line),
                },
                FactSource::Act | FactSource::Engine | FactSource::Metric => self.kept.push(line),
            },
            Event::Stream(stream) => {
                if stream.id == "sql" && stream.state == firedrill_journal::StreamState::Attached {
                    self.collected = Some(line.seq);
                }
                self.kept.push(line);
            }
            _ => self.kept.push(line),
        }
        self.forget(now);
    }

    fn place(&mut self, key: Option<u32>, signal: Option<&SignalRef>) {
        let (Some(key), Some(signal)) = (key, signal) else {
            return;
        };
        let sent = Sent {
            episode: signal.episode,
            phase: self.words.id(&signal.phase),
            origin: self.words.id(&signal.origin),
        };
        let at = key as usize;
        if self.sent.len() <= at {
            self.sent.resize(at + 1, None);
        }
        self.sent[at].get_or_insert(sent);
    }

    fn edge(&mut self, edge: &firedrill_journal::Edge, now: u64) {
        let episode = edge.episode as usize;
        match &mut self.under_way {
            Some((under_way, _, over)) if *under_way == episode => {
                if edge.phase == QUIESCE && edge.kind == EdgeKind::HealRequested {
                    over.get_or_insert(now);
                }
            }
            _ => {
                self.look();
                self.under_way = Some((episode, now, None));
            }
        }
    }

    /// The harness died: what was under way is carried out anew, and the stack is another.
    fn part(&mut self, next: usize) {
        match self.under_way {
            Some((episode, ..)) if episode < next => self.look(),
            _ => self.under_way = None,
        }
        self.looked.iter_mut().skip(next).for_each(|l| *l = None);
        self.recent.clear();
        self.sent.clear();
    }

    /// Looks at the episode that was over long enough ago, and forgets what nobody will ask for.
    fn forget(&mut self, now: u64) {
        if let Some((_, _, Some(over))) = self.under_way
            && over.saturating_add(LATE_NS) <= now
        {
            self.look();
        }
        let from = self.under_way.map_or(now, |(_, began, _)| began);
        let from = from.saturating_sub(BACK_NS);
        while self.recent.front().is_some_and(|l| l.mono_ns < from) {
            self.recent.pop_front();
        }
    }

    fn look(&mut self) {
        let Some((episode, ..)) = self.under_way.take() else {
            return;
        };
        let Some(drill) = self.plans.drills.get(episode) else {
            return;
        };
        let tables = Tables::new(&[], None);
        let mut index = Index::of(
            self.plans.drills.len(),
            self.kept.iter().chain(&self.recent),
            false,
        );
        mark_stale(&mut index, self.plans);
        let record = Record::build(&index, &tables);
        let scene = Scene::new(&index, &record, drill, episode);
        self.looked[episode] = Some(look(&scene, self.plans.pace, is_open));
    }

    /// Whether a drill asks for that row, or it says whose another one is.
    fn asks_for(&mut self, seq: u64, fact: &Fact) -> bool {
        if matches!(fact.what.as_str(), "collected" | "not_collected") {
            return true;
        }
        let at = FactAt { seq, fact };
        let history = &self.tally.books.history;
        let key = row_text(&at, "key");
        let intent = row_text(&at, "intent");
        let id = match (key, intent) {
            (Some(key), _) => history.known_key(key),
            (None, Some(intent)) => history.key_of_intent(intent),
            (None, None) => None,
        };
        let sent = id.and_then(|id| self.sent.get(id as usize).copied().flatten());
        if let ("intent", Some(key), Some(id), Some(sent)) =
            (fact.what.as_str(), key, row_text(&at, "id"), sent)
            && self.asks_beyond_intents(sent)
        {
            self.intents.insert(id.to_owned(), key.to_owned());
        }
        if !self.asked.contains(fact.what.as_str()) {
            return false;
        }
        let unread = !self.tally.books.tables.is_closed("intent");
        self.disorder |= fact.what != "intent" && key.is_none() && unread;
        if !self.is_asked(fact, sent) {
            return false;
        }
        if let Some(sent) = sent {
            let own = intent.and_then(|id| self.intents.get(id));
            let name = key.map(str::to_owned).or_else(|| own.cloned());
            self.meant.extend(name.map(|name| (name, sent)));
        }
        true
    }

    /// Whether the drill that a signal was sent in asks for rows that don't name the signal themselves.
    fn asks_beyond_intents(&self, sent: Sent) -> bool {
        let drill = self.plans.drills.get(sent.episode as usize);
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

    fn is_asked(&self, row: &Fact, sent: Option<Sent>) -> bool {
        let asks = |(episode, drill): (usize, &Drill)| {
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
                let drill = self.plans.drills.get(episode);
                drill.is_some_and(|drill| asks((episode, drill)))
            }
            None => self.plans.drills.iter().enumerate().any(asks),
        }
    }

    fn finish(
        mut self,
        header: &Header,
        lines: &JournalLines,
        open: &Open<'_>,
    ) -> (Journal, Verdict) {
        self.look();
        self.tally.close();
        // The last line says when the run ended, whatever it is.
        let last = self.last.take().or(self.recent.pop_back());
        let last = last.filter(|line| line.seq + 1 == self.lines);
        self.kept.extend(last);
        let journal = brief(header.clone(), std::mem::take(&mut self.kept), lines);
        if let Some(why) = unequal(&journal, self.plans) {
            let verdict = unreadable(&journal, why);
            return (journal, verdict);
        }
        let signals: Vec<SignalRef> = self.meant.iter().map(|m| self.signal(m)).collect();
        let mut index = Index::build(&journal);
        index
            .signals
            .extend(signals.iter().map(|s| (s.key.as_str(), s)));
        let mut record = Record::build(&index, &self.tally.books.tables);
        record.name(&self.intents);
        let looked = std::mem::take(&mut self.looked);
        let drills = looked.into_iter().zip(&self.plans.drills).enumerate();
        let drills = drills.map(|(episode, (looked, drill))| {
            let scene = Scene::new(&index, &record, drill, episode);
            let looked = looked.unwrap_or_else(|| look(&scene, self.plans.pace, is_open));
            conclude(&scene, looked)
        });
        let drills = drills.collect();
        let again = Again {
            episodes: header.episodes.len(),
            collected: self.tally.books.tables.since(),
            open,
            complete: is_complete(&journal),
        };
        let verdict = assemble(&journal, self.plans, (&index, &self.tally), drills, &again);
        drop(record);
        drop(index);
        (journal, verdict)
    }

    fn signal(&self, (key, sent): (&String, &Sent)) -> SignalRef {
        SignalRef {
            key: key.clone(),
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

/// The lines about offenders, read once more.
struct Again<'o> {
    episodes: usize,
    collected: Option<u64>,
    open: &'o Open<'o>,
    complete: bool,
}

impl Lines for Again<'_> {
    fn about(&self, wanted: &Wanted, with: &mut dyn FnMut(&Index<'_>, &Record<'_>)) {
        // What could be read a moment ago and can't be now leaves offenders without their history.
        let lines = (self.open)().into_iter().flatten();
        let about: Vec<Envelope> = lines.filter(|l| wanted.is_about(&l.event)).collect();
        let index = Index::of(self.episodes, &about, self.complete);
        let tables = Tables::new(&[], self.collected);
        with(&index, &Record::build(&index, &tables));
    }
}
