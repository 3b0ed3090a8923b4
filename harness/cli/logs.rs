//! Services' logs, as the journal holds them: one file each, written line by line.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use firedrill_journal::{FactSource, Line, View};
use sha2::{Digest as _, Sha256};

use crate::evidence::{self, safe_name};
use crate::exit::Stop;

pub const LOGS: &str = "logs";
/// Last lines of a service that a report shows.
const TAIL: usize = 20;

/// One service's log on its way.
#[derive(Default)]
struct Log {
    hash: Sha256,
    begun: bool,
    tail: VecDeque<String>,
    out: Option<(BufWriter<File>, PathBuf)>,
}

impl Log {
    fn begun(path: Option<PathBuf>) -> Result<Self, Stop> {
        let out = path.map(|path| {
            let file = File::create(&path).map_err(|e| evidence::io(&path, &e))?;
            Ok((BufWriter::new(file), path))
        });
        Ok(Log {
            out: out.transpose()?,
            ..Log::default()
        })
    }

    fn put(&mut self, at_ns: u64, text: &str) -> Result<(), Stop> {
        // A day has millions of lines: the memory of one that isn't shown any more serves the next.
        let mut line = match self.tail.len() {
            TAIL => self.tail.pop_front().unwrap_or_default(),
            _ => String::new(),
        };
        line.clear();
        let ms = at_ns as f64 / 1e6;
        // A text takes whatever is written to it.
        let _ = write!(line, "{ms:>12.3} ms  {text}");
        let end: &[u8] = if self.begun { b"\n" } else { b"" };
        self.begun = true;
        for piece in [end, line.as_bytes()] {
            self.hash.update(piece);
            if let Some((out, path)) = &mut self.out {
                out.write_all(piece).map_err(|e| evidence::io(path, &e))?;
            }
        }
        self.tail.push_back(line);
        Ok(())
    }
}

/// The logs of a run.
#[derive(Default)]
pub struct Logs {
    /// Where they are written, if they are.
    folder: Option<PathBuf>,
    logs: BTreeMap<String, Log>,
    failed: Option<Stop>,
}

impl Logs {
    /// Logs that are written to a run's folder.
    pub fn written(dir: &Path) -> Result<Self, Stop> {
        let folder = dir.join(LOGS);
        evidence::create(&folder)?;
        Ok(Logs {
            folder: Some(folder),
            ..Logs::default()
        })
    }

    /// Takes a line of the journal in.
    pub fn see(&mut self, line: &Line<'_>) {
        let View::Fact(fact) = line.view else {
            return;
        };
        if fact.source != FactSource::Log || self.failed.is_some() {
            return;
        }
        let text = |key: &str| fact.text(key).unwrap_or("");
        if let Err(stop) = self.put(text("service"), fact.at_ns, text("text")) {
            self.failed = Some(stop);
        }
    }

    fn put(&mut self, service: &str, at_ns: u64, text: &str) -> Result<(), Stop> {
        // What is known by a name is safe: it is its own safe name.
        if let Some(log) = self.logs.get_mut(service) {
            return log.put(at_ns, text);
        }
        let service = safe_name(service);
        let log = match self.logs.entry(service) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let path = self.folder.as_ref().map(|f| f.join(file_name(new.key())));
                new.insert(Log::begun(path)?)
            }
        };
        log.put(at_ns, text)
    }

    /// All lines were taken in.
    pub fn end(mut self) -> Result<Told, Stop> {
        if let Some(stop) = self.failed {
            return Err(stop);
        }
        let mut told = Told::default();
        for (service, log) in &mut self.logs {
            let name = format!("{LOGS}/{}", file_name(service));
            if let Some((out, path)) = &mut log.out {
                out.flush().map_err(|e| evidence::io(path, &e))?;
            }
            told.digests
                .insert(name, hex::encode(log.hash.clone().finalize()));
            told.tails
                .insert(service.clone(), log.tail.iter().cloned().collect());
        }
        Ok(told)
    }
}

fn file_name(service: &str) -> String {
    format!("{service}.log")
}

/// What is known of a run's logs: their digests by the name in its folder, and each service's last lines.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub digests: BTreeMap<String, String>,
    pub tails: BTreeMap<String, Vec<String>>,
}
