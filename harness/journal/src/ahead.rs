//! Reading ahead: a long journal is unpacked and its chain followed on a thread of its own, while whoever asked for
//! lines works on those that have come.
//!
//! Only what is in perfect order comes this way. At the first line that isn't, nothing is concluded: [`crate::Lines`]
//! reads the journal again, line by line, and says what is wrong.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::line::{Parts, Sight};
use crate::writer::segment;
use crate::{End, Envelope, GENESIS};

/// Bytes of lines that are handed on at once, and how often that many may wait.
const BATCH: usize = 1 << 17;
const WAITING: usize = 4;
/// No line is longer: see the plain reader.
const LINE_MAX: usize = 64 << 20;

/// What the journal's end is known by.
#[derive(Debug)]
pub(crate) struct Whole {
    pub lines: u64,
    pub head: String,
    pub counts: BTreeMap<String, u64>,
    pub segment: u32,
}

/// What comes next.
pub(crate) enum Step<'a> {
    /// A line of a batch.
    Line(&'a Arc<Batch>, usize),
    /// All lines have come, and nothing is wrong with any of them.
    Whole(Whole),
    /// Something is wrong after that many lines, or may be.
    Odd(u64),
}

enum Raw {
    Lines(Batch),
    Whole(Whole),
    Odd,
}

/// Some lines, as they stand in the journal.
pub(crate) struct Batch {
    text: String,
    /// Where its memory goes when nobody needs it any more.
    home: SyncSender<String>,
    /// Number of the first of them.
    first: u64,
    lines: Vec<Slot>,
}

/// Where a line stands in its batch.
struct Slot {
    mono_ns: u64,
    kind: &'static str,
    line: Range<usize>,
    event: Range<usize>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        // If there is enough already, or nobody reads any more, it is given back.
        let _ = self.home.try_send(std::mem::take(&mut self.text));
    }
}

impl Batch {
    pub fn seq(&self, at: usize) -> u64 {
        self.first + at as u64
    }

    pub fn mono_ns(&self, at: usize) -> u64 {
        self.lines.get(at).map_or(0, |slot| slot.mono_ns)
    }

    /// Kind and text of an event.
    pub fn event_text(&self, at: usize) -> (&'static str, &str) {
        let slot = self.lines.get(at);
        let text = slot.and_then(|slot| Some((slot.kind, self.text.get(slot.event.clone())?)));
        text.unwrap_or_default()
    }

    pub fn sight(&self, at: usize) -> Option<Sight<'_>> {
        let (kind, text) = self.event_text(at);
        Sight::of(kind, text)
    }

    pub fn envelope(&self, at: usize) -> Option<Envelope> {
        let line = self.lines.get(at)?.line.clone();
        Parts::of(self.text.get(line)?)?.envelope()
    }
}

/// A journal in segments that is read ahead of whoever asks for its lines.
pub(crate) struct Ahead {
    batches: Receiver<Raw>,
    ready: Option<Arc<Batch>>,
    next: usize,
    given: u64,
}

impl Ahead {
    pub fn of(folder: &Path) -> Self {
        let (raw, batches) = sync_channel(WAITING);
        let folder = folder.to_owned();
        // The thread ends when nobody listens to it any more.
        thread::spawn(move || scan(&folder, &raw));
        Ahead {
            batches,
            ready: None,
            next: 0,
            given: 0,
        }
    }

    pub fn step(&mut self) -> Step<'_> {
        while self
            .ready
            .as_ref()
            .is_none_or(|b| self.next >= b.lines.len())
        {
            match self.batches.recv() {
                Ok(Raw::Lines(batch)) => (self.ready, self.next) = (Some(Arc::new(batch)), 0),
                Ok(Raw::Whole(whole)) => return Step::Whole(whole),
                Ok(Raw::Odd) | Err(_) => return Step::Odd(self.given),
            }
        }
        let Some(batch) = &self.ready else {
            return Step::Odd(self.given);
        };
        let at = self.next;
        self.next += 1;
        self.given += 1;
        Step::Line(batch, at)
    }

    /// How many lines were given before the last one.
    pub fn before(&self) -> u64 {
        self.given.saturating_sub(1)
    }
}

