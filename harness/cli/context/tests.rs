//! The store on recorded runs: what a report takes from it, and which runs can be accepted.

use std::os::unix::fs::PermissionsExt as _;

use firedrill_journal::{Event, Header, Writer};
use tempfile::TempDir;

use super::*;
use crate::cmd::baseline::accept;
use crate::exit::Exit;

/// A sealed run in the store, made of a recorded journal whose header is changed first.
fn sealed(store: &Path, name: &str, recorded: &str, change: impl Fn(&mut Header)) -> PathBuf {
    let dir = store.join(name);
    fs::create_dir(&dir).expect("a folder is created");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/journals");
    let before = firedrill_journal::read_run(&fixtures.join(recorded)).expect("it is readable");
    let path = dir.join("journal.jsonl");
    let mut writer = Writer::create(&path).expect("a journal is created");
    for line in before.events {
        let mut event = line.event;
        if let Event::Header(header) = &mut event {
            header.run.id = name.to_owned();
            header.subject.dirty = Some(false);
            header.subject.defect = None;
            change(header);
        }
        writer
            .append(line.mono_ns, line.wall, event)
            .expect("an event is written");
    }
    writer.seal().expect("the journal is sealed");
    let run = evidence::judged(&dir, true).expect("it is readable");
    let context = gather(store, &dir, &run.verdict);
    evidence::render(&dir, &run, &context).expect("it is rendered");
    evidence::seal(&dir, name, &run.journal.head).expect("it is sealed");
    dir
}

/// Started so many minutes after the recorded run.
fn later(minutes: i64) -> impl Fn(&mut Header) {
    move |header| header.run.started_at += jiff::SignedDuration::from_mins(minutes)
}

fn context(dir: &Path) -> Context {
    read(dir).expect("its context is readable")
}

fn overwrite(path: &Path, text: &str) {
    let writable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(path, writable).expect("it may be written");
    fs::write(path, text).expect("it is written");
}

const HONEST: &str = "outage-honest";

#[test]
fn the_trend_holds_the_last_ten_runs_before_and_says_what_it_leaves_out() {
    let store = TempDir::new().expect("a temporary folder");
    let store = store.path();
    for minute in 0..12 {
        sealed(
            store,
            &format!("20260101t00{minute:02}00z-a"),
            HONEST,
            later(minute),
        );
    }
    let first = context(&store.join("20260101t000000z-a"));
    assert_eq!(first.history, History::default());
    let last = context(&store.join("20260101t001100z-a"));
    let names: Vec<&str> = last.history.runs.iter().map(|r| r.run.as_str()).collect();
    assert_eq!(names.len(), RUNS_MAX, "{names:?}");
    assert_eq!(names[0], "20260101t000100z-a");
    assert_eq!(names[9], "20260101t001000z-a");
    let took = last.history.runs[0]
        .recovery_ms
        .values()
        .next()
        .copied()
        .flatten();
    assert!(took.is_some_and(|ms| ms > 0 && ms <= 5_000), "{took:?}");

    overwrite(&store.join("20260101t001100z-a/verdict.json"), "{}");
    fs::remove_file(store.join("20260101t001000z-a/manifest.json")).expect("it is removed");
    sealed(store, "20260101t001200z-a", HONEST, |h| {
        later(12)(h);
        h.subject.defect = Some("some-defect".to_owned());
    });
    sealed(store, "20260101t001300z-a", HONEST, |h| {
        later(13)(h);
        h.run.profile = "full".to_owned();
    });
    fs::create_dir(store.join("20260101t001400z-a")).expect("a folder is created");
    fs::write(store.join("20260101t001400z-a/journal.jsonl"), "no journal").expect("it is written");
    sealed(store, "20260101t009900z-a", HONEST, later(99));
    let now = sealed(store, "20260101t002000z-a", HONEST, later(20));
    let history = context(&now).history;
    let names: Vec<&str> = history.runs.iter().map(|r| r.run.as_str()).collect();
    assert_eq!(names.first(), Some(&"20260101t000000z-a"), "{names:?}");
    assert_eq!(names.last(), Some(&"20260101t000900z-a"), "{names:?}");
    let said = history.left_out.join("; ");
    for word in [
        "1 runs with a deliberate defect",
        "1 runs that are not sealed",
        "verdict.json was changed",
        "001400z-a: its journal can't be read",
    ] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    assert_eq!(history.left_out.len(), 4, "{said}");
}

