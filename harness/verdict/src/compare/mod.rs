//! Comparison with the accepted run: what changed, and what of it is a regression.
//!
//! A figure is compared by its blocks: medians over stretches of quiet time that are long enough to
//! say little of one another. It has become worse only if that is significant, large *and* above a
//! least change: in hours of load any change is significant, in seconds any change is large.
//!
//! What this module must not know: where an accepted run is kept, and what a policy makes of it.

mod figures;
mod rank;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use figures::{Figure, Toward};

use crate::drift::median;
use crate::model::{Subject, Verdict};
use rank::mann_whitney;

/// Version of the format of a baseline.
const SCHEMA_VERSION: u32 = 1;
/// Largest p-value, one-sided, of a change that is believed; one for each figure of a run.
const ALPHA: f64 = 1e-3;
/// Least effect (Cliff's delta): "large" by Romano et al. 2006.
const EFFECT_MIN: f64 = 0.474;
/// Least change of the median, as a share of the accepted run's. Two runs of one build on a shared
/// machine differ by less.
const CHANGE_MIN: f64 = 0.2;
/// Fewest blocks on either side.
const BLOCKS_MIN: usize = 20;
/// So many robust standard deviations apart, without any overlap, two levels differ whatever their
/// autocorrelation: a resident set that hardly moves within a run has no independent blocks at all.
const APART: f64 = 5.0;

/// The run that later ones are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    pub schema_version: u32,
    /// RFC 3339, UTC.
    pub accepted_at: String,
    pub target: String,
    pub kind: String,
    pub profile: String,
    pub subject: Subject,
    /// The accepted run, or its parts.
    pub runs: Vec<Accepted>,
    /// SHA-256 per document that shaped it.
    pub documents: BTreeMap<String, String>,
    pub drills: BTreeSet<String>,
    /// The longest recovery of each drill that has a budget for it, milliseconds.
    pub recovery_ms: BTreeMap<String, Option<u64>>,
    pub figures: Vec<Figure>,
}

/// An accepted run, by its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    pub run: String,
    pub manifest_sha256: String,
    pub started_at: String,
}

/// What differs between a run and the accepted one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub runs: Vec<Accepted>,
    pub accepted_at: String,
    /// The accepted build.
    pub subject: Subject,
    pub same_subject: bool,
    pub documents: Vec<DocumentChange>,
    /// Drills of the accepted run that this one did not run. A run of drills is compared drill by drill,
    /// so there they are left out.
    pub drills_gone: Vec<String>,
    pub drills_new: Vec<String>,
    pub recoveries: Vec<RecoveryChange>,
    /// Worse first, then what could not be compared.
    pub figures: Vec<FigureChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentChange {
    pub path: String,
    /// `changed`, `added` or `gone`.
    pub how: String,
}

