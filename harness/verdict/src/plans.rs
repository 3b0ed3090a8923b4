//! The plan that a journal carries: its header's documents, parsed again.

use std::collections::HashMap;
use std::sync::Arc;

use firedrill_journal::{Document, DocumentRole, Header, RunKind, sha256_hex};
use firedrill_plan::{
    Drill, Pace, Profile, Schedule, Target, parse_drill, parse_profile, parse_target,
};

/// What the run was to do.
#[derive(Clone, Debug)]
pub struct Plans {
    pub target: Target,
    /// One per episode of the header, in its order; a soak carries the same few out over and over.
    pub drills: Vec<Arc<Drill>>,
    /// Form of the drills' durations; `None` if unknown, then no phase is measured against its plan.
    pub pace: Option<Pace>,
    /// What a soak was to do beside its drills.
    pub profile: Option<Profile>,
    /// A soak's course as it was drawn.
    pub schedule: Option<Schedule>,
}

impl Plans {
    /// Parses the documents of the header. The error says which one can't be used, and why.
    pub fn of(header: &Header) -> Result<Plans, String> {
        intact(header)?;
        let target = target(header)?;
        let mut drills = Vec::new();
        let mut known: HashMap<&str, Arc<Drill>> = HashMap::new();
        for episode in &header.episodes {
            let path = &episode.document;
            if let Some(drill) = known.get(path.as_str()) {
                drills.push(Arc::clone(drill));
                continue;
            }
            let document = header
                .document(path)
                .ok_or_else(|| format!("the journal holds no document {path}"))?;
            let parsed = parse_drill(path, &document.text, &target)
                .map_err(|e| format!("the drill can't be read: {e}"))?;
            let drill = Arc::new(parsed.value);
            known.insert(path, Arc::clone(&drill));
            drills.push(drill);
        }
        let profile = profile(header, &target)?;
        let pace = match (&profile, header.run.profile.as_str()) {
            (Some(profile), _) => Some(profile.pace),
            (None, "quick") => Some(Pace::Quick),
            (None, "full") => Some(Pace::Full),
            _ => None,
        };
        Ok(Plans {
            schedule: schedule(header)?,
            target,
            drills,
            pace,
            profile,
        })
    }
}

/// Checks the header's documents against their digests.
pub fn intact(header: &Header) -> Result<(), String> {
    let of = |d: &&Document| sha256_hex(d.text.as_bytes()) != d.sha256;
    match header.documents.iter().find(of) {
        None => Ok(()),
        Some(document) => {
            let path = &document.path;
            Err(format!(
                "the document {path} is not the one that its digest names"
            ))
        }
    }
}

pub fn target(header: &Header) -> Result<Target, String> {
    let documents = &header.documents;
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

fn schedule(header: &Header) -> Result<Option<Schedule>, String> {
    let mut documents = header.documents.iter();
    let Some(document) = documents.find(|d| d.role == DocumentRole::Schedule) else {
        return Ok(None);
    };
    let read = serde_json::from_str(&document.text);
    read.map(Some)
        .map_err(|e| format!("the schedule can't be read: {e}"))
}

/// A soak's profile; a drill's is its pace, and no document.
fn profile(header: &Header, target: &Target) -> Result<Option<Profile>, String> {
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
