//! Facts: which ones a selector means, and whether their stream could have been silent unseen.

use std::borrow::Cow;
use std::collections::BTreeMap;

use firedrill_journal::{FactSource, FactView, OpState, SignalRef, StreamState};
use firedrill_plan::{FactSelector, FieldBound};
use serde_json::Value;

use crate::index::{FactAt, Index};
use crate::operators::Span;
use crate::predicate::{Test, compile, number_of};
use crate::window::Scene;
use crate::words::{ms, quote, value};

/// One fact that a selector means.
#[derive(Clone, Debug)]
pub struct Hit {
    pub at: u64,
    pub seq: u64,
    pub text: String,
}

/// What a selector found in a stretch of time.
#[derive(Debug, Default)]
pub struct Found {
    /// In time order.
    pub hits: Vec<Hit>,
    /// How many facts were looked at.
    pub looked_at: u64,
    /// Why the absence of a fact would mean nothing.
    pub gap: Option<String>,
}

/// Finds what a selector means in a stretch of time. Rows have no time: all of them are looked at.
pub fn select(scene: &Scene<'_>, selector: &FactSelector, span: Span) -> Result<Found, String> {
    match selector {
        FactSelector::Log { service, pattern } => log(scene, service, pattern, span),
        FactSelector::ChainFirstSend { .. } | FactSelector::ChainSubmission { .. } => {
            chain(scene, selector, span)
        }
        FactSelector::Engine { service, event } => Ok(engine(scene, service, event, span)),
        FactSelector::Op { .. } => ops(scene, selector, span),
        FactSelector::Row { .. } => rows(scene, selector),
    }
}

/// What was found of a sequence.
#[derive(Debug)]
pub struct InOrder {
    pub hits: Vec<Hit>,
    /// Position of the first that wasn't found, and why its absence would mean nothing.
    pub missing: Option<(usize, Option<String>)>,
}

/// Finds facts one after the other, each later than the one before.
pub fn sequence(
    scene: &Scene<'_>,
    selectors: &[FactSelector],
    span: Span,
) -> Result<InOrder, String> {
    let mut hits: Vec<Hit> = Vec::new();
    for (position, selector) in selectors.iter().enumerate() {
        let found = select(scene, selector, span)?;
        let last = hits.last().map(|h| (h.at, h.seq));
        let next = found.hits.into_iter().find(|h| last < Some((h.at, h.seq)));
        match next {
            Some(hit) => hits.push(hit),
            None => {
                let missing = Some((position, found.gap));
                return Ok(InOrder { hits, missing });
            }
        }
    }
    Ok(InOrder {
        hits,
        missing: None,
    })
}

/// The first stretch within the span in which a stream was not attached, in words.
///
/// A stream that was attached again and says that it replayed what it had missed has no gap.
pub fn stream_gap(index: &Index<'_>, id: &str, span: Span) -> Option<String> {
    let Some(events) = index.streams.get(id) else {
        return Some(format!("the stream {id} was never attached"));
    };
    let mut open = Some(0);
    for event in events {
        match (event.state, open) {
            (StreamState::Attached, Some(from)) => {
                let replayed = event.detail.is_some_and(|d| d.contains("replayed"));
                if !replayed && from < span.to && event.at > span.from {
                    return Some(gap_words(id, from.max(span.from), event.at.min(span.to)));
                }
                open = None;
            }
            (StreamState::Gap | StreamState::Detached, None) => open = Some(event.at),
            _ => {}
        }
    }
    open.filter(|from| *from < span.to)
        .map(|from| gap_words(id, from.max(span.from), span.to))
}

fn gap_words(id: &str, from: u64, to: u64) -> String {
    format!(
        "the stream {id} was not attached from {} to {} of the run",
        ms(from),
        ms(to)
    )
}

