//! Hand-built journals of a watch: what is judged of a live system, and of what was done to it.

use std::ops::Range;

use firedrill_journal::*;
use firedrill_plan::{Known, Policy, VerifyBy, parse_policy, promql_probe};
use firedrill_verdict::{Armed, Outcome, Recorded, Verdict, judge, unmet};
use serde_json::{Value, json};

const POLICY: &str = r#"
title = "P"
class = "release"
no_target = "test"
[metrics]
x = "x"
[canary]
selector = 'track="canary"'
every = "1s"
scrape = "1s"
[[stage]]
id = "s1"
what = "1 %"
hold = "10s"
[[rule]]
id = "low"
what = "low"
stage = "s1"
expr = 'sum(${metric.x}{${canary}})'
below = 0.5
for = "1m"
[[rule]]
id = "logs"
what = "quiet"
stage = "s1"
log = "errors"
equals = 0
[[trigger]]
id = "high"
what = "high"
class = "critical"
stage = "s1"
expr = 'sum(${metric.x}{${canary}})'
above = 0.9
for = "2s"
[[rollback]]
id = "back"
what = "back"
on = "any"
positions = "keep"
within = "20s"
[[rollback.step]]
id = "one"
what = "one"
run = ["undo"]
verify = { expr = 'sum(${metric.x})', equals = 0, within = "5s" }
"#;

const QUERY: &str = r#"sum(x{track="canary"})"#;
const S: u64 = 1_000_000_000;

/// A watch from 5 s into the run: a value a second, `None` where nothing was observed.
struct Watch {
    policy: String,
    values: Vec<Option<f64>>,
    logs: bool,
    /// Seconds at which nothing was asked.
    left_out: Range<u64>,
    every_ms: Option<u64>,
    facts: Vec<(u64, &'static str, Value)>,
}

impl Watch {
    fn of(values: &[Option<f64>]) -> Self {
        Self {
            policy: POLICY.to_owned(),
            values: values.to_vec(),
            logs: true,
            left_out: 0..0,
            every_ms: None,
            facts: Vec::new(),
        }
    }

    fn fact(mut self, at_s: u64, what: &'static str, keys: Value) -> Self {
        self.facts.push((at_s * S, what, keys));
        self
    }

    /// The trigger as the harness saw it, and the roll-back with what its step's command and check came to.
    fn rolled_back(self, exit: Value, seen: Value) -> Self {
        self.fact(12, "trigger", json!({"trigger": "high"}))
            .fact(12, "rollback", json!({"rollback": "back", "trigger": "high", "execute": true}))
            .fact(
                14,
                "step",
                json!({"step": "one", "of": "rollback:back", "began_ns": 12 * S, "exit": exit, "seen": seen}),
            )
    }

    fn header(&self) -> Header {
        Header {
            schema: SCHEMA,
            run: RunInfo {
                id: "r".into(),
                kind: RunKind::Observe,
                profile: "s1".into(),
                seed: 0,
                target: "t".into(),
                runtime: "live".into(),
                argv: Vec::new(),
                started_at: jiff::Timestamp::UNIX_EPOCH,
            },
            documents: vec![Document {
                role: DocumentRole::Policy,
                path: "p.toml".into(),
                sha256: sha256_hex(self.policy.as_bytes()),
                text: self.policy.clone(),
            }],
            subject: Subject {
                name: "t".into(),
                digest: "d".into(),
                version: "v".into(),
                git_revision: None,
                dirty: None,
                defect: None,
            },
            images: Default::default(),
            versions: Default::default(),
            episodes: Vec::new(),
        }
    }

