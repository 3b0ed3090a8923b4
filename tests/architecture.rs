//! The architecture as a test: which crate may know which, and what no crate may say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate → the crates of the workspace that it may depend on. Nothing else is allowed.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("firedrill-journal", &[]),
    ("firedrill-plan", &[]),
    ("firedrill-proxy", &[]),
    ("firedrill-stack", &["firedrill-plan"]),
    (
        "firedrill-runner",
        &["firedrill-plan", "firedrill-journal", "firedrill-stack"],
    ),
    (
        "firedrill-verdict",
        &["firedrill-plan", "firedrill-journal"],
    ),
    (
        "firedrill-report",
        &["firedrill-plan", "firedrill-journal", "firedrill-verdict"],
    ),
    ("firedrill-bot", &[]),
    ("firedrill-chain", &[]),
];

/// Names of the reference bot. A crate of the harness that contains one has been wired to one bot.
const BOT_NAMES: [&str; 12] = [
    "vanta",
    "tx_intents",
    "tx_sends",
    "tx_receipts",
    "exec_mode",
    "EXEC_MODE",
    "BOT_DEFECT",
    "WEBHOOK_HMAC_SECRET",
    "ADMIN_TOKEN",
    "signals:q",
    "emergency_stop",
    "FAILING SAFE",
];

const FILE_LINES_MAX: usize = 700;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn dependencies_point_one_way() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata answers");
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut seen = BTreeSet::new();
    for package in metadata.workspace_packages() {
        if package.name.as_str() == "firedrill" {
            continue;
        }
        let may = allowed.get(package.name.as_str()).unwrap_or_else(|| {
            panic!(
                "{} has no place in the architecture: add it to ALLOWED and to harness/README.md",
                package.name
            )
        });
        seen.insert(package.name.to_string());
        let own = package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development);
        for dependency in own.filter(|d| d.name.starts_with("firedrill")) {
            let name = dependency.name.as_str();
            assert!(may.contains(&name), "{} must not know {name}", package.name);
        }
    }
    assert_eq!(
        seen.len(),
        ALLOWED.len(),
        "a crate of ALLOWED is gone: {seen:?}"
    );
}

#[test]
fn the_harness_knows_no_name_of_a_particular_bot() {
    let mut looked_at = 0;
    for path in rust_files(&root().join("harness")) {
        // What a crate's tests and examples build targets from may carry a bot's names.
        let shown = path.display().to_string();
        if shown.contains("/tests") || shown.contains("/examples/") {
            continue;
        }
        looked_at += 1;
        let text = fs::read_to_string(&path).expect("a source file is readable");
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        for name in BOT_NAMES {
            assert!(
                !code.contains(name),
                "{shown} knows {name:?}: it belongs into a target or drill file"
            );
        }
    }
    assert!(looked_at > 20, "only {looked_at} files were looked at");
}

#[test]
fn no_file_grows_without_bound_and_none_is_unsafe() {
    let mut looked_at = 0;
    for folder in ["harness", "fixtures", "tests"] {
        for path in rust_files(&root().join(folder)) {
            looked_at += 1;
            let text = fs::read_to_string(&path).expect("a source file is readable");
            let lines = text.lines().count();
            assert!(
                lines <= FILE_LINES_MAX,
                "{}: {lines} lines; split it",
                path.display()
            );
            let keyword = concat!("uns", "afe");
            let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
            for line in code {
                let found = line.contains(&format!("{keyword} {{"))
                    || line.contains(&format!("{keyword} fn"));
                assert!(!found, "{}: {line}", path.display());
            }
        }
    }
    assert!(looked_at > 50, "only {looked_at} files were looked at");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder is readable") {
            let path = entry.expect("a directory entry is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files
}
