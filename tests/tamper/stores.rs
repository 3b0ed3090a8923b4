//! What a gate finds in the stores of the runs that it is given, and the way from a run to a signed GO.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::evidence;
use crate::stage::{part, seal, several, single, thaw};
use crate::support::{Ended, copy, ended, firedrill, root};

pub const POLICY: &str = r#"
title = "A release"
class = "release"
no_target = "a test"
roles = ["engineer", "director"]
[requires]
allow_dirty = true
[[rule]]
id = "sent"
what = "signals were sent"
figure = "load.sent"
at_least = 1
"#;

/// A project's files and a store beside them.
pub struct Place {
    dir: TempDir,
    pub run: String,
}

impl Place {
    pub fn new() -> Place {
        let dir = TempDir::new().expect("a temporary folder");
        for folder in ["drills", "fixtures/targets", "fixtures/bot"] {
            fs::create_dir_all(dir.path().join(folder)).expect("a folder is created");
        }
        for path in ["drills", "fixtures/targets", "fixtures/bot/schema.sql"] {
            copy(&root().join(path), &dir.path().join(path));
        }
        fs::write(dir.path().join("policy.toml"), POLICY).expect("it is written");
        let run = single(&dir.path().join("store"), "outage-honest");
        Place { dir, run }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn call(&self, line: &str) -> Ended {
        let line = line.replace("RUN", &format!("store/{}", self.run));
        ended(firedrill(self.dir.path()).args(line.split_whitespace()))
    }

    pub fn gate(&self, more: &str) -> Ended {
        self.call(&format!(
            "gate --policy policy.toml --subject RUN RUN {more}"
        ))
    }
}

/// Ends with that code, and says that word first and that somewhere.
#[track_caller]
pub fn says(ended: &Ended, code: i32, first: &str, text: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.out.starts_with(first), "{ended:?}");
    assert!(ended.out.contains(text), "no {text:?} in {ended:?}");
}

#[test]
fn other_runs_are_looked_for_beside_the_given_ones_however_deep() {
    let place = Place::new();
    says(&place.gate("--out elsewhere"), 0, "GO\n", &place.run);
    let deep = place.path("store/2026-11/proofs/drill");
    let other = single(&deep, "outage-interrupted");
    let found = place.gate("--out elsewhere");
    says(&found, 2, "INCONCLUSIVE\n", &other);
    // One whose journal doesn't say what it is about may be one of them.
    thaw(&deep.join(&other));
    fs::write(deep.join(&other).join("journal.jsonl"), "").expect("it is written");
    let unknown = place.gate("--out elsewhere");
    says(
        &unknown,
        2,
        "INCONCLUSIVE\n",
        "doesn't say what it is about",
    );
    fs::remove_dir_all(place.path("store/2026-11")).expect("it is removed");
    let bottomless = place.path("store/1/2/3/4/5/6/7/8");
    fs::create_dir_all(bottomless).expect("a folder is created");
    says(
        &place.gate("--out elsewhere"),
        2,
        "INCONCLUSIVE\n",
        "deeper than",
    );
}

#[test]
fn a_decision_that_cannot_be_read_is_not_passed_over() {
    let place = Place::new();
    let first = place.gate("--out store");
    says(&first, 0, "GO\n", "decision: store/gates/");
    says(&place.gate("--out elsewhere"), 0, "GO\n", "");
    let gates = fs::read_dir(place.path("store/gates")).expect("there are decisions");
    for gate in gates {
        let path = gate.expect("an entry").path().join("decision.json");
        fs::write(path, "{\"outcome\": \"no_go\"").expect("it is written");
    }
    let broken = place.gate("--out elsewhere");
    says(&broken, 2, "INCONCLUSIVE\n", "decision.json");
}

#[test]
fn a_drill_that_left_no_journal_is_missed() {
    let place = Place::new();
    let name = "20261121t020000z-drill-7-many";
    let folder = place.path("all").join(name);
    several(&folder, ["outage-honest", "stop-honest"]);
    let gate = || {
        place.call(&format!(
            "gate --policy policy.toml --subject RUN all/{name}"
        ))
    };
    let judge = || place.call(&format!("judge all/{name}"));
    says(&gate(), 0, "GO\n", "");
    says(&judge(), 0, "PASS ", "");
    let gone = part(&folder);
    let drill = evidence::folder_name(&gone);
    fs::remove_dir_all(gone).expect("it is removed");
    says(
        &gate(),
        2,
        "INCONCLUSIVE\n",
        &format!("drill {drill} was planned"),
    );
    says(
        &judge(),
        2,
        "INCONCLUSIVE ",
        &format!("drill {drill} was planned"),
    );
    fs::remove_file(folder.join("plan.json")).expect("it is removed");
    says(&gate(), 2, "INCONCLUSIVE\n", "plan.json is missing");
}

