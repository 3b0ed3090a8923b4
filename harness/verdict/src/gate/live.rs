//! A stage while it is watched: what is asked for its sake, and its triggers, judged as they happen by what
//! judges the journal afterwards.

use std::collections::{BTreeMap, BTreeSet};

use firedrill_journal::{Header, Journal, Sample};
use firedrill_plan::{
    Class, Measure, Policy, Rollback, Stage, StartedBy, Trigger, UnknownPlaceholder,
};

use super::series::{Wanted, every_of, probes};
use super::{Around, Cx, GateRun, Recorded};
use crate::model::{Outcome, TriggerFired, Verdict};
use crate::observe::ObserveVerdict;
use crate::words::to_ms;

/// The roll-back that a trigger starts by itself: the one that it names, or the first that its class may.
pub fn rollback_of<'p>(policy: &'p Policy, trigger: &Trigger) -> Option<&'p Rollback> {
    if !trigger.acts {
        return None;
    }
    let may = |r: &&Rollback| match r.on {
        StartedBy::Any => true,
        StartedBy::Critical => trigger.class != Class::Warning,
        StartedBy::Manual => false,
    };
    match &trigger.rollback {
        Some(id) => policy.rollbacks.iter().find(|r| r.id == *id),
        None => policy.rollbacks.iter().find(may),
    }
}

/// When the harness that watched saw a trigger, where one did.
pub(super) fn seen_live(shot: &mut TriggerFired, run: Option<&GateRun>) {
    let seen = run.and_then(|r| r.verdict.observe.as_ref());
    let mut all = seen.iter().flat_map(|s| &s.triggers);
    if let Some(live) = all.find(|t| t.id == shot.id) {
        (shot.seen_ms, shot.late_ms) = (live.seen_ms, live.late_ms);
    }
}

/// The triggers of a stage while it is watched. They are judged by what judges the journal afterwards.
pub struct Armed {
    policy: Policy,
    policy_sha256: String,
    wanted: Wanted,
    run: GateRun,
    around: Around,
    stage: String,
    fired: BTreeSet<String>,
}

impl Armed {
    /// `names` are those that the target gives to the policy's variables, `began_ns` is when the stage began.
    pub fn new(
        header: &Header,
        policy: &Policy,
        policy_sha256: &str,
        stage: &Stage,
        names: &BTreeMap<String, String>,
        began_ns: u64,
    ) -> Self {
        let journal = Journal {
            header: header.clone(),
            events: Vec::new(),
            truncation: None,
            head: String::new(),
        };
        let mut verdict = crate::judge::frame(&journal);
        let mut seen = nothing_yet(policy, stage);
        seen.began_ms = to_ms(began_ns);
        verdict.observe = Some(seen);
        let recorded = Recorded {
            every: Some(every_of(policy)),
            ..Recorded::default()
        };
        Self {
            wanted: probes(policy, names),
            policy: policy.clone(),
            policy_sha256: policy_sha256.to_owned(),
            run: plain_run(verdict, recorded),
            around: only(&stage.id),
            stage: stage.id.clone(),
            fired: BTreeSet::new(),
        }
    }

    /// Takes what was asked, and says which triggers fire that did not before.
    pub fn see(&mut self, samples: &[Sample]) -> Vec<TriggerFired> {
        for sample in samples {
            self.run.recorded.take(sample, &self.wanted);
        }
        let mut all = Vec::new();
        self.cx().triggers(&mut all);
        all.retain(|t| t.stage.as_ref().is_none_or(|s| *s == self.stage));
        all.retain(|t| self.fired.insert(t.id.clone()));
        all
    }

    fn cx(&self) -> Cx<'_> {
        Cx {
            policy: &self.policy,
            policy_sha256: &self.policy_sha256,
            subject: &self.run.verdict.subject.digest,
            usable: vec![&self.run],
            around: &self.around,
            now: end_of(&self.run.verdict),
        }
    }
}

/// The expressions that a stage's items, its triggers among them, are about: as they are asked, with the
/// probe that their answers belong to. Each once.
///
/// # Errors
/// A variable that has no value.
pub fn questions(
    policy: &Policy,
    stage: &Stage,
    names: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, UnknownPlaceholder> {
    let around = only(&stage.id);
    let cx = Cx {
        policy,
        policy_sha256: "",
        subject: "",
        usable: Vec::new(),
        around: &around,
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let here = |place: &Option<&Stage>| place.is_none_or(|s| s.id == stage.id);
    let placed = |stages| cx.places(stages).iter().any(here);
    let rules = policy.rules.iter();
    let rules = rules.filter(|r| cx.looks(r).iter().any(|(place, _)| here(place)));
    let triggers = policy.triggers.iter().filter(|t| placed(&t.stages));
    let criteria = rules
        .map(|r| &r.criterion)
        .chain(triggers.map(|t| &t.criterion));
    let mut exprs: Vec<&str> = Vec::new();
    for criterion in criteria {
        exprs.extend(expr_of(&criterion.measure));
        exprs.extend(criterion.volume.as_ref().map(|v| v.expr.as_str()));
    }
    let configs = policy.configs.iter().filter(|c| placed(&c.stages));
    exprs.extend(configs.filter_map(|c| expr_of(&c.measure)));
    exprs.extend(policy.canary.as_ref().and_then(|c| c.share.as_deref()));
    let filled = exprs.into_iter().map(|expr| {
        let query = policy.render(expr, names)?;
        Ok((firedrill_plan::promql_probe(&query), query))
    });
    filled.collect()
}

fn expr_of(measure: &Measure) -> Option<&str> {
    match measure {
        Measure::Expr(expr) => Some(expr),
        _ => None,
    }
}

pub(super) fn only(stage: &str) -> Around {
    Around {
        stage: Some(stage.to_owned()),
        ..Around::default()
    }
}

pub(super) fn plain_run(verdict: Verdict, recorded: Recorded) -> GateRun {
    GateRun {
        manifest_sha256: String::new(),
        sealed: Ok(()),
        verdict,
        files: Vec::new(),
        recorded,
    }
}

pub(super) fn end_of(verdict: &Verdict) -> jiff::Timestamp {
    let end = verdict.run.ended_at.parse();
    end.unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

pub(super) fn nothing_yet(policy: &Policy, stage: &Stage) -> ObserveVerdict {
    ObserveVerdict {
        verdict: Outcome::Inconclusive,
        policy: policy.name.clone(),
        policy_title: policy.title.clone(),
        stage: stage.id.clone(),
        what: stage.what.clone(),
        selector: String::new(),
        prometheus: String::new(),
        executed: false,
        began_ms: 0.0,
        watched_ms: 0.0,
        rounds: 0,
        asked_share: stage.weight.map(|w| w / 100.0),
        measured_share: None,
        steps: Vec::new(),
        items: Vec::new(),
        triggers: Vec::new(),
        rollbacks: Vec::new(),
        left_to_gate: Vec::new(),
    }
}
