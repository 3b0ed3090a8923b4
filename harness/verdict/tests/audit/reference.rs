//! The same equations, written down as they are said, with lists of texts and no thought of speed.

use std::collections::BTreeSet;

use firedrill_journal::OpState;
use firedrill_verdict::{Gaps, OnChain, Outcome};

use crate::Outcomes;
use crate::case::{Case, LEGAL, NOT_SENT, OnChainRow, TERMINAL};

/// Compared, wrong for certain, wrong unless something wasn't seen.
type Counts = (u64, u64, u64);
const FINE: Counts = (1, 0, 0);
const FOUND: Counts = (1, 1, 0);
const ABSENT: Counts = (1, 0, 1);

fn sum(all: impl IntoIterator<Item = Counts>) -> Counts {
    let add = |a: Counts, b: Counts| (a.0 + b.0, a.1 + b.1, a.2 + b.2);
    all.into_iter().fold((0, 0, 0), add)
}

fn found_if(wrong: bool) -> Counts {
    if wrong { FOUND } else { FINE }
}

fn absent_if(wrong: bool) -> Counts {
    if wrong { ABSENT } else { FINE }
}

pub fn audit(case: &Case, gaps: &Gaps) -> Outcomes {
    let all: [(&'static str, Counts, &[&str], bool); 13] = [
        ("lost", lost(case), &["intent"], true),
        (
            "duplicates",
            duplicates(case, false),
            &["intent", "chain", "send"],
            true,
        ),
        ("false-dedupe", merged(case), &[], false),
        (
            "rejected-stored-nothing",
            refused(case),
            &["intent", "chain"],
            false,
        ),
        ("terminal", terminal(case), &["intent"], true),
        (
            "transitions",
            transitions(case),
            &["states", "transition", "intent"],
            true,
        ),
        (
            "chain-in-record",
            chain_in_record(case),
            &["chain", "send"],
            false,
        ),
        (
            "record-in-chain",
            record_in_chain(case),
            &["chain", "send"],
            false,
        ),
        ("nonces", nonces(case), &["chain", "intent", "send"], false),
        (
            "mined",
            mined(case),
            &[
                "chain",
                "intent",
                "send",
                "receipt",
                "execution",
                "position",
            ],
            false,
        ),
        ("receipts", receipts(case), &["chain", "receipt"], false),
        (
            "not-sent",
            not_sent(case),
            &["chain", "intent", "send"],
            false,
        ),
        (
            "unknown-at-most-once",
            duplicates(case, true),
            &["intent", "chain", "send"],
            false,
        ),
    ];
    let conclude = |(id, counts, sources, needed): (&'static str, Counts, &[&str], bool)| {
        let blind = !gaps.complete || sources.iter().any(|s| gaps.missing.contains_key(s));
        let (n, found, absent) = counts;
        (id, n, found + absent, outcome(counts, blind, needed))
    };
    all.map(conclude).to_vec()
}

fn outcome((n, found, absent): Counts, blind: bool, needed: bool) -> Outcome {
    match (found > 0, blind, absent > 0, n == 0 && needed) {
        (true, ..) => Outcome::Fail,
        (_, true, ..) => Outcome::Inconclusive,
        (_, _, true, _) => Outcome::Fail,
        (.., true) => Outcome::Inconclusive,
        _ => Outcome::Pass,
    }
}

impl Case {
    fn sent_keys(&self) -> BTreeSet<&str> {
        self.ops.iter().map(|op| op.0.as_str()).collect()
    }

    fn all_keys(&self) -> BTreeSet<&str> {
        let rows = self.intents.iter().map(|row| row.1.as_str());
        self.sent_keys().into_iter().chain(rows).collect()
    }

    fn had(&self, key: &str, state: OpState, known: bool) -> bool {
        let same = |op: &&(String, String, OpState, bool)| {
            op.0 == key && op.2 == state && (state != OpState::Ok || op.3 == known)
        };
        self.ops.iter().any(|op| same(&op))
    }

    fn intent_ids(&self) -> BTreeSet<&str> {
        self.intents.iter().map(|row| row.0.as_str()).collect()
    }

    fn row(&self, id: &str) -> Option<&(String, String, String)> {
        self.intents.iter().find(|row| row.0 == id)
    }

    fn hashes(&self) -> BTreeSet<&str> {
        self.chain.iter().map(|row| row.tx.as_str()).collect()
    }

    fn events<'a>(&'a self, tx: &'a str) -> impl Iterator<Item = &'a OnChainRow> {
        self.chain.iter().filter(move |row| row.tx == tx)
    }

    fn arrived(&self, tx: &str) -> bool {
        let arrival = |r: &OnChainRow| !matches!(r.what, OnChain::Reorged | OnChain::Dropped);
        self.events(tx).any(arrival)
    }

    fn accepted(&self, tx: &str) -> bool {
        self.events(tx).any(|r| match r.what {
            OnChain::Submitted { accepted, .. } => accepted,
            OnChain::Mined { .. } => true,
            _ => false,
        })
    }

    /// Outcome and block, if it is in a block at the end.
    fn block(&self, tx: &str) -> Option<(bool, Option<u64>)> {
        let placing = |r: &&OnChainRow| !matches!(r.what, OnChain::Submitted { .. });
        match self.events(tx).filter(placing).last()?.what {
            OnChain::Mined { success, block } => Some((success, block)),
            _ => None,
        }
    }

    fn succeeded(&self, tx: &str) -> bool {
        self.block(tx).is_some_and(|(success, _)| success)
    }

    fn tag(&self, tx: &str) -> Option<&str> {
        self.chain
            .iter()
            .filter(|r| r.tx == tx)
            .find_map(|r| r.tag.as_deref())
    }

    fn key_of_tag(&self, tx: &str) -> Option<&str> {
        let tag = self.tag(tx)?;
        self.ops
            .iter()
            .find(|op| op.1 == tag)
            .map(|op| op.0.as_str())
    }

    /// The intent that the record gives it to first.
    fn owner(&self, tx: &str) -> Option<&str> {
        let row = self.sends.iter().find(|row| row.1.as_deref() == Some(tx));
        row.map(|row| row.0.as_str())
    }

    fn key_of_tx(&self, tx: &str) -> Option<&str> {
        match self.owner(tx) {
            Some(id) => self.row(id).map(|row| row.1.as_str()),
            None => self.key_of_tag(tx),
        }
    }

    fn txs_of_key<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.hashes().into_iter();
        all.filter(move |tx| self.key_of_tx(tx) == Some(key))
    }

    /// Transactions that the record gives to the intent, or that the record doesn't know and the
    /// chain gives to its key.
    fn txs_of_intent<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a str> {
        let key = self.row(id).map(|row| row.1.as_str());
        let all = self.hashes().into_iter();
        all.filter(move |tx| match self.owner(tx) {
            Some(owner) => owner == id,
            None => key.is_some() && self.key_of_tag(tx) == key,
        })
    }

    fn nonce(&self, tx: &str) -> Option<u64> {
        self.events(tx).next().map(|row| row.nonce)
    }
}

