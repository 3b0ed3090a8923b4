//! The smallest offending slice: one signal, its operations, its transactions and its rows, in
//! words. The history keeps no texts, so they are looked up in the journal again.

use std::cell::RefCell;
use std::collections::HashSet;

use firedrill_journal::{FactSource, FactView, View};

use super::finding::{Offence, Problem};
use super::history::History;
use super::names::Name;
use super::record::{Record, row_text};
use crate::facts::state_word;
use crate::index::{FactAt, Index};
use crate::words::{ms, quote, value};

/// Lines shown at the most.
const LINES_MAX: usize = 30;

/// Columns that name a signal, an intent or a transaction.
const NAMED: [&str; 6] = ["key", "id", "intent", "opened_by", "closed_by", "tx"];

/// Tables whose rows are shown, each with the column by which a row belongs to an intent.
const TABLES: [(&str, &[&str]); 6] = [
    ("intent", &["id"]),
    ("transition", &["intent"]),
    ("send", &["intent"]),
    ("receipt", &[]),
    ("execution", &["intent"]),
    ("position", &["opened_by", "closed_by"]),
];

/// Where lines are found again.
pub trait Lines {
    /// Calls `with` with an index and a record that hold at least the lines about what is wanted.
    fn about(&self, wanted: &Wanted, with: &mut dyn FnMut(&Index<'_>, &Record<'_>));
}

/// All lines are in memory.
pub struct Whole<'a> {
    pub index: &'a Index<'a>,
    pub record: &'a Record<'a>,
}

impl Lines for Whole<'_> {
    fn about(&self, _: &Wanted, with: &mut dyn FnMut(&Index<'_>, &Record<'_>)) {
        with(self.index, self.record);
    }
}

/// The names of everything that offences are about.
#[derive(Debug, Default)]
pub struct Wanted {
    names: HashSet<Name>,
    /// Operations that were seen to send one of the signals: their answers don't name it.
    ops: RefCell<HashSet<u64>>,
}

impl Wanted {
    fn of(history: &History, offences: &[Offence]) -> Self {
        let keys: HashSet<u32> = offences.iter().map(|o| o.key).collect();
        let intents: HashSet<u32> = offences.iter().map(|o| o.intent).collect();
        let txs: HashSet<u32> = offences.iter().map(|o| o.tx).collect();
        Wanted {
            names: history.names_about(&keys, &intents, &txs),
            ops: RefCell::default(),
        }
    }

    /// Whether a line is about one of them. To be asked in the journal's order.
    pub fn is_about(&self, event: View<'_>) -> bool {
        match event {
            View::Op(op) => match &op.signal {
                Some(signal) if self.names.contains(&Name::of(signal.key)) => {
                    self.ops.borrow_mut().insert(op.id);
                    true
                }
                _ => self.ops.borrow().contains(&op.id),
            },
            View::Fact(fact) => match fact.source {
                FactSource::Chain => self.holds(&fact, &["intent", "tx_hash"]),
                FactSource::Sql => self.holds(&fact, &NAMED),
                _ => false,
            },
            _ => false,
        }
    }

    fn holds(&self, fact: &FactView<'_>, columns: &[&str]) -> bool {
        let texts = columns.iter().filter_map(|name| fact.text(name));
        let mut names = texts.flat_map(|text| [Name::of(text), Name::word(text)]);
        names.any(|name| self.names.contains(&name))
    }
}

/// What is wrong with each offender, then its history.
pub fn all(history: &History, offences: &[Offence], lines: &dyn Lines) -> Vec<Vec<String>> {
    let mut slices = Vec::new();
    if offences.is_empty() {
        return slices;
    }
    lines.about(&Wanted::of(history, offences), &mut |index, record| {
        let smallest = |offence| smallest(index, record, history, offence);
        slices = offences.iter().map(smallest).collect();
    });
    slices
}