#[test]
fn an_accepted_run_is_compared_with_and_reports_are_rendered_again_to_the_byte() {
    let store = TempDir::new().expect("a temporary folder");
    let store = store.path();
    let first = sealed(store, "20260101t000000z-a", HONEST, later(0));
    assert_eq!(accept(&first, store).expect("it is accepted"), Exit::Pass);
    let dir = sealed(store, "20260101t000100z-a", HONEST, |h| {
        later(1)(h);
        h.subject.digest = format!("sha256:{}", "ab".repeat(32));
    });
    let baseline = context(&dir).baseline.expect("there is an accepted run");
    assert_eq!(
        baseline.runs[0].manifest_sha256,
        evidence::verify(&first).manifest_sha256
    );

    let again = evidence::rejudge(&dir).expect("it is readable");
    assert_eq!(again.sealed.intact, Ok(()));
    let extras = evidence::extras(&dir, &again.run);
    let extras = extras.expect("its context is readable");
    let comparison = extras.comparison.as_ref().expect("it is compared");
    assert!(
        !comparison.same_subject && comparison.regressions() == 0,
        "{comparison:?}"
    );
    assert_eq!(comparison.recoveries[0].was, comparison.recoveries[0].is);
    let renderings = evidence::renderings(&dir, &again.run);
    for (name, rendered) in renderings.expect("they are rendered") {
        let sealed = fs::read_to_string(dir.join(&name)).expect("it is readable");
        assert!(sealed == rendered, "{name} differs");
    }
    let page = fs::read_to_string(dir.join("report.html")).expect("it is readable");
    assert!(page.contains("another build") && page.contains("class=\"timeline spark\""));

    let path = baseline_path(store, &again.run.verdict);
    fs::write(&path, "{").expect("it is written");
    let blind = context(&sealed(store, "20260101t000200z-a", HONEST, later(2)));
    assert!(blind.baseline.is_none());
    assert!(
        blind
            .not_compared
            .is_some_and(|why| why.contains("drill-quick.json: EOF"))
    );
}

#[test]
fn only_a_clean_honest_sealed_run_that_passed_is_accepted() {
    let store = TempDir::new().expect("a temporary folder");
    let store = store.path();
    type Change = fn(&mut Header);
    let nothing: Change = |_| {};
    let cases: [(&str, Change, Exit, Outcome); 5] = [
        (
            HONEST,
            |h| h.subject.dirty = Some(true),
            Exit::Usage,
            Outcome::Pass,
        ),
        (
            HONEST,
            |h| h.subject.dirty = None,
            Exit::Usage,
            Outcome::Pass,
        ),
        (
            HONEST,
            |h| h.subject.defect = Some("some-defect".to_owned()),
            Exit::Usage,
            Outcome::Pass,
        ),
        ("outage-fails-open", nothing, Exit::Fail, Outcome::Fail),
        (
            "outage-interrupted",
            nothing,
            Exit::Inconclusive,
            Outcome::Inconclusive,
        ),
    ];
    for (at, (recorded, change, exit, verdict)) in cases.into_iter().enumerate() {
        let dir = sealed(store, &format!("run-{at}"), recorded, change);
        let judged = evidence::rejudge(&dir).expect("it is readable").run.verdict;
        assert_eq!(judged.verdict, verdict, "{recorded}");
        let ended = accept(&dir, store).unwrap_or_else(|stop| stop.exit());
        assert_eq!(ended, exit, "{recorded}");
    }
    let dir = sealed(store, "run-changed", HONEST, nothing);
    overwrite(&dir.join("report.md"), "better");
    assert_eq!(
        accept(&dir, store).map_err(|stop| stop.exit()).err(),
        Some(Exit::Usage)
    );
    assert!(!store.join(BASELINES).exists(), "nothing was accepted");
}
