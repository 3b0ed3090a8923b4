//! One test per drill file: `cargo test --test drills`, with filters, `--list`, and nextest.
//!
//! Each test is a run of the executable that cargo has just built, on a stack of its own. PASS alone
//! is a passed test: FAIL and INCONCLUSIVE are both failures.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use firedrill_stack::slots;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(Some(slots::stacks_max()));
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let drills = match discover(&root.join("drills")) {
        Ok(drills) => drills,
        Err(why) => {
            eprintln!("no drill was run: {why}");
            return ExitCode::FAILURE;
        }
    };
    let trials = drills.into_iter().map(|path| {
        let name = path
            .file_stem()
            .map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        let root = root.clone();
        Trial::test(name, move || drill(&root, &path))
    });
    let mut trials: Vec<Trial> = trials.collect();
    let at = root.clone();
    trials.push(Trial::test("wrong-alert-rules-fail", move || {
        wrong_rules(&at)
    }));
    let conclusion = libtest_mimic::run(&args, trials);
    ExitCode::from(u8::from(conclusion.has_failed()))
}

/// The drill files. Finding none is a failure: a suite that tests nothing must not be green.
fn discover(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut drills: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    drills.sort();
    match drills.is_empty() {
        true => Err(format!("{}: no *.toml file in it", folder.display())),
        false => Ok(drills),
    }
}

fn drill(root: &Path, path: &Path) -> Result<(), Failed> {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let output = Command::new(env!("CARGO_BIN_EXE_firedrill"))
        .current_dir(root)
        .arg("run")
        .arg(relative)
        .env_remove("FIREDRILL_DRILL_FILTER")
        .env_remove("FIREDRILL_SHARD")
        .output()
        .map_err(|e| format!("the executable can't be started: {e}"))?;
    match output.status.code() {
        Some(0) => Ok(()),
        code => {
            let out = String::from_utf8_lossy(&output.stdout);
            let err = String::from_utf8_lossy(&output.stderr);
            let code = code.map_or("a signal".to_owned(), |c| c.to_string());
            Err(format!("exit {code}\n{out}\n{err}").into())
        }
    }
}

/// The other side of the drills on alerts: rules that are wrong are found out, each for its own reason, and
/// the right one beside them passes.
fn wrong_rules(root: &Path) -> Result<(), Failed> {
    let out = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_firedrill"))
        .current_dir(root)
        .args(["run", "tests/alerts/wrong-rules.toml", "--out"])
        .arg(out.path())
        .env_remove("FIREDRILL_DRILL_FILTER")
        .env_remove("FIREDRILL_SHARD")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() != Some(1) {
        return Err(format!("{} instead of exit 1\n{said}", output.status).into());
    }
    let verdict = std::fs::read(out.path().join("latest/verdict.json"))?;
    let verdict: serde_json::Value = serde_json::from_slice(&verdict)?;
    let wanted = [
        ("right-silent", "pass", "held in"),
        ("right-fires", "pass", "firing after"),
        ("too-long-silent", "pass", "held in"),
        ("too-long-fires", "fail", "last pending"),
        (
            "misspelt-silent",
            "fail",
            "blind: there is no series vanta_exec_mod",
        ),
        (
            "misspelt-fires",
            "fail",
            "blind: there is no series vanta_exec_mod",
        ),
        ("no-series", "inconclusive", "no series"),
        ("several-series", "inconclusive", "3 series instead of one"),
        ("not-a-number", "inconclusive", "the value is NaN"),
        (
            "scrape-gap",
            "inconclusive",
            "scrape gap: tpsl:8092 isn't scraped",
        ),
        ("beside-the-gap", "pass", "held in"),
    ];
    let checks = verdict["drills"][0]["checks"].as_array();
    let checks = checks.ok_or("the verdict holds no checks")?;
    for (id, outcome, words) in wanted {
        let check = checks.iter().find(|c| c["id"] == id);
        let check = check.ok_or_else(|| format!("no check {id}"))?;
        let observed = check["observed"].as_str().unwrap_or("");
        if check["verdict"] != outcome || !observed.contains(words) {
            return Err(format!("{id} should be {outcome}, for {words:?}: {check}").into());
        }
    }
    match checks.len() == wanted.len() {
        true => Ok(()),
        false => Err(format!("{} checks, not {}", checks.len(), wanted.len()).into()),
    }
}