fn log(scene: &Scene<'_>, service: &str, pattern: &str, span: Span) -> Result<Found, String> {
    let regex = compile(pattern)?;
    let mut found = Found {
        gap: stream_gap(scene.index, &format!("log:{service}"), span),
        ..Found::default()
    };
    for at in scene.index.facts_in(FactSource::Log, span.from, span.to) {
        if text(at, "service") != Some(service) {
            continue;
        }
        found.looked_at += 1;
        let line = plain(text(at, "text").unwrap_or_default());
        if regex.is_match(&line) {
            found.hits.push(hit(at, quote(&line)));
        }
    }
    Ok(found)
}

fn chain(scene: &Scene<'_>, selector: &FactSelector, span: Span) -> Result<Found, String> {
    let (FactSelector::ChainFirstSend {
        outcome,
        signals_of,
        origin,
        fields,
    }
    | FactSelector::ChainSubmission {
        outcome,
        signals_of,
        origin,
        fields,
    }) = selector
    else {
        return Err("not a selector of submissions".to_owned());
    };
    let first = matches!(selector, FactSelector::ChainFirstSend { .. });
    let mut bounds = Bounds::new(fields)?;
    let mut untold: u64 = 0;
    let mut found = Found {
        gap: stream_gap(scene.index, "chain", span),
        ..Found::default()
    };
    for at in scene.index.facts_in(FactSource::Chain, span.from, span.to) {
        if at.fact.what != "submission" {
            continue;
        }
        found.looked_at += 1;
        if first && at.fact.keys.get("first_send") != Some(&Value::Bool(true)) {
            continue;
        }
        match (outcome, text(at, "outcome")) {
            (Some(_), None) => {
                untold += 1;
                continue;
            }
            (Some(wanted), Some(is)) if wanted != is => continue,
            _ => {}
        }
        let signal = text(at, "intent").and_then(|tag| scene.index.tags.get(tag));
        if !signals_of.is_empty() && !signal.is_some_and(|s| sent_in(scene, s, signals_of)) {
            continue;
        }
        if origin.is_some() && !signal.is_some_and(|s| came_from(scene, s, origin)) {
            continue;
        }
        if !bounds.hold(at) {
            continue;
        }
        let key = signal.map_or_else(
            || text(at, "intent").unwrap_or("an unknown intent").to_owned(),
            |s| s.key.clone(),
        );
        let nonce = at.fact.keys.get("nonce").map(value).unwrap_or_default();
        found
            .hits
            .push(hit(at, format!("{} nonce {nonce}", quote(&key))));
    }
    let untold = (untold > 0).then(|| format!("{untold} submissions have no outcome"));
    found.gap = found.gap.or(bounds.gap()).or(untold);
    Ok(found)
}

/// Conditions on numeric fields, and how many facts didn't hold the number that is asked about.
struct Bounds<'a> {
    tests: Vec<(&'a FieldBound, Test<'a>)>,
    without: u64,
    example: &'a str,
}

impl<'a> Bounds<'a> {
    fn new(fields: &'a [FieldBound]) -> Result<Self, String> {
        let tests = fields.iter().map(|f| Ok((f, Test::new(&f.is)?)));
        Ok(Bounds {
            tests: tests.collect::<Result<_, String>>()?,
            without: 0,
            example: "",
        })
    }

    fn hold(&mut self, at: &FactAt<'_>) -> bool {
        for (bound, test) in &self.tests {
            let number = at.fact.keys.get(&bound.field).and_then(number_of);
            match number.and_then(|n| test.number(n)) {
                Some(true) => {}
                Some(false) => return false,
                None => {
                    self.without += 1;
                    self.example = &bound.field;
                    return false;
                }
            }
        }
        true
    }

    fn gap(&self) -> Option<String> {
        (self.without > 0).then(|| {
            let (n, field) = (self.without, quote(self.example));
            format!("{n} of the facts hold no number `{field}`")
        })
    }
}

