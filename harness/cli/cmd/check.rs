//! `firedrill check`: validate files, start nothing. And `firedrill schema`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use firedrill_plan::Target;

use crate::args::SchemaOf;
use crate::exit::{Exit, Stop};
use crate::{evidence, files};

pub fn check(given: &[PathBuf], rules: Option<&Path>) -> Result<Exit, Stop> {
    if let Some(into) = rules {
        return match given {
            [policy] => export(policy, into),
            _ => Err(Stop::Usage(
                "--export-rules: give the one policy whose rules are written".to_owned(),
            )),
        };
    }
    let paths = match given.is_empty() {
        true => all()?,
        false => given.to_vec(),
    };
    let mut errors = Vec::new();
    for path in &paths {
        match one(path) {
            Ok(warnings) => warnings.iter().for_each(|w| println!("warning: {w}")),
            Err(Stop::Usage(text)) => errors.push(text),
            Err(other) => return Err(other),
        }
    }
    match errors.is_empty() {
        true => {
            println!("{} files are valid", paths.len());
            Ok(Exit::Pass)
        }
        false => Err(Stop::Usage(errors.join("\n"))),
    }
}

/// Writes a policy's rules and triggers as alerts, and says which of them can't be one.
fn export(path: &Path, into: &Path) -> Result<Exit, Stop> {
    let policy = files::policy(path, &files::drill_names()?)?;
    policy
        .warnings
        .iter()
        .for_each(|w| println!("warning: {w}"));
    let names = files::names_of(&policy.value)?;
    let (rules, left) = firedrill_plan::rules_of(&policy.value, &names)
        .map_err(|e| Stop::Usage(format!("{}: {e}", path.display())))?;
    left.iter().for_each(|why| println!("not written: {why}"));
    if rules.is_empty() {
        let text = format!("{}: no rule of it can be written", path.display());
        return Err(Stop::Usage(text));
    }
    let text = firedrill_plan::export_rules(&policy.value.name, &rules);
    evidence::write(into, &text)?;
    println!("{} rules: {}", rules.len(), into.display());
    Ok(Exit::Pass)
}

fn all() -> Result<Vec<PathBuf>, Stop> {
    let mut paths = Vec::new();
    for folder in [files::TARGETS, files::DRILLS, files::PROFILES, files::GATES] {
        paths.extend(files::in_folder(Path::new(folder))?);
    }
    Ok(paths)
}

/// What a file is, is told by its folder, and alert rules by their ending; a drill is what is none of the others.
fn one(path: &Path) -> Result<Vec<String>, Stop> {
    let folder = path
        .parent()
        .and_then(Path::file_name)
        .map(|n| n.to_string_lossy().into_owned());
    match folder.as_deref() {
        Some("targets") => Ok(files::target(path)?.warnings),
        Some("profiles") => {
            let target = target()?;
            Ok(files::profile(path, &files::drill_names()?, &target)?.warnings)
        }
        Some("gates") if files::stem(path) == "waivers" => files::waivers(path).map(|_| Vec::new()),
        Some("gates") => Ok(files::policy(path, &files::drill_names()?)?.warnings),
        _ if path.extension().is_some_and(|e| e == "yml" || e == "yaml") => files::rules(path),
        _ => Ok(files::drill(path, &target()?)?.warnings),
    }
}

/// What drills and profiles are checked against.
fn target() -> Result<Target, Stop> {
    let reference = Path::new(files::TARGETS).join("reference.toml");
    let loaded = match std::env::var_os("FIREDRILL_TARGET") {
        Some(path) => files::target(Path::new(&path))?,
        None => files::target(&reference)?,
    };
    Ok(loaded.value)
}

pub fn schema(of: SchemaOf) -> Result<Exit, Stop> {
    use firedrill_plan::FileKind;
    let schema = match of {
        SchemaOf::Drill => firedrill_plan::schema(FileKind::Drill),
        SchemaOf::Target => firedrill_plan::schema(FileKind::Target),
        SchemaOf::Policy => firedrill_plan::schema(FileKind::Policy),
        SchemaOf::Profile => firedrill_plan::schema(FileKind::Profile),
        SchemaOf::Verdict => firedrill_verdict::schema(),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(|e| Stop::Internal(e.to_string()))?;
    // Whoever closes the pipe early has seen enough.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(Exit::Pass)
}
