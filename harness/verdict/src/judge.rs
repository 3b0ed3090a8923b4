//! The whole run: from a journal to a verdict.

use std::collections::{BTreeMap, BTreeSet};

use firedrill_journal::{EndReason, FactSource, Journal, RunKind, act};
use firedrill_plan::{ActKind, Drill};

use crate::audit::{Planned, Record, audit};
use crate::drill::judge_drill;
use crate::facts::stream_gap;
use crate::heartbeat::mark_stale;
use crate::index::Index;
use crate::load::figures;
use crate::model::{
    AuditVerdict, DrillVerdict, LoadFigures, Outcome, Run, SCHEMA_VERSION, Subject, Timeline,
    Verdict,
};
use crate::operators::Span;
use crate::plans::Plans;
use crate::soak::judge_soak;
use crate::timeline::timeline;
use crate::vigil::{Misdeed, Vigil};
use crate::window::Scene;
use crate::words::quote;

/// Offences that are named; they are of a kind more often than not.
const OFFENCES_MAX: usize = 20;

/// Judges a journal by the documents that its header carries. Total: a journal that can't be judged
/// is INCONCLUSIVE, with the reason.
pub fn judge(journal: &Journal) -> Verdict {
    if journal.header.run.kind == RunKind::Observe {
        return crate::gate::observed::judge(journal, frame(journal), early_end(journal));
    }
    match Plans::of(journal) {
        Ok(plans) => judge_with(journal, &plans),
        Err(why) => unreadable(journal, why),
    }
}

/// Judges a journal by plans that were parsed already, one drill per episode of the header.
pub fn judge_with(journal: &Journal, plans: &Plans) -> Verdict {
    if plans.drills.len() != journal.header.episodes.len() {
        let (n, m) = (plans.drills.len(), journal.header.episodes.len());
        return unreadable(journal, format!("{n} drills for {m} episodes"));
    }
    let mut index = Index::build(journal);
    mark_stale(&mut index, plans);
    let record = Record::build(&index);
    let mut reasons = Vec::new();
    let mut outcome = Outcome::Pass;
    if let Some(why) = early_end(journal) {
        outcome = Outcome::Inconclusive;
        reasons.push((outcome, why));
    }
    reasons.extend(gaps(&index));
    let misdeeds = misdeeds(journal, plans);
    reasons.extend(offences(&index, &misdeeds));
    if journal.header.run.kind == RunKind::Soak {
        reasons.extend(unwatched(&index).map(|why| (Outcome::Inconclusive, why)));
    }
    let mut drills = Vec::new();
    for (episode, drill) in plans.drills.iter().enumerate() {
        let scene = Scene::new(&index, &record, drill, episode);
        drills.push(judge_drill(&scene, plans.pace));
    }
    if drills.is_empty() {
        let why = "no drill was run: nothing was judged".to_owned();
        reasons.push((Outcome::Inconclusive, why));
    }
    reasons.extend(drills.iter().flat_map(drill_reasons));
    let planned = Planned {
        load: plans.drills.iter().any(sends_signals),
        restores: plans.drills.iter().map(restores).sum(),
    };
    let audit = audit(&index, &record, &plans.target, planned);
    reasons.extend(
        audit
            .reasons
            .iter()
            .map(|why| (audit_outcome(&audit, why), why.clone())),
    );
    let defect = journal.header.subject.defect.as_deref();
    let soak = plans
        .profile
        .as_ref()
        .map(|profile| judge_soak(&index, &record, plans, (profile, defect, &misdeeds)));
    for watch in soak.iter().flat_map(|s| &s.watches) {
        if watch.verdict != Outcome::Pass {
            let why = format!("watch {}: {}", watch.id, watch.observed);
            reasons.push((watch.verdict, why));
        }
    }
    for missed in soak.iter().flat_map(|s| &s.checkpoints) {
        if missed.run_ms.is_none() {
            let why = format!("checkpoint: {}", missed.reasons.join("; "));
            reasons.push((Outcome::Inconclusive, why));
        }
    }
    let parts = drills
        .iter()
        .map(|d| d.verdict)
        .chain([audit.verdict, outcome]);
    let outcome = Outcome::worst(parts.chain(reasons.iter().map(|(o, _)| *o)));
    reasons.sort_by_key(|(outcome, _)| std::cmp::Reverse(*outcome));
    Verdict {
        verdict: outcome,
        reasons: reasons.into_iter().map(|(_, why)| why).collect(),
        not_exercised: not_exercised(journal, plans),
        load: figures(&index),
        timeline: timeline(&index, plans),
        audit,
        soak,
        drills,
        ..frame(journal)
    }
}

