//! Judging a soak without holding its lines: each drill is judged while its lines are at hand, everything else is
//! counted as it passes.
//!
//! The same judge as for a journal in memory; the two differ in what they hold. Kept to the end are edges, streams, what the
//! engine and the harness's own acts tell, and the rows of the record that a drill asks about.

mod asked;

use std::collections::VecDeque;

use firedrill_journal::{
    EdgeKind, Envelope, Event, FactSource, Header, Journal, Lines as JournalLines, ReadError,
    RunKind, SCHEMA,
};
use firedrill_plan::{Drill, EdgeRef, Expect, FactSelector, Observe, When};

use crate::audit::{Lines, Record, Tables, Wanted};
use crate::drill::{Looked, conclude, look};
use crate::heartbeat::mark_stale;
use crate::index::{Index, QUIESCE, is_complete};
use crate::judge::{assemble, judge, planned, unequal, unreadable};
use crate::model::Verdict;
use crate::needs;
use crate::plans::Plans;
use crate::tally::{Before, Tally};
use crate::window::Scene;
use asked::{Asked, is_open};

/// How long lines that belong to a drill are waited for after it: the chain is asked every so often, logs are followed.
/// If one came later than that, the journal is read again with as much patience as it takes.
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
    let mut stage = Stage::new(&header, &plans, Known::default());
    for line in first.chain(&mut lines) {
        onlook(&line);
        stage.take(line);
    }
    let again = stage.tally.books.tables.again;
    if again || stage.latest > LATE_NS {
        let known = Known {
            // Where the tables were collected more than once, only the last time counts.
            collected: stage.collected.filter(|_| again),
            late: stage.latest.max(LATE_NS),
        };
        lines = open()?;
        stage = Stage::new(&header, &plans, known);
        (&mut lines).for_each(|line| stage.take(line));
    }
    if stage.asked.disorder {
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

/// What a first reading has shown.
struct Known {
    /// The line with which the last collection of the tables began.
    collected: Option<u64>,
    /// How long after a drill a line may come that belongs to it.
    late: u64,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            collected: None,
            late: LATE_NS,
        }
    }
}

/// An episode that has begun and wasn't looked at yet.
struct UnderWay {
    episode: usize,
    began: u64,
    over: Option<u64>,
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
    /// In the order in which they began: the last one, and those whose lines may still come.
    under_way: VecDeque<UnderWay>,
    looked: Vec<Option<Looked>>,
    /// When those episodes were over that were looked at.
    over: Vec<u64>,
    /// How long after its episode a line is waited for, and how long after it one came that was missed.
    late: u64,
    latest: u64,
    asked: Asked<'p>,
}

impl<'p> Stage<'p> {
    fn new(header: &Header, plans: &'p Plans, known: Known) -> Self {
        let before = Before {
            losses: Ok(Vec::new()),
            collected: known.collected,
        };
        Stage {
            plans,
            tally: Tally::new(plans, header.run.kind, before),
            lines: 0,
            collected: None,
            kept: Vec::new(),
            recent: VecDeque::new(),
            last: None,
            under_way: VecDeque::new(),
            looked: plans.drills.iter().map(|_| None).collect(),
            over: Vec::new(),
            late: known.late,
            latest: 0,
            asked: Asked::new(&plans.drills),
        }
    }

    fn take(&mut self, line: Envelope) {
        self.lines += 1;
        let key = self.tally.see(&line);
        let now = line.mono_ns;
        match &line.event {
            Event::Op(op) => self.asked.place(key, op.signal.as_ref()),
            Event::Edge(edge) => self.edge(edge, now),
            Event::Part(part) => self.part(part.episode as usize),
            _ => {}
        }
        self.wait(&line);
        self.last = None;
        match &line.event {
            Event::Op(_) | Event::Sample(_) => self.recent.push_back(line),
            Event::Fact(fact) => match fact.source {
                FactSource::Chain | FactSource::Log => self.recent.push_back(line),
                FactSource::Sql => match self.asked.asks_for(&self.tally.books, line.seq, fact) {
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

    fn edge(&mut self, edge: &firedrill_journal::Edge, now: u64) {
        let episode = edge.episode as usize;
        if self.looked.get(episode).is_some_and(Option::is_some) {
            // It comes late, and is looked at in the end. Its drill was judged, and the lines for that are gone.
            return;
        }
        let known = self.under_way.iter_mut().find(|u| u.episode == episode);
        match known {
            Some(known) => {
                if edge.phase == QUIESCE && edge.kind == EdgeKind::HealRequested {
                    known.over.get_or_insert(now);
                }
            }
            None => {
                for before in &mut self.under_way {
                    before.over.get_or_insert(now);
                }
                self.under_way.push_back(UnderWay {
                    episode,
                    began: now,
                    over: None,
                });
            }
        }
    }

    /// Whether a line belongs to an episode that was looked at: then it came later than was waited for.
    fn wait(&mut self, line: &Envelope) {
        let at = match &line.event {
            Event::Op(op) => op.intended_ns,
            Event::Sample(sample) => sample.due_ns,
            Event::Fact(fact) if fact.source != FactSource::Sql => fact.at_ns,
            _ => return,
        };
        let of = self.over.partition_point(|over| *over < at);
        if let Some(over) = self.over.get(of) {
            let late = line.mono_ns.saturating_sub(*over);
            self.latest = self.latest.max(late);
        }
    }

    /// The harness died: what was under way is carried out anew, and the stack is another.
    fn part(&mut self, next: usize) {
        self.under_way.retain(|u| u.episode < next);
        self.look_at_all();
        self.looked.iter_mut().skip(next).for_each(|l| *l = None);
        // No line of the stack that is gone can come any more.
        self.over.clear();
        self.recent.clear();
        self.asked.forget();
    }

    /// Looks at the episodes that were over long enough ago, and forgets what nobody will ask for.
    fn forget(&mut self, now: u64) {
        let over = |u: &UnderWay, late| u.over.is_some_and(|o| o.saturating_add(late) <= now);
        while let Some(first) = self.under_way.front()
            && over(first, self.late)
        {
            self.look();
        }
        // A drill's needs count what came before its first edge, and a heartbeat has a past.
        let from = self.under_way.front().map_or(now, |u| u.began);
        let from = from.saturating_sub(needs::BACK_NS + self.late);
        while self.recent.front().is_some_and(|l| l.mono_ns < from) {
            self.recent.pop_front();
        }
    }

    fn look_at_all(&mut self) {
        while !self.under_way.is_empty() {
            self.look();
        }
    }

    /// Looks at the first episode of those that are under way.
    fn look(&mut self) {
        let Some(UnderWay { episode, over, .. }) = self.under_way.pop_front() else {
            return;
        };
        self.over.extend(over);
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

    fn finish(
        mut self,
        header: &Header,
        lines: &JournalLines,
        open: &Open<'_>,
    ) -> (Journal, Verdict) {
        self.look_at_all();
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
        let signals = self.asked.signals();
        let mut index = Index::build(&journal);
        index
            .signals
            .extend(signals.iter().map(|s| (s.key.as_str(), s)));
        let mut record = Record::build(&index, &self.tally.books.tables);
        record.name(&self.asked.intents);
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
