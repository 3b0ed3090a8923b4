//! What the gate must not judge too kindly: gaps, windows that end early, items named twice, bounds of stages and
//! roll-backs that nothing shows.

use crate::gate::{RELEASE, decide, decide_with, flat, item, parsed, run, staged};
use firedrill_plan::{Known, Policy, Waiver, parse_policy};
use firedrill_verdict::{Around, GateOutcome, GateRun, Lack, Outcome, Point};
use serde_json::{Value, json};

const X: &str = "promql:${metric.x}";

fn policy(text: &str) -> Policy {
    parsed(&format!("{RELEASE}{text}"))
}

fn rule(more: &str) -> Policy {
    policy(&format!(
        "[[stage]]\nid = \"s\"\nwhat = \"s\"\nhold = \"5m\"\n\
         [[rule]]\nid = \"r\"\nwhat = \"r\"\nstage = \"s\"\nexpr = '${{metric.x}}'\n{more}\n"
    ))
}

fn with_gap(before: &[f64], missing: usize, after: &[f64]) -> Vec<Option<Value>> {
    let some = |all: &[f64]| all.iter().map(|v| Some(json!(v))).collect::<Vec<_>>();
    let mut values = flat(1.0, 40);
    values.extend(some(before));
    values.extend(vec![None; missing]);
    values.extend(some(after));
    values.extend(flat(1.0, 40));
    values
}

#[test]
fn a_gap_in_what_must_last_hides_no_breach() {
    let at = |policy: &Policy, id: &str, values: &[Option<Value>]| {
        item(&decide(policy, &[staged("s", &[(X, values)])]), id).0
    };
    let rule = rule("below = 5\nfor = \"1m\"");
    let trigger = policy(
        "[[stage]]\nid = \"s\"\nwhat = \"s\"\n[[trigger]]\nid = \"t\"\nwhat = \"t\"\nclass = \"critical\"\nstage = \"s\"\n\
         expr = '${metric.x}'\nat_least = 5\nfor = \"1m\"\nact = \"ask\"\n",
    );
    for (policy, id) in [(&rule, "r@s"), (&trigger, "trigger t@s")] {
        // 30 s before the gap, 30 s after it: whether it lasted a minute is not known.
        let open = with_gap(&[6.0; 3], 1, &[6.0; 3]);
        assert_eq!(at(policy, id, &open), Outcome::Inconclusive, "{id}");
        // Too short even if the gap is counted in, or over before it.
        let short = with_gap(&[6.0], 1, &[6.0]);
        assert_eq!(at(policy, id, &short), Outcome::Pass, "{id}");
        let over = with_gap(&[6.0, 6.0, 1.0], 1, &[6.0, 6.0]);
        assert_eq!(at(policy, id, &over), Outcome::Pass, "{id}");
    }
}

#[test]
fn due_values_that_are_not_there_at_all_are_a_gap_too() {
    let policy = rule("below = 5\nfor = \"1m\"");
    let mut run = staged("s", &[(X, &flat(1.0, 81))]);
    let key = (X.to_owned(), "value".to_owned());
    let points = run.recorded.series.get_mut(&key).expect("it was recorded");
    for point in &mut points[38..42] {
        point.value = Some(json!(6.0));
    }
    // Two breaches with two minutes of nothing between them were not seen to last.
    points.drain(39..41);
    for point in &mut points[39..] {
        point.at += 120_000_000_000;
    }
    run.verdict.run.duration_ms += 120_000;
    let decision = decide(&policy, &[run]);
    assert_eq!(item(&decision, "r@s").0, Outcome::Inconclusive);
}

#[test]
fn a_series_that_ends_before_its_stage_does_is_no_evidence_of_the_rest() {
    let policy = rule("below = 5");
    let mut run = staged("s", &[(X, &flat(1.0, 41))]);
    assert_eq!(
        item(&decide(&policy, std::slice::from_ref(&run)), "r@s").0,
        Outcome::Pass
    );
    run.verdict.run.duration_ms *= 2;
    let (verdict, words) = item(&decide(&policy, &[run]), "r@s");
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("a gap of"), "{words}");
}

#[test]
fn a_stage_must_have_been_watched_as_much_as_it_says() {
    let at = |coverage: &str, missing: usize| {
        let policy = policy(&format!(
            "[[stage]]\nid = \"s\"\nwhat = \"s\"\nhold = \"5m\"\n{coverage}\n\
             [[rule]]\nid = \"r\"\nwhat = \"r\"\nstage = \"s\"\nexpr = '${{metric.x}}'\nbelow = 5\n"
        ));
        let mut values = flat(1.0, 101);
        for n in 0..missing {
            values[10 + 20 * n] = None;
        }
        item(&decide(&policy, &[staged("s", &[(X, &values)])]), "stage s")
    };
    assert_eq!(at("coverage = 0.99", 0).0, Outcome::Pass);
    assert_eq!(at("coverage = 0.99", 1).0, Outcome::Pass);
    let (verdict, words) = at("coverage = 0.99", 3);
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("97 %") && words.contains("99 %"), "{words}");
    assert_eq!(at("", 3).0, Outcome::Pass);
}