/// `verdict.json`: pretty, in a fixed order, with a newline at the end.
pub fn verdict_json(verdict: &Verdict) -> String {
    // The struct holds no map with keys that aren't strings and no custom serialiser.
    let mut text = serde_json::to_string_pretty(verdict).unwrap_or_else(|_| "null".to_owned());
    text.push('\n');
    text
}

/// JSON Schema of `verdict.json`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Verdict).to_value()
}

fn early_end(journal: &Journal) -> Option<String> {
    if let Some(cut) = &journal.truncation {
        return Some(format!(
            "the journal can be trusted up to line {} only: {}",
            cut.line, cut.why
        ));
    }
    let end = journal.end()?;
    let detail = end.detail.as_deref().unwrap_or("no detail was given");
    match end.reason {
        EndReason::Completed => None,
        EndReason::Interrupted => Some(format!("the run was interrupted: {detail}")),
        EndReason::Failed => Some(format!("the run itself failed: {detail}")),
    }
}

/// Stretches in which there was no harness.
fn gaps(index: &Index<'_>) -> Vec<(Outcome, String)> {
    let gap = |(from, to): &(u64, u64)| {
        let length = to.saturating_sub(*from) as f64 / 1e9;
        let from = *from as f64 / 1e9;
        let why = format!(
            "the harness died {from:.1} s into the run and was started again after {length:.1} s: nothing was observed in between"
        );
        (Outcome::Inconclusive, why)
    };
    index.parts.iter().map(gap).collect()
}

/// What must never happen, as it stands in the journal. In a soak only: a drill's own expectations say what it
/// forbids.
fn misdeeds(journal: &Journal, plans: &Plans) -> Vec<Misdeed> {
    if journal.header.run.kind != RunKind::Soak {
        return Vec::new();
    }
    let mut vigil = Vigil::new(&plans.drills);
    let seen = journal.events.iter().filter_map(|e| vigil.see(&e.event));
    seen.take(OFFENCES_MAX).collect()
}

/// The same, and what who looked on while the run went on made of it.
fn offences(index: &Index<'_>, misdeeds: &[Misdeed]) -> Vec<(Outcome, String)> {
    let mut words: Vec<String> = misdeeds.iter().map(Misdeed::words).collect();
    let acts = index.facts(FactSource::Act);
    let told = acts
        .iter()
        .filter(|at| at.fact.what == act::OFFENCE)
        .filter_map(|at| Some(quote(at.fact.keys.get("why")?.as_str()?)));
    for why in told {
        if words.len() < OFFENCES_MAX && !words.contains(&why) {
            words.push(why);
        }
    }
    words.into_iter().map(|why| (Outcome::Fail, why)).collect()
}

/// Why a death in the soak could have gone unseen.
fn unwatched(index: &Index<'_>) -> Option<String> {
    let acts = index.facts(FactSource::Act).iter();
    let unseen = |why: &str| format!("a service that ended could have gone unseen: {why}");
    let Some(from) = acts.clone().find(|at| at.fact.what == act::BEGINS) else {
        return Some(unseen("the journal doesn't say when the soak began"));
    };
    let to = acts.rev().find(|at| at.fact.what == act::ENDS);
    let last = index.episodes.last().map_or(0, |e| e.last);
    let span = Span {
        from: from.fact.at_ns,
        to: to.map_or(last, |at| at.fact.at_ns).max(from.fact.at_ns),
    };
    stream_gap(index, "engine", span).map(|gap| unseen(&gap))
}

fn drill_reasons(drill: &DrillVerdict) -> Vec<(Outcome, String)> {
    let mut all = Vec::new();
    for why in &drill.reasons {
        let failed = drill
            .checks
            .iter()
            .any(|c| c.verdict == Outcome::Fail && why.starts_with(&format!("{}: ", c.id)));
        let outcome = if failed {
            Outcome::Fail
        } else {
            Outcome::Inconclusive
        };
        all.push((outcome, format!("{}: {why}", drill.name)));
    }
    all
}

fn audit_outcome(audit: &AuditVerdict, why: &str) -> Outcome {
    let of = |c: &&crate::model::AuditCheck| why.starts_with(&format!("audit {}: ", c.id));
    audit
        .checks
        .iter()
        .find(of)
        .map_or(Outcome::Inconclusive, |c| c.verdict)
}

