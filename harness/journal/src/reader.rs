//! Reading: as far as the journal can be trusted, and a statement of where that ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ahead::{Ahead, Batch, Step};
use crate::shown::Line;
use crate::writer::segment;
use crate::{Envelope, Event, GENESIS, Header, PLAIN, SCHEMA, SEGMENTS, sha256_hex};

/// No line is longer: a piece of garbage without a newline must not fill the memory.
const LINE_MAX: u64 = 64 << 20;

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

/// The trusted lines of a journal, one by one, in bounded memory. A journal in segments is unpacked on a thread of its
/// own, ahead of whoever asks.
///
/// Reading ends at the first line that is cut, malformed, out of sequence or not chained to the line
/// before it; what follows is not looked at, for it can't be trusted. One exception: a segment that
/// was cut because its writer died is followed by one that says so, in a `part` event that is chained
/// to the last trusted line.
pub struct Lines {
    source: Box<dyn BufRead + Send>,
    /// Folder of the segments, if it is one, and the number of the one that is read.
    segments: Option<PathBuf>,
    number: u32,
    seq: u64,
    head: String,
    counts: BTreeMap<String, u64>,
    ended: Option<crate::End>,
    over: bool,
    truncation: Option<Truncation>,
    ahead: Reading,
}

/// Whether lines are read ahead. The first one never is: many ask for no more.
enum Reading {
    Plain,
    Later,
    Ahead(Ahead),
}

/// Where a journal's trusted lines end: what a writer needs to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the next line, from 0.
    pub(crate) seq: u64,
    /// SHA-256 of the last line.
    pub(crate) head: String,
    /// Events so far, per type.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Number of the last segment that was looked at.
    pub(crate) segment: u32,
}

/// Path of the journal in a run's folder: one file, or a folder of segments.
pub fn find(run: &Path) -> Option<PathBuf> {
    let of = |name: &str| Some(run.join(name)).filter(|path| path.exists());
    of(PLAIN).or_else(|| of(SEGMENTS))
}

/// Opens the journal of a run's folder.
pub fn open(run: &Path) -> Result<Lines, ReadError> {
    let path = find(run).unwrap_or_else(|| run.join(PLAIN));
    match path.is_dir() {
        true => {
            let mut lines = Lines::of(open_segment(&path, 1)?, Some(path));
            lines.ahead = Reading::Later;
            Ok(lines)
        }
        false => Ok(Lines::of(open_plain(&path)?, None)),
    }
}

/// Reads the journal of a run's folder into memory.
pub fn read_run(run: &Path) -> Result<Journal, ReadError> {
    collect(open(run)?)
}

/// Reads a plain journal file. See [`Lines`].
pub fn read_file(path: &Path) -> Result<Journal, ReadError> {
    collect(Lines::of(open_plain(path)?, None))
}

/// Reads a plain journal. See [`Lines`].
pub fn read(bytes: &[u8]) -> Result<Journal, ReadError> {
    collect(Lines::of(Box::new(Cursor::new(bytes.to_vec())), None))
}

fn open_plain(path: &Path) -> Result<Box<dyn BufRead + Send>, ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(Box::new(BufReader::new(file)))
}

fn open_segment(folder: &Path, number: u32) -> Result<Box<dyn BufRead + Send>, ReadError> {
    let path = segment(folder, number);
    let error = |source| ReadError::Io {
        path: path.clone(),
        source,
    };
    let file = File::open(&path).map_err(error)?;
    let decoder = zstd::stream::read::Decoder::new(file).map_err(error)?;
    Ok(Box::new(BufReader::new(decoder)))
}

fn collect(mut lines: Lines) -> Result<Journal, ReadError> {
    let mut events = Vec::new();
    for line in &mut lines {
        if events.is_empty() {
            check_schema(&line)?;
        }
        events.push(line);
    }
    let header = match events.first().map(|e| &e.event) {
        Some(Event::Header(header)) => (**header).clone(),
        _ => {
            let why = lines.truncation.filter(|_| lines.seq == 0);
            let why = why.map_or_else(|| "it is empty".to_owned(), |t| t.why);
            return Err(ReadError::NoHeader { why });
        }
    };
    Ok(Journal {
        header,
        events,
        truncation: lines.truncation,
        head: lines.head,
    })
}

impl Iterator for Lines {
    type Item = Envelope;

    fn next(&mut self) -> Option<Envelope> {
        self.advance(|next| match next {
            Next::Plain(envelope) => Some(*envelope),
            Next::Ahead(batch, at) => batch.envelope(at),
        })
    }
}

/// A line that comes next.
enum Next<'a> {
    Plain(Box<Envelope>),
    Ahead(&'a Arc<Batch>, usize),
}

impl Lines {
    fn of(source: Box<dyn BufRead + Send>, segments: Option<PathBuf>) -> Self {
        Self {
            source,
            segments,
            number: 1,
            seq: 0,
            head: GENESIS.to_owned(),
            counts: BTreeMap::new(),
            ended: None,
            over: false,
            truncation: None,
            ahead: Reading::Plain,
        }
    }

    /// The same lines, none of them read ahead.
    #[cfg(test)]
    pub(crate) fn plain(mut self) -> Self {
        self.ahead = Reading::Plain;
        self
    }

