//! The equations of the audit, over a history that was fed to its end.

use super::finding::{Finding, Offence, Problem, Tally};
use super::history::{History, KeyState, NONE, POSITION, intent, key, marked, tx};
use super::shapes::UNKNOWN_STATE;

/// What transactions add up to per key. Two bytes, for there are as many as signals.
#[derive(Clone, Copy, Default)]
struct OfKey {
    flags: u8,
    /// Distinct nonces under which the chain accepted something.
    nonces: u8,
}

const SUBMITTED: u8 = 1;
const MINED: u8 = 2;
const MINED_TWICE: u8 = 4;
/// A transaction that the record of sends doesn't give to an intent.
const LOOSE: u8 = 8;
const LOOSE_MINED: u8 = 16;
const LOOSE_MINED_TWICE: u8 = 32;
const LOOSE_CHANGED: u8 = 64;

/// A transaction that the chain accepted, as nonces are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spent {
    sender: u16,
    nonce: u64,
    who: u32,
    tx: u32,
}

/// Top bit of [`Spent::who`]: a tag that belongs to no known key.
const TAG: u32 = 1 << 31;

/// Accepted signals, how many of them the chain was sent, and how many it put into a block.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnTheChain {
    pub accepted: u64,
    pub sent: u64,
    pub in_block: u64,
}

impl History {
    /// Evaluates all equations, in the order in which they are reported. Nothing can be fed any more.
    pub fn finish(&mut self) -> Vec<Finding> {
        self.seal();
        let mut of_keys = vec![OfKey::default(); self.key.len()];
        let nonces = self.nonces(&mut of_keys);
        self.add_up(&mut of_keys);
        let mut by_key = ByKey::default();
        for (id, state) in self.key.iter().enumerate() {
            by_key.add(id as u32, *state, of_keys[id]);
        }
        let (mut terminal, mut mined, mut not_sent) = Default::default();
        let mut steps = self.steps;
        for id in 0..self.intent.len() as u32 {
            self.ends(id, &mut terminal);
            self.path(id, &mut steps);
            self.execution_of(id, &of_keys, &mut mined);
            self.kept_back(id, &of_keys, &mut not_sent);
        }
        let (chain_in_record, record_in_chain) = self.sends();
        let all = [
            by_key.lost,
            by_key.duplicates,
            by_key.merged,
            by_key.refused,
            terminal,
            steps,
            chain_in_record,
            record_in_chain,
            nonces,
            mined,
            self.receipts,
            not_sent,
            by_key.unknown,
        ];
        let findings = EQUATIONS.iter().zip(all);
        findings
            .map(|((id, what, sources, needed), tally)| Finding {
                id,
                what,
                sources,
                needed: *needed,
                tally,
            })
            .collect()
    }

    /// How the accepted signals stand on the chain, by their tags alone.
    pub(super) fn on_the_chain(&self) -> OnTheChain {
        let mut of_keys = vec![0_u8; self.key.len()];
        for (id, state) in self.tx.iter().enumerate() {
            if let Some(flags) = of_keys.get_mut(self.key_of_tx(id as u32) as usize) {
                *flags |= if state.is(tx::ACCEPTED) { SUBMITTED } else { 0 };
                *flags |= if self.in_block(id as u32) { MINED } else { 0 };
            }
        }
        let accepted = self.key.iter().map(|k| k.flags & key::ACCEPTED != 0);
        let accepted = accepted.zip(of_keys).filter(|(accepted, _)| *accepted);
        let mut seen = OnTheChain::default();
        for (_, flags) in accepted {
            seen.accepted += 1;
            seen.sent += u64::from(flags & SUBMITTED != 0);
            seen.in_block += u64::from(flags & MINED != 0);
        }
        seen
    }

    /// The nonce of a transaction, if the chain accepted it and it is known whose it is.
    fn spent(&self, id: u32) -> Option<Spent> {
        let state = self.tx.get(id as usize)?;
        if !state.is(tx::ACCEPTED) || !state.is(tx::NONCE) || state.owner == NONE {
            return None;
        }
        let who = match self.key_of_tx(id) {
            NONE if state.is(tx::RECORDED) => return None,
            NONE => state.owner | TAG,
            key => key,
        };
        Some(Spent {
            sender: state.sender,
            nonce: state.nonce(),
            who,
            tx: id,
        })
    }

