//! Finding and reading the project's files. Parsing is the plan crate's; this is where text comes from.

use std::fs;
use std::path::{Path, PathBuf};

use firedrill_journal::{Document, DocumentRole, sha256_hex};
use firedrill_plan::{
    Diagnostics, Drill, Parsed, Policy, Profile, Target, parse_drill, parse_policy, parse_profile,
    parse_target,
};

use crate::exit::Stop;

pub const DRILLS: &str = "drills";
pub const PROFILES: &str = "drills/profiles";
pub const GATES: &str = "drills/gates";
pub const TARGETS: &str = "fixtures/targets";

/// Largest file that is read.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// A parsed file together with its text, for the journal's header.
#[derive(Clone)]
pub struct Loaded<T> {
    pub value: T,
    pub document: Document,
    pub warnings: Vec<String>,
}

pub fn read(path: &Path) -> Result<String, Stop> {
    let meta = fs::metadata(path).map_err(|e| missing(path, &e))?;
    if meta.len() > FILE_MAX {
        let text = format!("{}: larger than {FILE_MAX} bytes", path.display());
        return Err(Stop::Usage(text));
    }
    fs::read_to_string(path).map_err(|e| missing(path, &e))
}

fn missing(path: &Path, error: &std::io::Error) -> Stop {
    Stop::Usage(format!(
        "{}: {error}; run firedrill in the project's folder, or give the path",
        path.display()
    ))
}

fn loaded<T>(
    path: &Path,
    text: String,
    role: DocumentRole,
    parsed: Result<Parsed<T>, Diagnostics>,
) -> Result<Loaded<T>, Stop> {
    let parsed = parsed.map_err(|d| Stop::Usage(d.to_string()))?;
    let document = Document {
        role,
        path: path.display().to_string(),
        sha256: sha256_hex(text.as_bytes()),
        text,
    };
    Ok(Loaded {
        value: parsed.value,
        document,
        warnings: parsed.warnings.iter().map(ToString::to_string).collect(),
    })
}

pub fn target(path: &Path) -> Result<Loaded<Target>, Stop> {
    let text = read(path)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let beside = |name: &str| -> Result<String, String> {
        fs::read_to_string(folder.join(name)).map_err(|e| e.to_string())
    };
    let parsed = parse_target(&path.display().to_string(), &text, &beside);
    loaded(path, text, DocumentRole::Target, parsed)
}

pub fn drill(path: &Path, target: &Target) -> Result<Loaded<Drill>, Stop> {
    let text = read(path)?;
    let parsed = parse_drill(&path.display().to_string(), &text, target);
    loaded(path, text, DocumentRole::Drill, parsed)
}

pub fn profile(path: &Path, drills: &[String]) -> Result<Loaded<Profile>, Stop> {
    let text = read(path)?;
    let parsed = parse_profile(&path.display().to_string(), &text, drills);
    loaded(path, text, DocumentRole::Profile, parsed)
}

pub fn policy(path: &Path, drills: &[String]) -> Result<Loaded<Policy>, Stop> {
    let text = read(path)?;
    let parsed = parse_policy(&path.display().to_string(), &text, drills);
    let policy = loaded(path, text, DocumentRole::Policy, parsed)?;
    for rule in &policy.value.rules {
        known_figure(path, &rule.id, &rule.figure)?;
    }
    Ok(policy)
}

/// A rule on a figure that no verdict holds could never be judged.
fn known_figure(path: &Path, rule: &str, figure: &str) -> Result<(), Stop> {
    let patterns: Vec<&str> = firedrill_verdict::FIGURES
        .iter()
        .map(|(name, _)| *name)
        .collect();
    let fits = |pattern: &&str| match pattern.split_once('<') {
        Some((prefix, rest)) => {
            let suffix = rest.split_once('>').map_or("", |(_, suffix)| suffix);
            figure.len() > prefix.len() + suffix.len()
                && figure.starts_with(prefix)
                && figure.ends_with(suffix)
        }
        None => figure == *pattern,
    };
    if patterns.iter().any(fits) {
        return Ok(());
    }
    let nearest = firedrill_plan::nearest(figure, &patterns);
    let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
    Err(Stop::Usage(format!(
        "{}: rule {rule}: no verdict holds the figure {figure:?}; there are {}{hint}",
        path.display(),
        patterns.join(", ")
    )))
}

/// The TOML files of a folder, by name. Finding none is an error: nothing would be tested.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Stop> {
    let entries = fs::read_dir(folder).map_err(|e| missing(folder, &e))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    match paths.is_empty() {
        true => Err(Stop::Usage(format!(
            "{}: no *.toml file in it",
            folder.display()
        ))),
        false => Ok(paths),
    }
}

pub fn stem(path: &Path) -> String {
    path.file_stem()
        .map_or_else(String::new, |s| s.to_string_lossy().into_owned())
}

/// Names of all drills of the project.
pub fn drill_names() -> Result<Vec<String>, Stop> {
    Ok(in_folder(Path::new(DRILLS))?
        .iter()
        .map(|p| stem(p))
        .collect())
}

/// Paths of the drills that are meant: by name or path, all if none is given.
pub fn drill_paths(wanted: &[String]) -> Result<Vec<PathBuf>, Stop> {
    let all = in_folder(Path::new(DRILLS));
    if wanted.is_empty() {
        return all;
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for name in wanted {
        let path = match name.ends_with(".toml") {
            true => PathBuf::from(name),
            false => named(name, all.as_deref().unwrap_or(&[]))?,
        };
        if paths.iter().any(|p| stem(p) == stem(&path)) {
            let text = format!(
                "two drills of the name {:?}; give each file its own",
                stem(&path)
            );
            return Err(Stop::Usage(text));
        }
        paths.push(path);
    }
    Ok(paths)
}

fn named(name: &str, all: &[PathBuf]) -> Result<PathBuf, Stop> {
    if let Some(path) = all.iter().find(|p| stem(p) == name) {
        return Ok(path.clone());
    }
    let names: Vec<String> = all.iter().map(|p| stem(p)).collect();
    let nearest =
        firedrill_plan::nearest(name, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
    Err(Stop::Usage(format!(
        "{DRILLS}: no drill {name:?}; there are {}{hint}",
        names.join(", ")
    )))
}
