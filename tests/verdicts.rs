//! The judge on recorded runs, without a container: what it says of them whole, cut, edited, and with
//! data missing that nobody may take for a zero.
//!
//! `FIREDRILL_BLESS=1` writes the recorded `verdict.json` anew; `expected.json` is written by people.

mod support;

use std::fs;

use firedrill_journal::{
    EdgeKind, End, EndReason, Envelope, Event, FactSource, Journal, Stream, StreamState, Writer,
};
use firedrill_verdict::{Outcome, Verdict, judge, verdict_json};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use support::{Recorded, lines};
use tempfile::TempDir;

const DRAWS: usize = 100;

/// The same draws each time, others by `FIREDRILL_TEST_SEED`.
fn rng() -> StdRng {
    let seed = std::env::var("FIREDRILL_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(7);
    println!("FIREDRILL_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// What is said of bytes; nothing where they don't even start with a header.
fn judged(bytes: &[u8]) -> Option<Verdict> {
    firedrill_journal::read(bytes)
        .ok()
        .map(|journal| judge(&journal))
}

fn outcome(bytes: &[u8]) -> Outcome {
    judged(bytes).map_or(Outcome::Inconclusive, |verdict| verdict.verdict)
}

fn ids(verdict: &Verdict, outcome: Outcome) -> Vec<String> {
    let checks = verdict.drills.iter().flat_map(|drill| &drill.checks);
    checks
        .filter(|check| check.verdict == outcome)
        .map(|check| check.id.clone())
        .collect()
}

/// Writes events as a journal again: sequence, chain and counts as if nothing had been touched.
fn chained(events: impl IntoIterator<Item = Envelope>) -> Journal {
    let dir = TempDir::new().expect("a temporary folder");
    let path = dir.path().join("journal.jsonl");
    let mut writer = Writer::create(&path).expect("a journal is created");
    for line in events {
        let event = match line.event {
            Event::End(end) => Event::End(End {
                counts: writer.counts().clone(),
                ..end
            }),
            other => other,
        };
        writer
            .append(line.mono_ns, line.wall, event)
            .expect("an event is written");
    }
    writer.seal().expect("the journal is sealed");
    let journal = firedrill_journal::read_file(&path).expect("the journal is readable");
    assert_eq!(journal.truncation, None, "the chain holds");
    journal
}

/// The honest run with its events changed by `change`, which drops an event by returning nothing.
fn honest_with(change: impl Fn(Event) -> Option<Event>) -> Verdict {
    let events = Recorded::load("outage-honest").journal().events;
    let before = events.len();
    let mut touched = 0;
    let changed: Vec<Envelope> = events
        .into_iter()
        .filter_map(|line| {
            let event = change(line.event.clone());
            touched += usize::from(event.as_ref() != Some(&line.event));
            Some(Envelope {
                event: event?,
                ..line
            })
        })
        .collect();
    assert!(
        touched > 0 && touched < before,
        "{touched} of {before} events were touched"
    );
    judge(&chained(changed))
}

/// INCONCLUSIVE, and a reason that names what is missing.
fn misses(what: &str, verdict: &Verdict, words: &[&str]) {
    let reasons = verdict.reasons.join("\n");
    assert_eq!(verdict.verdict, Outcome::Inconclusive, "{what}: {reasons}");
    let named = |reason: &String| words.iter().all(|word| reason.contains(word));
    assert!(
        verdict.reasons.iter().any(named),
        "{what}: no reason names {words:?}:\n{reasons}"
    );
}

#[test]
fn recorded_runs_get_the_verdict_that_is_expected_of_them() {
    for recorded in Recorded::all() {
        let (name, verdict) = (&recorded.name, recorded.verdict());
        let reasons = verdict.reasons.join("\n");
        assert_eq!(
            verdict.verdict.word().to_lowercase(),
            recorded.expected["verdict"],
            "{name}: {reasons}"
        );
        assert_eq!(
            ids(&verdict, Outcome::Fail),
            recorded.expects("failed"),
            "{name}"
        );
        assert_eq!(
            ids(&verdict, Outcome::Inconclusive),
            recorded.expects("inconclusive"),
            "{name}"
        );
        for words in recorded.expects("reasons") {
            assert!(
                reasons.contains(&words),
                "{name}: no {words:?} in {reasons}"
            );
        }
        assert_eq!(
            verdict.reasons.is_empty(),
            verdict.verdict == Outcome::Pass,
            "{name}: {reasons}"
        );
    }
}

/// The check that a drill's [catches] names for a defect is among those that fail.
#[test]
fn recorded_defects_are_caught_by_the_check_that_is_named_for_them() {
    let mut caught = 0;
    for recorded in Recorded::all() {
        let journal = recorded.journal();
        let Some(defect) = &journal.header.subject.defect else {
            continue;
        };
        let plans = firedrill_verdict::Plans::of(&journal.header).expect("its files are readable");
        let named = plans.drills[0]
            .catches
            .get(defect)
            .expect("the drill claims to catch it");
        let failed = ids(&recorded.verdict(), Outcome::Fail);
        assert!(
            failed.contains(named),
            "{}: {named} is not in {failed:?}",
            recorded.name
        );
        caught += 1;
    }
    assert!(caught >= 5, "only {caught} defects are recorded");
}

#[test]
fn verdict_json_is_the_recorded_one_byte_for_byte() {
    for recorded in Recorded::all() {
        let text = verdict_json(&recorded.verdict());
        assert_eq!(
            text,
            verdict_json(&recorded.verdict()),
            "{}: not deterministic",
            recorded.name
        );
        let path = recorded.folder.join("verdict.json");
        if std::env::var_os("FIREDRILL_BLESS").is_some() {
            fs::write(&path, &text).expect("the verdict is written");
        }
        let kept = fs::read_to_string(&path).expect("the recorded verdict is readable");
        let first = kept
            .lines()
            .zip(text.lines())
            .position(|(old, new)| old != new);
        assert!(
            kept == text,
            "{}: the judge says something else from line {first:?} on; if that is meant, look at \
             the difference after FIREDRILL_BLESS=1 cargo test --test verdicts",
            path.display()
        );
    }
}

#[test]
fn a_passing_journal_that_was_cut_never_passes() {
    let mut rng = rng();
    for name in ["outage-honest", "stop-honest"] {
        let bytes = Recorded::load(name).bytes;
        assert_eq!(outcome(&bytes), Outcome::Pass);
        let end = lines(&bytes).last().expect("it has lines").clone();
        let drawn = (0..DRAWS / 2).map(|_| rng.random_range(0..bytes.len()));
        let borders = [0, 1, end.start - 1, end.start, end.start + 1, end.end - 1];
        for cut in drawn.chain(borders) {
            let verdict = outcome(&bytes[..cut]);
            assert_eq!(verdict, Outcome::Inconclusive, "{name} cut at byte {cut}");
        }
    }
}

/// The line of the journal from which on a failed check can be known: its last piece of evidence
/// that is needed. A check without evidence is known only at the end.
fn known_from(verdict: &Verdict, total: usize) -> usize {
    let checks = verdict.drills.iter().flat_map(|drill| &drill.checks);
    let failed = checks.filter(|check| check.verdict == Outcome::Fail);
    let first = failed.filter_map(|check| check.evidence.first());
    first.min().map_or(total, |seq| {
        usize::try_from(*seq).expect("a line number") + 1
    })
}

#[test]
fn a_failing_journal_that_was_cut_fails_if_the_violation_stands_before_the_cut() {
    let mut rng = rng();
    for name in [
        "outage-fails-open",
        "outage-no-health-streak",
        "stop-ignored",
        "stop-queue-runs-later",
    ] {
        let bytes = Recorded::load(name).bytes;
        let all = lines(&bytes);
        let known = known_from(&judged(&bytes).expect("it has a header"), all.len());
        assert!(known < all.len(), "{name}: no violation stands in a line");
        let mut cuts: Vec<usize> = (0..DRAWS / 4)
            .map(|_| rng.random_range(0..bytes.len()))
            .collect();
        cuts.extend([all[known - 1].start, all[known - 1].end]);
        cuts.sort_unstable();
        let mut failed_at = None;
        for cut in cuts {
            let whole = all.iter().take_while(|line| line.end <= cut).count();
            let verdict = outcome(&bytes[..cut]);
            assert_ne!(verdict, Outcome::Pass, "{name} cut at byte {cut}");
            let wanted = if whole >= known {
                Outcome::Fail
            } else {
                Outcome::Inconclusive
            };
            // Some violations are known before their evidence is complete; what was once known stays so.
            let early = verdict == Outcome::Fail && failed_at.is_none() && whole < known;
            assert!(
                verdict == wanted
                    || early
                    || failed_at.is_some_and(|at| at <= cut && verdict == Outcome::Fail),
                "{name} cut at byte {cut}, after {whole} lines, known from {known}: {verdict:?}"
            );
            if verdict == Outcome::Fail {
                failed_at.get_or_insert(cut);
            }
        }
    }
}

#[test]
fn a_flipped_bit_never_passes() {
    let mut rng = rng();
    let recorded = Recorded::load("outage-honest");
    let head = recorded.journal().head;
    let last = lines(&recorded.bytes).last().expect("it has lines").clone();
    let drawn: Vec<usize> = (0..DRAWS)
        .map(|_| rng.random_range(0..last.start))
        .collect();
    for at in drawn {
        let mut bytes = recorded.bytes.clone();
        bytes[at] ^= 1 << rng.random_range(0..7);
        assert_ne!(outcome(&bytes), Outcome::Pass, "byte {at} was flipped");
    }
    // No line follows the last one to tell; the head that the manifest holds does.
    for at in last {
        let mut bytes = recorded.bytes.clone();
        bytes[at] ^= 1 << rng.random_range(0..7);
        let journal = firedrill_journal::read(&bytes).expect("the header is whole");
        assert!(journal.head != head, "byte {at} was flipped");
    }
}

#[test]
fn edited_swapped_dropped_and_repeated_lines_never_pass() {
    let mut rng = rng();
    let bytes = Recorded::load("outage-honest").bytes;
    let all = lines(&bytes);
    let put = |order: &[usize]| -> Vec<u8> {
        order
            .iter()
            .flat_map(|line| bytes[all[*line].clone()].to_vec())
            .collect()
    };
    let order: Vec<usize> = (0..all.len()).collect();
    assert_eq!(
        outcome(&put(&order)),
        Outcome::Pass,
        "the untouched one passes"
    );
    for _ in 0..DRAWS / 4 {
        let one = rng.random_range(0..all.len());
        let other = (one + rng.random_range(1..all.len())) % all.len();
        let mut swapped = order.clone();
        swapped.swap(one, other);
        let mut dropped = order.clone();
        dropped.remove(one);
        let mut repeated = order.clone();
        repeated.insert(one, order[one]);
        for (what, order) in [
            ("swapped", swapped),
            ("dropped", dropped),
            ("repeated", repeated),
        ] {
            assert_ne!(
                outcome(&put(&order)),
                Outcome::Pass,
                "line {one} {what} (other {other})"
            );
        }
    }
}

#[test]
fn an_edited_word_never_passes() {
    let text = String::from_utf8(Recorded::load("outage-fails-open").bytes).expect("it is text");
    let edits = [
        ("\"LIVE\"", "\"DRY\""),
        ("\"defect\":\"fails-open\"", "\"defect\":null"),
    ];
    for (good, bad) in edits {
        assert!(text.contains(good), "it has {good}");
        assert_ne!(
            outcome(text.replace(good, bad).as_bytes()),
            Outcome::Pass,
            "{good} → {bad}"
        );
    }
    // Even with the chain put right, a file that isn't the one of its digest judges nothing.
    let mut events = Recorded::load("outage-honest").journal().events;
    let Event::Header(header) = &mut events[0].event else {
        panic!("it starts with a header")
    };
    for document in &mut header.documents {
        document.text = document.text.replace("within = \"2s\"", "within = \"9s\"");
    }
    misses(
        "an edited drill",
        &judge(&chained(events)),
        &["short-outage.toml", "digest"],
    );
}

#[test]
fn chaining_again_alone_changes_nothing() {
    let recorded = Recorded::load("outage-honest");
    let journal = recorded.journal();
    let again = chained(journal.events.clone());
    assert_eq!(again.head, journal.head);
    assert_eq!(
        verdict_json(&judge(&again)),
        verdict_json(&recorded.verdict())
    );
}

#[test]
fn samples_that_are_missing_are_no_green() {
    for (probe, check) in [
        ("http:webhook:/health", "health-answers"),
        ("http:worker:/health", "dry-at-once"),
    ] {
        let without = honest_with(|event| match &event {
            Event::Sample(sample) if sample.probe == probe => None,
            _ => Some(event),
        });
        misses(probe, &without, &[check, "0 of at least"]);
    }
}

#[test]
fn a_hole_in_the_samples_is_no_green() {
    let journal = Recorded::load("outage-honest").journal();
    let proven = edge_at(&journal, EdgeKind::Proven);
    let hole = proven + 2_200_000_000..proven + 3_200_000_000;
    let without = honest_with(|event| match &event {
        Event::Sample(sample) if hole.contains(&sample.due_ns) => None,
        _ => Some(event),
    });
    misses("a hole of a second", &without, &["health-answers"]);
    let starved = honest_with(|event| match event {
        Event::Stream(stream) if stream.id == "engine" && stream.state == StreamState::Detached => {
            Some(Event::Starved {
                from_ns: proven + 200_000_000,
                to_ns: proven + 3_200_000_000,
            })
        }
        other => Some(other),
    });
    misses(
        "three seconds without the processor",
        &starved,
        &["health-answers", "without a value"],
    );
}

/// Somebody sets the clock back by an hour in the middle of the run: the judge goes by the other one.
#[test]
fn a_step_of_the_wall_clock_changes_no_verdict() {
    let recorded = Recorded::load("outage-honest");
    let mut events = recorded.journal().events;
    let half = events.len() / 2;
    for line in &mut events[half..] {
        line.wall -= jiff::SignedDuration::from_hours(1);
    }
    let (stepped, straight) = (judge(&chained(events)), recorded.verdict());
    assert_ne!(stepped.run.ended_at, straight.run.ended_at, "it stepped");
    assert_eq!(stepped.verdict, Outcome::Pass, "{:?}", stepped.reasons);
    assert_eq!(stepped.drills, straight.drills);
    assert_eq!(stepped.audit, straight.audit);
}

/// When the fault's edge of this kind was.
fn edge_at(journal: &Journal, kind: EdgeKind) -> u64 {
    let mut edges = journal.events.iter().filter_map(|line| match &line.event {
        Event::Edge(edge) if edge.fault.is_some() && edge.kind == kind => Some(edge.at_ns),
        _ => None,
    });
    edges.next().expect("the fault has that edge")
}

#[test]
fn streams_that_were_never_attached_are_no_green() {
    for (id, words) in [
        ("chain", ["nothing-sent", "chain"]),
        ("sql", ["audit", "sql"]),
    ] {
        let without = honest_with(|event| match &event {
            Event::Stream(stream) if stream.id == id && stream.state == StreamState::Attached => {
                None
            }
            _ => Some(event),
        });
        misses(id, &without, &words);
    }
    let gap = honest_with(|event| match event {
        Event::Stream(stream) if stream.id == "chain" && stream.state == StreamState::Detached => {
            let at_ns = edge_at(&Recorded::load("outage-honest").journal(), EdgeKind::Proven)
                + 3_000_000_000;
            Some(Event::Stream(Stream {
                state: StreamState::Gap,
                at_ns,
                ..stream
            }))
        }
        other => Some(other),
    });
    misses(
        "a gap in the chain's stream",
        &gap,
        &["nothing-sent", "chain"],
    );
}

#[test]
fn a_fault_that_was_not_proven_or_not_healed_is_no_green() {
    let cases = [
        (EdgeKind::Requested, "requested"),
        (EdgeKind::Proven, "never proven"),
        (EdgeKind::HealRequested, "never requested"),
        (EdgeKind::Healed, "never proven"),
    ];
    for (kind, words) in cases {
        let without = honest_with(|event| match &event {
            Event::Edge(edge) if edge.fault.is_some() && edge.kind == kind => None,
            _ => Some(event),
        });
        misses(words, &without, &["pause of redis", words]);
    }
    let unseen = honest_with(|event| match event {
        Event::Edge(mut edge) if edge.fault.is_some() && edge.kind == EdgeKind::Proven => {
            edge.proof = None;
            Some(Event::Edge(edge))
        }
        other => Some(other),
    });
    misses(
        "no observation",
        &unseen,
        &["pause of redis", "no observation"],
    );
    let lost = honest_with(|event| match event {
        Event::Edge(mut edge) if edge.fault.is_some() && edge.kind == EdgeKind::Healed => {
            edge.kind = EdgeKind::Lost;
            edge.proof = Some("the container was restarted".to_owned());
            Some(Event::Edge(edge))
        }
        other => Some(other),
    });
    misses(
        "a lost fault",
        &lost,
        &["pause of redis", "the container was restarted"],
    );
}

#[test]
fn facts_that_are_missing_are_no_green() {
    let without = |drop: &dyn Fn(FactSource, &str) -> bool| {
        honest_with(|event| match &event {
            Event::Fact(fact) if drop(fact.source, &fact.what) => None,
            _ => Some(event),
        })
    };
    let all = without(&|source, _| source == FactSource::Sql);
    misses("all rows", &all, &["audit"]);
    let tables = [
        "signal",
        "intent",
        "send",
        "receipt",
        "execution",
        "transition",
        "position",
    ];
    let unnoticed: Vec<&str> = tables
        .into_iter()
        .filter(|table| {
            let rows = without(&|source, what| source == FactSource::Sql && what == *table);
            rows.verdict == Outcome::Pass
        })
        .collect();
    assert_eq!(unnoticed, [""; 0], "tables whose rows nobody misses");
    misses(
        "the word that all was read",
        &without(&|_, what| what == "collected"),
        &["audit"],
    );
    misses(
        "the metrics",
        &without(&|source, _| source == FactSource::Metric),
        &["audit metrics"],
    );
    misses(
        "the mode",
        &without(&|_, what| what == "need"),
        &["needs mode LIVE", "nobody looked"],
    );
    let chain = without(&|source, _| source == FactSource::Chain);
    assert_ne!(chain.verdict, Outcome::Pass, "no transactions");
    assert!(
        chain
            .reasons
            .iter()
            .any(|r| r.contains("needs 3 first sends")),
        "{:?}",
        chain.reasons
    );
}

#[test]
fn a_load_that_is_missing_is_no_green() {
    let without = honest_with(|event| match event {
        Event::Op(_) => None,
        other => Some(other),
    });
    assert_ne!(without.verdict, Outcome::Pass);
    let named = |reason: &String| reason.contains("needs 4 accepted signals");
    assert!(without.reasons.iter().any(named), "{:?}", without.reasons);
}

#[test]
fn a_run_that_did_not_complete_is_no_green() {
    for (reason, word) in [
        (EndReason::Interrupted, "interrupted"),
        (EndReason::Failed, "failed"),
    ] {
        let ended = honest_with(|event| match event {
            Event::End(end) => Some(Event::End(End { reason, ..end })),
            other => Some(other),
        });
        misses(word, &ended, &[word]);
    }
    misses(
        "no end",
        &honest_with(|event| match event {
            Event::Edge(edge) if edge.phase == "recovery" => None,
            other => Some(other),
        }),
        &["recovery"],
    );
}
