//! Every rule with a journal that passes, one that fails, and one in which the data is missing.

use crate::support::{DRILL, MODE, Run, check, tag};
use firedrill_journal::{EdgeKind, Event, FactSource, OpState, SampleResult, StreamState, read};
use firedrill_verdict::{Outcome, Verdict, judge, schema, verdict_json};
use serde_json::{Value, json};

use Outcome::{Fail, Inconclusive, Pass};

#[track_caller]
fn expect(run: Run, id: &str, outcome: Outcome) -> Verdict {
    let verdict = run.judge();
    let found = check(&verdict, id);
    assert_eq!(
        found.verdict, outcome,
        "{id}: {} | {:?}",
        found.observed, verdict.reasons
    );
    verdict
}

#[track_caller]
fn audit(run: Run, id: &str, outcome: Outcome) -> Verdict {
    let verdict = run.judge();
    let found = verdict.audit.checks.iter().find(|c| c.id == id).unwrap();
    assert_eq!(
        found.verdict, outcome,
        "{id}: {} {:?}",
        found.observed, found.slice
    );
    verdict
}

fn mode(to: &'static str) -> impl Fn(&mut firedrill_journal::Sample) {
    move |sample| {
        if let SampleResult::Value(fields) = &mut sample.result {
            fields.insert(MODE.to_owned(), json!(to));
        }
    }
}

fn missing(why: &'static str) -> impl Fn(&mut firedrill_journal::Sample) {
    move |sample| sample.result = SampleResult::Missing(why.to_owned())
}

fn without_facts(run: Run, gone: impl Fn(&firedrill_journal::Fact) -> bool) -> Run {
    run.edit(|e| !matches!(e, Event::Fact(f) if gone(f)))
}

#[test]
fn healthy_run_passes_with_room_to_spare() {
    let verdict = Run::healthy().judge();
    assert_eq!(verdict.verdict, Pass, "{:#?}", verdict.reasons);
    assert!(verdict.reasons.is_empty());
    let drill = &verdict.drills[0];
    assert_eq!(drill.recovery_ms, Some(466));
    assert!(
        drill.worst_margin.unwrap() >= 0.3,
        "{:?}",
        drill.worst_margin
    );
    assert_eq!(verdict.audit.accepted, 50);
    assert_eq!(verdict.load.ok, 50);
    assert_eq!(verdict.timeline.states[0].name, "mode of worker");
    let seen: Vec<_> = verdict.timeline.states[0]
        .spans
        .iter()
        .map(|s| s.value.clone())
        .collect();
    assert_eq!(
        seen,
        [Some("LIVE".into()), Some("DRY".into()), Some("LIVE".into())]
    );
    assert!(
        verdict
            .timeline
            .series
            .iter()
            .all(|s| s.values.len() <= 600)
    );
}

#[test]
fn output_is_deterministic_and_has_a_schema() {
    let bytes = Run::healthy().bytes();
    let text = verdict_json(&judge(&read(&bytes).unwrap()));
    assert_eq!(text, verdict_json(&judge(&read(&bytes).unwrap())));
    assert!(text.ends_with("}\n"));
    let back: Verdict = serde_json::from_str(&text).unwrap();
    assert_eq!(verdict_json(&back), text);
    assert!(schema()["properties"]["verdict"].is_object());
}

#[test]
fn a_cut_at_any_line_never_passes_and_accuses_nobody() {
    let bytes = Run::healthy().bytes();
    let ends: Vec<usize> = bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .map(|(i, _)| i + 1)
        .collect();
    for end in &ends[..ends.len() - 1] {
        let verdict = judge(&read(&bytes[..*end]).unwrap());
        assert_eq!(
            verdict.verdict, Inconclusive,
            "cut at {end}: {:?}",
            verdict.reasons
        );
    }
}

#[test]
fn a_violation_before_the_cut_stands() {
    let run = Run::healthy().samples_between(2000, 2100, mode("LIVE"));
    let bytes = run.bytes();
    let cut = bytes.len() * 9 / 10;
    let verdict = judge(&read(&bytes[..cut]).unwrap());
    assert_eq!(verdict.verdict, Fail, "{:?}", verdict.reasons);
}

