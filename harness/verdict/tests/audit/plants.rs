//! One violation at a time is found by the equation that must find it, and a history that lacks a
//! source shows nothing by the equations that need it.

use firedrill_journal::OpState;
use firedrill_verdict::{OnChain, Outcome};

use crate::case::{Case, OnChainRow, build, word};
use crate::{SOURCES, fast, gaps};

/// An honest history of every kind of signal; the first is a plain execution.
fn honest() -> Case {
    build(&[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 0].map(|kind| (kind, 0)))
}

/// The equations that fail, each with its violations.
fn failing(case: &Case) -> Vec<(&'static str, u64)> {
    let all = fast(case, &gaps(None, true)).into_iter();
    let failed = all.filter(|(.., outcome)| *outcome != Outcome::Pass);
    failed.map(|(id, _, n, _)| (id, n)).collect()
}

fn spoilt(how: impl FnOnce(&mut Case)) -> Vec<(&'static str, u64)> {
    let mut case = honest();
    how(&mut case);
    failing(&case)
}

fn submission(tx: String, tag: usize, nonce: u64) -> OnChainRow {
    OnChainRow {
        what: OnChain::Submitted {
            accepted: true,
            first: true,
        },
        tx,
        tag: Some(word(0xa, tag)),
        nonce,
        about: None,
    }
}

#[test]
fn honest_holds() {
    assert_eq!(failing(&honest()), []);
}

#[test]
fn signals_lost_merged_and_doubled() {
    let found = spoilt(|c| c.intents.retain(|row| row.0 != "5"));
    assert_eq!(found, [("lost", 1)]);
    let found = spoilt(|c| c.ops[0].3 = true);
    assert_eq!(found, [("false-dedupe", 1)]);
    let twin = |c: &mut Case, key: &str| {
        c.intents
            .push(("twin".into(), key.into(), "SIMULATED".into()));
        c.step("twin", "CREATED", "SIMULATED");
    };
    assert_eq!(spoilt(|c| twin(c, "sig:5")), [("duplicates", 1)]);
    assert_eq!(
        spoilt(|c| twin(c, "sig:6")),
        [("rejected-stored-nothing", 1)]
    );
    // Signal 7 had no answer, and was executed once.
    let found = spoilt(|c| {
        c.sends.push(("7".into(), Some(word(0xd, 7)), true));
        c.chain.push(submission(word(0xd, 7), 7, 77));
    });
    assert_eq!(found, [("duplicates", 1), ("unknown-at-most-once", 1)]);
}

#[test]
fn states_that_do_not_follow() {
    let found = spoilt(|c| c.step("0", "MINED", "FAILED"));
    assert_eq!(found, [("transitions", 1)]);
    // Each step is legal, but they don't hang together.
    let found = spoilt(|c| c.step("0", "REPLACED", "REPLACED"));
    assert_eq!(found, [("transitions", 1)]);
    let found = spoilt(|c| {
        c.transitions
            .retain(|step| step.0 != "0" || step.2 != "BUILT")
    });
    assert_eq!(found, [("transitions", 1)]);
    let found = spoilt(|c| {
        c.intents[4].2 = "BUILT".into();
        c.transitions.retain(|step| step.0 != "4");
        c.step("4", "CREATED", "BUILT");
        c.chain.retain(|r| r.tag != Some(word(0xa, 4)));
        c.sends.retain(|row| row.0 != "4");
        c.receipts.retain(|row| row.0 != word(0xb, 4));
        c.executions.retain(|row| row.0 != "4");
        c.positions.retain(|row| row.1 != "4");
    });
    // The position that it opened was changed by another, which now is about nothing.
    assert_eq!(found, [("lost", 1), ("terminal", 1)]);
}

#[test]
fn chain_and_record_disagree() {
    let found = spoilt(|c| c.sends.retain(|row| row.0 != "1"));
    assert_eq!(found, [("chain-in-record", 1)]);
    let found = spoilt(|c| c.sends.push(("1".into(), Some(word(0xd, 1)), true)));
    assert_eq!(found, [("record-in-chain", 1)]);
    let found = spoilt(|c| c.sends.push(("1".into(), None, true)));
    assert_eq!(found, [("record-in-chain", 1)]);
    let found = spoilt(|c| {
        let own = c.chain.iter_mut().filter(|r| r.tx == word(0xb, 1));
        own.for_each(|r| r.nonce = 0);
    });
    assert_eq!(found, [("nonces", 1)]);
    let found = spoilt(|c| {
        c.sends.push(("5".into(), Some(word(0xd, 5)), true));
        c.chain.push(submission(word(0xd, 5), 5, 55));
    });
    assert_eq!(found, [("not-sent", 1)]);
    let found = spoilt(|c| {
        // Refused by the chain, and not in the record: it was sent all the same.
        let mut refused = submission(word(0xd, 11), 11, 55);
        let (accepted, first) = (false, true);
        refused.what = OnChain::Submitted { accepted, first };
        c.chain.push(refused);
    });
    assert_eq!(found, [("not-sent", 1)]);
}

