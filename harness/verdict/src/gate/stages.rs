//! Stages: held, with the traffic asked for, after what they require. And the way back.

use std::time::Duration;

use firedrill_plan::{Measure, Positions, Predicate, Rollback, Stage, Stages, Step, VerifyBy};

use super::series::{Point, SeriesSource as _, median, watched};
use super::{Cx, GateRun, NoGo, item, runs};
use crate::model::{GateItem, Outcome, StageDecision, TriggerFired};
use crate::words::{count, duration, number};

impl Cx<'_> {
    pub(super) fn stage_items(&self) -> Vec<GateItem> {
        let mut items = Vec::new();
        for stage in self.wanted() {
            let runs = self.runs_of(Some(stage));
            let checks = [
                self.held(stage, &runs),
                self.watched(stage, &runs),
                self.ready(stage, &runs),
                self.within_budget(stage, &runs),
                self.share(stage, &runs),
                self.embargo(stage),
                self.steps(stage, &runs),
            ];
            let mut found: Vec<(Outcome, String)> = checks.into_iter().flatten().collect();
            if found.is_empty() {
                continue;
            }
            found.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
            let worst = Outcome::worst(found.iter().map(|(v, _)| *v));
            let words: Vec<&str> = found
                .iter()
                .filter(|(v, _)| *v == worst)
                .map(|(_, w)| w.as_str())
                .collect();
            let wanted = stage
                .hold
                .map_or_else(String::new, |h| format!("held {}", duration(h)));
            let result = item(&format!("stage {}", stage.id), &stage.what, worst)
                .expected(wanted)
                .observed(words.join("; "));
            items.push(result.source(&stage.source));
        }
        items
    }

    /// Held as long as asked, and no longer.
    pub(super) fn held(&self, stage: &Stage, runs: &[&GateRun]) -> Option<(Outcome, String)> {
        if stage.hold.is_none() && stage.hold_max.is_none() {
            return None;
        }
        let least = stage.hold.unwrap_or_default();
        let lengths = runs
            .iter()
            .map(|r| Duration::from_millis(r.verdict.watched_ms()));
        let fits = |held: &Duration| stage.hold_max.is_none_or(|most| *held <= most);
        let fitting = lengths.clone().filter(fits).max();
        Some(match (fitting, lengths.max()) {
            (_, None) => (Outcome::Inconclusive, "no run of it".to_owned()),
            (Some(held), _) if held >= least => (Outcome::Pass, format!("held {}", duration(held))),
            (None, Some(held)) => {
                let most = stage.hold_max.unwrap_or_default();
                let words = format!(
                    "held {}, at most {} was asked",
                    duration(held),
                    duration(most)
                );
                (Outcome::Inconclusive, words)
            }
            (Some(held), _) => {
                let words = format!("held {} of {}", duration(held), duration(least));
                (Outcome::Inconclusive, words)
            }
        })
    }

    /// Whether the stage's series were recorded for as much of its time as it asks for, each in one of its runs that
    /// were held as long as it asks for.
    fn watched(&self, stage: &Stage, runs: &[&GateRun]) -> Option<(Outcome, String)> {
        let hold = stage.hold?;
        let long = |run: &&GateRun| {
            let held = Duration::from_millis(run.verdict.watched_ms());
            held >= hold && stage.hold_max.is_none_or(|most| held <= most)
        };
        let held: Vec<&GateRun> = runs.iter().copied().filter(long).collect();
        // That none was held so long is said already.
        if held.is_empty() {
            return None;
        }
        let mut worst: Option<f64> = None;
        for key in self.series_in(stage) {
            let recorded = |run: &&GateRun| run.recorded.series(&key.0, &key.1).is_some();
            // What was never recorded is open at its own item.
            if !runs.iter().any(recorded) {
                continue;
            }
            let shares = held.iter().filter_map(|run| {
                let points = run.recorded.series(&key.0, &key.1)?;
                let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
                let began = run.verdict.began_ns();
                let length = nanos(Duration::from_millis(run.verdict.watched_ms()));
                let from = began.saturating_add(nanos(stage.settle));
                let window = (from, began.saturating_add(length));
                Some(watched(points, window, run.recorded.every))
            });
            let share = shares.reduce(f64::max).unwrap_or(0.0);
            worst = Some(worst.map_or(share, |w| w.min(share)));
        }
        let share = worst?;
        let percent = |share: f64| (share * 100.0).floor();
        let words = format!("watched {} % of the time", percent(share));
        Some(match share >= stage.coverage {
            true => (Outcome::Pass, words),
            false => {
                let asked = percent(stage.coverage + f64::EPSILON);
                (
                    Outcome::Inconclusive,
                    format!("{words}, {asked} % was asked"),
                )
            }
        })
    }

    /// The series that rules and triggers look at in a stage.
    fn series_in(&self, stage: &Stage) -> Vec<(String, String)> {
        let here = |stages: &Stages| {
            self.places(stages)
                .iter()
                .flatten()
                .any(|s| s.id == stage.id)
        };
        let rules = self.policy.rules.iter().filter(|r| r.checkpoint.is_none());
        let rules = rules.filter(|r| here(&r.stages)).map(|r| &r.criterion);
        let triggers = self.policy.triggers.iter().filter(|t| here(&t.stages));
        let all = rules.chain(triggers.map(|t| &t.criterion));
        all.filter_map(|c| c.measure.series()).collect()
    }

    /// Whether the last step of entering the stage was verified in time.
    fn ready(&self, stage: &Stage, runs: &[&GateRun]) -> Option<(Outcome, String)> {
        let limit = stage.ready_within?;
        let ready = |run: &&GateRun| -> Option<Duration> {
            let steps = stage
                .enter
                .iter()
                .filter_map(|step| verified_at(run, &step.id));
            steps.max().map(Duration::from_nanos)
        };
        let slowest = runs.iter().filter_map(ready).max();
        let Some(took) = slowest else {
            let why = "no run recorded when it was ready".to_owned();
            return Some((Outcome::Inconclusive, why));
        };
        let words = format!("ready after {} of {}", duration(took), duration(limit));
        Some(match took <= limit {
            true => (Outcome::Pass, words),
            false => (Outcome::Fail, words),
        })
    }

    fn within_budget(&self, stage: &Stage, runs: &[&GateRun]) -> Option<(Outcome, String)> {
        let budget = stage.budget?;
        let took: u64 = runs.iter().map(|r| r.verdict.run.duration_ms).sum();
        let took = Duration::from_millis(took);
        let words = format!("took {} of {}", duration(took), duration(budget));
        Some(match (runs.is_empty(), took <= budget) {
            (true, _) => (Outcome::Inconclusive, "no run of it".to_owned()),
            (false, true) => (Outcome::Pass, words),
            (false, false) => (Outcome::Fail, words),
        })
    }

    /// The canary's measured share beside the one that was asked for.
    pub(super) fn share(&self, stage: &Stage, runs: &[&GateRun]) -> Option<(Outcome, String)> {
        let canary = self.policy.canary.as_ref()?;
        let (weight, expr) = (stage.weight?, canary.share.as_ref()?);
        let asked = weight / 100.0;
        let (id, field) = Measure::Expr(expr.clone()).series()?;
        let measured = runs
            .iter()
            .find_map(|r| median(r.recorded.series(&id, &field)?));
        let percent = |share: f64| format!("{} %", number(share * 100.0));
        Some(match measured {
            None => (
                Outcome::Inconclusive,
                "no run recorded the canary's share".to_owned(),
            ),
            Some(share) => {
                let words = format!("asked {}, measured {}", percent(asked), percent(share));
                match (share - asked).abs() <= canary.tolerance {
                    true => (Outcome::Pass, words),
                    false => (Outcome::Inconclusive, words),
                }
            }
        })
    }

    pub(super) fn last_no_go(&self) -> Option<&NoGo> {
        let policy = self.policy;
        let same = |n: &&NoGo| n.policy == policy.name && n.release == policy.release;
        let all = self.around.no_gos.iter().filter(same);
        all.max_by_key(|n| n.decided_at)
    }

    /// After a NO-GO of the release: not at once, and not with the evidence from before it.
    fn embargo(&self, stage: &Stage) -> Option<(Outcome, String)> {
        let embargo = stage.retry_embargo?;
        let Some(no_go) = self.last_no_go() else {
            return Some((Outcome::Pass, "the release had no NO-GO".to_owned()));
        };
        let since = self.now.duration_since(no_go.decided_at);
        let since = Duration::try_from(since).unwrap_or_default();
        if since < embargo {
            let words = format!(
                "the release had a NO-GO {} ago, the embargo is {}",
                duration(Duration::from_secs(since.as_secs())),
                duration(embargo)
            );
            return Some((Outcome::Inconclusive, words));
        }
        for name in &stage.requires {
            let runs = self.runs_of(self.policy.stage(name));
            let ends = runs
                .iter()
                .filter_map(|r| r.verdict.run.ended_at.parse().ok());
            let newest: Option<jiff::Timestamp> = ends.max();
            if newest.is_none_or(|end| end < no_go.decided_at) {
                let words = format!("the stage \"{name}\" was not run again since the NO-GO");
                return Some((Outcome::Inconclusive, words));
            }
        }
        Some((
            Outcome::Pass,
            "the last NO-GO is long enough ago".to_owned(),
        ))
    }

    fn steps(&self, stage: &Stage, runs: &[&GateRun]) -> Option<(Outcome, String)> {
        let all: Vec<&Step> = stage.enter.iter().chain(&stage.exit).collect();
        self.carried_out(&all, runs)
    }

    /// Whether each step, or another way to its effect, was carried out and verified.
    fn carried_out(&self, steps: &[&Step], runs: &[&GateRun]) -> Option<(Outcome, String)> {
        let mut worst: Option<(Outcome, String)> = None;
        for step in steps.iter().filter(|s| s.alternative.is_none()) {
            let ways = steps
                .iter()
                .filter(|s| s.id == step.id || s.alternative.as_ref() == Some(&step.id));
            let seen: Vec<(Outcome, String)> = ways
                .map(|way| {
                    let (verdict, words) = self.verified(&way.id, runs);
                    (verdict, format!("step {}: {words}", way.id))
                })
                .collect();
            let failed = seen.iter().find(|s| s.0 == Outcome::Fail);
            let passed = seen.iter().find(|s| s.0 == Outcome::Pass);
            let Some(result) = failed.or(passed).or(seen.first()).cloned() else {
                continue;
            };
            if worst.as_ref().is_none_or(|w| result.0 > w.0) {
                worst = Some(result);
            }
        }
        worst
    }

    pub(super) fn rollbacks(&self, fired: &[TriggerFired]) -> Vec<GateItem> {
        let mut items = Vec::new();
        for rollback in &self.policy.rollbacks {
            let Some(limit) = rollback.rehearsed_within else {
                continue;
            };
            let fresh = |r: &&&GateRun| runs::age(r, self.now).is_some_and(|age| age <= limit);
            let runs: Vec<&GateRun> = self.usable.iter().filter(fresh).copied().collect();
            let steps: Vec<&Step> = rollback.steps.iter().collect();
            let carried = self
                .carried_out(&steps, &runs)
                .unwrap_or((Outcome::Inconclusive, "it has no step".to_owned()));
            let mut found = vec![carried];
            found.extend(self.in_time(rollback, &runs, fired));
            found.extend(self.by_role(rollback, &runs, fired));
            found.extend(closes(rollback));
            let worst = Outcome::worst(found.iter().map(|(verdict, _)| *verdict));
            let words = found.iter().filter(|(verdict, _)| *verdict == worst);
            let words: Vec<&str> = words.map(|(_, words)| words.as_str()).collect();
            let (verdict, observed) = (worst, words.join("; "));
            let result = item(&rollback.id, &rollback.what, verdict)
                .expected(format!("rehearsed and verified within {}", duration(limit)))
                .observed(observed);
            items.push(result.source(&rollback.source));
        }
        items
    }

    /// From its trigger, or else from its beginning, to its last step verified: in the run that took longest.
    fn in_time(
        &self,
        rollback: &Rollback,
        runs: &[&GateRun],
        fired: &[TriggerFired],
    ) -> Option<(Outcome, String)> {
        let limit = rollback.within?;
        let mut unknown = false;
        let mut longest: Option<Duration> = None;
        for run in runs {
            let ends = rollback
                .steps
                .iter()
                .filter_map(|step| verified_at(run, &step.id));
            let Some(end) = ends.max() else { continue };
            let (from, known) = began(rollback, run, fired);
            let took = Duration::from_nanos(end.saturating_sub(from));
            unknown |= !known && took <= limit;
            longest = Some(longest.map_or(took, |l| l.max(took)));
        }
        let Some(took) = longest else {
            let why = "no run recorded how long it took".to_owned();
            return Some((Outcome::Inconclusive, why));
        };
        let words = format!("took {} of {}", duration(took), duration(limit));
        Some(match (took <= limit, unknown) {
            (false, _) => (Outcome::Fail, words),
            (true, false) => (Outcome::Pass, words),
            (true, true) => {
                let why = format!("{words} or more: no run recorded when it began");
                (Outcome::Inconclusive, why)
            }
        })
    }

    /// Where it was started by hand: by the role that may.
    fn by_role(
        &self,
        rollback: &Rollback,
        runs: &[&GateRun],
        fired: &[TriggerFired],
    ) -> Option<(Outcome, String)> {
        let role = rollback.role.as_ref()?;
        let manual = |id: &str| {
            let mut triggers = self.policy.triggers.iter().filter(|t| t.id == id);
            triggers.any(|t| matches!(t.criterion.measure, Measure::Manual(_)))
        };
        let own = fired
            .iter()
            .filter(|f| f.rollback.as_ref() == Some(&rollback.id));
        let mut worst: Option<(Outcome, String)> = None;
        for pulled in own.filter(|f| manual(&f.id)) {
            let id = format!("trigger:{}", pulled.id);
            let run = runs.iter().find(|r| r.verdict.run.id == pulled.run);
            let seen = run.and_then(|r| r.recorded.series(&id, "role")?.first()?.value.as_ref());
            let result = match seen.and_then(|v| v.as_str()) {
                Some(by) if by == role => (Outcome::Pass, format!("started by {by}")),
                Some(by) => (
                    Outcome::Fail,
                    format!("started by {by}, which only {role} may"),
                ),
                None => {
                    let why = format!("no run recorded that {role} started it");
                    (Outcome::Inconclusive, why)
                }
            };
            if worst.as_ref().is_none_or(|w| result.0 > w.0) {
                worst = Some(result);
            }
        }
        worst
    }

    /// Seconds from the first step of a roll-back to the last one, in the run that took longest.
    pub(super) fn rollback_seconds(&self) -> Result<f64, String> {
        let mut longest: Option<f64> = None;
        for rollback in &self.policy.rollbacks {
            for run in &self.usable {
                let times = rollback.steps.iter().filter_map(|step| {
                    let points = run
                        .recorded
                        .series(&format!("step:{}", step.id), "verified")?;
                    Some((points.first()?.at, points.last()?.at))
                });
                let span = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
                if let Some((from, to)) = span {
                    let seconds = (to - from) as f64 / 1e9;
                    longest = Some(longest.map_or(seconds, |l| l.max(seconds)));
                }
            }
        }
        longest.ok_or_else(|| "no run recorded a roll-back".to_owned())
    }

    /// The stages with all that they rest on.
    pub(super) fn stages(&self, items: &[GateItem]) -> Vec<StageDecision> {
        let mut all: Vec<StageDecision> = Vec::new();
        for stage in self.wanted() {
            let own = items
                .iter()
                .filter(|i| i.of_stage(&stage.id) && !i.passed_over)
                .map(|i| i.verdict);
            let before = all
                .iter()
                .filter(|s| stage.requires.contains(&s.id))
                .map(|s| s.verdict);
            let runs = self.runs_of(Some(stage));
            all.push(StageDecision {
                id: stage.id.clone(),
                what: stage.what.clone(),
                verdict: Outcome::worst(own.chain(before)),
                runs: runs.iter().map(|r| r.verdict.run.id.clone()).collect(),
            });
        }
        all
    }

    /// Rules that hold if others do.
    pub(super) fn derived(&self, items: &[GateItem]) -> Vec<GateItem> {
        let mut all = Vec::new();
        for rule in &self.policy.rules {
            let Measure::AllOf(names) = &rule.criterion.measure else {
                continue;
            };
            let rules: Vec<&str> = self.policy.rules.iter().map(|r| r.id.as_str()).collect();
            let meant = |i: &&GateItem| {
                names.iter().any(|name| match name.strip_prefix("stage:") {
                    Some(stage) => i.of_stage(stage),
                    None if name == "rules" => rules.contains(&i.base()),
                    None => i.base() == name,
                })
            };
            let members: Vec<&GateItem> = items.iter().filter(meant).collect();
            let absent = names.iter().find(|name| {
                let plain = !name.starts_with("stage:") && *name != "rules";
                plain && !members.iter().any(|i| i.base() == *name)
            });
            if let Some(absent) = absent {
                let open = item(&rule.id, &rule.what, Outcome::Inconclusive)
                    .expected(format!("all of {}", names.join(", ")))
                    .observed(format!("{absent} was not judged"));
                all.push(open.source(&rule.source));
                continue;
            }
            let verdict = Outcome::worst(members.iter().map(|i| i.verdict));
            let worst = members.iter().find(|i| i.verdict == verdict);
            let observed = match (verdict, worst) {
                (_, None) => "there is nothing that it stands for".to_owned(),
                (Outcome::Pass, _) => format!("all of {}", count(members.len() as u64, "item")),
                (_, Some(worst)) => format!("{} {}: {}", verdict.word(), worst.id, worst.observed),
            };
            let result = item(&rule.id, &rule.what, verdict)
                .expected(format!("all of {}", names.join(", ")))
                .observed(observed);
            all.push(result.source(&rule.source));
        }
        all
    }

    /// k of n: the members count through their group only.
    pub(super) fn groups(&self, items: &mut Vec<GateItem>) {
        for group in &self.policy.groups {
            let mut held = 0;
            let mut open = Vec::new();
            let mut broken = Vec::new();
            for name in &group.of {
                let own = items.iter().filter(|i| i.base() == name);
                match Outcome::worst(own.map(|i| i.verdict)) {
                    Outcome::Pass => held += 1,
                    Outcome::Inconclusive => open.push(name.as_str()),
                    Outcome::Fail => broken.push(name.as_str()),
                }
            }
            let verdict = match held {
                n if n >= group.need => Outcome::Pass,
                n if n + open.len() >= group.need => Outcome::Inconclusive,
                _ => Outcome::Fail,
            };
            let mut observed = format!("{held} of {} hold", group.of.len());
            for (list, words) in [(&broken, "not met"), (&open, "without data, so not met")] {
                if !list.is_empty() {
                    observed = format!("{observed}; {words}: {}", list.join(", "));
                }
            }
            for member in items
                .iter_mut()
                .filter(|i| group.of.iter().any(|n| n == i.base()))
            {
                member.passed_over = true;
            }
            let result = item(&group.id, &group.what, verdict)
                .expected(format!("{} of {}", group.need, group.of.join(", ")))
                .observed(observed);
            items.push(result.source(&group.source));
        }
    }
}

