//! The history of a run, fed event by event, in about 120 bytes a signal whatever its texts' length.
//!
//! The order: operations and chain events as they came, then the record's rows, table by table:
//! intents, sends, receipts, then the others in any order.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use firedrill_journal::OpState;
use firedrill_plan::States;

use super::finding::{Offence, Problem, Tally};
use super::names::{Interner, Name};
use super::shapes::{BROKEN, EMPTY, Shapes, State, UNKNOWN_STATE};
use crate::chunked::Chunked;

/// No number: a reference that isn't known.
pub const NONE: u32 = u32::MAX;

/// What is known about a key, in four bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyState {
    pub flags: u8,
    /// Rows of intents.
    pub intents: u8,
    /// How many lines speak of it.
    pub weight: u16,
}

pub mod key {
    pub const ACCEPTED: u8 = 1;
    pub const DUPLICATE: u8 = 2;
    pub const REJECTED: u8 = 4;
    pub const FAILED: u8 = 8;
    pub const UNKNOWN: u8 = 16;
    /// An intent of its never came to an end.
    pub const UNFINISHED: u8 = 32;
    /// Acknowledged at a time that no restore of the record can have undone.
    pub const KEPT: u8 = 64;
}

#[derive(Clone, Copy, Debug)]
pub struct IntentState {
    pub key: u32,
    pub shape: u32,
    /// Transaction of its execution.
    pub execution: u32,
    pub status: State,
    pub flags: u8,
    /// Mined transactions that the record of sends gives it; set at the end.
    pub mined: u8,
}

pub mod intent {
    /// Its row was read.
    pub const ROW: u8 = 1;
    pub const EXECUTED_TWICE: u8 = 2;
    pub const OPENED: u8 = 4;
    pub const OPENED_TWICE: u8 = 8;
    pub const CLOSED: u8 = 16;
    /// One of its transactions changed a position of another intent.
    pub const CHANGED: u8 = 32;
    /// One of its transactions arrived at the chain.
    pub const SUBMITTED: u8 = 64;
}

/// A transaction, in twenty bytes.
#[derive(Clone, Copy, Debug)]
pub struct TxState {
    /// Number of its intent if it is in the record, else of its tag.
    pub owner: u32,
    nonce: [u32; 2],
    pub block: u32,
    pub sender: u16,
    pub flags: u16,
}

impl TxState {
    pub fn nonce(&self) -> u64 {
        u64::from(self.nonce[0]) | u64::from(self.nonce[1]) << 32
    }

    pub fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

pub mod tx {
    /// Arrived at the chain, accepted or refused.
    pub const SUBMITTED: u16 = 1;
    /// In the chain's keeping at some time.
    pub const ACCEPTED: u16 = 2;
    /// In a block now, with success.
    pub const MINED: u16 = 4;
    /// In a block now, reverted.
    pub const REVERTED: u16 = 8;
    pub const NONCE: u16 = 16;
    /// In the record; the owner is an intent.
    pub const RECORDED: u16 = 32;
    /// The record says that it was accepted.
    pub const ACKNOWLEDGED: u16 = 64;
    /// The record gives it to another intent than the chain does.
    pub const FOREIGN: u16 = 128;
    pub const RECEIPT: u16 = 256;
    pub const BLOCK: u16 = 512;
    /// Arrived at a time whose record no restore can have undone.
    pub const KEPT: u16 = 1024;
}

/// Top bit of a word's state: a position has it as its id. The rest is the key that it names.
pub const POSITION: u32 = 1 << 31;
const WORD_KEY: u32 = POSITION - 1;

/// What the chain says of a transaction.
#[derive(Clone, Copy, Debug)]
pub enum OnChain {
    Submitted { accepted: bool, first: bool },
    Mined { success: bool, block: Option<u64> },
    Reorged,
    Dropped,
}

/// One event of the chain.
#[derive(Clone, Copy, Debug)]
pub struct ChainEvent<'a> {
    pub what: OnChain,
    pub tx: Option<&'a str>,
    /// The chain's name for the intent.
    pub tag: Option<&'a str>,
    pub sender: &'a str,
    pub nonce: Option<u64>,
    /// Id of a position that its call names.
    pub about: Option<&'a str>,
}

/// The states of the target file, by number.
#[derive(Debug, Default)]
pub struct Rules {
    ids: BTreeMap<String, State>,
    pub terminal: Vec<bool>,
    pub executed: Vec<bool>,
    pub not_sent: Vec<bool>,
    legal: BTreeSet<(State, State)>,
    pub initial: Option<State>,
}

