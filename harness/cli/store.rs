//! What the stores of the given runs hold besides them: other runs of the subject, and decisions of before.
//!
//! A store is the folder that a run's folder lies in. Everything below it is looked at, to a depth and a number that are
//! bounded: where a bound is reached, that is said, and blocks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use firedrill_verdict::{GateDecision, GateOutcome, Lack, NoGo};

use crate::planned;
use crate::{evidence, files};

const DECISION: &str = "decision.json";
const GATES: &str = "gates";
/// Folders below a store that are looked into: `prove/DRILL/DEFECT` is three deep, sorted by month it is five.
const DEPTH_MAX: usize = 6;
/// Folders of a store that are looked at.
const FOLDERS_MAX: usize = 20_000;

/// What was found.
#[derive(Default)]
pub struct Stores {
    /// Folders with a journal, in order.
    runs: Vec<PathBuf>,
    decisions: Vec<PathBuf>,
    /// What could not be looked at.
    pub lacks: Vec<Lack>,
}

fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Stores {
    /// Looks through `out` and the stores of the given runs.
    pub fn of(out: &Path, given: &[PathBuf]) -> Stores {
        let mut roots = BTreeSet::new();
        roots.extend(Some(whole(out)).filter(|path| path.is_dir()));
        roots.extend(
            given
                .iter()
                .filter_map(|run| Some(planned::whole(run).parent()?.to_owned())),
        );
        let mut found = Stores::default();
        let mut seen = BTreeSet::new();
        for root in &roots {
            found.walk(root, &mut seen);
        }
        found.runs.sort();
        found.decisions.sort();
        found
    }

    fn lack(&mut self, of: &Path, why: impl Into<String>) {
        self.lacks.push(Lack {
            of: of.display().to_string(),
            why: why.into(),
        });
    }

    fn walk(&mut self, root: &Path, seen: &mut BTreeSet<PathBuf>) {
        let mut folders = vec![(root.to_owned(), 0)];
        let mut looked = 0;
        while let Some((folder, depth)) = folders.pop() {
            // A store may lie within another one.
            if !seen.insert(folder.clone()) {
                continue;
            }
            looked += 1;
            if looked > FOLDERS_MAX {
                let why = format!("more than {FOLDERS_MAX} folders: not all of it was looked at");
                return self.lack(root, why);
            }
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    self.lack(&folder, error.to_string());
                    continue;
                }
            };
            if firedrill_journal::find(&folder).is_some() {
                self.runs.push(folder);
                continue;
            }
            for entry in entries {
                let path = match entry {
                    Ok(entry) => entry.path(),
                    Err(error) => {
                        self.lack(&folder, error.to_string());
                        continue;
                    }
                };
                let of_gate = evidence::folder_name(folder.parent().unwrap_or(&folder)) == GATES;
                if of_gate && path.ends_with(DECISION) {
                    self.decisions.push(path);
                } else if path.is_symlink() || !path.is_dir() {
                    // `latest` is one of the others.
                } else if depth == DEPTH_MAX {
                    let why = format!("deeper than {DEPTH_MAX} folders: not looked at");
                    self.lack(&path, why);
                } else {
                    folders.push((path, depth + 1));
                }
            }
        }
    }

    /// Runs of the subject that were not given: what they say against it counts. A run with a deliberate defect, as `prove`
    /// leaves them, says nothing about it. One whose journal doesn't say what it is about may be one of them.
    pub fn others(&mut self, subject: &str, given: &[PathBuf]) -> Vec<PathBuf> {
        let given: BTreeSet<PathBuf> = given.iter().map(|p| whole(p)).collect();
        let mut others = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            if given.contains(&run) {
                continue;
            }
            match evidence::header(&run) {
                Some(header) => {
                    let about = header.subject;
                    if about.digest == subject && about.defect.is_none() {
                        others.push(run);
                    }
                }
                None => self.lack(&run, "its journal doesn't say what it is about"),
            }
        }
        others
    }

    /// NO-GOs that were said before. A decision that can't be read may be one.
    pub fn no_gos(&mut self) -> Vec<NoGo> {
        let mut all = Vec::new();
        for path in std::mem::take(&mut self.decisions) {
            match no_go(&path) {
                Ok(no_go) => all.extend(no_go),
                Err(why) => self.lack(&path, why),
            }
        }
        all
    }
}

fn no_go(path: &Path) -> Result<Option<NoGo>, String> {
    if !evidence::is_plain(path) {
        return Err("the decision is no plain file, and may be a NO-GO".to_owned());
    }
    let text = files::read(path).map_err(|e| e.to_string())?;
    let decision: GateDecision = serde_json::from_str(&text)
        .map_err(|e| format!("the decision can't be read, and may be a NO-GO: {e}"))?;
    if decision.outcome != GateOutcome::NoGo {
        return Ok(None);
    }
    let decided_at = decision.decided_at.parse();
    Ok(Some(NoGo {
        decided_at: decided_at.map_err(|_| "a NO-GO without a readable time".to_owned())?,
        policy: decision.policy,
        release: decision.release,
    }))
}
