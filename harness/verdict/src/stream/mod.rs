//! Judging a soak without holding its lines: each drill is judged while its lines are at hand, everything else is
//! counted as it passes.
//!
//! The same judge as for a journal in memory; the two differ in what they hold. Kept to the end are edges, streams, what the
//! engine and the harness's own acts tell, and the rows of the record that a drill asks about.

mod asked;
mod looks;
mod sought;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use firedrill_journal::{
    EdgeKind, Envelope, Event, FactSource, Header, Held, Journal, Kept, Line,
    Lines as JournalLines, ReadError, RunKind, SCHEMA, StreamState, View,
};
use firedrill_plan::{Drill, EdgeRef, Expect, FactSelector, Observe, When};

use crate::audit::{Lines, Record, Tables, Wanted};
use crate::drill::{Looked, conclude, look};
use crate::index::{Index, QUIESCE, is_complete};
use crate::judge::{assemble, judge, planned, unequal, unreadable};
use crate::model::Verdict;
use crate::needs;
use crate::plans::Plans;
use crate::tally::{Before, Tally};
use crate::window::Scene;
use asked::{Asked, is_open};
use looks::{Job, Looks};
use sought::Sought;

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
    onlook: &mut dyn FnMut(&Line<'_>),
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
        let events = first.chain(&mut lines);
        let events: Vec<Envelope> = events.inspect(|l| onlook(&Line::of(l))).collect();
        let journal = brief(header, events, &lines);
        return Ok(Streamed {
            lines: journal.events.len() as u64,
            verdict: judge(&journal),
            journal,
        });
    };
    let streamed = thread::scope(|threads| {
        let looks = || Looks::begin(threads, &plans);
        let mut stage = Stage::new(&header, &plans, looks(), Known::default());
        let mut take = |line: &Line<'_>| {
            onlook(line);
            stage.take(line);
        };
        first.for_each(|line| take(&Line::of(&line)));
        lines.each(&mut take);
        let again = stage.tally.books.tables.again;
        if again || stage.latest > LATE_NS {
            let known = Known {
                // Where the tables were collected more than once, only the last time counts.
                collected: stage.collected.filter(|_| again),
                late: stage.latest.max(LATE_NS),
            };
            lines = open()?;
            stage = Stage::new(&header, &plans, looks(), known);
            lines.each(&mut |line| stage.take(line));
        }
        Ok(stage.finish(&header, &lines, open))
    })?;
    match streamed {
        Some(streamed) => Ok(streamed),
        None => in_memory(open),
    }
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
    let plain = |drill: &Arc<Drill>| {
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
    sought: Sought<'p>,
    tally: Tally<'p>,
    lines: u64,
    /// When the latest of them was written.
    now: u64,
    /// The last line with which a collection of the tables began.
    collected: Option<u64>,
    kept: Vec<Envelope>,
    /// Those of `kept` that hold for all that comes after them.
    standing: Vec<usize>,
    /// How many lines were kept when an episode began.
    began: Vec<Option<usize>>,
    /// Operations and samples.
    recent: VecDeque<Kept>,
    /// What the chain and logs told.
    told: VecDeque<Kept>,
    /// The last line, if it isn't kept.
    last: Option<Held>,
    /// In the order in which they began: the last one, and those whose lines may still come.
    under_way: VecDeque<UnderWay>,
    looks: Looks,
    /// Whether an episode was given there.
    given: Vec<bool>,
    looked: Vec<Option<Looked>>,
    /// When those episodes were over that were looked at.
    over: Vec<u64>,
    /// How long after its episode a line is waited for, and how long after it one came that was missed.
    late: u64,
    latest: u64,
    asked: Asked<'p>,
    /// A line was shown and can't be read whole.
    unread: bool,
}