/// When a step was first seen to have had its effect, nanoseconds since the run's start.
fn verified_at(run: &GateRun, step: &str) -> Option<u64> {
    let points = run.recorded.series(&format!("step:{step}"), "verified")?;
    let seen = |p: &&Point| p.value.as_ref().and_then(|v| v.as_bool()) == Some(true);
    points.iter().find(seen).map(|p| p.at)
}

/// When a roll-back began in a run, and whether that was recorded: by its trigger, or by a first look at a step whose
/// effect wasn't there yet. Otherwise its first record stands for it, which is late.
fn began(rollback: &Rollback, run: &GateRun, fired: &[TriggerFired]) -> (u64, bool) {
    let own = |f: &&TriggerFired| {
        f.run == run.verdict.run.id && f.rollback.as_ref() == Some(&rollback.id)
    };
    let triggered = fired.iter().filter(own).filter_map(|f| f.at_ms);
    if let Some(ms) = triggered.reduce(f64::min) {
        return ((ms * 1e6) as u64, true);
    }
    let firsts = rollback.steps.iter().filter_map(|step| {
        let points = run
            .recorded
            .series(&format!("step:{}", step.id), "verified")?;
        let first = points.first()?;
        let looked = first.value.as_ref().and_then(|v| v.as_bool()) == Some(false);
        Some((first.at, looked))
    });
    firsts.min_by_key(|(at, _)| *at).unwrap_or((0, false))
}

/// A roll-back that closes positions needs a step that shows that none is left: a number that is 0 afterwards.
fn closes(rollback: &Rollback) -> Option<(Outcome, String)> {
    let shown = rollback.steps.iter().any(|step| {
        let none = match &step.verify.is {
            Some(Predicate::Equals(value)) => value.as_f64() == Some(0.0),
            _ => false,
        };
        none && matches!(step.verify.how, VerifyBy::Expr(_))
    });
    let open = rollback.positions == Positions::Close && !shown;
    open.then(|| {
        let why = "no step shows that positions were closed: an expr that equals 0";
        (Outcome::Inconclusive, why.to_owned())
    })
}