    /// No nonce serves two intents. Fills in how many nonces each key used.
    fn nonces(&self, of_keys: &mut [OfKey]) -> Tally {
        let all = (0..self.tx.len() as u32).filter(|id| self.spent(*id).is_some());
        // Counted first: a list that grows is held twice for a moment. Numbers only: a day has a million of them.
        let mut ids = Vec::with_capacity(all.clone().count());
        ids.extend(all);
        ids.sort_by_key(|id| self.spent(*id));
        let mut tally = Tally::default();
        let nonce = |id: &u32| self.spent(*id).map(|s| (s.sender, s.nonce));
        let who = |id: &u32| self.spent(*id).map_or(NONE, |s| s.who);
        for group in ids.chunk_by(|a, b| nonce(a) == nonce(b)) {
            tally.samples += 1;
            let (mut keys, mut tags) = (0, 0);
            for one in group.chunk_by(|a, b| who(a) == who(b)) {
                match of_keys.get_mut(who(&one[0]) as usize) {
                    Some(key) => {
                        key.nonces = key.nonces.saturating_add(1);
                        keys += 1;
                    }
                    None => tags += 1,
                }
            }
            // A tag without a key may be the name of a key that is known from the record alone.
            if keys > 1 || tags > 1 {
                let last = group[group.len() - 1];
                let key = self.key_of_tx(last);
                let offence = Offence::of_tx(Problem::NonceShared, key, last);
                tally.put(offence, self.weight(key));
            }
        }
        tally
    }

    fn add_up(&mut self, of_keys: &mut [OfKey]) {
        for id in 0..self.tx.len() as u32 {
            let state = self.tx[id as usize];
            if !state.is(tx::SUBMITTED) {
                continue;
            }
            let about = self.word.get(self.about_of(id) as usize).copied();
            let changed = state.is(tx::MINED) && about.is_some_and(|word| word & POSITION != 0);
            let recorded = state.is(tx::RECORDED);
            if let Some(of_key) = of_keys.get_mut(self.key_of_tx(id) as usize) {
                of_key.flags |= SUBMITTED | if recorded { 0 } else { LOOSE };
                if state.is(tx::MINED) {
                    of_key.flags |= (of_key.flags & MINED) << 1 | MINED;
                    if !recorded {
                        of_key.flags |= (of_key.flags & LOOSE_MINED) << 1 | LOOSE_MINED;
                    }
                }
                if changed && !recorded {
                    of_key.flags |= LOOSE_CHANGED;
                }
            }
            if recorded {
                let owner = &mut self.intent[state.owner as usize];
                owner.flags |= intent::SUBMITTED;
                owner.mined = owner.mined.saturating_add(u8::from(state.is(tx::MINED)));
                owner.flags |= if changed { intent::CHANGED } else { 0 };
            }
        }
    }

    fn ends(&self, id: u32, tally: &mut Tally) {
        let state = self.intent[id as usize];
        if state.flags & intent::ROW == 0 {
            return;
        }
        tally.samples += 1;
        if !marked(&self.rules.terminal, state.status) {
            let offence = Offence::of_intent(Problem::Unfinished, state.key, id);
            tally.put(offence, self.weight(state.key));
        }
    }

    /// The steps lead from the first state to the one that stands. Where a step was illegal, that
    /// was counted already.
    fn path(&self, id: u32, tally: &mut Tally) {
        let state = self.intent[id as usize];
        if state.flags & intent::ROW == 0 || state.shape == super::shapes::BROKEN {
            return;
        }
        let first = self.rules.initial.unwrap_or(UNKNOWN_STATE);
        if !self.shapes.leads(state.shape, first, state.status) {
            let offence = Offence::of_intent(Problem::LeadsElsewhere, state.key, id);
            tally.put(offence, self.weight(state.key));
        }
    }

