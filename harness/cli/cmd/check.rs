//! `firedrill check`: validate files, start nothing. And `firedrill schema`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use firedrill_plan::Target;

use crate::args::SchemaOf;
use crate::exit::{Exit, Stop};
use crate::files;

pub fn check(given: &[PathBuf]) -> Result<Exit, Stop> {
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
