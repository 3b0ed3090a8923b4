//! The audit: what was sent, what the record says and what the chain says are reconciled.
//!
//! The ground truth is the chain, then the record, then metrics. Each equation states how many
//! things it compared; without any, or with a source missing, it is INCONCLUSIVE. The history takes
//! events one by one and keeps numbers only; a journal is judged by the same history.

mod equations;
mod feed;
mod finding;
mod history;
mod metrics;
mod names;
mod record;
mod restored;
mod same;
mod shapes;
mod slice;

use std::collections::BTreeMap;

use firedrill_journal::OpState;
use firedrill_plan::Target;

use crate::index::{Index, OpRecord};
use crate::model::{AuditCheck, AuditVerdict, LostByRestore, Outcome};
use crate::words::{quote, to_ms};
pub use finding::{Finding, Gaps, Offence, Problem};
pub use history::{ChainEvent, History, OnChain};
pub use record::{Record, row_text};
use restored::Loss;

/// What the run's drills ask for, as far as the audit must know it.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Signals are sent.
    pub load: bool,
    /// Restores of the record.
    pub restores: u64,
}

/// Ids of all equations, in the order in which they are reported; `metrics` stands last.
pub fn equation_ids() -> impl Iterator<Item = &'static str> {
    let reconciled = equations::EQUATIONS.iter().map(|(id, ..)| *id);
    reconciled.chain([metrics::ID])
}

/// Audits the whole run.
pub fn audit(
    index: &Index<'_>,
    record: &Record<'_>,
    target: &Target,
    planned: Planned,
) -> AuditVerdict {
    let losses = restored::losses(index, planned.restores);
    let (mut history, mut gaps) = feed::feed(index, record, target, &losses);
    let ops = |f: fn(&OpRecord<'_>) -> bool| index.ops.iter().filter(|op| f(op)).count() as u64;
    let accepted = ops(|op| op.state == OpState::Ok && !op.duplicate());
    let sent = ops(|op| !op.shed());
    let mut verdict = AuditVerdict {
        verdict: Outcome::Pass,
        reasons: Vec::new(),
        accepted,
        rejected: ops(|op| op.state == OpState::Rejected),
        unknown: ops(|op| op.state == OpState::Unknown),
        failed: ops(|op| op.state == OpState::Failed && !op.shed()),
        states: states(record),
        first_sends: history.first_sends(),
        mined: history.mined(),
        lost_by_restore: None,
        checks: Vec::new(),
    };
    if sent == 0 && !planned.load {
        return verdict;
    }
    if accepted == 0 {
        verdict.verdict = Outcome::Inconclusive;
        let why = format!("no signal was accepted ({sent} sent): there is nothing to reconcile");
        verdict.reasons.push(why);
    }
    // Whether an equation needs it or not: what the target file asks for was to be read to its end.
    for why in target
        .audit
        .sql
        .keys()
        .filter_map(|table| record.gap(table))
    {
        verdict.verdict = verdict.verdict.max(Outcome::Inconclusive);
        verdict.reasons.push(format!("audit: {why}"));
    }
    if let Some((_, since)) = index.parts.last() {
        let before = |op: &&OpRecord<'_>| op.sent_at() < *since && !op.shed();
        let n = index.ops.iter().filter(before).count();
        verdict.verdict = verdict.verdict.max(Outcome::Inconclusive);
        verdict.reasons.push(format!(
            "audit: {n} signals were sent before the harness died, and their record went with its stack: they are not reconciled"
        ));
    }
    gaps.required = accepted > 0;
    let findings = history.finish();
    verdict.lost_by_restore = lost(&losses.unwrap_or_default(), &findings);
    verdict.checks = findings
        .iter()
        .map(|finding| check(finding, &gaps, index, record, &history))
        .collect();
    let same = same::checks(index, record, &target.audit.same);
    verdict.checks.extend(same);
    if !target.audit.metrics.is_empty() {
        verdict.checks.push(metrics::check(index, target));
    }
    for check in &verdict.checks {
        if check.verdict != Outcome::Pass {
            let why = format!("audit {}: {}", check.id, check.observed);
            verdict.reasons.push(why);
        }
        verdict.verdict = verdict.verdict.max(check.verdict);
    }
    verdict
}

/// What the restores of the record lost, by the equations that allow for it.
fn lost(losses: &[Loss], findings: &[Finding]) -> Option<LostByRestore> {
    let (first, last) = (losses.first()?, losses.last()?);
    let of = |id: &str| {
        findings
            .iter()
            .find(|f| f.id == id)
            .map_or(0, Finding::allowed)
    };
    Some(LostByRestore {
        restores: losses.len() as u64,
        dumped_at_ms: to_ms(first.from),
        restored_at_ms: to_ms(last.to),
        signals: of("lost"),
        transactions: of("chain-in-record"),
    })
}

/// Rows of intents by the state that stands in them.
fn states(record: &Record<'_>) -> BTreeMap<String, u64> {
    let mut states = BTreeMap::new();
    for row in record.rows("intent") {
        let status = row_text(row, "status").unwrap_or("");
        *states.entry(quote(status)).or_default() += 1;
    }
    states
}

fn check(
    finding: &Finding,
    gaps: &Gaps,
    index: &Index<'_>,
    record: &Record<'_>,
    history: &History,
) -> AuditCheck {
    let (verdict, why) = finding.conclude(gaps);
    let slice = finding
        .least()
        .map(|offence| slice::smallest(index, record, history, &offence))
        .unwrap_or_default();
    let (n, violations) = (finding.samples(), finding.violations());
    let observed = match (violations, why) {
        (0, Some(why)) => why,
        (0, None) if n == 0 => "not applicable: there was none".to_owned(),
        (0, None) if finding.allowed() > 0 => {
            let (lost, held) = (finding.allowed(), n - finding.allowed());
            format!("holds for {held} of {n}; lost by the restore: {lost}")
        }
        (0, None) => format!("holds for all {n}"),
        (_, why) => {
            let first = slice.first().map_or("", String::as_str);
            let why = why.map(|why| format!("; {why}")).unwrap_or_default();
            format!("{violations} of {n}: {first}{why}")
        }
    };
    AuditCheck {
        id: finding.id.to_owned(),
        what: finding.what.to_owned(),
        verdict,
        samples: n,
        violations,
        observed,
        slice,
    }
}
