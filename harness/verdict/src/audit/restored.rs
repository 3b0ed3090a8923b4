//! What a restore of the record may have lost: the only allowance that the audit makes, and only as wide as the
//! acts of the journal show it.
//!
//! A dump's snapshot is taken at some time after the act began. So what was acknowledged before that moment stands
//! in the dump, and what was begun after the restore's end stands in the record; for what lies between the two the
//! record may be silent. The chain never is: what it shows stands, and an intent whose row is there must know it.

use firedrill_journal::FactSource;
use serde_json::Value;

use crate::index::{FactAt, Index};

/// From the begin of a dump to the end of its restore, nanoseconds of the run's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub from: u64,
    pub to: u64,
}

impl Loss {
    /// Something that began and ended then may have been lost.
    pub fn covers(&self, began: u64, ended: u64) -> bool {
        began <= self.to && ended >= self.from
    }
}

/// The run's losses, each a restore with the last dump before it. `planned`: how many restores its drills ask for.
///
/// # Errors
/// Why it can't be told what was lost.
pub fn losses(index: &Index<'_>, planned: u64) -> Result<Vec<Loss>, String> {
    let mut losses = Vec::new();
    let mut dump = None;
    for at in index.facts(FactSource::Act) {
        match at.fact.what.as_str() {
            "dump" => dump = Some(began(at).ok_or("the journal doesn't say when a dump began")?),
            "restore" => {
                let from = dump.ok_or("a restore stands in the journal, and no dump before it")?;
                let to = at.fact.at_ns;
                losses.push(Loss { from, to });
            }
            _ => {}
        }
    }
    let found = losses.len() as u64;
    match found < planned {
        true => Err(format!(
            "{found} of {planned} restores stand in the journal: what the others lost can't be told"
        )),
        false => Ok(losses),
    }
}

fn began(at: &FactAt<'_>) -> Option<u64> {
    at.fact.keys.get("started_ns").and_then(Value::as_u64)
}