/// One value on either side: shown, and never called a regression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryChange {
    pub drill: String,
    pub was: Option<u64>,
    pub is: Option<u64>,
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shift {
    Better,
    /// No regression was shown: not significant, not large, or below the least change.
    Same,
    /// Too little was seen on one of the sides.
    Unknown,
    Worse,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FigureChange {
    pub id: String,
    /// Medians of the blocks.
    pub was: Option<f64>,
    pub is: Option<f64>,
    /// Change as a share of `was`; `null` where that is 0.
    pub change: Option<f64>,
    /// Cliff's delta, −1 to 1: above 0 where this run's values are the larger ones.
    pub effect: Option<f64>,
    /// One-sided p of Mann–Whitney's U, in the direction of the change.
    pub p: Option<f64>,
    /// Blocks of the accepted run and of this one.
    pub blocks: [usize; 2],
    pub shift: Shift,
    /// Why it could not be compared.
    pub why: Option<String>,
}

impl Baseline {
    /// The figures of a run, or of the parts of one.
    pub fn of(parts: &[(&Verdict, Accepted)], accepted_at: String) -> Option<Baseline> {
        let (first, _) = parts.first()?;
        let mut baseline = Baseline {
            schema_version: SCHEMA_VERSION,
            accepted_at,
            target: first.run.target.clone(),
            kind: first.run.kind.clone(),
            profile: first.run.profile.clone(),
            subject: first.subject.clone(),
            runs: Vec::new(),
            documents: BTreeMap::new(),
            drills: BTreeSet::new(),
            recovery_ms: BTreeMap::new(),
            figures: Vec::new(),
        };
        for (verdict, accepted) in parts {
            baseline.runs.push(accepted.clone());
            baseline.documents.extend(verdict.run.documents.clone());
            baseline.drills.extend(names(verdict));
            baseline.recovery_ms.extend(recoveries(verdict));
            baseline.figures.extend(figures::figures(verdict));
        }
        Some(baseline)
    }

    /// Whether it is of the format that this build reads.
    pub fn readable(&self) -> bool {
        self.schema_version == SCHEMA_VERSION
    }

    /// Whether a run is of the kind that it stands for.
    pub fn is_for(&self, verdict: &Verdict) -> bool {
        let run = &verdict.run;
        self.target == run.target && self.kind == run.kind && self.profile == run.profile
    }
}

impl Comparison {
    /// How many figures have become worse.
    pub fn regressions(&self) -> usize {
        self.count(Shift::Worse)
    }

    /// How many figures could be compared.
    pub fn compared(&self) -> usize {
        self.figures.len() - self.count(Shift::Unknown)
    }

    fn count(&self, shift: Shift) -> usize {
        self.figures.iter().filter(|f| f.shift == shift).count()
    }
}

/// The longest recovery per drill; nothing where one of its episodes has none.
fn recoveries(verdict: &Verdict) -> BTreeMap<String, Option<u64>> {
    let mut all: BTreeMap<String, Option<u64>> = BTreeMap::new();
    let with_budget = verdict.drills.iter();
    for drill in with_budget.filter(|d| d.recovery_budget_ms.is_some()) {
        let own = drill.recovery_ms;
        all.entry(drill.name.clone())
            .and_modify(|longest| *longest = longest.zip(own).map(|(a, b)| a.max(b)))
            .or_insert(own);
    }
    all
}

/// Compares a run with the accepted one.
pub fn compare(baseline: &Baseline, verdict: &Verdict) -> Comparison {
    let partly = verdict.run.kind == "drill";
    let (now, before) = (names(verdict), &baseline.drills);
    let mine = figures::figures(verdict);
    let own = |figure: &&Figure| {
        !partly
            || figure
                .drill
                .as_ref()
                .is_none_or(|drill| now.contains(drill))
    };
    let mut changes: Vec<FigureChange> = baseline
        .figures
        .iter()
        .filter(own)
        .map(|was| change(was, mine.iter().find(|f| f.id == was.id)))
        .collect();
    changes.sort_by_key(|c| std::cmp::Reverse(c.shift));
    let recoveries = recoveries(verdict);
    Comparison {
        runs: baseline.runs.clone(),
        accepted_at: baseline.accepted_at.clone(),
        subject: baseline.subject.clone(),
        same_subject: baseline.subject.digest == verdict.subject.digest,
        documents: documents(baseline, verdict, partly),
        drills_gone: match partly {
            true => Vec::new(),
            false => before.difference(&now).cloned().collect(),
        },
        drills_new: now.difference(before).cloned().collect(),
        recoveries: recoveries
            .into_iter()
            .filter_map(|(drill, is)| {
                let was = *baseline.recovery_ms.get(&drill)?;
                Some(RecoveryChange { drill, was, is })
            })
            .collect(),
        figures: changes,
    }
}

fn names(verdict: &Verdict) -> BTreeSet<String> {
    verdict.drills.iter().map(|d| d.name.clone()).collect()
}

/// Of a run of one drill only what shaped it can be compared: the accepted one may have run others.
fn documents(baseline: &Baseline, verdict: &Verdict, partly: bool) -> Vec<DocumentChange> {
    let (was, is) = (&baseline.documents, &verdict.run.documents);
    let said = |path: &String, how: &str| DocumentChange {
        path: path.clone(),
        how: how.to_owned(),
    };
    let new = is.iter().filter_map(|(path, digest)| match was.get(path) {
        None => Some(said(path, "added")),
        Some(other) if other != digest => Some(said(path, "changed")),
        Some(_) => None,
    });
    let gone = was.keys().filter(|path| !partly && !is.contains_key(*path));
    new.chain(gone.map(|path| said(path, "gone"))).collect()
}

fn change(was: &Figure, is: Option<&Figure>) -> FigureChange {
    let mut change = FigureChange {
        id: was.id.clone(),
        was: level(&was.blocks),
        is: is.and_then(|f| level(&f.blocks)),
        change: None,
        effect: None,
        p: None,
        blocks: [was.blocks.len(), is.map_or(0, |f| f.blocks.len())],
        shift: Shift::Unknown,
        why: None,
    };
    let (Some(before), Some(now), Some(is)) = (change.was, change.is, is) else {
        change.why = Some("nothing of it was seen in quiet time".to_owned());
        return change;
    };
    change.change = (before != 0.0).then(|| (now - before) / before.abs());
    if change.blocks.iter().any(|n| *n < BLOCKS_MIN) {
        let [a, b] = change.blocks;
        change.why = Some(format!(
            "too little quiet time: {a} blocks in the accepted run and {b} in this one, {BLOCKS_MIN} are needed"
        ));
        return change;
    }
    let correlation = was.correlation.max(is.correlation);
    let test = mann_whitney(&was.blocks, &is.blocks, correlation);
    change.effect = Some(test.delta);
    change.p = Some(test.p);
    let significant = test.p < ALPHA || apart(&was.blocks, &is.blocks, test.delta);
    let large = test.delta.abs() >= EFFECT_MIN;
    // Of nothing, any change is one.
    let matters = change.change.is_none_or(|c| c.abs() >= CHANGE_MIN) && now != before;
    change.shift = match (significant && large && matters, was.worse) {
        (false, _) => Shift::Same,
        (true, Toward::Up) if now > before => Shift::Worse,
        (true, Toward::Down) if now < before => Shift::Worse,
        (true, _) => Shift::Better,
    };
    change
}

fn level(blocks: &[f64]) -> Option<f64> {
    (!blocks.is_empty()).then(|| median(&mut blocks.to_vec()))
}

/// Whether two levels have nothing in common.
fn apart(was: &[f64], is: &[f64], delta: f64) -> bool {
    let far = |a: &[f64], b: &[f64]| {
        let (a_level, b_level) = (median(&mut a.to_vec()), median(&mut b.to_vec()));
        (a_level - b_level).abs() >= APART * spread(a).max(spread(b))
    };
    delta.abs() >= 1.0 && far(was, is)
}

/// Standard deviation by the median of the deviations.
fn spread(values: &[f64]) -> f64 {
    let level = median(&mut values.to_vec());
    let mut off: Vec<f64> = values.iter().map(|v| (v - level).abs()).collect();
    1.4826 * median(&mut off)
}

#[cfg(test)]
mod tests;
