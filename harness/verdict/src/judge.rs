//! The whole run: from a journal to a verdict.

use std::collections::{BTreeMap, BTreeSet};

use firedrill_journal::{
    EndReason, Envelope, Event, FactSource, Journal, RunKind, StreamState, View, act,
};
use firedrill_plan::{ActKind, Drill, Profile};

use crate::audit::{Lines, Planned, Record, Whole, audit, losses};
use crate::drill::judge_drill;
use crate::facts::stream_gap;
use crate::heartbeat::mark_stale;
use crate::index::Index;
use crate::model::{
    AuditVerdict, DrillVerdict, LoadFigures, Outcome, Run, SCHEMA_VERSION, Subject, Timeline,
    Verdict,
};
use crate::operators::Span;
use crate::plans::Plans;
use crate::soak::{SoakVerdict, judge_soak};
use crate::tally::{Before, OFFENCES_MAX, Tally};
use crate::timeline::timeline;
use crate::vigil::Misdeed;
use crate::window::Scene;

/// Judges a journal by the documents that its header carries. Total: a journal that can't be judged
/// is INCONCLUSIVE, with the reason.
pub fn judge(journal: &Journal) -> Verdict {
    if journal.header.run.kind == RunKind::Observe {
        return crate::gate::observed::judge(journal, frame(journal), early_end(journal));
    }
    match Plans::of(&journal.header) {
        Ok(plans) => judge_with(journal, &plans),
        Err(why) => unreadable(journal, why),
    }
}

/// Judges a journal by plans that were parsed already, one drill per episode of the header.
pub fn judge_with(journal: &Journal, plans: &Plans) -> Verdict {
    if let Some(why) = unequal(journal, plans) {
        return unreadable(journal, why);
    }
    let mut index = Index::build(journal);
    mark_stale(&mut index, plans);
    let sql = index.streams.get("sql").map_or(&[][..], Vec::as_slice);
    let attached = sql.iter().filter(|s| s.state == StreamState::Attached);
    let before = Before {
        losses: losses(&index, planned(plans).restores),
        collected: attached.map(|s| s.seq).max(),
    };
    let mut tally = Tally::new(plans, journal.header.run.kind, before);
    let is_row =
        |line: &&Envelope| matches!(&line.event, Event::Fact(f) if f.source == FactSource::Sql);
    // The record says what became of all that stands before it, wherever its rows stand.
    for line in journal.events.iter().filter(|line| !is_row(line)) {
        tally.see(line.seq, View::of(&line.event));
    }
    for line in journal.events.iter().filter(is_row) {
        tally.see(line.seq, View::of(&line.event));
    }
    tally.close();
    let record = Record::build(&index, &tally.books.tables);
    let drills = plans.drills.iter().enumerate().map(|(episode, drill)| {
        let scene = Scene::new(&index, &record, drill, episode);
        judge_drill(&scene, plans.pace)
    });
    let drills = drills.collect();
    let whole = Whole {
        index: &index,
        record: &record,
    };
    assemble(journal, plans, (&index, &tally), drills, &whole)
}

/// Why plans aren't those of a journal.
pub(crate) fn unequal(journal: &Journal, plans: &Plans) -> Option<String> {
    let (n, m) = (plans.drills.len(), journal.header.episodes.len());
    (n != m).then(|| format!("{n} drills for {m} episodes"))
}

/// What the run's drills ask of the audit.
pub(crate) fn planned(plans: &Plans) -> Planned {
    Planned {
        load: plans.drills.iter().any(|d| sends_signals(d)),
        restores: plans.drills.iter().map(|d| restores(d)).sum(),
    }
}

/// Says what all that was found out comes to. Of the journal's lines only the last one is looked at.
pub(crate) fn assemble(
    journal: &Journal,
    plans: &Plans,
    (index, tally): (&Index<'_>, &Tally<'_>),
    drills: Vec<DrillVerdict>,
    lines: &dyn Lines,
) -> Verdict {
    let mut reasons = Vec::new();
    let mut outcome = Outcome::Pass;
    if let Some(why) = early_end(journal) {
        outcome = Outcome::Inconclusive;
        reasons.push((outcome, why));
    }
    reasons.extend(gaps(index));
    reasons.extend(offences(tally));
    if journal.header.run.kind == RunKind::Soak {
        reasons.extend(unwatched(index).map(|why| (Outcome::Inconclusive, why)));
    }
    if drills.is_empty() {
        let why = "no drill was run: nothing was judged".to_owned();
        reasons.push((Outcome::Inconclusive, why));
    }
    reasons.extend(drills.iter().flat_map(drill_reasons));
    let audit = audit(index, tally, &plans.target, planned(plans), lines);
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
        .map(|profile| judge_soak(index, tally, plans, (profile, defect)));
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
        not_exercised: not_exercised(journal, plans, soak.as_ref()),
        load: tally.ops.figures(),
        timeline: timeline(index, tally, plans),
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

pub(crate) fn early_end(journal: &Journal) -> Option<String> {
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

/// What must never happen, and what who looked on while the run went on made of it.
fn offences(tally: &Tally<'_>) -> Vec<(Outcome, String)> {
    let mut words: Vec<String> = tally.misdeeds.iter().map(Misdeed::words).collect();
    for why in &tally.told {
        if words.len() < OFFENCES_MAX && !words.contains(why) {
            words.push(why.clone());
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
fn not_exercised(journal: &Journal, plans: &Plans, soak: Option<&SoakVerdict>) -> Vec<String> {
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
    words.extend(plans.profile.as_ref().and_then(|p| short_sight(soak?, p)));
    if plans.target.audit.metrics.is_empty() {
        words.push("no metric was compared with the database".to_owned());
    }
    words
}

/// Trends that were asked for further ahead than a soak of that length can see.
fn short_sight(soak: &SoakVerdict, profile: &Profile) -> Option<String> {
    let times = profile.look_ahead?;
    let drifts = soak.watches.iter().filter_map(|w| w.drift.as_ref());
    let short: Vec<_> = drifts.filter(|d| d.sight_h < d.horizon_h).collect();
    let furthest = short.iter().map(|d| d.horizon_h).reduce(f64::max)?;
    Some(format!(
        "growth beyond {:.1} h: the soak was too short to look further ahead than {times} times its length, and {} of its watches ask for up to {furthest:.0} h",
        soak.duration_ms / 3.6e6 * times,
        short.len()
    ))
}

pub(crate) fn unreadable(journal: &Journal, why: String) -> Verdict {
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
