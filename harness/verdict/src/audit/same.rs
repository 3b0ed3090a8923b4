//! What the record and the chain must say alike of a trade: the target file names column and field.
//!
//! The other equations compare what was done how often; these compare what was done.

use std::collections::{BTreeMap, HashMap};

use firedrill_journal::FactSource;
use firedrill_plan::Agreement;
use serde_json::Value;

use super::record::{Record, row_text};
use crate::facts::stream_gap;
use crate::index::{FactAt, Index};
use crate::model::{AuditCheck, Outcome};
use crate::operators::Span;
use crate::words::{quote, value};

/// Differences that are shown at the most.
const SHOWN_MAX: usize = 10;

/// The transactions that are in a block at the end of the run.
struct Mined<'a> {
    /// In an order of its own, so that a journal always gives the same words.
    by_hash: BTreeMap<&'a str, FactAt<'a>>,
    /// Hashes by the key of the signal that they belong to.
    by_key: HashMap<&'a str, Vec<&'a str>>,
    gap: Option<String>,
}

/// One check per agreement of the target file.
pub fn checks(index: &Index<'_>, record: &Record<'_>, agreements: &[Agreement]) -> Vec<AuditCheck> {
    if agreements.is_empty() {
        return Vec::new();
    }
    let mined = Mined::of(index);
    let check = |agreement| compare(index, record, &mined, agreement);
    agreements.iter().map(check).collect()
}

impl<'a> Mined<'a> {
    fn of(index: &Index<'a>) -> Self {
        // The record was read from the last stack: what an earlier one did can't stand in it.
        let since = index.parts.last().map_or(0, |(_, at)| *at);
        let mut mined = Mined {
            by_hash: BTreeMap::new(),
            by_key: HashMap::new(),
            gap: None,
        };
        let mut last = since;
        for at in index.facts(FactSource::Chain) {
            let Some(hash) = row_text(at, "tx_hash").filter(|_| at.fact.at_ns >= since) else {
                continue;
            };
            last = at.fact.at_ns;
            match at.fact.what.as_str() {
                "mined" => mined.by_hash.insert(hash, *at),
                "reorged" | "dropped" => mined.by_hash.remove(hash),
                _ => None,
            };
        }
        for (hash, at) in &mined.by_hash {
            let tag = row_text(at, "intent");
            if let Some(signal) = tag.and_then(|tag| index.tags.get(tag)) {
                mined.by_key.entry(&signal.key).or_default().push(hash);
            }
        }
        mined.gap = stream_gap(
            index,
            "chain",
            Span {
                from: since,
                to: last,
            },
        );
        mined
    }

    /// What the chain says where a row can be compared: of its own transaction, or of those of its signal.
    fn beside(&self, record: &Record<'a>, row: &FactAt<'a>, field: &str) -> Vec<&'a Value> {
        let hashes: Vec<&str> = match row_text(row, "tx") {
            Some(hash) => vec![hash],
            None => {
                let opener = row_text(row, "opened_by").and_then(|id| record.key_of_intent(id));
                let key = record.key_of(row).or(opener);
                let known = key.and_then(|key| self.by_key.get(key));
                known.cloned().unwrap_or_default()
            }
        };
        let events = hashes.iter().filter_map(|hash| self.by_hash.get(hash));
        let said = events.filter_map(|at| at.fact.keys.get(field));
        said.filter(|said| !said.is_null()).collect()
    }
}

fn compare(
    index: &Index<'_>,
    record: &Record<'_>,
    mined: &Mined<'_>,
    agreement: &Agreement,
) -> AuditCheck {
    let Agreement {
        table,
        column,
        field,
        ..
    } = agreement;
    let (mut samples, mut lacking, mut violations, mut slice) = (0, 0, 0, Vec::new());
    for row in record.rows(table) {
        for theirs in mined.beside(record, row, field) {
            let Some(ours) = row.fact.keys.get(column).filter(|v| !v.is_null()) else {
                lacking += 1;
                continue;
            };
            samples += 1;
            if !alike(ours, theirs) {
                let of = ["tx", "key", "intent", "opened_by"];
                let name = of
                    .iter()
                    .find_map(|name| row_text(row, name))
                    .unwrap_or("a row");
                let (name, ours, theirs) = (quote(name), value(ours), value(theirs));
                violations += 1;
                if slice.len() < SHOWN_MAX {
                    slice.push(format!(
                        "{name}: {table}.{column} is {ours}, the chain says {theirs}"
                    ));
                }
            }
        }
    }
    let gap = record
        .gap(table)
        .or_else(|| mined.gap.clone())
        .or_else(|| (lacking > 0).then(|| format!("{lacking} rows of `{table}` lack {column}")))
        .or_else(|| (!index.complete).then(|| "the journal ends early".to_owned()))
        .or_else(|| {
            let none = samples == 0 && !mined.by_hash.is_empty();
            none.then(|| format!("0 of 0: nothing was there to compare with the chain's {field}"))
        });
    // A reorganisation that wasn't seen may have put another transaction there since.
    let undone = mined.gap.is_some() || !index.complete;
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

/// Numbers by their value, however they are written; texts as they are.
fn alike(ours: &Value, theirs: &Value) -> bool {
    let number = |v: &Value| match v {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    match (number(ours), number(theirs)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => ours == theirs,
    }
}
