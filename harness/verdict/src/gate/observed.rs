//! A live system under one stage, from its journal: its items as the gate would judge them from this one
//! run alone, and the roll-backs that triggers called for.

use std::collections::{BTreeMap, BTreeSet};

use firedrill_journal::{Document, DocumentRole, EdgeKind, Event, Fact, FactSource, Journal};
use firedrill_plan::{
    Group, Known, Measure, Policy, Rollback, Stage, Step, VerifyBy, parse_policy,
};
use serde_json::Value;

use super::effects::{carried_out, unmet};
use super::live::{end_of, nothing_yet, only, plain_run};
use super::series::median;
use super::{Cx, GateRun, Recorded, SeriesSource as _, item, placed};
use crate::model::{GateItem, Outcome, Verdict};
use crate::observe::{ObserveVerdict, RollbackVerdict, StepVerdict};
use crate::words::{duration, number, predicate, quote, to_ms};

/// Judges the journal of a watch. `early`: why it ended before its time, if it did.
pub(crate) fn judge(journal: &Journal, mut verdict: Verdict, early: Option<String>) -> Verdict {
    let mut reasons: Vec<(Outcome, String)> = Vec::new();
    match Watch::of(journal) {
        Err(why) => reasons.push(why),
        Ok(watch) => {
            let (seen, why) = watch.judge(journal, &verdict);
            reasons.extend(why);
            verdict.verdict = seen.verdict;
            verdict.not_exercised =
                vec!["no fault was injected: a live system was watched".to_owned()];
            if !seen.left_to_gate.is_empty() {
                let ids = seen.left_to_gate.join(", ");
                verdict.not_exercised.push(format!(
                    "left to the gate, which sees more than one run: {ids}"
                ));
            }
            verdict.observe = Some(seen);
        }
    }
    // What the run itself lacks comes last among its equals: what was seen is said first.
    reasons.extend(early.map(|why| (Outcome::Inconclusive, why)));
    reasons.sort_by_key(|(outcome, _)| std::cmp::Reverse(*outcome));
    let parts = [verdict.verdict];
    verdict.verdict = Outcome::worst(parts.into_iter().chain(reasons.iter().map(|(o, _)| *o)));
    verdict.reasons = reasons.into_iter().map(|(_, why)| why).collect();
    verdict.audit.reasons = vec!["neither the database nor the chain was looked at".to_owned()];
    verdict
}

/// What a journal says of its own watch.
struct Watch<'j> {
    policy: Policy,
    document: &'j Document,
    stage: Stage,
    facts: Vec<&'j Fact>,
    began_ns: u64,
}

impl<'j> Watch<'j> {
    /// The error says why nothing was watched; that is a FAIL where a step into the stage failed.
    fn of(journal: &'j Journal) -> Result<Self, (Outcome, String)> {
        let mut watch = Self::read(journal).map_err(|why| (Outcome::Inconclusive, why))?;
        let entered = journal.events.iter().find_map(|e| match &e.event {
            Event::Edge(edge) if edge.kind == EdgeKind::Proven && edge.phase == watch.stage.id => {
                Some(edge.at_ns)
            }
            _ => None,
        });
        watch.began_ns = entered.ok_or_else(|| watch.not_entered())?;
        Ok(watch)
    }

    fn read(journal: &'j Journal) -> Result<Self, String> {
        crate::plans::intact(&journal.header)?;
        let mut documents = journal.header.documents.iter();
        let document = documents
            .find(|d| d.role == DocumentRole::Policy)
            .ok_or("the journal holds no policy")?;
        let policy = parse_policy(&document.path, &document.text, &Known::default())
            .map_err(|e| format!("the policy can't be read: {e}"))?
            .value;
        let facts: Vec<&Fact> = journal
            .events
            .iter()
            .filter_map(|e| match &e.event {
                Event::Fact(fact) if fact.source == FactSource::Act => Some(fact),
                _ => None,
            })
            .collect();
        let begun = facts.iter().find(|f| f.what == "observe");
        let begun = begun.ok_or("the journal doesn't say which stage was watched")?;
        let name = text(begun, "stage");
        let stage = policy.stage(name);
        let stage = stage
            .ok_or_else(|| format!("the policy has no stage {name:?}"))?
            .clone();
        if journal.header.run.profile != stage.profile {
            return Err(format!("the run is not one of the stage {name:?}"));
        }
        Ok(Watch {
            policy,
            document,
            stage,
            facts,
            began_ns: 0,
        })
    }

