//! Growth of counters, and bounds on the fields of facts.

use crate::support::{DRILL, Run, check};
use firedrill_journal::{Event, FactSource, Sample, SampleResult};
use firedrill_plan::HEARTBEAT_FIELD;
use firedrill_verdict::Outcome;
use serde_json::json;

use Outcome::{Fail, Inconclusive, Pass};

const MS: u64 = 1_000_000;

/// The healthy run with a counter that is scraped every 50 ms, and one more expectation on it. The
/// outage lasts from 1125 to 3126 ms, the phase before it ends at 1100 ms.
fn counted(expect: &str, counter: impl Fn(u64) -> Option<f64>) -> Run {
    let mut run = Run::of(&format!(
        "{DRILL}\n[[expect]]\nid = \"grown\"\nwhat = \"a counter\"\n\
         probe = {{ metric = \"c_total\", service = \"worker\", every = \"50ms\" }}\n{expect}\n"
    ));
    for due in (0..5900).step_by(50) {
        let result = match counter(due) {
            Some(n) => {
                let beat = (HEARTBEAT_FIELD.to_owned(), json!(due));
                SampleResult::Value([("c_total".to_owned(), json!(n)), beat].into())
            }
            None => SampleResult::Missing("deadline of 1000 ms: no answer".into()),
        };
        let sample = Sample {
            probe: "metrics:worker:/metrics".into(),
            due_ns: due * MS,
            took_ns: 2 * MS,
            result,
        };
        run.events.push((due + 2, Event::Sample(sample)));
    }
    run.events.sort_by_key(|(at, _)| *at);
    run
}

#[track_caller]
fn judged(expect: &str, counter: impl Fn(u64) -> Option<f64>, outcome: Outcome) -> String {
    let verdict = counted(expect, counter).judge();
    let found = check(&verdict, "grown");
    assert_eq!(found.verdict, outcome, "{expect}: {}", found.observed);
    found.observed.clone()
}

/// One more with every scrape.
fn steady(due: u64) -> Option<f64> {
    Some(due as f64 / 50.0)
}

fn outage(bound: &str) -> String {
    format!("growth = \"total\"\n{bound}\nwhen = {{ in = \"outage\" }}")
}

#[test]
fn a_bound_within_what_nobody_saw_decides_nothing() {
    // Scrapes inside the window saw 39 more, those around it 41.
    judged(&outage("at_most = 41"), steady, Pass);
    let words = judged(&outage("at_most = 40"), steady, Inconclusive);
    assert!(words.starts_with("39 to 41 in"), "{words}");
    judged(&outage("at_most = 38"), steady, Fail);
    // What has to be there may have begun with the end of the phase before: 40 inside, 42 around.
    judged(&outage("at_least = 40"), steady, Pass);
    judged(&outage("at_least = 42"), steady, Inconclusive);
    judged(&outage("at_least = 43"), steady, Fail);
}

#[test]
fn a_counter_that_stands_still_grows_by_nothing() {
    let still = |_| Some(7.0);
    judged(&outage("equals = 0"), still, Pass);
    judged(&outage("equals = 3"), still, Fail);
    judged(&outage("at_least = 1"), still, Fail);
    judged(&outage("equals = 30"), steady, Fail);
    judged(&outage("equals = 40"), steady, Inconclusive);
}

#[test]
fn growth_per_second_is_that_of_the_windows_length() {
    let rate =
        |bound: &str| format!("growth = \"per_second\"\n{bound}\nwhen = {{ in = \"outage\" }}");
    judged(&rate("at_most = 21"), steady, Pass);
    judged(&rate("at_most = 19"), steady, Fail);
}

#[test]
fn a_restart_hides_growth_but_makes_none_up() {
    let restarted = |due: u64| Some(if due < 2000 { due } else { due - 2000 } as f64 / 50.0);
    judged(&outage("at_least = 38"), restarted, Pass);
    judged(&outage("at_most = 20"), restarted, Fail);
    let words = judged(&outage("at_most = 1000"), restarted, Inconclusive);
    assert!(words.contains("1 restart of the counter"), "{words}");
}

#[test]
fn overlapping_scrapes_are_no_restart() {
    // Every fourth scrape takes 120 ms and shows what stood at its end, which is later than the next one's value.
    let mut run = counted(&outage("at_most = 60"), |due| {
        Some(if due % 200 == 0 { due + 120 } else { due } as f64 / 50.0)
    });
    run = run.edit(|event| {
        if let Event::Sample(sample) = event
            && sample.probe.starts_with("metrics:")
            && sample.due_ns % (200 * MS) == 0
        {
            sample.took_ns = 120 * MS;
        }
        true
    });
    let verdict = run.judge();
    let found = check(&verdict, "grown");
    assert_eq!(found.verdict, Pass, "{}", found.observed);
}

#[test]
fn missing_scrapes_are_no_standstill() {
    let dead = |due: u64| (due < 1500).then_some(7.0);
    judged(&outage("at_most = 5"), dead, Inconclusive);
    judged(&outage("equals = 0"), dead, Inconclusive);
    judged(&outage("at_least = 1"), dead, Inconclusive);
    judged(&outage("equals = 0"), |_| None, Inconclusive);
    // What was seen before it went dark happened.
    let dark = |due: u64| (due < 1500).then_some(due as f64);
    judged(&outage("at_most = 5"), dark, Fail);
    judged(&outage("at_least = 5"), dark, Pass);
}

#[track_caller]
fn fees(fee: impl Fn(usize) -> Option<u64>, outcome: Outcome) {
    let run = Run::of(&format!(
        "{DRILL}\n[[expect]]\nid = \"fees\"\nwhat = \"sane\"\n\
         none = {{ chain = \"submission\", above = {{ max_fee_per_gas = 500 }} }}\n"
    ));
    let mut n = 0;
    let run = run.edit(|event| {
        if let Event::Fact(fact) = event
            && fact.source == FactSource::Chain
            && fact.what == "submission"
        {
            fact.keys.insert("max_fee_per_gas".into(), json!(fee(n)));
            n += 1;
        }
        true
    });
    let verdict = run.judge();
    let found = check(&verdict, "fees");
    assert_eq!(found.verdict, outcome, "{}", found.observed);
}

#[test]
fn a_bound_on_a_field_needs_the_field() {
    fees(|_| Some(500), Pass);
    fees(|n| Some(if n == 3 { 501 } else { 20 }), Fail);
    fees(|n| (n != 3).then_some(20), Inconclusive);
    fees(|n| if n == 3 { None } else { Some(501) }, Fail);
}