#[test]
fn what_is_rendered_again_has_the_bytes_that_were_sealed() {
    let place = Place::new();
    let reported = place.call("report RUN");
    assert_eq!(reported.code, Some(0), "{reported:?}");
    let sealed = place.path("store").join(&place.run);
    let again = place.path(&format!("store/{}.report", place.run));
    for name in ["verdict.json", "report.html", "report.md", "junit.xml"] {
        let bytes = |folder: &Path| fs::read(folder.join(name)).expect("it is there");
        assert!(bytes(&sealed) == bytes(&again), "{name} differs");
    }
}

/// README's way, step by step, on a recorded run.
#[test]
fn from_a_run_to_a_signed_go() {
    let place = Place::new();
    let signed = format!("{POLICY}[signatures]\nof = [\"engineer\", \"director\"]\n");
    fs::write(place.path("policy.toml"), signed).expect("it is written");
    let open = place.gate("--out store");
    says(&open, 2, "INCONCLUSIVE\n", "0 of 2; engineer: not signed");
    let decision = decision(&open);
    let mut given = String::new();
    for (role, signer) in [("engineer", "Ann"), ("director", "Dora")] {
        says(
            &place.call(&format!("keygen --out {role}")),
            0,
            "key ",
            ".pub",
        );
        let signed = place.call(&format!(
            "sign RUN --key {role} --signer {signer} --role {role} --decision {decision}"
        ));
        says(&signed, 0, "signed by ", "decision gates/");
        let path = signed.out.lines().next().and_then(|l| l.split(": ").last());
        let path = path.expect("it names the file");
        given = format!("{given} --attestation {path} --key {role}={role}.pub");
        let own = place.call(&format!("verify {path} --key {role}.pub"));
        says(&own, 0, "PASS ", &format!("signed by {signer} ({role})"));
        says(
            &place.call(&format!("verify {path}")),
            2,
            "INCONCLUSIVE ",
            "not tamper-proof",
        );
    }
    let run = place.call("verify RUN --key engineer.pub --key director.pub");
    says(
        &run,
        0,
        "PASS ",
        "signed by Ann (engineer), Dora (director)",
    );
    let go = place.gate(&format!("--out store {given}"));
    says(&go, 0, "GO\n", "");
    let page = fs::read_to_string(place.path(&self::decision(&go)).join("go-no-go.md"));
    let page = page.expect("there is a page");
    for (role, signer) in [("engineer", "Ann"), ("director", "Dora")] {
        let mut rows = page.lines();
        let row = rows.find(|l| l.starts_with(&format!("| {role} | {signer} |")));
        assert!(row.is_some_and(|r| r.contains("verified")), "{page}");
    }
    // The signed decision is edited.
    let json = place.path(&decision).join("decision.json");
    let text = fs::read_to_string(&json).expect("it is there");
    fs::write(&json, text.replacen("inconclusive", "go", 1)).expect("it is written");
    let edited = place.call("verify RUN --key engineer.pub");
    says(&edited, 1, "FAIL ", "was changed since it was signed");
}

pub fn decision(ended: &Ended) -> String {
    let mut lines = ended.out.lines();
    let line = lines.find_map(|l| l.strip_prefix("decision: "));
    line.expect("it names the decision's folder").to_owned()
}

#[test]
fn what_does_not_verify_is_not_signed() {
    let place = Place::new();
    says(&place.call("keygen --out k"), 0, "key ", "");
    let run = place.path("store").join(&place.run);
    let other = place.path("store/other");
    fs::create_dir_all(&other).expect("a folder is created");
    copy(&run.join("journal.jsonl"), &other.join("journal.jsonl"));
    let unsealed = place.call("sign store/other --key k --signer Ann");
    says(
        &unsealed,
        1,
        "FAIL not signed",
        "the folder other holds the run",
    );
    thaw(&run);
    fs::write(run.join("junit.xml"), "<testsuites/>").expect("it is written");
    says(
        &place.call("sign RUN --key k --signer Ann"),
        1,
        "FAIL not signed",
        "junit.xml",
    );
    seal(&run);
    says(
        &place.call("sign RUN --key k --signer Ann"),
        0,
        "signed by Ann",
        "",
    );
    for bad in [
        "sign RUN --key k.pub --signer Ann",
        "verify RUN --key k",
        "verify policy.toml",
        "gate --policy policy.toml --subject RUN RUN --key nobody=k.pub",
    ] {
        let refused = place.call(bad);
        assert_eq!(
            (refused.code, refused.out.as_str()),
            (Some(64), ""),
            "{bad}: {refused:?}"
        );
    }
}
