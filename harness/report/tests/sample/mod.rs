//! Sample verdicts, as the judge would write them.

pub mod night;

use std::collections::BTreeMap;

use firedrill_report::{Extras, History, PastRun};
use firedrill_verdict::*;

pub fn check(id: &str, what: &str, verdict: Outcome) -> CheckVerdict {
    CheckVerdict {
        id: id.to_owned(),
        what: what.to_owned(),
        source: Some("004.67".to_owned()),
        precondition: false,
        verdict,
        expected: "`/execution_mode/mode` of webhook equals \"DRY\" within 2 s of outage.proven, then throughout".to_owned(),
        observed: "DRY from 412 ms after the edge until the heal was requested".to_owned(),
        worst: Some(412.0),
        margin: Some(0.794),
        samples: 76,
        coverage: Some(1.0),
        largest_gap_ms: Some(104.0),
        at_ms: Some(5_424.0),
        evidence: vec![214, 219, 388],
    }
}

fn fault(verdict: Outcome) -> FaultVerdict {
    FaultVerdict {
        phase: "outage".to_owned(),
        kind: "pause".to_owned(),
        target: "redis".to_owned(),
        requested_at: Some(5_000.0),
        proven_at: Some(5_012.4),
        heal_requested_at: Some(13_020.0),
        healed_at: Some(13_041.0),
        proof: Some("freezer.state read FROZEN; PING got no answer in 50 ms".to_owned()),
        felt: None,
        verdict,
        reason: None,
    }
}

pub fn drill(episode: u32, name: &str, verdict: Outcome) -> DrillVerdict {
    DrillVerdict {
        episode,
        name: name.to_owned(),
        title: "Redis outage: the bot fails safe to DRY, and earns LIVE back".to_owned(),
        verdict,
        reasons: Vec::new(),
        needs: vec![NeedVerdict {
            what: "mode".to_owned(),
            verdict: Outcome::Pass,
            expected: "mode LIVE".to_owned(),
            observed: "LIVE".to_owned(),
        }],
        faults: vec![fault(Outcome::Pass)],
        checks: vec![
            CheckVerdict {
                precondition: true,
                margin: None,
                worst: None,
                ..check("is-live", "the bot is LIVE before the fault", Outcome::Pass)
            },
            check(
                "dry-at-once",
                "falls to DRY at once, and stays there until Redis is back",
                Outcome::Pass,
            ),
            CheckVerdict {
                expected: "no first send on the chain in outage (grace 2 s)".to_owned(),
                observed: "no first send among 71 facts of the chain".to_owned(),
                worst: Some(0.0),
                margin: None,
                coverage: None,
                largest_gap_ms: None,
                ..check(
                    "nothing-sent",
                    "no first send reaches the chain while Redis is out",
                    Outcome::Pass,
                )
            },
        ],
        recovery_ms: Some(2_310),
        recovery_budget_ms: Some(5_000),
        worst_margin: Some(0.42),
    }
}

fn equation(id: &str, what: &str, samples: u64) -> AuditCheck {
    AuditCheck {
        id: id.to_owned(),
        what: what.to_owned(),
        verdict: Outcome::Pass,
        samples,
        violations: 0,
        observed: format!("{samples} compared, none off"),
        slice: Vec::new(),
    }
}

fn series(name: &str, height: f64, in_fault: f64, gap: bool) -> TimelineSeries {
    let values = (0..230).map(|bin| {
        let wave = f64::from((bin * 7) % 5) / 5.0;
        match bin {
            52..=128 if gap && bin < 80 => None,
            52..=128 => Some(in_fault + wave * in_fault / 6.0),
            _ => Some(height + wave * height / 8.0),
        }
    });
    TimelineSeries {
        name: name.to_owned(),
        values: values.collect(),
    }
}

fn span(from_ms: f64, to_ms: f64, value: Option<&str>) -> TimelineSpan {
    TimelineSpan {
        from_ms,
        to_ms,
        value: value.map(str::to_owned),
    }
}

fn window(phase: &str, requested: f64, end: f64) -> TimelineWindow {
    TimelineWindow {
        episode: 0,
        phase: phase.to_owned(),
        fault: None,
        requested,
        proven: None,
        heal_requested: None,
        healed: Some(end),
    }
}

