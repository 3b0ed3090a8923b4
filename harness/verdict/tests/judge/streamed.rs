//! A soak is judged line by line, without holding it. Whatever stands in a journal, that must say what the judge says
//! that holds all of it: each golden journal of a rule, taken for a soak's, and the same cut short.

use std::fs;
use std::path::{Path, PathBuf};

use firedrill_journal::{
    Document, DocumentRole, EdgeKind, Event, Fact, FactSource, Journal, RunKind, StreamState,
    Writer, act, open, read, read_run, sha256_hex,
};
use firedrill_verdict::{Outcome, Verdict, judge, judge_run, verdict_json};

use serde_json::json;

use crate::support::{DRILL, Run, check, tag};

/// Lines of a journal that are left of it in turn.
const CUTS: u64 = 3;

const PROFILE: &str = r#"title  = "t"
class  = "nightly"
pace   = "quick"
quiet  = "3s"
settle = "1s"
drills = ["DRILL"]

[load]
signals_per_s = 10
"#;

fn golden() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/journals/rules");
    let rules = fs::read_dir(root).expect("there are golden journals");
    let files = rules.flat_map(|rule| {
        let rule = rule.expect("a folder").path();
        fs::read_dir(rule)
            .expect("a folder")
            .map(|f| f.expect("a file").path())
    });
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    files
}

/// The same run as a soak of that drill, in segments, and no more than that many lines of it.
fn as_soak(folder: &Path, mut journal: Journal, lines: u64) -> PathBuf {
    let run = folder.join("run");
    fs::create_dir(&run).expect("it can be made");
    let drill = journal.header.episodes[0].drill.clone();
    let text = PROFILE.replace("DRILL", &drill);
    journal.header.run.kind = RunKind::Soak;
    journal.header.documents.push(Document {
        role: DocumentRole::Profile,
        path: "drills/profiles/t.toml".into(),
        sha256: sha256_hex(text.as_bytes()),
        text,
    });
    let mut writer = Writer::segments(&run).expect("it can be made");
    for line in journal
        .events
        .into_iter()
        .take(usize::try_from(lines).unwrap_or(usize::MAX))
    {
        let event = match line.event {
            Event::Header(_) => Event::Header(Box::new(journal.header.clone())),
            Event::End(mut end) => {
                end.counts = writer.counts().clone();
                Event::End(end)
            }
            other => other,
        };
        let first = matches!(event, Event::Header(_));
        writer
            .append(line.mono_ns, line.wall, event)
            .expect("it is written");
        if first {
            let begins = Fact {
                source: FactSource::Act,
                what: act::BEGINS.into(),
                at_ns: 0,
                keys: [("elapsed_ms".to_owned(), 0.into())].into(),
            };
            writer
                .append(line.mono_ns, line.wall, Event::Fact(begins))
                .expect("it is written");
        }
    }
    writer.seal().expect("it is sealed");
    run
}

fn both(run: &Path) -> (Verdict, Verdict) {
    let whole = judge(&read_run(run).expect("it is readable"));
    let mut seen = 0;
    let streamed = judge_run(&|| open(run), &mut |_| seen += 1).expect("it is readable");
    assert_eq!(seen, streamed.lines, "every line is shown");
    (whole, streamed.verdict)
}

/// A soak of that run: both its verdicts, which must be the same.
fn alike(run: &Run) -> (Verdict, Verdict) {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = read(&run.bytes()).expect("it is readable");
    let (whole, streamed) = both(&as_soak(folder.path(), journal, u64::MAX));
    let (a, b) = (verdict_json(&whole), verdict_json(&streamed));
    assert!(a == b, "{}", differences(&a, &b));
    (whole, streamed)
}

