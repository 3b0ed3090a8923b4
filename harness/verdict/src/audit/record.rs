//! The record: the target's tables as they were collected after quiescence.

use std::collections::HashMap;

use firedrill_journal::{FactSource, SignalRef};

use super::tables::Tables;
use crate::index::{FactAt, Index};

/// Rows of the last collection, and what is known of all of them.
#[derive(Debug)]
pub struct Record<'a> {
    rows: HashMap<&'a str, Vec<FactAt<'a>>>,
    /// Intent id → key.
    keys: HashMap<&'a str, &'a str>,
    /// Signals that the index doesn't hold, by their keys.
    signals: HashMap<&'a str, &'a SignalRef>,
    tables: &'a Tables,
    /// By table and the episode in which their signal was sent: places in the table.
    of_episode: HashMap<(&'a str, Option<usize>), Vec<usize>>,
}

impl<'a> Record<'a> {
    /// The rows that an index holds.
    pub fn build(index: &Index<'a>, tables: &'a Tables) -> Self {
        let mut record = Record::of(index.facts(FactSource::Sql), tables);
        record.assign(index);
        record
    }

    /// Rows that the index doesn't hold, with the signals that they belong to, and the keys of intents whose own rows
    /// may not be among them.
    pub fn apart(
        index: &Index<'a>,
        tables: &'a Tables,
        rows: &[FactAt<'a>],
        signals: &'a [SignalRef],
        keys: &'a HashMap<String, String>,
    ) -> Self {
        let mut record = Record::of(rows, tables);
        for row in rows {
            let intent = row_text(row, "intent").and_then(|id| keys.get_key_value(id));
            if let Some((intent, key)) = intent {
                record.keys.entry(intent).or_insert(key);
            }
        }
        record.signals = signals.iter().map(|s| (s.key.as_str(), s)).collect();
        record.assign(index);
        record
    }

    fn of(facts: &[FactAt<'a>], tables: &'a Tables) -> Self {
        let mut rows: HashMap<&str, Vec<FactAt<'a>>> = HashMap::new();
        for at in facts {
            let told = matches!(at.fact.what.as_str(), "collected" | "not_collected");
            if !told && Some(at.seq) > tables.since() {
                rows.entry(&at.fact.what).or_default().push(*at);
            }
        }
        let mut keys = HashMap::new();
        for row in rows.get("intent").into_iter().flatten() {
            if let (Some(id), Some(key)) = (row_text(row, "id"), row_text(row, "key")) {
                keys.insert(id, key);
            }
        }
        Record {
            rows,
            keys,
            signals: HashMap::new(),
            tables,
            of_episode: HashMap::new(),
        }
    }

    /// Finds out whose the rows are: a soak's drills each ask for theirs.
    fn assign(&mut self, index: &Index<'a>) {
        let mut all: HashMap<_, Vec<usize>> = HashMap::new();
        for (table, rows) in &self.rows {
            for (place, row) in rows.iter().enumerate() {
                let of = self.signal_of(index, row).map(|s| s.episode as usize);
                all.entry((*table, of)).or_default().push(place);
            }
        }
        self.of_episode = all;
    }

    /// The signal that a row belongs to, where that is known.
    pub fn signal_of(&self, index: &Index<'a>, row: &FactAt<'a>) -> Option<&'a SignalRef> {
        let key = self.key_of(row)?;
        let known = index.signals.get(key).or_else(|| self.signals.get(key));
        known.copied()
    }

    /// The rows that belong to signals of an episode, and if asked for those of which nobody knows whose they are.
    pub fn of_episode(&self, table: &str, episode: usize, nobodys: bool) -> Vec<FactAt<'a>> {
        let of = |of| self.of_episode.get(&(table, of)).into_iter().flatten();
        let mut places: Vec<usize> = of(Some(episode)).copied().collect();
        if nobodys {
            places.extend(of(None));
            places.sort_unstable();
        }
        let rows = self.rows(table);
        places
            .iter()
            .filter_map(|at| rows.get(*at).copied())
            .collect()
    }

    pub fn rows(&self, table: &str) -> &[FactAt<'a>] {
        self.rows.get(table).map_or(&[], Vec::as_slice)
    }

    /// How many rows were collected, whether they are held or not.
    pub fn count(&self, table: &str) -> u64 {
        self.tables.rows(table)
    }

    /// Whether a row that was collected has that column.
    pub fn has(&self, table: &str, column: &str) -> bool {
        self.tables.has(table, column)
    }

    /// Why the absence of a row would mean nothing.
    pub fn gap(&self, table: &str) -> Option<String> {
        self.tables.gap(table)
    }

    /// The key of the signal that a row belongs to: its own, or that of its intent.
    pub fn key_of(&self, row: &FactAt<'a>) -> Option<&'a str> {
        row_text(row, "key").or_else(|| self.keys.get(row_text(row, "intent")?).copied())
    }
}

/// Text of a column that lives as long as the journal.
pub fn row_text<'a>(row: &FactAt<'a>, column: &str) -> Option<&'a str> {
    row.fact.keys.get(column)?.as_str()
}
