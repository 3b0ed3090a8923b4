//! What the record and the chain must say alike of a trade: the target file names column and field.
//!
//! The other equations compare what was done how often; these compare what was done. Of each event of the chain
//! only the fields that are compared are kept, in two bytes each where few values come, else in eight.

use std::collections::HashMap;

use firedrill_journal::{FactView, Scalar};
use firedrill_plan::Agreement;

use super::books::Books;
use super::history::History;
use crate::column::Column;
use crate::index::Index;
use crate::model::{AuditCheck, Outcome};
use crate::words::{quote, value};

/// Differences that are shown at the most.
const SHOWN_MAX: usize = 10;

/// What is said, in eight bytes: a number, or the number of a text among those that were seen.
#[derive(Clone, Copy, PartialEq)]
enum Said {
    Number(f64),
    Text(u32),
}

/// A NaN, which no number is.
const TEXT: u64 = 0xfff8_0000_0000_0000;

impl Said {
    fn pack(self) -> u64 {
        match self {
            Said::Number(n) => n.to_bits(),
            Said::Text(id) => TEXT | u64::from(id),
        }
    }

    fn unpack(bits: u64) -> Said {
        match bits {
            text if text & TEXT == TEXT => Said::Text(text as u32),
            number => Said::Number(f64::from_bits(number)),
        }
    }
}

/// What one agreement's comparisons came to.
#[derive(Clone, Default)]
struct Compared {
    samples: u64,
    lacking: u64,
    violations: u64,
    slice: Vec<String>,
}

/// All agreements of the target file, fed line by line.
pub struct Same<'p> {
    agreements: &'p [Agreement],
    /// The fields of the chain's events that are compared, each once.
    fields: Vec<&'p str>,
    /// What the event that put a transaction into a block says, by its number; field by field.
    said: Vec<Column>,
    texts: HashMap<String, u32>,
    shown: Vec<String>,
    /// Transactions in a block by the key of their signal, in the keys' order; from the first row on.
    by_key: Option<Vec<(u32, u32)>>,
    compared: Vec<Compared>,
    /// Time of the chain's last event with a hash.
    pub last: u64,
    /// Events that moved a transaction into a block or out of it after rows were compared.
    moved: u64,
}

impl<'p> Same<'p> {
    pub fn new(agreements: &'p [Agreement]) -> Self {
        let mut fields: Vec<&str> = agreements.iter().map(|a| a.field.as_str()).collect();
        fields.sort_unstable();
        fields.dedup();
        Same {
            agreements,
            said: fields.iter().map(|_| Column::default()).collect(),
            fields,
            texts: HashMap::new(),
            shown: Vec::new(),
            by_key: None,
            compared: vec![Compared::default(); agreements.len()],
            last: 0,
            moved: 0,
        }
    }

    /// Takes an event of the chain in, after the history has. `tx`: the number of its transaction, where it is known.
    pub fn chain(&mut self, tx: Option<u32>, fact: &FactView<'_>) {
        if self.fields.is_empty() || fact.text("tx_hash").is_none() {
            return;
        }
        self.last = fact.at_ns;
        self.moved += u64::from(self.by_key.is_some() && fact.what != "submission");
        let Some(tx) = tx.filter(|_| fact.what == "mined") else {
            return;
        };
        for at in 0..self.fields.len() {
            let said = fact.keys.get(self.fields[at]).and_then(|v| self.code(v));
            self.said[at].put(tx as usize, said.map(Said::pack));
        }
    }

    /// Numbers by their value, however they are written; texts as they are.
    fn code(&mut self, value: Scalar<'_>) -> Option<Said> {
        let number = match value {
            Scalar::Null => return None,
            Scalar::Number(n) => n.as_f64(),
            Scalar::Text(text) => text.parse::<f64>().ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|n| !n.is_nan()) {
            return Some(Said::Number(number));
        }
        let text = match value {
            Scalar::Text(text) => text.to_owned(),
            other => other.to_value().to_string(),
        };
        let next = self.shown.len() as u32;
        let id = self.texts.entry(text).or_insert_with_key(|text| {
            self.shown.push(text.clone());
            next
        });
        Some(Said::Text(*id))
    }

    /// Rows come next: which transaction is whose is taken from the chain alone.
    pub fn begin(&mut self, history: &History) {
        if self.by_key.is_none() && !self.fields.is_empty() {
            self.by_key = Some(history.tagged_in_block());
        }
    }

    /// No more rows will come: what they were compared with is given back.
    pub fn end(&mut self) {
        self.by_key = None;
        self.said = Vec::new();
    }

