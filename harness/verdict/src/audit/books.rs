//! What was done, fed line by line: operations, the chain's events, the record's rows.
//!
//! Numbers only, so that a day of them fits into memory. Rows come table by table; one that comes before a table
//! that it is read with waits for that table's end.

use std::collections::BTreeMap;

use firedrill_journal::{Fact, FactView, OpState, OpView, Scalar, SignalView};
use firedrill_plan::{RECORD_ORDER as TABLES, Target};

use super::earlier::Earlier;
use super::finding::{Finding, Gaps};
use super::history::{ChainEvent, History, OnChain};
use super::names::parse_word;
use super::restored::Loss;
use super::same::Same;
use super::tables::Tables;
use crate::facts::stream_gap;
use crate::index::Index;
use crate::operators::Span;
use crate::predicate::number_of;

/// A signal that was sent and has no answer yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    key: Option<u32>,
    at: u64,
}

/// The audit's own record of a run.
pub struct Books<'p> {
    target: &'p Target,
    pub history: History,
    pub tables: Tables,
    pub same: Same<'p>,
    losses: Result<Vec<Loss>, String>,
    open: BTreeMap<u64, Open>,
    early: Vec<Fact>,
    /// Rows of a table that lack a column.
    lacking: BTreeMap<&'static str, u64>,
    /// Events of the chain that lack a hash or an outcome.
    broken: u64,
    /// The first signal that was sent, and the last that was answered.
    sent: Option<u64>,
    done: Option<u64>,
    /// When the last stack came: what an earlier one was sent can't stand in the tables.
    since: u64,
    /// What is known of the parts before.
    pub earlier: Vec<Earlier>,
    /// What the equations found, once all was taken in.
    pub findings: Vec<Finding>,
}

