//! `each`: one expectation that stands for several.

use std::fs;
use std::path::Path;

use firedrill_plan::{Drill, FactSelector, Observe, ProbeKind, Target, parse_drill, parse_target};

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/targets/reference.toml");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn target() -> Target {
    parse_target("t.toml", &reference(), &|_| Ok(String::new()))
        .unwrap_or_else(|e| panic!("{e}"))
        .value
}

const DRILL: &str = r#"title = "t"
why = "w"
source = []
needs = { mode = "LIVE" }
[catches]
fails-open = "shown/worker"
[[phase]]
id = "outage"
fault = { kind = "pause", target = "redis" }
hold = "5s"
[[expect]]
id = "shown"
each = ["webhook", "worker"]
what = "{each} shows it"
probe = { http = "{each}", path = "/health", json = "/mode" }
equals = "{each}"
[[expect]]
id = "none"
each = ["unknown", "failed"]
what = "none ends {each}"
none = { op = "{each}" }
"#;

fn shown(text: &str) -> Vec<String> {
    match parse_drill("d.toml", text, &target()) {
        Ok(parsed) => parsed.warnings.iter().map(ToString::to_string).collect(),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

/// With `bad` in the place of `good` exactly one finding follows: at `at` within `bad`, with this text.
fn case(good: &str, bad: &str, at: &str, text: &str) {
    let start = DRILL.find(good).unwrap_or_else(|| panic!("no {good}"));
    let broken = DRILL.replacen(good, bad, 1);
    let before = &broken[..start + bad.find(at).unwrap_or_else(|| panic!("no {at}"))];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    assert_eq!(
        shown(&broken),
        [format!("d.toml:{line}:{column}: {text}")],
        "{bad}"
    );
}

fn drill() -> Drill {
    parse_drill("d.toml", DRILL, &target())
        .unwrap_or_else(|e| panic!("{e}"))
        .value
}

#[test]
fn one_check_for_each_value_with_the_value_in_every_text() {
    let drill = drill();
    let ids: Vec<&str> = drill.expects.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "shown/webhook",
            "shown/worker",
            "none/unknown",
            "none/failed"
        ]
    );
    let worker = drill.expect("shown/worker").expect("it is there");
    assert_eq!(worker.what, "worker shows it");
    let Observe::Value { probe, .. } = &worker.observe else {
        panic!("{worker:?}");
    };
    let probe = drill.probe(&probe.probe).expect("its probe");
    assert!(matches!(&probe.kind, ProbeKind::Http { service, .. } if service == "worker"));
    let failed = drill.expect("none/failed").expect("it is there");
    let Observe::Count {
        facts: FactSelector::Op { state, .. },
        ..
    } = &failed.observe
    else {
        panic!("{failed:?}");
    };
    assert_eq!(state.as_deref(), Some("failed"));
}

#[test]
fn a_mistake_in_a_value_is_shown_where_it_stands() {
    case(
        r#""webhook", "worker"]"#,
        r#""webhook", "worker", "wroker"]"#,
        r#""wroker""#,
        "unknown service \"wroker\"; expected redis, postgres, rpc, proxy, webhook, worker or tpsl; did you mean \"worker\"?",
    );
    case(
        r#""failed"]"#,
        r#""faild"]"#,
        r#""faild""#,
        "unknown op \"faild\"; expected any, ok, rejected, failed or unknown; did you mean \"failed\"?",
    );
}

#[test]
fn the_list_and_the_placeholder_go_together() {
    case(
        "each = [\"unknown\", \"failed\"]\nwhat = \"none ends {each}\"\nnone = { op = \"{each}\" }",
        "what = \"none ends {each}\"\nnone = { op = \"failed\" }",
        "\"none",
        "{each} without a list of values; expected each = [\"…\", \"…\"]",
    );
    case(
        "each = [\"unknown\", \"failed\"]\nwhat = \"none ends {each}\"\nnone = { op = \"{each}\" }",
        "each = [\"unknown\", \"failed\"]\nwhat = \"none ends\"\nnone = { op = \"failed\" }",
        "[\"unknown",
        "\"each\" is named nowhere: its checks would all be the same; expected {each} in the expectation",
    );
}

#[test]
fn values_are_given_once_and_catches_names_one_of_them() {
    case(
        r#"["unknown", "failed"]"#,
        r#"["failed", "failed"]"#,
        r#""failed"]"#,
        "value \"failed\" is there twice",
    );
    case(
        "\"shown/worker\"",
        "\"shown/wroker\"",
        "\"shown/wroker\"",
        "unknown expectation \"shown/wroker\"; expected shown/webhook, shown/worker, none/unknown or none/failed; did you mean \"shown/worker\"?",
    );
    let each = r#"["unknown", "failed"]"#;
    for (bad, finding) in [
        ("[]", "\"each\" is empty"),
        (
            "[3]",
            "\"each\" is an integer; expected letters, digits, - and _",
        ),
    ] {
        let found = shown(&DRILL.replacen(each, bad, 1));
        assert!(found[0].ends_with(finding), "{found:?}");
    }
}

#[test]
fn malformed_requests_need_to_be_told_what_is_right() {
    let act = "act = { kind = \"malformed\", class = \"field\", count = 5 }\nhold";
    let text = DRILL.replacen("hold", act, 1);
    assert_eq!(shown(&text), Vec::<String>::new());
    assert_eq!(
        shown(&text.replace("\"field\"", "\"feild\"")),
        [
            "d.toml:10:37: unknown class \"feild\"; expected signature, body, huge, field, path or method; did you mean \"field\"?"
        ]
    );
    let bare = reference();
    let (before, after) = bare.split_once("[signals.fields]").expect("fields");
    let (_, after) = after.split_once("[mode]").expect("mode");
    let bare =
        format!("{before}[mode]{after}").replace("names            = [\"/field\", \"/cap\"]", "");
    let bare =
        parse_target("t.toml", &bare, &|_| Ok(String::new())).unwrap_or_else(|e| panic!("{e}"));
    let refused = |text: &str| match parse_drill("d.toml", text, &bare.value) {
        Ok(parsed) => panic!("{:?}", parsed.value.name),
        Err(errors) => errors.to_string(),
    };
    assert_eq!(
        refused(&text),
        "d.toml:10:37: the target doesn't say what the fields of a signal may hold; expected [signals.fields] in the target file"
    );
    assert_eq!(
        refused(&DRILL.replace("op = \"{each}\"", "op = \"{each}\", names = \"side\"")),
        "d.toml:21:33: the target doesn't say where its answers name what is wrong; expected signals.names in the target file"
    );
}
