//! Where a fact came from, and what a refusal names.

use crate::support::{DRILL, Run, check};
use firedrill_journal::{Event, OpState};
use firedrill_verdict::Outcome;

use Outcome::{Fail, Inconclusive, Pass};

/// The healthy run with one more expectation, in which the first five signals came from an act and were
/// refused, the answers naming fields.
fn refused(expect: &str) -> Run {
    let drill = format!("{DRILL}\n[[expect]]\nid = \"more\"\nwhat = \"more\"\n{expect}\n");
    Run::of(&drill).edit(|event| {
        let Event::Op(op) = event else { return true };
        if op.id < 5 {
            if let Some(signal) = &mut op.signal {
                signal.origin = "hostile".to_owned();
                signal.malformed = Some("side: empty".to_owned());
            }
            if op.state == OpState::Ok {
                op.state = OpState::Rejected;
                op.status = Some(400);
                op.names = Some(if op.id < 3 { "side" } else { "user" }.to_owned());
            }
        }
        true
    })
}

#[track_caller]
fn judged(expect: &str, outcome: Outcome) -> String {
    let verdict = refused(expect).judge();
    let found = check(&verdict, "more");
    assert_eq!(found.verdict, outcome, "{expect}: {}", found.observed);
    found.observed.clone()
}

#[test]
fn a_refusal_counts_by_what_it_names() {
    let named = |names: &str, n: u64| {
        format!(
            "count = {{ op = \"rejected\", status = 400, names = \"{names}\", origin = \"hostile\" }}\nequals = {n}"
        )
    };
    let words = judged(&named("side", 3), Pass);
    assert!(words.contains("(side: empty)"), "{words}");
    judged(&named("side", 4), Fail);
    judged(&named("user", 2), Pass);
    judged(&named("amount", 1), Fail);
    // Nothing was sent from there at all: what it was answered says nothing.
    let none = "none = { op = \"rejected\", names = \"side\", origin = \"nowhere\" }";
    judged(none, Inconclusive);
}

#[test]
fn what_reaches_the_chain_counts_by_its_origin() {
    judged(
        "count = { chain = \"first_send\", origin = \"hostile\" }\nequals = 5",
        Pass,
    );
    judged(
        "none = { chain = \"submission\", origin = \"hostile\" }",
        Fail,
    );
    judged(
        "none = { chain = \"submission\", origin = \"nobody\" }",
        Pass,
    );
    judged(
        "count = { chain = \"first_send\", origin = \"load\" }\nat_least = 5",
        Pass,
    );
    judged("none = { row = \"execution\", origin = \"hostile\" }", Fail);
    judged("none = { row = \"execution\", origin = \"nobody\" }", Pass);
}
