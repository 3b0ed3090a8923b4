//! Services' logs, as the journal holds them: one file each, written line by line.

use std::collections::{BTreeMap, VecDeque};
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
    out: Option<BufWriter<File>>,
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
        let shown = format!("{:>12.3} ms  {}", fact.at_ns as f64 / 1e6, text("text"));
        if let Err(stop) = self.put(&safe_name(text("service")), shown) {
            self.failed = Some(stop);
        }
    }

    fn put(&mut self, service: &str, line: String) -> Result<(), Stop> {
        let path = self.folder.as_ref().map(|f| f.join(file_name(service)));
        let failed = |e: std::io::Error| {
            let path = path.clone().unwrap_or_default();
            evidence::io(&path, &e)
        };
        if !self.logs.contains_key(service) {
            let out = path.as_ref().map(File::create).transpose();
            let log = Log {
                out: out.map_err(failed)?.map(BufWriter::new),
                ..Log::default()
            };
            self.logs.insert(service.to_owned(), log);
        }
        let Some(log) = self.logs.get_mut(service) else {
            return Ok(());
        };
        let end: &[u8] = if log.begun { b"\n" } else { b"" };
        log.begun = true;
        for piece in [end, line.as_bytes()] {
            log.hash.update(piece);
            if let Some(out) = &mut log.out {
                out.write_all(piece).map_err(failed)?;
            }
        }
        if log.tail.len() == TAIL {
            log.tail.pop_front();
        }
        log.tail.push_back(line);
        Ok(())
    }

    /// All lines were taken in.
    pub fn end(mut self) -> Result<Told, Stop> {
        if let Some(stop) = self.failed {
            return Err(stop);
        }
        let mut told = Told::default();
        for (service, log) in &mut self.logs {
            let name = format!("{LOGS}/{}", file_name(service));
            if let Some(out) = &mut log.out {
                out.flush()
                    .map_err(|e| evidence::io(Path::new(&name), &e))?;
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