impl Rules {
    fn new(states: &States) -> Self {
        let mut rules = Rules::default();
        let ends = states.transitions.iter().flat_map(|(a, b)| [a, b]);
        let lists = [&states.terminal, &states.executed, &states.not_sent];
        for name in lists.into_iter().flatten().chain(ends) {
            let next = rules.ids.len() as State;
            rules.ids.entry(name.clone()).or_insert(next);
        }
        let marks = |names: &[String]| {
            let mut marks = vec![false; rules.ids.len()];
            for name in names {
                marks[rules.ids[name] as usize] = true;
            }
            marks
        };
        let (terminal, executed) = (marks(&states.terminal), marks(&states.executed));
        let not_sent = marks(&states.not_sent);
        let steps = states.transitions.iter();
        let legal = steps.clone().map(|(a, b)| (rules.ids[a], rules.ids[b]));
        let legal = legal.collect();
        let entered = |state: &str| steps.clone().any(|(a, b)| a != b && b == state);
        let first = steps.clone().map(|(a, _)| a).find(|a| !entered(a));
        let initial = first.map(|name| rules.ids[name]);
        Rules {
            terminal,
            executed,
            not_sent,
            legal,
            initial,
            ..rules
        }
    }

    fn state(&self, name: &str) -> State {
        self.ids.get(name).copied().unwrap_or(UNKNOWN_STATE)
    }

    pub fn has_steps(&self) -> bool {
        !self.legal.is_empty()
    }
}

/// Whether a state is marked; one that the target file doesn't know never is.
pub fn marked(marks: &[bool], state: State) -> bool {
    marks.get(state as usize).copied().unwrap_or(false)
}

/// The streaming part of the audit.
#[derive(Debug)]
pub struct History {
    pub(super) rules: Rules,
    pub(super) keys: Interner,
    pub(super) key: Chunked<KeyState>,
    words: Interner,
    pub(super) word: Chunked<u32>,
    pub(super) intents: Interner,
    pub(super) intent: Chunked<IntentState>,
    pub(super) txs: Interner,
    pub(super) tx: Chunked<TxState>,
    senders: Interner,
    /// By transaction, the position's word that its call names.
    about: Chunked<u32>,
    pub(super) shapes: Shapes,
    pub(super) steps: Tally,
    pub(super) receipts: Tally,
    /// Sends that are recorded as accepted under no hash.
    pub(super) nameless: u64,
    pub(super) first_sends: u64,
    pub(super) crowded: bool,
    /// What is fed now happened between a dump and its restore: the record may be silent about it.
    pub losing: bool,
}

impl History {
    pub fn new(states: &States) -> Self {
        History {
            rules: Rules::new(states),
            keys: Interner::new(Name::of),
            key: Chunked::default(),
            words: Interner::new(Name::word),
            word: Chunked::default(),
            intents: Interner::new(Name::of),
            intent: Chunked::default(),
            txs: Interner::new(Name::word),
            tx: Chunked::default(),
            senders: Interner::new(Name::of),
            about: Chunked::default(),
            shapes: Shapes::new(),
            steps: Tally::default(),
            receipts: Tally::default(),
            nameless: 0,
            first_sends: 0,
            crowded: false,
            losing: false,
        }
    }

    /// A signal that was sent, and what became of it. `known`: acknowledged as known already.
    pub fn operation(&mut self, key: &str, tag: &str, state: OpState, known: bool) {
        let id = self.sent(key, tag);
        self.answered(id, state, known);
    }

    /// A signal that was sent; its number.
    pub(super) fn sent(&mut self, key: &str, tag: &str) -> u32 {
        let id = self.key_id(key);
        let word = self.word_id(tag) as usize;
        if self.word[word] & WORD_KEY == WORD_KEY {
            self.word[word] = self.word[word] & POSITION | id;
        }
        id
    }

    /// What became of a signal.
    pub(super) fn answered(&mut self, id: u32, state: OpState, known: bool) {
        self.key[id as usize].flags |= match state {
            OpState::Ok if known => key::DUPLICATE,
            OpState::Ok => key::ACCEPTED,
            OpState::Rejected => key::REJECTED,
            OpState::Failed => key::FAILED,
            OpState::Invoked | OpState::Unknown => key::UNKNOWN,
        };
        if state == OpState::Ok && !self.losing {
            self.key[id as usize].flags |= key::KEPT;
        }
        self.weigh(id);
    }

