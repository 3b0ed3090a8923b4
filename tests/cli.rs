//! The command line as scripts meet it: bad input, a bad environment, and what starts nothing.
//!
//! No container is started here: every call that could is made with an engine that isn't there.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use assert_cmd::prelude::*;
use serde_json::Value;
use support::{Ended, NO_ENGINE, copy, ended, firedrill, root};
use tempfile::TempDir;

/// A message is read by a person: whatever the input was, it fits on a few screens.
const OUTPUT_MAX: usize = 16 * 1024;

const DRILL: &str = "drills/redis-outage.toml";
const TARGET: &str = "fixtures/targets/reference.toml";

/// A copy of the project's files, to be broken.
struct Project {
    dir: TempDir,
}

impl Project {
    fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        for part in [
            "drills",
            "fixtures/targets",
            "fixtures/images",
            "fixtures/bot/schema.sql",
        ] {
            let to = dir.path().join(part);
            fs::create_dir_all(to.parent().expect("it has a parent")).expect("a folder is created");
            copy(&root().join(part), &to);
        }
        Self { dir }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Replaces the first `good` by `bad`, and returns the place of `at` within `bad`.
    fn breaks(&self, file: &str, good: &str, bad: &str, at: &str) -> String {
        let path = self.path(file);
        let text = fs::read_to_string(&path).expect("the file is readable");
        let start = text
            .find(good)
            .unwrap_or_else(|| panic!("{file} has no {good}"));
        let broken = text.replacen(good, bad, 1);
        let before = &broken[..start + bad.find(at).expect("the place is in the text")];
        fs::write(&path, &broken).expect("the file is writable");
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{file}:{line}:{column}: ")
    }

    /// A call with `out` as folder for evidence and without an engine.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = firedrill(self.dir.path());
        command
            .args(args)
            .env("DOCKER_HOST", NO_ENGINE)
            .env("FIREDRILL_OUT", "out");
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        ended(&mut self.command(args))
    }

    /// Nothing was started: no engine was asked for (that would end 2) and no evidence was begun.
    fn refuses(&self, args: &[&str], says: &[&str]) -> String {
        let ended = self.run(args);
        self.refused(&ended, says);
        ended.err
    }

    fn refused(&self, ended: &Ended, says: &[&str]) {
        assert_eq!(ended.code, Some(64), "{ended:?}");
        for text in says {
            assert!(ended.err.contains(text), "no {text:?} in {}", ended.err);
        }
        assert!(
            ended.out.len() + ended.err.len() <= OUTPUT_MAX,
            "{} bytes",
            ended.err.len()
        );
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
        assert!(!self.path("out").exists(), "a run was begun");
    }
}

/// The places `file:line:column` in a text.
fn places(text: &str) -> Vec<&str> {
    let is_place = |word: &&str| {
        let mut parts = word.trim_end_matches(':').rsplitn(3, ':');
        let mut number = || {
            parts
                .next()
                .is_some_and(|part| part.parse::<usize>().is_ok())
        };
        number() && number() && parts.next().is_some_and(|file| file.ends_with(".toml"))
    };
    text.split_whitespace().filter(is_place).collect()
}

/// What is broken, in which file, and what must be said of it.
struct Mistake {
    file: &'static str,
    good: &'static str,
    bad: &'static str,
    at: &'static str,
    says: &'static [&'static str],
}

