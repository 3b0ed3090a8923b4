//! Cases that need no container: files that are refused, journals with holes, gates and reports.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use firedrill_journal::{EdgeKind, End, Envelope, Event, SampleResult, Writer, sha256_hex};
use serde_json::json;
use tempfile::TempDir;

use crate::stage::{SMALL, Setting, drill, target};
use crate::support::{Ended, Recorded, ended, firedrill, root};
use crate::table::Rows;

/// A drill with one change, through `check`.
fn checked(name: &str, from: &str, to: &str, setting: &Setting) -> Ended {
    let place = TempDir::new().expect("a temporary folder");
    let text = fs::read_to_string(drill(name)).expect("the drill is readable");
    assert!(text.contains(from), "{name} has no {from}");
    let path = place.path().join("broken.toml");
    fs::write(&path, text.replacen(from, to, 1)).expect("a file is written");
    let mut command = firedrill(&root());
    command.arg("check").arg(&path);
    command.env("FIREDRILL_TARGET", target(setting, place.path()));
    ended(&mut command)
}

pub fn misspelt_keys_and_checks_that_can_not_fail_are_refused() {
    const REFERENCE: Setting = Setting {
        target: None,
        instead: &[],
        args: &[],
    };
    const NO_LOGS: Setting = Setting {
        target: None,
        instead: &[("logs    = true", "logs    = false")],
        args: &[],
    };
    let check = r#"probe  = { http = "proxy", path = "/version", field = "status", every = "50ms" }
equals = 503"#;
    let status = r#"probe  = { http = "rpc", path = "/", field = "status" }
at_most = 504"#;
    let sum = r#"count  = { op = "any" }
equals = 20"#;
    let pattern = r#"matches = "snet transaction""#;
    let like = r#"matches = "snet transaction", like = "sent transaction 0x12""#;
    let cases: [(&str, &str, &str, &str, &Setting); 6] = [
        ("misspelt-key", "first-fails", "equals =", "equal =", &SMALL),
        (
            "unknown-service",
            "outage",
            "target = \"redis\"",
            "target = \"reddis\"",
            &SMALL,
        ),
        ("status-bound", "first-fails", check, status, &SMALL),
        ("sum-of-all", "first-fails", check, sum, &SMALL),
        ("log-not-followed", "vacuous", "id ", "id ", &NO_LOGS),
        ("misspelt-pattern", "vacuous", pattern, like, &REFERENCE),
    ];
    let rows = Rows::of("misspelt_keys_and_checks_that_can_not_fail_are_refused");
    for (key, name, from, to, setting) in cases {
        let whole = checked(
            name,
            from,
            from,
            if key == "log-not-followed" {
                &REFERENCE
            } else {
                setting
            },
        );
        assert_eq!(whole.code, Some(0), "{key}: {whole:?}");
        let broken = checked(name, from, to, setting);
        assert_eq!(broken.code, Some(64), "{key}: {broken:?}");
        assert!(
            broken.err.contains("broken.toml:"),
            "{key}: no place in {}",
            broken.err
        );
        rows.meets(key, "exit 64", &broken.err);
    }
}

/// A recorded run with its events changed, as a sealed folder that says so of itself. What `change`
/// gives nothing for is left out.
fn sealed(place: &Path, name: &str, change: impl Fn(Event) -> Option<Event>) -> PathBuf {
    let folder = place.join(name);
    fs::create_dir(&folder).expect("a folder is created");
    let path = folder.join("journal.jsonl");
    let mut writer = Writer::create(&path).expect("a journal is created");
    for line in Recorded::load("outage-honest").journal().events {
        let Envelope {
            mono_ns,
            wall,
            event,
            ..
        } = line;
        let event = match event {
            Event::End(end) => Some(Event::End(End {
                counts: writer.counts().clone(),
                ..end
            })),
            other => change(other),
        };
        if let Some(event) = event {
            writer.append(mono_ns, wall, event).expect("it is written");
        }
    }
    writer.seal().expect("the journal is sealed");
    let journal = firedrill_journal::read_file(&path).expect("the journal is readable");
    let verdict = firedrill_verdict::judge(&journal);
    let text = firedrill_verdict::verdict_json(&verdict);
    fs::write(folder.join("verdict.json"), text).expect("it is written");
    let digest = |name: &str| sha256_hex(&fs::read(folder.join(name)).expect("it is readable"));
    let files = BTreeMap::from(["journal.jsonl", "verdict.json"].map(|name| (name, digest(name))));
    let manifest = json!({
        "schema_version": 1, "run": journal.header.run.id, "folder": name,
        "journal_head": journal.head, "files": files,
    });
    fs::write(folder.join("manifest.json"), manifest.to_string()).expect("it is written");
    folder
}

