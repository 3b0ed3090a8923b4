//! `[[watch]]` of a profile: what it means, and what is said about mistakes in it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use firedrill_plan::{
    BinBy, Diagnostic, Predicate, ProbeKind, Profile, Target, Toward, parse_profile, parse_target,
};

fn target() -> Target {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/targets/reference.toml");
    let text = fs::read_to_string(path).expect("the reference target is readable");
    parse_target("t.toml", &text, &|_| Ok(String::new()))
        .expect("it is valid")
        .value
}

const PROFILE: &str = r#"title  = "t"
class  = "nightly"
pace   = "quick"
quiet  = "3s"
settle = "4s"
drills = ["redis-outage"]
[load]
signals_per_s = 10
"#;

const WATCHES: &str = r#"[[watch]]
id      = "memory"
what    = "memory doesn't grow towards its limit"
source  = "contract: metrics"
probe   = { metric = "process_resident_memory_bytes", services = ["webhook", "worker"] }
limit   = 536870912
horizon = "24h"
[[watch]]
id      = "files"
what    = "no descriptor is left open"
probe   = { metric = "process_open_fds", service = "worker", every = "500ms" }
limit   = 1024
horizon = "72h"
steps   = false
bin     = "mean"
at_most = 400
[[watch]]
id       = "live"
what     = "LIVE in all of the quiet time"
probe    = { http = "worker", path = "/health", field = "status" }
at_least = 200
at_most  = 200
coverage = { gap = "5s" }
[[watch]]
id      = "disk"
what    = "rows"
probe   = { sql = "SELECT 1" }
limit   = 0
horizon = "1h"
toward  = "down"
bin     = "p95"
"#;

fn parse(watches: &str) -> Result<Profile, Vec<Diagnostic>> {
    let text = format!("{PROFILE}{watches}");
    match parse_profile("p.toml", &text, &["redis-outage".to_owned()], &target()) {
        Ok(parsed) if parsed.warnings.is_empty() => Ok(parsed.value),
        Ok(parsed) => Err(parsed.warnings),
        Err(errors) => Err(errors.0),
    }
}

#[test]
fn watches_say_what_is_sampled_and_what_is_asked() {
    let profile = parse(WATCHES).expect("it is valid");
    assert_eq!(profile.settle, Duration::from_secs(4));
    let ids: Vec<&str> = profile.watches.iter().map(|w| w.id.as_str()).collect();
    let wanted = ["memory/webhook", "memory/worker", "files", "live", "disk"];
    assert_eq!(ids, wanted);
    let [memory, _, files, live, disk] = profile.watches.as_slice() else {
        panic!("{ids:?}");
    };
    let drift = memory.drift.expect("a limit");
    assert_eq!(drift.limit, 536_870_912.0);
    assert_eq!(drift.horizon, Duration::from_secs(24 * 3600));
    assert!(drift.steps);
    assert_eq!((drift.toward, memory.bin), (Toward::Up, BinBy::Median));
    assert_eq!(memory.field, "process_resident_memory_bytes");
    assert_eq!(memory.probe.every, Duration::from_secs(1));
    assert_eq!(memory.coverage.gap_max, Duration::from_secs(30));
    assert!(!files.drift.expect("a limit").steps);
    assert_eq!(files.bounds, [Predicate::AtMost(400.0)]);
    let both = [Predicate::AtMost(200.0), Predicate::AtLeast(200.0)];
    assert_eq!((&live.drift, live.bounds.as_slice()), (&None, &both[..]));
    assert_eq!(live.coverage.gap_max, Duration::from_secs(5));
    assert_eq!(disk.drift.expect("a limit").toward, Toward::Down);
    assert_eq!(disk.bin, BinBy::P95);
}

#[test]
fn watches_of_the_same_thing_share_a_probe() {
    let profile = parse(WATCHES).expect("it is valid");
    let probes = profile.probes();
    let ids: Vec<&str> = probes.iter().map(|p| p.id.as_str()).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids.iter().all(|id| id.starts_with("watch:")), "{ids:?}");
    let worker = &profile.watches[1].probe;
    assert_eq!(worker, &profile.watches[2].probe);
    assert_eq!(worker.every, Duration::from_millis(500), "the faster pace");
    let ProbeKind::Metrics { series, .. } = &worker.kind else {
        panic!("{worker:?}");
    };
    let names: Vec<&str> = series.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["process_resident_memory_bytes", "process_open_fds"]);
}

/// Replaces `good` by `bad`: exactly one diagnostic follows, at the place of `at` in `bad`.
fn case(good: &str, bad: &str, at: &str, text: &str) {
    let start = WATCHES.find(good).unwrap_or_else(|| panic!("no {good}"));
    let watches = WATCHES.replacen(good, bad, 1);
    let errors = parse(&watches).expect_err(bad);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let offset = bad.find(at).unwrap_or_else(|| panic!("no {at}"));
    let before = format!("{PROFILE}{}", &watches[..start + offset]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    let shown = errors[0].to_string();
    assert_eq!(shown, format!("p.toml:{line}:{column}: {text}"));
}

#[test]
fn mistakes_have_a_place_and_a_remedy() {
    case(
        "limit   = 536870912\nhorizon = \"24h\"",
        "limit   = 536870912",
        "536870912",
        "a limit without a horizon: every slope reaches it some day; expected horizon = \"24h\" or the like",
    );
    case(
        "limit   = 1024\nhorizon = \"72h\"",
        "horizon = \"72h\"",
        "\"72h\"",
        "\"horizon\" without a limit; expected limit = …",
    );
    case(
        "at_least = 200\nat_most  = 200",
        "at_least = 201\nat_most  = 200",
        "200",
        "at least 201 and at most 200: nothing is; expected at_least ≤ at_most",
    );
    case(
        "service = \"worker\"",
        "service = \"wroker\"",
        "\"wroker\"",
        "unknown service \"wroker\"; expected redis, postgres, rpc, proxy, webhook, worker or tpsl; did you mean \"worker\"?",
    );
    case(
        "{ sql = \"SELECT 1\" }",
        "{ container = \"worker\", field = \"paused\" }",
        "\"paused\"",
        "\"paused\" isn't a number; expected a field with a number",
    );
    case(
        "id      = \"files\"",
        "id      = \"memory\"",
        "\"memory\"",
        "watch \"memory\" is there twice",
    );
    case(
        "toward  = \"down\"",
        "towards = \"down\"",
        "towards",
        "unknown key \"towards\" in watch; expected id, what, source, probe, limit, horizon, toward, steps, bin, at_most, at_least or coverage; did you mean \"toward\"?",
    );
    case(
        "bin     = \"mean\"",
        "bin     = \"average\"",
        "\"average\"",
        "unknown bin \"average\"; expected median, mean or p95",
    );
}

#[test]
fn a_watch_asks_for_something() {
    let bare = "[[watch]]\nid = \"x\"\nwhat = \"x\"\nprobe = { sql = \"SELECT 1\" }\n";
    let shown = parse(bare).expect_err("it asks for nothing")[0].to_string();
    let wanted = "p.toml:9:1: a watch that asks for nothing; expected limit with horizon, at_most or at_least";
    assert_eq!(shown, wanted);
}
