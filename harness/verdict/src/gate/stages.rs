//! Stages: held, with the traffic asked for, after what they require. And the way back.

use std::time::Duration;

use firedrill_plan::{Measure, Stage, Step};

use super::series::{SeriesSource as _, median};
use super::{Cx, GateRun, NoGo, item, runs};
use crate::model::{GateItem, Outcome, StageDecision};
use crate::words::{count, duration, number};

impl Cx<'_> {
    pub(super) fn stage_items(&self) -> Vec<GateItem> {
        let mut items = Vec::new();
        for stage in self.wanted() {
            let runs = self.runs_of(Some(stage));
            let checks = [
                self.held(stage, &runs),
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

    fn held(&self, stage: &Stage, runs: &[&GateRun]) -> Option<(Outcome, String)> {
        let hold = stage.hold?;
        let longest = runs.iter().map(|r| r.verdict.run.duration_ms).max();
        Some(match longest {
            None => (Outcome::Inconclusive, "no run of it".to_owned()),
            Some(ms) if Duration::from_millis(ms) >= hold => (
                Outcome::Pass,
                format!("held {}", duration(Duration::from_millis(ms))),
            ),
            Some(ms) => {
                let held = duration(Duration::from_millis(ms));
                (
                    Outcome::Inconclusive,
                    format!("held {held} of {}", duration(hold)),
                )
            }
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
    fn share(&self, stage: &Stage, runs: &[&GateRun]) -> Option<(Outcome, String)> {
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

    pub(super) fn rollbacks(&self) -> Vec<GateItem> {
        let mut items = Vec::new();
        for rollback in &self.policy.rollbacks {
            let Some(limit) = rollback.rehearsed_within else {
                continue;
            };
            let fresh = |r: &&&GateRun| runs::age(r, self.now).is_some_and(|age| age <= limit);
            let runs: Vec<&GateRun> = self.usable.iter().filter(fresh).copied().collect();
            let steps: Vec<&Step> = rollback.steps.iter().collect();
            let (verdict, observed) = self
                .carried_out(&steps, &runs)
                .unwrap_or((Outcome::Inconclusive, "it has no step".to_owned()));
            let result = item(&rollback.id, &rollback.what, verdict)
                .expected(format!("rehearsed and verified within {}", duration(limit)))
                .observed(observed);
            items.push(result.source(&rollback.source));
        }
        items
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
