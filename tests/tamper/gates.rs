//! What a gate takes for evidence: whole runs, of a build that has a name, and none of what says nothing of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use firedrill_journal::{Event, Header, Writer};
use jiff::{SignedDuration, Timestamp};

use crate::evidence;
use crate::planned::{self, Planned};
use crate::stage::{part, seal, several, single, thaw};
use crate::stores::{POLICY, Place, says};
use crate::support::Recorded;

/// A sealed run of a recorded journal that began so many minutes ago, with another header.
fn made(folder: &Path, recorded: &str, minutes_ago: i64, change: impl Fn(&mut Header)) {
    fs::create_dir_all(folder).expect("a folder is created");
    let before = Recorded::load(recorded).journal();
    let began = before.header.run.started_at.as_millisecond();
    let ago = Timestamp::now().as_millisecond() - minutes_ago * 60_000;
    let later = SignedDuration::from_millis(ago - began);
    let mut writer = Writer::create(&folder.join("journal.jsonl")).expect("a journal is created");
    for line in before.events {
        let mut event = line.event;
        if let Event::Header(header) = &mut event {
            header.run.id = evidence::folder_name(folder);
            header.run.started_at += later;
            change(header);
        }
        let written = writer.append(line.mono_ns, line.wall + later, event);
        written.expect("an event is written");
    }
    writer.seal().expect("the journal is sealed");
    seal(folder);
}

#[test]
fn what_says_nothing_of_a_release_does_not_hold_it_up() {
    let place = Place::new();
    let strict = "allow_dirty = false\nfresh_within = \"1h\"";
    let policy = POLICY.replace("allow_dirty = true", strict);
    fs::write(place.path("policy.toml"), policy).expect("it is written");
    let run = "store/20260101t000000z-drill-7-newa";
    made(&place.path(run), "outage-honest", 5, |header| {
        header.subject.dirty = Some(false);
    });
    let line = format!("gate --policy policy.toml --subject {run} {run} --out elsewhere");
    // Beside it lies an older run that passed, of a work tree with changes.
    says(&place.call(&line), 0, "GO\n", "");
    // What `prove` leaves: runs of the same build with a defect, which fail.
    single(&place.path("store/proof/drill"), "outage-fails-open");
    says(&place.call(&line), 0, "GO\n", "");
    // An old interrupted run, all of which has passed since.
    let old = place.path("store/20260101t000000z-drill-7-olda");
    made(&old, "outage-interrupted", 300, |_| {});
    says(&place.call(&line), 0, "GO\n", "");
    // But what failed counts, however old it is.
    let failed = place.path("store/20260101t000000z-drill-7-bada");
    made(&failed, "outage-fails-open", 300, |header| {
        header.subject.defect = None;
    });
    says(&place.call(&line), 1, "NO-GO\n", "drill-7-bada");
}

#[test]
fn parts_of_a_run_count_only_with_the_seal_over_all_of_them() {
    let place = Place::new();
    let name = "20261121t020000z-drill-7-many";
    let folder = place.path("all").join(name);
    several(&folder, ["outage-honest", "stop-honest"]);
    let gate = |what: &str| {
        place.call(&format!(
            "gate --policy policy.toml --subject RUN all/{name}{what}"
        ))
    };
    says(&gate("/short-stop"), 0, "GO\n", "");
    // A drill is taken away, and its name struck from the plan.
    thaw(&folder);
    fs::remove_dir_all(folder.join("short-outage")).expect("it is removed");
    let planned = planned::read(&folder).expect("there is a plan");
    let mut planned = planned.expect("it is readable");
    planned.drills.retain(|drill| drill != "short-outage");
    planned::store(&folder, &planned).expect("it is written");
    let struck = "plan.json was changed";
    says(&gate(""), 2, "INCONCLUSIVE\n", struck);
    says(&gate("/short-stop"), 2, "INCONCLUSIVE\n", struck);
    let accepted = place.call(&format!("baseline accept all/{name}"));
    assert_eq!(accepted.code, Some(64), "{accepted:?}");
    assert!(accepted.err.contains(struck), "{accepted:?}");
}

