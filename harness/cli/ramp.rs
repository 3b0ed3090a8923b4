//! What a policy has done to a live system: the steps into a stage and out of it, and the way back. A
//! step counts once its own check has seen its effect; that it was begun says nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use firedrill_journal::SampleResult;
use firedrill_plan::{Measure, Policy, Rollback, Rule, Stage, Step, VerifyBy, render};
use firedrill_runner::{Question, Ran, Session};
use firedrill_verdict::{TriggerFired, unmet};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

/// How often a check is repeated until it sees the effect.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The policy, and what its variables stand for.
pub struct Ramp<'a> {
    pub policy: &'a Policy,
    /// The target's names for the policy's metrics.
    pub names: &'a BTreeMap<String, String>,
    pub stage: &'a str,
    pub execute: bool,
}

/// What a step's command came to.
#[derive(Default)]
struct Carried {
    exit: Option<i32>,
    why: Option<String>,
}

impl Ramp<'_> {
    /// Carries the steps out in order, each until it is verified or its time is up; another way to a step's
    /// effect is tried where the step itself fails. `rest`: whether what follows a step that failed is carried
    /// out all the same. True if each step had its effect by itself.
    pub async fn steps(
        &self,
        session: &Session,
        (of, steps): (&str, &[Step]),
        trigger: Option<&str>,
        rest: bool,
    ) -> bool {
        let mut all = true;
        for step in steps.iter().filter(|s| s.alternative.is_none()) {
            if self.step(session, of, step, trigger).await {
                continue;
            }
            all = false;
            let mut helped = false;
            let ways = steps
                .iter()
                .filter(|s| s.alternative.as_ref() == Some(&step.id));
            for other in ways {
                helped = self.step(session, of, other, trigger).await;
                if helped {
                    break;
                }
            }
            if !helped && !rest {
                return false;
            }
        }
        all
    }

    /// The roll-back that a trigger calls for. A step that fails doesn't keep the next ones from being tried:
    /// half of a way back is better than none.
    pub async fn roll_back(&self, session: &Session, rollback: &Rollback, shot: &TriggerFired) {
        let keys = [
            ("rollback", json!(rollback.id)),
            ("trigger", json!(shot.id)),
            ("execute", json!(self.execute)),
        ];
        session.note("rollback", keys).await;
        if !self.execute {
            println!(
                "roll-back {}: NOTHING WAS EXECUTED, --execute was not given; it would be",
                rollback.id
            );
            self.print(&rollback.steps, Some(&shot.id));
            return;
        }
        println!("roll-back {}: {}", rollback.id, rollback.what);
        let of = format!("rollback:{}", rollback.id);
        self.steps(session, (&of, &rollback.steps), Some(&shot.id), true)
            .await;
    }

    /// The commands of steps as they would be run.
    pub fn print(&self, steps: &[Step], trigger: Option<&str>) {
        for step in steps {
            let argv = self
                .argv(&step.run, trigger)
                .unwrap_or_else(|_| step.run.clone());
            match argv.is_empty() {
                true => println!("  {}: nothing to run, only a check", step.id),
                false => println!("  {}: {}", step.id, argv.join(" ")),
            }
        }
    }

    async fn step(&self, session: &Session, of: &str, step: &Step, trigger: Option<&str>) -> bool {
        let began_ns = session.clock().now_ns();
        let deadline = Instant::now() + step.verify.within;
        let carried = self.carry_out(session, step, trigger).await;
        let exit = carried.exit.map(i64::from);
        let mut seen = Value::Null;
        let mut why_not = unmet(self.policy, step, exit, &seen);
        // A command that failed needs no look at what it did.
        let mut look = step.run.is_empty() || exit == Some(0);
        while look {
            seen = self.look(session, step, trigger, deadline).await;
            why_not = unmet(self.policy, step, exit, &seen);
            let next = Instant::now() + LOOK_EVERY;
            look = why_not.is_some() && next < deadline;
            if look {
                tokio::time::sleep_until(next).await;
            }
        }
        let verified = why_not.is_none();
        match &why_not {
            None => println!("  {}: verified", step.id),
            Some(why) => println!("  {}: FAILED: {why}", step.id),
        }
        let keys = [
            ("step", json!(step.id)),
            ("of", json!(of)),
            ("began_ns", json!(began_ns)),
            ("exit", json!(exit)),
            ("why", json!(carried.why)),
            ("seen", seen),
        ];
        session.note("step", keys).await;
        session.verified(&step.id, verified).await;
        verified
    }

    async fn carry_out(&self, session: &Session, step: &Step, trigger: Option<&str>) -> Carried {
        if step.run.is_empty() {
            return Carried::default();
        }
        let argv = match self.argv(&step.run, trigger) {
            Ok(argv) => argv,
            Err(why) => {
                return Carried {
                    exit: None,
                    why: Some(why),
                };
            }
        };
        let ran = session.command(&argv, step.verify.within).await;
        let last = |text: &str| text.trim_end().lines().last().map(str::to_owned);
        Carried {
            exit: ran.exit,
            why: match ran.exit {
                Some(0) => None,
                Some(_) => last(&ran.stderr),
                None => ran.why,
            },
        }
    }

    /// One look at a step's effect, in the form in which the judge takes it.
    async fn look(
        &self,
        session: &Session,
        step: &Step,
        trigger: Option<&str>,
        deadline: Instant,
    ) -> Value {
        match &step.verify.how {
            VerifyBy::Expr(expr) => {
                self.ask(session, &format!("verify:{}", step.id), expr)
                    .await
            }
            VerifyBy::Run(argv) => {
                let left = deadline.saturating_duration_since(Instant::now());
                match self.argv(argv, trigger) {
                    Ok(argv) => said(&session.command(&argv, left).await),
                    Err(why) => json!({ "why": why }),
                }
            }
            VerifyBy::Rules(ids) => {
                let mut seen = Map::new();
                for rule in self.policy.rules.iter().filter(|r| ids.contains(&r.id)) {
                    seen.insert(rule.id.clone(), self.rule(session, step, rule).await);
                }
                Value::Object(seen)
            }
        }
    }

    async fn rule(&self, session: &Session, step: &Step, rule: &Rule) -> Value {
        let probe = format!("verify:{}:{}", step.id, rule.id);
        let mut seen = Map::new();
        if let Measure::Expr(expr) = &rule.criterion.measure {
            seen.insert("value".to_owned(), self.ask(session, &probe, expr).await);
        }
        if let Some(volume) = &rule.criterion.volume {
            let probe = format!("{probe}:volume");
            seen.insert(
                "volume".to_owned(),
                self.ask(session, &probe, &volume.expr).await,
            );
        }
        Value::Object(seen)
    }

    /// The value of an expression now; `null` where it has none.
    async fn ask(&self, session: &Session, probe: &str, expr: &str) -> Value {
        let Ok(query) = self.policy.render(expr, self.names) else {
            return Value::Null;
        };
        let question = Question {
            probe: probe.to_owned(),
            expr: query,
        };
        let sample = session.ask(&question, session.clock().now_ns()).await;
        match sample.result {
            SampleResult::Value(fields) => fields.get("value").cloned().unwrap_or_default(),
            SampleResult::Missing(_) => Value::Null,
        }
    }

    /// The arguments with their variables filled in: each stays one argument, whatever it holds.
    pub fn argv(&self, argv: &[String], trigger: Option<&str>) -> Result<Vec<String>, String> {
        let now = jiff::Timestamp::now().as_second().to_string();
        let mut vars = BTreeMap::from([
            ("now".to_owned(), now),
            ("stage".to_owned(), self.stage.to_owned()),
        ]);
        if let Some(trigger) = trigger {
            vars.insert("trigger".to_owned(), trigger.to_owned());
        }
        let filled = argv
            .iter()
            .map(|arg| render(arg, &vars).map_err(|e| e.to_string()));
        filled.collect()
    }
}

fn said(ran: &Ran) -> Value {
    json!({ "exit": ran.exit, "stdout": ran.stdout.trim_end(), "why": ran.why })
}

/// The questions of a stage, each with the probe that its answers are recorded under.
pub fn questions(
    policy: &Policy,
    stage: &Stage,
    names: &BTreeMap<String, String>,
) -> Result<Vec<Question>, String> {
    let asked = firedrill_verdict::questions(policy, stage, names).map_err(|e| e.to_string())?;
    let all = asked
        .into_iter()
        .map(|(probe, expr)| Question { probe, expr });
    Ok(all.collect())
}
