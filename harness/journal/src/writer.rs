//! Writing: one owner, one file, every line chained to the one before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::{Envelope, Event, GENESIS, sha256_hex};

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
    out: BufWriter<File>,
    seq: u64,
    head: String,
    counts: BTreeMap<String, u64>,
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
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| WriteError::Io {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::new(file),
            seq: 0,
            head: GENESIS.to_owned(),
            counts: BTreeMap::new(),
        })
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
        self.out.write_all(&line).map_err(|e| self.io(e))?;
        self.seq += 1;
        Ok(envelope.seq)
    }

    /// Number of events so far, per type.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// Hands what is buffered to the operating system.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.out.flush().map_err(|e| self.io(e))
    }

    /// Flushes, syncs to disk and returns what the journal can be recognised by.
    pub fn seal(mut self) -> Result<Seal, WriteError> {
        self.flush()?;
        self.out.get_ref().sync_all().map_err(|e| self.io(e))?;
        Ok(Seal {
            head: self.head,
            lines: self.seq,
        })
    }

    fn io(&self, source: std::io::Error) -> WriteError {
        WriteError::Io {
            path: self.path.clone(),
            source,
        }
    }
}
