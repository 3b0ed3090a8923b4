//! `firedrill judge` and `firedrill report`: from a recorded journal, offline.

use std::path::{Path, PathBuf};

use firedrill_journal::sha256_hex;
use firedrill_verdict::verdict_json;

use crate::args::Format;
use crate::evidence::parts;
use crate::evidence::{self, Rejudged, VERDICT};
use crate::exit::{Exit, Stop};
use crate::planned;

/// Judges every part of a run again. A `verdict.json` that is missing is put back if it is, byte
/// for byte, the one that was sealed; anything else is written beside the run.
pub fn judge(dir: &Path) -> Result<Exit, Stop> {
    let mut exit = complete(dir);
    for part in parts(dir)? {
        let again = evidence::rejudge(&part)?;
        let trust = trust(&again);
        println!("{}", firedrill_report::summary_line(&again.run.verdict));
        again
            .run
            .verdict
            .reasons
            .iter()
            .for_each(|r| println!("  - {r}"));
        println!("{}", place(&again)?);
        exit = exit.worst(again.run.verdict.verdict.into()).worst(trust);
    }
    Ok(exit)
}

/// A sealed run that was changed is no evidence, whatever its journal says: that comes first.
fn trust(again: &Rejudged) -> Exit {
    match (&again.sealed.manifest, &again.sealed.intact) {
        (Some(_), Err(why)) if !again.sealed.is_intact() => {
            println!("INCONCLUSIVE {}: {why}", again.dir.display());
            Exit::Inconclusive
        }
        _ => Exit::Pass,
    }
}

fn place(again: &Rejudged) -> Result<String, Stop> {
    let text = verdict_json(&again.run.verdict);
    let path = again.dir.join(VERDICT);
    let digest = sha256_hex(text.as_bytes());
    let sealed = again
        .sealed
        .manifest
        .as_ref()
        .and_then(|m| m.files.get(VERDICT));
    if sealed == Some(&digest) {
        if !path.exists() {
            evidence::write(&path, &text)?;
            return Ok(format!("rebuilt byte for byte: {}", path.display()));
        }
        return Ok("the same verdict as when the run was sealed".to_owned());
    }
    let beside = beside(&again.dir, "judged")?.join(VERDICT);
    evidence::write(&beside, &text)?;
    let why = match &again.sealed.intact {
        Ok(()) => "the judge has changed since".to_owned(),
        Err(why) => why.clone(),
    };
    Ok(format!(
        "not the sealed verdict ({why}): {}",
        beside.display()
    ))
}

/// A folder for what is made from a run later; the run itself is read-only, and so is the whole that it is a
/// part of.
fn beside(run: &Path, what: &str) -> Result<PathBuf, Stop> {
    let run = run
        .canonicalize()
        .map_err(|e| Stop::Environment(e.to_string()))?;
    let whole = planned::whole(&run);
    let mut name = evidence::folder_name(&whole);
    if whole != run {
        name = format!("{name}-{}", evidence::folder_name(&run));
    }
    let folder = whole
        .parent()
        .unwrap_or(&whole)
        .join(format!("{name}.{what}"));
    evidence::create(&folder)?;
    Ok(folder)
}

/// What is missing of a run of several drills comes first: the others are not all of it.
fn complete(dir: &Path) -> Exit {
    let lacks = planned::lacks(dir);
    for why in &lacks {
        println!("INCONCLUSIVE {}: {why}", dir.display());
    }
    match lacks.is_empty() {
        true => Exit::Pass,
        false => Exit::Inconclusive,
    }
}

/// Renders reports of a run again, beside it.
pub fn report(dir: &Path, formats: &[Format]) -> Result<Exit, Stop> {
    let names: Vec<&str> = formats.iter().map(name).collect::<Result<_, _>>()?;
    let mut exit = complete(dir);
    for part in parts(dir)? {
        let again = evidence::rejudge(&part)?;
        let folder = beside(&part, "report")?;
        let all = evidence::renderings(&again.dir, &again.run)?;
        for name in &names {
            let text = all.get(*name);
            let text = text.ok_or_else(|| Stop::Internal(format!("{name} was not rendered")))?;
            evidence::write(&folder.join(name), text)?;
        }
        let trust = trust(&again);
        println!("{}", firedrill_report::summary_line(&again.run.verdict));
        println!("report: {}", folder.display());
        exit = exit.worst(again.run.verdict.verdict.into()).worst(trust);
    }
    Ok(exit)
}

/// The name of a rendering in a run's folder.
fn name(format: &Format) -> Result<&'static str, Stop> {
    match format {
        Format::Json => Ok(VERDICT),
        Format::Md => Ok(evidence::MARKDOWN),
        Format::Junit => Ok(evidence::JUNIT),
        Format::Html => Ok(evidence::HTML),
        Format::GoNoGo => {
            let text = "go-no-go.md belongs to a decision: use `firedrill gate`";
            Err(Stop::Usage(text.to_owned()))
        }
    }
}