/// A run of half an hour that was to ask each 15 s, and asked at these seconds.
fn asked_at(seconds: &[u64]) -> GateRun {
    let mut run = staged("s", &[]);
    run.verdict.run.duration_ms = 1_800_000;
    run.recorded.every = Some(15_000_000_000);
    let points = seconds.iter().map(|second| Point {
        at: second * 1_000_000_000,
        value: Some(json!(1.0)),
    });
    let key = (X.to_owned(), "value".to_owned());
    run.recorded.series.insert(key, points.collect());
    run
}

#[test]
fn a_watch_that_stalls_or_hardly_asks_shows_little() {
    let policy = rule("below = 5");
    let at = |run: GateRun| {
        let decision = decide(&policy, &[run]);
        let (rule, words) = item(&decision, "r@s");
        assert_eq!(rule != Outcome::Pass, words.contains("a gap"), "{words}");
        (rule, item(&decision, "stage s").0)
    };
    let steady: Vec<u64> = (0..=120).map(|n| n * 15).collect();
    assert_eq!(at(asked_at(&steady)), (Outcome::Pass, Outcome::Pass));
    let seldom: Vec<u64> = (0..=10).map(|n| n * 180).collect();
    let cases: [&[u64]; 3] = [&[0, 15, 1800], &seldom, &[0]];
    let open = (Outcome::Inconclusive, Outcome::Inconclusive);
    for seconds in cases {
        assert_eq!(at(asked_at(seconds)), open, "{seconds:?}");
    }
    // One value says nothing of half an hour, however often was to be asked.
    let mut once = asked_at(&[0]);
    once.recorded.every = None;
    assert_eq!(at(once), open);
}

#[test]
fn steps_are_no_series_with_gaps() {
    let policy = policy(
        "[[stage]]\nid = \"s\"\nwhat = \"s\"\n[[rule]]\nid = \"r\"\nwhat = \"r\"\nstage = \"s\"\n\
         figure = \"series.largest_gap_scrapes\"\nat_most = 2\n",
    );
    let at = |seconds: &[u64]| {
        let mut run = asked_at(seconds);
        let step = stepped("s", &[("up", &[(0, true)])]);
        run.recorded.series.extend(step.recorded.series);
        item(&decide(&policy, &[run]), "r@s").0
    };
    let steady: Vec<u64> = (0..=120).map(|n| n * 15).collect();
    assert_eq!(at(&steady), Outcome::Pass);
    assert_eq!(at(&[0, 15, 1800]), Outcome::Fail);
}

#[test]
fn a_stage_is_held_and_watched_in_the_same_run() {
    let policy = rule("below = 5");
    let short = staged("s", &[(X, &flat(1.0, 9))]);
    let blind = staged("s", &[]);
    let whole = staged("s", &[(X, &flat(1.0, 41))]);
    let at = |runs: &[&GateRun]| {
        let runs: Vec<GateRun> = runs.iter().copied().cloned().collect();
        item(&decide(&policy, &runs), "stage s")
    };
    let (verdict, words) = at(&[&short, &blind]);
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("watched 0 %"), "{words}");
    assert_eq!(at(&[&short, &blind, &whole]).0, Outcome::Pass);
}

#[test]
fn an_item_named_twice_counts_once() {
    let rules = "[[rule]]\nid = \"a\"\nwhat = \"a\"\nfigure = \"load.sent\"\nabove = 0\n";
    for text in [
        format!("{rules}[[group]]\nid = \"g\"\nwhat = \"g\"\nneed = 2\nof = [\"a\", \"a\"]\n"),
        format!("{rules}[[rule]]\nid = \"all\"\nwhat = \"all\"\nall_of = [\"a\", \"a\"]\n"),
    ] {
        let text = format!("{RELEASE}{text}");
        let refused = parse_policy("p.toml", &text, &Known::default());
        let why = refused.expect_err("it is refused").to_string();
        assert!(why.contains("p.toml:") && why.contains("\"a\""), "{why}");
    }
}

