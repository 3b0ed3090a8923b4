//! The run's folder: created, filled, sealed, verified.
//!
//! A sealed run is read-only. Whoever judges, renders or gates it later writes beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use firedrill_journal::{Event, Header, Journal, PLAIN, SEGMENTS, sha256_hex};
use firedrill_plan::Policy;
use firedrill_report::Extras;
use firedrill_verdict::{Recorded, Verdict};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::context::{self, CONTEXT, Context};
use crate::exit::Stop;
use crate::logs::{Logs, Told};

pub const VERDICT: &str = "verdict.json";
pub const MANIFEST: &str = "manifest.json";
pub const HTML: &str = "report.html";
pub const MARKDOWN: &str = "report.md";
pub const JUNIT: &str = "junit.xml";
/// Faults with their undo, as the runner wrote them ahead.
const LEDGER: &str = "ledger.jsonl";
/// Bytes of a file that are hashed at once.
const PIECE: usize = 256 * 1024;

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

pub fn io(path: &Path, error: &std::io::Error) -> Stop {
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

/// A run's journal, judged.
pub struct Judged {
    /// In full, or, of a soak, with the lines that reports need.
    pub journal: Journal,
    /// Lines of the journal.
    pub lines: u64,
    pub logs: Told,
    pub verdict: Verdict,
}

/// Judges the journal of a run's folder; its services' logs are written beside it if asked for.
pub fn judged(dir: &Path, write_logs: bool) -> Result<Judged, Stop> {
    let mut logs = match write_logs {
        true => Logs::written(dir)?,
        false => Logs::default(),
    };
    let open = || firedrill_journal::open(dir);
    let judged = firedrill_verdict::judge_run(&open, &mut |line| logs.see(line));
    let judged = judged.map_err(|e| Stop::Environment(e.to_string()))?;
    Ok(Judged {
        journal: judged.journal,
        lines: judged.lines,
        logs: logs.end()?,
        verdict: judged.verdict,
    })
}

/// Writes everything that is derived from the journal, and what stood around the run. The logs were written before.
pub fn render(dir: &Path, run: &Judged, context: &Context) -> Result<Extras, Stop> {
    let text = serde_json::to_string_pretty(context).map_err(|e| Stop::Internal(e.to_string()))?;
    write(&dir.join(CONTEXT), &(text + "\n"))?;
    for (name, text) in renderings(dir, run)? {
        write(&dir.join(name), &text)?;
    }
    extras(dir, run)
}

/// Everything but the logs that is derived from the journal and from what stood around the run, by its name in the
/// run's folder. Derived again from a sealed run it has the same bytes.
pub fn renderings(dir: &Path, run: &Judged) -> Result<BTreeMap<String, String>, Stop> {
    let verdict = &run.verdict;
    let extras = extras(dir, run)?;
    let html = firedrill_report::html(verdict, None, &extras)
        .map_err(|e| Stop::Internal(e.to_string()))?;
    let markdown = firedrill_report::markdown(verdict, None, &extras);
    Ok(BTreeMap::from([
        (VERDICT.to_owned(), firedrill_verdict::verdict_json(verdict)),
        (HTML.to_owned(), html),
        (MARKDOWN.to_owned(), markdown),
        (JUNIT.to_owned(), junit(std::slice::from_ref(verdict))?),
    ]))
}

/// What the reports of a run's folder show beside the verdict, from that folder alone.
pub fn extras(dir: &Path, run: &Judged) -> Result<Extras, Stop> {
    let mut files = digests(dir)?;
    files.retain(|name, _| is_recorded(name));
    files.extend(run.logs.digests.clone());
    let json = firedrill_verdict::verdict_json(&run.verdict);
    files.insert(VERDICT.to_owned(), sha256_hex(json.as_bytes()));
    let context = context::read(dir)?;
    Ok(context::extras(dir, run, context, files))
}

/// Whether a file of a run's folder is recorded, and not derived from what is.
pub fn is_recorded(name: &str) -> bool {
    let segment = name
        .strip_prefix(SEGMENTS)
        .is_some_and(|n| n.starts_with('/'));
    segment || [PLAIN, LEDGER, CONTEXT].contains(&name)
}

/// What a run of several drills says of all of them, by its name in the run's folder.
pub fn overview(runs: &[(Verdict, Extras)]) -> Result<BTreeMap<String, String>, Stop> {
    let mut runs: Vec<&(Verdict, Extras)> = runs.iter().collect();
    // Worst first, then by name: the same whichever of them ended first.
    runs.sort_by_key(|(v, _)| {
        let name = v.drills.first().map(|d| d.name.clone());
        (std::cmp::Reverse(v.verdict), name, v.run.id.clone())
    });
    let reports = runs
        .iter()
        .map(|(v, extras)| firedrill_report::markdown(v, None, extras));
    let all = reports.collect::<Vec<_>>().join("\n\n---\n\n");
    let verdicts: Vec<Verdict> = runs.iter().map(|(v, _)| v.clone()).collect();
    Ok(BTreeMap::from([
        (JUNIT.to_owned(), junit(&verdicts)?),
        (MARKDOWN.to_owned(), all),
    ]))
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

/// A file name that can't leave its folder, whatever the target called its service.
pub fn safe_name(name: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '_'
        }
    };
    name.chars().take(64).map(safe).collect()
}