fn smallest(
    index: &Index<'_>,
    record: &Record<'_>,
    history: &History,
    offence: &Offence,
) -> Vec<String> {
    let slice = Slice::of(index, record, history, offence);
    let mut lines = vec![slice.headline(record, offence.problem)];
    lines.extend(slice.in_time(index));
    lines.extend(slice.rows(record));
    lines.truncate(LINES_MAX);
    lines
}

/// The texts that belong to one offender.
#[derive(Default)]
struct Slice<'a> {
    key: Option<&'a str>,
    /// The intent that the offence is about, if it is about one.
    intent: Option<&'a str>,
    tx: Option<&'a str>,
    tags: HashSet<&'a str>,
    intents: HashSet<&'a str>,
    hashes: HashSet<&'a str>,
}

impl<'a> Slice<'a> {
    fn of(
        index: &Index<'a>,
        record: &Record<'a>,
        history: &History,
        offence: &Offence,
    ) -> Slice<'a> {
        let key = history.keys.name(offence.key);
        let intent = history.intents.name(offence.intent);
        let tx = history.txs.name(offence.tx);
        let mut slice = Slice::default();
        for signal in index.ops.iter().filter_map(|op| op.signal) {
            if key.is_some() && Some(Name::of(&signal.key)) == key {
                slice.key = Some(&signal.key);
                slice.tags.insert(&signal.tag);
            }
        }
        for row in record.rows("intent") {
            let own = row_text(row, "key");
            let Some(id) = row_text(row, "id").or(own) else {
                continue;
            };
            let of_key = key.is_some() && own.map(Name::of) == key;
            let itself = intent.is_some() && Some(Name::of(id)) == intent;
            if of_key || itself {
                slice.key = slice.key.or(own);
                slice.intents.insert(id);
            }
            slice.intent = slice.intent.or(itself.then_some(id));
        }
        for row in record.rows("send") {
            let of_intent = row_text(row, "intent").is_some_and(|id| slice.intents.contains(id));
            if of_intent && let Some(hash) = row_text(row, "tx") {
                slice.hashes.insert(hash);
            }
        }
        for table in ["send", "receipt"] {
            slice.find_tx(record.rows(table), "tx", tx);
        }
        slice.find_tx(index.facts(FactSource::Chain), "tx_hash", tx);
        slice.hashes.extend(slice.tx);
        slice
    }

    fn find_tx(&mut self, facts: &[FactAt<'a>], column: &str, tx: Option<Name>) {
        if self.tx.is_some() || tx.is_none() {
            return;
        }
        let mut hashes = facts.iter().filter_map(|at| row_text(at, column));
        self.tx = hashes.find(|hash| Some(Name::word(hash)) == tx);
    }

    fn headline(&self, record: &Record<'_>, problem: Problem) -> String {
        let status = || {
            let mut rows = record.rows("intent").iter();
            let row = rows.find(|row| row_text(row, "id") == self.intent);
            row.and_then(|row| row_text(row, "status"))
                .unwrap_or("unknown")
        };
        let words = words(problem);
        if let Some(tx) = self.tx {
            format!("{} {words}", quote(tx))
        } else if let Some(id) = self.intent {
            format!("intent {} ({}) {words}", quote(id), quote(status()))
        } else {
            format!(
                "{} {words}",
                quote(self.key.unwrap_or("a send without a hash"))
            )
        }
    }

    /// Operations and events of the chain, in time order.
    fn in_time(&self, index: &Index<'_>) -> Vec<String> {
        let mut lines: Vec<(u64, u64, String)> = Vec::new();
        for op in &index.ops {
            let Some(signal) = op.signal.filter(|s| Some(s.key.as_str()) == self.key) else {
                continue;
            };
            let (service, origin) = (&signal.service, &signal.origin);
            let how = signal
                .malformed
                .as_ref()
                .map(|m| format!(" ({})", quote(m)));
            let how = how.unwrap_or_default();
            let sent = format!("sent to {service} by {origin} in {}{how}", signal.phase);
            lines.push((op.sent_at(), op.seq, sent));
            if let Some(done) = op.done {
                let status = op.status.map(|s| format!(" {s}")).unwrap_or_default();
                let word = quote(op.detail.unwrap_or("no answer"));
                let text = format!("{}:{status} {word}", state_word(op.state));
                lines.push((done, op.done_seq.unwrap_or(op.seq), text));
            }
        }
        for at in index.facts(FactSource::Chain) {
            let tag = row_text(at, "intent").is_some_and(|tag| self.tags.contains(tag));
            let hash = row_text(at, "tx_hash").is_some_and(|hash| self.hashes.contains(hash));
            if tag || hash {
                let columns = ["nonce", "tx_hash", "outcome", "status", "block_number"];
                let text = format!("chain: {}{}", at.fact.what, columns_of(at, &columns));
                lines.push((at.fact.at_ns, at.seq, text));
            }
        }
        lines.sort();
        let line = |(at, seq, text): (u64, u64, String)| format!("{} {text} [line {seq}]", ms(at));
        lines.into_iter().map(line).collect()
    }

    fn rows(&self, record: &Record<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        for (table, columns) in TABLES {
            for row in record.rows(table) {
                let named = |column: &&str| {
                    row_text(row, column).is_some_and(|id| self.intents.contains(id))
                };
                let tx = row_text(row, "tx").is_some_and(|hash| self.hashes.contains(hash));
                if columns.iter().any(named) || tx {
                    let all: Vec<&str> = row.fact.keys.keys().map(String::as_str).collect();
                    lines.push(format!(
                        "record: {table}{} [line {}]",
                        columns_of(row, &all),
                        row.seq
                    ));
                }
            }
        }
        lines
    }
}