const MISTAKES: [Mistake; 12] = [
    Mistake {
        file: DRILL,
        good: "accepted = 10",
        bad: "acceptd = 10",
        at: "acceptd",
        says: &[
            "unknown key \"acceptd\"",
            "expected",
            "did you mean \"accepted\"?",
        ],
    },
    Mistake {
        file: DRILL,
        good: "hold = \"5s\"",
        bad: "hold = true",
        at: "true",
        says: &["hold", "expected"],
    },
    Mistake {
        file: DRILL,
        good: "target = \"redis\"",
        bad: "target = \"rediss\"",
        at: "\"rediss\"",
        says: &[
            "unknown service \"rediss\"",
            "expected redis, ",
            "did you mean \"redis\"?",
        ],
    },
    Mistake {
        file: DRILL,
        good: "probe  = { http = \"webhook\"",
        bad: "probe  = { htpp = \"webhook\"",
        at: "htpp",
        says: &["\"htpp\"", "expected http, ", "did you mean \"http\"?"],
    },
    Mistake {
        file: DRILL,
        good: "\"outage.proven\"",
        bad: "\"outgae.proven\"",
        at: "\"outgae",
        says: &[
            "unknown phase \"outgae\"",
            "expected baseline, ",
            "did you mean \"outage\"?",
        ],
    },
    Mistake {
        file: DRILL,
        good: "fails-open            =",
        bad: "fails-opn             =",
        at: "fails-opn",
        says: &[
            "unknown defect \"fails-opn\"",
            "expected",
            "did you mean \"fails-open\"?",
        ],
    },
    Mistake {
        file: DRILL,
        good: "kind = \"pause\"",
        bad: "kind = \"puase\"",
        at: "\"puase\"",
        says: &[
            "unknown fault kind \"puase\"",
            "expected pause, ",
            "did you mean \"pause\"?",
        ],
    },
    Mistake {
        file: TARGET,
        good: "production   =",
        bad: "producton    =",
        at: "producton",
        says: &[
            "unknown key \"producton\"",
            "expected",
            "did you mean \"production\"?",
        ],
    },
    Mistake {
        file: "drills/profiles/smoke.toml",
        good: "\"redis-outage\"",
        bad: "\"redis-outige\"",
        at: "\"redis-outige\"",
        says: &[
            "unknown drill \"redis-outige\"",
            "expected",
            "did you mean \"redis-outage\"?",
        ],
    },
    Mistake {
        file: "drills/gates/smoke.toml",
        good: "allow_dirty =",
        bad: "alow_dirty  =",
        at: "alow_dirty",
        says: &[
            "unknown key \"alow_dirty\"",
            "expected",
            "did you mean \"allow_dirty\"?",
        ],
    },
    Mistake {
        file: "drills/gates/smoke.toml",
        good: "\"audit.lost\"",
        bad: "\"audit.lots\"",
        at: "\"audit.lots\"",
        says: &[
            "unknown figure \"audit.lots\"",
            "did you mean \"audit.lost\"?",
        ],
    },
    Mistake {
        file: "drills/gates/smoke.toml",
        good: "\"audit.duplicates\"",
        bad: "\"drill.redis-outige.recovery_ms\"",
        at: "\"drill.redis-outige.recovery_ms\"",
        says: &["did you mean \"drill.redis-outage.recovery_ms\"?"],
    },
];

#[test]
fn a_mistake_in_a_file_is_told_with_its_place_and_nothing_is_started() {
    for mistake in MISTAKES {
        let project = Project::new();
        let place = project.breaks(mistake.file, mistake.good, mistake.bad, mistake.at);
        let whole = match mistake.file {
            DRILL | TARGET => ["run", "redis-outage"].as_slice(),
            _ => &["soak"],
        };
        for args in [whole, &["check", mistake.file], &["check"]] {
            println!("{place}{args:?} with {}", mistake.bad);
            let err = project.refuses(args, mistake.says);
            assert!(err.contains(&place), "{args:?}: no {place:?} in {err}");
            let told = places(&err);
            // A broken target is met once for itself and once for each drill that is read with it.
            if !(mistake.file == TARGET && args == ["check"]) {
                assert_eq!(told.len(), 1, "{args:?}: {err}");
            }
        }
    }
}

#[test]
fn a_misspelt_defect_in_the_environment_is_told() {
    let project = Project::new();
    for args in [["run", "redis-outage"].as_slice(), &["soak"], &["up"]] {
        let ended = ended(project.command(args).env("BOT_DEFECT", "fails-opn"));
        project.refused(
            &ended,
            &["BOT_DEFECT=fails-opn", "did you mean \"fails-open\"?"],
        );
    }
}