    /// An event of the chain; the number of its transaction, if it has one.
    pub fn chain(&mut self, event: &ChainEvent<'_>) -> Option<u32> {
        let tag = event.tag.map(|tag| self.word_id(tag));
        if let Some(key) = tag.and_then(|tag| self.key_of_word(tag)) {
            self.weigh(key);
        }
        if let OnChain::Submitted { first: true, .. } = event.what {
            self.first_sends += 1;
        }
        let id = self.tx_id(event.tx?);
        let submitted = matches!(event.what, OnChain::Submitted { .. });
        if !self.losing && (submitted || !self.tx[id as usize].is(tx::SUBMITTED)) {
            self.tx[id as usize].flags |= tx::KEPT;
        }
        let known = self.tx[id as usize];
        if !known.is(tx::NONCE)
            && let Some(nonce) = event.nonce
        {
            let sender = self.sender_id(event.sender);
            let state = &mut self.tx[id as usize];
            state.nonce = [nonce as u32, (nonce >> 32) as u32];
            state.sender = sender;
            state.flags |= tx::NONCE;
        }
        if let Some(about) = event.about.filter(|_| self.about_of(id) == NONE) {
            let word = self.word_id(about);
            let at = id as usize;
            self.about.reach(at + 1, NONE);
            self.about[at] = word;
        }
        let state = &mut self.tx[id as usize];
        if let Some(tag) = tag.filter(|_| state.owner == NONE) {
            state.owner = tag;
        }
        match event.what {
            OnChain::Submitted { accepted, .. } => {
                state.flags |= tx::SUBMITTED | if accepted { tx::ACCEPTED } else { 0 };
            }
            OnChain::Mined { success, block } => {
                state.flags &= !(tx::MINED | tx::REVERTED | tx::BLOCK);
                state.flags |= tx::SUBMITTED | tx::ACCEPTED;
                state.flags |= if success { tx::MINED } else { tx::REVERTED };
                if let Some(block) = block {
                    state.flags |= tx::BLOCK;
                    state.block = clamp(block);
                }
            }
            OnChain::Reorged | OnChain::Dropped => {
                state.flags &= !(tx::MINED | tx::REVERTED | tx::BLOCK);
            }
        }
        Some(id)
    }

    /// The word that a transaction's call names, or none.
    pub(super) fn about_of(&self, tx: u32) -> u32 {
        self.about.get(tx as usize).copied().unwrap_or(NONE)
    }

    /// A row of the table of intents.
    pub fn intent(&mut self, id: &str, key: &str, status: &str) {
        let owner = self.key_id(key);
        let id = self.intent_id(id) as usize;
        let status = self.rules.state(status);
        let finished = marked(&self.rules.terminal, status);
        let state = &mut self.intent[id];
        if state.flags & intent::ROW == 0 {
            state.flags |= intent::ROW;
            state.key = owner;
            state.status = status;
        }
        self.weigh(owner);
        let key = &mut self.key[owner as usize];
        key.intents = key.intents.saturating_add(1);
        if !finished {
            key.flags |= key::UNFINISHED;
        }
    }

    /// A row of the record of sends. `acknowledged`: it says that the chain took it.
    pub fn send(&mut self, intent: &str, hash: Option<&str>, acknowledged: bool) {
        let owner = self.intent_id(intent);
        self.weigh(self.intent[owner as usize].key);
        let Some(hash) = hash else {
            self.nameless += u64::from(acknowledged);
            return;
        };
        let id = self.tx_id(hash) as usize;
        let key = self.intent[owner as usize].key;
        let state = self.tx[id];
        let foreign = if state.is(tx::RECORDED) {
            state.owner != owner
        } else {
            let tagged = (state.owner != NONE).then_some(state.owner);
            let named = tagged.and_then(|word| self.key_of_word(word));
            named.is_some_and(|named| key != NONE && named != key)
        };
        let state = &mut self.tx[id];
        if !state.is(tx::RECORDED) {
            state.owner = owner;
        }
        state.flags |= tx::RECORDED;
        state.flags |= if acknowledged { tx::ACKNOWLEDGED } else { 0 };
        state.flags |= if foreign { tx::FOREIGN } else { 0 };
    }