    /// Compares a row, after intents, sends and the chain were taken in.
    pub fn row(&mut self, history: &History, row: &FactView<'_>) {
        let mut beside = None;
        for at in 0..self.agreements.len() {
            let agreement = &self.agreements[at];
            if agreement.table != row.what {
                continue;
            }
            let field = self.fields.iter().position(|f| *f == agreement.field);
            let beside = beside.get_or_insert_with(|| self.beside(history, row));
            for tx in beside.iter() {
                let said = field.and_then(|f| self.said[f].get(*tx as usize));
                let Some(theirs) = said.map(Said::unpack) else {
                    continue;
                };
                let ours = row.keys.get(&agreement.column).filter(|v| !v.is_null());
                self.compare(at, row, ours, theirs);
            }
        }
    }

    fn compare(&mut self, at: usize, row: &FactView<'_>, ours: Option<Scalar<'_>>, theirs: Said) {
        let Some(ours) = ours else {
            self.compared[at].lacking += 1;
            return;
        };
        let alike = self.code(ours) == Some(theirs);
        let compared = &mut self.compared[at];
        compared.samples += 1;
        if alike {
            return;
        }
        compared.violations += 1;
        if compared.slice.len() < SHOWN_MAX {
            let of = ["tx", "key", "intent", "opened_by"];
            let name = of.iter().find_map(|name| row.text(name));
            let name = quote(name.unwrap_or("a row"));
            let theirs = match theirs {
                Said::Text(id) => self
                    .shown
                    .get(id as usize)
                    .map_or("", String::as_str)
                    .into(),
                Said::Number(n) => exact(n),
            };
            let (ours, theirs) = (value(ours), quote(&theirs));
            let Agreement { table, column, .. } = &self.agreements[at];
            compared.slice.push(format!(
                "{name}: {table}.{column} is {ours}, the chain says {theirs}"
            ));
        }
    }

    /// The transactions in a block that a row can be compared with: its own, or those of its signal.
    fn beside(&self, history: &History, row: &FactView<'_>) -> Vec<u32> {
        if let Some(hash) = row.text("tx") {
            let tx = history.known_tx(hash).filter(|tx| history.in_block(*tx));
            return tx.into_iter().collect();
        }
        let of_intent = |name| row.text(name).and_then(|id| history.key_of_intent(id));
        let own = row.text("key").and_then(|key| history.known_key(key));
        let Some(key) = own
            .or_else(|| of_intent("intent"))
            .or_else(|| of_intent("opened_by"))
        else {
            return Vec::new();
        };
        let by_key = self.by_key.as_deref().unwrap_or_default();
        let from = by_key.partition_point(|(k, _)| *k < key);
        let same = by_key[from..].iter().take_while(|(k, _)| *k == key);
        same.map(|(_, tx)| *tx).collect()
    }
}

/// A number as JSON writes it.
fn exact(n: f64) -> String {
    match n.fract() == 0.0 && n.abs() < 1e15 {
        true => format!("{n:.0}"),
        false => n.to_string(),
    }
}

/// One check per agreement of the target file.
pub fn checks(books: &Books<'_>, index: &Index<'_>) -> Vec<AuditCheck> {
    let same = &books.same;
    let all = same.agreements.iter().zip(&same.compared);
    all.map(|(agreement, compared)| check(books, index, agreement, compared))
        .collect()
}

fn check(
    books: &Books<'_>,
    index: &Index<'_>,
    agreement: &Agreement,
    compared: &Compared,
) -> AuditCheck {
    let Agreement {
        table,
        column,
        field,
        ..
    } = agreement;
    let Compared {
        samples,
        lacking,
        violations,
        slice,
    } = compared.clone();
    let unseen = books.same_gap(index);
    // A reorganisation that wasn't seen may have put another transaction there since.
    let undone = unseen.is_some() || !index.complete;
    let mined = books.history.mined_at_all();
    let gap = books
        .tables
        .gap(table)
        .or(unseen)
        .or_else(|| (lacking > 0).then(|| format!("{lacking} rows of `{table}` lack {column}")))
        .or_else(|| (!index.complete).then(|| "the journal ends early".to_owned()))
        .or_else(|| {
            let moved = books.same.moved > 0;
            moved.then(|| "the chain went on while the record was read".to_owned())
        })
        .or_else(|| {
            let none = samples == 0 && mined;
            none.then(|| format!("0 of 0: nothing was there to compare with the chain's {field}"))
        });
    let (verdict, observed) = match (slice.first(), gap) {
        (Some(first), Some(why)) if undone => (
            Outcome::Inconclusive,
            format!("{violations} of {samples}: {first}; {why}"),
        ),
        (Some(first), _) => (Outcome::Fail, format!("{violations} of {samples}: {first}")),
        (None, Some(why)) => (Outcome::Inconclusive, why),
        (None, None) if samples == 0 => {
            let words = "not applicable: nothing was mined".to_owned();
            (Outcome::Pass, words)
        }
        (None, None) => (Outcome::Pass, format!("holds for all {samples}")),
    };
    AuditCheck {
        id: format!("same/{}", agreement.id),
        what: agreement.what.clone(),
        verdict,
        samples,
        violations,
        observed,
        slice,
    }
}
