//! Every kind of fault on one real stack: in force when it is called proven, and noticed when another
//! hand undoes it. Both are seen without the harness.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use firedrill_journal::EdgeKind;

use crate::stage::{Setting, Stage, docker, http_within};
use crate::table::Rows;

/// How long a look from outside may take to show what the harness has proven already.
const SHOWS_WITHIN: Duration = Duration::from_millis(900);
/// Longer than any answer takes without a fault, shorter than any of the delays.
const SLOW: Duration = Duration::from_millis(150);

/// One kind: its phase, what is seen while it is in force, and how another hand undoes it.
struct Kind {
    phase: &'static str,
    in_force: fn(&Stage) -> bool,
    undo: fn(&Stage),
}

const KINDS: [Kind; 13] = [
    Kind {
        phase: "latency",
        in_force: is_slow,
        undo: |s| remove(s, "latency"),
    },
    Kind {
        phase: "jitter",
        in_force: is_slow,
        undo: |s| remove(s, "latency"),
    },
    Kind {
        phase: "bandwidth",
        in_force: is_narrow,
        undo: |s| remove(s, "bandwidth"),
    },
    Kind {
        phase: "timeout",
        in_force: is_silent,
        undo: |s| remove(s, "timeout"),
    },
    Kind {
        phase: "reset",
        in_force: is_cut,
        undo: |s| remove(s, "reset_peer"),
    },
    Kind {
        phase: "down",
        in_force: is_refused,
        undo: enable,
    },
    Kind {
        phase: "limit",
        in_force: is_cut,
        undo: |s| remove(s, "limit_data"),
    },
    Kind {
        phase: "http-error",
        in_force: |s| ask(s, BIG).0 == Some(503),
        undo: |s| remove(s, "http_error"),
    },
    Kind {
        phase: "pause",
        in_force: |s| state(s, "redis", "Paused"),
        undo: |s| s.hand(&["unpause"], "redis"),
    },
    Kind {
        phase: "disconnect",
        in_force: |s| !connected(s),
        undo: connect,
    },
    Kind {
        phase: "redis-set",
        in_force: |s| key(s).contains("DRY"),
        undo: |s| drop(redis(s, &["DEL", "exec_mode"])),
    },
    Kind {
        phase: "kill",
        in_force: |s| !state(s, "tpsl", "Running"),
        undo: |s| s.hand(&["start"], "tpsl"),
    },
    Kind {
        phase: "stop",
        in_force: |s| !state(s, "tpsl", "Running"),
        undo: |s| s.hand(&["start"], "tpsl"),
    },
];

/// A request whose answer is longer than the narrow route passes at once.
const BIG: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_feeHistory","params":["0x40","latest",[1,2,3,4,5,6,7,8,9]]}"#;

/// Status of a request through the faulty route, and how long it took.
fn ask(stage: &Stage, body: &str) -> (Option<u16>, Duration) {
    let container = stage.container("proxy");
    let published = docker(&["port", &container, "8545"]);
    let started = Instant::now();
    let status = http_within(&published[0], "POST", "/", body, SHOWS_WITHIN);
    (status.ok(), started.elapsed())
}

fn is_slow(stage: &Stage) -> bool {
    let (status, took) = ask(
        stage,
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#,
    );
    status == Some(200) && took > SLOW
}

fn is_narrow(stage: &Stage) -> bool {
    let (_, took) = ask(stage, BIG);
    took > SLOW
}

fn is_silent(stage: &Stage) -> bool {
    let (status, took) = ask(stage, BIG);
    status.is_none() && took >= SHOWS_WITHIN
}

fn is_cut(stage: &Stage) -> bool {
    let (status, took) = ask(stage, BIG);
    status.is_none() && took < SHOWS_WITHIN
}

fn is_refused(stage: &Stage) -> bool {
    let container = stage.container("proxy");
    let published = docker(&["port", &container, "8545"]);
    // The engine's own relay accepts; behind it there is nobody.
    TcpStream::connect(&published[0]).is_err() || is_cut(stage)
}

