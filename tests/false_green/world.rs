//! Cases about the world: real stacks, in which another hand does what the field has seen.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use firedrill_journal::{EdgeKind, EndReason};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::stage::{SMALL, Seen, Setting, Stage, docker, drill, http, target, wait};
use crate::support::{copy, ended, firedrill, root};
use crate::table::Rows;

/// After SIGKILL nobody but the janitor is left.
const UNPAUSED_WITHIN: Duration = Duration::from_secs(1);
const REMOVED_WITHIN: Duration = Duration::from_secs(5);

/// The run ended as its row says, and said the same everywhere.
fn meets_run(rows: &Rows, key: &str, seen: &Seen) {
    seen.agrees();
    let verdict = seen.verdict["verdict"].as_str().unwrap_or_default();
    rows.meets(key, verdict, &seen.reasons().join("\n"));
}

/// A run of the small stack, in which another hand does something in the calm before the fault.
fn before_the_fault(test: &'static str, hand: impl Fn(&Stage)) {
    let mut stage = Stage::set("injection", SMALL);
    stage.until("baseline", false, EdgeKind::Proven);
    hand(&stage);
    meets_run(&Rows::of(test), "run", &stage.end());
}

/// A run of the small stack, in which another hand does something while the fault is in force.
fn in_the_fault(test: &'static str, name: &str, phase: &str, hand: impl Fn(&Stage)) -> Seen {
    let mut stage = Stage::set(name, SMALL);
    stage.until(phase, true, EdgeKind::Proven);
    hand(&stage);
    let seen = stage.end();
    meets_run(&Rows::of(test), "run", &seen);
    seen
}

/// The fault was healed all the same, and the record was read to its end.
fn healed_and_complete(seen: &Seen, phase: &str) {
    let healed = seen.edges(phase, EdgeKind::Healed);
    assert_eq!(healed.len(), 1, "{healed:?}\n{}", seen.said);
    let end = seen.journal.end().expect("the journal has an end");
    assert_eq!(end.reason, EndReason::Completed, "{:?}", end.detail);
}

const WEAK: &str = r#"{"name":"latency_downstream","type":"latency","attributes":{"latency":30}}"#;
const UPSTREAM: &str = r#"{"name":"latency_downstream","type":"latency","stream":"upstream","attributes":{"latency":300,"jitter":0}}"#;

pub fn a_proxy_that_can_not_be_reached_is_told() {
    before_the_fault("a_proxy_that_can_not_be_reached_is_told", |stage| {
        stage.hand(&["kill"], "proxy");
    });
}

pub fn a_toxic_that_is_not_ours_is_told() {
    before_the_fault("a_toxic_that_is_not_ours_is_told", |stage| {
        assert_eq!(stage.proxy("POST", "/proxies/rpc/toxics", WEAK), 200);
        assert_eq!(stage.proxy("POST", "/proxies/rpc/toxics", WEAK), 409);
    });
}

pub fn a_route_that_is_gone_is_told() {
    before_the_fault("a_route_that_is_gone_is_told", |stage| {
        assert_eq!(stage.proxy("DELETE", "/proxies/rpc", ""), 204);
        assert_eq!(stage.proxy("POST", "/proxies/rpc/toxics", WEAK), 404);
    });
}

