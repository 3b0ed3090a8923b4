//! Reading ahead: a long journal is unpacked and its chain followed on one thread, its events are decoded on another,
//! and whoever asked for lines works on a third.
//!
//! Only what is in perfect order comes this way. At the first line that isn't, nothing is concluded: [`crate::Lines`]
//! reads the journal again, line by line, and says what is wrong.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::writer::segment;
use crate::{End, Envelope, Event, GENESIS};

/// Bytes of lines that are handed on at once, and how often that many may wait.
const BATCH: usize = 1 << 20;
const WAITING: usize = 2;
/// Bytes that are unpacked at once.
const PIECE: usize = 1 << 18;
/// No line is longer: see the plain reader.
const LINE_MAX: u64 = 64 << 20;

/// What the journal's end is known by.
#[derive(Debug)]
pub(crate) struct Whole {
    pub lines: u64,
    pub head: String,
    pub counts: BTreeMap<String, u64>,
    pub segment: u32,
}

/// What comes next.
pub(crate) enum Step {
    Line(Box<Envelope>),
    /// All lines have come, and nothing is wrong with any of them.
    Whole(Whole),
    /// Something is wrong after that many lines, or may be.
    Odd(u64),
}

enum Raw {
    Lines(Vec<u8>),
    Whole(Whole),
    Odd,
}

enum Decoded {
    Lines(Vec<Envelope>),
    Whole(Whole),
    Odd,
}

/// A journal in segments that is read ahead of whoever asks for its lines.
pub(crate) struct Ahead {
    batches: Receiver<Decoded>,
    ready: std::vec::IntoIter<Envelope>,
    given: u64,
}

impl Ahead {
    pub fn of(folder: &Path) -> Self {
        let (raw, lines) = sync_channel(WAITING);
        let (decoded, batches) = sync_channel(WAITING);
        let folder = folder.to_owned();
        // The threads end when nobody listens to them any more.
        thread::spawn(move || scan(&folder, &raw));
        thread::spawn(move || decode(&lines, &decoded));
        Ahead {
            batches,
            ready: Vec::new().into_iter(),
            given: 0,
        }
    }

    pub fn step(&mut self) -> Step {
        loop {
            if let Some(line) = self.ready.next() {
                self.given += 1;
                return Step::Line(Box::new(line));
            }
            match self.batches.recv() {
                Ok(Decoded::Lines(lines)) => self.ready = lines.into_iter(),
                Ok(Decoded::Whole(whole)) => return Step::Whole(whole),
                Ok(Decoded::Odd) | Err(_) => return Step::Odd(self.given),
            }
        }
    }
}

/// Unpacks segment by segment and follows the chain.
fn scan(folder: &Path, raw: &SyncSender<Raw>) {
    let mut chain = Chain::default();
    let mut number = 1;
    let over = loop {
        let path = segment(folder, number);
        if !chain.segment(&path, raw) {
            break Raw::Odd;
        }
        if !segment(folder, number + 1).exists() {
            break chain.whole(number).map_or(Raw::Odd, Raw::Whole);
        }
        number += 1;
    };
    // Whoever doesn't listen doesn't want to know.
    let _ = raw.send(over);
}

/// The chain so far.
struct Chain {
    seq: u64,
    head: [u8; 64],
    counts: BTreeMap<&'static str, u64>,
    ended: Option<End>,
    batch: Vec<u8>,
}

impl Default for Chain {
    fn default() -> Self {
        let mut head = [0; 64];
        head.copy_from_slice(GENESIS.as_bytes());
        Chain {
            seq: 0,
            head,
            counts: BTreeMap::new(),
            ended: None,
            batch: Vec::with_capacity(BATCH + PIECE),
        }
    }
}

impl Chain {
    /// Whether all lines of a segment are in order and were handed on.
    fn segment(&mut self, path: &PathBuf, raw: &SyncSender<Raw>) -> bool {
        let Ok(file) = File::open(path) else {
            return false;
        };
        let Ok(unpacked) = zstd::stream::read::Decoder::new(file) else {
            return false;
        };
        let mut source = BufReader::with_capacity(PIECE, unpacked);
        loop {
            let from = self.batch.len();
            let read = (&mut source)
                .take(LINE_MAX)
                .read_until(b'\n', &mut self.batch);
            match read {
                Ok(0) => return self.hand_on(raw),
                Ok(_) if self.accept(from) => {}
                _ => return false,
            }
            if self.batch.len() >= BATCH && !self.hand_on(raw) {
                return false;
            }
        }
    }