fn sent_in(scene: &Scene<'_>, signal: &SignalRef, phases: &[String]) -> bool {
    signal.episode as usize == scene.episode && phases.contains(&signal.phase)
}

/// Whether the signal came from that act or the load; from anywhere where none is named.
fn came_from(scene: &Scene<'_>, signal: &SignalRef, origin: &Option<String>) -> bool {
    signal.episode as usize == scene.episode && origin.as_ref().is_none_or(|o| *o == signal.origin)
}

fn engine(scene: &Scene<'_>, service: &str, event: &str, span: Span) -> Found {
    let mut found = Found {
        gap: stream_gap(scene.index, "engine", span),
        ..Found::default()
    };
    for at in scene.index.facts_in(FactSource::Engine, span.from, span.to) {
        found.looked_at += 1;
        let named = text(at, "service").unwrap_or_default();
        if at.fact.what == event && named == service && !ours(scene, named, event, at.fact.at_ns) {
            let when = ms(at.fact.at_ns);
            found
                .hits
                .push(hit(at, format!("{named} {event} at {when}")));
        }
    }
    found
}

/// Whether the drill itself stopped that service then. An out-of-memory kill never is its doing.
fn ours(scene: &Scene<'_>, service: &str, event: &str, at: u64) -> bool {
    if event == "oom" {
        return false;
    }
    let Some(edges) = scene.edges() else {
        return false;
    };
    let until = |m: &Option<crate::index::Moment>| m.as_ref().map_or(u64::MAX, |m| m.at);
    scene.drill.phases.iter().any(|phase| {
        let Some(known) = edges.phases.get(&phase.id) else {
            return false;
        };
        let mut ended = phase.acts.iter().flat_map(|a| a.kind.ends());
        let acted = ended.any(|s| s == service);
        let in_acts = known.own.requested.as_ref().is_some_and(|r| r.at <= at)
            && at <= until(&known.own.proven);
        let in_fault = phase.faults.iter().enumerate().any(|(i, fault)| {
            let edges = known.faults.get(&(i as u32));
            fault.kind.ends()
                && fault.target == service
                && edges.is_some_and(|e| {
                    e.requested.as_ref().is_some_and(|r| r.at <= at) && at <= until(&e.healed)
                })
        });
        (acted && in_acts) || in_fault
    })
}

/// Operations are placed by when they were sent: what was sent before the window may well be
/// answered inside it.
fn ops(scene: &Scene<'_>, selector: &FactSelector, span: Span) -> Result<Found, String> {
    let FactSelector::Op {
        state,
        status,
        detail,
        names,
        origin,
    } = selector
    else {
        return Err("not a selector of operations".to_owned());
    };
    let mut found = Found::default();
    for op in &scene.index.ops {
        let at = op.sent_at();
        let Some(signal) = op.signal else { continue };
        let here = at >= span.from && at <= span.to;
        if !here || !came_from(scene, signal, origin) {
            continue;
        }
        found.looked_at += 1;
        let matches = state.as_deref().is_none_or(|s| s == state_word(op.state))
            && status.is_none_or(|s| op.status == Some(s))
            && detail
                .as_deref()
                .is_none_or(|d| op.detail.is_some_and(|is| is == d))
            && names
                .as_deref()
                .is_none_or(|n| op.names.is_some_and(|is| is == n));
        if matches {
            let word = op.detail.unwrap_or("no answer");
            let malformed = signal
                .malformed
                .as_deref()
                .map(|m| format!(" ({})", quote(m)));
            let text = format!(
                "{}{}: {} ({})",
                quote(&signal.key),
                malformed.unwrap_or_default(),
                quote(word),
                state_word(op.state)
            );
            found.hits.push(Hit {
                at,
                seq: op.done_seq.unwrap_or(op.seq),
                text,
            });
        }
    }
    if found.looked_at == 0 {
        found.gap = Some("no operation was sent in the window".to_owned());
    }
    found.hits.sort_by_key(|h| (h.at, h.seq));
    Ok(found)
}

