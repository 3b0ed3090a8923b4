//! Finding and reading the project's files. Parsing is the plan crate's; this is where text comes from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use firedrill_journal::{Document, DocumentRole, sha256_hex};
use firedrill_plan::{
    Diagnostics, Drill, Known, Parsed, Policy, Profile, Signed, Target, TargetSeries, Waiver,
    check_figures, parse_attestations, parse_drill_with, parse_policy, parse_profile, parse_rules,
    parse_target, parse_waivers,
};

use crate::exit::Stop;

pub const DRILLS: &str = "drills";
pub const PROFILES: &str = "drills/profiles";
pub const GATES: &str = "drills/gates";
pub const TARGETS: &str = "fixtures/targets";
/// Waivers that are always looked at, where the file is there.
pub const WAIVERS: &str = "drills/gates/waivers.toml";

/// Largest file that is read.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// A parsed file together with its text, for the journal's header.
#[derive(Clone)]
pub struct Loaded<T> {
    pub value: T,
    pub document: Document,
    /// Files that it names, verbatim.
    pub beside: Vec<Document>,
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

/// The text of a file that another one names.
fn read_at_most(path: &Path, bytes_max: u64) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|e| e.to_string())?.len();
    match length > bytes_max {
        true => Err(format!("larger than {bytes_max} bytes")),
        false => fs::read_to_string(path).map_err(|e| e.to_string()),
    }
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
    Ok(Loaded {
        value: parsed.value,
        document: document(path, text, role),
        beside: Vec::new(),
        warnings: parsed.warnings.iter().map(ToString::to_string).collect(),
    })
}

fn document(path: &Path, text: String, role: DocumentRole) -> Document {
    Document {
        role,
        path: path.display().to_string(),
        sha256: sha256_hex(text.as_bytes()),
        text,
    }
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
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let beside = |name: &str| read_at_most(&folder.join(name), FILE_MAX);
    let parsed = parse_drill_with(&path.display().to_string(), &text, target, &beside);
    let mut drill = loaded(path, text, DocumentRole::Drill, parsed)?;
    if let Some(alerts) = &drill.value.alerts {
        let path = folder.join(&alerts.file);
        let rules = document(&path, alerts.text.clone(), DocumentRole::Rules);
        drill.beside.push(rules);
    }
    Ok(drill)
}

/// Checks a file of alert rules by itself.
pub fn rules(path: &Path) -> Result<Vec<String>, Stop> {
    parse_rules(&path.display().to_string(), &read(path)?)
        .map(|_| Vec::new())
        .map_err(|d| Stop::Usage(d.to_string()))
}

pub fn profile(path: &Path, drills: &[String], target: &Target) -> Result<Loaded<Profile>, Stop> {
    let text = read(path)?;
    let parsed = parse_profile(&path.display().to_string(), &text, drills, target);
    loaded(path, text, DocumentRole::Profile, parsed)
}

pub fn policy(path: &Path, drills: &[String]) -> Result<Loaded<Policy>, Stop> {
    let text = read(path)?;
    let known = Known {
        drills: drills.to_vec(),
        targets: series_of_targets()?,
    };
    let parsed = parse_policy(&path.display().to_string(), &text, &known);
    let policy = loaded(path, text, DocumentRole::Policy, parsed)?;
    let (path, text) = (&policy.document.path, &policy.document.text);
    check_figures(path, text, &figures(drills)).map_err(|d| Stop::Usage(d.to_string()))?;
    Ok(policy)
}

/// The names that a policy's only target gives to its variables; none where it has no or several targets.
pub fn names_of(policy: &Policy) -> Result<BTreeMap<String, String>, Stop> {
    match policy.targets.as_slice() {
        [one] => {
            let path = Path::new(TARGETS).join(format!("{one}.toml"));
            Ok(target(&path)?.value.metric)
        }
        _ => Ok(BTreeMap::new()),
    }
}

pub fn waivers(path: &Path) -> Result<Vec<Waiver>, Stop> {
    let parsed = parse_waivers(&path.display().to_string(), &read(path)?);
    Ok(parsed.map_err(|d| Stop::Usage(d.to_string()))?.value)
}

pub fn attestations(path: &Path) -> Result<Vec<Signed>, Stop> {
    let parsed = parse_attestations(&path.display().to_string(), &read(path)?);
    Ok(parsed.map_err(|d| Stop::Usage(d.to_string()))?.value)
}

/// What the target files say about their series; none where there is no such folder.
fn series_of_targets() -> Result<BTreeMap<String, TargetSeries>, Stop> {
    let mut all = BTreeMap::new();
    let folder = Path::new(TARGETS);
    if !folder.is_dir() {
        return Ok(all);
    }
    for path in in_folder(folder)? {
        let target = target(&path)?.value;
        let series = TargetSeries {
            series: target.series(),
            names: target.metric,
        };
        all.insert(stem(&path), series);
    }
    Ok(all)
}

/// The figures that a verdict can hold, by name.
fn figures(drills: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for (pattern, _) in firedrill_verdict::FIGURES {
        let put = |name: &str, value: &str| pattern.replace(name, value);
        if pattern.contains("<equation>") {
            names.extend(firedrill_verdict::equation_ids().map(|id| put("<equation>", id)));
        } else if pattern.contains("<name>") {
            names.extend(drills.iter().map(|drill| put("<name>", drill)));
        } else {
            names.push((*pattern).to_owned());
        }
    }
    names
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