#[test]
fn a_soak_is_judged_line_by_line_as_it_is_in_memory() {
    let (mut compared, mut held, mut outcomes) = (0, 0, [0; 3]);
    for path in golden() {
        let bytes = fs::read(&path).expect("it is readable");
        let journal = read(&bytes).expect("the header is whole");
        if journal.header.run.kind != RunKind::Drill || journal.header.episodes.is_empty() {
            continue;
        }
        let all = journal.events.len() as u64;
        for part in 1..=CUTS {
            let folder = tempfile::tempdir().expect("a folder");
            let run = as_soak(folder.path(), journal.clone(), all * part / CUTS);
            let (whole, streamed) = both(&run);
            let (whole_json, json) = (verdict_json(&whole), verdict_json(&streamed));
            assert!(
                whole_json == json,
                "{} up to {part}/{CUTS}:\n{}",
                path.display(),
                differences(&whole_json, &json)
            );
            let brief = judge_run(&|| open(&run), &mut |_| {}).expect("it is readable");
            held += u64::from((brief.journal.events.len() as u64) < brief.lines);
            compared += 1;
            outcomes[match whole.verdict {
                Outcome::Pass => 0,
                Outcome::Fail => 1,
                Outcome::Inconclusive => 2,
            }] += 1;
        }
    }
    assert!(
        compared >= 150 && held > compared / 2,
        "{compared}, {held} of them streamed"
    );
    assert!(outcomes.iter().all(|n| *n > 0), "{outcomes:?}");
}

/// The lines that differ, a few of them.
fn differences(a: &str, b: &str) -> String {
    let pairs = a.lines().zip(b.lines());
    let differ = pairs.filter(|(a, b)| a != b).take(8);
    differ
        .map(|(a, b)| format!("  whole:    {a}\n  streamed: {b}\n"))
        .collect()
}

pub const ROWS: &str = r#"
[[expect]]
id     = "executed"
what   = "what was sent before the outage is executed"
count  = { row = "execution", signals_of = ["baseline"] }
equals = 11
when   = { from = "baseline" }

[[expect]]
id     = "simulated"
what   = "what was sent in the outage is simulated"
count  = { row = "intent", where = { status = "SIMULATED" }, signals_of = ["outage"] }
at_least = 20
when   = { from = "baseline" }

[[expect]]
id     = "no-reason"
what   = "no intent has that reason"
none   = { row = "intent", where = { reason = "expired" } }
when   = { from = "baseline" }
"#;

/// The tables in the audit's order: only so is a soak that asks for rows judged line by line.
fn in_audit_order(run: &mut Run) {
    let place = |event: &Event| match event {
        Event::Fact(fact) if fact.source == FactSource::Sql => {
            let table = fact.keys.get("table").and_then(|t| t.as_str());
            let table = table.unwrap_or(&fact.what).to_owned();
            let known = firedrill_plan::RECORD_ORDER
                .iter()
                .position(|t| *t == table);
            Some(known.unwrap_or(usize::MAX))
        }
        _ => None,
    };
    let from = run.events.iter().position(|(_, e)| place(e).is_some());
    let from = from.expect("there are rows");
    run.events[from..].sort_by_key(|(_, event)| place(event).unwrap_or(usize::MAX));
}

