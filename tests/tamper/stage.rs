//! A store of sealed and signed runs, a copy of it per kind of tampering, and the means to tamper.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use firedrill_journal::{Envelope, GENESIS, sha256_hex};
use serde_json::Value;
use tempfile::TempDir;

use crate::planned::{self, Planned};
use crate::support::{Ended, Recorded, copy, ended, firedrill};
use crate::{context, evidence};

/// The untouched store: made once, copied per kind.
pub struct Store {
    dir: TempDir,
    names: [String; 4],
}

pub struct Stage {
    dir: TempDir,
    /// A run of one drill.
    pub run: PathBuf,
    /// Another one, of another drill.
    pub other: PathBuf,
    /// One whose journal is in segments.
    pub segments: PathBuf,
    /// One of two drills.
    pub several: PathBuf,
    /// What is verified, and with which key.
    pub target: PathBuf,
    pub key: &'static str,
}

const SEVERAL: &str = "20261121t020000z-drill-7-many";

impl Store {
    pub fn new() -> Store {
        let dir = TempDir::new().expect("a temporary folder");
        let store = dir.path().join("store");
        let run = single(&store, "stop-ignored");
        let other = single(&store, "outage-honest");
        let segments = in_segments(&store, "outage-fails-open");
        several(&store.join(SEVERAL), ["outage-honest", "stop-honest"]);
        for name in ["ours", "theirs"] {
            let made = ended(firedrill(dir.path()).args(["keygen", "--out", name]));
            assert_eq!(made.code, Some(0), "{made:?}");
        }
        for run in [&run, &other, &segments, &SEVERAL.to_owned()] {
            sign(dir.path(), run, "ours", "Ada");
        }
        Store {
            names: [run, other, segments, SEVERAL.to_owned()],
            dir,
        }
    }
}

/// Signs a run of the store as the executable does.
pub fn sign(dir: &Path, run: &str, key: &str, signer: &str) {
    let mut command = firedrill(dir);
    command.arg("sign").arg(format!("store/{run}"));
    command.args([
        "--key",
        key,
        "--signer",
        signer,
        "--role",
        "release-manager",
    ]);
    let signed = ended(&mut command);
    assert_eq!(signed.code, Some(0), "{signed:?}");
}

/// Lets a sealed folder be written to again.
pub fn thaw(folder: &Path) {
    let kept = folder.with_extension("kept");
    copy(folder, &kept);
    fs::remove_dir_all(folder).expect("it is removed");
    fs::rename(kept, folder).expect("it is renamed");
}

/// Renders and seals what a folder's journal says, as the program does at a run's end.
pub fn seal(folder: &Path) {
    let judged = evidence::judged(folder, true).expect("the journal is readable");
    let run = judged.journal.header.run.id.clone();
    let store = folder.parent().expect("a store");
    let context = context::gather(store, folder, &judged.verdict);
    evidence::render(folder, &judged, &context).expect("it is rendered");
    evidence::seal(folder, &run, &judged.journal.head).expect("it is sealed");
}

fn ledger(folder: &Path, run: &str) {
    let line = format!("{{\"run\":\"{run}\",\"state\":\"injecting\",\"undo\":\"unpause\"}}\n");
    fs::write(folder.join("ledger.jsonl"), line).expect("it is written");
}

pub fn single(store: &Path, recorded: &str) -> String {
    let recorded = Recorded::load(recorded);
    let run = recorded.journal().header.run.id;
    let folder = store.join(&run);
    fs::create_dir_all(&folder).expect("a folder is created");
    fs::write(folder.join("journal.jsonl"), &recorded.bytes).expect("it is written");
    ledger(&folder, &run);
    seal(&folder);
    run
}

/// The same lines in three segments.
fn in_segments(store: &Path, recorded: &str) -> String {
    let recorded = Recorded::load(recorded);
    let run = recorded.journal().header.run.id;
    let folder = store.join(&run);
    fs::create_dir_all(folder.join("journal")).expect("a folder is created");
    let lines: Vec<&[u8]> = recorded.bytes.split_inclusive(|b| *b == b'\n').collect();
    for (index, part) in lines.chunks(lines.len() / 3 + 1).enumerate() {
        let frame = zstd::encode_all(part.concat().as_slice(), 3).expect("it is compressed");
        fs::write(segment(&folder, index + 1), frame).expect("it is written");
    }
    ledger(&folder, &run);
    seal(&folder);
    run
}

pub fn segment(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("journal/{number:06}.jsonl.zst"))
}

pub fn several(folder: &Path, recorded: [&str; 2]) {
    let mut drills = Vec::new();
    for name in recorded {
        let recorded = Recorded::load(name);
        let header = recorded.journal().header;
        let drill = header.episodes[0].drill.clone();
        let part = folder.join(&drill);
        fs::create_dir_all(&part).expect("a folder is created");
        fs::write(part.join("journal.jsonl"), &recorded.bytes).expect("it is written");
        ledger(&part, &header.run.id);
        seal(&part);
        drills.push((drill, header.subject.digest));
    }
    conclude(folder, &drills);
}

