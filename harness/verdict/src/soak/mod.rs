//! The soak as a whole: its quiet time, the series watched in it, and what became of its intents.
//!
//! What this module must not know: what a drill asks for. Drills are judged by themselves.

mod checkpoint;
mod model;
mod quiet;
mod watch;

pub use model::{
    Caught, CheckpointVerdict, DriftVerdict, IntentShares, Interval, SoakVerdict, WatchVerdict,
};

use firedrill_plan::Profile;

use crate::index::Index;
use crate::model::Outcome;
use crate::plans::Plans;
use crate::tally::Tally;
use crate::words::to_ms;
use checkpoint::judge_checkpoints;
use quiet::Quiet;

/// Judges what the profile asks of the whole soak.
pub fn judge_soak(
    index: &Index<'_>,
    tally: &Tally<'_>,
    plans: &Plans,
    (profile, defect): (&Profile, Option<&str>),
) -> SoakVerdict {
    let quiet = Quiet::of(index, &tally.watched, plans, profile);
    let watches: Vec<WatchVerdict> = profile
        .watches
        .iter()
        .map(|w| watch::judge_watch(index, &tally.watched, w, (&quiet, profile.look_ahead)))
        .collect();
    let mut reasons: Vec<(Outcome, String)> = watches
        .iter()
        .filter(|w| w.verdict != Outcome::Pass)
        .map(|w| (w.verdict, format!("watch {}: {}", w.id, w.observed)))
        .collect();
    // Without its schedule nobody knows how long it was to last: it is held to all of its checkpoints.
    let schedule = plans.schedule.as_ref();
    let length_ms = schedule.map_or(u64::MAX, |s| s.length_ms);
    let checkpoints = judge_checkpoints(index, tally, profile, (&quiet, length_ms));
    for checkpoint in checkpoints.iter().filter(|c| c.run_ms.is_none()) {
        let why = format!("checkpoint {}", checkpoint.reasons.join("; "));
        reasons.push((Outcome::Inconclusive, why));
    }
    reasons.sort_by_key(|(outcome, _)| std::cmp::Reverse(*outcome));
    let faults = || {
        let phases = index.episodes.iter().flat_map(|e| e.phases.values());
        phases.flat_map(|p| p.faults.values())
    };
    let whole = quiet.whole.len();
    SoakVerdict {
        verdict: Outcome::worst(reasons.iter().map(|(o, _)| *o).chain([Outcome::Pass])),
        reasons: reasons.into_iter().map(|(_, why)| why).collect(),
        duration_ms: to_ms(whole),
        quiet_ms: to_ms(quiet.total()),
        quiet_share: (whole > 0).then(|| quiet.total() as f64 / whole as f64),
        settle_ms: profile.settle.as_secs_f64() * 1e3,
        faults: faults().count() as u64,
        faults_proven: faults().filter(|f| f.proven.is_some()).count() as u64,
        intents: tally.books.tables.intents(),
        checkpoints,
        caught: caught(profile, defect, &watches),
        watches,
        disturbed: quiet
            .disturbed
            .iter()
            .map(|s| [to_ms(s.from), to_ms(s.to)])
            .collect(),
    }
}

fn caught(profile: &Profile, defect: Option<&str>, watches: &[WatchVerdict]) -> Option<Caught> {
    let defect = defect?;
    let watch = profile.catches.get(defect)?;
    let own = |w: &&WatchVerdict| w.id.split('/').next() == Some(watch.as_str()) || w.id == *watch;
    Some(Caught {
        defect: defect.to_owned(),
        watch: watch.clone(),
        failed: watches
            .iter()
            .filter(own)
            .any(|w| w.verdict == Outcome::Fail),
    })
}
