//! What the integration tests share: the executable, a copy of the project's files, the recorded runs.
//!
//! Each test binary uses its own part of it.
#![allow(dead_code)]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use firedrill_verdict::{AuditVerdict, LoadFigures, Outcome, Run, Subject, Timeline, Verdict};
use serde_json::Value;

/// An engine that isn't there: what must start nothing is run with it, so that an attempt shows.
pub const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The executable that cargo has just built, without the settings of whoever runs the tests.
pub fn firedrill(cwd: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firedrill"));
    command.current_dir(cwd).env_remove("BOT_DEFECT");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FIREDRILL_")) {
        command.env_remove(name);
    }
    command
}

/// How a call of the executable ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("the executable starts");
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// Copies a file or a folder; what is copied can be written, whatever the original allows.
pub fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a folder is created");
        for entry in fs::read_dir(from).expect("a folder is readable") {
            let entry = entry.expect("an entry is readable");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    let bytes = fs::read(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    fs::write(to, bytes).expect("a file is written");
}

/// A recorded run of `fixtures/journals`.
pub struct Recorded {
    pub name: String,
    pub folder: PathBuf,
    pub bytes: Vec<u8>,
    /// `{verdict, failed, inconclusive, reasons}`: what the judge must say of it.
    pub expected: Value,
}

impl Recorded {
    pub fn load(name: &str) -> Self {
        let folder = root().join("fixtures/journals").join(name);
        let read = |file: &str| {
            let path = folder.join(file);
            fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let expected = serde_json::from_slice(&read("expected.json"))
            .unwrap_or_else(|e| panic!("{name}/expected.json: {e}"));
        Self {
            name: name.to_owned(),
            bytes: read("journal.jsonl"),
            folder,
            expected,
        }
    }

    /// Every folder that holds a journal.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir(root().join("fixtures/journals")).expect("the folder is there");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry is readable"))
            .filter(|entry| entry.path().join("journal.jsonl").exists())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert!(names.len() >= 8, "only {names:?} were found");
        names.iter().map(|name| Self::load(name)).collect()
    }

    pub fn journal(&self) -> firedrill_journal::Journal {
        firedrill_journal::read(&self.bytes).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    pub fn verdict(&self) -> firedrill_verdict::Verdict {
        firedrill_verdict::judge(&self.journal())
    }

    /// The words of a list in `expected.json`.
    pub fn expects(&self, list: &str) -> Vec<String> {
        let words = self.expected[list].as_array();
        let words = words.unwrap_or_else(|| panic!("{}: expected.json has no {list}", self.name));
        let text = |word: &Value| word.as_str().expect("a list of words").to_owned();
        words.iter().map(text).collect()
    }
}

/// Where each line of a journal begins and ends, its newline included.
pub fn lines(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut from = 0;
    let all = bytes.split_inclusive(|byte| *byte == b'\n');
    all.map(|line| {
        let range = from..from + line.len();
        from = range.end;
        range
    })
    .collect()
}

/// A day in which all was well, as evidence of a policy's stage. No drill and no equation of the audit is in it.
pub fn verdict(profile: &str) -> Verdict {
    Verdict {
        schema_version: firedrill_verdict::SCHEMA_VERSION,
        run: Run {
            id: format!("run-{profile}"),
            kind: "observe".to_owned(),
            profile: profile.to_owned(),
            seed: 1,
            target: "t".to_owned(),
            runtime: "docker".to_owned(),
            started_at: "2026-11-20T00:00:00Z".to_owned(),
            ended_at: "2026-11-21T00:00:00Z".to_owned(),
            duration_ms: 86_400_000,
            documents: [("p".to_owned(), "digest".to_owned())].into(),
        },
        subject: Subject {
            name: "bot".to_owned(),
            digest: "sha256:aa".to_owned(),
            version: "1".to_owned(),
            git_revision: Some("abc".to_owned()),
            dirty: Some(false),
            defect: None,
        },
        verdict: Outcome::Pass,
        reasons: Vec::new(),
        drills: Vec::new(),
        soak: None,
        observe: None,
        audit: AuditVerdict {
            verdict: Outcome::Pass,
            reasons: Vec::new(),
            accepted: 1000,
            rejected: 0,
            unknown: 0,
            failed: 0,
            states: Default::default(),
            first_sends: 0,
            mined: 0,
            lost_by_restore: Default::default(),
            checks: Vec::new(),
        },
        load: LoadFigures::default(),
        timeline: Timeline::default(),
        journal_head: String::new(),
        not_exercised: Vec::new(),
    }
}