/// When an edge of the outage stands in the recorded run.
fn edge_at(kind: EdgeKind) -> u64 {
    let journal = Recorded::load("outage-honest").journal();
    let mut events = journal.events.iter();
    let at = events.find_map(|line| match &line.event {
        Event::Edge(e) if e.phase == "outage" && e.fault.is_none() && e.kind == kind => {
            Some(e.at_ns)
        }
        _ => None,
    });
    at.expect("the run has that edge")
}

/// An honest run that failed: a transaction reaches the chain in the middle of the outage.
fn failed(place: &Path, name: &str) -> PathBuf {
    let middle = (edge_at(EdgeKind::Proven) + edge_at(EdgeKind::HealRequested)) / 2;
    let moved = std::cell::Cell::new(false);
    sealed(place, name, move |event| match event {
        Event::Fact(mut fact) if fact.what == "submission" && !moved.replace(true) => {
            fact.at_ns = middle;
            Some(Event::Fact(fact))
        }
        other => Some(other),
    })
}

fn judged(folder: &Path) -> Ended {
    ended(firedrill(&root()).arg("judge").arg(folder))
}

pub fn a_journal_with_holes_is_no_pass() {
    let place = TempDir::new().expect("a temporary folder");
    let rows = Rows::of("a_journal_with_holes_is_no_pass");
    let whole = judged(&sealed(place.path(), "whole", Some));
    assert_eq!(whole.code, Some(0), "{whole:?}");

    let meets = |key: &str, folder: &Path| {
        let ended = judged(folder);
        assert_eq!(ended.code, Some(2), "{key}: {ended:?}");
        assert!(
            ended.out.starts_with("INCONCLUSIVE"),
            "{key}: {}",
            ended.out
        );
        rows.meets(key, "inconclusive", &ended.out);
    };
    let half = (edge_at(EdgeKind::Proven) + edge_at(EdgeKind::HealRequested)) / 2;
    let end = edge_at(EdgeKind::HealRequested);
    let no_log = sealed(place.path(), "no-log", |event| match event {
        Event::Stream(stream) if stream.id == "log:webhook" => None,
        Event::Fact(fact) if fact.keys.get("service") == Some(&json!("webhook")) => None,
        other => Some(other),
    });
    meets("log-not-attached", &no_log);
    let short = sealed(place.path(), "short", |event| match event {
        Event::Edge(mut edge) if edge.phase == "outage" && edge.at_ns >= end => {
            edge.at_ns -= 3_000_000_000;
            Some(Event::Edge(edge))
        }
        other => Some(other),
    });
    meets("short-window", &short);
    let stale = sealed(place.path(), "stale", |event| match event {
        Event::Sample(mut sample) if (half..end).contains(&sample.due_ns) => {
            sample.result = SampleResult::Missing("not looked".to_owned());
            Some(Event::Sample(sample))
        }
        other => Some(other),
    });
    meets("stale-window", &stale);
    let unproven = sealed(place.path(), "unproven", |event| match event {
        Event::Edge(edge) if edge.fault.is_some() && edge.kind == EdgeKind::Proven => None,
        other => Some(other),
    });
    meets("not-proven", &unproven);
}

/// A release policy with one rule, and what the gate says of the runs under it.
fn gated(place: &Path, rule: &str, runs: &[&Path]) -> Ended {
    let policy = place.join("policy.toml");
    let text = format!(
        "title = \"Staged\"\nclass = \"release\"\nroles = [\"lead\"]\naccept = \"staged\"\n\n[requires]\nallow_dirty = true\n\n[[rule]]\nid = \"rule\"\nwhat = \"the rule\"\nsource = \"false-green\"\n{rule}\n"
    );
    fs::write(&policy, text).expect("a file is written");
    let mut command = firedrill(&root());
    command.arg("gate").arg("--policy").arg(&policy);
    command.arg("--subject").arg(runs[0]).args(runs);
    ended(command.arg("--out").arg(place.join("out")))
}

