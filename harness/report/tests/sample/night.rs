//! A soak of five hours, as large as one gets: what its report may weigh, and how it looks.

use firedrill_verdict::*;

use super::{check, drill, passing};

const HOURS: f64 = 5.0;
const HOUR_MS: f64 = 3_600_000.0;
const DRILLS: [&str; 8] = [
    "redis-outage",
    "rpc-degraded",
    "redis-partition",
    "postgres-outage",
    "worker-kill",
    "emergency-stop",
    "load-surge",
    "a-drill-whose-name-is-much-longer-than-any-column-of-a-table-would-like-it-to-be",
];
const EPISODES: u32 = 120;

/// A level with a wave on it, gaps in it and a slope under it, in so many bins.
fn bins(count: usize, level: f64, slope: f64) -> Vec<Option<f64>> {
    let value = |bin: usize| {
        let wave = ((bin * 37 % 101) as f64 / 101.0 - 0.5) * level * 0.08;
        level + wave + slope * bin as f64
    };
    (0..count)
        .map(|bin| (bin % 50 > 6).then(|| value(bin)))
        .collect()
}

fn watch(id: &str, level: f64, limit: f64, slope: f64, verdict: Outcome) -> WatchVerdict {
    WatchVerdict {
        id: id.to_owned(),
        what: format!("{id} does not grow towards its limit"),
        source: Some("bot-contract, metrics".to_owned()),
        verdict,
        expected: format!("not on its way to {limit} within 24 h"),
        observed: "12.41 per h (95 %: 11.9 to 13.02)".to_owned(),
        samples: 13_511,
        coverage: Some(0.998),
        largest_gap_ms: Some(2_000.0),
        least: Some(level * 0.95),
        most: Some(level * 1.3),
        drift: Some(DriftVerdict {
            verdict,
            limit,
            horizon_h: 24.0,
            sight_h: 24.0,
            slope_per_h: None,
            shift_per_fault: None,
            level: Some(level),
            hours_to_limit: None,
        }),
        bins_from_ms: 0.0,
        bin_ms: HOURS * HOUR_MS / 200.0,
        bins: bins(200, level, slope),
        evidence: vec![7, 91, 1_204],
    }
}

fn windows() -> Vec<TimelineWindow> {
    let length = HOURS * HOUR_MS / f64::from(EPISODES);
    let phases = ["baseline", "outage", "recovery", "quiesce"];
    let window = |(at, phase): (u32, &str)| {
        let episode = at / 4;
        let from = f64::from(episode) * length + f64::from(at % 4) * length / 16.0;
        let fault = phase == "outage";
        TimelineWindow {
            episode,
            phase: phase.to_owned(),
            fault: fault.then(|| "pause of redis".to_owned()),
            requested: from,
            proven: fault.then_some(from + 12.0),
            heal_requested: fault.then_some(from + length / 18.0),
            healed: Some(from + length / 16.0),
        }
    };
    let all = 0..EPISODES * 4;
    all.map(|at| window((at, phases[at as usize % 4])))
        .collect()
}

fn episode(number: u32) -> DrillVerdict {
    let name = DRILLS[number as usize % DRILLS.len()];
    let mut drill = drill(number, name, Outcome::Pass);
    for extra in 0..9 {
        let id = format!("expectation-{extra}");
        drill
            .checks
            .push(check(&id, "holds all the while", Outcome::Pass));
    }
    drill.recovery_ms = Some(1_800 + u64::from(number * 37 % 900));
    drill
}

/// Everything passes, but for the descriptors.
pub fn soak() -> Verdict {
    let mut verdict = passing();
    verdict.verdict = Outcome::Fail;
    verdict.reasons = vec!["watch fds: 12.41 per h: the limit 4096 is reached in 5 h".to_owned()];
    verdict.run.kind = "soak".to_owned();
    verdict.run.profile = "nightly".to_owned();
    verdict.run.duration_ms = (HOURS * HOUR_MS) as u64;
    verdict.drills = (0..EPISODES).map(episode).collect();
    let series = [
        ("acknowledged/s", 10.0),
        ("refused/s", 0.4),
        ("errors/s", 0.1),
        ("first sends/s", 9.8),
        ("latency p95 (ms)", 18.0),
    ];
    verdict.timeline = Timeline {
        start_ms: 0.0,
        end_ms: HOURS * HOUR_MS,
        bin_ms: HOURS * HOUR_MS / 600.0,
        series: series
            .map(|(name, level)| TimelineSeries {
                name: name.to_owned(),
                values: bins(600, level, 0.0),
            })
            .into(),
        windows: windows(),
        states: verdict.timeline.states,
    };
    let length = HOURS * HOUR_MS / f64::from(EPISODES);
    let disturbed = (0..EPISODES).map(|n| [f64::from(n) * length, (f64::from(n) + 0.2) * length]);
    verdict.soak = Some(SoakVerdict {
        verdict: Outcome::Fail,
        reasons: verdict.reasons.clone(),
        duration_ms: HOURS * HOUR_MS,
        quiet_ms: HOURS * HOUR_MS * 0.8,
        quiet_share: Some(0.8),
        settle_ms: 10_000.0,
        faults: 120,
        faults_proven: 120,
        intents: IntentShares {
            total: 178_204,
            executed: 171_990,
            executed_share: Some(0.965),
            rest: [("REJECTED: emergency stop".to_owned(), 6_214)].into(),
        },
        checkpoints: vec![CheckpointVerdict {
            at_ms: HOUR_MS,
            run_ms: Some(HOUR_MS),
            verdict: Outcome::Pass,
            reasons: Vec::new(),
            accepted: 36_000,
            rejected: 1_440,
            unknown: 0,
            first_sends: 35_280,
            mined: 35_270,
            offences: 0,
            watches: 6,
            watches_within: 6,
        }],
        caught: None,
        watches: vec![
            watch("memory", 9.2e7, 1.073e9, 0.0, Outcome::Pass),
            watch("fds", 41.0, 4_096.0, 1.1, Outcome::Fail),
            watch("threads", 12.0, 512.0, 0.0, Outcome::Pass),
            watch("connections", 9.0, 197.0, 0.0, Outcome::Inconclusive),
            watch("queue", 2.0, 1_000.0, 0.0, Outcome::Pass),
            watch("latency", 18.0, 1_000.0, 0.0, Outcome::Pass),
        ],
        disturbed: disturbed.collect(),
    });
    verdict
}
