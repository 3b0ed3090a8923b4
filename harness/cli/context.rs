//! What stood around a run when it was reported: the runs before it and the accepted one. It is kept in
//! the run's folder, so that the reports can be rendered again to the byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use firedrill_journal::sha256_hex;
use firedrill_report::{Extras, History, PastRun, RUNS_MAX};
use firedrill_verdict::{Baseline, Outcome, Verdict, compare};
use serde::{Deserialize, Serialize};

use crate::evidence::parts;
use crate::evidence::{self, Judged, VERDICT};
use crate::exit::Stop;
use crate::rerun::rerun;

pub const CONTEXT: &str = "context.json";
const SCHEMA_VERSION: u32 = 1;
/// Folders of the store that are looked at for a run's history.
const FOLDERS_MAX: usize = 300;
/// Runs left out that are named one by one.
const NAMED_MAX: usize = 5;
/// Folder of accepted runs below the store.
const BASELINES: &str = "baseline";

/// What a report shows that its run's journal doesn't hold.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    schema_version: u32,
    history: History,
    baseline: Option<Baseline>,
    /// Why there is none, where that isn't because none was accepted.
    not_compared: Option<String>,
}

/// Gathers it from the store, the folder in which the run's own lies.
pub fn gather(store: &Path, dir: &Path, verdict: &Verdict) -> Context {
    let path = baseline_path(store, verdict);
    let (baseline, not_compared) = match read_baseline(&path) {
        Ok(Some(baseline)) if baseline.is_for(verdict) => (Some(baseline), None),
        Ok(Some(_)) => (
            None,
            Some(format!("{}: it is of another kind of run", path.display())),
        ),
        Ok(None) => (None, None),
        Err(why) => (None, Some(why)),
    };
    Context {
        schema_version: SCHEMA_VERSION,
        history: history(store, dir, verdict),
        baseline,
        not_compared,
    }
}

/// What a run's folder holds of it: nothing, where a run was sealed without.
pub fn read(dir: &Path) -> Result<Context, Stop> {
    let path = dir.join(CONTEXT);
    let bad = |why: String| Stop::Usage(format!("{}: {why}", path.display()));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Context::default());
        }
        Err(error) => return Err(bad(error.to_string())),
    };
    let context: Context = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    match context.schema_version {
        SCHEMA_VERSION => Ok(context),
        other => Err(bad(format!(
            "format {other}, this build reads {SCHEMA_VERSION}"
        ))),
    }
}

/// All that a report shows beside the verdict.
pub fn extras(
    dir: &Path,
    run: &Judged,
    context: Context,
    files: impl IntoIterator<Item = (String, String)>,
) -> Extras {
    Extras {
        last_log_lines: run.logs.tails.clone(),
        journal_path: evidence::journal_name(dir),
        rerun: rerun(&run.journal.header),
        files: files.into_iter().collect(),
        history: context.history,
        comparison: context
            .baseline
            .map(|baseline| compare(&baseline, &run.verdict)),
        not_compared: context.not_compared,
    }
}

/// Where the accepted run of a kind of run is kept.
pub fn baseline_path(store: &Path, verdict: &Verdict) -> PathBuf {
    let run = &verdict.run;
    let [target, kind, profile] =
        [&run.target, &run.kind, &run.profile].map(|n| evidence::safe_name(n));
    store
        .join(BASELINES)
        .join(format!("{target}-{kind}-{profile}.json"))
}

/// An accepted run; nothing where there is no such file.
pub fn read_baseline(path: &Path) -> Result<Option<Baseline>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let baseline: Baseline =
        serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    match baseline.readable() {
        true => Ok(Some(baseline)),
        false => Err(format!(
            "{}: format {}, which this build can't read; accept a run again",
            path.display(),
            baseline.schema_version
        )),
    }
}