pub fn the_gate_says_what_it_exits_with() {
    let place = TempDir::new().expect("a temporary folder");
    let place = place.path();
    let rows = Rows::of("the_gate_says_what_it_exits_with");
    // Each in a store of its own: the gate looks at every run of the subject in a store.
    let store = |name: &str| {
        let store = place.join(name);
        fs::create_dir(&store).expect("a folder is created");
        store
    };
    let good = sealed(&store("store-1"), "good", Some);
    let bad = failed(&store("store-2"), "bad");
    let idle = sealed(&store("store-3"), "idle", |event| match event {
        Event::Op(_) => None,
        other => Some(other),
    });
    let none_lost = "figure = \"audit.lost\"\nequals = 0";
    let control = gated(place, none_lost, &[&good]);
    assert_eq!(control.code, Some(0), "{control:?}");
    assert!(control.out.starts_with("GO\n"), "{control:?}");

    let meets = |key: &str, code: i32, headline: &str, rule: &str, runs: &[&Path]| {
        let ended = gated(place, rule, runs);
        assert_eq!(ended.code, Some(code), "{key}: {ended:?}");
        assert!(ended.out.starts_with(headline), "{key}: {}", ended.out);
        let verdict = if code == 1 { "fail" } else { "inconclusive" };
        rows.meets(key, verdict, &ended.out);
    };
    let slow = "figure = \"latency.max\"\nat_most = 0.001";
    let other = "figure = \"drill.dry-mode.recovery_ms\"\nat_most = 5000";
    let share = "figure = \"load.error_share\"\nat_most = 0.01";
    let many = "figure = \"audit.lost\"\nequals = 0\nmin_samples = 1000000";
    meets("no-go", 1, "NO-GO\n", none_lost, &[&bad]);
    meets("retry", 1, "NO-GO\n", none_lost, &[&bad, &good]);
    meets("critical", 1, "NO-GO\n", slow, &[&good]);
    meets("missing-figure", 2, "INCONCLUSIVE\n", other, &[&good]);
    meets("0-of-0", 2, "INCONCLUSIVE\n", share, &[&idle]);
    meets("too-few", 2, "INCONCLUSIVE\n", many, &[&good]);
}

pub fn reports_of_one_run_agree() {
    let place = TempDir::new().expect("a temporary folder");
    let bad = failed(place.path(), "bad");
    let ended = ended(firedrill(&root()).arg("report").arg(&bad));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.starts_with("FAIL"), "{}", ended.out);
    let read = |name: &str| {
        let path = place.path().join("bad.report").join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let json: serde_json::Value = serde_json::from_str(&read("verdict.json")).expect("it is JSON");
    assert_eq!(json["verdict"], "fail");
    let checks = json["drills"][0]["checks"]
        .as_array()
        .expect("it has checks");
    let failing: Vec<&str> = checks
        .iter()
        .filter(|check| check["verdict"] == "fail")
        .filter_map(|check| check["id"].as_str())
        .collect();
    assert!(!failing.is_empty(), "{json}");
    for name in ["report.md", "report.html", "junit.xml"] {
        let text = read(name);
        for id in &failing {
            assert!(text.contains(id), "{name} doesn't name {id}");
        }
        let red = if name == "junit.xml" {
            "<failure"
        } else {
            "FAIL"
        };
        assert!(text.contains(red), "{name} isn't red");
    }
    let failures = read("junit.xml").matches("<failure").count();
    assert_eq!(failures, failing.len(), "junit.xml counts other failures");
    Rows::of("reports_of_one_run_agree").meets("run", "fail", &failing.join(", "));
}

pub fn nothing_overrides_a_verdict() {
    let place = TempDir::new().expect("a temporary folder");
    let bad = failed(place.path(), "bad");
    let rows = Rows::of("nothing_overrides_a_verdict");
    let judge = |names: &[&str]| {
        let mut command = firedrill(&root());
        command.arg("judge").arg(&bad);
        names.iter().for_each(|name| {
            command.env(name, "1");
        });
        ended(&mut command)
    };
    let ours = judge(&["FIREDRILL_FORCE_PASS"]);
    assert_eq!(ours.code, Some(64), "{ours:?}");
    rows.meets("ours", "exit 64", &ours.err);
    let theirs = judge(&["FORCE_PASS", "GATE_OVERRIDE", "SKIP_CHECKS"]);
    assert_eq!(theirs.code, Some(1), "{theirs:?}");
    rows.meets("theirs", "fail", &theirs.out);
}
