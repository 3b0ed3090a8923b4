//! What policies are warned of, and what they are refused for: each with its place.

use firedrill_plan::{Known, TargetSeries, parse_policy};

const HEAD: &str = r#"title = "P"
class = "release"
roles = ["lead"]
targets = ["bot"]
[metrics]
all = "requests_total"
lag = "lag_seconds"
[canary]
selector = 'track="canary"'
scrape = "30s"
[[stage]]
id = "s"
what = "s"
weight = 5
hold = "1h"
[[rollback]]
id = "back"
what = "back"
on = "any"
positions = "keep"
[[rollback.step]]
id = "weight-0"
what = "no traffic"
verify = { expr = 'sum(${metric.all}{${canary}}) + sum(${metric.lag}{${canary}})', equals = 0, within = "1m" }
"#;

fn known() -> Known {
    let series = TargetSeries {
        series: ["requests_total".to_owned(), "lag_seconds".to_owned()].into(),
        ..TargetSeries::default()
    };
    Known {
        drills: vec!["outage".to_owned()],
        targets: [("bot".to_owned(), series)].into(),
    }
}

/// Messages with their line of `text`, counted from the head's end.
fn lints(text: &str) -> Vec<(usize, String)> {
    let whole = format!("{HEAD}{text}");
    let head = HEAD.lines().count();
    let found = match parse_policy("p.toml", &whole, &known()) {
        Ok(parsed) => parsed.warnings,
        Err(errors) => errors.0,
    };
    let place = |d: firedrill_plan::Diagnostic| {
        assert!(d.column >= 1);
        (d.line.saturating_sub(head), d.to_string())
    };
    found.into_iter().map(place).collect()
}

#[track_caller]
fn one(text: &str, line: usize, says: &str) {
    let found = lints(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0, line, "{found:#?}");
    assert!(found[0].1.contains(says), "{found:#?}");
    // `accept` silences it, and nothing else would.
    let accepted = format!("{text}accept = \"known\"\n");
    let left = lints(&accepted);
    if found[0].1.contains(": warning: ") {
        assert_eq!(left, [], "accept");
    } else {
        assert_eq!(left.len(), 1, "an error is not silenced");
    }
}

fn rule(id: &str, bound: &str) -> String {
    format!(
        "[[rule]]\nid = \"{id}\"\nwhat = \"w\"\nstage = \"s\"\nexpr = 'max(${{metric.lag}}{{${{canary}}}})'\n{bound}\n"
    )
}

fn trigger(bound: &str) -> String {
    format!(
        "[[trigger]]\nid = \"t\"\nwhat = \"w\"\nclass = \"critical\"\nstage = \"s\"\nexpr = 'max(${{metric.lag}}{{${{canary}}}})'\n{bound}\n"
    )
}

#[test]
fn a_policy_without_fault_has_no_lint() {
    assert_eq!(lints(""), []);
    assert_eq!(
        lints(&(rule("r", "at_most = 5") + &trigger("above = 5"))),
        []
    );
}

#[test]
fn a_zone_that_nobody_looks_after_is_named_with_its_ends() {
    let text = rule("r", "below = 60") + &trigger("above = 120\nfor = \"3m\"");
    one(&text, 8, "dead zone: from 60 to 120 the rule \"r\"");
    // Exactly at the bound: neither passes nor fires (seed 003).
    let text = rule("r", "below = 0.01") + &trigger("above = 0.01");
    one(&text, 8, "dead zone: from 0.01 to 0.01");
    let text = rule("r", "at_least = 0.75") + &trigger("below = 0.70\nfor = \"5m\"");
    one(&text, 8, "dead zone: from 0.7 to 0.75");
}

#[test]
fn what_contradicts_or_repeats_is_named() {
    let text = rule("r", "below = 60") + &trigger("above = 30");
    one(
        &text,
        8,
        "contradiction: it fires where the rule \"r\" holds",
    );
    let text = rule("r", "below = 5") + &rule("q", "above = 9");
    one(
        &text,
        8,
        "contradiction: it can't hold together with the rule \"r\"",
    );
    let text = rule("r", "below = 5") + &rule("q", "below = 9");
    one(
        &text,
        8,
        "redundant: the rule \"r\" bounds the same measure",
    );
}

#[test]
fn expressions_that_cant_see_are_named() {
    let with = |expr: &str, bound: &str| {
        format!("[[rule]]\nid = \"r\"\nwhat = \"w\"\nstage = \"s\"\nexpr = '{expr}'\n{bound}\n")
    };
    one(
        &with(
            r#"rate(${metric.all}{${canary},status=~"5.."}[5m]) / rate(${metric.all}{${canary}}[5m])"#,
            "below = 1",
        ),
        5,
        "between vectors",
    );
    one(
        &with("sum(rate(${metric.all}{${canary}}[45s]))", "below = 1"),
        5,
        "never sees two samples",
    );
    one(
        &with("max(nonsense{${canary}})", "below = 1"),
        5,
        "series nonsense is exposed by no target",
    );
    one(
        &with("max(${metric.lag})", "below = 1"),
        5,
        "the fleet's value",
    );
    one(
        &rule("r", "below = 1\nfor = \"20s\""),
        7,
        "shorter than the scrape interval",
    );
}

#[test]
fn seed_002_as_written_is_refused_with_a_remedy() {
    let text = "[[rule]]\nid = \"r\"\nwhat = \"w\"\nstage = \"s\"\nexpr = 'max(${metric.lag}{${canary}}) > 120 for 3m'\nequals = 0\n";
    one(text, 5, "the duration in the rule's own \"for\"");
}

#[test]
fn a_reference_to_nothing_is_an_error_with_the_nearest_name() {
    one(
        &rule("r", "below = 1").replace("metric.lag", "metric.lags"),
        5,
        "did you mean \"metric.lag\"?",
    );
    one(
        &rule("r", "below = 1").replace("stage = \"s\"", "stage = \"t\""),
        4,
        "unknown stage \"t\"",
    );
    one(
        &trigger("above = 1\ngrace = \"5m\""),
        8,
        "a critical trigger has no grace",
    );
    one(&rule("r", "between = [2, 1]"), 6, "holds for no number");
    one(&rule("r", ""), 1, "no operator");
}

#[test]
fn a_step_is_held_to_rules_that_one_look_can_show() {
    let step = "[[rollback.step]]\nid = \"again\"\nwhat = \"a\"\nverify = { rules = [\"r\"], within = \"1m\" }\n";
    let bare = |how: &str| format!("[[rule]]\nid = \"r\"\nwhat = \"w\"\n{how}\n");
    assert_eq!(lints(&(step.to_owned() + &rule("r", "below = 5"))), []);
    for other in [
        rule("r", "below = 5\nbaseline = \"accepted\""),
        bare("missing = \"nobody measures it\""),
        bare("all_of = [\"back\"]"),
        bare("log = \"errors\"\nequals = 0"),
    ] {
        let found = lints(&(step.to_owned() + &other));
        let says = "can't be held to the rule \"r\"";
        let own = |(line, words): &(usize, String)| *line == 4 && words.contains(says);
        assert!(found.iter().any(own), "{other}: {found:#?}");
    }
}

#[test]
fn an_accept_that_silences_nothing_is_a_lint() {
    let found = lints(&rule("r", "below = 1\naccept = \"x\""));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("accept silences nothing"), "{found:?}");
}