/// The first part of a run of several drills.
pub fn part(several: &Path) -> PathBuf {
    let entries = fs::read_dir(several).expect("it is readable");
    let mut parts: Vec<_> = entries
        .map(|e| e.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    parts.sort();
    parts.remove(0)
}

/// Plan, overview and seal of a run of several drills.
pub fn conclude(folder: &Path, drills: &[(String, String)]) {
    let planned = Planned {
        schema_version: 1,
        run: evidence::folder_name(folder),
        subject: drills[0].1.clone(),
        drills: drills.iter().map(|(drill, _)| drill.clone()).collect(),
    };
    planned::store(folder, &planned).expect("the plan is written");
    let judged: Vec<_> = drills
        .iter()
        .map(|(drill, _)| {
            let part = folder.join(drill);
            let judged = evidence::judged(&part, false).expect("a journal");
            let extras = evidence::extras(&part, &judged).expect("a run's context");
            (judged.verdict, extras)
        })
        .collect();
    for (name, text) in evidence::overview(&judged).expect("it is rendered") {
        fs::write(folder.join(name), text).expect("it is written");
    }
    evidence::seal(folder, &planned.run, "").expect("it is sealed");
}

impl Stage {
    pub fn of(store: &Store) -> Stage {
        let dir = TempDir::new().expect("a temporary folder");
        copy(store.dir.path(), dir.path());
        for key in ["ours", "theirs"] {
            let own = fs::Permissions::from_mode(0o600);
            fs::set_permissions(dir.path().join(key), own).expect("it is ours");
        }
        let at = |n: usize| dir.path().join("store").join(&store.names[n]);
        Stage {
            run: at(0),
            other: at(1),
            segments: at(2),
            several: at(3),
            target: at(0),
            key: "ours.pub",
            dir,
        }
    }

    pub fn verify(&self, what: &Path, key: Option<&str>) -> Ended {
        let mut command = firedrill(self.dir.path());
        command.arg("verify").arg(what);
        if let Some(key) = key {
            command.args(["--key", key]);
        }
        ended(&mut command)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The one attestation of a run.
    pub fn attestation(&self, run: &Path) -> PathBuf {
        let begin = format!("{}-release-manager-", evidence::folder_name(run));
        let folder = self.dir.path().join("store/attestations");
        let entries = fs::read_dir(folder).expect("there are attestations");
        let mut paths = entries.map(|e| e.expect("an entry").path());
        let own = |path: &PathBuf| evidence::folder_name(path).starts_with(&begin);
        paths.find(own).expect("the run has one")
    }

    /// Changes a file's text.
    pub fn edit(&self, path: &Path, from: &str, to: &str) {
        let text = fs::read_to_string(path).expect("it is text");
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{} holds no {from:?}", path.display());
        fs::write(path, edited).expect("it is written");
    }

    /// Changes a file of the run, and its digest in the manifest.
    pub fn edit_both(&self, name: &str, from: &str, to: &str) {
        self.edit(&self.run.join(name), from, to);
        reseal(&self.run);
    }

    /// Rewrites the run's journal line by line, and nothing else.
    pub fn lines(&self, change: impl FnOnce(&mut Vec<String>)) {
        let path = self.run.join("journal.jsonl");
        let text = fs::read_to_string(&path).expect("it is text");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(path, lines.join("\n") + "\n").expect("it is written");
    }

    /// Rewrites the run's journal with a chain that holds again.
    pub fn chained(&self, change: impl FnOnce(&mut Vec<String>)) {
        self.lines(|lines| {
            change(lines);
            let mut prev = GENESIS.to_owned();
            for (seq, line) in lines.iter_mut().enumerate() {
                let mut envelope: Envelope = serde_json::from_str(line).expect("an event");
                envelope.seq = seq as u64;
                envelope.prev = prev;
                *line = serde_json::to_string(&envelope).expect("it is encoded");
                prev = sha256_hex(line.as_bytes());
            }
        });
    }
}

/// A manifest for whatever the folder holds now: what someone does who has changed a file.
pub fn reseal(folder: &Path) {
    let path = folder.join("manifest.json");
    let text = fs::read(&path).expect("there is a manifest");
    let mut manifest: Value = serde_json::from_slice(&text).expect("it is JSON");
    let files: BTreeMap<String, String> = evidence::digests(folder).expect("they are readable");
    manifest["files"] = serde_json::to_value(files).expect("a table");
    manifest["folder"] = Value::from(evidence::folder_name(folder));
    if let Ok(journal) = firedrill_journal::read_run(folder) {
        manifest["journal_head"] = Value::from(journal.head);
    }
    fs::write(path, manifest.to_string()).expect("it is written");
}
