//! The run's folder: created, filled, sealed, verified.
//!
//! A sealed run is read-only. Whoever judges, renders or gates it later writes beside it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use firedrill_journal::{Event, FactSource, Journal, PLAIN, sha256_hex};
use firedrill_report::Extras;
use firedrill_verdict::Verdict;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::exit::Stop;

pub const VERDICT: &str = "verdict.json";
const MANIFEST: &str = "manifest.json";

/// `manifest.json`: SHA-256 of every other file of the folder, and the journal's chain head.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema_version: u32,
    pub run: String,
    /// The folder's name when it was sealed.
    pub folder: String,
    pub journal_head: String,
    pub files: BTreeMap<String, String>,
}

fn io(path: &Path, error: &std::io::Error) -> Stop {
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull => "; free some space",
        _ => "; give --out a folder that can be written",
    };
    Stop::Environment(format!("{}: {error}{hint}", path.display()))
}

/// Name of a run: UTC start, kind, seed and four random letters.
pub fn run_id(kind: &str, seed: u32) -> String {
    let start = jiff::Timestamp::now().strftime("%Y%m%dt%H%M%Sz");
    let mut rng = rand::rng();
    let letters: String = (0..4)
        .map(|_| char::from(rng.random_range(b'a'..=b'z')))
        .collect();
    format!("{start}-{kind}-{seed}-{letters}")
}

pub fn create(dir: &Path) -> Result<(), Stop> {
    fs::create_dir_all(dir).map_err(|e| io(dir, &e))
}

/// Holds the run's folder for this process, until it ends in whatever way.
pub fn claim(dir: &Path) -> Result<fs::File, Stop> {
    let folder = fs::File::open(dir).map_err(|e| io(dir, &e))?;
    let alone = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    match rustix::fs::flock(&folder, alone) {
        Ok(()) => Ok(folder),
        Err(_) => Err(Stop::Usage(format!(
            "{}: another firedrill is still at work in it",
            dir.display()
        ))),
    }
}

pub fn write(path: &Path, text: &str) -> Result<(), Stop> {
    fs::write(path, text).map_err(|e| io(path, &e))
}

/// Writes everything that is derived from the journal.
pub fn render(dir: &Path, journal: &Journal, verdict: &Verdict, rerun: &str) -> Result<(), Stop> {
    write(
        &dir.join(VERDICT),
        &firedrill_verdict::verdict_json(verdict),
    )?;
    let logs = logs(journal);
    let folder = dir.join("logs");
    create(&folder)?;
    for (service, lines) in &logs {
        write(&folder.join(format!("{service}.log")), &lines.join("\n"))?;
    }
    let files = digests(dir)?;
    let extras = Extras {
        last_log_lines: tails(&logs),
        journal_path: journal_name(dir),
        rerun: rerun.to_owned(),
        files: files.into_iter().collect(),
    };
    let html = firedrill_report::html(verdict, None, &extras)
        .map_err(|e| Stop::Internal(e.to_string()))?;
    write(&dir.join("report.html"), &html)?;
    write(
        &dir.join("report.md"),
        &firedrill_report::markdown(verdict, None),
    )?;
    write(
        &dir.join("junit.xml"),
        &junit(std::slice::from_ref(verdict))?,
    )
}

pub fn junit(verdicts: &[Verdict]) -> Result<String, Stop> {
    firedrill_report::junit(verdicts).map_err(|e| Stop::Internal(e.to_string()))
}

/// The journal's file or folder, as reports name it.
pub fn journal_name(dir: &Path) -> String {
    let found = firedrill_journal::find(dir);
    let name = found.as_deref().and_then(Path::file_name);
    name.map_or_else(|| PLAIN.to_owned(), |n| n.to_string_lossy().into_owned())
}

/// Log lines per service, as the journal holds them.
pub fn logs(journal: &Journal) -> BTreeMap<String, Vec<String>> {
    let mut logs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for envelope in &journal.events {
        let Event::Fact(fact) = &envelope.event else {
            continue;
        };
        if fact.source != FactSource::Log {
            continue;
        }
        let text = |key: &str| fact.keys.get(key).and_then(|v| v.as_str()).unwrap_or("");
        let line = format!("{:>12.3} ms  {}", fact.at_ns as f64 / 1e6, text("text"));
        logs.entry(safe_name(text("service")))
            .or_default()
            .push(line);
    }
    logs
}

/// A file name that can't leave its folder, whatever the target called its service.
fn safe_name(name: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '_'
        }
    };
    name.chars().take(64).map(safe).collect()
}

fn tails(logs: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let tail = |lines: &Vec<String>| lines[lines.len().saturating_sub(20)..].to_vec();
    logs.iter()
        .map(|(service, lines)| (service.clone(), tail(lines)))
        .collect()
}