fn timeline() -> Timeline {
    Timeline {
        start_ms: 0.0,
        end_ms: 23_000.0,
        bin_ms: 100.0,
        series: vec![
            series("acknowledged/s", 10.0, 9.0, false),
            series("refused/s", 0.0, 1.0, false),
            series("first sends/s", 9.8, 0.0, false),
            series("latency p95 (ms)", 14.0, 61.0, true),
        ],
        windows: vec![
            window("baseline", 0.0, 5_000.0),
            TimelineWindow {
                fault: Some("pause redis".to_owned()),
                proven: Some(5_212.4),
                heal_requested: Some(12_820.0),
                ..window("outage", 5_000.0, 13_041.0)
            },
            window("recovery", 13_041.0, 23_000.0),
        ],
        states: vec![
            TimelineStates {
                name: "mode of webhook".to_owned(),
                spans: vec![
                    span(0.0, 5_424.0, Some("LIVE")),
                    span(5_424.0, 15_351.0, Some("DRY")),
                    span(15_351.0, 23_000.0, Some("LIVE")),
                ],
            },
            TimelineStates {
                name: "mode of worker".to_owned(),
                spans: vec![
                    span(0.0, 5_300.0, Some("LIVE")),
                    span(5_300.0, 7_100.0, None),
                    span(7_100.0, 15_100.0, Some("DRY")),
                    span(15_100.0, 23_000.0, Some("LIVE")),
                ],
            },
        ],
    }
}

fn run() -> Run {
    Run {
        id: "20261121T010203Z-drill-7-kfpw".to_owned(),
        kind: "drill".to_owned(),
        profile: "quick".to_owned(),
        seed: 7,
        target: "reference".to_owned(),
        runtime: "docker".to_owned(),
        started_at: "2026-11-21T01:02:03.120Z".to_owned(),
        ended_at: "2026-11-21T01:02:26.120Z".to_owned(),
        duration_ms: 23_000,
        documents: BTreeMap::from([
            ("drills/redis-outage.toml".to_owned(), "5e".repeat(32)),
            ("profiles/quick.toml".to_owned(), "77".repeat(32)),
        ]),
    }
}

/// A run of one drill that passed.
pub fn passing() -> Verdict {
    Verdict {
        schema_version: SCHEMA_VERSION,
        run: run(),
        subject: Subject {
            name: "reference-bot".to_owned(),
            digest: format!("sha256:{}", "abcd".repeat(16)),
            version: "0.1.0".to_owned(),
            git_revision: Some("4f2c9d1".to_owned()),
            dirty: Some(false),
            defect: None,
        },
        verdict: Outcome::Pass,
        reasons: Vec::new(),
        drills: vec![drill(0, "redis-outage", Outcome::Pass)],
        audit: AuditVerdict {
            verdict: Outcome::Pass,
            reasons: Vec::new(),
            accepted: 221,
            rejected: 9,
            unknown: 0,
            failed: 0,
            states: BTreeMap::from([("MINED".to_owned(), 139), ("SKIPPED_DRY".to_owned(), 82)]),
            first_sends: 139,
            mined: 139,
            lost_by_restore: None,
            checks: vec![
                equation("lost", "no acknowledged signal is lost", 221),
                equation("duplicates", "each signal is executed at most once", 221),
                equation(
                    "chain-in-record",
                    "every transaction on the chain stands in tx_sends",
                    139,
                ),
            ],
        },
        soak: None,
        observe: None,
        load: LoadFigures {
            sent: 230,
            ok: 221,
            rejected: 9,
            failed: 0,
            unknown: 0,
            shed: 0,
            latency_ms: Some(Percentiles {
                p50: 6.4,
                p95: 14.2,
                p99: 71.0,
                max: 96.3,
            }),
        },
        timeline: timeline(),
        journal_head: "9a".repeat(32),
        not_exercised: vec![
            "no fault of Postgres or of the chain's RPC".to_owned(),
            "two replicas of the worker".to_owned(),
        ],
    }
}