pub fn state_word(state: OpState) -> &'static str {
    match state {
        OpState::Invoked => "invoked",
        OpState::Ok => "ok",
        OpState::Rejected => "rejected",
        OpState::Failed => "failed",
        OpState::Unknown => "unknown",
    }
}

/// Whether the harness died after the episode, and its stack with it.
fn record_is_gone(scene: &Scene<'_>) -> bool {
    let last = scene.index.episodes.get(scene.episode).map(|e| e.last);
    let parts = scene.index.parts.iter();
    last.is_some_and(|last| parts.map(|(_, began)| began).any(|began| *began > last))
}

fn rows(scene: &Scene<'_>, selector: &FactSelector) -> Result<Found, String> {
    let FactSelector::Row {
        table,
        columns,
        signals_of,
        origin,
        fields,
    } = selector
    else {
        return Err("not a selector of rows".to_owned());
    };
    if record_is_gone(scene) {
        let why = "the record of it went with the stack on which it ran";
        return Ok(Found {
            gap: Some(why.to_owned()),
            ..Found::default()
        });
    }
    let mut bounds = Bounds::new(fields)?;
    let mut found = Found {
        gap: scene.record.gap(table),
        looked_at: scene.record.count(table),
        ..Found::default()
    };
    for column in columns.keys() {
        if scene.record.count(table) > 0 && !scene.record.has(table, column) {
            return Err(format!("{table} rows hold no column `{column}`"));
        }
    }
    let nobodys = signals_of.is_empty() && origin.is_none();
    for row in &scene.record.of_episode(table, scene.episode, nobodys) {
        let key = scene.record.key_of(row);
        let signal = scene.record.signal_of(scene.index, row);
        let sent = signal.map(|s| (s.episode as usize, s.phase.as_str(), s.origin.as_str()));
        let fits = row_fits(&row.fact.into(), columns);
        let meant = is_meant(sent, scene.episode, signals_of, origin.as_deref());
        if fits && meant && bounds.hold(row) {
            found.hits.push(hit(row, quote(key.unwrap_or(table))));
        }
    }
    found.gap = found.gap.or(bounds.gap());
    Ok(found)
}

/// Whether a row's columns say what is asked for.
pub fn row_fits(row: &FactView<'_>, columns: &BTreeMap<String, String>) -> bool {
    columns
        .iter()
        .all(|(name, wanted)| row.keys.get(name).is_some_and(|v| value(v) == *wanted))
}

/// Whether an episode's selector means a signal that was sent in that episode and phase, by that origin; or nobody
/// knows of it, and it isn't asked.
pub fn is_meant(
    sent: Option<(usize, &str, &str)>,
    episode: usize,
    signals_of: &[String],
    origin: Option<&str>,
) -> bool {
    match sent {
        None => signals_of.is_empty() && origin.is_none(),
        Some((of, phase, by)) => {
            let phases = signals_of.is_empty() || signals_of.iter().any(|p| p == phase);
            of == episode && phases && origin.is_none_or(|o| o == by)
        }
    }
}

fn hit(at: &FactAt<'_>, text: String) -> Hit {
    Hit {
        at: at.fact.at_ns,
        seq: at.seq,
        text,
    }
}

pub fn text<'a>(at: &FactAt<'a>, key: &str) -> Option<&'a str> {
    at.fact.keys.get(key).and_then(Value::as_str)
}

/// A log line without terminal colours: bots write them even where there is no terminal.
fn plain(line: &str) -> Cow<'_, str> {
    if !line.contains('\x1b') {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('\x1b') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let Some(sequence) = after.strip_prefix('[') else {
            rest = after;
            continue;
        };
        let end = sequence.find(|c: char| ('@'..='~').contains(&c));
        rest = end.map_or("", |end| &sequence[end + 1..]);
    }
    out.push_str(rest);
    Cow::Owned(out)
}
