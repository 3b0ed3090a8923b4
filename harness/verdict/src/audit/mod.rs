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
mod shapes;
mod slice;

use std::collections::BTreeMap;

use firedrill_journal::OpState;
use firedrill_plan::Target;

use crate::index::{Index, OpRecord};
use crate::model::{AuditCheck, AuditVerdict, Outcome};
use crate::words::quote;
pub use finding::{Finding, Gaps, Offence, Problem};
pub use history::{ChainEvent, History, OnChain};
pub use record::Record;
use record::row_text;

/// Audits the whole run.
pub fn audit(
    index: &Index<'_>,
    record: &Record<'_>,
    target: &Target,
    load_planned: bool,
) -> AuditVerdict {
    let (mut history, mut gaps) = feed::feed(index, record, target);
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
        checks: Vec::new(),
    };
    if sent == 0 && !load_planned {
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
    gaps.required = accepted > 0;
    let findings = history.finish();
    verdict.checks = findings
        .iter()
        .map(|finding| check(finding, &gaps, index, record, &history))
        .collect();
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