#[test]
fn within_then_throughout() {
    let late = Run::healthy().samples_between(1300, 1700, mode("LIVE"));
    expect(late, "dry-at-once", Fail);
    let flaps = Run::healthy().samples_between(2500, 2550, mode("LIVE"));
    let verdict = expect(flaps, "dry-at-once", Fail);
    assert_eq!(verdict.verdict, Fail);
    let blind = Run::healthy().samples_between(1100, 3140, missing("HTML instead of JSON"));
    let verdict = expect(blind, "dry-at-once", Inconclusive);
    assert!(
        check(&verdict, "dry-at-once")
            .observed
            .contains("HTML instead of JSON")
    );
    let field = Run::healthy().samples_between(1100, 3140, |s| {
        if let SampleResult::Value(fields) = &mut s.result {
            fields.remove(MODE);
        }
    });
    let verdict = expect(field, "dry-at-once", Inconclusive);
    assert!(check(&verdict, "dry-at-once").observed.contains(MODE));
}

#[test]
fn a_deadline_is_unavailability_and_no_value() {
    let hang = || Run::healthy().samples_between(1500, 3000, missing("deadline of 1000 ms"));
    expect(hang(), "health-answers", Fail);
    expect(hang(), "dry-at-once", Inconclusive);
    let other = Run::healthy().samples_between(1500, 3000, missing("the harness was busy"));
    expect(other, "health-answers", Inconclusive);
}

#[test]
fn starvation_is_a_gap() {
    let mut run = Run::healthy();
    let starved = Event::Starved {
        from_ns: 1_600_000_000,
        to_ns: 3_000_000_000,
    };
    run.events.push((3000, starved));
    expect(run, "dry-at-once", Inconclusive);
}

#[test]
fn none_needs_the_stream() {
    let mut sent = Run::healthy();
    let keys = json!({"tx_hash": tag(77), "from": "0xf", "nonce": 99, "intent": tag(20), "first_send": true, "outcome": "refused"});
    sent.fact(2000, FactSource::Chain, "submission", keys.clone());
    expect(sent, "nothing-sent", Fail);
    let mut graced = Run::healthy();
    graced.fact(1325, FactSource::Chain, "submission", keys);
    let verdict = expect(graced, "nothing-sent", Pass);
    let margin = check(&verdict, "nothing-sent").margin.unwrap();
    assert!((margin - 0.6).abs() < 1e-9, "{margin}");
    let mut gap = Run::healthy();
    gap.stream(2000, "chain", StreamState::Gap, Some("start id changed"));
    gap.stream(2001, "chain", StreamState::Attached, None);
    expect(gap, "nothing-sent", Inconclusive);
    let never = Run::healthy().edit(|e| !matches!(e, Event::Stream(s) if s.id == "chain"));
    expect(never, "nothing-sent", Inconclusive);
}

#[test]
fn log_lines_need_a_stream_and_a_replay_closes_its_gap() {
    let line = |f: &firedrill_journal::Fact| {
        f.keys
            .get("text")
            .is_some_and(|t| t.to_string().contains("SAFE"))
    };
    expect(without_facts(Run::healthy(), line), "logged", Fail);
    let gap = |detail| {
        let mut run = without_facts(Run::healthy(), line);
        run.stream(1500, "log:worker", StreamState::Gap, None);
        run.stream(1600, "log:worker", StreamState::Attached, detail);
        run
    };
    expect(gap(None), "logged", Inconclusive);
    expect(
        gap(Some("replayed from the last timestamp")),
        "logged",
        Fail,
    );
}

#[test]
fn sequence_is_in_order() {
    let swapped = Run::healthy().edit(|e| {
        if let Event::Fact(f) = e
            && f.keys
                .get("text")
                .is_some_and(|t| t.to_string().contains("streak 1/3"))
        {
            f.at_ns = 4_000_000_000;
        }
        true
    });
    expect(swapped, "streak-logged", Fail);
}

#[test]
fn not_before_a_mark() {
    let early = Run::healthy().samples_between(3250, 3600, mode("LIVE"));
    expect(early, "live-is-earned", Fail);
    let never = Run::healthy().samples_between(3200, 5900, mode("DRY"));
    expect(never, "live-is-earned", Fail);
    let unmarked = Run::healthy().samples_between(3100, 5900, missing("reset"));
    expect(unmarked, "live-is-earned", Inconclusive);
}

