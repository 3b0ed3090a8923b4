//! From a journal to the history: which fact is which event, and what could not be fed.

use std::collections::BTreeMap;

use firedrill_journal::FactSource;
use firedrill_plan::Target;
use serde_json::Value;

use super::finding::Gaps;
use super::history::{ChainEvent, History, OnChain};
use super::names::parse_word;
use super::record::{Record, row_text};
use super::restored::Loss;
use crate::facts::stream_gap;
use crate::index::{FactAt, Index};
use crate::operators::Span;
use crate::predicate::number_of;

/// The tables that the equations read, in the order in which the history wants them.
const TABLES: [&str; 6] = [
    "intent",
    "send",
    "receipt",
    "execution",
    "transition",
    "position",
];

/// Feeds the whole run. `losses`: what restores of the record may have lost, or why that can't be told.
pub fn feed(
    index: &Index<'_>,
    record: &Record<'_>,
    target: &Target,
    losses: &Result<Vec<Loss>, String>,
) -> (History, Gaps) {
    let mut history = History::new(&target.audit.states);
    let mut gaps = Gaps {
        missing: BTreeMap::new(),
        complete: index.complete,
        required: false,
    };
    if let Err(why) = losses {
        gaps.missing.insert("restore", why.clone());
    }
    let losses = losses.as_deref().unwrap_or_default();
    let losing = |began: u64, ended: u64| losses.iter().any(|loss| loss.covers(began, ended));
    // The tables were read from the last stack: what an earlier one was sent can't stand in them.
    let since = index.parts.last().map_or(0, |(_, at)| *at);
    for op in index.ops.iter().filter(|op| op.sent_at() >= since) {
        let Some(signal) = op.signal else { continue };
        history.losing = losing(op.sent_at(), op.done.unwrap_or(u64::MAX));
        history.operation(&signal.key, &signal.tag, op.state, op.duplicate());
    }
    let mut broken = 0;
    for at in index.facts(FactSource::Chain) {
        if at.fact.at_ns < since {
            continue;
        }
        history.losing = losing(at.fact.at_ns, at.fact.at_ns);
        match chain_event(at) {
            Some(event) => history.chain(&event),
            None => broken += 1,
        }
    }
    if let Some(why) = chain_gap(index, broken) {
        gaps.missing.insert("chain", why);
    }
    for table in TABLES {
        let rows = record.rows(table).iter();
        let lacking = rows.filter(|row| row_of(&mut history, table, row).is_none());
        let lacking = lacking.count();
        let why = if !target.audit.sql.contains_key(table) {
            Some(format!("the target file has no query for `{table}`"))
        } else if lacking > 0 {
            Some(format!("{lacking} rows of `{table}` lack a column"))
        } else {
            record.gap(table)
        };
        gaps.missing.extend(why.map(|why| (table, why)));
    }
    if !history.rules.has_steps() {
        let why = "the target file names no legal transitions".to_owned();
        gaps.missing.insert("states", why);
    }
    if history.crowded {
        let why = "more senders than nonces can be compared for".to_owned();
        gaps.missing.insert("senders", why);
    }
    (history, gaps)
}

/// Why the chain's silence would mean nothing.
fn chain_gap(index: &Index<'_>, broken: u64) -> Option<String> {
    let since = index.parts.last().map_or(0, |(_, at)| *at);
    let ops: Vec<_> = index.ops.iter().filter(|o| o.sent_at() >= since).collect();
    let from = ops.iter().map(|o| o.sent_at()).min().unwrap_or(0);
    let last = ops.iter().filter_map(|o| o.done).max();
    let to = last.unwrap_or(from.saturating_add(1));
    let words = || format!("{broken} events of the chain lack a hash or an outcome");
    stream_gap(index, "chain", Span { from, to }).or_else(|| (broken > 0).then(words))
}

/// `None` if the event lacks what makes it one; what the audit doesn't know of it is left out.
pub fn chain_event<'a>(at: &'a FactAt<'_>) -> Option<ChainEvent<'a>> {
    let keys = &at.fact.keys;
    let tx = row_text(at, "tx_hash").filter(|text| !text.is_empty());
    let what = match at.fact.what.as_str() {
        "submission" => OnChain::Submitted {
            accepted: match row_text(at, "outcome")? {
                "accepted" => true,
                "refused" => false,
                _ => return None,
            },
            first: keys.get("first_send") == Some(&Value::Bool(true)),
        },
        "mined" => OnChain::Mined {
            success: keys.get("status").and_then(number_of)? == 1.0,
            block: keys.get("block_number").and_then(Value::as_u64),
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
        tag: row_text(at, "intent").filter(|tag| !tag.is_empty()),
        sender: row_text(at, "from").unwrap_or(""),
        nonce: keys.get("nonce").and_then(Value::as_u64),
        about: row_text(at, "data").and_then(about),
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
fn row_of(history: &mut History, table: &str, row: &FactAt<'_>) -> Option<()> {
    let of = |column: &str| row_text(row, column);
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
            let number = |column: &str| {
                row.fact
                    .keys
                    .get(column)
                    .and_then(|value| number_of(value).or_else(|| value.as_str()?.parse().ok()))
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