/// A run of a bot with a defect: one drill failed, one is inconclusive, one passed.
pub fn failing() -> Verdict {
    let mut verdict = passing();
    verdict.verdict = Outcome::Fail;
    verdict.subject.defect = Some("fails-open".to_owned());
    verdict.run.runtime = "process".to_owned();
    verdict.reasons = vec![
        "drill rpc-down: check dry-at-once failed: LIVE was read 2,104 ms after the edge"
            .to_owned(),
        "drill emergency-stop: the fault was lost before its heal was requested".to_owned(),
    ];
    let mut failed = drill(1, "rpc-down", Outcome::Fail);
    failed.reasons = vec!["check dry-at-once failed".to_owned()];
    failed.worst_margin = Some(-0.052);
    failed.recovery_ms = None;
    failed.checks[1] = CheckVerdict {
        verdict: Outcome::Fail,
        observed: "webhook still read \"LIVE\" 2,104 ms after the edge".to_owned(),
        worst: Some(2_104.0),
        margin: Some(-0.052),
        at_ms: Some(7_116.0),
        ..failed.checks[1].clone()
    };
    failed.checks.push(CheckVerdict {
        verdict: Outcome::Inconclusive,
        observed: "no sample in the window: the log stream was not attached".to_owned(),
        worst: None,
        margin: None,
        samples: 0,
        coverage: Some(0.0),
        largest_gap_ms: None,
        at_ms: None,
        ..check(
            "logs-clean",
            "no unexpected line at error level",
            Outcome::Inconclusive,
        )
    });
    let mut lost = drill(2, "emergency-stop", Outcome::Inconclusive);
    lost.reasons = vec!["the fault was lost before its heal was requested".to_owned()];
    lost.faults[0].verdict = Outcome::Inconclusive;
    lost.faults[0].healed_at = None;
    lost.faults[0].reason = Some("the container was restarted by someone else".to_owned());
    verdict.drills.push(failed);
    verdict.drills.push(lost);
    for window in &mut verdict.timeline.windows {
        window.episode = 1;
    }
    verdict.audit.verdict = Outcome::Fail;
    verdict.audit.reasons = vec!["2 transactions of one signal".to_owned()];
    verdict.audit.checks[1] = AuditCheck {
        verdict: Outcome::Fail,
        violations: 1,
        observed: "signal 118 was sent twice".to_owned(),
        slice: vec![
            "signal 118   POST /webhook at 11,804 ms → 202".to_owned(),
            "tx 0x5c…91   nonce 61, sent at 11,871 ms, mined".to_owned(),
            "tx 0x77…0b   nonce 62, sent at 13,402 ms, mined".to_owned(),
        ],
        ..verdict.audit.checks[1].clone()
    };
    verdict
}

pub fn gate(verdict: &Verdict) -> GateDecision {
    let outcome = match verdict.verdict {
        Outcome::Pass => GateOutcome::Go,
        Outcome::Fail => GateOutcome::NoGo,
        Outcome::Inconclusive => GateOutcome::Inconclusive,
    };
    GateDecision {
        schema_version: SCHEMA_VERSION,
        policy: "drills/gates/004.toml".to_owned(),
        policy_title: "Canary of the trading bot".to_owned(),
        policy_sha256: "c4".repeat(32),
        class: "release".to_owned(),
        release: Some("v9.0.1-rc1".to_owned()),
        decided_at: "2026-11-21T01:00:00Z".to_owned(),
        stage: None,
        stages: Vec::new(),
        triggers: Vec::new(),
        waivers: Vec::new(),
        signed: Vec::new(),
        subject: verdict.subject.digest.clone(),
        outcome,
        headline: match outcome {
            GateOutcome::Go => "GO",
            GateOutcome::NoGo => "NO-GO",
            _ => "INCONCLUSIVE",
        }
        .to_owned(),
        reasons: verdict.reasons.clone(),
        items: vec![
            GateItem {
                id: "drill.redis-outage".to_owned(),
                what: "the drill passed for this subject".to_owned(),
                verdict: Outcome::Pass,
                expected: "PASS, profile full".to_owned(),
                observed: "PASS, profile full".to_owned(),
                source: Some("004.67".to_owned()),
                passed_over: false,
            },
            GateItem {
                id: "attest.rollback".to_owned(),
                what: "the rollback was rehearsed".to_owned(),
                verdict: Outcome::Inconclusive,
                expected: "signed by the operator".to_owned(),
                observed: "nobody has signed".to_owned(),
                source: None,
                passed_over: false,
            },
        ],
        evidence: vec![GateEvidence {
            run: verdict.run.id.clone(),
            manifest_sha256: "e1".repeat(32),
            verdict: verdict.verdict,
            profile: verdict.run.profile.clone(),
            subject: verdict.subject.digest.clone(),
        }],
        roles: vec!["Release manager".to_owned(), "Operator on duty".to_owned()],
        signatures: ["Release manager", "Operator on duty"]
            .map(|role| RoleSignature {
                role: role.to_owned(),
                counts: false,
                signer: None,
                signed_at: None,
                key: None,
                why: Some("not signed".to_owned()),
            })
            .to_vec(),
    }
}