#[test]
fn deaths_count_unless_the_drill_caused_them() {
    let mut died = Run::healthy();
    died.fact(
        4000,
        FactSource::Engine,
        "die",
        json!({"service": "worker"}),
    );
    expect(died, "no-crash", Fail);
    let mut other = Run::healthy();
    other.fact(4000, FactSource::Engine, "die", json!({"service": "rpc"}));
    expect(other, "no-crash", Pass);
}

#[test]
fn a_fault_that_another_hand_interrupted_is_lost_from_its_first_moment_on() {
    // Requested at 1111 ms, proven at 1124, to be healed at 3127.
    let lifted = |at: u64, service: &str, what: &str| {
        let mut run = Run::healthy();
        run.fact(at, FactSource::Engine, what, json!({"service": service}));
        run.judge().drills[0].faults[0].verdict
    };
    for at in [1112, 1125, 1150, 2000, 3070] {
        assert_eq!(lifted(at, "redis", "unpause"), Inconclusive, "{at}");
    }
    assert_eq!(lifted(1100, "redis", "unpause"), Pass, "before it began");
    assert_eq!(lifted(3130, "redis", "unpause"), Pass, "its own healing");
    assert_eq!(lifted(2000, "rpc", "unpause"), Pass, "another service");
    assert_eq!(lifted(1118, "redis", "pause"), Pass, "the fault itself");
}

#[test]
fn faults_must_be_proven_and_healed() {
    let fault = |kind| {
        Run::healthy().edit(
            move |e| !matches!(e, Event::Edge(edge) if edge.fault.is_some() && edge.kind == kind),
        )
    };
    for kind in [
        EdgeKind::Requested,
        EdgeKind::Proven,
        EdgeKind::HealRequested,
        EdgeKind::Healed,
    ] {
        let verdict = fault(kind).judge();
        assert_eq!(verdict.verdict, Inconclusive, "{kind:?}");
        assert!(
            verdict.reasons[0].contains("pause of redis"),
            "{:?}",
            verdict.reasons
        );
    }
    let mut lost = Run::healthy();
    lost.edge(2000, "outage", true, EdgeKind::Lost);
    assert_eq!(lost.judge().verdict, Inconclusive);
}

#[test]
fn what_was_felt_is_said_only_of_a_fault_that_was_there() {
    let unfelt = || {
        Run::healthy().edit(|e| {
            if let Event::Edge(edge) = e
                && edge.fault.is_some()
                && edge.kind == EdgeKind::Healed
            {
                edge.felt = Some(false);
            }
            true
        })
    };
    let fault = |run: &Run| run.judge().drills[0].faults[0].clone();
    assert_eq!(fault(&Run::healthy()).felt, None);
    let there = fault(&unfelt());
    assert_eq!((there.verdict, there.felt), (Inconclusive, Some(false)));
    let mut lost = unfelt();
    lost.edge(2000, "outage", true, EdgeKind::Lost);
    let lost = fault(&lost);
    assert_eq!((lost.verdict, lost.felt), (Inconclusive, None));
}

