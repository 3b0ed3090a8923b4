//! The record: the target's tables as they were collected after quiescence.

use std::collections::HashMap;

use firedrill_journal::FactSource;

use super::tables::Tables;
use crate::index::{FactAt, Index};

/// The rows of the last collection that an index holds, and what is known of all of them.
#[derive(Debug)]
pub struct Record<'a> {
    rows: HashMap<&'a str, Vec<FactAt<'a>>>,
    /// Intent id → key.
    keys: HashMap<&'a str, &'a str>,
    tables: &'a Tables,
    /// By table and the episode in which their signal was sent: places in the table.
    of_episode: HashMap<(&'a str, Option<usize>), Vec<usize>>,
}

impl<'a> Record<'a> {
    pub fn build(index: &Index<'a>, tables: &'a Tables) -> Self {
        let mut rows: HashMap<&str, Vec<FactAt<'a>>> = HashMap::new();
        for at in index.facts(FactSource::Sql) {
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
        let mut record = Record {
            rows,
            keys,
            tables,
            of_episode: HashMap::new(),
        };
        record.assign(index);
        record
    }

    /// The keys of intents whose own rows aren't held.
    pub fn name(&mut self, index: &Index<'a>, keys: &'a HashMap<String, String>) {
        for (intent, key) in keys {
            self.keys.entry(intent).or_insert(key);
        }
        self.assign(index);
    }

    /// Finds out whose the rows are: a soak's drills each ask for theirs.
    fn assign(&mut self, index: &Index<'a>) {
        let mut all: HashMap<_, Vec<usize>> = HashMap::new();
        for (table, rows) in &self.rows {
            for (place, row) in rows.iter().enumerate() {
                let signal = self.key_of(row).and_then(|key| index.signals.get(key));
                let of = signal.map(|s| s.episode as usize);
                all.entry((*table, of)).or_default().push(place);
            }
        }
        self.of_episode = all;
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
