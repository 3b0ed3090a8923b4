//! Sealed runs through the executable: what `judge` and `report` say of them whole and changed.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use firedrill_journal::sha256_hex;
use firedrill_verdict::Outcome;
use support::{Ended, Recorded, copy, ended, firedrill, lines};
use tempfile::TempDir;

/// A sealed run's folder, as the program leaves it, made of a recorded journal.
fn sealed(dir: &Path, recorded: &Recorded) -> std::path::PathBuf {
    let folder = dir.join(&recorded.name);
    fs::create_dir(&folder).expect("a folder is created");
    for name in ["journal.jsonl", "verdict.json"] {
        copy(&recorded.folder.join(name), &folder.join(name));
    }
    let digest = |name: &str| sha256_hex(&fs::read(folder.join(name)).expect("it is readable"));
    let files = BTreeMap::from(["journal.jsonl", "verdict.json"].map(|name| (name, digest(name))));
    let journal = recorded.journal();
    let manifest = serde_json::json!({
        "schema_version": 1,
        "run": journal.header.run.id,
        "folder": recorded.name,
        "journal_head": journal.head,
        "files": files,
    });
    fs::write(folder.join("manifest.json"), manifest.to_string()).expect("it is written");
    folder
}

fn judge_folder(folder: &Path) -> Ended {
    ended(
        firedrill(folder.parent().expect("it has a parent"))
            .arg("judge")
            .arg(folder),
    )
}

fn ended_report(folder: &Path) -> Ended {
    let mut command = firedrill(folder.parent().expect("it has a parent"));
    ended(command.arg("report").arg(folder))
}

#[test]
fn judge_rebuilds_a_deleted_verdict_byte_for_byte() {
    let dir = TempDir::new().expect("a temporary folder");
    for recorded in Recorded::all() {
        let folder = sealed(dir.path(), &recorded);
        let code = match recorded.verdict().verdict {
            Outcome::Pass => 0,
            Outcome::Fail => 1,
            Outcome::Inconclusive => 2,
        };
        let kept = judge_folder(&folder);
        assert_eq!(kept.code, Some(code), "{kept:?}");
        assert!(kept.out.contains("the same verdict"), "{kept:?}");

        fs::remove_file(folder.join("verdict.json")).expect("the verdict is removed");
        let again = judge_folder(&folder);
        assert_eq!(again.code, Some(code), "{again:?}");
        let rebuilt = fs::read(folder.join("verdict.json")).expect("the verdict is back");
        let kept = fs::read(recorded.folder.join("verdict.json")).expect("it is readable");
        assert!(rebuilt == kept, "{}: not the same bytes", recorded.name);
    }
    let beside = fs::read_dir(dir.path())
        .expect("the folder is readable")
        .count();
    assert_eq!(
        beside,
        Recorded::all().len(),
        "nothing was written beside intact runs"
    );
}

#[test]
fn judge_does_not_end_0_on_a_sealed_run_that_was_changed() {
    let recorded = Recorded::load("outage-honest");
    let last = lines(&recorded.bytes).last().expect("it has lines").clone();
    let text = String::from_utf8(recorded.bytes[last.clone()].to_vec()).expect("it is text");
    let edited = text.replacen("\"sample\":", "\"sample\":1", 1);
    assert_ne!(edited, text, "the end record counts its samples");
    let mut end = recorded.bytes[..last.start].to_vec();
    end.extend_from_slice(edited.as_bytes());
    let cut = recorded.bytes[..last.start].to_vec();
    for (what, bytes) in [("its last line edited", end), ("its last line cut", cut)] {
        let dir = TempDir::new().expect("a temporary folder");
        let folder = sealed(dir.path(), &recorded);
        fs::write(folder.join("journal.jsonl"), bytes).expect("it is written");
        let ended = judge_folder(&folder);
        assert_eq!(ended.code, Some(2), "{what}: {ended:?}");
        let first = ended.out.lines().next().unwrap_or_default();
        assert!(first.starts_with("INCONCLUSIVE "), "{what}: {ended:?}");
        assert!(
            first.ends_with("journal.jsonl was changed"),
            "{what}: {ended:?}"
        );
        let report = ended_report(&folder);
        assert_eq!(report.code, Some(2), "{what}: {report:?}");
        assert!(
            report.out.starts_with("INCONCLUSIVE "),
            "{what}: {report:?}"
        );
        let sealed = fs::read(folder.join("verdict.json")).expect("it is still there");
        assert!(sealed == fs::read(recorded.folder.join("verdict.json")).expect("it is readable"));
    }
}

#[test]
fn a_missing_verdict_hides_no_other_change() {
    let recorded = Recorded::load("outage-honest");
    let dir = TempDir::new().expect("a temporary folder");
    let folder = sealed(dir.path(), &recorded);
    fs::remove_file(folder.join("verdict.json")).expect("the verdict is removed");
    fs::write(folder.join("note.md"), "all is well").expect("it is written");
    let ended = judge_folder(&folder);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.out.contains("note.md was added"), "{ended:?}");
}