fn restores(drill: &Drill) -> u64 {
    let acts = drill.phases.iter().flat_map(|p| &p.acts);
    acts.filter(|a| matches!(a.kind, ActKind::Restore)).count() as u64
}

fn sends_signals(drill: &Drill) -> bool {
    let acts = || drill.phases.iter().flat_map(|p| &p.acts);
    drill.load.is_some()
        || drill.phases.iter().any(|p| p.load.is_some())
        || acts().any(|a| {
            matches!(
                a.kind,
                ActKind::Burst { .. }
                    | ActKind::Duplicate { .. }
                    | ActKind::Twins { .. }
                    | ActKind::Malformed { .. }
            )
        })
}

/// What the run did not show, derived from its plan and its header.
fn not_exercised(journal: &Journal, plans: &Plans) -> Vec<String> {
    let mut words = Vec::new();
    let caught: BTreeSet<&str> = plans
        .drills
        .iter()
        .flat_map(|d| d.catches.keys())
        .chain(plans.profile.iter().flat_map(|p| p.catches.keys()))
        .map(String::as_str)
        .collect();
    if let Some(defects) = &plans.target.defects {
        let missed: Vec<&str> = defects
            .names
            .iter()
            .map(String::as_str)
            .filter(|n| !caught.contains(n))
            .collect();
        if !missed.is_empty() {
            let (n, all) = (missed.len(), defects.names.len());
            let names = missed.join(", ");
            words.push(format!(
                "{n} of the {all} known defects of the target are claimed by no drill of this run: {names}"
            ));
        }
    }
    if plans
        .drills
        .iter()
        .all(|d| d.replicas.values().all(|n| *n <= 1))
    {
        words
            .push("every service ran as one instance: nothing was shown about replicas".to_owned());
    }
    if plans.pace != Some(firedrill_plan::Pace::Full) {
        words.push("the full durations of the drills were not run".to_owned());
    }
    if journal.header.run.runtime == "process" {
        words.push(
            "plain processes instead of containers: no isolation, no network of its own".to_owned(),
        );
    }
    if journal.header.run.kind == RunKind::Drill {
        words.push("no soak: nothing was shown about growth over hours".to_owned());
    }
    if plans.profile.as_ref().is_some_and(|p| p.watches.is_empty()) {
        words.push("no series was watched over the whole soak".to_owned());
    }
    if plans.target.audit.metrics.is_empty() {
        words.push("no metric was compared with the database".to_owned());
    }
    words
}

fn unreadable(journal: &Journal, why: String) -> Verdict {
    Verdict {
        reasons: vec![why],
        ..frame(journal)
    }
}

/// A verdict with all that the header says and nothing judged.
pub(crate) fn frame(journal: &Journal) -> Verdict {
    let header = &journal.header;
    let last = journal.events.last();
    let end_ns = journal.events.iter().map(|e| e.mono_ns).max().unwrap_or(0);
    let ended_at = last.map_or(header.run.started_at, |e| e.wall);
    let documents = header.documents.iter();
    Verdict {
        schema_version: SCHEMA_VERSION,
        run: Run {
            id: header.run.id.clone(),
            kind: match header.run.kind {
                RunKind::Drill => "drill",
                RunKind::Soak => "soak",
                RunKind::Observe => "observe",
            }
            .to_owned(),
            profile: header.run.profile.clone(),
            seed: header.run.seed,
            target: header.run.target.clone(),
            runtime: header.run.runtime.clone(),
            started_at: header.run.started_at.to_string(),
            ended_at: ended_at.to_string(),
            duration_ms: end_ns / 1_000_000,
            documents: documents
                .map(|d| (d.path.clone(), d.sha256.clone()))
                .collect(),
        },
        subject: Subject {
            name: header.subject.name.clone(),
            digest: header.subject.digest.clone(),
            version: header.subject.version.clone(),
            git_revision: header.subject.git_revision.clone(),
            dirty: header.subject.dirty,
            defect: header.subject.defect.clone(),
        },
        verdict: Outcome::Inconclusive,
        reasons: Vec::new(),
        drills: Vec::new(),
        audit: AuditVerdict {
            verdict: Outcome::Inconclusive,
            reasons: Vec::new(),
            accepted: 0,
            rejected: 0,
            unknown: 0,
            failed: 0,
            states: BTreeMap::new(),
            first_sends: 0,
            mined: 0,
            lost_by_restore: None,
            checks: Vec::new(),
        },
        soak: None,
        observe: None,
        load: LoadFigures::default(),
        timeline: Timeline::default(),
        journal_head: journal.head.clone(),
        not_exercised: Vec::new(),
    }
}
