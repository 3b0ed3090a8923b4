//! A synthetic soak of twelve minutes: with all well, with a leak, and with data missing.

use firedrill_journal::{
    Document, DocumentRole, Event, FactSource, RunKind, Sample, SampleResult, act, read, sha256_hex,
};
use firedrill_plan::{HEARTBEAT_FIELD, Known, parse_policy};
use firedrill_verdict::{Outcome, Recorded, SoakVerdict, Verdict};

use crate::support::Run;

const MS: u64 = 1_000_000;
/// Quiet time before the drill, milliseconds.
const BEFORE: u64 = 720_000;
const SERIES: &str = "process_resident_memory_bytes";
const PROBE: &str = "watch:metrics:worker:/metrics";

const PROFILE: &str = r#"title  = "t"
class  = "nightly"
pace   = "quick"
quiet  = "3s"
settle = "1s"
drills = ["outage"]
checkpoints = ["1m", "5m", "15m"]

[catches]
leaks-memory = "memory"

[load]
signals_per_s = 10

[[watch]]
id      = "memory"
what    = "memory doesn't grow towards its limit"
probe   = { metric = "process_resident_memory_bytes", service = "worker" }
limit   = 1000
horizon = "4h"
at_most = 900
"#;

/// The healthy run of one drill, after twelve quiet minutes, with a series sampled every second.
pub fn recorded(value: impl Fn(u64) -> Option<f64>) -> Run {
    let mut run = Run::healthy();
    run.header.run.kind = RunKind::Soak;
    run.header.run.profile = "soak".into();
    run.header.documents.push(Document {
        role: DocumentRole::Profile,
        path: "drills/profiles/soak.toml".into(),
        sha256: sha256_hex(PROFILE.as_bytes()),
        text: PROFILE.into(),
    });
    let schedule = r#"{"seed":1,"length_ms":725000,"gap_ms":3000,"waits":true,"episodes":[],"rates":[],"checkpoints":[]}"#;
    run.header.documents.push(Document {
        role: DocumentRole::Schedule,
        path: "schedule.json".into(),
        sha256: sha256_hex(schedule.as_bytes()),
        text: schedule.into(),
    });
    for (at, event) in &mut run.events {
        *at += BEFORE;
        shift(event);
    }
    let begins = serde_json::json!({ "elapsed_ms": 0 });
    run.fact(0, FactSource::Act, act::BEGINS, begins);
    for second in 0..725 {
        let result = match value(second) {
            Some(value) => page(second, value),
            None => SampleResult::Missing("connection refused".into()),
        };
        let sample = Sample {
            probe: PROBE.into(),
            due_ns: second * 1000 * MS,
            took_ns: 3 * MS,
            result,
        };
        run.events.push((second * 1000 + 3, Event::Sample(sample)));
    }
    run.events.sort_by_key(|(at, _)| *at);
    run
}

/// A page of metrics as it is read at that second, its heartbeat moving.
pub fn page(second: u64, value: f64) -> SampleResult {
    let beat = (HEARTBEAT_FIELD.to_owned(), second.into());
    SampleResult::Value([(SERIES.to_owned(), value.into()), beat].into())
}

fn shift(event: &mut Event) {
    let by = BEFORE * MS;
    match event {
        Event::Edge(edge) => edge.at_ns += by,
        Event::Op(op) => {
            op.intended_ns += by;
            op.at_ns += by;
        }
        Event::Sample(sample) => sample.due_ns += by,
        Event::Fact(fact) => fact.at_ns += by,
        // The streams were there all the time.
        _ => {}
    }
}

fn judged(value: impl Fn(u64) -> Option<f64>) -> (Verdict, SoakVerdict) {
    let verdict = recorded(value).judge();
    let soak = verdict
        .soak
        .clone()
        .expect("a soak has a section of its own");
    (verdict, soak)
}

/// Noise of one percent of the headroom, the same every time.
fn noisy(second: u64, level: f64) -> f64 {
    let at = second as f64;
    level + 4.0 * (at * 1.7).sin() + 4.0 * (at * 0.37).cos()
}

