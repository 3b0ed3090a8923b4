//! The record: the target's tables as they were collected after quiescence.

use std::collections::HashMap;

use firedrill_journal::{FactSource, StreamState};

use crate::facts::text;
use crate::index::{FactAt, Index};
use crate::predicate::number_of;
use crate::words::quote;

/// The rows of the last collection; an earlier one is only a part of it.
#[derive(Debug)]
pub struct Record<'a> {
    tables: HashMap<&'a str, Table<'a>>,
    /// Intent id → key.
    keys: HashMap<&'a str, &'a str>,
    attached: bool,
}

#[derive(Debug, Default)]
struct Table<'a> {
    rows: Vec<FactAt<'a>>,
    /// How many rows the collector says there are.
    stated: Option<u64>,
    /// Why it could not be read.
    error: Option<&'a str>,
}

impl<'a> Record<'a> {
    pub fn build(index: &Index<'a>) -> Self {
        let stream = index.streams.get("sql").map_or(&[][..], Vec::as_slice);
        let attached = stream.iter().filter(|s| s.state == StreamState::Attached);
        let since = attached.map(|s| s.seq).max();
        let lost = stream
            .iter()
            .any(|s| s.state == StreamState::Gap && Some(s.seq) > since);
        let mut tables: HashMap<&str, Table<'a>> = HashMap::new();
        for at in index.facts(FactSource::Sql) {
            if Some(at.seq) <= since {
                continue;
            }
            if at.fact.what == "collected" {
                let Some(name) = text(at, "table") else {
                    continue;
                };
                let stated = at.fact.keys.get("rows").and_then(number_of);
                tables.entry(name).or_default().stated = stated.map(|n| n as u64);
            } else if at.fact.what == "not_collected" {
                let Some(name) = text(at, "table") else {
                    continue;
                };
                tables.entry(name).or_default().error = text(at, "why");
            } else {
                tables.entry(&at.fact.what).or_default().rows.push(*at);
            }
        }
        let mut keys = HashMap::new();
        for row in tables.get("intent").map_or(&[][..], |t| &t.rows) {
            if let (Some(id), Some(key)) = (row_text(row, "id"), row_text(row, "key")) {
                keys.insert(id, key);
            }
        }
        Record {
            tables,
            keys,
            attached: since.is_some() && !lost,
        }
    }

    pub fn rows(&self, table: &str) -> &[FactAt<'a>] {
        self.tables.get(table).map_or(&[], |t| &t.rows)
    }

    /// Why the absence of a row would mean nothing.
    pub fn gap(&self, table: &str) -> Option<String> {
        if !self.attached {
            return Some(
                "the record could not be read to its end: the stream sql was not attached"
                    .to_owned(),
            );
        }
        let Some(known) = self.tables.get(table) else {
            return Some(format!("the table `{table}` was not collected"));
        };
        if let Some(why) = known.error {
            return Some(format!(
                "the table `{table}` could not be read: {}",
                quote(why)
            ));
        }
        let rows = known.rows.len() as u64;
        match known.stated {
            None => Some(format!("the table `{table}` was not collected to its end")),
            Some(stated) if stated != rows => Some(format!(
                "{rows} of {stated} rows of `{table}` stand in the journal"
            )),
            Some(_) => None,
        }
    }

    /// The key of the signal that a row belongs to: its own, or that of its intent.
    pub fn key_of(&self, row: &FactAt<'a>) -> Option<&'a str> {
        row_text(row, "key").or_else(|| self.key_of_intent(row_text(row, "intent")?))
    }

    pub fn key_of_intent(&self, id: &str) -> Option<&'a str> {
        self.keys.get(id).copied()
    }
}

/// Text of a column that lives as long as the journal.
pub fn row_text<'a>(row: &FactAt<'a>, column: &str) -> Option<&'a str> {
    row.fact.keys.get(column)?.as_str()
}
