//! The allowance for what a restore of the record lost: as wide as the acts of the journal show, and no wider.

use firedrill_journal::{Event, FactSource, Op, OpState};
use firedrill_verdict::Outcome::{self, Fail, Inconclusive, Pass};
use firedrill_verdict::Verdict;
use serde_json::json;

use crate::support::{DRILL, Run};

/// Signals that were sent, acknowledged and mined between the dump and the restore.
const IN_BETWEEN: [u64; 4] = [37, 38, 39, 40];
const MS: u64 = 1_000_000;

/// A healthy run of a drill with a dump that began at 3.7 s and a restore that was done at 4.1 s.
fn restored() -> Run {
    let acts = "id   = \"recovery\"\nact  = [{ kind = \"dump\" }, { kind = \"restore\" }]";
    let drill = DRILL.replacen("id   = \"recovery\"", acts, 1);
    assert_ne!(drill, DRILL);
    let mut run = Run::of(&drill);
    let began = |ms: u64| json!({"id": "recovery/1", "started_ns": ms * MS, "observed": ""});
    run.fact(3720, FactSource::Act, "dump", began(3700));
    run.fact(4100, FactSource::Act, "restore", began(4090));
    run
}

/// The rows of these signals are gone from the tables named, and the collector found so many less.
fn lose(mut run: Run, tables: &[&str], signals: &[u64]) -> Run {
    let ids: Vec<String> = signals.iter().map(u64::to_string).collect();
    let hashes: Vec<String> = signals
        .iter()
        .map(|n| format!("0x{:064x}", 1000 + n))
        .collect();
    for table in tables {
        let before = run.events.len();
        run = run.edit(|event| {
            let Event::Fact(fact) = event else {
                return true;
            };
            let mut cells = fact.keys.values().filter_map(|value| value.as_str());
            let own = fact.source == FactSource::Sql && fact.what == *table;
            !(own && cells.any(|cell| ids.iter().chain(&hashes).any(|id| id == cell)))
        });
        let gone = (before - run.events.len()) as u64;
        assert!(gone > 0, "{table}");
        run = run.edit(|event| {
            if let Event::Fact(fact) = event
                && fact.what == "collected"
                && fact.keys["table"] == *table
            {
                let rows = fact.keys["rows"].as_u64().unwrap() - gone;
                fact.keys.insert("rows".into(), json!(rows));
            }
            true
        });
    }
    run
}

const ALL: [&str; 6] = [
    "intent",
    "transition",
    "send",
    "receipt",
    "execution",
    "position",
];

#[track_caller]
fn equation(run: Run, id: &str, outcome: Outcome) -> (Verdict, String) {
    let verdict = run.judge();
    let found = verdict.audit.checks.iter().find(|c| c.id == id).unwrap();
    assert_eq!(found.verdict, outcome, "{id}: {}", found.observed);
    let observed = found.observed.clone();
    (verdict, observed)
}

fn without(run: Run, what: &str) -> Run {
    run.edit(|e| !matches!(e, Event::Fact(f) if f.source == FactSource::Act && f.what == what))
}

#[test]
fn what_lies_between_dump_and_restore_may_be_lost_and_is_counted() {
    let (verdict, observed) = equation(lose(restored(), &ALL, &IN_BETWEEN), "lost", Pass);
    assert_eq!(observed, "holds for 46 of 50; lost by the restore: 4");
    let lost = verdict.audit.lost_by_restore.clone().unwrap();
    assert_eq!((lost.restores, lost.signals, lost.transactions), (1, 4, 4));
    assert_eq!((lost.dumped_at_ms, lost.restored_at_ms), (3700.0, 4100.0));
    assert_eq!(verdict.audit.verdict, Pass, "{:?}", verdict.audit.reasons);
    let nothing = restored().judge().audit.lost_by_restore.unwrap();
    assert_eq!((nothing.signals, nothing.transactions), (0, 0));
    assert_eq!(Run::healthy().judge().audit.lost_by_restore, None);
}

#[test]
fn a_loss_outside_of_the_window_still_fails() {
    for outside in [10, 41, 49] {
        let with = [IN_BETWEEN[0], outside];
        equation(lose(restored(), &ALL, &with), "lost", Fail);
        equation(lose(restored(), &ALL, &with), "chain-in-record", Fail);
    }
    // Without a restore there is no window at all.
    equation(lose(Run::healthy(), &ALL, &IN_BETWEEN), "lost", Fail);
}

#[test]
fn what_is_acknowledged_again_after_the_restore_must_stay() {
    let mut run = lose(restored(), &ALL, &IN_BETWEEN);
    let first = run.events.iter().find_map(|(_, event)| match event {
        Event::Op(op) if op.id == 38 => op.signal.clone(),
        _ => None,
    });
    let op = |state, at: u64, signal| Op {
        id: 900,
        state,
        intended_ns: 4500 * MS,
        at_ns: at * MS,
        signal,
        status: None,
        detail: None,
        names: None,
    };
    let (sent, done) = (
        op(OpState::Invoked, 4500, first),
        op(OpState::Ok, 4505, None),
    );
    run.events.push((4500, Event::Op(sent)));
    run.events.push((4505, Event::Op(done)));
    equation(run, "lost", Fail);
}

#[test]
fn an_intent_that_is_on_record_must_know_what_was_mined_for_it() {
    let run = lose(restored(), &["send"], &[38]);
    equation(run, "chain-in-record", Fail);
}

#[test]
fn without_the_window_nothing_follows() {
    for gone in ["dump", "restore"] {
        let run = without(lose(restored(), &ALL, &IN_BETWEEN), gone);
        let (verdict, _) = equation(run, "lost", Inconclusive);
        assert_eq!(verdict.audit.lost_by_restore, None);
        let run = without(lose(restored(), &ALL, &IN_BETWEEN), gone);
        equation(run, "chain-in-record", Inconclusive);
    }
    let untimed = lose(restored(), &ALL, &IN_BETWEEN).edit(|event| {
        if let Event::Fact(fact) = event {
            fact.keys.remove("started_ns");
        }
        true
    });
    equation(untimed, "lost", Inconclusive);
}

#[test]
fn a_restore_that_lost_everything_leaves_nothing_to_judge() {
    let all: Vec<u64> = (0..50).collect();
    let early = lose(restored(), &["intent"], &all).edit(|event| {
        if let Event::Fact(fact) = event
            && fact.source == FactSource::Act
            && fact.keys.contains_key("started_ns")
        {
            let restore = fact.what == "restore";
            fact.at_ns = if restore { 5800 * MS } else { 2 * MS };
            fact.keys.insert("started_ns".into(), json!(1));
        }
        true
    });
    equation(early, "lost", Inconclusive);
}
