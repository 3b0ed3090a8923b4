//! Rules, triggers, drills and equations of the audit.

use std::time::Duration;

use firedrill_plan::{
    Checkpoint, Class, Criterion, DrillBy, Measure, Predicate, Rule, Stage, Stages, Trigger,
};
use serde_json::Value;

use super::series::{
    Finding, Look, Point, SeriesSource as _, is_sampled, largest_gap_steps, median, must_not,
};
use super::{Cx, GateRun, figures, item, live, placed, runs};
use crate::model::{GateItem, Outcome, TriggerFired};
use crate::predicate::Test;
use crate::words::{count, duration, number, predicate, to_ms};

const NOT_RECORDED: &str = "no run recorded this series";

type Window = Option<(u64, u64)>;

impl<'a> Cx<'a> {
    pub(super) fn rules(&self, fired: &[TriggerFired]) -> Vec<GateItem> {
        let mut items = Vec::new();
        for rule in &self.policy.rules {
            if matches!(rule.criterion.measure, Measure::AllOf(_)) {
                continue;
            }
            for (stage, checkpoint) in self.looks(rule) {
                let id = placed(&rule.id, stage);
                let finding = self.rule(rule, stage, checkpoint, fired);
                let result = item(&id, &rule.what, finding.verdict)
                    .expected(expected(&rule.criterion))
                    .observed(finding.observed);
                items.push(soften(result, rule.class).source(&rule.source));
            }
        }
        items
    }

    /// Where a rule is looked at: per stage, or at its checkpoint.
    pub(super) fn looks(&self, rule: &Rule) -> Vec<(Option<&'a Stage>, Option<&'a Checkpoint>)> {
        let Some(id) = &rule.checkpoint else {
            let places = self.places(&rule.stages).into_iter();
            return places.map(|stage| (stage, None)).collect();
        };
        let Some(checkpoint) = self.policy.checkpoints.iter().find(|c| c.id == *id) else {
            return Vec::new();
        };
        let wanted = self.wanted().into_iter();
        wanted
            .filter_map(|stage| {
                if stage.id == checkpoint.stage {
                    return Some((Some(stage), Some(checkpoint)));
                }
                // What stays in force is carried over to the stages that inherit it.
                let over = checkpoint.then_throughout && stage.inherits.contains(&checkpoint.stage);
                over.then_some((Some(stage), None))
            })
            .collect()
    }

    fn rule(
        &self,
        rule: &Rule,
        stage: Option<&Stage>,
        checkpoint: Option<&Checkpoint>,
        fired: &[TriggerFired],
    ) -> Finding {
        let criterion = &rule.criterion;
        let runs = self.runs_of(stage);
        match &criterion.measure {
            Measure::Missing(why) => open(why),
            Measure::Import(id) => self.import_value(id, criterion),
            Measure::Figure(name) => {
                match self.gate_figure(name, &runs, stage, checkpoint, fired) {
                    Some(value) => plain(criterion, value),
                    None => figure(criterion, name, &runs),
                }
            }
            _ => self.over_time(criterion, &runs, stage, checkpoint, false).0,
        }
    }