pub fn extras() -> Extras {
    Extras {
        last_log_lines: BTreeMap::from([
            (
                "webhook".to_owned(),
                vec![
                    "WARN redis: no answer in 250 ms".to_owned(),
                    "INFO mode stays LIVE".to_owned(),
                ],
            ),
            ("worker".to_owned(), Vec::new()),
        ]),
        journal_path: "journal.jsonl".to_owned(),
        rerun: "firedrill run redis-outage --profile quick --seed 7".to_owned(),
        files: vec![
            ("journal.jsonl".to_owned(), "01".repeat(32)),
            ("verdict.json".to_owned(), "02".repeat(32)),
        ],
        history: history(),
        comparison: Some(comparison()),
        not_compared: None,
    }
}

/// Ten runs before, of which one did not show a recovery.
pub fn history() -> History {
    let took = [
        1_900, 2_050, 1_980, 2_240, 0, 2_110, 2_090, 2_300, 2_180, 2_260,
    ];
    let runs = took.into_iter().enumerate().map(|(day, took)| PastRun {
        run: format!("202611{:02}t010203z-soak-7-abcd", day + 10),
        manifest_sha256: "e0".repeat(32),
        started_at: format!("2026-11-{:02}T01:02:03Z", day + 10),
        recovery_ms: BTreeMap::from([("redis-outage".to_owned(), (took > 0).then_some(took))]),
    });
    History {
        runs: runs.collect(),
        left_out: vec!["2 runs with a deliberate defect".to_owned()],
    }
}

fn figure(id: &str, was: f64, is: f64, shift: Shift) -> FigureChange {
    FigureChange {
        id: id.to_owned(),
        was: Some(was),
        is: Some(is),
        change: Some((is - was) / was),
        effect: Some(if shift == Shift::Same { 0.12 } else { 0.94 }),
        p: Some(if shift == Shift::Same { 0.21 } else { 3e-9 }),
        blocks: [41, 44],
        shift,
        why: None,
    }
}

pub fn comparison() -> Comparison {
    Comparison {
        runs: vec![Accepted {
            run: "20261101t010203z-soak-3-wxyz".to_owned(),
            manifest_sha256: "e9".repeat(32),
            started_at: "2026-11-01T01:02:03Z".to_owned(),
        }],
        accepted_at: "2026-11-01T08:00:00Z".to_owned(),
        subject: Subject {
            name: "bot".to_owned(),
            digest: format!("sha256:{}", "5a".repeat(32)),
            version: "1.3.0".to_owned(),
            git_revision: None,
            dirty: Some(false),
            defect: None,
        },
        same_subject: false,
        documents: vec![DocumentChange {
            path: "drills/redis-outage.toml".to_owned(),
            how: "changed".to_owned(),
        }],
        drills_gone: vec!["reorg".to_owned()],
        drills_new: Vec::new(),
        recoveries: vec![RecoveryChange {
            drill: "redis-outage".to_owned(),
            was: Some(1_900),
            is: Some(2_310),
        }],
        figures: vec![
            figure("latency p95 (ms)", 18.4, 31.9, Shift::Worse),
            FigureChange {
                was: None,
                change: None,
                effect: None,
                p: None,
                blocks: [0, 44],
                why: Some("nothing of it was seen in quiet time".to_owned()),
                ..figure("watch queue", 1.0, 2.0, Shift::Unknown)
            },
            figure("acknowledged/s", 10.0, 9.9, Shift::Same),
            figure("watch memory", 92_000_000.0, 61_000_000.0, Shift::Better),
        ],
    }
}