#[test]
fn what_holds_if_others_do_needs_each_of_them() {
    let policy = policy(
        "[[stage]]\nid = \"s\"\nwhat = \"s\"\n[[stage]]\nid = \"later\"\nwhat = \"l\"\n\
         [[rule]]\nid = \"a\"\nwhat = \"a\"\nfigure = \"load.sent\"\nabove = 0\n\
         [[rule]]\nid = \"b\"\nwhat = \"b\"\nstage = \"later\"\nfigure = \"load.sent\"\nabove = 0\n\
         [[rule]]\nid = \"all\"\nwhat = \"all\"\nall_of = [\"a\", \"b\"]\n",
    );
    let mut run = staged("s", &[]);
    run.verdict.load.sent = 10;
    let around = Around {
        stage: Some("s".to_owned()),
        ..Around::default()
    };
    let (verdict, words) = item(&decide_with(&policy, &[run], &around), "all");
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains('b'), "{words}");
}

#[test]
fn a_stage_that_was_held_too_long_is_none() {
    let policy = policy("[[stage]]\nid = \"s\"\nwhat = \"s\"\nhold = \"1h\"\nhold_max = \"2h\"\n");
    let at = |minutes: &[u64]| {
        let run = |m: &u64| {
            let mut run = staged("s", &[]);
            run.verdict.run.duration_ms = m * 60_000;
            run
        };
        let runs: Vec<GateRun> = minutes.iter().map(run).collect();
        item(&decide(&policy, &runs), "stage s")
    };
    assert_eq!(at(&[120]).0, Outcome::Pass);
    assert_eq!(at(&[180, 90]).0, Outcome::Pass);
    let (verdict, words) = at(&[180]);
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("at most 7200 s"), "{words}");
}

/// A run in which steps were recorded, each at its second, as verified or not.
fn stepped(profile: &str, steps: &[(&str, &[(u64, bool)])]) -> GateRun {
    let mut run = staged(profile, &[]);
    for (step, seen) in steps {
        let points = seen.iter().map(|(at, verified)| Point {
            at: at * 1_000_000_000,
            value: Some(json!(verified)),
        });
        let key = (format!("step:{step}"), "verified".to_owned());
        run.recorded.series.insert(key, points.collect());
    }
    run
}

const STEP: &str = "verify = { run = [\"true\"], within = \"1s\" }\n";

#[test]
fn a_stage_must_have_been_ready_in_time() {
    let policy = policy(&format!(
        "[[stage]]\nid = \"s\"\nwhat = \"s\"\nready_within = \"60s\"\n\
         [[stage.enter]]\nid = \"up\"\nwhat = \"up\"\nrun = [\"true\"]\n{STEP}"
    ));
    let at = |second: u64| {
        let run = stepped("s", &[("up", &[(0, false), (second, true)])]);
        item(&decide(&policy, &[run]), "stage s").0
    };
    assert_eq!(at(60), Outcome::Pass);
    assert_eq!(at(61), Outcome::Fail);
    let without = parsed(&format!(
        "{RELEASE}[[stage]]\nid = \"s\"\nwhat = \"s\"\nready_within = \"60s\"\n"
    ));
    let (verdict, words) = item(&decide(&without, &[staged("s", &[])]), "stage s");
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("ready"), "{words}");
}

fn rollback(more: &str, verify: &str) -> Policy {
    parsed(&format!(
        "roles = [\"lead\", \"deployer\"]{RELEASE}[[stage]]\nid = \"s\"\nwhat = \"s\"\n\
         [[trigger]]\nid = \"pull\"\nwhat = \"p\"\nclass = \"critical\"\nstage = \"s\"\nmanual = \"lead\"\n\
         [[rollback]]\nid = \"b\"\nwhat = \"b\"\non = \"any\"\nrehearsed_within = \"24h\"\n{more}\n\
         [[rollback.step]]\nid = \"u\"\nwhat = \"u\"\nrun = [\"true\"]\n{STEP}\
         [[rollback.step]]\nid = \"v\"\nwhat = \"v\"\nrun = [\"true\"]\nverify = {{ {verify}, within = \"1s\" }}\n"
    ))
}

fn roles(mut policy: Policy, role: Option<&str>) -> Policy {
    policy.rollbacks[0].role = role.map(str::to_owned);
    policy
}

#[test]
fn a_rollback_must_have_been_done_in_time() {
    let policy = rollback("positions = \"keep\"\nwithin = \"2m\"", "run = [\"true\"]");
    let at = |u: &[(u64, bool)], v: &[(u64, bool)]| {
        item(
            &decide(&policy, &[stepped("s", &[("u", u), ("v", v)])]),
            "b",
        )
    };
    assert_eq!(
        at(&[(10, false), (20, true)], &[(130, true)]).0,
        Outcome::Pass
    );
    assert_eq!(
        at(&[(10, false), (20, true)], &[(131, true)]).0,
        Outcome::Fail
    );
    // When the first step was begun is not recorded: that it was too late can be seen, that it wasn't can't.
    assert_eq!(at(&[(10, true)], &[(131, true)]).0, Outcome::Fail);
    let (verdict, words) = at(&[(10, true)], &[(100, true)]);
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("when it began"), "{words}");
}

