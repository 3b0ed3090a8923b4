//! What must never happen in a soak, judged from what was recorded.

use firedrill_journal::{
    Edge, EdgeKind, Event, FactSource, FaultRef, Part, RunKind, Sample, StreamState, act,
};
use firedrill_verdict::{Outcome, Verdict};
use serde_json::json;

use crate::soak::{page, recorded};
use crate::support::{Run, tag};

const MS: u64 = 1_000_000;
/// The drill of the recorded soak begins then, milliseconds.
const DRILL: u64 = 720_000;

fn soak() -> Run {
    recorded(|_| Some(400.0))
}

fn judged(mut run: Run) -> Verdict {
    run.events.sort_by_key(|(at, _)| *at);
    run.judge()
}

fn with(at: u64, source: FactSource, what: &str, keys: serde_json::Value) -> Verdict {
    let mut run = soak();
    run.fact(at, source, what, keys);
    judged(run)
}

fn reason(verdict: &Verdict, rule: &str) -> Option<String> {
    let mut reasons = verdict.reasons.iter();
    reasons.find(|r| r.starts_with(rule)).cloned()
}

fn fault(kind: EdgeKind, what: &str, at: u64) -> Event {
    let target = "worker".to_owned();
    Event::Edge(Edge {
        episode: 0,
        phase: "outage".to_owned(),
        fault: Some(FaultRef {
            index: 1,
            kind: what.to_owned(),
            target,
        }),
        kind,
        at_ns: at * MS,
        felt: None,
        proof: Some("seen".to_owned()),
    })
}

#[test]
fn the_recorded_soak_is_clean() {
    assert_eq!(judged(soak()).reasons, [""; 0]);
}

#[test]
fn a_death_counts_from_the_engines_facts_whether_anybody_looked_on_or_not() {
    let died = |at| {
        with(
            at,
            FactSource::Engine,
            "die",
            json!({ "service": "worker" }),
        )
    };
    let verdict = died(300_000);
    assert_eq!(verdict.verdict, Outcome::Fail);
    assert_eq!(
        reason(&verdict, "died").as_deref(),
        Some("died: worker ended, and nothing in force ends it")
    );
    // In a drill as well, where nothing ends it.
    assert!(reason(&died(DRILL + 1_500), "died").is_some());
    let oom = with(
        300_000,
        FactSource::Engine,
        "oom",
        json!({ "service": "worker" }),
    );
    assert_eq!(oom.verdict, Outcome::Fail);
    assert!(reason(&oom, "out-of-memory: worker").is_some());
}

#[test]
fn a_drill_is_judged_by_its_own_expectations() {
    let mut run = Run::healthy();
    run.header.run.kind = RunKind::Drill;
    run.fact(0, FactSource::Act, act::BEGINS, json!({ "elapsed_ms": 0 }));
    run.fact(10, FactSource::Engine, "die", json!({ "service": "tpsl" }));
    assert_eq!(reason(&judged(run), "died"), None);
}

#[test]
fn what_a_fault_ends_is_no_offence_while_it_is_in_force() {
    let run = |kind: &str, died: u64| {
        let mut run = soak();
        let from = DRILL + 1_200;
        run.events
            .push((from, fault(EdgeKind::Requested, kind, from)));
        let to = DRILL + 2_000;
        run.events.push((to, fault(EdgeKind::Healed, kind, to)));
        run.fact(
            died,
            FactSource::Engine,
            "die",
            json!({ "service": "worker" }),
        );
        // The engine's word comes later than the edge.
        run.events.sort_by_key(|(at, _)| *at);
        run.judge()
    };
    assert_eq!(reason(&run("kill", DRILL + 1_210), "died"), None);
    assert!(reason(&run("kill", DRILL + 2_100), "died").is_some());
    assert!(reason(&run("pause", DRILL + 1_210), "died").is_some());
}

#[test]
fn what_the_harness_ends_to_heal_is_not_the_targets_doing() {
    let mut run = soak();
    let at = DRILL + 2_500;
    for (at, state) in [(at, "begins"), (at + 400, "ended")] {
        let keys = json!({ "service": "redis", "state": state });
        run.fact(at, FactSource::Act, act::FORCED, keys);
    }
    run.fact(
        at + 100,
        FactSource::Engine,
        "die",
        json!({ "service": "redis" }),
    );
    assert_eq!(reason(&judged(run), "died"), None);
    let mut run = soak();
    run.fact(
        at + 100,
        FactSource::Engine,
        "die",
        json!({ "service": "redis" }),
    );
    assert!(reason(&judged(run), "died").is_some());
}