impl<'p> Stage<'p> {
    fn new(header: &Header, plans: &'p Plans, looks: Looks, known: Known) -> Self {
        let before = Before {
            losses: Ok(Vec::new()),
            collected: known.collected,
        };
        Stage {
            plans,
            sought: Sought::of(&plans.drills),
            tally: Tally::new(plans, header.run.kind, before),
            lines: 0,
            now: 0,
            collected: None,
            kept: Vec::new(),
            standing: Vec::new(),
            began: vec![None; plans.drills.len()],
            recent: VecDeque::new(),
            told: VecDeque::new(),
            last: None,
            under_way: VecDeque::new(),
            looks,
            given: vec![false; plans.drills.len()],
            looked: plans.drills.iter().map(|_| None).collect(),
            over: Vec::new(),
            late: known.late,
            latest: 0,
            asked: Asked::new(&plans.drills),
            unread: false,
        }
    }

    fn take(&mut self, line: &Line<'_>) {
        self.lines += 1;
        let key = self.tally.see(line.seq, line.view);
        self.now = self.now.max(line.mono_ns);
        self.wait(line);
        let kept = self.kept.len();
        match line.view {
            _ if !self.sought.holds(&line.view) => {}
            View::Op(op) => {
                self.asked.place(key, op.signal);
                self.recent.push_back(line.keep());
            }
            View::Sample(_) => self.recent.push_back(line.keep()),
            View::Fact(fact) => match fact.source {
                FactSource::Chain | FactSource::Log => self.told.push_back(line.keep()),
                FactSource::Sql if matches!(fact.what, "collected" | "not_collected") => {
                    self.keep(line);
                }
                FactSource::Sql => self.asked.row(&self.tally.books, line, &fact),
                FactSource::Act | FactSource::Engine | FactSource::Metric => self.keep(line),
            },
            View::Other(event) => self.other(event, line),
        }
        match self.kept.len() == kept {
            true => line.hold_in(&mut self.last),
            false => self.last = None,
        }
        self.forget(line.mono_ns);
    }

    fn keep(&mut self, line: &Line<'_>) {
        match line.envelope() {
            Some(whole) => self.kept.push(whole),
            None => self.unread = true,
        }
    }

    fn other(&mut self, event: &Event, line: &Line<'_>) {
        match event {
            Event::Edge(edge) => self.edge(edge, line.mono_ns),
            Event::Part(part) => self.part(part.episode as usize),
            Event::Stream(stream)
                if stream.id == "sql" && stream.state == StreamState::Attached =>
            {
                self.collected = Some(line.seq);
            }
            _ => {}
        }
        if matches!(
            event,
            Event::Stream(_) | Event::Starved { .. } | Event::Part(_)
        ) {
            self.standing.push(self.kept.len());
        }
        self.keep(line);
    }