#[test]
fn executions_receipts_and_positions_disagree() {
    let found = spoilt(|c| c.executions.retain(|row| row.0 != "1"));
    assert_eq!(found, [("mined", 1)]);
    let found = spoilt(|c| c.receipts.retain(|row| row.0 != word(0xb, 1)));
    assert_eq!(found, [("mined", 1)]);
    let found = spoilt(|c| c.positions.retain(|row| row.1 != "12"));
    assert_eq!(found, [("mined", 1)]);
    let found = spoilt(|c| c.positions.push((word(0xe, 1), "1".into(), None)));
    assert_eq!(found, [("mined", 1)]);
    let found = spoilt(|c| c.positions.push((word(0xe, 1), "5".into(), None)));
    assert_eq!(found, [("mined", 1)]);
    let found = spoilt(|c| c.executions[0].1 = word(0xb, 1));
    assert_eq!(found, [("mined", 1)]);
    let found = spoilt(|c| c.receipts[0].1 = false);
    assert_eq!(found, [("receipts", 1)]);
    let found = spoilt(|c| c.receipts[0].2 += 1);
    assert_eq!(found, [("receipts", 1)]);
    let found = spoilt(|c| c.receipts.push(c.receipts[0].clone()));
    assert_eq!(found, [("receipts", 1)]);
}

#[test]
fn a_block_that_went_away() {
    let gone = |c: &mut Case| {
        let mut row = submission(word(0xb, 0), 0, 0);
        row.what = OnChain::Reorged;
        c.chain.push(row.clone());
        row.what = OnChain::Dropped;
        c.chain.push(row);
    };
    assert_eq!(spoilt(gone), [("mined", 1), ("receipts", 1)]);
    let again = |block| {
        spoilt(|c| {
            gone(c);
            let mut row = submission(word(0xb, 0), 0, 0);
            row.what = OnChain::Mined {
                success: true,
                block: Some(block),
            };
            c.chain.push(row);
        })
    };
    assert_eq!(again(10), []);
    assert_eq!(again(99), [("receipts", 1)]);
}

#[test]
fn a_missing_source_shows_nothing() {
    let needs = |source: &str, id: &str| match source {
        "intent" => ![
            "false-dedupe",
            "chain-in-record",
            "record-in-chain",
            "receipts",
        ]
        .contains(&id),
        "chain" => !["lost", "false-dedupe", "terminal", "transitions"].contains(&id),
        "send" => {
            [
                "duplicates",
                "chain-in-record",
                "record-in-chain",
                "nonces",
                "mined",
            ]
            .contains(&id)
                || ["not-sent", "unknown-at-most-once"].contains(&id)
        }
        "receipt" => ["mined", "receipts"].contains(&id),
        "execution" | "position" => id == "mined",
        _ => id == "transitions",
    };
    for source in SOURCES {
        // The source is really empty: what is missing must not count against the bot either.
        let mut case = honest();
        match source {
            "chain" => case.chain.clear(),
            "intent" => case.intents.clear(),
            "send" => case.sends.clear(),
            "receipt" => case.receipts.clear(),
            "execution" => case.executions.clear(),
            "position" => case.positions.clear(),
            "transition" => case.transitions.clear(),
            _ => {}
        }
        for (id, _, _, outcome) in fast(&case, &gaps(Some(source), true)) {
            if needs(source, id) {
                assert_eq!(outcome, Outcome::Inconclusive, "{id} without {source}");
            }
        }
    }
}

#[test]
fn nothing_to_compare_is_no_pass() {
    let outcomes = fast(&Case::default(), &gaps(None, true));
    for (id, samples, _, outcome) in outcomes {
        let needed = ["lost", "duplicates", "terminal", "transitions"].contains(&id);
        let expected = if needed {
            Outcome::Inconclusive
        } else {
            Outcome::Pass
        };
        assert_eq!((samples, outcome), (0, expected), "{id}");
    }
    let outcomes = fast(&honest(), &gaps(None, false));
    assert!(
        outcomes
            .iter()
            .all(|(.., outcome)| *outcome == Outcome::Inconclusive)
    );
    let mut cut = honest();
    cut.operate("sig:0", "", OpState::Ok, true);
    cut.intents
        .push(("twin".into(), "sig:0".into(), "SIMULATED".into()));
    let outcomes = fast(&cut, &gaps(None, false));
    let doubled = outcomes.iter().find(|(id, ..)| *id == "duplicates");
    assert_eq!(doubled.map(|(.., outcome)| *outcome), Some(Outcome::Fail));
}