    /// Why the stage was not entered: a step that did not have its effect, or an end before that.
    fn not_entered(&self) -> (Outcome, String) {
        let failed = self.steps_of("enter", &self.stage.enter);
        let failed = failed.iter().find(|s| s.verdict != Outcome::Pass);
        let words = format!("the stage {} was not entered", self.stage.id);
        match failed {
            Some(step) => {
                let why = &step.observed;
                (Outcome::Fail, format!("{words}: step {}: {why}", step.id))
            }
            None => (Outcome::Inconclusive, words),
        }
    }

    fn judge(
        &self,
        journal: &Journal,
        frame: &Verdict,
    ) -> (ObserveVerdict, Vec<(Outcome, String)>) {
        let mut seen = self.figures(journal);
        let mut verdict = frame.clone();
        verdict.observe = Some(seen.clone());
        let run = plain_run(verdict, Recorded::of(journal, &self.policy));
        let around = only(&self.stage.id);
        let mut policy = self.policy.clone();
        let cx = |policy| Cx {
            policy,
            policy_sha256: &self.document.sha256,
            subject: &run.verdict.subject.digest,
            usable: vec![&run],
            around: &around,
            now: end_of(&run.verdict),
        };
        let (mine, left) = self.mine(&cx(&self.policy));
        let bases: BTreeSet<&str> = mine.iter().map(|id| base(id)).collect();
        let (whole, part) = std::mem::take(&mut policy.groups)
            .into_iter()
            .partition(|g| g.of.iter().all(|id| bases.contains(id.as_str())));
        policy.groups = whole;
        let cx = cx(&policy);
        let mut items = cx.triggers(&mut seen.triggers);
        items.extend(cx.rules(&seen.triggers));
        items.extend(cx.configs());
        items.extend(cx.audits());
        items.retain(|i| mine.contains(&i.id));
        for item in &mut items {
            self.name_source(item, &run.recorded);
        }
        cx.groups(&mut items);
        seen.left_to_gate = left;
        for group in part {
            match lost(&group, &mut items) {
                Some(result) => items.push(result),
                None => seen.left_to_gate.push(group.id),
            }
        }
        let judged = items.iter().any(|i| !i.passed_over);
        items.extend(self.own_items(&cx, &run));
        seen.triggers
            .retain(|t| t.stage.as_ref().is_none_or(|s| *s == self.stage.id));
        seen.measured_share = self.measured_share(&run.recorded);
        seen.items = items;
        let reasons = self.reasons(&mut seen, judged);
        (seen, reasons)
    }

    /// What the facts and the samples say of the watch itself.
    fn figures(&self, journal: &Journal) -> ObserveVerdict {
        let mut seen = nothing_yet(&self.policy, &self.stage);
        let begun = self.facts.iter().find(|f| f.what == "observe");
        let word = |key: &str| begun.map_or("", |f| text(f, key)).to_owned();
        (seen.selector, seen.prometheus) = (word("selector"), word("prometheus"));
        seen.executed = begun.and_then(|f| f.keys.get("execute")?.as_bool()) == Some(true);
        seen.began_ms = to_ms(self.began_ns);
        let dues: BTreeSet<u64> = journal
            .events
            .iter()
            .filter_map(|e| match &e.event {
                Event::Sample(s) if s.probe.starts_with("promql:") => Some(s.due_ns),
                _ => None,
            })
            .collect();
        seen.rounds = dues.len() as u64;
        let last = dues
            .last()
            .map_or(0, |due| due.saturating_sub(self.began_ns));
        seen.watched_ms = to_ms(last);
        seen.steps = self.steps_of("enter", &self.stage.enter);
        seen.steps.extend(self.steps_of("exit", &self.stage.exit));
        seen.rollbacks = self.rollbacks();
        seen
    }

