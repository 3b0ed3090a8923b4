//! The last equation: each metric equals what the database says.

use firedrill_journal::FactSource;
use firedrill_plan::Target;

use super::record::row_text;
use crate::index::{FactAt, Index};
use crate::model::{AuditCheck, Outcome};
use crate::predicate::number_of;
use crate::words::{number, quote};

/// Its name among the equations.
pub const ID: &str = "metrics";

/// Compares the metric equations of the target file, as they were read after quiescence.
pub fn check(index: &Index<'_>, target: &Target) -> AuditCheck {
    let facts = index.facts(FactSource::Metric);
    let (mut samples, mut wrong, mut missing) = (0, Vec::new(), None);
    for equation in &target.audit.metrics {
        let id = equation.id.as_str();
        let named = |f: &&FactAt<'_>| f.fact.what == id || row_text(f, "id") == Some(id);
        match facts.iter().rev().find(named).map(numbers) {
            None => {
                missing.get_or_insert(format!("the metric equation {id} was not read"));
            }
            Some(Err(why)) => {
                missing.get_or_insert(format!("the metric equation {id}: {why}"));
            }
            Some(Ok((metric, database))) => {
                samples += 1;
                if metric != database {
                    let (metric, database) = (number(metric), number(database));
                    wrong.push(format!(
                        "{id}: the metric says {metric}, the database {database}"
                    ));
                }
            }
        }
    }
    let (verdict, observed) = match (wrong.first(), missing) {
        (Some(first), _) => {
            let words = format!("{} of {samples}: {first}", wrong.len());
            (Outcome::Fail, words)
        }
        (None, Some(why)) => (Outcome::Inconclusive, why),
        (None, None) if !index.complete => {
            let words = format!("none of {samples}, but the journal ends early");
            (Outcome::Inconclusive, words)
        }
        (None, None) => (Outcome::Pass, format!("holds for all {samples}")),
    };
    AuditCheck {
        id: ID.to_owned(),
        what: "each metric equals what the database says".to_owned(),
        verdict,
        samples,
        violations: wrong.len() as u64,
        observed,
        slice: wrong,
    }
}

fn numbers(at: &FactAt<'_>) -> Result<(f64, f64), String> {
    let of = |key: &str| at.fact.keys.get(key).and_then(number_of);
    if let (Some(metric), Some(database)) = (of("metric"), of("database")) {
        return Ok((metric, database));
    }
    let why = ["metric_missing", "database_missing"]
        .iter()
        .find_map(|key| row_text(at, key));
    Err(quote(why.unwrap_or("a number is missing")))
}
