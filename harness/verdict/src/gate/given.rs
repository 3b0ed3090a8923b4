//! What others give: files of other tools, documents that a run must have left.

use firedrill_plan::{After, Criterion, EvidenceBy, Import, Stage};
use serde_json::Value;

use super::items::{open, plain};
use super::series::Finding;
use super::{Content, Cx, Imported, item, placed};
use crate::model::{GateItem, Outcome, TriggerFired};
use crate::predicate::{Observed, Test};
use crate::words::{count, predicate};

impl Cx<'_> {
    pub(super) fn imports(&self) -> Vec<GateItem> {
        let mut items = Vec::new();
        for import in &self.policy.imports {
            for stage in self.places(&import.stages) {
                let (verdict, observed) = match self.around.imports.get(&import.id) {
                    None => (
                        Outcome::Inconclusive,
                        format!("not given: --import {}=FILE", import.id),
                    ),
                    Some(given) => self.imported(import, given),
                };
                // A bound of a rule judges the value; here it is that the file is there and about this.
                let wanted = match (&import.is, &import.json) {
                    (Some(is), _) => predicate(is),
                    (None, _) => "at least one test, none failed".to_owned(),
                };
                let result = item(&placed(&import.id, stage), &import.what, verdict)
                    .expected(wanted)
                    .observed(observed);
                items.push(result.source(&import.source));
            }
        }
        items
    }

    fn imported(&self, import: &Import, given: &Imported) -> (Outcome, String) {
        let digest = given.sha256.get(..12).unwrap_or(&given.sha256);
        if let Err(why) = self.about_subject(import, given) {
            return (Outcome::Inconclusive, why);
        }
        match &given.content {
            Content::Junit {
                tests,
                failed,
                skipped,
            } => {
                let words = format!(
                    "{}, {failed} failed, {skipped} skipped, in {digest}",
                    count(*tests, "test")
                );
                match (*tests > *skipped, *failed) {
                    (_, failed) if failed > 0 => (Outcome::Fail, words),
                    (false, _) => (Outcome::Inconclusive, words),
                    (true, _) => (Outcome::Pass, words),
                }
            }
            Content::Json(json) => {
                let pointer = import.json.as_deref().unwrap_or_default();
                let Some(found) = json.pointer(pointer).filter(|v| !v.is_null()) else {
                    return (
                        Outcome::Inconclusive,
                        format!("{digest} holds no {pointer}"),
                    );
                };
                if let Err(why) = enough(import, json) {
                    return (Outcome::Inconclusive, why);
                }
                let test = import.is.as_ref().map(Test::new);
                let holds = test
                    .and_then(Result::ok)
                    .and_then(|t| t.apply(&Observed::Value(found.into())));
                let words = format!("{} in {digest}", crate::words::value(found));
                match holds {
                    Some(true) => (Outcome::Pass, words),
                    Some(false) => (Outcome::Fail, words),
                    None => (Outcome::Inconclusive, words),
                }
            }
        }
    }

    /// Whether an import is about the revision that the runs judged.
    fn about_subject(&self, import: &Import, given: &Imported) -> Result<(), String> {
        let revision = match (&import.revision, &given.content) {
            (Some(pointer), Content::Json(json)) => json
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned),
            _ => given.revision.clone(),
        };
        let Some(revision) = revision else {
            return Err("it doesn't say of which revision it is".to_owned());
        };
        let judged: Vec<&str> = self
            .usable
            .iter()
            .filter_map(|r| r.verdict.subject.git_revision.as_deref())
            .collect();
        match judged.iter().all(|r| *r == revision) {
            _ if judged.is_empty() => Err("the runs name no revision to compare with".to_owned()),
            true => Ok(()),
            false => Err(format!("it is of another revision: {revision}")),
        }
    }

    /// A rule's own bound on the value of an import.
    pub(super) fn import_value(&self, id: &str, criterion: &Criterion) -> Finding {
        let Some(given) = self.around.imports.get(id) else {
            return open(&format!("not given: --import {id}=FILE"));
        };
        let Some(import) = self.policy.imports.iter().find(|i| i.id == id) else {
            return open("no such import");
        };
        if let Err(why) = self.about_subject(import, given) {
            return open(&why);
        }
        let (value, samples) = match &given.content {
            Content::Junit {
                tests,
                failed,
                skipped,
            } => {
                let ran = tests.saturating_sub(*skipped);
                let passed = ran.saturating_sub(*failed);
                (passed as f64 / ran.max(1) as f64, ran)
            }
            Content::Json(json) => {
                let pointer = import.json.as_deref().unwrap_or_default();
                let Some(n) = json.pointer(pointer).and_then(Value::as_f64) else {
                    return open(&format!("it holds no number at {pointer}"));
                };
                let behind = import.samples.as_deref().and_then(|p| json.pointer(p));
                match (&import.samples, behind.and_then(Value::as_u64)) {
                    (None, _) => (n, 1),
                    (Some(_), Some(samples)) => (n, samples),
                    (Some(pointer), None) => {
                        return open(&format!("it doesn't say on how many it rests: {pointer}"));
                    }
                }
            }
        };
        if samples < criterion.min_samples.max(1) {
            return open(&format!("{} behind it", count(samples, "sample")));
        }
        plain(criterion, Ok(value))
    }

    pub(super) fn documents(&self, fired: &[TriggerFired]) -> Vec<GateItem> {
        let mut items = Vec::new();
        for document in &self.policy.evidence {
            if !self.asked(document.after, fired) {
                continue;
            }
            for stage in self.places(&document.stages) {
                let (verdict, observed) = self.document(&document.by, stage);
                let result = item(&placed(&document.id, stage), &document.what, verdict)
                    .expected("recorded")
                    .observed(observed);
                items.push(result.source(&document.source));
            }
        }
        items
    }

    /// Whether something that is due after an event only is due.
    pub(super) fn asked(&self, after: After, fired: &[TriggerFired]) -> bool {
        match after {
            After::Always => true,
            After::Trigger => !fired.is_empty(),
            After::NoGo => self.last_no_go().is_some(),
        }
    }

    fn document(&self, by: &EvidenceBy, stage: Option<&Stage>) -> (Outcome, String) {
        let runs = self.runs_of(stage);
        let open = |why: String| (Outcome::Inconclusive, why);
        match by {
            EvidenceBy::File(name) => {
                let with = runs.iter().find(|r| r.files.iter().any(|f| f == name));
                match with {
                    Some(run) => (Outcome::Pass, format!("{name} of {}", run.verdict.run.id)),
                    None => open(format!("no run's manifest lists {name}")),
                }
            }
            EvidenceBy::Field(pointer) => {
                let found = runs.iter().find_map(|r| {
                    let json = serde_json::to_value(&r.verdict).ok()?;
                    json.pointer(pointer)
                        .filter(|v| !v.is_null())
                        .map(|_| &r.verdict.run.id)
                });
                match found {
                    Some(run) => (Outcome::Pass, format!("in {run}")),
                    None => open(format!("no run's verdict holds {pointer}")),
                }
            }
            EvidenceBy::Decision(pointer) => {
                const HELD: [&str; 6] = [
                    "/items",
                    "/evidence",
                    "/stages",
                    "/triggers",
                    "/signed",
                    "/waivers",
                ];
                match HELD.contains(&pointer.as_str()) {
                    true => (Outcome::Pass, "in this decision".to_owned()),
                    false => open(format!("a decision holds no {pointer}")),
                }
            }
            EvidenceBy::Import(id) => {
                let import = self.policy.imports.iter().find(|i| i.id == *id);
                match (import, self.around.imports.get(id)) {
                    (Some(import), Some(given)) => self.imported(import, given),
                    _ => open(format!("not given: --import {id}=FILE")),
                }
            }
        }
    }
}

/// Samples behind the value of an import.
fn enough(import: &Import, json: &Value) -> Result<(), String> {
    let Some(pointer) = &import.samples else {
        return Ok(());
    };
    let samples = json.pointer(pointer).and_then(Value::as_u64);
    let samples =
        samples.ok_or_else(|| format!("it doesn't say on how many it rests: {pointer}"))?;
    match samples >= import.min_samples.max(1) {
        true => Ok(()),
        false => Err(format!("{} behind it", count(samples, "sample"))),
    }
}