#[test]
fn a_quiet_soak_passes() {
    let (verdict, soak) = judged(|s| Some(noisy(s, 400.0)));
    assert_eq!(verdict.reasons, [""; 0]);
    assert_eq!(
        (verdict.verdict, soak.verdict),
        (Outcome::Pass, Outcome::Pass)
    );
    assert_eq!((soak.faults, soak.faults_proven), (1, 1));
    let share = soak.quiet_share.expect("a share");
    assert!((0.99..1.0).contains(&share), "{share}");
    assert_eq!(soak.disturbed.len(), 1);
    let watch = &soak.watches[0];
    assert!(
        watch.samples >= 715 && watch.coverage > Some(0.99),
        "{watch:?}"
    );
    assert!((990.0..1010.0).contains(&watch.largest_gap_ms.unwrap_or_default()));
    let drift = watch.drift.as_ref().expect("a limit");
    let slope = drift.slope_per_h.as_ref().expect("a slope");
    assert!(slope.low < 0.0 && slope.high > 0.0, "flat: {slope:?}");
    assert!(watch.bins.len() > 100 && watch.bins.iter().flatten().count() > 100);
    // Nothing is mined while Redis is out.
    let intents = &soak.intents;
    assert_eq!(
        intents.total,
        intents.executed + intents.rest.values().sum::<u64>()
    );
    assert_eq!(intents.rest.keys().collect::<Vec<_>>(), ["SIMULATED"]);
}

#[test]
fn a_leak_fails_and_says_when_the_limit_is_reached() {
    // Six hundred left, three hundred an hour: 2 h from the start, 1 h 48 min from the end.
    let (verdict, soak) = judged(|s| Some(noisy(s, 400.0 + s as f64 / 12.0)));
    assert_eq!(
        (verdict.verdict, soak.verdict),
        (Outcome::Fail, Outcome::Fail)
    );
    let watch = &soak.watches[0];
    assert!(
        watch
            .observed
            .contains("the limit 1000 is reached in 1.8 h"),
        "{}",
        watch.observed
    );
    assert!(
        verdict.reasons[0].starts_with("watch memory: +"),
        "{:?}",
        verdict.reasons
    );
    let slope = watch.drift.as_ref().and_then(|d| d.slope_per_h.as_ref());
    assert!(
        slope.is_some_and(|s| s.low < 300.0 && s.high > 300.0),
        "{slope:?}"
    );
    let hours = watch.drift.as_ref().and_then(|d| d.hours_to_limit);
    assert!((1.7..1.9).contains(&hours.unwrap_or_default()), "{hours:?}");
}

#[test]
fn a_broken_bound_fails_and_what_happens_in_a_fault_is_left_out() {
    let (verdict, soak) = judged(|s| Some(if s == 300 { 950.0 } else { noisy(s, 400.0) }));
    assert_eq!(
        (verdict.verdict, soak.verdict),
        (Outcome::Fail, Outcome::Fail)
    );
    assert_eq!(soak.watches[0].evidence.len(), 1);
    assert!(
        soak.watches[0].observed.starts_with("1 of "),
        "{}",
        soak.watches[0].observed
    );
    let (verdict, _) = judged(|s| Some(if s == 722 { 950.0 } else { noisy(s, 400.0) }));
    assert_eq!(verdict.verdict, Outcome::Pass, "{:?}", verdict.reasons);
}

#[test]
fn missing_data_is_inconclusive_never_pass() {
    let (verdict, soak) = judged(|s| (s < 300).then(|| noisy(s, 400.0)));
    assert_eq!(
        (verdict.verdict, soak.verdict),
        (Outcome::Inconclusive, Outcome::Inconclusive)
    );
    let observed = &soak.watches[0].observed;
    assert!(
        observed.contains("too little was seen") && observed.contains("connection refused"),
        "{observed}"
    );
    // A gap in the middle is a hole in the drawing, and too long to pass.
    let (verdict, soak) = judged(|s| (!(300..340).contains(&s)).then(|| noisy(s, 400.0)));
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    assert!(soak.watches[0].bins.contains(&None));
    // No sample at all: nobody looked.
    let mut run = recorded(|_| None);
    run.events
        .retain(|(_, e)| !matches!(e, Event::Sample(s) if s.probe.starts_with("watch:")));
    assert_eq!(run.judge().verdict, Outcome::Inconclusive);
}

