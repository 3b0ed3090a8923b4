//! The plan that a journal carries: its header's documents, parsed again.

use firedrill_journal::{DocumentRole, Journal, RunKind, sha256_hex};
use firedrill_plan::{Drill, Pace, Profile, Target, parse_drill, parse_profile, parse_target};

/// What the run was to do.
#[derive(Clone, Debug)]
pub struct Plans {
    pub target: Target,
    /// One per episode of the header, in its order.
    pub drills: Vec<Drill>,
    /// Form of the drills' durations; `None` if unknown, then no phase is measured against its plan.
    pub pace: Option<Pace>,
    /// What a soak was to do beside its drills.
    pub profile: Option<Profile>,
}

impl Plans {
    /// Parses the documents of the header. The error says which one can't be used, and why.
    pub fn of(journal: &Journal) -> Result<Plans, String> {
        for document in &journal.header.documents {
            if sha256_hex(document.text.as_bytes()) != document.sha256 {
                let path = &document.path;
                return Err(format!(
                    "the document {path} is not the one that its digest names"
                ));
            }
        }
        let target = target(journal)?;
        let mut drills = Vec::new();
        for episode in &journal.header.episodes {
            let path = &episode.document;
            let document = journal
                .document(path)
                .ok_or_else(|| format!("the journal holds no document {path}"))?;
            let parsed = parse_drill(path, &document.text, &target)
                .map_err(|e| format!("the drill can't be read: {e}"))?;
            drills.push(parsed.value);
        }
        let profile = profile(journal, &target)?;
        let pace = match (&profile, journal.header.run.profile.as_str()) {
            (Some(profile), _) => Some(profile.pace),
            (None, "quick") => Some(Pace::Quick),
            (None, "full") => Some(Pace::Full),
            _ => None,
        };
        Ok(Plans {
            target,
            drills,
            pace,
            profile,
        })
    }
}

pub fn target(journal: &Journal) -> Result<Target, String> {
    let documents = &journal.header.documents;
    let document = documents
        .iter()
        .find(|d| d.role == DocumentRole::Target)
        .ok_or("the journal holds no target file")?;
    // Judging needs no schema: the files that a target names are not part of what was observed.
    let parsed = parse_target(&document.path, &document.text, &|_| Ok(String::new()));
    parsed
        .map(|p| p.value)
        .map_err(|e| format!("the target file can't be read: {e}"))
}

/// A soak's profile; a drill's is its pace, and no document.
fn profile(journal: &Journal, target: &Target) -> Result<Option<Profile>, String> {
    let header = &journal.header;
    let mut documents = header.documents.iter();
    if header.run.kind != RunKind::Soak {
        return Ok(None);
    }
    let document = documents
        .find(|d| d.role == DocumentRole::Profile)
        .ok_or("the journal of a soak holds no profile")?;
    // A soak's header carries every drill of its mix, drawn or not.
    let drills = header
        .documents
        .iter()
        .filter(|d| d.role == DocumentRole::Drill);
    let stem = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.strip_suffix(".toml").unwrap_or(name).to_owned()
    };
    let known: Vec<String> = drills
        .map(|d| stem(&d.path))
        .chain(header.episodes.iter().map(|e| e.drill.clone()))
        .collect();
    let parsed = parse_profile(&document.path, &document.text, &known, target);
    parsed
        .map(|p| Some(p.value))
        .map_err(|e| format!("the profile can't be read: {e}"))
}
