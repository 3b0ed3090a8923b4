//! A small history as plain lists of texts, and ways to spoil it.

use firedrill_journal::OpState;
use firedrill_plan::States;
use firedrill_verdict::{ChainEvent, History, OnChain};

#[derive(Clone, Debug)]
pub struct OnChainRow {
    pub what: OnChain,
    pub tx: String,
    pub tag: Option<String>,
    pub nonce: u64,
    pub about: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Key, tag, outcome, known already.
    pub ops: Vec<(String, String, OpState, bool)>,
    pub chain: Vec<OnChainRow>,
    /// Id, key, status.
    pub intents: Vec<(String, String, String)>,
    /// Intent, hash, acknowledged.
    pub sends: Vec<(String, Option<String>, bool)>,
    /// Hash, success, block.
    pub receipts: Vec<(String, bool, u64)>,
    /// Intent, hash.
    pub executions: Vec<(String, String)>,
    /// Intent, from, to.
    pub transitions: Vec<(String, String, String)>,
    /// Id, opened by, closed by.
    pub positions: Vec<(String, String, Option<String>)>,
}

pub const STATES: [&str; 8] = [
    "CREATED",
    "BUILT",
    "SENT",
    "REPLACED",
    "MINED",
    "FAILED",
    "REJECTED",
    "SIMULATED",
];
pub const LEGAL: [(&str, &str); 14] = [
    ("CREATED", "BUILT"),
    ("CREATED", "SIMULATED"),
    ("CREATED", "REJECTED"),
    ("CREATED", "FAILED"),
    ("BUILT", "SENT"),
    ("BUILT", "SIMULATED"),
    ("BUILT", "REJECTED"),
    ("BUILT", "FAILED"),
    ("SENT", "REPLACED"),
    ("SENT", "MINED"),
    ("SENT", "FAILED"),
    ("REPLACED", "REPLACED"),
    ("REPLACED", "MINED"),
    ("REPLACED", "FAILED"),
];
pub const TERMINAL: [&str; 4] = ["MINED", "FAILED", "REJECTED", "SIMULATED"];
pub const NOT_SENT: [&str; 2] = ["REJECTED", "SIMULATED"];

pub const KINDS: u8 = 10;
pub const SPOILS: u8 = 24;

pub fn states() -> States {
    let words = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
    States {
        terminal: words(&TERMINAL),
        executed: words(&["MINED"]),
        not_sent: words(&NOT_SENT),
        transitions: LEGAL.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec(),
    }
}

pub fn word(kind: u8, n: usize) -> String {
    format!("0x{kind:02x}{n:062x}")
}

/// An honest history with one signal of each kind that is asked for.
pub fn build(kinds: &[(u8, u16)]) -> Case {
    let mut case = Case::default();
    for (n, (kind, extra)) in kinds.iter().enumerate() {
        case.signal(n, *kind, *extra as usize);
    }
    case
}

impl Case {
    pub fn operate(&mut self, key: &str, tag: &str, state: OpState, known: bool) {
        self.ops.push((key.into(), tag.into(), state, known));
    }

    fn signal(&mut self, n: usize, kind: u8, extra: usize) {
        let (key, tag, id) = (format!("sig:{n}"), word(0xa, n), n.to_string());
        let state = match kind {
            5 => OpState::Rejected,
            6 => OpState::Unknown,
            _ => OpState::Ok,
        };
        self.operate(&key, &tag, state, false);
        if kind == 1 {
            for _ in 0..1 + extra % 3 {
                self.operate(&key, &tag, OpState::Ok, true);
            }
        }
        let path: &[&str] = match kind {
            2 if extra.is_multiple_of(2) => {
                &["CREATED", "BUILT", "SENT", "REPLACED", "REPLACED", "MINED"]
            }
            2 => &["CREATED", "BUILT", "SENT", "REPLACED", "MINED"],
            4 => &["CREATED", "SIMULATED"],
            5 => return,
            7 => &["CREATED", "BUILT", "SENT", "FAILED"],
            9 => &["CREATED", "BUILT", "REJECTED"],
            _ => &["CREATED", "BUILT", "SENT", "MINED"],
        };
        for step in path.windows(2) {
            self.step(&id, step[0], step[1]);
        }
        let last = path[path.len() - 1];
        self.intents.push((id.clone(), key, last.into()));
        if path.contains(&"SENT") {
            self.trade(n, kind, &tag, &id);
        }
    }

    pub fn step(&mut self, id: &str, from: &str, to: &str) {
        self.transitions.push((id.into(), from.into(), to.into()));
    }

    fn trade(&mut self, n: usize, kind: u8, tag: &str, id: &str) {
        let (hash, second) = (word(0xb, n), word(0xc, n));
        let open = self.positions.iter().position(|(_, _, by)| by.is_none());
        let about = open.filter(|_| kind == 8);
        let position = about.map(|at| self.positions[at].0.clone());
        let mut put = |tx: &str, what| {
            self.chain.push(OnChainRow {
                what,
                tx: tx.into(),
                tag: Some(tag.into()),
                nonce: n as u64,
                about: position.clone(),
            });
        };
        let (accepted, first) = (true, true);
        put(&hash, OnChain::Submitted { accepted, first });
        self.sends.push((id.into(), Some(hash.clone()), true));
        let mut last = hash;
        if kind == 2 {
            let first = false;
            put(&second, OnChain::Submitted { accepted, first });
            self.sends.push((id.into(), Some(second.clone()), true));
            last = second;
        }
        let success = kind != 7;
        let block = n as u64 + 10;
        if kind == 3 {
            let block = Some(1);
            put(&last, OnChain::Mined { success, block });
            put(&last, OnChain::Reorged);
        }
        let at = Some(block);
        put(&last, OnChain::Mined { success, block: at });
        self.receipts.push((last.clone(), success, block));
        if success {
            self.executions.push((id.into(), last));
            match about {
                // Every second one closes what it is about, the others reduce it.
                Some(at) if n.is_multiple_of(2) => self.positions[at].2 = Some(id.into()),
                Some(_) => {}
                None => self.positions.push((tag.into(), id.into(), None)),
            }
        }
    }

