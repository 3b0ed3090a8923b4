//! A soak whose harness died: its record went with its stack, and the chain's word on what was sent before stands.

use firedrill_journal::{Event, FactSource, Part};
use firedrill_verdict::{AuditCheck, Outcome};
use serde_json::json;

use crate::streamed::ROWS;
use crate::support::{DRILL, MS, Run, check, executed, tag};

/// The harness died after 7 s, and goes on with that episode 2 s later.
fn goes_on(run: &mut Run, episode: u32) {
    let part = Part {
        number: 2,
        from_ns: 7_000 * MS,
        at_ns: 9_000 * MS,
        lost: None,
        episode,
        subject: run.header.subject.clone(),
        argv: Vec::new(),
    };
    run.events.push((9_000, Event::Part(Box::new(part))));
    run.events.sort_by_key(|(at, _)| *at);
}

/// The healthy run up to its record, and the first moments of the part after it.
fn died(change: impl FnOnce(&mut Run)) -> AuditCheck {
    let mut run = Run::healthy().edit(|event| match event {
        Event::Stream(stream) => stream.id != "sql",
        Event::Fact(fact) => !matches!(fact.source, FactSource::Sql | FactSource::Metric),
        _ => true,
    });
    change(&mut run);
    goes_on(&mut run, 0);
    let verdict = run.judge();
    let checks = &verdict.audit.checks;
    let check = checks.iter().find(|c| c.id == "part-1");
    check.expect("the part before has a check").clone()
}

/// Keeps the signals that were executed.
fn executed_alone(run: &mut Run) {
    run.events.retain(|(_, event)| match event {
        Event::Op(op) => executed(op.id),
        _ => true,
    });
}

#[test]
fn what_the_chain_put_into_blocks_once_is_accounted_for() {
    let check = died(executed_alone);
    assert_eq!(check.verdict, Outcome::Pass, "{}", check.observed);
    assert!(check.samples > 20, "{}", check.samples);
}

#[test]
fn what_was_accepted_and_is_in_no_block_may_have_been_explained_by_the_record() {
    let check = died(|_| {});
    assert_eq!(check.verdict, Outcome::Inconclusive, "{}", check.observed);
    assert!(
        check.observed.contains("can't be told"),
        "{}",
        check.observed
    );
}

#[test]
fn a_part_without_a_signal_shows_nothing() {
    let check = died(|run| run.events.retain(|(_, e)| !matches!(e, Event::Op(_))));
    assert_eq!(
        (check.verdict, check.samples),
        (Outcome::Inconclusive, 0),
        "{}",
        check.observed
    );
}

#[test]
fn one_signal_that_went_out_under_two_nonces_fails_whatever_the_record_said() {
    let check = died(|run| {
        executed_alone(run);
        let again = json!({"tx_hash": tag(5001), "from": "0xf", "nonce": 501, "intent": tag(1), "first_send": false, "outcome": "accepted"});
        run.fact(4_000, FactSource::Chain, "submission", again);
    });
    assert_eq!(
        (check.verdict, check.violations),
        (Outcome::Fail, 1),
        "{}",
        check.observed
    );
}

/// The next stack's tables hold nothing of a drill that was over before.
#[test]
fn what_a_drill_asks_of_a_record_that_is_gone_accuses_nobody_and_clears_nobody() {
    let mut run = Run::of(&format!("{DRILL}{ROWS}"));
    let later = 5_000;
    for (at, event) in &mut run.events {
        match event {
            Event::Stream(stream) if stream.id == "sql" => {
                *at += later;
                stream.at_ns += later * MS;
            }
            Event::Fact(fact) if matches!(fact.source, FactSource::Sql | FactSource::Metric) => {
                *at += later;
                fact.at_ns += later * MS;
                if fact.what == "collected" {
                    fact.keys.insert("rows".to_owned(), json!(0));
                }
            }
            _ => {}
        }
    }
    run.events.retain(|(_, event)| match event {
        Event::Fact(fact) if fact.source == FactSource::Sql => fact.what == "collected",
        _ => true,
    });
    goes_on(&mut run, 1);
    let verdict = run.judge();
    for id in ["executed", "simulated", "no-reason"] {
        let check = check(&verdict, id);
        let gone = check.observed.contains("went with the stack");
        assert_eq!(check.verdict, Outcome::Inconclusive, "{}", check.observed);
        assert!(gone, "{id}: {}", check.observed);
    }
    let other = check(&verdict, "nothing-sent");
    assert_eq!(other.verdict, Outcome::Pass, "{}", other.observed);
}
