//! The audit: what was sent, what the record says and what the chain says are reconciled.
//!
//! The ground truth is the chain, then the record, then metrics. Each equation states how many
//! things it compared; without any, or with a source missing, it is INCONCLUSIVE. The history takes
//! events one by one and keeps numbers only; a journal is judged by the same history.

mod books;
mod earlier;
mod equations;
mod finding;
mod history;
mod metrics;
mod names;
mod record;
mod restored;
mod same;
mod shapes;
mod slice;
mod tables;

use firedrill_journal::OpState;
use firedrill_plan::Target;

use crate::index::Index;
use crate::model::{AuditCheck, AuditVerdict, LostByRestore, Outcome};
use crate::tally::{Brief, Tally};
use crate::words::to_ms;
pub use books::Books;
pub use finding::{Finding, Gaps, Offence, Problem};
pub use history::{ChainEvent, History, OnChain};
pub use names::Name;
pub use record::Record;
pub use restored::{Loss, losses};
pub use slice::{Lines, Wanted, Whole};
pub use tables::Tables;

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

/// Audits the whole run. `lines`: where the lines about an offender are to be found again.
pub fn audit(
    index: &Index<'_>,
    tally: &Tally<'_>,
    target: &Target,
    planned: Planned,
    lines: &dyn Lines,
) -> AuditVerdict {
    let ops = |f: fn(&Brief) -> bool| tally.ops.count(f);
    let accepted = ops(|op| op.state == OpState::Ok && !op.duplicate);
    let sent = ops(|op| !op.shed());
    let books = &tally.books;
    let before = books.earlier.iter();
    let mut verdict = AuditVerdict {
        verdict: Outcome::Pass,
        reasons: Vec::new(),
        accepted,
        rejected: ops(|op| op.state == OpState::Rejected),
        unknown: ops(|op| op.state == OpState::Unknown),
        failed: ops(|op| op.state == OpState::Failed && !op.shed()),
        states: books.tables.states.clone(),
        first_sends: books.history.first_sends()
            + before.clone().map(|e| e.first_sends).sum::<u64>(),
        mined: books.history.mined() + before.map(|e| e.mined).sum::<u64>(),
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
    let tables = target.audit.sql.keys();
    for why in tables.filter_map(|table| books.tables.gap(table)) {
        verdict.verdict = verdict.verdict.max(Outcome::Inconclusive);
        verdict.reasons.push(format!("audit: {why}"));
    }
    let mut gaps = books.gaps(index);
    gaps.required = accepted > 0;
    let findings = &books.findings;
    verdict.lost_by_restore = lost(books.losses(), findings);
    let offences: Vec<Offence> = findings.iter().filter_map(Finding::least).collect();
    let mut slices = slice::all(&books.history, &offences, lines).into_iter();
    for finding in findings {
        let slice = finding.least().and_then(|_| slices.next());
        let slice = slice.unwrap_or_default();
        verdict.checks.push(check(finding, &gaps, slice));
    }
    verdict.checks.extend(same::checks(books, index));
    let earlier = books.earlier.iter().enumerate();
    let earlier = earlier.map(|(at, earlier)| earlier.check(at + 1));
    verdict.checks.extend(earlier);
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

fn check(finding: &Finding, gaps: &Gaps, slice: Vec<String>) -> AuditCheck {
    let (verdict, why) = finding.conclude(gaps);
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