    /// A row of the table of receipts. What isn't given is not compared.
    pub fn receipt(&mut self, hash: &str, success: Option<bool>, block: Option<u64>) {
        let id = self.tx_id(hash);
        let state = self.tx[id as usize];
        self.tx[id as usize].flags |= tx::RECEIPT;
        self.receipts.samples += 1;
        let other_block =
            state.is(tx::BLOCK) && block.is_some_and(|block| clamp(block) != state.block);
        let problem = if !state.is(tx::MINED) && !state.is(tx::REVERTED) {
            Problem::ReceiptOfNothing
        } else if state.is(tx::RECEIPT) {
            Problem::ReceiptTwice
        } else if success.is_some_and(|success| success != state.is(tx::MINED)) {
            Problem::ReceiptStatus
        } else if other_block {
            Problem::ReceiptBlock
        } else {
            return;
        };
        let key = self.key_of_tx(id);
        let offence = Offence::of_tx(problem, key, id);
        self.receipts.put(offence, self.weight(key));
    }

    /// A row of the table of executions.
    pub fn execution(&mut self, intent: &str, hash: &str) {
        let (id, tx) = (self.intent_id(intent), self.tx_id(hash));
        self.weigh(self.intent[id as usize].key);
        let state = &mut self.intent[id as usize];
        if state.execution == NONE {
            state.execution = tx;
        } else {
            state.flags |= intent::EXECUTED_TWICE;
        }
    }

    /// A row of the history of states. One without a state before is the creation itself.
    pub fn transition(&mut self, intent: &str, from: &str, to: &str) {
        let id = self.intent_id(intent);
        let (before, after) = (self.rules.state(from), self.rules.state(to));
        let key = self.intent[id as usize].key;
        self.weigh(key);
        if from.is_empty() && Some(after) == self.rules.initial {
            return;
        }
        self.steps.samples += 1;
        if self.rules.legal.contains(&(before, after)) {
            let shape = self.intent[id as usize].shape;
            self.intent[id as usize].shape = self.shapes.add(shape, before, after);
        } else {
            self.intent[id as usize].shape = BROKEN;
            let offence = Offence::of_intent(Problem::IllegalStep, key, id);
            self.steps.put(offence, self.weight(key));
        }
    }

    /// A row of the table of positions.
    pub fn position(&mut self, id: &str, opened_by: Option<&str>, closed_by: Option<&str>) {
        let word = self.word_id(id) as usize;
        self.word[word] |= POSITION;
        if let Some(by) = opened_by {
            let by = self.intent_id(by) as usize;
            let state = &mut self.intent[by];
            let again = state.flags & intent::OPENED != 0;
            state.flags |= intent::OPENED | if again { intent::OPENED_TWICE } else { 0 };
        }
        if let Some(by) = closed_by {
            let by = self.intent_id(by) as usize;
            self.intent[by].flags |= intent::CLOSED;
        }
    }

    /// Number of the key of a signal, of an intent's signal, of a transaction: where they are known.
    pub(crate) fn known_key(&self, key: &str) -> Option<u32> {
        self.keys.find(key)
    }

    pub(crate) fn key_of_intent(&self, id: &str) -> Option<u32> {
        let id = self.intents.find(id)?;
        let key = self.intent[id as usize].key;
        (key != NONE).then_some(key)
    }

    pub(super) fn known_tx(&self, hash: &str) -> Option<u32> {
        self.txs.find(hash)
    }

    /// Whether a transaction is in a block now.
    pub(super) fn in_block(&self, id: u32) -> bool {
        let state = self.tx[id as usize];
        state.is(tx::MINED) || state.is(tx::REVERTED)
    }

    /// Whether any transaction is in a block.
    pub(super) fn mined_at_all(&self) -> bool {
        (0..self.tx.len() as u32).any(|tx| self.in_block(tx))
    }

    /// Key and number of each transaction in a block that names its signal, in the keys' order. To be asked for before
    /// the record of sends is fed.
    pub(super) fn tagged_in_block(&self) -> Vec<(u32, u32)> {
        let mined = (0..self.tx.len() as u32).filter(|tx| self.in_block(*tx));
        let tagged = mined.filter_map(|tx| Some((self.key_of_tag(tx)?, tx)));
        // Counted first: a list that grows is held twice for a moment.
        let mut all = Vec::with_capacity(tagged.clone().count());
        all.extend(tagged);
        all.sort_unstable();
        all
    }

