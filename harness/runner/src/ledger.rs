//! The ledger of faults in force, written ahead: a fault and its undo are on disk before the fault
//! is injected, so that whoever comes after a harness that died knows what it left behind.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::RunError;

/// One line of `ledger.jsonl`.
#[derive(Serialize)]
pub struct Entry<'a> {
    pub run: &'a str,
    pub episode: u32,
    pub phase: &'a str,
    pub index: u32,
    pub kind: &'a str,
    pub target: &'a str,
    /// `injecting` or `healed`.
    pub state: &'a str,
    /// How to undo it, in the fault's own terms.
    pub undo: &'a str,
}

pub struct Ledger {
    path: PathBuf,
    file: File,
}

impl Ledger {
    pub fn create(dir: &Path) -> Result<Self, RunError> {
        let path = dir.join("ledger.jsonl");
        let file = File::options().append(true).create(true).open(&path);
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(RunError::Io { path, source }),
        }
    }

    /// Appends an entry and waits until it is on disk.
    pub fn write(&mut self, entry: &Entry<'_>) -> Result<(), RunError> {
        let io = |source| RunError::Io {
            path: self.path.clone(),
            source,
        };
        let mut line = serde_json::to_vec(entry).map_err(|e| io(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(io)?;
        self.file.sync_data().map_err(io)
    }
}