pub fn a_route_that_is_full_is_told() {
    before_the_fault("a_route_that_is_full_is_told", |stage| {
        let api = stage.proxy_api();
        let add = |n: usize| {
            let toxic =
                format!(r#"{{"name":"t{n}","type":"latency","attributes":{{"latency":1}}}}"#);
            http(&api, "POST", "/proxies/rpc/toxics", &toxic)
        };
        let refused = (0..1000).map(add).find(|status| *status != 200);
        assert_eq!(refused, Some(400));
    });
}

pub fn a_toxic_in_the_other_direction_is_told() {
    let test = "a_toxic_in_the_other_direction_is_told";
    let seen = in_the_fault(test, "injection", "slow", |stage| {
        let own = "/proxies/rpc/toxics/latency_downstream";
        let api = stage.proxy_api();
        // The exchange takes two requests. A look between them would find no toxic at all, which is another case.
        stage.unseen(|| {
            assert_eq!(http(&api, "DELETE", own, ""), 204);
            assert_eq!(http(&api, "POST", "/proxies/rpc/toxics", UPSTREAM), 200);
        });
    });
    healed_and_complete(&seen, "slow");
}

pub fn a_toxic_that_was_switched_off_is_told() {
    let test = "a_toxic_that_was_switched_off_is_told";
    let seen = in_the_fault(test, "injection", "slow", |stage| {
        let own = "/proxies/rpc/toxics/latency_downstream";
        assert_eq!(stage.proxy("POST", own, r#"{"toxicity":0.0}"#), 200);
    });
    healed_and_complete(&seen, "slow");
}

pub fn a_target_that_was_restarted_is_told() {
    let test = "a_target_that_was_restarted_is_told";
    let seen = in_the_fault(test, "outage", "outage", |stage| {
        stage.hand(&["restart", "-t", "0"], "redis");
    });
    healed_and_complete(&seen, "outage");
}

/// Undone and done again, so quickly that a look every now and then may miss it: the engine's own record
/// doesn't.
pub fn a_fault_that_was_interrupted_is_told() {
    let test = "a_fault_that_was_interrupted_is_told";
    let seen = in_the_fault(test, "outage", "outage", |stage| {
        let redis = stage.container("redis");
        docker(&["unpause", &redis]);
        docker(&["pause", &redis]);
    });
    healed_and_complete(&seen, "outage");
}

pub fn a_proxy_that_hangs_is_restarted() {
    let test = "a_proxy_that_hangs_is_restarted";
    let seen = in_the_fault(test, "injection", "slow", |stage| {
        stage.hand(&["pause"], "proxy");
    });
    healed_and_complete(&seen, "slow");
}

pub fn a_proxy_that_died_is_restarted() {
    let test = "a_proxy_that_died_is_restarted";
    let seen = in_the_fault(test, "injection", "slow", |stage| {
        stage.hand(&["kill"], "proxy");
    });
    healed_and_complete(&seen, "slow");
}

pub fn an_injection_that_failed_is_told() {
    let rows = Rows::of("an_injection_that_failed_is_told");
    let run = |phase: &str, fault: bool, act: &[&str]| {
        let mut stage = Stage::set("outage", SMALL);
        stage.until(phase, fault, EdgeKind::Proven);
        stage.hand(act, "redis");
        stage.end()
    };
    meets_run(
        &rows,
        "stopped",
        &run("baseline", false, &["stop", "-t", "0"]),
    );
    meets_run(&rows, "removed", &run("baseline", false, &["rm", "-f"]));
    meets_run(&rows, "not-healed", &run("outage", true, &["rm", "-f"]));
}

pub fn nothing_reached_the_target() {
    const SETTING: Setting = Setting {
        target: None,
        instead: &[
            ("[secrets]\n", "[secrets]\nOTHER = { random = 32 }\n"),
            (
                "secret           = \"WEBHOOK_HMAC_SECRET\"",
                "secret           = \"OTHER\"",
            ),
            ("@proxy:8545", "@rpc:8545"),
        ],
        args: &[],
    };
    let seen = Stage::set("blind", SETTING).end();
    let rows = Rows::of("nothing_reached_the_target");
    for key in ["unfelt", "unauthorised"] {
        meets_run(&rows, key, &seen);
    }
    let (nothing_sent, _) = seen.check("nothing-sent");
    assert_eq!(nothing_sent, "pass", "it holds, and it isn't what decides");
}

pub fn a_bot_that_is_dry_already_proves_nothing() {
    let seen = Stage::set("dry", Setting::default()).end();
    let rows = Rows::of("a_bot_that_is_dry_already_proves_nothing");
    meets_run(&rows, "run", &seen);
}

pub fn copies_that_never_met_prove_no_race() {
    let seen = Stage::set("race", Setting::default()).end();
    meets_run(
        &Rows::of("copies_that_never_met_prove_no_race"),
        "run",
        &seen,
    );
}

pub fn what_was_given_up_may_still_happen() {
    let seen = Stage::set("late", Setting::default()).end();
    seen.agrees();
    let rows = Rows::of("what_was_given_up_may_still_happen");
    let (verdict, observed) = seen.check("none-unknown");
    rows.meets("none-unknown", &verdict, &observed);
    // The check's FAIL is the run's; the write's reason stands beside it.
    meets_run(&rows, "run", &seen);
}

/// What a broken exporter would answer is served by a second proxy in a service's place.
pub fn nobody_looked() {
    const PAGES: &str = r#"[[service]]
name    = "pages"
role    = "app"
image   = "self"
command = ["proxy"]
env     = { API_ADDR = "0.0.0.0:8474", PROXIES = "main=0.0.0.0:8091=worker:8091" }
ports   = { main = 8091, api = 8474 }
healthy = { http = "api", path = "/version" }
heartbeat = { metric = "heartbeat_timestamp_seconds", path = "/stale", still_max = "1s", source = "a test" }

# Environment that all services of role app share."#;
    const SETTING: Setting = Setting {
        target: None,
        instead: &[("# Environment that all services of role app share.", PAGES)],
        args: &[],
    };
    let seen = Stage::set("looked", SETTING).end();
    seen.agrees();
    let rows = Rows::of("nobody_looked");
    let checks = seen.verdict["drills"][0]["checks"].as_array();
    let ids: Vec<&str> = checks
        .into_iter()
        .flatten()
        .filter_map(|check| check["id"].as_str())
        .collect();
    for id in ids.iter().filter(|id| **id != "runs") {
        let (verdict, observed) = seen.check(id);
        rows.meets(id, &verdict, &observed);
    }
    assert_eq!(seen.check("runs").0, "pass");
    meets_run(&rows, "score", &seen);
}

/// `prove` on a drill that can't turn red: the honest bot is clean, and both bugs slip through.
pub fn a_drill_that_would_miss_the_bug_is_told() {
    let place = TempDir::new().expect("a temporary folder");
    let out = place.path().join("out");
    let ended = ended(
        firedrill(&root())
            .arg("prove")
            .arg(drill("vacuous"))
            .args(["--seed", "7", "--out"])
            .arg(&out)
            .stdin(Stdio::null()),
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let prove = fs::read_dir(&out).expect("there is evidence").next();
    let folder = prove.expect("a folder").expect("an entry").path();
    let cells = fs::read_to_string(folder.join("sensitivity.json")).expect("the cells are there");
    let cells: Vec<Value> = serde_json::from_str(&cells).expect("they are JSON");
    let rows = Rows::of("a_drill_that_would_miss_the_bug_is_told");
    assert_eq!(cells.len(), 3, "{cells:?}");
    for cell in &cells {
        let reason = cell["reason"].as_str().unwrap_or_default();
        match cell["defect"].as_str() {
            None => assert_eq!(cell["as_it_should_be"], true, "{reason}"),
            Some(defect) => {
                assert_eq!(cell["as_it_should_be"], false, "{reason}");
                rows.meets(defect, "fail", reason);
            }
        }
    }
    assert!(ended.out.contains("SLIPPED THROUGH"), "{}", ended.out);
}

pub fn a_harness_that_was_killed_leaves_nothing() {
    let rows = Rows::of("a_harness_that_was_killed_leaves_nothing");
    let mut stage = Stage::set("outage", SMALL);
    stage.until("outage", true, EdgeKind::Proven);
    let (redis, run) = (stage.container("redis"), stage.run_id());
    let pid = Pid::from_raw(stage.pid()).expect("a process number");
    kill_process(pid, Signal::KILL).expect("it is sent");
    let killed = Instant::now();
    wait("Redis isn't paused any more", UNPAUSED_WITHIN, || {
        let filter = format!("id={redis}");
        let found = docker(&[
            "ps",
            "-aq",
            "--filter",
            &filter,
            "--filter",
            "status=paused",
        ]);
        found.is_empty().then_some(())
    });
    let label = format!("label=firedrill={run}");
    wait(
        "all is gone",
        REMOVED_WITHIN.saturating_sub(killed.elapsed()),
        || {
            let containers = docker(&["ps", "-aq", "--filter", &label]);
            let networks = docker(&["network", "ls", "-q", "--filter", &label]);
            (containers.is_empty() && networks.is_empty()).then_some(())
        },
    );
    stage.gone();
    let judged = || ended(firedrill(&root()).arg("judge").arg(stage.dir()));
    let first = judged();
    assert_eq!(first.code, Some(2), "{first:?}");
    rows.meets("journal", "inconclusive", &first.out);
    rows.meets("gone", "inconclusive", &first.out);

    let next = Stage::set("outage", SMALL).end();
    next.agrees();
    assert_eq!(next.code, Some(0), "{}", next.said);
    let again = judged();
    assert_eq!(again.code, Some(2), "{again:?}");
    rows.meets("next", "inconclusive", &again.out);
}

/// Two drills, of which the second is not begun.
pub fn drills_that_were_not_run_are_no_pass() {
    let place = TempDir::new().expect("a temporary folder");
    let second = place.path().join("never-run.toml");
    copy(&drill("first-fails"), &second);
    let ended = ended(
        firedrill(&root())
            .arg("run")
            .arg(drill("first-fails"))
            .arg(&second)
            .arg("--target")
            .arg(target(&SMALL, place.path()))
            .args(["--jobs", "1", "--fail-fast", "--out"])
            .arg(place.path().join("out"))
            .stdin(Stdio::null()),
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let rows = Rows::of("drills_that_were_not_run_are_no_pass");
    rows.meets("run", "fail", &ended.out);
}