fn remove(stage: &Stage, kind: &str) {
    let path = format!("/proxies/rpc/toxics/{kind}_downstream");
    assert_eq!(stage.proxy("DELETE", &path, ""), 204);
}

fn enable(stage: &Stage) {
    assert_eq!(
        stage.proxy("POST", "/proxies/rpc", r#"{"enabled":true}"#),
        200
    );
}

fn state(stage: &Stage, service: &str, flag: &str) -> bool {
    let format = format!("{{{{.State.{flag}}}}}");
    docker(&["inspect", "-f", &format, &stage.container(service)]) == ["true"]
}

fn network(stage: &Stage) -> String {
    let filter = format!("label=firedrill={}", stage.run_id());
    docker(&["network", "ls", "-q", "--no-trunc", "--filter", &filter]).remove(0)
}

fn connected(stage: &Stage) -> bool {
    let ids = "{{range .NetworkSettings.Networks}}{{.NetworkID}} {{end}}";
    let ids = docker(&["inspect", "-f", ids, &stage.container("redis")]);
    ids.iter().any(|line| line.contains(&network(stage)))
}

fn connect(stage: &Stage) {
    docker(&[
        "network",
        "connect",
        &network(stage),
        &stage.container("redis"),
    ]);
}

fn redis(stage: &Stage, args: &[&str]) -> Vec<String> {
    let container = stage.container("redis");
    docker(&[&["exec", container.as_str(), "redis-cli"], args].concat())
}

fn key(stage: &Stage) -> String {
    redis(stage, &["GET", "exec_mode"]).join("")
}

/// The honest run: each is in force between its edges and gone after them, and the run passes.
pub fn each_kind_is_there_when_it_is_called_proven() {
    let mut stage = Stage::set("kinds", Setting::default());
    for kind in &KINDS {
        stage.until(kind.phase, true, EdgeKind::Proven);
        assert!((kind.in_force)(&stage), "{} isn't there", kind.phase);
        stage.until(kind.phase, true, EdgeKind::Healed);
        assert!(!(kind.in_force)(&stage), "{} is still there", kind.phase);
    }
    let tpsl = |stage: &Stage| {
        docker(&[
            "inspect",
            "-f",
            "{{.State.StartedAt}}",
            &stage.container("tpsl"),
        ])
    };
    let before = tpsl(&stage);
    stage.until("restart", true, EdgeKind::Proven);
    assert_ne!(before, tpsl(&stage), "it was not restarted");
    let seen = stage.end();
    seen.agrees();
    assert_eq!(seen.code, Some(0), "{}", seen.said);
}

/// The same run with another hand in it: every loss is noticed, everything is healed, and the record
/// is read to its end.
pub fn each_kind_is_missed_when_another_hand_undoes_it() {
    let mut stage = Stage::set("kinds", Setting::default());
    for kind in &KINDS {
        stage.until(kind.phase, true, EdgeKind::Proven);
        (kind.undo)(&stage);
    }
    let seen = stage.end();
    seen.agrees();
    assert_eq!(seen.code, Some(2), "{}", seen.said);
    let rows = Rows::of("each_kind_is_missed_when_another_hand_undoes_it");
    for kind in &KINDS {
        let lost = seen.edges(kind.phase, EdgeKind::Lost);
        assert_eq!(lost.len(), 1, "{}: {lost:?}\n{}", kind.phase, seen.said);
        let healed = seen.edges(kind.phase, EdgeKind::Healed);
        assert_eq!(healed.len(), 1, "{}: {healed:?}", kind.phase);
        rows.meets(
            kind.phase,
            "inconclusive",
            &lost[0].proof.clone().unwrap_or_default(),
        );
    }
    let end = seen.journal.end().expect("the journal has an end");
    assert_eq!(end.reason, firedrill_journal::EndReason::Completed);
}