/// Unpacks segment by segment and follows the chain.
fn scan(folder: &Path, raw: &SyncSender<Raw>) {
    let mut chain = Chain::new();
    let mut number = 1;
    let over = loop {
        let path = segment(folder, number);
        if chain.segment(&path, raw).is_none() {
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
    second: Second,
    /// Memory of batches that nobody needs any more, and where it comes from.
    used: Receiver<String>,
    home: SyncSender<String>,
}

/// The last second of the wall clock that was read: most lines are of the same one as the line before.
#[derive(Default)]
struct Second(Option<[u8; 19]>);

impl Second {
    /// Whether the text is a time.
    fn reads(&mut self, wall: &str) -> bool {
        let known = self
            .0
            .and_then(|second| wall.as_bytes().strip_prefix(&second));
        if let Some([b'.', digits @ .., b'Z']) = known
            && (1..=9).contains(&digits.len())
            && digits.iter().all(u8::is_ascii_digit)
        {
            return true;
        }
        if wall.parse::<jiff::Timestamp>().is_err() {
            return false;
        }
        if let Some((second, [b'.', ..])) = wall.as_bytes().split_first_chunk() {
            self.0 = Some(*second);
        }
        true
    }
}

impl Chain {
    fn new() -> Self {
        let mut head = [0; 64];
        head.copy_from_slice(GENESIS.as_bytes());
        let (home, used) = sync_channel(WAITING);
        Chain {
            seq: 0,
            head,
            counts: BTreeMap::new(),
            ended: None,
            second: Second::default(),
            used,
            home,
        }
    }

    /// Hands the lines of a segment on; `None` if one of them is not in order, or nobody listens.
    fn segment(&mut self, path: &PathBuf, raw: &SyncSender<Raw>) -> Option<()> {
        let file = File::open(path).ok()?;
        let mut source = zstd::stream::read::Decoder::new(file).ok()?;
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let more = BATCH as u64;
            let read = source.by_ref().take(more).read_to_end(&mut bytes).ok()?;
            let whole = bytes.iter().rposition(|b| *b == b'\n').map(|at| at + 1);
            let whole = match whole {
                Some(whole) => whole,
                None if bytes.is_empty() => return Some(()),
                // A line that is cut, or one that is longer than any.
                None if read == 0 || bytes.len() > LINE_MAX => return None,
                None => continue,
            };
            let used = self.used.try_recv().unwrap_or_default();
            let mut rest = used.into_bytes();
            rest.clear();
            rest.reserve(BATCH + (bytes.len() - whole));
            rest.extend_from_slice(&bytes[whole..]);
            bytes.truncate(whole);
            let batch = self.batch(String::from_utf8(bytes).ok()?)?;
            raw.send(Raw::Lines(batch)).ok()?;
            bytes = rest;
        }
    }

    /// The lines of a text, if each of them follows on the one before.
    fn batch(&mut self, text: String) -> Option<Batch> {
        let first = self.seq;
        let mut lines = Vec::with_capacity(text.len() / 256);
        let mut from = 0;
        while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
            let to = from + rest.find('\n')?;
            let line = &text[from..to];
            let parts = Parts::of(line)?;
            self.accept(line, &parts)?;
            let event = from + (line.len() - 1 - parts.event.len())..to - 1;
            lines.push(Slot {
                mono_ns: parts.mono_ns,
                kind: parts.kind,
                line: from..to,
                event,
            });
            from = to + 1;
        }
        Some(Batch {
            text,
            home: self.home.clone(),
            first,
            lines,
        })
    }

    /// Takes a line in, if it follows on the one before.
    fn accept(&mut self, line: &str, parts: &Parts<'_>) -> Option<()> {
        let follows = parts.seq == self.seq
            && parts.prev.as_bytes() == self.head
            && (parts.kind == "header") == (self.seq == 0)
            && self.ended.is_none()
            && self.second.reads(parts.wall);
        if !follows {
            return None;
        }
        if parts.kind == "end" {
            self.ended = Some(serde_json::from_str(parts.event).ok()?);
        } else {
            *self.counts.entry(parts.kind).or_default() += 1;
        }
        let digest = Sha256::digest(line.as_bytes());
        self.seq += 1;
        const_hex::encode_to_slice(digest, &mut self.head).ok()
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

#[cfg(test)]
mod tests {
    use super::Second;

    #[test]
    fn a_time_reads_as_the_whole_reader_reads_it() {
        let texts = [
            format!("{}.5Z", "\0".repeat(19)),
            "2026-11-22T05:36:41.123456789Z".to_owned(),
            "2026-11-22T05:36:41.1234567890Z".to_owned(),
            "2026-11-22T05:36:41.Z".to_owned(),
            "2026-11-22T05:36:41.1xZ".to_owned(),
            "2026-11-22T05:36:41.1".to_owned(),
            "2026-11-22T05:36:41Z".to_owned(),
            "2026-11-22T05:36:61.5Z".to_owned(),
            "2026-02-30T05:36:41.5Z".to_owned(),
            String::new(),
        ];
        let mut second = Second::default();
        let mut read = 0;
        for text in texts.iter().chain(&texts) {
            let whole = text.parse::<jiff::Timestamp>().is_ok();
            assert_eq!(second.reads(text), whole, "{text:?}");
            read += usize::from(whole);
        }
        assert_eq!(read, 4);
    }
}
