//! Writing: one owner, every line chained to the one before. One plain file, or compressed segments
//! for a run of hours.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::reader::Position;
use crate::{Envelope, Event, GENESIS, SEGMENTS, sha256_hex};

/// Bytes of lines in a segment, before compression.
const SEGMENT_MAX: u64 = 64 << 20;

/// Why a line could not be written. The run is INCONCLUSIVE from then on.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot write the journal {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot encode event {seq}: {source}")]
    Encode { seq: u64, source: serde_json::Error },
}

/// Appends events to a journal. Not shared: exactly one task owns it.
pub struct Writer {
    path: PathBuf,
    out: Out,
    seq: u64,
    head: String,
    counts: BTreeMap<String, u64>,
}

enum Out {
    Plain(BufWriter<File>),
    Segments(Segments),
}

/// `000001.jsonl.zst`, `000002.jsonl.zst`, …: each one zstd frame.
struct Segments {
    folder: PathBuf,
    number: u32,
    /// Bytes of lines in this segment, before compression.
    held: u64,
    max: u64,
    frame: zstd::stream::write::Encoder<'static, File>,
}

/// What a finished journal can be recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// SHA-256 of the last line.
    pub head: String,
    /// Number of lines.
    pub lines: u64,
}

impl Writer {
    /// Creates the file. Fails if it exists: a journal is never continued by accident.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let file = fresh(path)?;
        Ok(Self::starting(path, Out::Plain(BufWriter::new(file))))
    }

    /// Creates the folder of segments in a run's folder. Fails if it exists.
    pub fn segments(run: &Path) -> Result<Self, WriteError> {
        let folder = run.join(SEGMENTS);
        std::fs::create_dir(&folder).map_err(io(&folder))?;
        let out = Segments::open(&folder, 1, SEGMENT_MAX)?;
        Ok(Self::starting(&folder, Out::Segments(out)))
    }

    /// Goes on where the trusted lines of a journal in segments end, in a segment of its own. What
    /// could not be read of the one before stays as it is.
    pub fn resume(run: &Path, after: &Position) -> Result<Self, WriteError> {
        let folder = run.join(SEGMENTS);
        let out = Segments::open(&folder, after.segment + 1, SEGMENT_MAX)?;
        Ok(Self {
            seq: after.seq,
            head: after.head.clone(),
            counts: after.counts.clone(),
            ..Self::starting(&folder, Out::Segments(out))
        })
    }

    fn starting(path: &Path, out: Out) -> Self {
        Self {
            path: path.to_owned(),
            out,
            seq: 0,
            head: GENESIS.to_owned(),
            counts: BTreeMap::new(),
        }
    }

    /// A smaller segment than usual.
    #[cfg(test)]
    pub(crate) fn segments_of(run: &Path, max: u64) -> Result<Self, WriteError> {
        let mut writer = Self::segments(run)?;
        if let Out::Segments(segments) = &mut writer.out {
            segments.max = max;
        }
        Ok(writer)
    }

    /// Appends one event. `mono_ns` is nanoseconds since the run's start, `wall` the same moment.
    pub fn append(
        &mut self,
        mono_ns: u64,
        wall: jiff::Timestamp,
        event: Event,
    ) -> Result<u64, WriteError> {
        *self.counts.entry(event.kind().to_owned()).or_default() += 1;
        let envelope = Envelope {
            seq: self.seq,
            mono_ns,
            wall,
            prev: std::mem::take(&mut self.head),
            event,
        };
        let mut line = serde_json::to_vec(&envelope).map_err(|source| WriteError::Encode {
            seq: self.seq,
            source,
        })?;
        self.head = sha256_hex(&line);
        line.push(b'\n');
        match &mut self.out {
            Out::Plain(file) => file.write_all(&line).map_err(io(&self.path))?,
            Out::Segments(segments) => segments.write(&line)?,
        }
        self.seq += 1;
        Ok(envelope.seq)
    }

    /// Number of events so far, per type.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// Whether each flush costs some compression, so that it is not done after every line.
    pub fn compresses(&self) -> bool {
        matches!(self.out, Out::Segments(_))
    }

    /// Hands what is buffered to the operating system: from then on it survives this process.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let flushed = match &mut self.out {
            Out::Plain(file) => file.flush(),
            Out::Segments(segments) => segments.frame.flush(),
        };
        flushed.map_err(io(&self.path))
    }

    /// Flushes, syncs to disk and returns what the journal can be recognised by.
    pub fn seal(mut self) -> Result<Seal, WriteError> {
        self.flush()?;
        match self.out {
            Out::Plain(file) => file.get_ref().sync_all().map_err(io(&self.path))?,
            Out::Segments(segments) => segments.close()?,
        }
        Ok(Seal {
            head: self.head,
            lines: self.seq,
        })
    }
}

impl Segments {
    fn open(folder: &Path, number: u32, max: u64) -> Result<Self, WriteError> {
        let path = segment(folder, number);
        let file = fresh(&path)?;
        let level = zstd::DEFAULT_COMPRESSION_LEVEL;
        let frame = zstd::stream::write::Encoder::new(file, level).map_err(io(&path))?;
        Ok(Self {
            folder: folder.to_owned(),
            number,
            held: 0,
            max,
            frame,
        })
    }

    /// A line stands in one segment as a whole.
    fn write(&mut self, line: &[u8]) -> Result<(), WriteError> {
        let length = line.len() as u64;
        if self.held > 0 && self.held + length > self.max {
            let next = Self::open(&self.folder, self.number + 1, self.max)?;
            std::mem::replace(self, next).close()?;
        }
        self.held += length;
        let path = &self.folder;
        self.frame.write_all(line).map_err(io(path))
    }

    fn close(self) -> Result<(), WriteError> {
        let path = segment(&self.folder, self.number);
        let file = self.frame.finish().map_err(io(&path))?;
        file.sync_all().map_err(io(&path))
    }
}

/// Path of a segment, from 1.
pub(crate) fn segment(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:06}.jsonl.zst"))
}

fn fresh(path: &Path) -> Result<File, WriteError> {
    File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(io(path))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}