#[test]
fn a_phase_must_start_and_last() {
    let gone = Run::healthy().edit(|e| !matches!(e, Event::Edge(edge) if edge.phase == "recovery"));
    assert_eq!(gone.judge().verdict, Inconclusive);
    let short = Run::healthy().edit(|e| {
        if let Event::Edge(edge) = e
            && edge.phase == "baseline"
            && edge.kind == EdgeKind::HealRequested
        {
            edge.at_ns = 500_000_000;
        }
        true
    });
    let verdict = short.judge();
    assert!(
        verdict.reasons.iter().any(|r| r.contains("instead of 1 s")),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn needs_must_hold() {
    let dry = Run::healthy().edit(|e| {
        if let Event::Fact(f) = e
            && f.what == "need"
        {
            f.keys.insert("held".into(), Value::Bool(false));
            f.keys.insert("observed".into(), json!("DRY"));
        }
        true
    });
    assert!(
        dry.judge()
            .reasons
            .iter()
            .any(|r| r.contains("observed DRY"))
    );
    let unseen = without_facts(Run::healthy(), |f| f.what == "need").judge();
    assert_eq!(unseen.verdict, Inconclusive);
    let idle = without_facts(Run::healthy(), |f| {
        f.source == FactSource::Chain && f.at_ns < 1_120_000_000
    });
    assert!(
        idle.judge()
            .reasons
            .iter()
            .any(|r| r.contains("first sends before the first fault; observed 0"))
    );
}

#[test]
fn first_sends_are_told_apart_by_what_the_chain_made_of_them() {
    let refused = DRILL.replacen(
        "none   = { chain = \"first_send\" }\nwhen   = { in = \"outage\", grace = \"500ms\" }",
        "none   = { chain = \"first_send\", outcome = \"refused\" }",
        1,
    );
    assert_ne!(refused, DRILL);
    expect(Run::of(&refused), "nothing-sent", Pass);
    let outcome = |word: Option<&'static str>| {
        Run::of(&refused).edit(move |event| {
            if let Event::Fact(fact) = event
                && fact.what == "submission"
                && fact.keys["nonce"] == 3
            {
                fact.keys.remove("outcome");
                fact.keys
                    .extend(word.map(|word| ("outcome".to_owned(), json!(word))));
            }
            true
        })
    };
    expect(outcome(Some("refused")), "nothing-sent", Fail);
    expect(outcome(None), "nothing-sent", Inconclusive);
}

#[test]
fn a_kill_counts_only_with_a_death_by_sigkill() {
    let pause = "fault = { kind = \"pause\", target = \"redis\" }";
    let kill = DRILL.replacen(pause, "fault = { kind = \"kill\", target = \"worker\" }", 1);
    assert_ne!(kill, DRILL);
    let died = |service: &str, at: u64, code: i64| {
        let mut run = Run::of(&kill);
        let keys = json!({"service": service, "exit_code": code});
        run.fact(at, FactSource::Engine, "die", keys);
        run.judge().drills[0].faults[0].verdict
    };
    assert_eq!(died("worker", 1118, 137), Pass);
    assert_eq!(died("worker", 1118, 1), Inconclusive);
    assert_eq!(died("tpsl", 1118, 137), Inconclusive);
    assert_eq!(died("worker", 900, 137), Inconclusive);
    let unseen = Run::of(&kill).judge();
    assert!(
        unseen
            .reasons
            .iter()
            .any(|r| r.contains("no death with exit code 137"))
    );
}

#[test]
fn audit_finds_what_is_lost_or_done_twice() {
    let row = |table: &'static str, n: &'static str| {
        let mut run = Run::healthy();
        run.events.retain(|(_, e)| !matches!(e, Event::Fact(f) if f.what == table && f.keys.values().any(|v| v == n)));
        // The collector really found one row less.
        run.edit(move |e| {
            if let Event::Fact(f) = e
                && f.what == "collected"
                && f.keys["table"] == table
            {
                let rows = f.keys["rows"].as_u64().unwrap() - 1;
                f.keys.insert("rows".into(), json!(rows));
            }
            true
        })
    };
    let verdict = audit(row("intent", "sig:20"), "lost", Fail);
    let lost = verdict
        .audit
        .checks
        .iter()
        .find(|c| c.id == "lost")
        .unwrap();
    assert!(
        lost.slice.iter().any(|l| l.contains("queued")),
        "{:?}",
        lost.slice
    );
    audit(row("receipt", "1"), "mined", Inconclusive);
    audit(row("execution", "3"), "mined", Fail);
    audit(row("position", "3"), "mined", Fail);
    let mut twice = Run::healthy();
    let keys = json!({"tx_hash": tag(5000), "from": "0xf", "nonce": 500, "intent": tag(3), "first_send": true, "outcome": "accepted"});
    twice.fact(700, FactSource::Chain, "submission", keys);
    audit(twice, "duplicates", Fail);
    let untold = without_facts(Run::healthy(), |f| {
        f.what == "collected" && f.keys["table"] == "intent"
    });
    audit(untold, "lost", Inconclusive);
    let unread = Run::healthy().edit(|e| {
        if let Event::Fact(f) = e
            && f.what == "collected"
            && f.keys["table"] == "send"
        {
            f.what = "not_collected".into();
            f.keys.insert("why".into(), json!("no such relation"));
        }
        true
    });
    let verdict = audit(unread, "chain-in-record", Inconclusive);
    assert!(
        verdict
            .reasons
            .iter()
            .any(|r| r.contains("no such relation"))
    );
}

#[test]
fn audit_reconciles_states_chain_and_metrics() {
    let status = |to: &'static str| {
        Run::healthy().edit(move |e| {
            if let Event::Fact(f) = e
                && f.what == "intent"
                && f.keys["id"] == "3"
            {
                f.keys.insert("status".into(), json!(to));
            }
            true
        })
    };
    audit(status("SENT"), "terminal", Fail);
    audit(status("FAILED"), "mined", Fail);
    audit(status("FAILED"), "transitions", Fail);
    audit(status("SIMULATED"), "not-sent", Fail);
    let illegal = Run::healthy().edit(|e| {
        if let Event::Fact(f) = e
            && f.what == "transition"
            && f.keys["to"] == "SIMULATED"
        {
            f.keys.insert("from".into(), json!("MINED"));
        }
        true
    });
    audit(illegal, "transitions", Fail);
    let mut stray = Run::healthy();
    let keys = json!({"tx_hash": tag(6000), "from": "0xf", "nonce": 600, "intent": tag(9999), "first_send": false, "outcome": "accepted"});
    stray.fact(700, FactSource::Chain, "submission", keys);
    audit(stray, "chain-in-record", Fail);
    let unsent = without_facts(Run::healthy(), |f| {
        f.source == FactSource::Chain && f.keys["tx_hash"] == tag(1003)
    });
    audit(unsent, "record-in-chain", Fail);
    let lies = |keys: Value| {
        let mut run = without_facts(Run::healthy(), |f| f.source == FactSource::Metric);
        run.fact(5930, FactSource::Metric, "duplicates-got-through", keys);
        run
    };
    audit(lies(json!({"metric": 0, "database": 2})), "metrics", Fail);
    audit(
        lies(json!({"metric": null, "database": 2})),
        "metrics",
        Inconclusive,
    );
    audit(
        without_facts(Run::healthy(), |f| f.source == FactSource::Metric),
        "metrics",
        Inconclusive,
    );
}