impl<'p> Books<'p> {
    /// `losses`: what restores of the record may have lost, or why that can't be told. `collected`: the line with
    /// which the last collection of the tables began, where that is known.
    pub fn new(
        target: &'p Target,
        losses: Result<Vec<Loss>, String>,
        collected: Option<u64>,
    ) -> Self {
        Books {
            target,
            history: History::new(&target.audit.states),
            tables: Tables::new(&target.audit.states.executed, collected),
            same: Same::new(&target.audit.same),
            losses,
            open: BTreeMap::new(),
            early: Vec::new(),
            lacking: BTreeMap::new(),
            broken: 0,
            sent: None,
            done: None,
            since: 0,
            earlier: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn losing(&self, began: u64, ended: u64) -> bool {
        let losses = self.losses.as_deref().unwrap_or_default();
        losses.iter().any(|loss| loss.covers(began, ended))
    }

    /// The harness died, and went on with a fresh stack.
    pub fn part(&mut self, at: u64) {
        self.answer_open();
        let fresh = History::new(&self.target.audit.states);
        let mut history = std::mem::replace(&mut self.history, fresh);
        self.earlier.push(Earlier {
            on_chain: history.on_the_chain(),
            first_sends: history.first_sends(),
            mined: history.mined(),
            findings: history.finish(),
        });
        self.same = Same::new(&self.target.audit.same);
        (self.broken, self.sent, self.done) = (0, None, None);
        self.since = at;
    }

    /// Takes an operation in; the number of its signal's key where it was sent by it.
    pub fn op(&mut self, op: &OpView<'_>) -> Option<u32> {
        if op.state == OpState::Invoked {
            self.sent = Some(self.sent.map_or(op.at_ns, |s| s.min(op.at_ns)));
            let key = self.key(op.signal, op.at_ns);
            self.open.insert(op.id, Open { key, at: op.at_ns });
            return key;
        }
        let (open, shed) = match self.open.remove(&op.id) {
            Some(open) => (open, None),
            None => {
                let at = op.intended_ns;
                self.sent = Some(self.sent.map_or(at, |s| s.min(at)));
                let key = self.key(op.signal, at);
                (Open { key, at }, key)
            }
        };
        self.done = self.done.max(Some(op.at_ns));
        if let Some(key) = open.key {
            self.history.losing = self.losing(open.at, op.at_ns);
            let known = op.detail == Some("duplicate");
            self.history.answered(key, op.state, known);
        }
        shed
    }

    fn key(&mut self, signal: Option<SignalView<'_>>, at: u64) -> Option<u32> {
        let signal = signal.filter(|_| at >= self.since)?;
        Some(self.history.sent(signal.key, signal.tag))
    }

    pub fn chain(&mut self, fact: &FactView<'_>) {
        if fact.at_ns < self.since {
            return;
        }
        self.history.losing = self.losing(fact.at_ns, fact.at_ns);
        let tx = match chain_event(fact) {
            Some(event) => self.history.chain(&event),
            None => {
                self.broken += 1;
                let hash = fact.text("tx_hash");
                hash.and_then(|hash| self.history.known_tx(hash))
            }
        };
        self.same.chain(tx, fact);
    }

    /// Takes a fact of the record in: a row, or what the collector says of a table.
    pub fn record(&mut self, seq: u64, fact: &FactView<'_>) {
        if !self.tables.see(seq, fact) {
            return;
        }
        self.same.begin(&self.history);
        match fact.what {
            "collected" | "not_collected" => self.settle(),
            _ if self.waits(fact) => self.early.push(fact.to_fact()),
            _ => self.row(fact),
        }
    }

    /// Whether a row must wait: intents come first, and receipts after sends and after what the chain says of them.
    fn waits(&self, row: &FactView<'_>) -> bool {
        let lacks = |wanted: &str| {
            self.target.audit.sql.contains_key(wanted) && !self.tables.is_closed(wanted)
        };
        let unseen = || {
            let tx = row.text("tx").and_then(|hash| self.history.known_tx(hash));
            !tx.is_some_and(|tx| self.history.in_block(tx))
        };
        match row.what {
            "intent" => false,
            "receipt" => lacks("intent") || lacks("send") || unseen(),
            _ => lacks("intent"),
        }
    }

    fn settle(&mut self) {
        let all = std::mem::take(&mut self.early);
        for fact in all {
            match self.waits(&(&fact).into()) {
                true => self.early.push(fact),
                false => self.row(&(&fact).into()),
            }
        }
    }

    fn row(&mut self, fact: &FactView<'_>) {
        self.same.row(&self.history, fact);
        let Some(table) = TABLES.into_iter().find(|table| *table == fact.what) else {
            return;
        };
        if row_of(&mut self.history, table, fact).is_none() {
            *self.lacking.entry(table).or_default() += 1;
        }
    }

    /// What never was answered may have happened.
    fn answer_open(&mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            if let Some(key) = open.key {
                self.history.losing = self.losing(open.at, u64::MAX);
                self.history.answered(key, OpState::Unknown, false);
            }
        }
    }

    /// Nothing more will come.
    pub fn close(&mut self) {
        self.answer_open();
        let mut early = std::mem::take(&mut self.early);
        let place = |fact: &Fact| TABLES.iter().position(|table| *table == fact.what);
        early.sort_by_key(|fact| place(fact).unwrap_or(TABLES.len()));
        for fact in &early {
            self.row(&fact.into());
        }
        self.same.end();
        self.findings = self.history.finish();
    }

    pub fn losses(&self) -> &[Loss] {
        self.losses.as_deref().unwrap_or_default()
    }

    /// What could not be fed.
    pub fn gaps(&self, index: &Index<'_>) -> Gaps {
        let mut gaps = Gaps {
            missing: BTreeMap::new(),
            complete: index.complete,
            required: false,
        };
        if let Err(why) = &self.losses {
            gaps.missing.insert("restore", why.clone());
        }
        if let Some(why) = self.chain_gap(index) {
            gaps.missing.insert("chain", why);
        }
        for table in TABLES {
            let lacking = self.lacking.get(table);
            let why = if !self.target.audit.sql.contains_key(table) {
                Some(format!("the target file has no query for `{table}`"))
            } else if let Some(n) = lacking {
                Some(format!("{n} rows of `{table}` lack a column"))
            } else {
                self.tables.gap(table)
            };
            gaps.missing.extend(why.map(|why| (table, why)));
        }
        if !self.history.rules.has_steps() {
            let why = "the target file names no legal transitions".to_owned();
            gaps.missing.insert("states", why);
        }
        if self.history.crowded {
            let why = "more senders than nonces can be compared for".to_owned();
            gaps.missing.insert("senders", why);
        }
        gaps
    }

    /// Why the chain's silence would mean nothing.
    fn chain_gap(&self, index: &Index<'_>) -> Option<String> {
        let from = self.sent.unwrap_or(0);
        let to = self.done.unwrap_or(from.saturating_add(1));
        let broken = self.broken;
        let words = || format!("{broken} events of the chain lack a hash or an outcome");
        stream_gap(index, "chain", Span { from, to }).or_else(|| (broken > 0).then(words))
    }

    /// The same for what is compared of the trades themselves.
    pub fn same_gap(&self, index: &Index<'_>) -> Option<String> {
        let (from, to) = (self.since, self.same.last.max(self.since));
        stream_gap(index, "chain", Span { from, to })
    }
}

/// `None` if the event lacks what makes it one; what the audit doesn't know of it is left out.
fn chain_event<'v>(fact: &FactView<'v>) -> Option<ChainEvent<'v>> {
    let keys = &fact.keys;
    let tx = fact.text("tx_hash").filter(|text| !text.is_empty());
    let what = match fact.what {
        "submission" => OnChain::Submitted {
            accepted: match fact.text("outcome")? {
                "accepted" => true,
                "refused" => false,
                _ => return None,
            },
            first: fact.is_true("first_send"),
        },
        "mined" => OnChain::Mined {
            success: keys.get("status").and_then(number_of)? == 1.0,
            block: keys.get("block_number").and_then(Scalar::as_u64),
        },
        "reorged" => OnChain::Reorged,
        _ => OnChain::Dropped,
    };
    // Bytes that didn't decode have no hash, and can't have been accepted.
    if tx.is_none()
        && !matches!(
            what,
            OnChain::Submitted {
                accepted: false,
                ..
            }
        )
    {
        return None;
    }
    Some(ChainEvent {
        what,
        tx,
        tag: fact.text("intent").filter(|tag| !tag.is_empty()),
        sender: fact.text("from").unwrap_or(""),
        nonce: keys.get("nonce").and_then(Scalar::as_u64),
        about: fact.text("data").and_then(about),
    })
}