/// The files below the folder, by their path in it. What is neither file nor folder is refused: a link leads
/// elsewhere, and reading a pipe or a device may never end.
fn files(dir: &Path) -> Result<BTreeMap<String, PathBuf>, Stop> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| io(&folder, &e))? {
            let entry = entry.map_err(|e| io(&folder, &e))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|e| io(&path, &e))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(dir).unwrap_or(&path);
                files.insert(name.display().to_string(), path);
            } else {
                let path = path.display();
                let text = format!("{path} is no plain file; a run's folder holds nothing else");
                return Err(Stop::Environment(text));
            }
        }
    }
    Ok(files)
}

/// SHA-256 of every file below the folder, by its path in it; the manifest is left out.
pub fn digests(dir: &Path) -> Result<BTreeMap<String, String>, Stop> {
    let mut digests = BTreeMap::new();
    for (name, path) in files(dir)? {
        if name != MANIFEST {
            let digest = digest(&path).map_err(|e| io(&path, &e))?;
            digests.insert(name, digest);
        }
    }
    Ok(digests)
}

/// SHA-256 of a file, read piece by piece.
pub fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = sha2::Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(hash.finalize())),
            length => hash.update(&piece[..length]),
        }
    }
}

/// Whether there is a file at the path itself: no link, pipe or device.
pub fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

/// The bytes of a plain file.
pub fn read_plain(path: &Path) -> std::io::Result<Vec<u8>> {
    match fs::symlink_metadata(path)?.is_file() {
        true => fs::read(path),
        false => Err(std::io::Error::other("it is no plain file")),
    }
}

/// Whether a subject is named by a digest, and not by something that any build could be called.
pub fn is_digest(subject: &str) -> bool {
    let hex = subject.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
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

/// Writes the overview of a run of several parts, and seals all of them together.
pub fn seal_whole(dir: &Path, run: &str, parts: &[(Verdict, Extras)]) -> Result<(), Stop> {
    for (name, text) in overview(parts)? {
        write(&dir.join(name), &text)?;
    }
    seal(dir, run, "")
}

/// The manifest and its digest as they stand, without looking at any other file.
pub fn manifest(dir: &Path) -> Option<(Manifest, String)> {
    let bytes = read_plain(&dir.join(MANIFEST)).ok()?;
    Some((serde_json::from_slice(&bytes).ok()?, sha256_hex(&bytes)))
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
    let bytes = match read_plain(&dir.join(MANIFEST)) {
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

pub fn folder_name(dir: &Path) -> String {
    let folder = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    folder
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// The first line of a run's journal, where it can be read.
pub fn header(dir: &Path) -> Option<Header> {
    files(dir).ok()?;
    let first = firedrill_journal::open(dir).ok()?.next()?;
    match first.event {
        Event::Header(header) => Some(*header),
        _ => None,
    }
}

/// A recorded run that was read and judged again.
pub struct Rejudged {
    pub dir: PathBuf,
    pub run: Judged,
    pub sealed: Sealed,
}

impl Rejudged {
    pub fn verdict(&self) -> &Verdict {
        &self.run.verdict
    }

    /// The series that a policy asks for. Of a soak's journal they are read once more.
    pub fn recorded(&self, policy: &Policy) -> Result<Recorded, Stop> {
        let journal = &self.run.journal;
        if journal.events.len() as u64 == self.run.lines {
            return Ok(Recorded::of(journal, policy));
        }
        let lines = firedrill_journal::open(&self.dir);
        let lines = lines.map_err(|e| Stop::Environment(e.to_string()))?;
        Ok(Recorded::read(&journal.header, lines, policy))
    }
}

pub fn rejudge(dir: &Path) -> Result<Rejudged, Stop> {
    if firedrill_journal::find(dir).is_none() {
        return Err(Stop::Usage(format!(
            "{}: no {PLAIN} in it; give the folder of one run",
            dir.display()
        )));
    }
    files(dir)?;
    let mut sealed = verify(dir);
    let run = judged(dir, false)?;
    if let Some(manifest) = sealed.manifest.as_ref().filter(|_| sealed.is_intact())
        && manifest.journal_head != run.journal.head
    {
        sealed.intact = Err("the journal's chain does not end as the manifest says".to_owned());
    }
    Ok(Rejudged {
        dir: dir.to_owned(),
        run,
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

/// Folders of the drills that a run wrote, or the folder itself.
pub fn parts(dir: &Path) -> Result<Vec<PathBuf>, Stop> {
    if firedrill_journal::find(dir).is_some() {
        return Ok(vec![dir.to_owned()]);
    }
    let entries = fs::read_dir(dir)
        .map_err(|e| Stop::Usage(format!("{}: {e}; give a run's folder", dir.display())))?;
    let mut parts: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| firedrill_journal::find(path).is_some())
        .collect();
    parts.sort();
    match parts.is_empty() {
        true => Err(Stop::Usage(format!("{}: holds no run", dir.display()))),
        false => Ok(parts),
    }
}