#[test]
fn nothing_accepted_is_nothing_shown() {
    let refused = Run::healthy().edit(|e| {
        if let Event::Op(op) = e
            && op.state == OpState::Ok
        {
            op.state = OpState::Rejected;
            op.status = Some(401);
        }
        true
    });
    let verdict = refused.judge();
    assert_ne!(verdict.verdict, Pass);
    assert_ne!(verdict.audit.verdict, Pass);
    let check = verdict
        .audit
        .checks
        .iter()
        .find(|c| c.id == "rejected-stored-nothing")
        .unwrap();
    assert_eq!(check.verdict, Fail);
}

#[test]
fn unreadable_documents_are_inconclusive() {
    let mut broken = Run::healthy();
    broken.header.documents[1].text.push_str("\nnonsense = [");
    let verdict = broken.judge();
    assert_eq!(verdict.verdict, Inconclusive);
    assert!(
        verdict.reasons[0].contains("digest"),
        "{:?}",
        verdict.reasons
    );
    let mut gone = Run::healthy();
    gone.header.documents.clear();
    assert_eq!(gone.judge().verdict, Inconclusive);
}

#[test]
fn a_precondition_that_does_not_hold_accuses_nobody() {
    let drill = crate::support::DRILL.replace(
        "what   = \"it is logged\"",
        "what   = \"it is logged\"\nprecondition = true",
    );
    let run = without_facts(Run::of(&drill), |f| {
        f.keys
            .get("text")
            .is_some_and(|t| t.to_string().contains("SAFE"))
    });
    let verdict = expect(run, "logged", Inconclusive);
    assert_eq!(verdict.verdict, Inconclusive);
}

#[test]
fn absurd_times_never_panic() {
    for absurd in [0, 1, u64::MAX / 2, u64::MAX] {
        for which in 0..4 {
            let mut run = Run::healthy().edit(|e| {
                match (which, e) {
                    (0, Event::Edge(x)) => x.at_ns = absurd,
                    (1, Event::Sample(x)) => (x.due_ns, x.took_ns) = (absurd, u64::MAX),
                    (2, Event::Op(x)) => (x.at_ns, x.intended_ns) = (absurd, u64::MAX),
                    (3, Event::Fact(x)) => x.at_ns = absurd,
                    _ => {}
                }
                true
            });
            let starved = Event::Starved {
                from_ns: absurd / 2,
                to_ns: absurd,
            };
            run.events.push((5990, starved));
            let mut journal = read(&run.bytes()).unwrap();
            assert_eq!(judge(&journal).drills.len(), 1, "{which} at {absurd}");
            journal.events[5].mono_ns = absurd;
            assert_eq!(judge(&journal).drills.len(), 1, "{which} at {absurd}");
        }
    }
}