    fn execution_of(&self, id: u32, of_keys: &[OfKey], tally: &mut Tally) {
        let state = self.intent[id as usize];
        let of_key = of_keys.get(state.key as usize).copied().unwrap_or_default();
        let loose = u8::from(of_key.flags & LOOSE_MINED != 0)
            + u8::from(of_key.flags & LOOSE_MINED_TWICE != 0);
        let mined = state.mined.saturating_add(loose);
        let executed = marked(&self.rules.executed, state.status);
        let opened = state.flags & (intent::OPENED | intent::CLOSED) != 0;
        let execution = state.execution != NONE;
        let there = executed || mined > 0 || opened || execution;
        if state.flags & intent::ROW == 0 || !there {
            return;
        }
        tally.samples += 1;
        let changed = state.flags & intent::CHANGED != 0 || of_key.flags & LOOSE_CHANGED != 0;
        let problem = if !executed {
            Some(match (mined > 0, execution) {
                (true, _) => Problem::MinedNotExecuted,
                (false, true) => Problem::ExecutionNotExecuted,
                (false, false) => Problem::PositionNotExecuted,
            })
        } else if mined > 1 {
            Some(Problem::MinedTwice)
        } else if !execution {
            Some(Problem::NoExecution)
        } else if state.flags & intent::EXECUTED_TWICE != 0 {
            Some(Problem::ExecutedTwice)
        } else if state.flags & intent::OPENED_TWICE != 0 {
            Some(Problem::TwoPositions)
        } else {
            let wrong = self.wrong_transaction(id);
            wrong.or((!opened && !changed).then_some(Problem::NoPosition))
        };
        if let Some(problem) = problem {
            let offence = Offence::of_intent(problem, state.key, id);
            tally.put(offence, self.weight(state.key));
        }
    }

    /// What is wrong with the transaction that an execution names.
    fn wrong_transaction(&self, id: u32) -> Option<Problem> {
        let state = self.intent[id as usize];
        let real = self.tx[state.execution as usize];
        let key = self.key_of_tx(state.execution);
        if real.is(tx::RECORDED) && real.owner != id || key != NONE && key != state.key {
            Some(Problem::ExecutionOfAnother)
        } else if !real.is(tx::MINED) {
            Some(Problem::ExecutionNotMined)
        } else if !real.is(tx::RECEIPT) {
            Some(Problem::NoReceipt)
        } else {
            None
        }
    }

    fn kept_back(&self, id: u32, of_keys: &[OfKey], tally: &mut Tally) {
        let state = self.intent[id as usize];
        if state.flags & intent::ROW == 0 || !marked(&self.rules.not_sent, state.status) {
            return;
        }
        tally.samples += 1;
        let of_key = of_keys.get(state.key as usize);
        let loose = of_key.is_some_and(|k| k.flags & LOOSE != 0);
        if state.flags & intent::SUBMITTED != 0 || loose {
            let offence = Offence::of_intent(Problem::SentAllTheSame, state.key, id);
            tally.put(offence, self.weight(state.key));
        }
    }

    /// Whether a restore may have lost a transaction that isn't in the record. One that was mined for an intent
    /// that is in the record must be known to it: the chain can be asked.
    fn may_be_lost(&self, id: u32) -> bool {
        let state = self.tx[id as usize];
        let key = self.key.get(self.key_of_tx(id) as usize);
        let in_block = state.is(tx::MINED) || state.is(tx::REVERTED);
        !state.is(tx::KEPT) && (!in_block || key.is_none_or(|key| key.intents == 0))
    }

    /// What the chain accepted stands in the record, and the other way round.
    fn sends(&self) -> (Tally, Tally) {
        let (mut forth, mut back) = (Tally::default(), Tally::default());
        for (id, state) in self.tx.iter().enumerate() {
            let put = |tally: &mut Tally, problem| {
                let key = self.key_of_tx(id as u32);
                let offence = Offence::of_tx(problem, key, id as u32);
                tally.put(offence, self.weight(key));
            };
            if state.is(tx::ACCEPTED) {
                forth.samples += 1;
                if state.is(tx::FOREIGN) {
                    put(&mut forth, Problem::OfAnotherIntent);
                } else if !state.is(tx::RECORDED) && self.may_be_lost(id as u32) {
                    forth.allowed += 1;
                } else if !state.is(tx::RECORDED) {
                    put(&mut forth, Problem::NotInRecord);
                }
            }
            if state.is(tx::ACKNOWLEDGED) {
                back.samples += 1;
                if !state.is(tx::ACCEPTED) {
                    put(&mut back, Problem::NotOnChain);
                }
            }
        }
        for _ in 0..self.nameless {
            back.samples += 1;
            back.put(Offence::of_key(Problem::NotOnChain, NONE), u16::MAX);
        }
        (forth, back)
    }
}

