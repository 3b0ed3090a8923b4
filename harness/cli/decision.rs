//! What a decision of `gate` says, held against its own items and the runs that it names. Whoever signs one, or takes a signed
//! one at its word, looks here first.

use firedrill_verdict::{GateDecision, GateOutcome, Outcome, Verdict};

/// As it stands on the first line.
pub fn word(outcome: GateOutcome) -> &'static str {
    match outcome {
        GateOutcome::Go => "GO",
        GateOutcome::NoGo => "NO-GO",
        GateOutcome::SmokePass => "SMOKE PASS",
        GateOutcome::SmokeFail => "SMOKE FAIL",
        GateOutcome::Inconclusive => "INCONCLUSIVE",
    }
}

/// What a policy of that class says where that is the worst item.
fn outcome(class: &str, worst: Outcome) -> Option<GateOutcome> {
    match (class, worst) {
        ("release", Outcome::Pass) => Some(GateOutcome::Go),
        ("release", Outcome::Fail) => Some(GateOutcome::NoGo),
        ("smoke", Outcome::Pass) => Some(GateOutcome::SmokePass),
        ("smoke", Outcome::Fail) => Some(GateOutcome::SmokeFail),
        ("release" | "smoke", Outcome::Inconclusive) => Some(GateOutcome::Inconclusive),
        _ => None,
    }
}

/// Why it can't be what the gate said. `verdicts` are those of its runs, judged again, in the order of its evidence.
pub fn contradiction(decision: &GateDecision, verdicts: &[Verdict]) -> Option<String> {
    if decision.evidence.is_empty() {
        return Some("it rests on no run".to_owned());
    }
    let blocking = decision.items.iter().filter(|i| !i.passed_over);
    let worst = Outcome::worst(blocking.map(|i| i.verdict));
    let (said, headline) = (word(decision.outcome), &decision.headline);
    if outcome(&decision.class, worst) != Some(decision.outcome) || said != headline {
        let worst = worst.word();
        return Some(format!(
            "it says {headline} ({said}), and the worst of its items is {worst}"
        ));
    }
    let mut runs = decision.evidence.iter().zip(verdicts);
    let (evidence, verdict) = runs.find(|(own, judged)| own.verdict != judged.verdict)?;
    Some(format!(
        "it says {} of the run {}, which is {}",
        evidence.verdict.word(),
        evidence.run,
        verdict.verdict.word()
    ))
}