#[test]
fn an_empty_drills_folder_is_no_green() {
    let project = Project::new();
    for entry in fs::read_dir(project.path("drills")).expect("the folder is readable") {
        let path = entry.expect("an entry is readable").path();
        if path.is_file() {
            fs::remove_file(path).expect("a file is removed");
        }
    }
    for args in [
        ["run"].as_slice(),
        &["check"],
        &["soak"],
        &["run", "--dry-run"],
    ] {
        project.refuses(args, &["drills", "no *.toml file"]);
    }
    fs::remove_dir_all(project.path("drills")).expect("the folder is removed");
    project.refuses(
        &["run"],
        &["drills", "run firedrill in the project's folder"],
    );
}

#[test]
fn two_drills_of_one_name_are_refused() {
    let project = Project::new();
    copy(&project.path("drills"), &project.path("more"));
    let twice = ["run", DRILL, "more/redis-outage.toml"];
    project.refuses(&twice, &["two drills of the name \"redis-outage\"", "own"]);
    project.refuses(
        &["run", "redis-outage", "redis-outage"],
        &["two drills of the name"],
    );
}

#[test]
fn files_that_are_not_there_or_not_text_are_told() {
    let project = Project::new();
    project.refuses(
        &["run", "drills/nope.toml"],
        &["drills/nope.toml", "give the path"],
    );
    project.refuses(&["check", "nope.toml"], &["nope.toml", "give the path"]);
    project.refuses(
        &["run", "redis-outge"],
        &["\"redis-outge\"", "did you mean \"redis-outage\"?"],
    );
    project.refuses(&["run", "--target", "nope.toml"], &["nope.toml"]);
    project.refuses(&["soak", "--policy", "nope.toml"], &["nope.toml"]);
    project.refuses(
        &["soak", "--profile", "smokee"],
        &["\"smokee\"", "did you mean \"smoke\"?"],
    );
    project.refuses(&["judge", "nope"], &["nope"]);
    project.refuses(&["report", "drills"], &["drills"]);
    fs::write(project.path("binary.toml"), [0xff, 0xfe, 0x00, 0x80]).expect("a file is written");
    fs::create_dir(project.path("folder.toml")).expect("a folder is created");
    for name in ["binary.toml", "folder.toml"] {
        project.refuses(&["check", name], &[name]);
        project.refuses(&["run", name], &[name]);
    }
    fs::write(project.path("large.toml"), vec![b'#'; 5 << 20]).expect("a file is written");
    project.refuses(&["check", "large.toml"], &["large.toml", "larger than"]);
}

#[test]
fn a_file_of_nothing_but_mistakes_is_answered_in_a_few_screens() {
    let project = Project::new();
    let keys: String = (0..2_000).map(|n| format!("key{n} = {n}\n")).collect();
    fs::write(project.path("many.toml"), keys).expect("a file is written");
    fs::write(
        project.path("wide.toml"),
        format!("{} = 1\n", "k".repeat(1 << 20)),
    )
    .expect("a file is written");
    for name in ["many.toml", "wide.toml"] {
        project.refuses(&["check", name], &[name]);
        project.refuses(&["run", name], &[name]);
    }
}

#[test]
fn bad_usage_ends_64() {
    let project = Project::new();
    let calls: [&[&str]; 12] = [
        &[],
        &["rum"],
        &["run", "--no-such-option"],
        &["run", "--profile", "quik"],
        &["run", "--seed", "-1"],
        &["run", "--jobs", "many"],
        &["run", "--runtime", "podman"],
        &["schema"],
        &["schema", "dril"],
        &["judge"],
        &["gate", "--policy", "drills/gates/smoke.toml"],
        &["report", "x", "--format", "pdf"],
    ];
    for args in calls {
        project.refuses(args, &["--help"]);
    }
    project.refuses(&["rum"], &["'run'"]);
    project.refuses(&["run", "--profile", "quik"], &["'quick'"]);
    project.refuses(
        &["run", "redis-outage", "--set", "NOTHING"],
        &["NOTHING", "KEY=VALUE"],
    );
    // A defect that came in as a setting would be missing on the verdict, and could pass a gate.
    project.refuses(
        &["run", "redis-outage", "--set", "BOT_DEFECT=fails-open"],
        &["BOT_DEFECT=fails-open", "before the command"],
    );
}