    fn sample(at: u64, probe: &str, value: Option<f64>) -> Sample {
        Sample {
            probe: probe.to_owned(),
            due_ns: at,
            took_ns: 1,
            result: match value {
                Some(value) => SampleResult::Value([("value".to_owned(), json!(value))].into()),
                None => SampleResult::Missing("no series".to_owned()),
            },
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let probe = promql_probe(QUERY);
        let values = self.values.iter().zip(5_u64..);
        let mut all: Vec<Sample> = values
            .map(|(value, s)| Self::sample(s * S, &probe, *value))
            .collect();
        if self.logs {
            let log = |s: u64| Self::sample(s * S, "log:errors", Some(0.0));
            all.extend((5..5 + self.values.len() as u64).map(log));
        }
        all.retain(|sample| !self.left_out.contains(&(sample.due_ns / S)));
        all
    }

    fn judge(&self) -> Verdict {
        judge(&self.journal())
    }

    fn journal(&self) -> Journal {
        let fact = |at_ns: u64, what: &str, keys: &Value| {
            let keys = keys.as_object().expect("keys").clone();
            Event::Fact(Fact {
                source: FactSource::Act,
                what: what.to_owned(),
                at_ns,
                keys: keys.into_iter().collect(),
            })
        };
        let begun = json!({
            "stage": "s1",
            "selector": "track=\"canary\"",
            "execute": true,
            "every_ms": self.every_ms,
        });
        let entered = Edge {
            episode: 0,
            phase: "s1".into(),
            fault: None,
            kind: EdgeKind::Proven,
            at_ns: 5 * S,
            felt: None,
            proof: None,
        };
        let mut events = vec![
            Event::Header(Box::new(self.header())),
            fact(0, "observe", &begun),
            Event::Edge(entered),
        ];
        events.extend(self.samples().into_iter().map(Event::Sample));
        events.extend(
            self.facts
                .iter()
                .map(|(at, what, keys)| fact(*at, what, keys)),
        );
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = Writer::create(&folder.path().join(PLAIN)).expect("created");
        let put = |writer: &mut Writer, event: Event| {
            let at = jiff::Timestamp::UNIX_EPOCH;
            writer.append(0, at, event).expect("written");
        };
        events.into_iter().for_each(|e| put(&mut writer, e));
        let end = End {
            reason: EndReason::Completed,
            detail: None,
            at_ns: 60 * S,
            counts: writer.counts().clone(),
        };
        put(&mut writer, Event::End(end));
        writer.seal().expect("sealed");
        read_run(folder.path()).expect("readable")
    }
}

fn parsed(text: &str) -> Policy {
    let parsed = parse_policy("p.toml", text, &Known::default());
    parsed.expect("it is valid").value
}

fn calm() -> Vec<Option<f64>> {
    vec![Some(0.1); 11]
}

/// Above the trigger's bound from the fifth value on: 9 s into the run.
fn rising() -> Vec<Option<f64>> {
    let mut values = calm();
    values.truncate(8);
    values[4..].fill(Some(1.0));
    values
}

#[test]
fn a_calm_stage_passes_over_its_hold_only() {
    let verdict = Watch::of(&calm()).judge();
    assert_eq!(verdict.verdict, Outcome::Pass, "{:?}", verdict.reasons);
    let seen = verdict.observe.as_ref().expect("it was watched");
    assert_eq!(
        (seen.began_ms, seen.watched_ms, seen.rounds),
        (5_000.0, 10_000.0, 11)
    );
    let short = Watch::of(&calm()[..9]).judge();
    assert_eq!(short.verdict, Outcome::Inconclusive);
    assert!(
        short.reasons[0].starts_with("watched@s1: held 8"),
        "{:?}",
        short.reasons
    );
}

#[test]
fn what_was_not_seen_is_inconclusive_by_name() {
    let mut gap = calm();
    gap[3..7].fill(None);
    for values in [gap, vec![None; 11]] {
        let verdict = Watch::of(&values).judge();
        assert_eq!(verdict.verdict, Outcome::Inconclusive);
        for id in ["low@s1: ", "trigger high@s1: "] {
            assert!(
                verdict.reasons.iter().any(|r| r.starts_with(id)),
                "{:?}",
                verdict.reasons
            );
        }
    }
    let mut watch = Watch::of(&calm());
    watch.logs = false;
    let verdict = watch.judge();
    assert_eq!(
        verdict.reasons,
        ["logs@s1: no log was followed: give --logs FILE"]
    );
    let nothing = Watch::of(&[]).judge();
    assert_eq!(nothing.verdict, Outcome::Inconclusive);
}

#[test]
fn a_trigger_is_due_after_its_time_and_a_verified_way_back_does_not_make_it_good() {
    let verdict = Watch::of(&rising())
        .rolled_back(json!(0), json!(0.0))
        .judge();
    assert_eq!(verdict.verdict, Outcome::Fail);
    assert!(
        verdict.reasons[0].starts_with("trigger high@s1: fired"),
        "{:?}",
        verdict.reasons
    );
    let seen = verdict.observe.expect("it was watched");
    let shot = &seen.triggers[0];
    assert_eq!(
        (shot.due_ms, shot.seen_ms, shot.late_ms),
        (Some(11_000.0), Some(12_000.0), Some(1_000.0))
    );
    let back = &seen.rollbacks[0];
    assert_eq!((back.verdict, back.took_ms), (Outcome::Pass, Some(2_000.0)));
}

#[test]
fn a_way_back_that_fails_or_does_not_help_is_said_first() {
    let cases = [
        (json!(1), json!(null), "step one: its command ended with 1"),
        (
            json!(null),
            json!(null),
            "step one: its command did not end",
        ),
        (json!(0), json!(0.3), "step one: its check saw 0.300"),
        (json!(0), json!(null), "step one: its check saw nothing"),
    ];
    for (exit, seen, why) in cases {
        let verdict = Watch::of(&rising()).rolled_back(exit, seen).judge();
        assert_eq!(verdict.verdict, Outcome::Fail);
        assert_eq!(verdict.reasons[0], format!("roll-back back FAILED: {why}"));
    }
    let none = Watch::of(&rising())
        .fact(12, "trigger", json!({"trigger": "high"}))
        .judge();
    let begun = "roll-back back FAILED: it was not begun".to_owned();
    assert!(none.reasons.contains(&begun), "{:?}", none.reasons);
    let blind = Watch::of(&rising()).judge();
    let unseen = "trigger high: the harness that watched did not see it".to_owned();
    assert!(blind.reasons.contains(&unseen), "{:?}", blind.reasons);
}

#[test]
fn too_late_is_a_failed_way_back() {
    let mut watch = Watch::of(&rising()).rolled_back(json!(0), json!(0.0));
    watch.facts[2].0 = 40 * S;
    let verdict = watch.judge();
    assert_eq!(verdict.verdict, Outcome::Fail);
    let first = &verdict.reasons[0];
    assert!(
        first.contains("FAILED: verified after 28") && first.contains("20"),
        "{first}"
    );
}

#[test]
fn what_was_acted_on_must_be_in_the_record() {
    let verdict = Watch::of(&calm())
        .fact(12, "trigger", json!({"trigger": "high"}))
        .judge();
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    assert!(
        verdict.reasons[0].contains("the record doesn't show it"),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn live_and_afterwards_it_is_the_same_trigger() {
    let watch = Watch::of(&rising());
    let policy = parsed(POLICY);
    let stage = policy.stage("s1").expect("it is there");
    let names = Default::default();
    let mut armed = Armed::new(&watch.header(), &policy, "", stage, &names, 5 * S);
    let mut fired = Vec::new();
    for sample in watch.samples() {
        let due = sample.due_ns;
        fired.extend(armed.see(&[sample]).into_iter().map(|shot| (due, shot.id)));
    }
    assert_eq!(fired, [(11 * S, "high".to_owned())], "once, and no sooner");
}

#[test]
fn a_policy_that_is_not_the_one_that_was_recorded_judges_nothing() {
    let watch = Watch::of(&calm());
    let mut journal = watch.journal();
    journal.header.documents[0].text = POLICY.replace("below = 0.5", "below = 500");
    let verdict = judge(&journal);
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    assert!(
        verdict.reasons[0].contains("its digest"),
        "{:?}",
        verdict.reasons
    );
    let mut other = Watch::of(&calm());
    other.policy = "title = \"other\"\nclass = \"smoke\"\n".to_owned();
    let verdict = other.judge();
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    assert!(
        verdict.reasons[0].contains("no stage"),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn a_watch_that_stalled_has_a_gap_though_it_left_the_due_times_out() {
    let mut watch = Watch::of(&calm());
    watch.left_out = 7..15;
    let verdict = watch.judge();
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    for id in ["low@s1: a gap of", "trigger high@s1: a gap of"] {
        assert!(
            verdict.reasons.iter().any(|r| r.starts_with(id)),
            "{:?}",
            verdict.reasons
        );
    }
}

#[test]
fn how_often_was_asked_is_told_by_the_journal_or_else_by_the_policy() {
    let policy = parsed(POLICY);
    let every = |told: Option<u64>| {
        let mut watch = Watch::of(&calm());
        watch.every_ms = told;
        Recorded::of(&watch.journal(), &policy).every
    };
    assert_eq!(every(None), Some(S));
    assert_eq!(every(Some(500)), Some(S / 2));
}

/// A policy with an import, which a watch can't see, and a group of that and the rule on the series.
fn grouped(policy: &str, need: u64) -> String {
    format!(
        "{policy}[[import]]\nid = \"tests\"\nwhat = \"t\"\nstage = \"s1\"\njunit = true\n\
         [[group]]\nid = \"both\"\nwhat = \"b\"\nneed = {need}\nof = [\"low\", \"tests\"]\n"
    )
}

#[test]
fn a_group_that_a_watch_sees_in_part_hides_nothing_that_keeps_it_from_holding() {
    let at = |need: u64, values: &[Option<f64>]| {
        let mut watch = Watch::of(values);
        watch.policy = grouped(POLICY, need);
        let verdict = watch.judge();
        let left = verdict.observe.expect("it was watched").left_to_gate;
        let mut reasons = verdict.reasons.into_iter();
        let why = reasons.find(|r| r.starts_with("both: "));
        let left = left.contains(&"both".to_owned());
        (verdict.verdict, left, why.unwrap_or_default())
    };
    // Too high for over a minute, and not so high that the trigger fires.
    let broken = vec![Some(0.7); 70];
    let (verdict, left, why) = at(2, &broken);
    assert_eq!((verdict, left), (Outcome::Fail, false), "{why}");
    assert!(why.contains("not met: low"), "{why}");
    // One is enough, and the gate may know that one.
    assert_eq!(at(1, &broken), (Outcome::Pass, true, String::new()));
    assert_eq!(at(2, &calm()), (Outcome::Pass, true, String::new()));
    let mut gap = calm();
    gap[3..7].fill(None);
    let (verdict, left, why) = at(2, &gap);
    assert_eq!((verdict, left), (Outcome::Inconclusive, false), "{why}");
    assert!(why.contains("without data: low"), "{why}");
}

#[test]
fn a_watch_of_nothing_but_members_of_such_a_group_shows_nothing() {
    let (low, _) = POLICY
        .split_once("[[rule]]\nid = \"logs\"")
        .expect("the rule comes first");
    let mut watch = Watch::of(&calm());
    watch.policy = low.to_owned();
    assert_eq!(watch.judge().verdict, Outcome::Pass);
    watch.policy = grouped(low, 1);
    let verdict = watch.judge();
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    assert!(
        verdict.reasons[0].contains("says nothing of the stage s1"),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn a_step_is_verified_by_rules_with_a_bound_only() {
    let by_expr = "expr = 'sum(${metric.x})', equals = 0";
    let policy = parsed(&POLICY.replace(by_expr, "rules = [\"low\"]"));
    let seen = json!({"low": {"value": 0.1}});
    let why = |policy: &Policy| unmet(policy, &policy.rollbacks[0].steps[0], Some(0), &seen);
    assert_eq!(why(&policy), None);
    let spoil: [fn(&mut Policy) -> &'static str; 4] = [
        |p| {
            p.rules[0].criterion.is = None;
            "the rule low has no bound"
        },
        |p| {
            p.rules[0].criterion.baseline = Some("s1".to_owned());
            "the rule low has no bound"
        },
        |p| {
            p.rules.clear();
            "there is no rule low"
        },
        |p| {
            p.rollbacks[0].steps[0].verify.how = VerifyBy::Rules(Vec::new());
            "its check names no rule"
        },
    ];
    for spoil in spoil {
        let mut bad = policy.clone();
        let says = spoil(&mut bad);
        let why = why(&bad).unwrap_or_default();
        assert!(why.starts_with(says), "{says}: {why}");
    }
}
