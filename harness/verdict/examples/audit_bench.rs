//! How fast the audit is, and how much memory it takes: a synthetic run is generated from a seed,
//! event by event as it is fed, with violations planted in it. Exits with 1 if the audit finds
//! anything but those, or takes more memory than it may.
//!
//! `audit_bench [SIGNALS] [SEED]`, by default 1,000,000 and 7.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

use firedrill_journal::OpState;
use firedrill_plan::States;
use firedrill_verdict::{ChainEvent, Gaps, History, OnChain, Outcome};

/// Each violation is planted once per so many signals.
const EVERY: u64 = 100_000;
/// Signals between a submission and its block.
const LAG: u64 = 64;
/// Resident memory that the audit of a million signals may take, bytes.
const RSS_MAX: u64 = 128_000_000;

/// What is wrong with a signal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plant {
    Nothing,
    NoIntent,
    TwoIntents,
    Merged,
    RefusedButStored,
    LeftSent,
    IllegalStep,
    NoSendRow,
    SendOfNothing,
    NonceOfAnother,
    NoExecution,
    WrongReceipt,
    SimulatedButSent,
    UnknownTwice,
    NoPosition,
}

use Plant::*;

/// Each plant, and the equations that must find it.
const PLANTS: [(Plant, &[&str]); 14] = [
    (NoIntent, &["lost"]),
    (TwoIntents, &["duplicates"]),
    (Merged, &["false-dedupe"]),
    (RefusedButStored, &["rejected-stored-nothing"]),
    (LeftSent, &["lost", "terminal"]),
    (IllegalStep, &["transitions"]),
    (NoSendRow, &["chain-in-record"]),
    (SendOfNothing, &["record-in-chain"]),
    (NonceOfAnother, &["nonces"]),
    (NoExecution, &["mined"]),
    (WrongReceipt, &["receipts"]),
    (SimulatedButSent, &["not-sent"]),
    (UnknownTwice, &["duplicates", "unknown-at-most-once"]),
    (NoPosition, &["mined"]),
];

/// One signal of the run, derived from the seed and its number.
#[derive(Clone, Copy)]
struct Signal {
    number: u64,
    random: u64,
    plant: Plant,
}

/// SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Signal {
    fn new(seed: u64, number: u64) -> Self {
        let at = (number % EVERY) / 100;
        let plant = if number.is_multiple_of(100) && at > 0 {
            PLANTS.get(at as usize - 1).map_or(Nothing, |(p, _)| *p)
        } else {
            Nothing
        };
        let random = mix(seed ^ mix(number));
        Signal {
            number,
            random,
            plant,
        }
    }

    fn chance(&self, shift: u32, percent: u64) -> bool {
        let neighbour = self.number % 100 == 99;
        self.plant == Nothing && !neighbour && (self.random >> shift) % 100 < percent
    }

    fn simulated(&self) -> bool {
        let planted = [
            NoIntent,
            TwoIntents,
            Merged,
            RefusedButStored,
            SimulatedButSent,
        ];
        self.chance(0, 10) || planted.contains(&self.plant) || self.plant == UnknownTwice
    }

    fn replaced(&self) -> bool {
        !self.simulated() && self.chance(8, 5)
    }

    fn sent(&self) -> bool {
        !self.simulated() || self.plant == SimulatedButSent
    }

    fn mined(&self) -> bool {
        !self.simulated() && self.plant != LeftSent
    }

    fn nonce(&self) -> u64 {
        self.number - u64::from(self.plant == NonceOfAnother)
    }

    fn status(&self) -> &'static str {
        match (self.simulated(), self.mined()) {
            (true, _) => "SIMULATED",
            (false, true) => "MINED",
            (false, false) => "SENT",
        }
    }
}

/// The texts of one signal, in buffers that are used again.
#[derive(Default)]
struct Texts {
    key: String,
    tag: String,
    hash: String,
    second: String,
    id: String,
    twin: String,
}

fn word(text: &mut String, seed: u64) {
    text.clear();
    let mut bytes = [0_u8; 32];
    for (part, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&mix(seed.wrapping_add(part as u64)).to_le_bytes());
    }
    text.push_str("0x");
    let mut digits = [0_u8; 64];
    // Sixty-four digits always hold thirty-two bytes, and digits are UTF-8.
    if const_hex::encode_to_slice(bytes, &mut digits).is_ok()
        && let Ok(digits) = std::str::from_utf8(&digits)
    {
        text.push_str(digits);
    }
}