fn lost(case: &Case) -> Counts {
    let acknowledged = |k: &&str| case.had(k, OpState::Ok, false) || case.had(k, OpState::Ok, true);
    sum(case
        .sent_keys()
        .into_iter()
        .filter(acknowledged)
        .map(|key| {
            let rows = || case.intents.iter().filter(|row| row.1 == key);
            absent_if(rows().count() == 0 || rows().any(|r| !TERMINAL.contains(&r.2.as_str())))
        }))
}

fn duplicates(case: &Case, unknown_only: bool) -> Counts {
    let keys = case.all_keys().into_iter();
    let keys = keys.filter(|k| !unknown_only || case.had(k, OpState::Unknown, false));
    sum(keys.map(|key| {
        let intents = case.intents.iter().filter(|row| row.1 == key).count();
        let mined = case.txs_of_key(key).filter(|tx| case.succeeded(tx)).count();
        let accepted = case.txs_of_key(key).filter(|tx| case.accepted(tx));
        let nonces: BTreeSet<_> = accepted.filter_map(|tx| case.nonce(tx)).collect();
        found_if(intents > 1 || mined > 1 || nonces.len() > 1)
    }))
}

fn merged(case: &Case) -> Counts {
    let known = |k: &&str| case.had(k, OpState::Ok, true);
    sum(case.sent_keys().into_iter().filter(known).map(|key| {
        let before = case.had(key, OpState::Ok, false) || case.had(key, OpState::Unknown, false);
        found_if(!before)
    }))
}

fn refused(case: &Case) -> Counts {
    let refused = |k: &&str| {
        let all = case.ops.iter().filter(|op| op.0 == **k);
        all.clone().count() > 0
            && all
                .clone()
                .all(|op| matches!(op.2, OpState::Rejected | OpState::Failed))
    };
    sum(case.sent_keys().into_iter().filter(refused).map(|key| {
        let stored = case.intents.iter().any(|row| row.1 == key);
        found_if(stored || case.txs_of_key(key).any(|tx| case.arrived(tx)))
    }))
}

fn terminal(case: &Case) -> Counts {
    let ids = case.intent_ids().into_iter();
    sum(ids
        .filter_map(|id| case.row(id))
        .map(|row| absent_if(!TERMINAL.contains(&row.2.as_str()))))
}

fn transitions(case: &Case) -> Counts {
    let legal = |from: &str, to: &str| LEGAL.contains(&(from, to));
    let steps = sum(case
        .transitions
        .iter()
        .map(|(_, a, b)| found_if(!legal(a, b))));
    let paths = case
        .intent_ids()
        .into_iter()
        .filter_map(|id| case.row(id))
        .map(|row| {
            let own = case.transitions.iter().filter(|step| step.0 == row.0);
            let own: Vec<(&str, &str)> = own.map(|s| (s.1.as_str(), s.2.as_str())).collect();
            let broken = own.iter().any(|(a, b)| !legal(a, b));
            let (_, found, absent) = absent_if(!broken && !walks("CREATED", &own, &row.2));
            (0, found, absent)
        });
    sum([steps, sum(paths)])
}

