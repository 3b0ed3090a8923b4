//! Settings: as the target reports them, and as the gate itself can tell.

use std::time::Duration;

use firedrill_plan::{Config, Criterion, Measure, Scope, Stage};

use super::{Cx, GateRun, item, placed};
use crate::model::{GateItem, Outcome};
use crate::predicate::Test;
use crate::words::{duration, predicate};

impl Cx<'_> {
    pub(super) fn configs(&self) -> Vec<GateItem> {
        let mut items = Vec::new();
        for config in &self.policy.configs {
            for stage in self.places(&config.stages) {
                let (verdict, observed) = self.config(config, stage);
                let wanted = config.is.as_ref().map_or_else(String::new, predicate);
                let result = item(&placed(&config.id, stage), &config.what, verdict)
                    .expected(wanted)
                    .observed(observed);
                items.push(result.source(&config.source));
            }
        }
        items
    }

    fn config(&self, config: &Config, stage: Option<&Stage>) -> (Outcome, String) {
        let open = |why: &str| (Outcome::Inconclusive, why.to_owned());
        match &config.measure {
            Measure::Missing(why) => open(why),
            Measure::Gate(what) => self.known(what, config),
            Measure::Import(id) => match self.around.imports.contains_key(id) {
                true => (Outcome::Pass, "given".to_owned()),
                false => open("not given"),
            },
            measure => {
                let criterion = Criterion {
                    measure: measure.clone(),
                    is: config.is.clone(),
                    lasts: Duration::ZERO,
                    grace: Duration::ZERO,
                    min_samples: 1,
                    volume: None,
                    scope: Scope::Quiet,
                    quiet_min: 0.0,
                    baseline: None,
                };
                let runs = self.runs_of(stage);
                let (finding, _) = self.over_time(&criterion, &runs, stage, None, false);
                (finding.verdict, finding.observed)
            }
        }
    }

    /// What the gate itself can tell.
    fn known(&self, what: &str, config: &Config) -> (Outcome, String) {
        let open = |why: String| (Outcome::Inconclusive, why);
        let policy = self.policy;
        match what {
            "policy-in-run" => {
                let holds = |r: &&&GateRun| {
                    let mut all = r.verdict.run.documents.values();
                    all.any(|digest| digest == self.policy_sha256)
                };
                let with = self.usable.iter().filter(holds).count();
                match self.usable.len() {
                    0 => open("there is no run".to_owned()),
                    all if with == all => (Outcome::Pass, "in every run's journal".to_owned()),
                    all => open(format!(
                        "in {with} of {all} runs: the others had another policy"
                    )),
                }
            }
            "release" => {
                let Some(release) = &policy.release else {
                    return open("the policy names no release".to_owned());
                };
                let other = self
                    .usable
                    .iter()
                    .map(|r| r.verdict.subject.version.as_str())
                    .find(|v| v.trim_start_matches('v') != release.trim_start_matches('v'));
                match (self.usable.is_empty(), other) {
                    (true, _) => open("there is no run".to_owned()),
                    (false, None) => (Outcome::Pass, release.clone()),
                    (false, Some(other)) => open(format!(
                        "the policy is about {release}, the run about {other}"
                    )),
                }
            }
            "owner" => match policy.owner.as_ref().filter(|o| policy.roles.contains(o)) {
                Some(owner) => (Outcome::Pass, owner.clone()),
                None => open("no role owns the policy".to_owned()),
            },
            "interval" => {
                let Some(canary) = &policy.canary else {
                    return open("the policy says no interval".to_owned());
                };
                let seconds = canary.every.as_secs_f64();
                let test = config.is.as_ref().map(Test::new);
                let holds = test.and_then(Result::ok).and_then(|t| t.number(seconds));
                match holds {
                    Some(true) => (Outcome::Pass, duration(canary.every)),
                    _ => (Outcome::Fail, duration(canary.every)),
                }
            }
            _ => open(format!("the gate can't tell \"{what}\"")),
        }
    }
}