    /// Judges a series in each run; a FAIL counts first, then a PASS.
    pub(super) fn over_time(
        &self,
        criterion: &Criterion,
        runs: &[&'a GateRun],
        stage: Option<&Stage>,
        checkpoint: Option<&Checkpoint>,
        trigger: bool,
    ) -> (Finding, Option<&'a GateRun>) {
        let Some((id, field)) = criterion.measure.series() else {
            return (open("it isn't a series"), None);
        };
        let mut best: Option<(Finding, &'a GateRun)> = None;
        for run in runs {
            let Some(points) = run.recorded.series(&id, &field) else {
                continue;
            };
            let baseline = match self.baseline(criterion, &id, &field) {
                Ok(baseline) => baseline,
                Err(why) => return (open(&why), None),
            };
            let volume = criterion.volume.as_ref().and_then(|v| {
                let id = format!("promql:{}", v.expr);
                run.recorded.series(&id, "value")
            });
            let look = Look {
                criterion,
                points,
                volume,
                faults: run.recorded.faults(),
                window: window(points, run, stage, checkpoint, trigger),
                baseline,
                every: run.recorded.every,
            };
            let finding = if trigger { look.trigger() } else { look.rule() };
            let rank = |f: &Finding| match f.verdict {
                Outcome::Fail => 2,
                Outcome::Pass => 1,
                Outcome::Inconclusive => 0,
            };
            if best.as_ref().is_none_or(|(b, _)| rank(&finding) > rank(b)) {
                best = Some((finding, run));
            }
        }
        match best {
            Some((finding, run)) => (finding, Some(run)),
            None => (open(NOT_RECORDED), None),
        }
    }

    /// The median that bounds are multiples of, if they are.
    fn baseline(
        &self,
        criterion: &Criterion,
        id: &str,
        field: &str,
    ) -> Result<Option<f64>, String> {
        let Some(name) = &criterion.baseline else {
            return Ok(None);
        };
        let points = match name.as_str() {
            "accepted" => {
                let accepted = self.around.accepted.as_ref();
                accepted.and_then(|r| r.series(id, field))
            }
            stage => {
                let runs = self.runs_of(self.policy.stage(stage));
                runs.into_iter().find_map(|r| r.recorded.series(id, field))
            }
        };
        match points.and_then(median) {
            Some(median) => Ok(Some(median)),
            None => Err(format!(
                "nothing to compare with: \"{name}\" did not record this series"
            )),
        }
    }

    /// Figures that no verdict holds.
    fn gate_figure(
        &self,
        name: &str,
        runs: &[&GateRun],
        stage: Option<&Stage>,
        checkpoint: Option<&Checkpoint>,
        fired: &[TriggerFired],
    ) -> Option<Result<f64, String>> {
        let of_class = |warning: bool| {
            let all = fired.iter().filter(|t| (t.class == "warning") == warning);
            all.count() as f64
        };
        Some(match name {
            "triggers.critical" | "triggers.warning" => match self.triggers_seen() {
                true => Ok(of_class(name == "triggers.warning")),
                false => Err("no run recorded the triggers' series".to_owned()),
            },
            "rollback.seconds" => self.rollback_seconds(),
            "baseline.regressions" => figures::regressions(&self.around.baselines, runs),
            "series.largest_gap_scrapes" => {
                let gaps = runs.iter().flat_map(|run| {
                    let all = run.recorded.series.iter();
                    let all = all.filter(|((id, _), _)| is_sampled(id));
                    all.filter_map(move |(_, points)| {
                        let window = window(points, run, stage, checkpoint, false);
                        largest_gap_steps(points, window, run.recorded.every)
                    })
                });
                let worst = gaps.reduce(f64::max);
                worst.ok_or_else(|| "no run recorded any series".to_owned())
            }
            _ => return None,
        })
    }

    /// Whether any series of a trigger was recorded.
    fn triggers_seen(&self) -> bool {
        let mut all = self.policy.triggers.iter();
        all.any(|t| {
            let series = t.criterion.measure.series();
            series.is_some_and(|(id, field)| {
                let mut runs = self.usable.iter();
                runs.any(|r| r.recorded.series(&id, &field).is_some())
            })
        })
    }

    pub(super) fn triggers(&self, fired: &mut Vec<TriggerFired>) -> Vec<GateItem> {
        let mut items = Vec::new();
        for trigger in &self.policy.triggers {
            for stage in self.places(&trigger.stages) {
                let (finding, run) = self.trigger(trigger, stage);
                let id = placed(&format!("trigger {}", trigger.id), stage);
                if finding.verdict == Outcome::Fail {
                    let mut shot = self.shot(trigger, stage, &finding, run);
                    live::seen_live(&mut shot, run);
                    fired.push(shot);
                }
                let verdict = match (finding.verdict, trigger.acts) {
                    (Outcome::Fail, false) => Outcome::Inconclusive,
                    (verdict, _) => verdict,
                };
                let words = match (finding.verdict, trigger.acts) {
                    (Outcome::Fail, true) => format!("fired: {}", finding.observed),
                    (Outcome::Fail, false) => format!("a person must decide: {}", finding.observed),
                    _ => finding.observed,
                };
                let criterion = &trigger.criterion;
                let wanted = item(&id, &trigger.what, verdict)
                    .expected(format!("{}{}", must_not(&criterion.is), lasting(criterion)))
                    .observed(words);
                items.push(wanted.source(&trigger.source));
            }
        }
        items
    }

    fn trigger(&self, trigger: &Trigger, stage: Option<&Stage>) -> (Finding, Option<&'a GateRun>) {
        let runs = self.runs_of(stage);
        match &trigger.criterion.measure {
            Measure::Manual(role) => self.pulled(trigger, role, &runs),
            Measure::Figure(name) => (fired(&trigger.criterion, name, &runs), None),
            _ => self.over_time(&trigger.criterion, &runs, stage, None, true),
        }
    }

    /// A trigger by hand is recorded when it is pulled, and only then.
    fn pulled(
        &self,
        trigger: &Trigger,
        role: &str,
        runs: &[&'a GateRun],
    ) -> (Finding, Option<&'a GateRun>) {
        let id = format!("trigger:{}", trigger.id);
        for run in runs {
            let points = run.recorded.series(&id, "reason").unwrap_or_default();
            if let Some((at, Some(reason))) = points.first().map(|p| (p.at, p.value.as_ref())) {
                let finding = Finding {
                    verdict: Outcome::Fail,
                    observed: format!("pulled by {role}: {}", crate::words::value(reason)),
                    at: Some(at),
                    since: Some(at),
                    value: None,
                };
                return (finding, Some(run));
            }
        }
        match runs.is_empty() {
            true => (
                open("there is no run in which it could have been pulled"),
                None,
            ),
            false => {
                let finding = Finding {
                    verdict: Outcome::Pass,
                    observed: "not pulled".to_owned(),
                    at: None,
                    since: None,
                    value: None,
                };
                (finding, None)
            }
        }
    }

    fn shot(
        &self,
        trigger: &Trigger,
        stage: Option<&Stage>,
        finding: &Finding,
        run: Option<&GateRun>,
    ) -> TriggerFired {
        let fired_at = run.zip(finding.at).and_then(|(run, at)| {
            let start: jiff::Timestamp = run.verdict.run.started_at.parse().ok()?;
            start.checked_add(Duration::from_nanos(at)).ok()
        });
        let patience = trigger.criterion.lasts + trigger.criterion.grace;
        let due = finding.since.map(|since| {
            since.saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX))
        });
        TriggerFired {
            id: trigger.id.clone(),
            class: trigger.class.word().to_owned(),
            stage: stage.map(|s| s.id.clone()),
            run: run.map(|r| r.verdict.run.id.clone()).unwrap_or_default(),
            at_ms: finding.at.map(to_ms),
            due_ms: due.map(to_ms),
            seen_ms: None,
            late_ms: None,
            fired_at: fired_at.map(|t| t.to_string()),
            value: finding.value,
            observed: finding.observed.clone(),
            rollback: live::rollback_of(self.policy, trigger).map(|r| r.id.clone()),
        }
    }

    pub(super) fn drills(&self) -> Vec<GateItem> {
        let mut items = Vec::new();
        for drill in &self.policy.drills {
            for stage in self.places(&drill.stages) {
                let fresh = |run: &&GateRun| {
                    drill.fresh_within.is_none_or(|limit| {
                        runs::age(run, self.now).is_some_and(|age| age <= limit)
                    })
                };
                let found: Vec<&GateRun> = self.runs_of(stage).into_iter().filter(fresh).collect();
                let mut result = match &drill.how {
                    DrillBy::Drill(name) => runs::required_drill(name, &found),
                    DrillBy::Run(argv) => {
                        let verdict = self.verified(&drill.id, &found);
                        item("", "", verdict.0)
                            .expected(format!("`{}` ends with 0", argv.join(" ")))
                            .observed(verdict.1)
                    }
                    DrillBy::Missing(why) => item("", "", Outcome::Inconclusive).observed(why),
                };
                result.id = placed(&drill.id, stage);
                result.what.clone_from(&drill.what);
                items.push(result.source(&drill.source));
            }
        }
        items
    }

    /// Whether a step's effect was recorded as verified in one of the runs.
    pub(super) fn verified(&self, step: &str, runs: &[&GateRun]) -> (Outcome, String) {
        let id = format!("step:{step}");
        let mut seen = runs
            .iter()
            .filter_map(|r| r.recorded.series(&id, "verified")?.last())
            .filter_map(|p| p.value.as_ref()?.as_bool())
            .peekable();
        if seen.peek().is_none() {
            return (Outcome::Inconclusive, "no run recorded it".to_owned());
        }
        match seen.all(|verified| verified) {
            true => (Outcome::Pass, "carried out and verified".to_owned()),
            false => (
                Outcome::Fail,
                "carried out, and its effect was not seen".to_owned(),
            ),
        }
    }

    pub(super) fn audits(&self) -> Vec<GateItem> {
        let mut items = Vec::new();
        for audit in &self.policy.audits {
            let at = audit.checkpoint.as_ref().and_then(|id| {
                let mut all = self.policy.checkpoints.iter();
                all.find(|c| c.id == *id)
                    .map(|c| Stages::Of(vec![c.stage.clone()]))
            });
            for stage in self.places(at.as_ref().unwrap_or(&audit.stages)) {
                let finding = match &audit.equation {
                    Err(why) => open(why),
                    Ok(equation) => {
                        let name = format!("audit.{equation}");
                        let criterion = Criterion {
                            measure: Measure::Figure(name.clone()),
                            is: Some(Predicate::Equals(Value::from(0))),
                            lasts: Duration::ZERO,
                            grace: Duration::ZERO,
                            min_samples: audit.min_samples,
                            volume: None,
                            scope: firedrill_plan::Scope::All,
                            quiet_min: 0.0,
                            baseline: None,
                        };
                        figure(&criterion, &name, &self.runs_of(stage))
                    }
                };
                let result = item(&placed(&audit.id, stage), &audit.what, finding.verdict)
                    .expected("no violation")
                    .observed(finding.observed);
                items.push(result.source(&audit.source));
            }
        }
        items
    }
}

pub(super) fn open(why: &str) -> Finding {
    Finding {
        verdict: Outcome::Inconclusive,
        observed: why.to_owned(),
        at: None,
        since: None,
        value: None,
    }
}

/// The part of a run that is judged: of a stage's, all of it, whenever the series began or ended.
fn window(
    points: &[Point],
    run: &GateRun,
    stage: Option<&Stage>,
    checkpoint: Option<&Checkpoint>,
    trigger: bool,
) -> Window {
    let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let end = points.last().map_or(0, |p| p.at);
    if let Some(checkpoint) = checkpoint {
        let at = run.verdict.began_ns().saturating_add(nanos(checkpoint.at));
        let from = at.saturating_sub(nanos(checkpoint.window));
        let to = if checkpoint.then_throughout {
            end.max(at)
        } else {
            at
        };
        return Some((from, to));
    }
    let stage = stage?;
    let began = run.verdict.began_ns();
    // Triggers are armed from the first moment, and what was sampled on the way into the stage counts for them too.
    let from = if trigger {
        points.first().map_or(began, |p| p.at.min(began))
    } else {
        began.saturating_add(nanos(stage.settle))
    };
    let watched = nanos(Duration::from_millis(run.verdict.watched_ms()));
    Some((from, end.max(began.saturating_add(watched)).max(from)))
}

/// Judges one number.
pub(super) fn plain(criterion: &Criterion, value: Result<f64, String>) -> Finding {
    let value = match value {
        Ok(value) => value,
        Err(why) => return open(&why),
    };
    let holds = criterion
        .is
        .as_ref()
        .and_then(|is| Test::new(is).ok()?.number(value));
    Finding {
        verdict: match holds {
            Some(true) => Outcome::Pass,
            Some(false) => Outcome::Fail,
            None => Outcome::Inconclusive,
        },
        observed: number(value),
        at: None,
        since: None,
        value: Some(value),
    }
}

/// Judges a figure of the verdicts: one run that breaks the bound is enough, one with data is needed.
fn figure(criterion: &Criterion, name: &str, runs: &[&GateRun]) -> Finding {
    let found: Vec<(f64, u64)> = runs
        .iter()
        .filter_map(|r| figures::figure(&r.verdict, name))
        .collect();
    if found.is_empty() {
        return open(&format!("no run holds the figure `{name}`"));
    }
    let judged = |(value, samples): &(f64, u64)| {
        let mut finding = plain(criterion, Ok(*value));
        finding.observed = format!("{} from {}", number(*value), count(*samples, "sample"));
        finding
    };
    if let Some(bad) = found
        .iter()
        .map(judged)
        .find(|f| f.verdict == Outcome::Fail)
    {
        return bad;
    }
    let enough = |(_, samples): &&(f64, u64)| *samples >= criterion.min_samples.max(1);
    let good = found.iter().filter(enough).map(judged);
    let mut good: Vec<Finding> = good.filter(|f| f.verdict == Outcome::Pass).collect();
    if let Some(is) = &criterion.is {
        // Of several the one nearest to its bound stands for all.
        let nearer = |a: &Finding, b: &Finding| {
            let (Some(a), Some(b)) = (a.value, b.value) else {
                return std::cmp::Ordering::Equal;
            };
            match crate::predicate::worse(is, a, b) == a {
                true => std::cmp::Ordering::Less,
                false => std::cmp::Ordering::Greater,
            }
        };
        good.sort_by(nearer);
    }
    match good.into_iter().next() {
        Some(finding) => finding,
        None => {
            let most = found.iter().map(|(_, n)| *n).max().unwrap_or(0);
            open(&format!("{} only", count(most, "sample")))
        }
    }
}

/// A trigger's figure: its bound says when it fires. One run in which it does is enough, and the silence of
/// a run without enough samples is none.
fn fired(criterion: &Criterion, name: &str, runs: &[&GateRun]) -> Finding {
    let judged = runs.iter().map(|run| {
        let mut finding = figure(criterion, name, &[run]);
        let samples = figures::figure(&run.verdict, name).map_or(0, |(_, samples)| samples);
        finding.verdict = match finding.verdict {
            Outcome::Pass => Outcome::Fail,
            Outcome::Fail if samples >= criterion.min_samples.max(1) => Outcome::Pass,
            _ => Outcome::Inconclusive,
        };
        finding
    });
    let rank = |finding: &Finding| match finding.verdict {
        Outcome::Fail => 2,
        Outcome::Pass => 1,
        Outcome::Inconclusive => 0,
    };
    let none = || open(&format!("no run holds the figure `{name}`"));
    judged.max_by_key(rank).unwrap_or_else(none)
}

/// A broken warning blocks, and doesn't fail.
fn soften(mut result: GateItem, class: Class) -> GateItem {
    if class == Class::Warning && result.verdict == Outcome::Fail {
        result.verdict = Outcome::Inconclusive;
        result.observed = format!("warning: {}", result.observed);
    }
    result
}

fn expected(criterion: &Criterion) -> String {
    let bound = criterion.is.as_ref().map_or_else(String::new, predicate);
    let times = match &criterion.baseline {
        Some(baseline) => format!(" times \"{baseline}\""),
        None => String::new(),
    };
    match &criterion.measure {
        Measure::Figure(name) => format!(
            "{name} {bound}, from at least {}",
            count(criterion.min_samples, "sample")
        ),
        _ => format!("{bound}{times}{}", lasting(criterion)),
    }
}

fn lasting(criterion: &Criterion) -> String {
    let patience = criterion.lasts + criterion.grace;
    match patience.is_zero() {
        true => String::new(),
        false => format!(" for {}", duration(patience)),
    }
}