    fn hand_on(&mut self, raw: &SyncSender<Raw>) -> bool {
        let next = Vec::with_capacity(BATCH + PIECE);
        let batch = std::mem::replace(&mut self.batch, next);
        batch.is_empty() || raw.send(Raw::Lines(batch)).is_ok()
    }

    /// Whether the line that begins there follows on the one before.
    fn accept(&mut self, from: usize) -> bool {
        let Some((b'\n', line)) = self.batch[from..].split_last() else {
            return false;
        };
        let Some(parts) = Parts::of(line) else {
            return false;
        };
        let follows = parts.seq == self.seq
            && parts.prev.as_bytes() == self.head
            && (parts.kind == "header") == (self.seq == 0)
            && self.ended.is_none();
        if !follows {
            return false;
        }
        if parts.kind == "end" {
            self.ended = serde_json::from_slice(parts.event).ok();
            if self.ended.is_none() {
                return false;
            }
        } else {
            *self.counts.entry(parts.kind).or_default() += 1;
        }
        let digest = Sha256::digest(line);
        self.seq += 1;
        hex::encode_to_slice(digest, &mut self.head).is_ok()
    }

    fn whole(self, segment: u32) -> Option<Whole> {
        let counts = self.counts.into_iter().map(|(k, n)| (k.to_owned(), n));
        let counts: BTreeMap<String, u64> = counts.collect();
        let lines = self.seq;
        (self.ended?.counts == counts).then(|| Whole {
            lines,
            head: String::from_utf8_lossy(&self.head).into_owned(),
            counts,
            segment,
        })
    }
}

/// Kinds of events whose lines are read ahead. A `part` says that something was lost: that is for the plain reader.
const KINDS: [&str; 8] = [
    "op", "sample", "fact", "edge", "stream", "starved", "header", "end",
];

/// A line in the form in which it was written, taken apart.
struct Parts<'l> {
    seq: u64,
    mono_ns: u64,
    wall: &'l str,
    prev: &'l str,
    kind: &'static str,
    event: &'l [u8],
}

impl<'l> Parts<'l> {
    fn of(line: &'l [u8]) -> Option<Self> {
        let (seq, rest) = number(line.strip_prefix(b"{\"seq\":")?)?;
        let (mono_ns, rest) = number(rest.strip_prefix(b",\"mono_ns\":")?)?;
        let (wall, rest) = text(rest.strip_prefix(b",\"wall\":\"")?)?;
        let (prev, rest) = text(rest.strip_prefix(b",\"prev\":\"")?)?;
        let event = rest.strip_prefix(b",\"event\":")?.strip_suffix(b"}")?;
        let (kind, _) = text(event.strip_prefix(b"{\"type\":\"")?)?;
        Some(Parts {
            seq,
            mono_ns,
            wall,
            prev,
            kind: KINDS.into_iter().find(|k| *k == kind)?,
            event,
        })
    }

    fn envelope(&self) -> Option<Envelope> {
        Some(Envelope {
            seq: self.seq,
            mono_ns: self.mono_ns,
            wall: self.wall.parse().ok()?,
            prev: self.prev.to_owned(),
            event: match self.kind {
                "op" => Event::Op(read(self.event)?),
                "sample" => Event::Sample(read(self.event)?),
                "fact" => Event::Fact(read(self.event)?),
                "edge" => Event::Edge(read(self.event)?),
                "stream" => Event::Stream(read(self.event)?),
                _ => read(self.event)?,
            },
        })
    }
}

fn read<T: DeserializeOwned>(event: &[u8]) -> Option<T> {
    serde_json::from_slice(event).ok()
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits > 1 && bytes[0] == b'0' {
        return None;
    }
    let (number, rest) = bytes.split_at(digits);
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// A text without escapes, up to its closing quotation mark.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|b| *b == b'"' || *b == b'\\')?;
    let (text, rest) = bytes.split_at(end);
    Some((std::str::from_utf8(text).ok()?, rest.strip_prefix(b"\"")?))
}

/// Decodes what has come.
fn decode(raw: &Receiver<Raw>, decoded: &SyncSender<Decoded>) {
    let lines = |bytes: &[u8]| -> Option<Vec<Envelope>> {
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Parts::of(line)?.envelope()).collect()
    };
    while let Ok(next) = raw.recv() {
        let next = match next {
            Raw::Lines(bytes) => lines(&bytes).map_or(Decoded::Odd, Decoded::Lines),
            Raw::Whole(whole) => Decoded::Whole(whole),
            Raw::Odd => Decoded::Odd,
        };
        let over = !matches!(next, Decoded::Lines(_));
        if decoded.send(next).is_err() || over {
            return;
        }
    }
}