#[test]
fn an_intent_under_two_nonces_and_a_send_where_nothing_may_be_sent() {
    let sent = |at, nonce: u64, outcome: &str, first: bool| {
        let keys = json!({ "tx_hash": tag(7), "from": "0xf", "nonce": nonce, "intent": tag(3), "first_send": first, "outcome": outcome });
        with(at, FactSource::Chain, "submission", keys)
    };
    let twice = sent(DRILL + 4_000, 900, "accepted", false);
    assert_eq!(twice.verdict, Outcome::Fail);
    assert!(
        reason(&twice, "sent-twice").is_some(),
        "{:?}",
        twice.reasons
    );
    assert_eq!(
        reason(&sent(DRILL + 4_000, 3, "accepted", false), "sent-twice"),
        None,
        "a replacement"
    );
    assert_eq!(
        reason(&sent(DRILL + 4_000, 900, "refused", false), "sent-twice"),
        None,
        "it never went out"
    );
    // The drill says that nothing is sent first 500 ms after the outage was proven.
    let forbidden = sent(DRILL + 1_800, 3, "accepted", true);
    let why = reason(&forbidden, "sent-while-forbidden").unwrap_or_default();
    assert!(why.ends_with("something was: no first send"), "{why}");
    assert_eq!(
        reason(&sent(DRILL + 1_400, 3, "accepted", true), "sent-while"),
        None,
        "in the grace"
    );
    assert_eq!(
        reason(&sent(DRILL + 3_200, 3, "accepted", true), "sent-while"),
        None,
        "healed"
    );
}

#[test]
fn silence_of_the_engine_means_nothing_while_nobody_listens() {
    let mut run = soak();
    run.stream(300_000, "engine", StreamState::Gap, Some("it broke"));
    let verdict = judged(run);
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    assert!(
        reason(
            &verdict,
            "a service that ended could have gone unseen: the stream engine"
        )
        .is_some(),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn a_soak_whose_beginning_is_not_recorded_shows_no_silence() {
    let run = soak().edit(|e| !matches!(e, Event::Fact(f) if f.what == act::BEGINS));
    let verdict = judged(run);
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    let why = reason(&verdict, "a service that ended could have gone unseen: ");
    let why = why.unwrap_or_else(|| panic!("{:?}", verdict.reasons));
    assert!(why.ends_with("doesn't say when the soak began"), "{why}");
}

#[test]
fn what_the_harness_was_doing_when_it_died_disturbs_and_excuses() {
    let mut run = soak();
    let at = 299_500;
    let subject = run.header.subject.clone();
    run.events
        .push((at, fault(EdgeKind::Requested, "kill", at)));
    run.fact(
        at + 5,
        FactSource::Engine,
        "die",
        json!({ "service": "worker" }),
    );
    let part = Part {
        number: 2,
        from_ns: (at + 2_000) * MS,
        at_ns: (at + 9_000) * MS,
        lost: None,
        episode: 0,
        subject,
        argv: Vec::new(),
    };
    run.events.push((at + 9_000, Event::Part(Box::new(part))));
    for id in ["log:webhook", "log:worker", "log:tpsl", "chain", "engine"] {
        run.stream(at + 9_001, id, StreamState::Attached, None);
    }
    run.fact(
        at + 9_002,
        FactSource::Act,
        act::BEGINS,
        json!({ "elapsed_ms": at }),
    );
    let run = run.edit(|event| {
        // While the worker was down, its memory couldn't be read.
        if let Event::Sample(Sample { due_ns, result, .. }) = event
            && (at * MS..(at + 9_000) * MS).contains(due_ns)
        {
            *result = page(*due_ns / (1000 * MS), 950.0);
        }
        true
    });
    let verdict = judged(run);
    assert_eq!(reason(&verdict, "died"), None, "{:?}", verdict.reasons);
    assert_eq!(
        verdict.verdict,
        Outcome::Inconclusive,
        "{:?}",
        verdict.reasons
    );
    let soak = verdict.soak.expect("a section");
    assert_eq!(
        soak.watches[0].evidence, [0; 0],
        "{:?}",
        soak.watches[0].observed
    );
    assert_eq!(soak.disturbed.len(), 2, "{:?}", soak.disturbed);
}

#[test]
fn the_quiet_time_after_the_last_drill_is_judged() {
    let after = |end: bool| {
        let mut run = soak();
        for second in 726..800_u64 {
            let sample = Sample {
                probe: "watch:metrics:worker:/metrics".into(),
                due_ns: second * 1000 * MS,
                took_ns: 3 * MS,
                result: page(second, if second == 790 { 950.0 } else { 400.0 }),
            };
            run.events.push((second * 1000 + 3, Event::Sample(sample)));
        }
        if end {
            run.fact(780_000, FactSource::Act, act::ENDS, json!({}));
        }
        judged(run)
    };
    let verdict = after(false);
    assert_eq!(verdict.verdict, Outcome::Fail, "{:?}", verdict.reasons);
    assert!(
        reason(&verdict, "watch memory: 1 of ").is_some(),
        "{:?}",
        verdict.reasons
    );
    // What comes after the load's end is no part of the soak.
    let verdict = after(true);
    assert_eq!(verdict.reasons, [""; 0]);
    let length = verdict.soak.map(|s| s.duration_ms);
    assert_eq!(length, Some(780_000.0));
}