#[test]
fn each_checkpoint_says_what_was_known_by_then() {
    let (_, soak) = judged(|s| Some(if s == 200 { 950.0 } else { noisy(s, 400.0) }));
    let rows: Vec<(f64, Outcome, u64)> = soak
        .checkpoints
        .iter()
        .map(|c| (c.at_ms, c.verdict, c.watches_within))
        .collect();
    let expected = [(60_000.0, Outcome::Pass, 1), (300_000.0, Outcome::Fail, 0)];
    assert_eq!(rows, expected, "15 min lie beyond the soak");
    assert!(soak.checkpoints[1].reasons[0].starts_with("watch memory: 1 of 301 quiet samples"));
    assert_eq!(soak.checkpoints[1].accepted, 0, "the load came later");
    // Nothing seen by then is no pass, and what came later doesn't count.
    let (_, soak) = judged(|s| (s > 100).then(|| noisy(s, 400.0)));
    let verdicts: Vec<Outcome> = soak.checkpoints.iter().map(|c| c.verdict).collect();
    assert_eq!(verdicts, [Outcome::Inconclusive, Outcome::Inconclusive]);
}

#[test]
fn a_checkpoint_that_the_soak_did_not_reach_is_inconclusive() {
    let mut run = recorded(|s| Some(noisy(s, 400.0)));
    run.events.retain(|(at, event)| match event {
        Event::Sample(sample) => sample.due_ns < 240_000 * MS,
        Event::Edge(_) => false,
        _ => *at < 240_000,
    });
    let verdict = run.judge();
    let soak = verdict.soak.expect("a section");
    assert_eq!(soak.checkpoints[0].verdict, Outcome::Pass);
    assert_eq!(soak.checkpoints[1].run_ms, None);
    assert_eq!(soak.verdict, Outcome::Inconclusive);
    let why = "checkpoint: the soak did not last for 300 s";
    assert!(
        verdict.reasons.iter().any(|r| r == why),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn a_soak_without_its_schedule_is_held_to_each_checkpoint() {
    let mut run = recorded(|s| Some(noisy(s, 400.0)));
    let documents = &mut run.header.documents;
    documents.retain(|d| d.role != DocumentRole::Schedule);
    let verdict = run.judge();
    assert_eq!(verdict.verdict, Outcome::Inconclusive);
    assert_eq!(
        verdict.reasons,
        ["checkpoint: the soak did not last for 900 s"]
    );
}

#[test]
fn the_gate_takes_no_value_beside_a_heartbeat_that_stands_still() {
    let text = format!(
        "title = \"P\"\nclass = \"release\"\n[[rule]]\nid = \"r\"\nwhat = \"r\"\n\
         probe = \"{PROBE}\"\nfield = \"{SERIES}\"\nbelow = 900\n"
    );
    let policy = parse_policy("p.toml", &text, &Known::default());
    let policy = policy.expect("it is valid").value;
    // How many values are missing where the heartbeat is that of the second which is given.
    let missing = |beat: fn(u64) -> Option<u64>| {
        let run = recorded(|_| Some(400.0)).edit(|event| {
            if let Event::Sample(sample) = event
                && let SampleResult::Value(fields) = &mut sample.result
                && sample.probe == PROBE
            {
                fields.remove(HEARTBEAT_FIELD);
                let beat = beat(sample.due_ns / (1000 * MS));
                let beat = beat.map(serde_json::Value::from);
                fields.extend(beat.map(|beat| (HEARTBEAT_FIELD.to_owned(), beat)));
            }
            true
        });
        let journal = read(&run.bytes()).expect("it is whole");
        let seen = Recorded::of(&journal, &policy).series;
        let points = &seen[&(PROBE.to_owned(), SERIES.to_owned())];
        points.iter().filter(|p| p.value.is_none()).count()
    };
    assert_eq!(missing(Some), 0);
    // It may stand still for 5 s: from the sixth second on what is read beside it is nothing.
    let still = |second: u64| match second {
        100..200 => Some(100),
        _ => Some(second),
    };
    assert_eq!(missing(still), 94);
    assert_eq!(missing(|_| None), 725);
}

#[test]
fn the_watch_that_is_named_for_a_bug_is_held_to_it() {
    let of = |defect: &str, leak: f64| {
        let mut run = recorded(|s| Some(noisy(s, 400.0 + s as f64 * leak)));
        run.header.subject.defect = Some(defect.to_owned());
        run.judge().soak.expect("a section").caught
    };
    assert_eq!(of("leaks-memory", 1.0 / 12.0).map(|c| c.failed), Some(true));
    assert_eq!(of("leaks-memory", 0.0).map(|c| c.failed), Some(false));
    assert_eq!(of("leaks-fds", 1.0 / 12.0), None, "the profile names none");
}
