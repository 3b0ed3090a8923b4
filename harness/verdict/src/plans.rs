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
        let pace = pace(journal)?;
        Ok(Plans {
            target,
            drills,
            pace,
        })
    }
}

fn target(journal: &Journal) -> Result<Target, String> {
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

/// A soak's pace stands in its profile; a drill's profile is the pace.
fn pace(journal: &Journal) -> Result<Option<Pace>, String> {
    let header = &journal.header;
    let mut documents = header.documents.iter();
    if header.run.kind == RunKind::Soak
        && let Some(document) = documents.find(|d| d.role == DocumentRole::Profile)
    {
        let known: Vec<String> = header.episodes.iter().map(|e| e.drill.clone()).collect();
        let parsed = parse_profile(&document.path, &document.text, &known);
        let profile: Profile = parsed
            .map_err(|e| format!("the profile can't be read: {e}"))?
            .value;
        return Ok(Some(profile.pace));
    }
    Ok(match header.run.profile.as_str() {
        "quick" => Some(Pace::Quick),
        "full" => Some(Pace::Full),
        _ => None,
    })
}