    /// Ids of the items that one watch can judge, and those of its stage that it can't.
    fn mine(&self, cx: &Cx<'_>) -> (BTreeSet<String>, Vec<String>) {
        let (mut mine, mut left) = (BTreeSet::new(), Vec::new());
        let here = |place: Option<&Stage>| place.is_none_or(|s| s.id == self.stage.id);
        let mut put = |id: String, can: bool, name: &str| match can {
            true => drop(mine.insert(id)),
            false => left.push(name.to_owned()),
        };
        let policy = &self.policy;
        for trigger in &policy.triggers {
            let can = !matches!(trigger.criterion.measure, Measure::Manual(_));
            for place in cx.places(&trigger.stages).into_iter().filter(|p| here(*p)) {
                put(
                    placed(&format!("trigger {}", trigger.id), place),
                    can,
                    &trigger.id,
                );
            }
        }
        for rule in &policy.rules {
            let criterion = &rule.criterion;
            let can = criterion.measure.series().is_some() && criterion.baseline.is_none();
            for (place, _) in cx.looks(rule).into_iter().filter(|(p, _)| here(*p)) {
                put(placed(&rule.id, place), can, &rule.id);
            }
        }
        for config in &policy.configs {
            let can = matches!(config.measure, Measure::Expr(_));
            for place in cx.places(&config.stages).into_iter().filter(|p| here(*p)) {
                put(placed(&config.id, place), can, &config.id);
            }
        }
        let of_stage = |stages| {
            let places = cx.places(stages);
            places.into_iter().flatten().any(|s| s.id == self.stage.id)
        };
        for audit in policy.audits.iter().filter(|a| of_stage(&a.stages)) {
            put(
                placed(&audit.id, Some(&self.stage)),
                audit.equation.is_ok(),
                &audit.id,
            );
        }
        let others = policy.drills.iter().map(|d| (&d.id, &d.stages));
        let others = others.chain(policy.imports.iter().map(|i| (&i.id, &i.stages)));
        let others = others.chain(policy.evidence.iter().map(|e| (&e.id, &e.stages)));
        for (id, _) in others.filter(|(_, stages)| of_stage(stages)) {
            put(String::new(), false, id);
        }
        (mine, left)
    }

    /// Says which source is missing, where that is why an item has no data.
    fn name_source(&self, item: &mut GateItem, recorded: &Recorded) {
        if item.verdict != Outcome::Inconclusive {
            return;
        }
        let policy = &self.policy;
        let id = item.base().to_owned();
        let trigger = id.strip_prefix("trigger ");
        let measure = match trigger {
            Some(id) => policy
                .triggers
                .iter()
                .find(|t| t.id == id)
                .map(|t| &t.criterion.measure),
            None => policy
                .rules
                .iter()
                .find(|r| r.id == id)
                .map(|r| &r.criterion.measure),
        };
        let unseen = |m: &Measure| {
            let series = m.series();
            series.is_none_or(|(id, field)| recorded.series(&id, &field).is_none())
        };
        let why = match measure {
            Some(Measure::Log(_)) if measure.is_some_and(unseen) => {
                "no log was followed: give --logs FILE"
            }
            Some(Measure::Setting(_) | Measure::Probe { .. }) => {
                "a watch asks the metrics server only, and nothing else recorded it"
            }
            Some(Measure::Figure(_)) => {
                "it needs the database and the chain, which a watch doesn't look at"
            }
            None if policy.audits.iter().any(|a| a.id == id) => {
                "it needs the database and the chain, which a watch doesn't look at"
            }
            _ => return,
        };
        item.observed = why.to_owned();
    }

    /// How long it was watched, the canary's share, and the steps that led into the stage and out of it.
    fn own_items(&self, cx: &Cx<'_>, run: &GateRun) -> Vec<GateItem> {
        let stage = &self.stage;
        let mut items = Vec::new();
        let mut put =
            |id: &str, what: &str, (verdict, observed): (Outcome, String), wanted: String| {
                let id = placed(id, Some(stage));
                items.push(item(&id, what, verdict).expected(wanted).observed(observed));
            };
        if let (Some(found), Some(hold)) = (cx.held(stage, &[run]), stage.hold) {
            let wanted = format!("at least {}", duration(hold));
            put(
                "watched",
                "the stage was watched over its hold",
                found,
                wanted,
            );
        }
        if let (Some(found), Some(weight)) = (cx.share(stage, &[run]), stage.weight) {
            let wanted = format!("{} %", number(weight));
            put(
                "share",
                "the canary's measured share of the traffic",
                found,
                wanted,
            );
        }
        items
    }

