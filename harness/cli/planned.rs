//! What a run of several drills was to do, written before the first of them is started: a drill that left nothing
//! behind would otherwise not be missed by whoever looks at the folder later.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::evidence;
use crate::exit::Stop;

pub const PLAN: &str = "plan.json";
/// Largest plan that is read.
const PLAN_MAX: u64 = 1024 * 1024;

/// `plan.json` in the folder of a run of several drills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    pub schema_version: u32,
    pub run: String,
    /// Digest of the build under test.
    pub subject: String,
    /// Each has a folder of its name. Of a ramp that was watched: its stages.
    pub drills: Vec<String>,
}

pub fn store(folder: &Path, planned: &Planned) -> Result<(), Stop> {
    evidence::create(folder)?;
    let text = serde_json::to_string_pretty(planned).map_err(|e| Stop::Internal(e.to_string()))?;
    evidence::write(&folder.join(PLAN), &(text + "\n"))
}

/// The plan of a run's folder; `None` where there is none.
pub fn read(folder: &Path) -> Option<Result<Planned, String>> {
    let path = folder.join(PLAN);
    let meta = std::fs::symlink_metadata(&path).ok()?;
    if !meta.is_file() || meta.len() > PLAN_MAX {
        let why = format!("{PLAN} is no plain file of {PLAN_MAX} bytes at most");
        return Some(Err(why));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{PLAN}: {e}"));
    Some(text.and_then(|t| serde_json::from_str(&t).map_err(|e| format!("{PLAN}: {e}"))))
}

/// The folder of the whole run that a part belongs to; the folder itself if it is no part. A store has neither plan nor
/// manifest of its own.
pub fn whole(part: &Path) -> PathBuf {
    let part = part.canonicalize().unwrap_or_else(|_| part.to_owned());
    let of_run = |above: &&Path| {
        let mut names = [PLAN, evidence::MANIFEST].into_iter();
        names.any(|name| above.join(name).exists())
    };
    match part.parent().filter(of_run) {
        Some(above) => above.to_owned(),
        None => part,
    }
}

/// What a folder of several drills lacks: drills that were planned and left no journal, or the plan.
pub fn lacks(folder: &Path) -> Vec<String> {
    if firedrill_journal::find(folder).is_some() {
        return Vec::new();
    }
    match read(folder) {
        Some(Err(why)) => vec![why],
        Some(Ok(planned)) => {
            let drills = planned.drills.into_iter();
            drills
                .filter(|drill| firedrill_journal::find(&folder.join(drill)).is_none())
                .map(|drill| format!("drill {drill} was planned, and left no journal"))
                .collect()
        }
        None if is_run(folder) => vec![format!(
            "{PLAN} is missing: it is not known which drills were planned"
        )],
        None => Vec::new(),
    }
}

/// Why a folder of several drills can't vouch for its parts: what it lacks, and a seal over all of them that doesn't hold.
pub fn doubts(folder: &Path) -> Vec<String> {
    let mut all = lacks(folder);
    if read(folder).is_some()
        && let Err(why) = evidence::verify(folder).intact
    {
        all.push(why);
    }
    all
}

/// Whether the folders below are parts of one run. In a store each is a run, and has its id for a name.
fn is_run(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    let mut parts = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| firedrill_journal::find(path).is_some());
    parts.any(|part| {
        let header = evidence::header(&part);
        header.is_none_or(|h| h.run.id != evidence::folder_name(&part))
    })
}