    fn edge(&mut self, edge: &firedrill_journal::Edge, now: u64) {
        let episode = edge.episode as usize;
        if self.given.get(episode).is_some_and(|given| *given) {
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
                let lines = self.kept.len();
                if let Some(began) = self.began.get_mut(episode) {
                    began.get_or_insert(lines);
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
    fn wait(&mut self, line: &Line<'_>) {
        let at = match line.view {
            View::Op(op) => op.intended_ns,
            View::Sample(sample) => sample.due_ns,
            View::Fact(fact) if fact.source != FactSource::Sql => fact.at_ns,
            _ => return,
        };
        if self.over.last() < Some(&at) {
            return;
        }
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
        self.given.iter_mut().skip(next).for_each(|g| *g = false);
        self.began.iter_mut().skip(next).for_each(|l| *l = None);
        // No line of the stack that is gone can come any more.
        self.over.clear();
        self.recent.clear();
        self.told.clear();
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
        let began = self.under_way.front().map_or(now, |u| u.began);
        let from = began.saturating_sub(self.late);
        drop_before(&mut self.told, from);
        // A drill's needs count what came before its first edge, and a heartbeat has a past.
        drop_before(&mut self.recent, from.saturating_sub(needs::BACK_NS));
    }

    fn look_at_all(&mut self) {
        while !self.under_way.is_empty() {
            self.look();
        }
        for (episode, looked) in self.looks.all() {
            self.unread |= looked.is_none();
            self.looked[episode] = looked;
        }
    }

    /// Looks at the first episode of those that are under way.
    fn look(&mut self) {
        let Some(UnderWay { episode, over, .. }) = self.under_way.pop_front() else {
            return;
        };
        self.over.extend(over);
        if episode >= self.plans.drills.len() {
            return;
        }
        // What is asked for begins with the end of the episode before at the earliest, or with the run.
        let before = episode.checked_sub(1).and_then(|e| self.began[e]);
        let from = before.min(self.began[episode]).unwrap_or(0);
        let standing = self.standing.iter().take_while(|at| **at < from);
        let kept = standing.map(|at| &self.kept[*at]).chain(&self.kept[from..]);
        let kept = kept.map(|l| (l.seq, l.mono_ns, l.event.clone()));
        self.given[episode] = true;
        self.looks.put(Job {
            episode,
            kept: kept.collect(),
            recent: self.recent.iter().chain(&self.told).cloned().collect(),
            now: self.now,
        });
    }

    /// What all lines come to. `None` if one of them was shown and can't be read whole, or rows came before the intents
    /// that say whose they are: older journals have their tables in another order.
    fn finish(
        mut self,
        header: &Header,
        lines: &JournalLines,
        open: &Open<'_>,
    ) -> Option<Streamed> {
        self.look_at_all();
        if self.asked.disorder || self.unread {
            return None;
        }
        // What rows were told apart by is given back before all of them are added up.
        self.asked.forget();
        self.tally.close();
        // The last line says when the run ended, whatever it is.
        if let Some(last) = self.last.take() {
            self.kept.push(last.envelope()?);
        }
        let journal = brief(header.clone(), std::mem::take(&mut self.kept), lines);
        let verdict = match unequal(&journal, self.plans) {
            Some(why) => unreadable(&journal, why),
            None => self.conclude(&journal, open)?,
        };
        Some(Streamed {
            journal,
            lines: self.lines,
            verdict,
        })
    }

    fn conclude(&mut self, journal: &Journal, open: &Open<'_>) -> Option<Verdict> {
        let index = Index::build(journal);
        let tables = &self.tally.books.tables;
        let nobodys = self.asked.rows(None)?;
        let looked = std::mem::take(&mut self.looked);
        let mut drills = Vec::new();
        for (episode, (looked, drill)) in looked.into_iter().zip(&self.plans.drills).enumerate() {
            let own = self.asked.rows(Some(episode))?;
            let rows = own.with(&nobodys);
            let record = Record::apart(&index, tables, &rows, &own.signals, &self.asked.intents);
            let scene = Scene::new(&index, &record, drill, episode);
            let looked = looked.unwrap_or_else(|| look(&scene, self.plans.pace, is_open));
            drills.push(conclude(&scene, looked));
        }
        let again = Again {
            episodes: journal.header.episodes.len(),
            collected: tables.since(),
            open,
            complete: is_complete(journal),
        };
        Some(assemble(
            journal,
            self.plans,
            (&index, &self.tally),
            drills,
            &again,
        ))
    }
}

fn drop_before(lines: &mut VecDeque<Kept>, from: u64) {
    while lines.front().is_some_and(|l| l.mono_ns < from) {
        lines.pop_front();
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
        let mut about: Vec<Envelope> = Vec::new();
        // What could be read a moment ago and can't be now leaves offenders without their history.
        if let Ok(mut lines) = (self.open)() {
            lines.each(&mut |line| {
                if wanted.is_about(line.view) {
                    about.extend(line.envelope());
                }
            });
        }
        let all = about.iter().map(|l| (l.seq, l.mono_ns, &l.event));
        let index = Index::of(self.episodes, all, self.complete);
        let tables = Tables::new(&[], self.collected);
        with(&index, &Record::build(&index, &tables));
    }
}