    pub fn feed(&self) -> History {
        let mut history = History::new(&states());
        for (key, tag, state, known) in &self.ops {
            history.operation(key, tag, *state, *known);
        }
        for row in &self.chain {
            history.chain(&ChainEvent {
                what: row.what,
                tx: Some(&row.tx),
                tag: row.tag.as_deref(),
                sender: "0xf",
                nonce: Some(row.nonce),
                about: row.about.as_deref(),
            });
        }
        for (id, key, status) in &self.intents {
            history.intent(id, key, status);
        }
        for (intent, tx, acknowledged) in &self.sends {
            history.send(intent, tx.as_deref(), *acknowledged);
        }
        for (tx, success, block) in &self.receipts {
            history.receipt(tx, Some(*success), Some(*block));
        }
        for (id, opened, closed) in &self.positions {
            history.position(id, Some(opened), closed.as_deref());
        }
        for (intent, tx) in &self.executions {
            history.execution(intent, tx);
        }
        for (intent, from, to) in &self.transitions {
            history.transition(intent, from, to);
        }
        history
    }

    /// One thing goes wrong, or not, if there is nothing that could.
    pub fn spoil(&mut self, what: u8, a: usize, b: usize) {
        match what {
            0..=7 => self.lose(what, a),
            8..=15 => self.change(what, a, b),
            _ => self.add(what, a, b),
        }
    }

    fn lose(&mut self, what: u8, a: usize) {
        fn drop_one<T>(rows: &mut Vec<T>, at: usize) {
            if !rows.is_empty() {
                rows.remove(at % rows.len());
            }
        }
        match what {
            0 => drop_one(&mut self.intents, a),
            1 => drop_one(&mut self.sends, a),
            2 => drop_one(&mut self.receipts, a),
            3 => drop_one(&mut self.executions, a),
            4 => drop_one(&mut self.transitions, a),
            5 => drop_one(&mut self.positions, a),
            6 => drop_one(&mut self.chain, a),
            _ => drop_one(&mut self.ops, a),
        }
    }

    fn change(&mut self, what: u8, a: usize, b: usize) {
        fn one<T>(rows: &mut [T], at: usize) -> Option<&mut T> {
            let n = rows.len().max(1);
            rows.get_mut(at % n)
        }
        let other = one(&mut self.intents, b).map(|row| row.0.clone());
        match what {
            8 => one(&mut self.intents, a).map(|r| r.2 = STATES[b % 8].into()),
            9 => one(&mut self.sends, a).zip(other).map(|(r, id)| r.0 = id),
            10 => one(&mut self.receipts, a).map(|r| r.1 = !r.1),
            11 => one(&mut self.receipts, a).map(|r| r.2 += b as u64 % 3),
            12 => one(&mut self.ops, a).map(|r| {
                r.2 = [
                    OpState::Ok,
                    OpState::Rejected,
                    OpState::Failed,
                    OpState::Unknown,
                ][b % 4];
                r.3 = b.is_multiple_of(3);
            }),
            13 => one(&mut self.executions, a).map(|r| r.1 = word(0xb, b % 30)),
            14 => one(&mut self.sends, a).map(|r| r.1 = None),
            _ => {
                let hash = one(&mut self.chain, a).map(|r| r.tx.clone());
                for row in self
                    .chain
                    .iter_mut()
                    .filter(|r| Some(&r.tx) == hash.as_ref())
                {
                    row.nonce = b as u64 % 30;
                }
                Some(())
            }
        };
    }

    fn add(&mut self, what: u8, a: usize, b: usize) {
        let (id, tag, fresh) = ((a % 30).to_string(), word(0xa, a % 32), word(0xd, b));
        let row = |what, tx: &str| OnChainRow {
            what,
            tx: tx.into(),
            tag: (!b.is_multiple_of(5)).then(|| tag.clone()),
            nonce: (b % 40) as u64,
            about: None,
        };
        let known = word(0xb, b % 30);
        let submitted = OnChain::Submitted {
            accepted: !a.is_multiple_of(3),
            first: true,
        };
        match what {
            16 => {
                let key = format!("sig:{}", a % 30);
                self.intents
                    .push((format!("twin-{b}"), key, STATES[b % 8].into()));
            }
            17 => self.sends.push((id, Some(fresh), b.is_multiple_of(2))),
            18 => self.chain.push(row(submitted, &fresh)),
            19 => {
                let (success, block) = (true, Some(b as u64));
                self.chain.push(row(submitted, &fresh));
                self.chain
                    .push(row(OnChain::Mined { success, block }, &fresh));
            }
            20 => self.chain.push(row(OnChain::Reorged, &known)),
            21 => self.step(&id, STATES[a % 8], STATES[b % 8]),
            22 => self.executions.push((id, known)),
            _ if b.is_multiple_of(2) => self.receipts.push((known, true, 10)),
            _ => self.positions.push((tag, id, None)),
        }
    }
}