impl Texts {
    fn set(&mut self, signal: &Signal) {
        for (text, prefix) in [
            (&mut self.key, "sig:drill:20261121t013526z-soak-7-igxp-"),
            (&mut self.id, ""),
            (&mut self.twin, "twin-"),
        ] {
            text.clear();
            // Writing to a string can't fail.
            let _ = write!(text, "{prefix}{}", signal.number);
        }
        word(&mut self.tag, signal.random ^ 0x1111);
        word(&mut self.hash, signal.random ^ 0x2222_0000);
        if signal.replaced() || signal.plant == SendOfNothing {
            word(&mut self.second, signal.random ^ 0x3333_0000_0000);
        }
    }

    /// The transaction that ends up in a block.
    fn last(&self, signal: &Signal) -> &str {
        if signal.replaced() {
            &self.second
        } else {
            &self.hash
        }
    }
}

/// Feeds a history and counts.
struct Feeder {
    history: History,
    texts: Texts,
    events: u64,
}

impl Feeder {
    fn operation(&mut self, signal: &Signal) {
        let (state, known) = match signal.plant {
            Merged => (OpState::Ok, true),
            RefusedButStored => (OpState::Rejected, false),
            UnknownTwice => (OpState::Unknown, false),
            _ => (OpState::Ok, false),
        };
        let texts = &self.texts;
        self.history.operation(&texts.key, &texts.tag, state, known);
        self.events += 1;
        if signal.chance(16, 5) {
            self.history
                .operation(&texts.key, &texts.tag, OpState::Ok, true);
            self.events += 1;
        }
    }

    fn chain(&mut self, signal: &Signal, hash: &str, what: OnChain) {
        self.history.chain(&ChainEvent {
            what,
            tx: Some(hash),
            tag: Some(&self.texts.tag),
            sender: "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
            nonce: Some(signal.nonce()),
            about: None,
        });
        self.events += 1;
    }

    fn submissions(&mut self, signal: &Signal) {
        let texts = std::mem::take(&mut self.texts);
        self.texts.tag.clone_from(&texts.tag);
        if signal.sent() {
            let (accepted, first) = (true, true);
            self.chain(signal, &texts.hash, OnChain::Submitted { accepted, first });
        }
        if signal.replaced() {
            let (accepted, first) = (true, false);
            self.chain(
                signal,
                &texts.second,
                OnChain::Submitted { accepted, first },
            );
        }
        self.texts = texts;
    }

    fn block(&mut self, signal: &Signal) {
        if !signal.mined() {
            return;
        }
        let hash = self.texts.last(signal).to_owned();
        let block = |n| OnChain::Mined {
            success: true,
            block: Some(n),
        };
        if signal.chance(24, 1) {
            self.chain(signal, &hash, block(signal.number / 10));
            self.chain(signal, &hash, OnChain::Reorged);
        }
        self.chain(signal, &hash, block(signal.number / 10 + 1));
    }

    fn row(&mut self, table: &str, signal: &Signal) {
        let (history, texts) = (&mut self.history, &self.texts);
        let plant = signal.plant;
        let two = matches!(plant, TwoIntents | UnknownTwice);
        match table {
            _ if plant == NoIntent => return,
            "intent" => {
                history.intent(&texts.id, &texts.key, signal.status());
                if two {
                    history.intent(&texts.twin, &texts.key, "SIMULATED");
                }
            }
            "transition" => {
                self.steps(signal);
                return;
            }
            "send" if signal.sent() && plant != NoSendRow => {
                history.send(&texts.id, Some(&texts.hash), true);
                if signal.replaced() || plant == SendOfNothing {
                    history.send(&texts.id, Some(&texts.second), true);
                    self.events += 1;
                }
            }
            "receipt" if signal.mined() => {
                let (good, block) = (plant != WrongReceipt, signal.number / 10 + 1);
                history.receipt(texts.last(signal), Some(good), Some(block));
            }
            "execution" if signal.mined() && plant != NoExecution => {
                history.execution(&texts.id, texts.last(signal));
            }
            "position" if signal.mined() && plant != NoPosition => {
                history.position(&texts.tag, Some(&texts.id), None);
            }
            _ => return,
        }
        self.events += 1 + u64::from(two && table == "intent");
    }

    fn steps(&mut self, signal: &Signal) {
        let steps: &[(&str, &str)] = match (signal.status(), signal.replaced()) {
            ("SIMULATED", _) => &[("CREATED", "SIMULATED")],
            ("SENT", _) => &[("CREATED", "BUILT"), ("BUILT", "SENT")],
            (_, false) => &[("CREATED", "BUILT"), ("BUILT", "SENT"), ("SENT", "MINED")],
            (_, true) => &[
                ("CREATED", "BUILT"),
                ("BUILT", "SENT"),
                ("SENT", "REPLACED"),
                ("REPLACED", "MINED"),
            ],
        };
        for (from, to) in steps {
            self.history.transition(&self.texts.id, from, to);
        }
        self.events += steps.len() as u64;
        if matches!(signal.plant, TwoIntents | UnknownTwice) {
            self.history
                .transition(&self.texts.twin, "CREATED", "SIMULATED");
            self.events += 1;
        }
        if signal.plant == IllegalStep {
            self.history.transition(&self.texts.id, "MINED", "FAILED");
            self.events += 1;
        }
    }
}