    /// Names of keys, intents and transactions, and of all that belongs to them.
    pub(super) fn names_about(
        &self,
        keys: &HashSet<u32>,
        intents: &HashSet<u32>,
        txs: &HashSet<u32>,
    ) -> HashSet<Name> {
        let mut keys: HashSet<u32> = keys.clone();
        keys.extend(
            intents
                .iter()
                .filter_map(|id| self.intent.get(*id as usize))
                .map(|i| i.key),
        );
        let tx = |id: &u32| (*id as usize) < self.tx.len();
        keys.extend(txs.iter().filter(|id| tx(id)).map(|id| self.key_of_tx(*id)));
        keys.remove(&NONE);
        let of = |all: &Interner, is: &dyn Fn(u32) -> bool| -> Vec<Name> {
            let ids = (0..all.len() as u32).filter(|id| is(*id));
            ids.filter_map(|id| all.name(id)).collect()
        };
        let mut names: HashSet<Name> = HashSet::new();
        names.extend(of(&self.keys, &|id| keys.contains(&id)));
        names.extend(of(&self.words, &|id| {
            self.key_of_word(id).is_some_and(|key| keys.contains(&key))
        }));
        names.extend(of(&self.intents, &|id| {
            intents.contains(&id) || keys.contains(&self.intent[id as usize].key)
        }));
        names.extend(of(&self.txs, &|id| {
            txs.contains(&id) || keys.contains(&self.key_of_tx(id))
        }));
        names
    }

    /// The key that a transaction's own tag names.
    fn key_of_tag(&self, id: u32) -> Option<u32> {
        let state = self.tx[id as usize];
        let tagged = state.owner != NONE && !state.is(tx::RECORDED);
        tagged.then(|| self.key_of_word(state.owner))?
    }

    /// How many first sends the chain saw.
    pub fn first_sends(&self) -> u64 {
        self.first_sends
    }

    /// How many transactions are in a block, with whatever outcome.
    pub fn mined(&self) -> u64 {
        let mined = |t: &&TxState| t.is(tx::MINED);
        self.tx.iter().filter(mined).count() as u64
    }

    /// The key that a transaction belongs to, or [`NONE`]: by the record of sends, else by its tag.
    pub(super) fn key_of_tx(&self, id: u32) -> u32 {
        let state = self.tx[id as usize];
        if state.is(tx::RECORDED) {
            self.intent[state.owner as usize].key
        } else if state.owner == NONE {
            NONE
        } else {
            self.key_of_word(state.owner).unwrap_or(NONE)
        }
    }

    pub(super) fn weight(&self, key: u32) -> u16 {
        self.key.get(key as usize).map_or(u16::MAX, |k| k.weight)
    }

    /// No more rows will come: what only finds names by text is given back.
    pub(super) fn seal(&mut self) {
        for names in [
            &mut self.keys,
            &mut self.words,
            &mut self.intents,
            &mut self.txs,
        ] {
            names.seal();
        }
    }

    fn key_of_word(&self, word: u32) -> Option<u32> {
        let key = self.word[word as usize] & WORD_KEY;
        (key != WORD_KEY).then_some(key)
    }

    fn weigh(&mut self, key: u32) {
        if let Some(key) = self.key.get_mut(key as usize) {
            key.weight = key.weight.saturating_add(1);
        }
    }

    fn key_id(&mut self, text: &str) -> u32 {
        let id = self.keys.intern(text);
        self.key.reach(self.keys.len(), KeyState::default());
        id
    }

    fn word_id(&mut self, text: &str) -> u32 {
        let id = self.words.intern(text);
        self.word.reach(self.words.len(), WORD_KEY);
        id
    }

    fn intent_id(&mut self, text: &str) -> u32 {
        let id = self.intents.intern(text);
        let unseen = IntentState {
            key: NONE,
            shape: EMPTY,
            execution: NONE,
            status: UNKNOWN_STATE,
            flags: 0,
            mined: 0,
        };
        self.intent.reach(self.intents.len(), unseen);
        id
    }

    fn tx_id(&mut self, hash: &str) -> u32 {
        let id = self.txs.intern(hash);
        let unseen = TxState {
            owner: NONE,
            nonce: [0; 2],
            block: 0,
            sender: 0,
            flags: 0,
        };
        self.tx.reach(self.txs.len(), unseen);
        id
    }

    fn sender_id(&mut self, sender: &str) -> u16 {
        if self.crowded {
            return u16::MAX;
        }
        let id = u16::try_from(self.senders.intern(sender));
        self.crowded |= id.is_err();
        id.unwrap_or(u16::MAX)
    }
}

/// Blocks are compared up to 2³² − 1.
fn clamp(block: u64) -> u32 {
    u32::try_from(block).unwrap_or(u32::MAX)
}