    /// The next line in its turn.
    fn plainly(&mut self) -> Option<Envelope> {
        while !self.over {
            match self.line() {
                Ok(Some(envelope)) => return Some(envelope),
                Ok(None) => {}
                Err(why) => return self.cut(why),
            }
        }
        None
    }

    /// What `of` makes of the next line: of those that are read ahead as long as they are in order. It is asked again,
    /// of the line in its turn, where it can't make anything of the one that was read ahead.
    fn advance<T>(&mut self, mut of: impl FnMut(Next<'_>) -> Option<T>) -> Option<T> {
        self.look_ahead();
        let Reading::Ahead(ahead) = &mut self.ahead else {
            return of(Next::Plain(Box::new(self.plainly()?)));
        };
        let given = match ahead.step() {
            Step::Line(batch, at) => match of(Next::Ahead(batch, at)) {
                Some(made) => return Some(made),
                None => ahead.before(),
            },
            Step::Whole(whole) => {
                self.ahead = Reading::Plain;
                self.over = true;
                self.seq = whole.lines;
                self.head = whole.head;
                self.counts = whole.counts;
                self.number = whole.segment;
                return None;
            }
            Step::Odd(given) => given,
        };
        self.ahead = Reading::Plain;
        // What was given was in order, and one line was read before.
        for _ in 1..given {
            self.plainly()?;
        }
        of(Next::Plain(Box::new(self.plainly()?)))
    }

    /// Begins to read ahead once the first line was read.
    fn look_ahead(&mut self) {
        if let (Reading::Later, Some(folder)) = (&self.ahead, &self.segments)
            && self.seq == 1
        {
            let mut ahead = Ahead::of(folder);
            // The first line was read already.
            self.ahead = match ahead.step() {
                Step::Line(..) => Reading::Ahead(ahead),
                _ => Reading::Plain,
            };
        }
    }

    /// Shows every line that is left. Cheaper than taking them one by one: no text is copied.
    pub fn each(&mut self, with: &mut dyn FnMut(&Line<'_>)) {
        let mut show = |next: Next<'_>| match next {
            Next::Plain(envelope) => {
                with(&Line::of(&envelope));
                Some(())
            }
            Next::Ahead(batch, at) => {
                let sight = batch.sight(at)?;
                with(&Line::ahead(batch, at, &sight));
                Some(())
            }
        };
        while self.advance(&mut show).is_some() {}
    }

    /// What is wrong with the rest; known once the last line was read.
    pub fn truncation(&self) -> Option<&Truncation> {
        self.truncation.as_ref()
    }

    /// SHA-256 of the last trusted line, once that has come.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// Where the trusted lines end. To be asked when the last of them has come.
    pub fn position(&self) -> Position {
        Position {
            seq: self.seq,
            head: self.head.clone(),
            counts: self.counts.clone(),
            segment: self.number,
        }
    }

    /// The next line; `None` at the end of a segment or of the journal.
    fn line(&mut self) -> Result<Option<Envelope>, String> {
        let mut line = Vec::new();
        let read = (&mut self.source)
            .take(LINE_MAX)
            .read_until(b'\n', &mut line);
        if let Err(error) = read {
            return Err(match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the segment is cut".to_owned(),
                _ => format!("the segment can't be read: {error}"),
            });
        }
        if line.is_empty() {
            if !self.next_segment()? {
                self.finish();
            }
            return Ok(None);
        }
        let (envelope, digest) = accept(&line, self.seq, &self.head, self.ended.is_some())?;
        if let Event::End(end) = &envelope.event {
            self.ended = Some(end.clone());
        } else {
            *self
                .counts
                .entry(envelope.event.kind().to_owned())
                .or_default() += 1;
        }
        self.head = digest;
        self.seq += 1;
        Ok(Some(envelope))
    }

    fn next_segment(&mut self) -> Result<bool, String> {
        let Some(folder) = &self.segments else {
            return Ok(false);
        };
        if !segment(folder, self.number + 1).exists() {
            return Ok(false);
        }
        self.source = open_segment(folder, self.number + 1).map_err(|e| e.to_string())?;
        self.number += 1;
        Ok(true)
    }

    /// A segment that ends in the middle of a line: over, unless the next one begins with a part.
    fn cut(&mut self, why: String) -> Option<Envelope> {
        let line = self.seq + 1;
        let mut more = self.next_segment().unwrap_or(false);
        while more && !self.over {
            match self.line() {
                Ok(Some(envelope)) if matches!(envelope.event, Event::Part(_)) => {
                    return Some(envelope);
                }
                Ok(Some(_)) => break,
                Ok(None) => {}
                // A part that died before its first line: the one after it may go on.
                Err(_) => more = self.next_segment().unwrap_or(false),
            }
        }
        self.over = true;
        self.truncation = Some(Truncation { line, why });
        None
    }

    fn finish(&mut self) {
        self.over = true;
        let why = match &self.ended {
            None => "the end record is missing",
            Some(end) if end.counts != self.counts => {
                "the end record counts other events than there are"
            }
            Some(_) => return,
        };
        let line = if self.ended.is_some() {
            self.seq
        } else {
            self.seq + 1
        };
        self.truncation = Some(Truncation {
            line,
            why: why.to_owned(),
        });
    }
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
}