fn states() -> States {
    let words = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
    let steps = [
        ("CREATED", &["BUILT", "SIMULATED", "REJECTED", "FAILED"][..]),
        ("BUILT", &["SENT", "SIMULATED", "REJECTED", "FAILED"]),
        ("SENT", &["REPLACED", "MINED", "FAILED"]),
        ("REPLACED", &["REPLACED", "MINED", "FAILED"]),
    ];
    let step = |(from, to): (&str, &[&str])| -> Vec<(String, String)> {
        to.iter()
            .map(|to| (from.to_owned(), (*to).to_owned()))
            .collect()
    };
    States {
        terminal: words(&["MINED", "FAILED", "REJECTED", "SIMULATED"]),
        executed: words(&["MINED"]),
        not_sent: words(&["REJECTED", "SIMULATED"]),
        transitions: steps.into_iter().flat_map(step).collect(),
    }
}

fn feed(signals: u64, seed: u64) -> Feeder {
    let mut feeder = Feeder {
        history: History::new(&states()),
        texts: Texts::default(),
        events: 0,
    };
    for number in 0..signals + LAG {
        if number < signals {
            let signal = Signal::new(seed, number);
            feeder.texts.set(&signal);
            feeder.operation(&signal);
            feeder.submissions(&signal);
        }
        if let Some(earlier) = number.checked_sub(LAG) {
            let signal = Signal::new(seed, earlier);
            feeder.texts.set(&signal);
            feeder.block(&signal);
        }
    }
    for table in [
        "intent",
        "send",
        "receipt",
        "execution",
        "transition",
        "position",
    ] {
        for number in 0..signals {
            let signal = Signal::new(seed, number);
            feeder.texts.set(&signal);
            feeder.row(table, &signal);
        }
    }
    feeder
}

/// The largest resident size that this process ever had, bytes.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Seconds that this process, which has one thread, was on a processor.
fn on_processor() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let ns: u64 = stat.split_whitespace().next()?.parse().ok()?;
    Some(ns as f64 / 1e9)
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let (Ok(signals), Ok(seed)) = (
        args.next().unwrap_or(Ok(1_000_000)),
        args.next().unwrap_or(Ok(7)),
    ) else {
        eprintln!("usage: audit_bench [SIGNALS] [SEED]");
        return ExitCode::from(64);
    };
    let start = Instant::now();
    let mut feeder = feed(signals, seed);
    let findings = feeder.history.finish();
    let took = start.elapsed().as_secs_f64();
    let busy = on_processor().unwrap_or(took);

    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for number in 0..signals {
        let plant = Signal::new(seed, number).plant;
        let found_by = PLANTS.iter().filter(|(p, _)| *p == plant);
        for id in found_by.flat_map(|(_, equations)| *equations) {
            *expected.entry(id).or_default() += 1;
        }
    }
    let gaps = Gaps {
        complete: true,
        required: true,
        ..Gaps::default()
    };
    let mut right = !expected.is_empty();
    for finding in &findings {
        let (found, planted) = (
            finding.violations(),
            expected.remove(finding.id).unwrap_or(0),
        );
        let verdict = finding.conclude(&gaps).0;
        let samples = finding.samples();
        println!(
            "{:24} {found} of {samples}, {planted} planted: {}",
            finding.id,
            verdict.word()
        );
        right &= found == planted && (verdict == Outcome::Fail) == (planted > 0);
    }
    right &= expected.is_empty();
    let rss = peak_rss();
    let events = feeder.events;
    println!("{signals} signals, {events} operations, generated and audited");
    for (seconds, how) in [(took, "of wall clock"), (busy, "on the processor")] {
        let rate = events as f64 / seconds;
        println!("{seconds:.2} s {how}: {rate:.0} operations/s");
    }
    println!(
        "peak resident memory: {:.1} MB",
        rss.unwrap_or(0) as f64 / 1e6
    );
    let small = rss.is_some_and(|rss| rss <= RSS_MAX) || signals > 1_000_000;
    if right && small {
        return ExitCode::SUCCESS;
    }
    eprintln!("not as expected: violations right: {right}, memory within bounds: {small}");
    ExitCode::FAILURE
}