/// The run in which a person pulled the trigger, with the role that was recorded.
fn pulled(role: Option<&str>) -> GateRun {
    let mut run = stepped(
        "s",
        &[("u", &[(10, false), (20, true)]), ("v", &[(30, true)])],
    );
    let at = |text: &str| {
        vec![Point {
            at: 5_000_000_000,
            value: Some(json!(text)),
        }]
    };
    let id = "trigger:pull".to_owned();
    run.recorded
        .series
        .insert((id.clone(), "reason".to_owned()), at("drill"));
    if let Some(role) = role {
        run.recorded
            .series
            .insert((id, "role".to_owned()), at(role));
    }
    run
}

#[test]
fn a_rollback_by_hand_is_started_by_its_role() {
    let policy = rollback("positions = \"keep\"", "run = [\"true\"]");
    let at = |role: Option<&str>, recorded: Option<&str>| {
        item(
            &decide(&roles(policy.clone(), role), &[pulled(recorded)]),
            "b",
        )
    };
    assert_eq!(at(None, None).0, Outcome::Pass);
    assert_eq!(at(Some("lead"), Some("lead")).0, Outcome::Pass);
    assert_eq!(at(Some("lead"), Some("deployer")).0, Outcome::Fail);
    let (verdict, words) = at(Some("lead"), None);
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("lead"), "{words}");
}

#[test]
fn positions_are_closed_where_a_step_shows_it() {
    let run = || {
        stepped(
            "s",
            &[("u", &[(10, false), (20, true)]), ("v", &[(30, true)])],
        )
    };
    let at = |positions: &str, verify: &str| {
        let policy = rollback(&format!("positions = \"{positions}\""), verify);
        item(&decide(&policy, &[run()]), "b")
    };
    assert_eq!(at("keep", "run = [\"true\"]").0, Outcome::Pass);
    assert_eq!(
        at("close", "expr = '${metric.x}', equals = 0").0,
        Outcome::Pass
    );
    let (verdict, words) = at("close", "run = [\"true\"]");
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("positions"), "{words}");
}

#[test]
fn nothing_against_nothing_is_no_ratio() {
    let policy = policy(
        "[[stage]]\nid = \"before\"\nwhat = \"b\"\n[[stage]]\nid = \"s\"\nwhat = \"s\"\n\
         [[rule]]\nid = \"r\"\nwhat = \"r\"\nstage = \"s\"\nexpr = '${metric.x}'\nat_most = 1.5\nbaseline = \"before\"\n",
    );
    let at = |before: f64, now: f64| {
        let runs = [
            staged("before", &[(X, &flat(before, 20))]),
            staged("s", &[(X, &flat(now, 20))]),
        ];
        item(&decide(&policy, &runs), "r@s")
    };
    assert_eq!(at(2.0, 3.0).0, Outcome::Pass);
    assert_eq!(at(2.0, 0.0).0, Outcome::Pass);
    assert_eq!(at(0.0, 1.0).0, Outcome::Fail);
    let (verdict, words) = at(0.0, 0.0);
    assert_eq!(verdict, Outcome::Inconclusive);
    assert!(words.contains("no ratio"), "{words}");
}

#[test]
fn evidence_that_is_not_whole_blocks_and_no_person_can_waive_it() {
    let policy =
        policy("[[rule]]\nid = \"r\"\nwhat = \"r\"\nfigure = \"load.sent\"\nat_least = 0\n");
    let mut sent = run();
    sent.verdict.load.sent = 10;
    let runs = [sent];
    assert_eq!(decide(&policy, &runs).outcome, GateOutcome::Go);
    let mut around = Around {
        lacks: vec![Lack {
            of: "reports/gates/x/decision.json".to_owned(),
            why: "it can't be read".to_owned(),
        }],
        ..Around::default()
    };
    let waived = |item: &str| Waiver {
        item: item.to_owned(),
        policy: "p".to_owned(),
        reason: "known".to_owned(),
        approver: "N".to_owned(),
        expires: "2026-11-22T00:00:00Z".to_owned(),
    };
    around.waivers = vec![waived("evidence reports/gates/x/decision.json")];
    let decision = decide_with(&policy, &runs, &around);
    assert_eq!(decision.outcome, GateOutcome::Inconclusive);
    assert!(
        decision.reasons[0].contains("decision.json"),
        "{:?}",
        decision.reasons
    );
}