/// SHA-256 of every file below the folder, by its path in it; the manifest is left out.
fn digests(dir: &Path) -> Result<BTreeMap<String, String>, Stop> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| io(&folder, &e))? {
            let path = entry.map_err(|e| io(&folder, &e))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path
                .strip_prefix(dir)
                .unwrap_or(&path)
                .display()
                .to_string();
            if name != MANIFEST {
                let bytes = fs::read(&path).map_err(|e| io(&path, &e))?;
                files.insert(name, sha256_hex(&bytes));
            }
        }
    }
    Ok(files)
}

/// Writes the manifest and takes the write permission away.
pub fn seal(dir: &Path, run: &str, journal_head: &str) -> Result<(), Stop> {
    let manifest = Manifest {
        schema_version: 1,
        run: run.to_owned(),
        folder: folder_name(dir),
        journal_head: journal_head.to_owned(),
        files: digests(dir)?,
    };
    let text =
        serde_json::to_string_pretty(&manifest).map_err(|e| Stop::Internal(e.to_string()))?;
    write(&dir.join(MANIFEST), &(text + "\n"))?;
    for name in manifest.files.keys().map(String::as_str).chain([MANIFEST]) {
        let path = dir.join(name);
        let permissions = fs::Permissions::from_mode(0o444);
        fs::set_permissions(&path, permissions).map_err(|e| io(&path, &e))?;
    }
    Ok(())
}

/// The manifest, its digest, and whether the folder is what it says.
pub struct Sealed {
    pub manifest: Option<Manifest>,
    pub manifest_sha256: String,
    pub intact: Result<(), String>,
}

/// Compares a run's folder with its manifest.
pub fn verify(dir: &Path) -> Sealed {
    let unsealed = |why: String| Sealed {
        manifest: None,
        manifest_sha256: String::new(),
        intact: Err(why),
    };
    let bytes = match fs::read(dir.join(MANIFEST)) {
        Ok(bytes) => bytes,
        Err(error) => return unsealed(format!("the run is not sealed: {MANIFEST}: {error}")),
    };
    let manifest: Manifest = match serde_json::from_slice(&bytes) {
        Ok(manifest) => manifest,
        Err(error) => return unsealed(format!("{MANIFEST} can't be read: {error}")),
    };
    let intact = compare(dir, &manifest);
    Sealed {
        manifest_sha256: sha256_hex(&bytes),
        manifest: Some(manifest),
        intact,
    }
}

fn compare(dir: &Path, manifest: &Manifest) -> Result<(), String> {
    let found = digests(dir).map_err(|e| e.to_string())?;
    for (name, digest) in &manifest.files {
        match found.get(name) {
            None if name == VERDICT => {}
            None => return Err(format!("{name} is missing")),
            Some(other) if other != digest => return Err(format!("{name} was changed")),
            Some(_) => {}
        }
    }
    if let Some(name) = found
        .keys()
        .find(|name| !manifest.files.contains_key(*name))
    {
        return Err(format!("{name} was added"));
    }
    if folder_name(dir) != manifest.folder {
        return Err(format!(
            "the folder was renamed: it was {}",
            manifest.folder
        ));
    }
    // Last, for it is the one change that isn't any: see `is_intact`.
    match manifest.files.contains_key(VERDICT) && !found.contains_key(VERDICT) {
        true => Err(verdict_is_missing()),
        false => Ok(()),
    }
}

fn verdict_is_missing() -> String {
    format!("{VERDICT} is missing")
}

impl Sealed {
    /// Whether what the verdict is derived from is as it was sealed. A `verdict.json` that is missing is no
    /// change: it can be derived again.
    pub fn is_intact(&self) -> bool {
        match &self.intact {
            Ok(()) => true,
            Err(why) => self.manifest.is_some() && *why == verdict_is_missing(),
        }
    }
}

fn folder_name(dir: &Path) -> String {
    let folder = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    folder
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// A recorded run that was read and judged again.
pub struct Rejudged {
    pub dir: PathBuf,
    pub journal: Journal,
    pub verdict: Verdict,
    pub sealed: Sealed,
}

pub fn rejudge(dir: &Path) -> Result<Rejudged, Stop> {
    if firedrill_journal::find(dir).is_none() {
        return Err(Stop::Usage(format!(
            "{}: no {PLAIN} in it; give the folder of one run",
            dir.display()
        )));
    }
    let mut sealed = verify(dir);
    let journal = firedrill_journal::read_run(dir).map_err(|e| Stop::Environment(e.to_string()))?;
    if let Some(manifest) = sealed.manifest.as_ref().filter(|_| sealed.is_intact())
        && manifest.journal_head != journal.head
    {
        sealed.intact = Err("the journal's chain does not end as the manifest says".to_owned());
    }
    let verdict = firedrill_verdict::judge(&journal);
    Ok(Rejudged {
        dir: dir.to_owned(),
        journal,
        verdict,
        sealed,
    })
}

/// Points `latest` at the newest run. Not being able to is no reason to fail a run.
pub fn point_latest(out: &Path, run: &str) {
    let link = out.join("latest");
    let fresh = out.join(format!(".latest-{run}"));
    if std::os::unix::fs::symlink(run, &fresh).is_ok() && fs::rename(&fresh, &link).is_err() {
        let _ = fs::remove_file(&fresh);
    }
}
