//! Whether a sealed run is what it was when it was sealed, as far as its folder alone can tell.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use firedrill_journal::{Header, RunKind};
use firedrill_report::Extras;
use firedrill_verdict::{Outcome, Verdict};

use crate::evidence::{self, MANIFEST, Rejudged, VERDICT};
use crate::exit::Stop;
use crate::planned::{self, PLAN};

/// Something that is not as it should be, and how much that says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// FAIL: it was changed. INCONCLUSIVE: it can't be known whether it was.
    pub verdict: Outcome,
    pub why: String,
}

pub fn changed(why: impl Into<String>) -> Finding {
    Finding {
        verdict: Outcome::Fail,
        why: why.into(),
    }
}

pub fn unknown(why: impl Into<String>) -> Finding {
    Finding {
        verdict: Outcome::Inconclusive,
        why: why.into(),
    }
}

/// A run's folder that was looked at.
pub struct Inspected {
    /// `None` where its journal can't be read at all.
    pub run: Option<Rejudged>,
    pub findings: Vec<Finding>,
}

/// Compares the folder with its manifest, follows the journal's chain to its end, judges the journal again
/// and renders the reports again.
pub fn inspect(dir: &Path) -> Result<Inspected, Stop> {
    let run = match evidence::rejudge(dir) {
        Ok(run) => run,
        Err(Stop::Environment(why)) => {
            return Ok(Inspected {
                run: None,
                findings: vec![changed(why)],
            });
        }
        Err(other) => return Err(other),
    };
    let mut findings = Vec::new();
    if let Err(why) = &run.sealed.intact {
        findings.push(match run.sealed.manifest {
            Some(_) => changed(why.clone()),
            None => unknown(why.clone()),
        });
    }
    if let Some(cut) = &run.run.journal.truncation {
        let why = format!("the journal's chain ends at line {}: {}", cut.line, cut.why);
        findings.push(unknown(why));
    }
    findings.extend(identity(&run));
    findings.extend(derived(&run)?);
    Ok(Inspected {
        run: Some(run),
        findings,
    })
}

/// Whether folder, manifest and journal speak of the same run.
fn identity(run: &Rejudged) -> Vec<Finding> {
    let header = &run.run.journal.header;
    let mut findings = Vec::new();
    if let Some(manifest) = &run.sealed.manifest
        && manifest.run != header.run.id
    {
        findings.push(changed(format!(
            "{MANIFEST} is of the run {}, the journal of {}",
            manifest.run, header.run.id
        )));
    }
    let folder = evidence::folder_name(&run.dir);
    let whole = evidence::folder_name(&planned::whole(&run.dir));
    if !names(header, &whole).contains(&folder.as_str()) {
        findings.push(changed(format!(
            "the folder {folder} holds the run {}",
            header.run.id
        )));
    }
    findings
}

/// Names that a run's folder may have: its id, or as a part of a run its drill, what was switched on in it, or the stage
/// that was watched, which the id has behind that of the whole.
fn names<'h>(header: &'h Header, whole: &str) -> Vec<&'h str> {
    let mut names = vec![header.run.id.as_str()];
    if header.run.kind == RunKind::Observe {
        let stage = header.run.id.strip_prefix(whole);
        names.extend(stage.and_then(|rest| rest.strip_prefix('-')));
    }
    if header.run.kind == RunKind::Drill {
        names.extend(header.episodes.iter().map(|e| e.drill.as_str()));
        names.push(header.subject.defect.as_deref().unwrap_or("honest"));
    }
    names
}

/// Compares what is derived from the journal with what would be derived now.
fn derived(run: &Rejudged) -> Result<Vec<Finding>, Stop> {
    let mut findings = Vec::new();
    let wanted = evidence::renderings(&run.dir, &run.run)?;
    let by = run.run.journal.header.versions.get("firedrill");
    let own = env!("CARGO_PKG_VERSION");
    let differs = |name: &str| match by.filter(|by| *by != own) {
        Some(by) => unknown(format!(
            "{name} is not what firedrill {own} makes of the journal; it was made by {by}: verify with that"
        )),
        None if name == VERDICT => changed(format!("{VERDICT} is not the verdict on this journal")),
        None => changed(format!("{name} is not rendered from this journal")),
    };
    for (name, text) in &wanted {
        match fs::read(run.dir.join(name)) {
            Ok(found) if found == text.as_bytes() => {}
            Ok(_) => findings.push(differs(name)),
            Err(error) => findings.push(changed(format!("{name}: {error}"))),
        }
    }
    let found = evidence::digests(&run.dir)?;
    let logs = &run.run.logs.digests;
    for (name, digest) in logs {
        match found.get(name) {
            Some(found) if found == digest => {}
            Some(_) => findings.push(differs(name)),
            None => findings.push(changed(format!("{name} is missing"))),
        }
    }
    for name in found.into_keys() {
        let derived = wanted.contains_key(&name) || logs.contains_key(&name);
        if !evidence::is_recorded(&name) && !derived {
            findings.push(changed(format!("{name} is no file of a run")));
        }
    }
    Ok(findings)
}

/// What an overview says of one of its runs.
pub fn with_extras(run: &Rejudged) -> Result<(Verdict, Extras), Stop> {
    let extras = evidence::extras(&run.dir, &run.run)?;
    Ok((run.verdict().clone(), extras))
}

/// The common folder of a run of several drills: its own seal, its plan, its overview.
pub fn inspect_whole(folder: &Path, runs: &[(Verdict, Extras)]) -> Result<Vec<Finding>, Stop> {
    let mut findings: Vec<Finding> = planned::lacks(folder).into_iter().map(unknown).collect();
    let Some(Ok(planned)) = planned::read(folder) else {
        return Ok(findings);
    };
    let files = match evidence::digests(folder) {
        Ok(files) => files,
        Err(why) => {
            findings.push(changed(why.to_string()));
            return Ok(findings);
        }
    };
    let sealed = evidence::verify(folder);
    match (&sealed.manifest, &sealed.intact) {
        (None, Err(why)) => findings.push(unknown(why.clone())),
        (_, Err(why)) => findings.push(changed(why.clone())),
        (_, Ok(())) => {}
    }
    if planned.run != evidence::folder_name(folder) {
        let why = format!("{PLAN} is of the run {}", planned.run);
        findings.push(changed(why));
    }
    let mut own = runs.iter().map(|(verdict, _)| verdict);
    if let Some(other) = own.find(|v| v.subject.digest != planned.subject) {
        let why = format!(
            "{PLAN} is about {}, the run {} about {}",
            planned.subject, other.run.id, other.subject.digest
        );
        findings.push(changed(why));
    }
    let wanted: BTreeMap<String, String> = match runs.is_empty() {
        true => BTreeMap::new(),
        false => evidence::overview(runs)?,
    };
    for (name, text) in &wanted {
        match fs::read(folder.join(name)) {
            Ok(found) if found == text.as_bytes() => {}
            Ok(_) => findings.push(changed(format!("{name} is not rendered from these runs"))),
            Err(error) => findings.push(changed(format!("{name}: {error}"))),
        }
    }
    for name in files.into_keys() {
        let of_part = planned.drills.iter().any(|drill| {
            name.strip_prefix(drill.as_str())
                .is_some_and(|n| n.starts_with('/'))
        });
        if !of_part && name != PLAN && !wanted.contains_key(&name) {
            findings.push(changed(format!("{name} is no file of a run")));
        }
    }
    Ok(findings)
}