    fn measured_share(&self, recorded: &Recorded) -> Option<f64> {
        let expr = self.policy.canary.as_ref()?.share.clone()?;
        let (id, field) = Measure::Expr(expr).series()?;
        median(recorded.series(&id, &field)?)
    }

    fn facts_of(&self, what: &'static str) -> impl Iterator<Item = &&'j Fact> {
        self.facts.iter().filter(move |f| f.what == what)
    }

    /// The steps of a list that were carried out.
    fn steps_of(&self, of: &str, steps: &[Step]) -> Vec<StepVerdict> {
        let mut all = Vec::new();
        for fact in self.facts_of("step").filter(|f| text(f, "of") == of) {
            let Some(step) = steps.iter().find(|s| s.id == text(fact, "step")) else {
                continue;
            };
            all.push(self.step(step, fact));
        }
        all
    }

    fn step(&self, step: &Step, fact: &Fact) -> StepVerdict {
        let seen = fact.keys.get("seen").unwrap_or(&Value::Null);
        let exit = fact.keys.get("exit").and_then(Value::as_i64);
        let why = fact.keys.get("why").and_then(Value::as_str);
        let unmet = unmet(&self.policy, step, exit, seen);
        let unmet = unmet.map(|unmet| match why {
            Some(why) => format!("{unmet}: {}", quote(why)),
            None => unmet,
        });
        let began_ns = fact.keys.get("began_ns").and_then(Value::as_u64);
        let began_ns = began_ns.unwrap_or(fact.at_ns);
        let took_ns = fact.at_ns.saturating_sub(began_ns);
        let check = match &step.verify.how {
            VerifyBy::Expr(expr) => expr.clone(),
            VerifyBy::Run(argv) => format!("`{}`", argv.join(" ")),
            VerifyBy::Rules(ids) => format!("rules {} hold", ids.join(", ")),
        };
        let bound = step
            .verify
            .is
            .as_ref()
            .map_or_else(String::new, |is| format!(" {}", predicate(is)));
        StepVerdict {
            id: step.id.clone(),
            what: step.what.clone(),
            verdict: match unmet.is_none() {
                true => Outcome::Pass,
                false => Outcome::Fail,
            },
            expected: format!("{check}{bound} within {}", duration(step.verify.within)),
            observed: unmet.unwrap_or_else(|| "carried out, and its effect was seen".to_owned()),
            began_ms: to_ms(began_ns),
            took_ms: to_ms(took_ns),
        }
    }

    fn rollbacks(&self) -> Vec<RollbackVerdict> {
        let mut all = Vec::new();
        for fact in self.facts_of("rollback") {
            let id = text(fact, "rollback");
            if let Some(rollback) = self.policy.rollbacks.iter().find(|r| r.id == id) {
                all.push(self.rollback(rollback, fact));
            }
        }
        all
    }

    fn rollback(&self, rollback: &Rollback, fact: &Fact) -> RollbackVerdict {
        let steps = self.steps_of(&format!("rollback:{}", rollback.id), &rollback.steps);
        let ends = steps.iter().map(|s| s.began_ms + s.took_ms);
        let began_ms = to_ms(fact.at_ns);
        let took_ms = ends.reduce(f64::max).map(|end| end - began_ms);
        let execute = fact.keys.get("execute").and_then(Value::as_bool);
        let (verdict, observed) = match execute {
            Some(true) => carried_out(rollback, &steps, took_ms),
            _ => (
                Outcome::Inconclusive,
                "nothing was executed: --execute was not given".to_owned(),
            ),
        };
        RollbackVerdict {
            id: rollback.id.clone(),
            what: rollback.what.clone(),
            trigger: text(fact, "trigger").to_owned(),
            verdict,
            observed,
            began_ms,
            took_ms,
            steps,
        }
    }

    /// Why it isn't PASS, what matters most first; completes the triggers and sets the verdict.
    fn reasons(&self, seen: &mut ObserveVerdict, judged: bool) -> Vec<(Outcome, String)> {
        let mut reasons = Vec::new();
        for rollback in &seen.rollbacks {
            if rollback.verdict == Outcome::Fail {
                let words = format!("roll-back {} FAILED: {}", rollback.id, rollback.observed);
                reasons.push((Outcome::Fail, words));
            }
        }
        for step in seen.steps.iter().filter(|s| s.verdict != Outcome::Pass) {
            reasons.push((step.verdict, format!("step {}: {}", step.id, step.observed)));
        }
        for item in seen.items.iter().filter(|i| !i.passed_over) {
            if item.verdict != Outcome::Pass {
                reasons.push((item.verdict, format!("{}: {}", item.id, item.observed)));
            }
        }
        reasons.extend(self.acted(seen));
        for rollback in seen.rollbacks.iter().filter(|r| r.verdict != Outcome::Fail) {
            // It belongs to the trigger that called for it, whatever became of it.
            let words = format!("roll-back {}: {}", rollback.id, rollback.observed);
            reasons.push((Outcome::Fail, words));
        }
        if !judged {
            let why = format!(
                "the policy says nothing of the stage {} that a watch could show",
                seen.stage
            );
            reasons.push((Outcome::Inconclusive, why));
        }
        let parts = seen
            .items
            .iter()
            .filter(|i| !i.passed_over)
            .map(|i| i.verdict);
        seen.verdict = Outcome::worst(parts.chain(reasons.iter().map(|r| r.0)));
        reasons
    }

    /// Holds what the harness did against what its record shows.
    fn acted(&self, seen: &mut ObserveVerdict) -> Vec<(Outcome, String)> {
        let mut reasons = Vec::new();
        let live: BTreeMap<&str, u64> = self
            .facts_of("trigger")
            .map(|f| (text(f, "trigger"), f.at_ns))
            .collect();
        for shot in &mut seen.triggers {
            let at = live.get(shot.id.as_str()).copied();
            shot.seen_ms = at.map(to_ms);
            shot.late_ms = shot.seen_ms.zip(shot.due_ms).map(|(seen, due)| seen - due);
            if at.is_none() {
                let why = format!(
                    "trigger {}: the harness that watched did not see it",
                    shot.id
                );
                reasons.push((Outcome::Fail, why));
            }
        }
        for id in live
            .keys()
            .filter(|id| seen.triggers.iter().all(|t| t.id != **id))
        {
            let why =
                format!("trigger {id}: the harness acted on it, and the record doesn't show it");
            reasons.push((Outcome::Inconclusive, why));
        }
        for shot in &seen.triggers {
            let called = shot.rollback.as_ref();
            let missing = called.filter(|id| seen.rollbacks.iter().all(|r| r.id != **id));
            if let Some(id) = missing {
                reasons.push((
                    Outcome::Fail,
                    format!("roll-back {id} FAILED: it was not begun"),
                ));
            }
        }
        reasons
    }
}

/// A group with members that a watch can't judge, if it doesn't hold whatever they come to; otherwise the gate judges
/// it. Its members count through it only.
fn lost(group: &Group, items: &mut [GateItem]) -> Option<GateItem> {
    let (mut broken, mut open) = (Vec::new(), Vec::new());
    for name in &group.of {
        let own = items.iter().filter(|i| i.base() == name);
        match own.map(|i| i.verdict).max() {
            Some(Outcome::Fail) => broken.push(name.as_str()),
            Some(Outcome::Inconclusive) => open.push(name.as_str()),
            Some(Outcome::Pass) | None => {}
        }
    }
    let members = items.iter_mut();
    for member in members.filter(|i| group.of.iter().any(|id| id == i.base())) {
        member.passed_over = true;
    }
    let left = group.of.len() - broken.len();
    let verdict = match left {
        n if n < group.need => Outcome::Fail,
        n if n - open.len() < group.need => Outcome::Inconclusive,
        _ => return None,
    };
    let mut observed = format!("{left} of {} can hold", group.of.len());
    for (list, words) in [(&broken, "not met"), (&open, "without data")] {
        if !list.is_empty() {
            observed = format!("{observed}; {words}: {}", list.join(", "));
        }
    }
    let result = item(&group.id, &group.what, verdict)
        .expected(format!("{} of {}", group.need, group.of.join(", ")))
        .observed(observed);
    Some(result.source(&group.source))
}

fn text<'f>(fact: &'f Fact, key: &str) -> &'f str {
    fact.keys.get(key).and_then(Value::as_str).unwrap_or("")
}

fn base(id: &str) -> &str {
    id.split_once('@').map_or(id, |(base, _)| base)
}