/// Tables in the audit's order, or, as older journals have them, in the alphabet's.
fn with_rows(in_order: bool) -> (Verdict, Verdict, bool) {
    let mut run = Run::of(&format!("{DRILL}{ROWS}"));
    if in_order {
        in_audit_order(&mut run);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let journal = read(&run.bytes()).expect("it is readable");
    let soak = as_soak(folder.path(), journal, u64::MAX);
    let (whole, streamed) = both(&soak);
    let brief = judge_run(&|| open(&soak), &mut |_| {}).expect("it is readable");
    let held = (brief.journal.events.len() as u64) < brief.lines;
    (whole, streamed, held)
}

#[test]
fn rows_that_a_drill_asks_for_are_found_whatever_the_order_of_the_tables() {
    for in_order in [true, false] {
        let (whole, streamed, held) = with_rows(in_order);
        assert_eq!(
            held, in_order,
            "only what is in order is judged line by line"
        );
        for id in ["executed", "simulated", "no-reason"] {
            for verdict in [&whole, &streamed] {
                let check = check(verdict, id);
                assert_eq!(check.verdict, Outcome::Pass, "{id}: {}", check.observed);
            }
        }
        let (whole, streamed) = (verdict_json(&whole), verdict_json(&streamed));
        assert!(whole == streamed, "{}", differences(&whole, &streamed));
    }
}

/// A row of which nobody knows whose it is belongs to every drill that asks for rows of whatever signals.
#[test]
fn a_row_of_a_signal_that_nobody_sent_counts() {
    let mut run = Run::of(&format!("{DRILL}{ROWS}"));
    let rows = |e: &Event| matches!(e, Event::Fact(f) if f.what == "intent");
    let last = run.events.iter().rposition(|(_, event)| rows(event));
    let (at, row) = run.events[last.expect("there are rows")].clone();
    if let Event::Fact(mut row) = row {
        for (name, text) in [("id", "i-9"), ("key", "stranger"), ("reason", "expired")] {
            row.keys.insert(name.to_owned(), json!(text));
        }
        run.events
            .insert(last.unwrap_or(0) + 1, (at, Event::Fact(row)));
    }
    in_audit_order(&mut run);
    let (whole, streamed) = alike(&run);
    for verdict in [&whole, &streamed] {
        let found = check(verdict, "no-reason");
        assert_eq!(found.verdict, Outcome::Fail, "{}", found.observed);
    }
}

/// A signal that is sent again in another phase belongs to the one in which it was sent first.
#[test]
fn a_row_belongs_to_where_its_signal_was_sent_first() {
    let mut run = Run::of(&format!("{DRILL}{ROWS}"));
    let mut again = Vec::new();
    for (at, event) in &run.events {
        if let Event::Op(op) = event
            && op.id < 5
        {
            let mut op = op.clone();
            op.id += 1_000;
            op.intended_ns += 2_000_000_000;
            op.at_ns += 2_000_000_000;
            if let Some(signal) = &mut op.signal {
                signal.phase = "outage".into();
            }
            op.detail = op.detail.map(|_| "duplicate".into());
            again.push((at + 2_000, Event::Op(op)));
        }
    }
    assert_eq!(again.len(), 10, "five signals and their answers");
    run.events.extend(again);
    run.events.sort_by_key(|(at, _)| *at);
    in_audit_order(&mut run);
    let (whole, streamed) = alike(&run);
    for verdict in [&whole, &streamed] {
        let found = check(verdict, "executed");
        assert_eq!(found.verdict, Outcome::Pass, "{}", found.observed);
    }
}

/// Of earlier drills only that is looked at which still holds.
#[test]
fn a_stream_that_was_attached_before_the_first_drill_is_attached_for_the_last_one() {
    let mut run = Run::healthy();
    let first: Vec<_> = run.events.clone();
    for episode in 1..3 {
        let next = run.header.episodes[0].clone();
        run.header.episodes.push(next);
        let later_ms = 20_000 * u64::from(episode);
        for (at, event) in &first {
            if let Event::Edge(mut edge) = event.clone() {
                edge.episode = episode;
                edge.at_ns += later_ms * 1_000_000;
                run.events.push((at + later_ms, Event::Edge(edge)));
            }
        }
    }
    run.events.sort_by_key(|(at, _)| *at);
    let (whole, streamed) = alike(&run);
    for verdict in [&whole, &streamed] {
        let last = verdict.drills.last().expect("there are three");
        let sent = last.checks.iter().find(|c| c.id == "nothing-sent");
        let sent = sent.expect("it is checked");
        assert_eq!(sent.verdict, Outcome::Pass, "{}", sent.observed);
    }
}

/// A fault may be seen healed long after its drill, whose lines are forgotten by then: what was found in them stays.
#[test]
fn an_edge_that_comes_long_after_its_drill_takes_nothing_back() {
    let mut run = Run::healthy();
    let send = json!({"tx_hash": tag(7001), "from": "0xf", "nonce": 701, "intent": tag(20), "first_send": true, "outcome": "accepted"});
    run.fact(2_500, FactSource::Chain, "submission", send);
    run.stream(30_000, "engine", StreamState::Attached, None);
    run.edge(120_000, "quiesce", false, EdgeKind::Healed);
    run.events.sort_by_key(|(at, _)| *at);
    let folder = tempfile::tempdir().expect("a folder");
    let journal = read(&run.bytes()).expect("it is readable");
    let soak = as_soak(folder.path(), journal, u64::MAX);
    let (whole, streamed) = both(&soak);
    let found = check(&whole, "nothing-sent");
    assert_eq!(found.verdict, Outcome::Fail, "{}", found.observed);
    let (whole, streamed) = (verdict_json(&whole), verdict_json(&streamed));
    assert!(whole == streamed, "{}", differences(&whole, &streamed));
}

/// A send that the harness came to know of that late, though it happened in the outage of the first drill.
fn late_by(ms: u64, change: impl FnOnce(&mut Run)) -> (Verdict, Verdict) {
    let mut run = Run::healthy();
    let send = json!({"tx_hash": tag(7001), "from": "0xf", "nonce": 701, "intent": tag(20), "first_send": true, "outcome": "accepted"});
    run.fact(2_500, FactSource::Chain, "submission", send);
    if let Some((at, _)) = run.events.last_mut() {
        *at += ms;
    }
    change(&mut run);
    run.events.sort_by_key(|(at, _)| *at);
    let folder = tempfile::tempdir().expect("a folder");
    let journal = read(&run.bytes()).expect("it is readable");
    let soak = as_soak(folder.path(), journal, u64::MAX);
    both(&soak)
}

#[test]
fn a_line_counts_however_late_it_came() {
    for ms in [1_000, 9_000, 11_000, 60_000] {
        let (whole, streamed) = late_by(ms, |run| {
            run.stream(20_000, "engine", StreamState::Attached, None);
        });
        let found = check(&whole, "nothing-sent");
        assert_eq!(found.verdict, Outcome::Fail, "{ms}: {}", found.observed);
        let (whole, streamed) = (verdict_json(&whole), verdict_json(&streamed));
        let differences = differences(&whole, &streamed);
        assert!(whole == streamed, "{ms} ms late: {differences}");
    }
}

#[test]
fn a_line_counts_though_the_next_drill_has_begun() {
    let (whole, streamed) = late_by(4_500, |run| {
        let next = run.header.episodes[0].clone();
        run.header.episodes.push(next);
        run.edge(6_500, "baseline", false, EdgeKind::Requested);
        if let Some((_, Event::Edge(edge))) = run.events.last_mut() {
            edge.episode = 1;
        }
    });
    for verdict in [&whole, &streamed] {
        let found = check(verdict, "nothing-sent");
        assert_eq!(found.verdict, Outcome::Fail, "{}", found.observed);
    }
    let (whole, streamed) = (verdict_json(&whole), verdict_json(&streamed));
    assert!(whole == streamed, "{}", differences(&whole, &streamed));
}

/// Rows are compared as they pass: what the chain does after that can't be held against them any more. In memory they
/// are compared in the end.
#[test]
fn a_chain_that_goes_on_while_the_record_is_read_leaves_nothing_to_compare_with() {
    let symbols = |verdict: &Verdict| {
        let checks = verdict.audit.checks.iter();
        let mut same = checks.filter(|c| c.id == "same/symbol-as-asked");
        let check = same.next().expect("symbols are compared");
        (check.verdict, check.observed.clone())
    };
    for again in [false, true] {
        let mut run = Run::healthy();
        if again {
            let mined = json!({"tx_hash": tag(1001), "from": "0xf", "nonce": 1, "intent": tag(1), "first_send": false, "status": 1, "effective_gas_price": 51_000_000, "symbol": "BTC-USD", "side": "LONG", "size_usdc": "10"});
            run.fact(5_925, FactSource::Chain, "mined", mined);
            run.events.sort_by_key(|(at, _)| *at);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let journal = read(&run.bytes()).expect("it is readable");
        let (whole, streamed) = both(&as_soak(folder.path(), journal, u64::MAX));
        assert_eq!(symbols(&whole).0, Outcome::Pass);
        let (verdict, observed) = symbols(&streamed);
        let words = "the chain went on while the record was read";
        assert_eq!(observed == words, again, "{observed}");
        assert_eq!(verdict == Outcome::Inconclusive, again, "{observed}");
    }
}
