//! One test per drill file: `cargo test --test drills`, with filters, `--list`, and nextest.
//!
//! Each test is a run of the executable that cargo has just built, on a stack of its own. PASS alone
//! is a passed test: FAIL and INCONCLUSIVE are both failures.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// Stacks that one machine carries at the same time; see harness/README.md.
const STACKS_MAX: usize = 4;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(Some(STACKS_MAX));
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
    let conclusion = libtest_mimic::run(&args, trials.collect());
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
