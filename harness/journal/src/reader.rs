//! Reading: as far as the journal can be trusted, and a statement of where that ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{Envelope, Event, GENESIS, Header, SCHEMA, sha256_hex};

/// Why nothing could be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read the journal {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the journal does not start with a readable header: {why}")]
    NoHeader { why: String },
    #[error(
        "the journal has format {found}, this program reads up to {SCHEMA}: use the version that wrote it"
    )]
    TooNew { found: u32 },
}

/// Where and why reading ended before the journal's own end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Number of the first line (from 1) that could not be used.
    pub line: u64,
    pub why: String,
}

/// A journal in memory: the header, the trusted events, and what is wrong with the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    pub header: Header,
    /// All trusted lines in order, the header's included.
    pub events: Vec<Envelope>,
    /// Set if the journal has no `End`, or was cut, edited or reordered from some line on.
    pub truncation: Option<Truncation>,
    /// SHA-256 of the last trusted line.
    pub head: String,
}

/// Reads a journal file. See [`read`].
pub fn read_file(path: &Path) -> Result<Journal, ReadError> {
    let bytes = std::fs::read(path).map_err(|source| ReadError::Io {
        path: path.to_owned(),
        source,
    })?;
    read(&bytes)
}

/// Reads a journal up to the first line that is cut, malformed, out of sequence or not chained to
/// the line before it. Everything up to there is returned together with the reason; what follows
/// is not looked at, for it can't be trusted.
pub fn read(bytes: &[u8]) -> Result<Journal, ReadError> {
    let mut events: Vec<Envelope> = Vec::new();
    let mut head = GENESIS.to_owned();
    let mut truncation = None;
    let mut ended = false;
    for (index, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let number = index as u64 + 1;
        match accept(line, index as u64, &head, ended) {
            Ok((envelope, digest)) => {
                ended = matches!(envelope.event, Event::End(_));
                head = digest;
                events.push(envelope);
            }
            Err(why) => {
                truncation = Some(Truncation { line: number, why });
                break;
            }
        }
        if index == 0 {
            check_schema(&events[0])?;
        }
    }
    let header = match events.first().map(|e| &e.event) {
        Some(Event::Header(header)) => (**header).clone(),
        _ => {
            let why = truncation.map_or_else(|| "it is empty".to_owned(), |t| t.why);
            return Err(ReadError::NoHeader { why });
        }
    };
    if ended && truncation.is_none() {
        truncation = miscounted(&events);
    }
    if !ended && truncation.is_none() {
        truncation = Some(Truncation {
            line: events.len() as u64 + 1,
            why: "the end record is missing".to_owned(),
        });
    }
    Ok(Journal {
        header,
        events,
        truncation,
        head,
    })
}

/// Whether the end record counts other events than there are.
fn miscounted(events: &[Envelope]) -> Option<Truncation> {
    let (last, before) = events.split_last()?;
    let Event::End(end) = &last.event else {
        return None;
    };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for envelope in before {
        *counts.entry(envelope.event.kind().to_owned()).or_default() += 1;
    }
    (counts != end.counts).then(|| Truncation {
        line: events.len() as u64,
        why: "the end record counts other events than there are".to_owned(),
    })
}

fn accept(line: &[u8], seq: u64, head: &str, ended: bool) -> Result<(Envelope, String), String> {
    let Some((b'\n', body)) = line.split_last() else {
        return Err("the line is cut".to_owned());
    };
    if ended {
        return Err("there are lines after the end record".to_owned());
    }
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|e| format!("the line is not an event: {e}"))?;
    if envelope.seq != seq {
        return Err(format!(
            "sequence number {} where {seq} belongs",
            envelope.seq
        ));
    }
    if envelope.prev != head {
        return Err("the line is not chained to the line before it".to_owned());
    }
    if seq > 0 && matches!(envelope.event, Event::Header(_)) {
        return Err("a second header".to_owned());
    }
    Ok((envelope, sha256_hex(body)))
}

fn check_schema(first: &Envelope) -> Result<(), ReadError> {
    match &first.event {
        Event::Header(header) if header.schema > SCHEMA => Err(ReadError::TooNew {
            found: header.schema,
        }),
        Event::Header(_) => Ok(()),
        other => Err(ReadError::NoHeader {
            why: format!("it starts with an event of type {}", other.kind()),
        }),
    }
}

impl Journal {
    /// The `End` event, if the journal has one that can be trusted.
    pub fn end(&self) -> Option<&crate::End> {
        match self.events.last().map(|e| &e.event) {
            Some(Event::End(end)) => Some(end),
            _ => None,
        }
    }

    /// Text of the document at `path`.
    pub fn document(&self, path: &str) -> Option<&crate::Document> {
        self.header.documents.iter().find(|d| d.path == path)
    }
}