/// The columns that hold something, each with its name.
fn columns_of(row: &FactAt<'_>, columns: &[&str]) -> String {
    let shown = columns.iter().filter_map(|column| {
        let cell = row.fact.keys.get(*column).filter(|v| !v.is_null())?;
        Some(format!(" {column} {}", value(cell)))
    });
    shown.collect()
}

fn words(problem: Problem) -> &'static str {
    use Problem::*;
    match problem {
        NoIntent => "was acknowledged and has no intent",
        NeverEnded => "was acknowledged and never came to an end",
        TwiceDone => "has several intents, nonces or mined transactions",
        TakenForAnother => "was called a duplicate, though it was never accepted before",
        RefusedWithEffect => "was refused and has an effect",
        UnknownTwice => "had no answer and two effects",
        Unfinished => "is still unfinished",
        IllegalStep => "made a step that is not allowed",
        LeadsElsewhere => "has a history that does not lead to its state",
        NotInRecord => "was accepted by the chain and is not in the record",
        OfAnotherIntent => "stands in the record under another intent",
        NotOnChain => "is recorded as accepted, and the chain never accepted it",
        NonceShared => "has the nonce of another intent",
        MinedNotExecuted => "was mined, but the record says otherwise",
        MinedTwice => "has more than one mined transaction",
        ExecutionNotExecuted => "has an execution and was not executed",
        PositionNotExecuted => "has a position and was not executed",
        NoExecution => "has no execution",
        ExecutedTwice => "has more than one execution",
        ExecutionNotMined => "has an execution that the chain never mined",
        ExecutionOfAnother => "has the execution of another intent",
        NoReceipt => "has no receipt",
        NoPosition => "has no position",
        TwoPositions => "has opened more than one position",
        ReceiptOfNothing => "has a receipt and is in no block",
        ReceiptTwice => "has more than one receipt",
        ReceiptStatus => "has a receipt with another outcome than the chain's",
        ReceiptBlock => "has a receipt with another block than the chain's",
        SentAllTheSame => "was sent all the same",
    }
}
