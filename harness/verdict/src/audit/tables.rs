//! What was collected of the target's tables: how many rows, whether all of them, and what became of intents.

use std::collections::BTreeMap;

use firedrill_journal::FactView;

use crate::predicate::number_of;
use crate::soak::IntentShares;
use crate::words::quote;

/// One table of the last collection.
#[derive(Clone, Debug, Default)]
struct Table {
    /// Rows that stand in the journal.
    rows: u64,
    /// How many the collector says there are.
    stated: Option<u64>,
    /// Why it could not be read.
    error: Option<String>,
    /// In the order of their coming.
    columns: Vec<String>,
}

impl Table {
    /// Takes the names of a row's columns in. Most rows have the same ones, in the same places.
    fn name(&mut self, fact: &FactView<'_>) {
        let mut place = 0;
        fact.keys.each_name(&mut |name| {
            let there = self.columns.get(place).is_some_and(|known| known == name);
            if !there && !self.columns.iter().any(|known| known == name) {
                self.columns.push(name.to_owned());
            }
            place += 1;
        });
    }
}

/// The tables of the last collection; an earlier one is only a part of it.
#[derive(Debug)]
pub struct Tables {
    tables: BTreeMap<String, Table>,
    /// The line with which the last collection began.
    since: Option<u64>,
    /// It was told, and isn't to be found out.
    told: bool,
    lost: bool,
    executed: Vec<String>,
    /// Rows of intents by the state that stands in them.
    pub states: BTreeMap<String, u64>,
    /// Those that weren't executed with the reason that the record gives.
    pub shares: IntentShares,
    /// There was another collection after the one that was taken for the last.
    pub again: bool,
}

impl Tables {
    pub fn new(executed: &[String], since: Option<u64>) -> Self {
        Tables {
            tables: BTreeMap::new(),
            told: since.is_some(),
            since,
            lost: false,
            executed: executed.to_vec(),
            states: BTreeMap::new(),
            shares: IntentShares::default(),
            again: false,
        }
    }

    /// A collection begins on that line.
    pub fn attached(&mut self, seq: u64) {
        if !self.told {
            self.again |= !self.tables.is_empty();
            self.since = Some(seq);
            self.lost = false;
        }
    }

    /// The collection broke off on that line.
    pub fn broke(&mut self, seq: u64) {
        self.lost |= Some(seq) > self.since;
    }

    /// Counts a fact; whether it belongs to the last collection.
    pub fn see(&mut self, seq: u64, fact: &FactView<'_>) -> bool {
        if Some(seq) <= self.since {
            return false;
        }
        let named = || fact.text("table").map(str::to_owned);
        match fact.what {
            "collected" => {
                let stated = fact.keys.get("rows").and_then(number_of);
                if let Some(name) = named() {
                    self.tables.entry(name).or_default().stated = stated.map(|n| n as u64);
                }
            }
            "not_collected" => {
                if let Some(name) = named() {
                    let why = fact.text("why").map(str::to_owned);
                    self.tables.entry(name).or_default().error = why;
                }
            }
            table => self.row(table, fact),
        }
        true
    }

    fn row(&mut self, table: &str, fact: &FactView<'_>) {
        if !self.tables.contains_key(table) {
            self.tables.insert(table.to_owned(), Table::default());
        }
        if let Some(known) = self.tables.get_mut(table) {
            known.rows += 1;
            known.name(fact);
        }
        if table == "intent" {
            let (status, reason) = (fact.text("status"), fact.text("reason"));
            let (status, reason) = (status.unwrap_or(""), reason.unwrap_or(""));
            *self.states.entry(quote(status)).or_default() += 1;
            self.shares.total += 1;
            if self.executed.iter().any(|e| e == status) {
                self.shares.executed += 1;
                return;
            }
            let class = match reason {
                "" => quote(status),
                reason => format!("{}: {}", quote(status), quote(reason)),
            };
            *self.shares.rest.entry(class).or_default() += 1;
        }
    }

    /// Whether all that will come of a table has come.
    pub fn is_closed(&self, table: &str) -> bool {
        let known = self.tables.get(table);
        known.is_some_and(|t| t.stated.is_some() || t.error.is_some())
    }

    /// The line with which the last collection began.
    pub fn since(&self) -> Option<u64> {
        self.since
    }

    pub fn rows(&self, table: &str) -> u64 {
        self.tables.get(table).map_or(0, |t| t.rows)
    }

    /// Whether a row of the table has that column.
    pub fn has(&self, table: &str, name: &str) -> bool {
        let known = self.tables.get(table);
        known.is_some_and(|t| t.columns.iter().any(|known| known == name))
    }

    /// What became of the intents, with the executed share.
    pub fn intents(&self) -> IntentShares {
        let mut shares = self.shares.clone();
        let total = shares.total;
        shares.executed_share = (total > 0).then(|| shares.executed as f64 / total as f64);
        shares
    }

    /// Why the absence of a row would mean nothing.
    pub fn gap(&self, table: &str) -> Option<String> {
        if self.since.is_none() || self.lost {
            return Some(
                "the record could not be read to its end: the stream sql was not attached"
                    .to_owned(),
            );
        }
        let Some(known) = self.tables.get(table) else {
            return Some(format!("the table `{table}` was not collected"));
        };
        if let Some(why) = &known.error {
            return Some(format!(
                "the table `{table}` could not be read: {}",
                quote(why)
            ));
        }
        let rows = known.rows;
        match known.stated {
            None => Some(format!("the table `{table}` was not collected to its end")),
            Some(stated) if stated != rows => Some(format!(
                "{rows} of {stated} rows of `{table}` stand in the journal"
            )),
            Some(_) => None,
        }
    }
}