/// All accepted runs of the store.
pub fn baselines(store: &Path) -> Result<Vec<Baseline>, Stop> {
    let Ok(entries) = fs::read_dir(store.join(BASELINES)) else {
        return Ok(Vec::new());
    };
    let paths = entries.filter_map(|e| Some(e.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend(read_baseline(&path).map_err(Stop::Usage)?);
    }
    Ok(all)
}

/// What became of a folder that may hold an earlier run.
enum Found {
    Run(jiff::Timestamp, PastRun),
    /// Of another kind, or later.
    Other,
    Defect,
    Unsealed,
    Unreadable(String),
}

/// The runs before this one, of the same target, kind and profile, that hold one of its drills.
fn history(store: &Path, dir: &Path, verdict: &Verdict) -> History {
    let Ok(entries) = fs::read_dir(store) else {
        return History::default();
    };
    let folders = entries.filter_map(|e| Some(e.ok()?.path()));
    let mut folders: Vec<PathBuf> = folders
        .filter(|p| p.is_dir() && !p.is_symlink() && !dir.starts_with(p))
        .collect();
    // Names begin with the time of the start: the newest first.
    folders.sort_by(|a, b| b.file_name().cmp(&a.file_name()));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let with_budget = verdict
        .drills
        .iter()
        .filter(|d| d.recovery_budget_ms.is_some());
    counts.extend(with_budget.map(|d| (d.name.as_str(), 0)));
    let (mut runs, mut defects, mut unsealed, mut unreadable) = (Vec::new(), 0, 0, Vec::new());
    let mut looked_at = 0;
    for folder in &folders {
        if looked_at == FOLDERS_MAX || counts.values().all(|n| *n >= RUNS_MAX) {
            break;
        }
        looked_at += 1;
        for part in parts(folder).unwrap_or_default() {
            match look(&part, verdict) {
                Found::Run(at, run) => {
                    for (drill, count) in &mut counts {
                        *count += usize::from(run.recovery_ms.contains_key(*drill));
                    }
                    runs.push((at, run));
                }
                Found::Other => {}
                Found::Defect => defects += 1,
                Found::Unsealed => unsealed += 1,
                Found::Unreadable(why) => unreadable.push(why),
            }
        }
    }
    runs.sort_by_key(|(at, _)| *at);
    let mut left_out = Vec::new();
    for (count, what) in [
        (defects, "with a deliberate defect"),
        (unsealed, "that are not sealed"),
    ] {
        if count > 0 {
            left_out.push(format!("{count} runs {what}"));
        }
    }
    let more = unreadable.len().saturating_sub(NAMED_MAX);
    left_out.extend(unreadable.into_iter().take(NAMED_MAX));
    if more > 0 {
        left_out.push(format!("{more} more runs that can't be read"));
    }
    if looked_at == FOLDERS_MAX && folders.len() > FOLDERS_MAX {
        left_out.push(format!("folders beyond the newest {FOLDERS_MAX}"));
    }
    History {
        runs: runs.into_iter().map(|(_, run)| run).collect(),
        left_out,
    }
}

/// The parts of a verdict that a trend is made of. Unknown fields are those of other versions.
#[derive(Deserialize)]
struct Past {
    run: PastInfo,
    drills: Vec<PastDrill>,
}

#[derive(Deserialize)]
struct PastInfo {
    id: String,
    kind: String,
    started_at: String,
}

#[derive(Deserialize)]
struct PastDrill {
    name: String,
    verdict: Outcome,
    recovery_ms: Option<u64>,
}

/// The journal's first line says whether it matters; what it showed is taken from the sealed verdict, for
/// judging ten soaks again takes longer than a report may.
fn look(part: &Path, verdict: &Verdict) -> Found {
    let Some(header) = evidence::header(part) else {
        return Found::Unreadable(format!("{}: its journal can't be read", part.display()));
    };
    let run = &header.run;
    let before = verdict
        .run
        .started_at
        .parse()
        .is_ok_and(|at| run.started_at < at);
    if run.target != verdict.run.target || run.profile != verdict.run.profile || !before {
        return Found::Other;
    }
    let mine = |name: &str| verdict.drills.iter().any(|d| d.name == name);
    if !header.episodes.iter().any(|e| mine(&e.drill)) {
        return Found::Other;
    }
    if header.subject.defect.is_some() {
        return Found::Defect;
    }
    let Some((manifest, manifest_sha256)) = evidence::manifest(part) else {
        return Found::Unsealed;
    };
    let bytes = match fs::read(part.join(VERDICT)) {
        Ok(bytes) => bytes,
        Err(error) => return Found::Unreadable(format!("{}: {VERDICT}: {error}", part.display())),
    };
    if manifest.files.get(VERDICT) != Some(&sha256_hex(&bytes)) {
        return Found::Unreadable(format!("{}: {VERDICT} was changed", part.display()));
    }
    let past: Past = match serde_json::from_slice(&bytes) {
        Ok(past) => past,
        Err(error) => return Found::Unreadable(format!("{}: {VERDICT}: {error}", part.display())),
    };
    if past.run.kind != verdict.run.kind {
        return Found::Other;
    }
    let mut recovery_ms: BTreeMap<String, Option<u64>> = BTreeMap::new();
    for drill in past.drills.into_iter().filter(|d| mine(&d.name)) {
        let own = drill.recovery_ms.filter(|_| drill.verdict == Outcome::Pass);
        recovery_ms
            .entry(drill.name)
            .and_modify(|longest| *longest = longest.zip(own).map(|(a, b)| a.max(b)))
            .or_insert(own);
    }
    let past = PastRun {
        run: past.run.id,
        manifest_sha256,
        started_at: past.run.started_at,
        recovery_ms,
    };
    Found::Run(run.started_at, past)
}

#[cfg(test)]
#[path = "context/tests.rs"]
mod tests;
