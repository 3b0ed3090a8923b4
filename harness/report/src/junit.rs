//! JUnit XML as CI servers read it: a suite per drill and one for the audit, a case per check,
//! fault and equation. FAIL is a `failure`; INCONCLUSIVE is an `error`, so that it blocks as well.
//!
//! The output keeps to Jenkins' `junit-10.xsd`, which knows fewer attributes than most writers use.

use std::time::Duration;

use firedrill_verdict::{
    AuditCheck, CheckVerdict, DrillVerdict, FaultVerdict, ObserveVerdict, Outcome, SoakVerdict,
    Verdict,
};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::words::{coverage, drill_label, margin, ms, phase_at};
use crate::{RenderError, clean};

/// All runs as one JUnit file. Of no runs at all it holds one error: finding nothing is a failure.
pub fn junit(verdicts: &[Verdict]) -> Result<String, RenderError> {
    let mut report = Report::new("firedrill");
    if verdicts.is_empty() {
        let mut suite = TestSuite::new("firedrill");
        suite.add_test_case(verdict_case(
            "firedrill",
            Outcome::Inconclusive,
            &["nothing was judged".to_owned()],
        ));
        report.add_test_suite(suite);
    }
    for verdict in verdicts {
        add_run(&mut report, verdict);
    }
    // The schema has no `skipped` on the root; the name before it is fixed, so the first is the root's.
    Ok(report.to_string()?.replacen(" skipped=\"0\"", "", 1))
}

fn add_run(report: &mut Report, verdict: &Verdict) {
    for drill in &verdict.drills {
        report.add_test_suite(drill_suite(verdict, drill));
    }
    if let Some(seen) = &verdict.observe {
        report.add_test_suite(observe_suite(verdict, seen));
    }
    report.add_test_suite(audit_suite(verdict));
    if let Some(soak) = verdict.soak.as_ref().filter(|s| !s.watches.is_empty()) {
        report.add_test_suite(soak_suite(verdict, soak));
    }
    let parts = verdict
        .drills
        .iter()
        .map(|drill| drill.verdict)
        .chain(verdict.soak.as_ref().map(|soak| soak.verdict))
        .chain([verdict.audit.verdict]);
    // A run can be worse than its parts (a cut journal, no drill at all): no green file of a red run.
    if verdict.drills.is_empty() || verdict.verdict > Outcome::worst(parts) {
        let mut suite = new_suite(verdict, "run");
        suite.add_test_case(verdict_case("run", verdict.verdict, &verdict.reasons));
        report.add_test_suite(suite);
    }
}