#[test]
fn a_target_marked_production_is_left_alone() {
    let project = Project::new();
    project.breaks(
        TARGET,
        "production   = false",
        "production   = true",
        "true",
    );
    for args in [
        ["run", "redis-outage"].as_slice(),
        &["run"],
        &["soak"],
        &["up"],
        &["images"],
    ] {
        project.refuses(args, &["marked production"]);
    }
}

#[test]
fn an_alert_that_the_rules_lack_and_rules_that_are_broken_are_refused() {
    let (drill, rules) = ("drills/alert-redis-outage.toml", "drills/alerts/vanta.yml");
    let project = Project::new();
    let misspelt = "{ alert = \"ModeNotLife\"";
    let place = project.breaks(
        drill,
        "{ alert = \"ModeNotLive\"",
        misspelt,
        "\"ModeNotLife",
    );
    let nearest = "did you mean \"ModeNotLive\"?";
    project.refuses(&["run", "alert-redis-outage"], &[&place, nearest]);

    let project = Project::new();
    let place = project.breaks(rules, "expr: up == 0", "exprr: up == 0", "exprr");
    let place = place.trim_start_matches("drills/");
    project.refuses(
        &["run", "alert-redis-outage"],
        &[drill, place, "did you mean \"expr\"?"],
    );
    project.refuses(&["check", rules], &[place, "did you mean \"expr\"?"]);
}