/// Whether all steps can be made one after the other, from one state to another.
fn walks(from: &str, steps: &[(&str, &str)], to: &str) -> bool {
    if steps.is_empty() {
        return from == to;
    }
    (0..steps.len()).any(|at| {
        let mut rest = steps.to_vec();
        let (a, b) = rest.remove(at);
        a == from && walks(b, &rest, to)
    })
}

fn chain_in_record(case: &Case) -> Counts {
    sum(case
        .hashes()
        .into_iter()
        .filter(|tx| case.accepted(tx))
        .map(|tx| {
            let rows = || case.sends.iter().filter(|row| row.1.as_deref() == Some(tx));
            let owners: BTreeSet<_> = rows().map(|row| &row.0).collect();
            let (said, known) = (case.key_of_tx(tx), case.key_of_tag(tx));
            if owners.len() > 1 || said.is_some() && known.is_some() && said != known {
                FOUND
            } else {
                absent_if(owners.is_empty())
            }
        }))
}

fn record_in_chain(case: &Case) -> Counts {
    let acknowledged = || case.sends.iter().filter(|row| row.2);
    let hashes: BTreeSet<&str> = acknowledged().filter_map(|row| row.1.as_deref()).collect();
    let nameless = acknowledged().filter(|row| row.1.is_none());
    let named = hashes.into_iter().map(|tx| absent_if(!case.accepted(tx)));
    sum([sum(named), sum(nameless.map(|_| ABSENT))])
}

fn nonces(case: &Case) -> Counts {
    // A key, or the tag of something that isn't known.
    let who = |tx: &str| match (case.key_of_tx(tx), case.owner(tx)) {
        (Some(key), _) => Some((Some(key), None)),
        (None, Some(_)) => None,
        (None, None) => case.tag(tx).map(|tag| (None, Some(tag))),
    };
    let accepted = case.hashes().into_iter().filter(|tx| case.accepted(tx));
    let spent: Vec<_> = accepted
        .filter_map(|tx| Some((case.nonce(tx)?, who(tx)?)))
        .collect();
    let all: BTreeSet<u64> = spent.iter().map(|(nonce, _)| *nonce).collect();
    sum(all.into_iter().map(|nonce| {
        let same = || spent.iter().filter(|(n, _)| *n == nonce);
        let keys: BTreeSet<_> = same().filter_map(|(_, who)| who.0).collect();
        let tags: BTreeSet<_> = same().filter_map(|(_, who)| who.1).collect();
        found_if(keys.len() > 1 || tags.len() > 1)
    }))
}

fn mined(case: &Case) -> Counts {
    let ids = case.intent_ids().into_iter();
    sum(ids.filter_map(|id| case.row(id)).map(|(id, _, status)| {
        let mined: Vec<_> = case
            .txs_of_intent(id)
            .filter(|tx| case.succeeded(tx))
            .collect();
        let executions: Vec<_> = case.executions.iter().filter(|row| row.0 == *id).collect();
        let opened = case.positions.iter().filter(|row| row.1 == *id).count();
        let closed = case.positions.iter().any(|row| row.2.as_ref() == Some(id));
        let something = !mined.is_empty() || !executions.is_empty() || opened > 0 || closed;
        if status != "MINED" {
            return match (something, mined.is_empty()) {
                (false, _) => (0, 0, 0),
                (true, false) => ABSENT,
                (true, true) => FOUND,
            };
        }
        if mined.len() > 1 {
            return FOUND;
        }
        let Some((_, hash)) = executions.first() else {
            return ABSENT;
        };
        let others = case.owner(hash).is_some_and(|owner| owner != id);
        let key = case.key_of_tx(hash);
        let others = others || key.is_some() && key != case.row(id).map(|row| row.1.as_str());
        if executions.len() > 1 || opened > 1 || others {
            return FOUND;
        }
        let receipt = case.receipts.iter().any(|row| row.0 == *hash);
        let changed = mined.iter().any(|tx| {
            let about = case
                .chain
                .iter()
                .find_map(|r| (r.tx == *tx).then(|| r.about.clone())?);
            about.is_some_and(|about| case.positions.iter().any(|row| row.0 == about))
        });
        absent_if(!case.succeeded(hash) || !receipt || opened == 0 && !closed && !changed)
    }))
}

fn receipts(case: &Case) -> Counts {
    sum(case
        .receipts
        .iter()
        .enumerate()
        .map(|(at, (tx, success, block))| {
            let Some((real, place)) = case.block(tx) else {
                return ABSENT;
            };
            if case.receipts[..at].iter().any(|row| row.0 == *tx) {
                return FOUND;
            }
            absent_if(real != *success || place != Some(*block))
        }))
}

fn not_sent(case: &Case) -> Counts {
    let ids = case.intent_ids().into_iter().filter_map(|id| case.row(id));
    let held = ids.filter(|row| NOT_SENT.contains(&row.2.as_str()));
    sum(held.map(|row| found_if(case.txs_of_intent(&row.0).any(|tx| case.arrived(tx)))))
}