fn new_suite(verdict: &Verdict, name: &str) -> TestSuite {
    let mut suite = TestSuite::new(clean::line(name));
    // A time that doesn't parse is left out: an invalid attribute would cost the whole file.
    suite.timestamp = verdict.run.started_at.parse().ok();
    suite.set_time(Duration::from_millis(verdict.run.duration_ms));
    let subject = &verdict.subject;
    let run = &verdict.run;
    let properties = [
        ("run", run.id.clone()),
        ("subject", subject.name.clone()),
        ("subject.digest", subject.digest.clone()),
        ("subject.version", subject.version.clone()),
        (
            "subject.defect",
            subject.defect.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        ("seed", run.seed.to_string()),
        ("profile", run.profile.clone()),
        ("target", run.target.clone()),
        ("runtime", run.runtime.clone()),
        ("journal.head", verdict.journal_head.clone()),
    ];
    for (name, value) in properties {
        let value = clean::line(&value);
        suite.add_property((name, value.as_str()));
    }
    suite
}

fn drill_suite(verdict: &Verdict, drill: &DrillVerdict) -> TestSuite {
    let label = clean::line(&drill_label(verdict, drill));
    let mut suite = new_suite(verdict, &label);
    for fault in &drill.faults {
        suite.add_test_case(fault_case(&label, fault));
    }
    for check in &drill.checks {
        suite.add_test_case(check_case(&label, verdict, drill, check));
    }
    let faults = drill.faults.iter().map(|fault| fault.verdict);
    let told = faults
        .chain(drill.checks.iter().map(|check| check.verdict))
        .max();
    if told.is_none_or(|worst| drill.verdict > worst) {
        suite.add_test_case(verdict_case(&label, drill.verdict, &drill.reasons));
    }
    suite
}

fn audit_suite(verdict: &Verdict) -> TestSuite {
    let audit = &verdict.audit;
    let mut suite = new_suite(verdict, "audit");
    for check in &audit.checks {
        suite.add_test_case(equation_case(check));
    }
    let told = audit.checks.iter().map(|check| check.verdict).max();
    if told.is_none_or(|worst| audit.verdict > worst) {
        suite.add_test_case(verdict_case("audit", audit.verdict, &audit.reasons));
    }
    suite
}

fn soak_suite(verdict: &Verdict, soak: &SoakVerdict) -> TestSuite {
    let mut suite = new_suite(verdict, "soak");
    for watch in &soak.watches {
        let message = format!("{}: {}", watch.what, watch.observed);
        let details = [
            format!("expected: {}", watch.expected),
            format!("seen: {}", watch.observed),
            format!(
                "samples {}, coverage {}, largest gap {}",
                watch.samples,
                coverage(watch.coverage, watch.samples),
                ms(watch.largest_gap_ms)
            ),
        ];
        suite.add_test_case(case("soak", &watch.id, watch.verdict, &message, &details));
    }
    suite
}

/// A case per item of the stage and per roll-back.
fn observe_suite(verdict: &Verdict, seen: &ObserveVerdict) -> TestSuite {
    let name = clean::line(&format!("stage {}", seen.stage));
    let mut suite = new_suite(verdict, &name);
    for item in seen.items.iter().filter(|i| !i.passed_over) {
        let message = format!("{}: {}", item.what, item.observed);
        let details = [
            format!("expected: {}", item.expected),
            format!("seen: {}", item.observed),
        ];
        suite.add_test_case(case(&name, &item.id, item.verdict, &message, &details));
    }
    for rollback in &seen.rollbacks {
        let id = format!("roll-back {}", rollback.id);
        let steps: Vec<String> = rollback
            .steps
            .iter()
            .map(|s| format!("{}: {}: {}", s.id, s.verdict.word(), s.observed))
            .collect();
        suite.add_test_case(case(
            &name,
            &id,
            rollback.verdict,
            &rollback.observed,
            &steps,
        ));
    }
    suite
}

fn check_case(
    class: &str,
    verdict: &Verdict,
    drill: &DrillVerdict,
    check: &CheckVerdict,
) -> TestCase {
    let message = format!("{}: {}", check.what, check.observed);
    let phase = check
        .at_ms
        .and_then(|at| phase_at(verdict, drill.episode, at))
        .unwrap_or("n/a");
    let details = [
        format!("expected: {}", check.expected),
        format!("seen: {}", check.observed),
        format!("at: {} into the run, phase {phase}", ms(check.at_ms)),
        format!(
            "margin {}, samples {}, coverage {}, largest gap {}",
            margin(check.margin),
            check.samples,
            coverage(check.coverage, check.samples),
            ms(check.largest_gap_ms)
        ),
        format!(
            "journal lines: {:?}",
            check.evidence.iter().take(20).collect::<Vec<_>>()
        ),
    ];
    case(class, &check.id, check.verdict, &message, &details)
}

fn fault_case(class: &str, fault: &FaultVerdict) -> TestCase {
    let name = format!(
        "fault {} of {} in {}",
        fault.kind, fault.target, fault.phase
    );
    let message = fault
        .reason
        .as_deref()
        .unwrap_or("the fault was not proven");
    let details = [
        format!("requested: {}", ms(fault.requested_at)),
        format!("proven: {}", ms(fault.proven_at)),
        format!("heal requested: {}", ms(fault.heal_requested_at)),
        format!("healed: {}", ms(fault.healed_at)),
        format!("proof: {}", fault.proof.as_deref().unwrap_or("none")),
    ];
    case(class, &name, fault.verdict, message, &details)
}

fn equation_case(check: &AuditCheck) -> TestCase {
    let message = format!("{}: {}", check.what, check.observed);
    let mut details = vec![format!(
        "compared: {}, violations: {}",
        check.samples, check.violations
    )];
    details.extend(check.slice.iter().take(100).cloned());
    case("audit", &check.id, check.verdict, &message, &details)
}

fn verdict_case(class: &str, outcome: Outcome, reasons: &[String]) -> TestCase {
    let message = reasons
        .first()
        .map_or("no reason was recorded", String::as_str);
    case(class, "verdict", outcome, message, reasons)
}

fn case(class: &str, name: &str, outcome: Outcome, message: &str, details: &[String]) -> TestCase {
    let kind = match outcome {
        Outcome::Pass => None,
        Outcome::Fail => Some(NonSuccessKind::Failure),
        Outcome::Inconclusive => Some(NonSuccessKind::Error),
    };
    let status = kind.map_or_else(TestCaseStatus::success, |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        let lines: Vec<String> = details.iter().map(|line| clean::line(line)).collect();
        status
            .set_message(clean::line(message))
            .set_type(outcome.word())
            .set_description(lines.join("\n"));
        status
    });
    let mut case = TestCase::new(clean::line(name), status);
    case.set_classname(class);
    case
}