#[test]
fn a_drill_that_was_planned_is_missed_whichever_parts_are_given() {
    let place = Place::new();
    let name = "20261121t020000z-drill-7-many";
    let folder = place.path("all").join(name);
    several(&folder, ["outage-honest", "stop-honest"]);
    let gone = part(&folder);
    let drill = evidence::folder_name(&gone);
    fs::remove_dir_all(gone).expect("it is removed");
    let gated = place.call(&format!(
        "gate --policy policy.toml --subject RUN all/{name}/short-stop"
    ));
    let missed = format!("drill {drill} was planned");
    says(&gated, 2, "INCONCLUSIVE\n", &missed);
}

#[test]
fn a_plan_of_which_nothing_came_about_is_inconclusive() {
    let place = Place::new();
    let subject = Recorded::load("outage-honest").verdict().subject.digest;
    let planned = Planned {
        schema_version: 1,
        run: "shard".to_owned(),
        subject: subject.clone(),
        drills: vec!["one".to_owned(), "two".to_owned()],
    };
    planned::store(&place.path("all/shard"), &planned).expect("it is written");
    let gated = place.call("gate --policy policy.toml --subject all/shard all/shard");
    for drill in ["one", "two"] {
        let missed = format!("drill {drill} was planned");
        says(&gated, 2, "INCONCLUSIVE\n", &missed);
    }
    assert!(gated.out.contains(&subject), "{gated:?}");
}

#[test]
fn a_subject_that_names_no_build_is_never_go() {
    let place = Place::new();
    let run = "all/20260101t000000z-drill-7-none";
    made(&place.path(run), "outage-honest", 5, |header| {
        header.subject.digest = "unknown".to_owned();
    });
    let gated = place.call(&format!("gate --policy policy.toml --subject {run} {run}"));
    says(&gated, 2, "INCONCLUSIVE\n", "\"unknown\" names no build");
    let short = place.call("gate --policy policy.toml --subject sha256:abc RUN");
    says(&short, 2, "INCONCLUSIVE\n", "\"sha256:abc\" names no build");
    says(&place.call("keygen --out k"), 0, "key ", "");
    let signed = place.call(&format!("sign {run} --key k --signer Ann"));
    says(&signed, 2, "INCONCLUSIVE not signed", "names no build");
}

/// Puts a pipe that nobody writes to, or a link to an endless device, in a file's place.
fn spoil(path: &Path, with: &str) {
    fs::remove_file(path).expect("it is removed");
    if with == "pipe" {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo starts").success());
    } else {
        symlink("/dev/zero", path).expect("a link is made");
    }
}

#[test]
fn a_pipe_or_a_device_in_a_run_s_folder_hangs_nothing() {
    let spoilt = ["report.md", "journal.jsonl", "manifest.json"];
    for (name, with) in spoilt.map(|n| [(n, "pipe"), (n, "device")]).concat() {
        let place = Place::new();
        says(&place.call("keygen --out k"), 0, "key ", "");
        let other = single(&place.path("store"), "stop-honest");
        spoil(&place.path("store").join(&other).join(name), with);
        for (line, code) in [
            ("verify OTHER", 1),
            ("judge OTHER", 2),
            ("report OTHER", 2),
            ("sign OTHER --key k --signer Ann", 1),
            ("gate --policy policy.toml --subject RUN OTHER", 2),
        ] {
            let ended = place.call(&line.replace("OTHER", &format!("store/{other}")));
            assert_eq!(ended.code, Some(code), "{name}, {with}: {ended:?}");
            let said = format!("{}{}", ended.out, ended.err);
            assert!(said.contains("no plain file"), "{name}, {with}: {ended:?}");
        }
        // The same where the run is found, and not given.
        let found = place.gate("--out elsewhere");
        says(&found, 2, "INCONCLUSIVE\n", "doesn't say what it is about");
    }
}
