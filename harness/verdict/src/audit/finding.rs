//! What an equation found, and what may be concluded from it.

use std::collections::BTreeMap;

use super::history::NONE;
use crate::model::Outcome;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    NoIntent,
    NeverEnded,
    TwiceDone,
    TakenForAnother,
    RefusedWithEffect,
    UnknownTwice,
    Unfinished,
    IllegalStep,
    LeadsElsewhere,
    NotInRecord,
    OfAnotherIntent,
    NotOnChain,
    NonceShared,
    MinedNotExecuted,
    MinedTwice,
    ExecutionNotExecuted,
    PositionNotExecuted,
    NoExecution,
    ExecutedTwice,
    ExecutionNotMined,
    ExecutionOfAnother,
    NoReceipt,
    NoPosition,
    TwoPositions,
    ReceiptOfNothing,
    ReceiptTwice,
    ReceiptStatus,
    ReceiptBlock,
    SentAllTheSame,
}

impl Problem {
    /// Whether something that wasn't seen could undo it: a row that is missing, or a block that was
    /// reorganised. The others stand whatever else there is.
    pub fn of_absence(self) -> bool {
        use Problem::*;
        matches!(
            self,
            NoIntent
                | NeverEnded
                | Unfinished
                | LeadsElsewhere
                | NotInRecord
                | NotOnChain
                | MinedNotExecuted
                | NoExecution
                | ExecutionNotMined
                | NoReceipt
                | NoPosition
                | ReceiptOfNothing
                | ReceiptStatus
                | ReceiptBlock
        )
    }
}

/// One thing that is wrong, by the numbers of the history; [`NONE`] where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    pub problem: Problem,
    pub key: u32,
    pub intent: u32,
    pub tx: u32,
}

impl Offence {
    pub fn of_key(problem: Problem, key: u32) -> Self {
        Offence {
            problem,
            key,
            intent: NONE,
            tx: NONE,
        }
    }

    pub fn of_intent(problem: Problem, key: u32, intent: u32) -> Self {
        Offence {
            intent,
            ..Offence::of_key(problem, key)
        }
    }

    pub fn of_tx(problem: Problem, key: u32, tx: u32) -> Self {
        Offence {
            tx,
            ..Offence::of_key(problem, key)
        }
    }
}

/// Counts of one equation, and the offender of which the journal says least.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub samples: u64,
    /// Violations that stand whatever else there is.
    pub found: u64,
    /// Violations that something which wasn't seen could undo.
    pub absent: u64,
    /// What a restore of the record may have lost: seen, and not held against the target.
    pub allowed: u64,
    found_least: Option<(u16, Offence)>,
    absent_least: Option<(u16, Offence)>,
}

impl Tally {
    pub fn put(&mut self, offence: Offence, weight: u16) {
        let (count, least) = if offence.problem.of_absence() {
            (&mut self.absent, &mut self.absent_least)
        } else {
            (&mut self.found, &mut self.found_least)
        };
        *count += 1;
        if least.is_none_or(|(known, _)| weight < known) {
            *least = Some((weight, offence));
        }
    }
}

/// One equation, evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    pub id: &'static str,
    pub what: &'static str,
    /// `chain`, or the tables without which nothing follows.
    pub sources: &'static [&'static str],
    /// Once a signal was accepted, there must be something to compare.
    pub needed: bool,
    pub(super) tally: Tally,
}

impl Finding {
    /// How many things were compared.
    pub fn samples(&self) -> u64 {
        self.tally.samples
    }

    /// How many of them a restore of the record may have lost.
    pub fn allowed(&self) -> u64 {
        self.tally.allowed
    }

    /// Violations that stand whatever else there is.
    pub fn definite(&self) -> u64 {
        self.tally.found
    }

    pub fn violations(&self) -> u64 {
        self.tally.found + self.tally.absent
    }

    /// The offender of which the journal says least; one that stands before one that may not.
    pub fn least(&self) -> Option<Offence> {
        let least = self.tally.found_least.or(self.tally.absent_least);
        least.map(|(_, offence)| offence)
    }

    /// The verdict, and what keeps it from being a definite one.
    pub fn conclude(&self, gaps: &Gaps) -> (Outcome, Option<String>) {
        if self.tally.found > 0 {
            return (Outcome::Fail, None);
        }
        let gap = self.sources.iter().find_map(|s| gaps.missing.get(s));
        if let Some(why) = gap {
            return (Outcome::Inconclusive, Some(why.clone()));
        }
        if !gaps.complete {
            let why = "the journal ends early".to_owned();
            return (Outcome::Inconclusive, Some(why));
        }
        if self.tally.absent > 0 {
            return (Outcome::Fail, None);
        }
        if self.tally.samples == self.tally.allowed && self.needed && gaps.required {
            let why = match self.tally.allowed {
                0 => "0 of 0: nothing was there to compare".to_owned(),
                n => format!("nothing is left to compare: the restore lost all {n}"),
            };
            return (Outcome::Inconclusive, Some(why));
        }
        (Outcome::Pass, None)
    }
}

/// What the history could not be fed.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    /// Source (`chain`, `states`, `restore`, a table) to the reason why its silence means nothing.
    pub missing: BTreeMap<&'static str, String>,
    /// The journal was neither cut nor ended early.
    pub complete: bool,
    /// A signal was accepted.
    pub required: bool,
}
