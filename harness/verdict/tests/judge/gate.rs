//! The gate: what blocks, and what is never called GO.

use std::time::Duration;

use crate::support::Run;
use firedrill_plan::{Attest, Policy, PolicyClass, Predicate, Requires, Rule};
use firedrill_verdict::{GateDecision, GateOutcome, GateRun, Outcome, gate};
use serde_json::json;

fn policy(class: PolicyClass) -> Policy {
    Policy {
        name: "p".into(),
        title: "P".into(),
        class,
        requires: Requires {
            drills: vec!["outage".into()],
            profile: Some("quick".into()),
            runtime: Some("docker".into()),
            allow_dirty: false,
            fresh_within: Some(Duration::from_secs(3600)),
        },
        roles: vec!["lead".into()],
        attest: vec![],
        rules: vec![rule("audit.lost", 10)],
    }
}

fn rule(figure: &str, samples_min: u64) -> Rule {
    Rule {
        id: "r".into(),
        what: "r".into(),
        figure: figure.into(),
        is: Predicate::Equals(json!(0)),
        samples_min,
        source: None,
    }
}

fn run() -> GateRun {
    GateRun {
        manifest_sha256: "m".into(),
        sealed: Ok(()),
        verdict: Run::healthy().judge(),
    }
}

fn decide(policy: &Policy, runs: &[GateRun]) -> GateDecision {
    let now = "2026-11-21T00:30:00Z".parse().unwrap();
    gate(policy, "digest", "sha256:aa", runs, now)
}

#[track_caller]
fn blocked(policy: &Policy, runs: &[GateRun], outcome: GateOutcome) {
    let decision = decide(policy, runs);
    assert_eq!(decision.outcome, outcome, "{:?}", decision.reasons);
    assert!(!decision.reasons.is_empty());
}

#[test]
fn only_a_release_policy_says_go() {
    let go = decide(&policy(PolicyClass::Release), &[run()]);
    assert_eq!(
        (go.headline.as_str(), go.outcome),
        ("GO", GateOutcome::Go),
        "{:?}",
        go.reasons
    );
    let smoke = decide(&policy(PolicyClass::Smoke), &[run()]);
    assert_eq!(smoke.headline, "SMOKE PASS");
}

#[test]
fn unusable_evidence_is_inconclusive() {
    let policy = policy(PolicyClass::Release);
    blocked(&policy, &[], GateOutcome::Inconclusive);
    let spoil: [fn(&mut GateRun); 8] = [
        |r| r.sealed = Err("journal.jsonl was changed".into()),
        |r| r.verdict.subject.digest = "sha256:bb".into(),
        |r| r.verdict.subject.defect = Some("fails-open".into()),
        |r| r.verdict.subject.dirty = Some(true),
        |r| r.verdict.subject.dirty = None,
        |r| r.verdict.run.profile = "smoke".into(),
        |r| r.verdict.run.runtime = "process".into(),
        |r| r.verdict.run.ended_at = "2026-11-20T00:00:00Z".into(),
    ];
    for (n, spoil) in spoil.iter().enumerate() {
        let mut bad = run();
        spoil(&mut bad);
        let decision = decide(&policy, &[bad]);
        assert_eq!(
            decision.outcome,
            GateOutcome::Inconclusive,
            "{n}: {:?}",
            decision.reasons
        );
    }
}

#[test]
fn mixed_subjects_block() {
    let mut other = run();
    other.verdict.subject.digest = "sha256:bb".into();
    blocked(
        &policy(PolicyClass::Release),
        &[run(), other],
        GateOutcome::Inconclusive,
    );
}

#[test]
fn a_fail_of_any_run_blocks() {
    let mut failed = run();
    failed.verdict.verdict = Outcome::Fail;
    failed.verdict.run.profile = "full".into();
    let policy = policy(PolicyClass::Release);
    blocked(&policy, &[run(), failed.clone()], GateOutcome::NoGo);
    failed.verdict.verdict = Outcome::Inconclusive;
    let decision = decide(&policy, &[run(), failed]);
    assert_eq!(
        decision.outcome,
        GateOutcome::Go,
        "superseded: {:?}",
        decision.reasons
    );
}

#[test]
fn missing_drills_figures_and_signatures_are_inconclusive() {
    let mut drills = policy(PolicyClass::Release);
    drills.requires.drills.push("other".into());
    blocked(&drills, &[run()], GateOutcome::Inconclusive);
    let mut figures = policy(PolicyClass::Release);
    figures.rules = vec![rule("audit.nonsense", 1)];
    blocked(&figures, &[run()], GateOutcome::Inconclusive);
    assert!(decide(&figures, &[run()]).reasons[0].contains("audit.nonsense"));
    figures.rules = vec![rule("audit.lost", 1000)];
    blocked(&figures, &[run()], GateOutcome::Inconclusive);
    let mut lost = run();
    lost.verdict.audit.checks[0].violations = 1;
    blocked(&figures, &[lost], GateOutcome::NoGo);
    let mut attest = policy(PolicyClass::Release);
    attest.attest.push(Attest {
        id: "a".into(),
        text: "on call".into(),
        role: "lead".into(),
        source: None,
    });
    blocked(&attest, &[run()], GateOutcome::Inconclusive);
}