/// The equations about one key each.
#[derive(Default)]
struct ByKey {
    lost: Tally,
    duplicates: Tally,
    merged: Tally,
    refused: Tally,
    unknown: Tally,
}

impl ByKey {
    fn add(&mut self, id: u32, state: KeyState, of_key: OfKey) {
        let is = |flags: u8| state.flags & flags != 0;
        let did = |flag: u8| of_key.flags & flag != 0;
        let check = |tally: &mut Tally, problem: Option<Problem>| {
            tally.samples += 1;
            if let Some(problem) = problem {
                tally.put(Offence::of_key(problem, id), state.weight);
            }
        };
        if is(key::ACCEPTED | key::DUPLICATE) {
            let problem = if state.intents == 0 && !is(key::KEPT) {
                self.lost.allowed += 1;
                None
            } else if state.intents == 0 {
                Some(Problem::NoIntent)
            } else {
                is(key::UNFINISHED).then_some(Problem::NeverEnded)
            };
            check(&mut self.lost, problem);
        }
        let twice = state.intents > 1 || did(MINED_TWICE) || of_key.nonces > 1;
        check(&mut self.duplicates, twice.then_some(Problem::TwiceDone));
        if is(key::DUPLICATE) {
            let merged = !is(key::ACCEPTED | key::UNKNOWN);
            check(&mut self.merged, merged.then_some(Problem::TakenForAnother));
        }
        let refused =
            is(key::REJECTED | key::FAILED) && !is(key::ACCEPTED | key::DUPLICATE | key::UNKNOWN);
        if refused {
            let effect = state.intents > 0 || did(SUBMITTED);
            check(
                &mut self.refused,
                effect.then_some(Problem::RefusedWithEffect),
            );
        }
        if is(key::UNKNOWN) {
            check(&mut self.unknown, twice.then_some(Problem::UnknownTwice));
        }
    }
}

type Entry = (&'static str, &'static str, &'static [&'static str], bool);

/// Name, meaning, sources, and whether it needs something to compare.
pub(super) const EQUATIONS: [Entry; 13] = [
    (
        "lost",
        "every acknowledged signal is accounted for",
        &["intent", "restore"],
        true,
    ),
    (
        "duplicates",
        "no signal is executed twice",
        &["intent", "chain", "send"],
        true,
    ),
    (
        "false-dedupe",
        "no signal is taken for another one",
        &[],
        false,
    ),
    (
        "rejected-stored-nothing",
        "what was refused or never arrived has no effect",
        &["intent", "chain"],
        false,
    ),
    (
        "terminal",
        "nothing is left unfinished after quiescence",
        &["intent"],
        true,
    ),
    (
        "transitions",
        "every transition is legal, and each history leads to the state that stands",
        &["states", "transition", "intent"],
        true,
    ),
    (
        "chain-in-record",
        "every transaction that the chain accepted stands in the record, under its intent",
        &["chain", "send", "restore"],
        false,
    ),
    (
        "record-in-chain",
        "every acknowledged send of the record stands on the chain",
        &["chain", "send"],
        false,
    ),
    (
        "nonces",
        "no nonce serves two intents",
        &["chain", "senders", "intent", "send"],
        false,
    ),
    (
        "mined",
        "an executed intent has one mined transaction, its receipt, execution and position, \
         and what was mined is executed",
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
    (
        "receipts",
        "each receipt of the record is the chain's: same outcome, same block",
        &["chain", "receipt"],
        false,
    ),
    (
        "not-sent",
        "what ended without being sent never reached the chain",
        &["chain", "intent", "send"],
        false,
    ),
    (
        "unknown-at-most-once",
        "a request without an answer has at most one effect",
        &["intent", "chain", "send"],
        false,
    ),
];