#[test]
fn without_an_engine_the_answer_is_inconclusive_with_a_remedy() {
    let project = Project::new();
    for args in [
        ["run", "redis-outage"].as_slice(),
        &["soak"],
        &["up"],
        &["heal"],
        &["images"],
    ] {
        let ended = project.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(
            ended
                .err
                .contains("no container engine answers at unix:///nonexistent"),
            "{ended:?}"
        );
        assert!(ended.err.contains("DOCKER_HOST"), "{ended:?}");
        let left = fs::read_dir(project.path("out")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{args:?} left something behind");
    }
}

#[test]
fn evidence_that_cannot_be_written_is_inconclusive_with_a_remedy() {
    let project = Project::new();
    fs::write(project.path("file"), "not a folder").expect("a file is written");
    for out in ["file/below", "/proc/nope/below"] {
        for args in [["run", "redis-outage"].as_slice(), &["soak"]] {
            let ended = ended(project.command(args).args(["--out", out]));
            assert_eq!(ended.code, Some(2), "{out}: {ended:?}");
            assert!(
                ended.err.contains(out) || ended.err.contains("/proc/nope"),
                "{ended:?}"
            );
            assert!(ended.err.contains("--out"), "no remedy in {:?}", ended.err);
        }
    }
    assert_eq!(
        fs::read(project.path("file")).expect("it is still there"),
        b"not a folder"
    );
}

#[test]
fn help_and_version_end_0() {
    let project = Project::new();
    for args in [
        ["--help"].as_slice(),
        &["--version"],
        &["run", "--help"],
        &["help", "gate"],
    ] {
        let ended = project.run(args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.err.is_empty() && !ended.out.is_empty(), "{ended:?}");
    }
    let help = project.run(&["--help"]).out;
    for word in [
        "check",
        "run",
        "soak",
        "judge",
        "report",
        "gate",
        "heal",
        "INCONCLUSIVE",
    ] {
        assert!(help.contains(word), "no {word} in {help}");
    }
    for hidden in ["fixture", "janitor"] {
        assert!(!help.contains(hidden), "{hidden} is shown");
    }
}

#[test]
fn every_schema_is_a_json_schema() {
    let project = Project::new();
    for format in ["drill", "target", "policy", "profile", "verdict"] {
        let ended = project.run(&["schema", format]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let schema: Value = serde_json::from_str(&ended.out).expect("it is JSON");
        let dialect = schema["$schema"].as_str().unwrap_or("");
        assert!(dialect.contains("json-schema.org"), "{format}: {dialect:?}");
        let properties = schema["properties"]
            .as_object()
            .map_or(0, serde_json::Map::len);
        assert!(
            properties >= 3,
            "{format} describes {properties} properties"
        );
    }
}

#[test]
fn the_shipped_files_are_valid() {
    let mut command = firedrill(&root());
    command
        .arg("check")
        .env("DOCKER_HOST", NO_ENGINE)
        .assert()
        .code(0);
    let recorded =
        ["short-outage", "short-stop"].map(|n| format!("fixtures/journals/drills/{n}.toml"));
    firedrill(&root())
        .arg("check")
        .args(recorded)
        .assert()
        .code(0);
}

#[test]
fn a_dry_run_describes_all_and_starts_nothing() {
    let project = Project::new();
    let ended = project.run(&["run", "--dry-run", "--seed", "5"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("seed 5"), "{ended:?}");
    for entry in fs::read_dir(project.path("drills")).expect("the folder is readable") {
        let path = entry.expect("an entry is readable").path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the drill is readable");
        let ids = text
            .lines()
            .filter_map(|l| l.strip_prefix("id"))
            .filter_map(|l| l.split('"').nth(1));
        for id in ids.filter(|id| *id != "first-read") {
            assert!(
                ended.out.contains(id),
                "{}: no {id} in {}",
                path.display(),
                ended.out
            );
        }
    }
    assert_eq!(project.run(&["soak", "--dry-run"]).code, Some(0));
    assert!(!project.path("out").exists(), "a run was begun");
}

#[test]
fn shards_share_all_drills_and_no_drill_twice() {
    let project = Project::new();
    let described = |args: &[&str]| -> Vec<String> {
        let ended = project.run(&[&["run", "--dry-run"], args].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let heads = ended.out.lines().filter(|l| !l.starts_with(' '));
        heads.map(str::to_owned).collect()
    };
    let all = described(&[]);
    let mut shared: Vec<String> = Vec::new();
    for shard in ["1/4", "2/4", "3/4", "4/4"] {
        let part = described(&["--shard", shard]);
        let even = all.len() / 4;
        assert!((even..=even + 1).contains(&part.len()), "{shard}: {part:?}");
        shared.extend(part);
    }
    shared.sort();
    assert_eq!(shared, all);
    for wrong in ["0/4", "5/4", "4", "1/0", "a/b", "-1/4"] {
        project.refuses(&["run", &format!("--shard={wrong}")], &["PART/OF", "2/4"]);
    }
    project.refuses(
        &["run", "redis-outage", "--shard", "2/2"],
        &["--shard 2/2", "none is left"],
    );
}

#[test]
fn options_have_names_in_the_environment() {
    let project = Project::new();
    let mut command = project.command(&["run", "--dry-run"]);
    command.env("FIREDRILL_DRILL_FILTER", "redis-outage,emergency-stop");
    let ended = ended(
        command
            .env("FIREDRILL_PROFILE", "full")
            .env("FIREDRILL_SEED", "11"),
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("seed 11"), "{ended:?}");
    assert!(ended.out.contains("redis-outage: ") && ended.out.contains("emergency-stop: "));
    assert!(
        !ended.out.contains("emergency-stop-admin: "),
        "{}",
        ended.out
    );
    assert!(
        ended
            .out
            .lines()
            .any(|l| l.contains("outage") && l.contains("60.0 s")),
        "{}",
        ended.out
    );
}

#[test]
fn a_journal_that_cannot_be_read_is_never_green() {
    let project = Project::new();
    for (name, text) in [
        ("empty", ""),
        ("noise", "noise\n"),
        ("other", "{\"seq\":0}\n"),
    ] {
        fs::create_dir(project.path(name)).expect("a folder is created");
        fs::write(project.path(name).join("journal.jsonl"), text).expect("a file is written");
        for args in [["judge", name], ["report", name]] {
            let ended = project.run(&args);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(ended.err.contains("journal"), "{ended:?}");
        }
    }
}
