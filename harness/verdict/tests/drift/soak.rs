//! A synthetic soak of twelve minutes: with all well, with a leak, and with data missing.

use firedrill_journal::{Document, DocumentRole, Event, RunKind, Sample, SampleResult, sha256_hex};
use firedrill_verdict::{Outcome, SoakVerdict, Verdict};

use crate::support::Run;

const MS: u64 = 1_000_000;
/// Quiet time before the drill, milliseconds.
const BEFORE: u64 = 720_000;
const SERIES: &str = "process_resident_memory_bytes";

const PROFILE: &str = r#"title  = "t"
class  = "nightly"
pace   = "quick"
quiet  = "3s"
settle = "1s"
drills = ["outage"]

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
fn recorded(value: impl Fn(u64) -> Option<f64>) -> Run {
    let mut run = Run::healthy();
    run.header.run.kind = RunKind::Soak;
    run.header.run.profile = "soak".into();
    run.header.documents.push(Document {
        role: DocumentRole::Profile,
        path: "drills/profiles/soak.toml".into(),
        sha256: sha256_hex(PROFILE.as_bytes()),
        text: PROFILE.into(),
    });
    for (at, event) in &mut run.events {
        *at += BEFORE;
        shift(event);
    }
    for second in 0..725 {
        let result = match value(second) {
            Some(value) => SampleResult::Value([(SERIES.to_owned(), value.into())].into()),
            None => SampleResult::Missing("connection refused".into()),
        };
        let sample = Sample {
            probe: "watch:metrics:worker:/metrics".into(),
            due_ns: second * 1000 * MS,
            took_ns: 3 * MS,
            result,
        };
        run.events.push((second * 1000 + 3, Event::Sample(sample)));
    }
    run.events.sort_by_key(|(at, _)| *at);
    run
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