/// The second word of a call if it looks like an id: numbers begin with zeros, and texts end with
/// them.
fn about(data: &str) -> Option<&str> {
    let second = 2 + 8 + 64;
    let word = data.get(second..second + 64)?;
    let zero = |part: Option<&str>| part.is_none_or(|p| p.bytes().all(|b| b == b'0'));
    (!zero(word.get(..16)) && !zero(word.get(48..)) && parse_word(word).is_some()).then_some(word)
}

/// Feeds one row; `None` if it lacks a column that makes it one.
fn row_of(history: &mut History, table: &str, row: &FactView<'_>) -> Option<()> {
    let of = |name: &str| row.text(name);
    match table {
        "intent" => {
            let key = of("key")?;
            history.intent(of("id").unwrap_or(key), key, of("status")?);
        }
        "send" => {
            let acknowledged = matches!(of("outcome")?, "accepted" | "mined");
            history.send(of("intent")?, of("tx"), acknowledged);
        }
        "receipt" => {
            let number = |name: &str| {
                row.keys
                    .get(name)
                    .and_then(|value| number_of(value).or_else(|| value.text()?.parse().ok()))
            };
            let success = number("status").map(|status| status == 1.0);
            history.receipt(of("tx")?, success, number("block").map(|n| n as u64));
        }
        "execution" => history.execution(of("intent")?, of("tx")?),
        "transition" => history.transition(of("intent")?, of("from").unwrap_or(""), of("to")?),
        _ => history.position(of("id")?, of("opened_by"), of("closed_by")),
    }
    Some(())
}
