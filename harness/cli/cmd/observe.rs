//! `firedrill observe`: watch a live canary's Prometheus under a policy's stage, and roll back when a
//! trigger fires. Injects nothing; what it records is judged and sealed like any other run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use firedrill_journal::{Document, EdgeKind, EndReason, Header, RunInfo, RunKind, SCHEMA, Subject};
use firedrill_plan::{Policy, Rollback, Secret, Stage, Step, Target, promql};
use firedrill_report::Extras;
use firedrill_runner::{Cancel, Question, Redactor, Session};
use firedrill_verdict::{Armed, Outcome, TriggerFired, Verdict, rollback_of};
use serde_json::json;

use crate::args::ObserveArgs;
use crate::evidence::parts;
use crate::exit::{Exit, Stop};
use crate::files::Loaded;
use crate::planned::{self, Planned};
use crate::ramp::{self, Ramp};
use crate::{context, evidence, files, launch};

/// Interval of a policy that says none; its own default.
const EVERY: Duration = Duration::from_secs(15);
/// Longest time that a question may take.
const QUESTION_MAX: Duration = Duration::from_secs(10);

/// Everything that is read and checked before anything is asked.
struct Plan {
    policy: Loaded<Policy>,
    target: Option<Loaded<Target>>,
    subject: Subject,
    selector: String,
    prometheus: String,
    every: Duration,
    stages: Vec<Watch>,
}

/// A stage, and what is asked for its sake.
struct Watch {
    stage: Stage,
    length: Duration,
    questions: Vec<Question>,
}

/// A stage that was watched, judged and sealed.
struct Watched {
    verdict: Verdict,
    extras: Extras,
    interrupted: bool,
}

/// How a watch came to its end.
struct End {
    reason: EndReason,
    detail: Option<String>,
}

pub async fn observe(args: ObserveArgs) -> Result<Exit, Stop> {
    let plan = plan(&args)?;
    say_subject(&plan.subject);
    let (_switch, cancel) = launch::on_signal_saying("sealing what was recorded")?;
    let id = evidence::run_id("observe", 0);
    let folder = args.out.join(&id);
    let ramp = args.stages.is_some();
    if ramp {
        planned::store(&folder, &planned(&plan, &id))?;
    }
    let mut exit = Exit::Pass;
    let mut judged = Vec::new();
    for (index, watch) in plan.stages.iter().enumerate() {
        let stage = &watch.stage.id;
        let (dir, run_id) = match ramp {
            true => (folder.join(stage), format!("{id}-{stage}")),
            false => (folder.clone(), id.clone()),
        };
        let watched = one(&args, &plan, watch, &run_id, &dir, &cancel).await?;
        evidence::point_latest(&args.out, &id);
        print(&watched.verdict, &dir);
        exit = exit.worst(match watched.interrupted {
            true => Exit::Interrupted,
            false => watched.verdict.verdict.into(),
        });
        judged.push((watched.verdict, watched.extras));
        let left = plan.stages.len() - index - 1;
        if exit != Exit::Pass && left > 0 {
            println!("the ramp ends at {stage}: {left} stages were not entered");
            break;
        }
    }
    if ramp {
        evidence::seal_whole(&folder, &id, &judged)?;
    }
    Ok(exit)
}

/// The stages of a ramp, each a run with a folder of its own: one that was not entered is missed.
fn planned(plan: &Plan, id: &str) -> Planned {
    let stages = plan.stages.iter().map(|watch| watch.stage.id.clone());
    Planned {
        schema_version: 1,
        run: id.to_owned(),
        subject: plan.subject.digest.clone(),
        drills: stages.collect(),
    }
}

/// What no release gate will take is said before hours are spent on it.
fn say_subject(subject: &Subject) {
    if subject.dirty.is_none() {
        eprintln!(
            "subject {}: it is not known whether its work tree had changes, and a release gate needs to know; give --subject the folder of a run of that build",
            subject.digest
        );
    }
}

fn plan(args: &ObserveArgs) -> Result<Plan, Stop> {
    let policy = files::policy(&args.policy, &files::drill_names()?)?;
    let target = args.target.as_deref().map(files::target).transpose()?;
    let none = BTreeMap::new();
    let names = target.as_ref().map_or(&none, |t| &t.value.metric);
    let selector = selector(args, &policy.value)?;
    let mut stages = Vec::new();
    for stage in wanted(args, &policy.value)? {
        let length = length(args, &stage)?;
        let questions = ramp::questions(&policy.value, &stage, names)
            .map_err(|why| Stop::Usage(format!("{}: {why}", args.policy.display())))?;
        if policy.value.canary.is_none() {
            sees_canary(&selector, &questions)?;
        }
        stages.push(Watch {
            stage,
            length,
            questions,
        });
    }
    let every = policy.value.canary.as_ref().map_or(EVERY, |c| c.every);
    let plan = Plan {
        prometheus: prometheus(&args.prometheus)?,
        subject: subject(args, &policy.value)?,
        policy,
        target,
        selector,
        every,
        stages,
    };
    if args.execute {
        executable(args, &plan)?;
    }
    Ok(plan)
}

fn prometheus(url: &str) -> Result<String, Stop> {
    let bad = |why: &str| Stop::Usage(format!("--prometheus: {why}, expected http://HOST:PORT"));
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => {
            return Err(bad(
                "this version speaks no TLS: give it a proxy on this machine",
            ));
        }
        _ => return Err(bad("not a URL")),
    };
    let host = rest.split('/').next().unwrap_or("");
    match (host.is_empty(), host.contains('@')) {
        (true, _) => Err(bad("no host")),
        // It would stand in the journal, the report and the list of processes.
        (_, true) => Err(bad("no credentials in a URL")),
        _ => Ok(url.to_owned()),
    }
}

/// The stages that are watched, in the policy's order.
fn wanted(args: &ObserveArgs, policy: &Policy) -> Result<Vec<Stage>, Stop> {
    let Some(name) = &args.stage else {
        let held = policy.stages.iter().filter(|s| s.hold.is_some());
        let all: Vec<Stage> = held.cloned().collect();
        return match all.is_empty() {
            true => Err(Stop::Usage(format!(
                "{}: no stage has a hold",
                args.policy.display()
            ))),
            false => Ok(all),
        };
    };
    let stage = policy.stage(name).cloned().map(|stage| vec![stage]);
    stage.ok_or_else(|| crate::around::no_stage(&args.policy, policy, name))
}

fn length(args: &ObserveArgs, stage: &Stage) -> Result<Duration, Stop> {
    let Some(text) = &args.length else {
        let id = &stage.id;
        return stage.hold.ok_or_else(|| {
            Stop::Usage(format!(
                "stage {id} has no hold: give --for a duration such as 15m"
            ))
        });
    };
    let length = firedrill_plan::parse_duration(text).ok();
    length.filter(|l| !l.is_zero()).ok_or_else(|| {
        Stop::Usage(format!(
            "--for {text}: expected a duration such as 15m or 1h"
        ))
    })
}

/// The canary's label matchers, from the policy or the command line; both must say the same.
fn selector(args: &ObserveArgs, policy: &Policy) -> Result<String, Stop> {
    let own = policy.canary.as_ref().map(|c| c.selector.clone());
    let Some(given) = &args.selector else {
        return own.ok_or_else(|| {
            let text = "the policy has no [canary]: say by --selector 'label=\"canary\"' whose series are watched";
            Stop::Usage(format!("{}: {text}", args.policy.display()))
        });
    };
    let asked = matchers(given)?;
    match own {
        Some(own) if matchers(&own)? != asked => Err(Stop::Usage(format!(
            "--selector {given}: the policy tells its canary by {own}, and a gate will judge by that; expected the same, or another policy"
        ))),
        Some(own) => Ok(own),
        None => Ok(given.clone()),
    }
}

fn matchers(selector: &str) -> Result<BTreeSet<String>, Stop> {
    let bad = |why: String| {
        Stop::Usage(format!(
            "selector {selector}: {why}, expected label=\"value\""
        ))
    };
    let parsed = promql::selectors(&format!("{{{selector}}}")).map_err(|e| bad(e.to_string()))?;
    let all: BTreeSet<String> = parsed.iter().flat_map(promql::Selector::matchers).collect();
    match all.is_empty() {
        true => Err(bad("it selects nothing".to_owned())),
        false => Ok(all),
    }
}

/// A policy that has no `${canary}` must name the canary in each of its expressions.
fn sees_canary(selector: &str, questions: &[Question]) -> Result<(), Stop> {
    let asked = matchers(selector)?;
    for question in questions {
        let read = promql::selectors(&question.expr).unwrap_or_default();
        if !read.iter().any(|s| asked.is_subset(&s.matchers())) {
            return Err(Stop::Usage(format!(
                "--selector {selector}: `{}` sees the whole fleet; expected these labels in it",
                question.expr
            )));
        }
    }
    Ok(())
}

/// What the canary runs. A folder names all of it, a digest only itself.
fn subject(args: &ObserveArgs, policy: &Policy) -> Result<Subject, Stop> {
    let named = |digest: &str| Subject {
        name: policy.name.clone(),
        digest: digest.to_owned(),
        version: policy
            .release
            .clone()
            .unwrap_or_else(|| "unknown".to_owned()),
        git_revision: None,
        dirty: None,
        defect: None,
    };
    match args.subject.as_deref() {
        None => Ok(named("unknown")),
        Some(digest) if digest.starts_with("sha256:") => Ok(named(digest)),
        Some(folder) => {
            let part = parts(Path::new(folder))?.remove(0);
            Ok(evidence::rejudge(&part)?.run.journal.header.subject)
        }
    }
}

/// Everything that may have to be run can be: what can't be filled in is found before it is needed.
fn executable(args: &ObserveArgs, plan: &Plan) -> Result<(), Stop> {
    let policy = &plan.policy.value;
    let started = policy
        .triggers
        .iter()
        .filter_map(|t| rollback_of(policy, t));
    let mut steps: Vec<(&Step, Option<&str>)> = started
        .flat_map(|r| &r.steps)
        .map(|step| (step, Some("trigger")))
        .collect();
    if args.stages.is_some() {
        let stages = plan.stages.iter().map(|w| &w.stage);
        steps.extend(
            stages
                .flat_map(|s| s.enter.iter().chain(&s.exit))
                .map(|s| (s, None)),
        );
    }
    let names = BTreeMap::new();
    let ramp = Ramp {
        policy,
        names: &names,
        stage: "",
        execute: true,
    };
    for (step, trigger) in steps {
        ramp.argv(&step.run, trigger).map_err(|why| {
            let path = args.policy.display();
            Stop::Usage(format!("{path}: step {} can't be run: {why}", step.id))
        })?;
    }
    Ok(())
}

/// One stage from header to sealed folder.
async fn one(
    args: &ObserveArgs,
    plan: &Plan,
    watch: &Watch,
    run_id: &str,
    dir: &Path,
    cancel: &Cancel,
) -> Result<Watched, Stop> {
    evidence::create(dir)?;
    let _ours = evidence::claim(dir)?;
    let environment = |e: &dyn std::fmt::Display| Stop::Environment(e.to_string());
    let header = header(plan, &watch.stage, run_id);
    let deadline = plan.every.min(QUESTION_MAX);
    let secrets = Redactor::new(&secrets(plan.target.as_ref()));
    let mut session = Session::begin(dir, header.clone(), &plan.prometheus, deadline, secrets)
        .await
        .map_err(|e| environment(&e))?;
    let end = follow(args, plan, watch, (&mut session, &header), cancel).await;
    let interrupted = end.reason == EndReason::Interrupted;
    session
        .end(end.reason, end.detail)
        .await
        .map_err(|e| environment(&e))?;
    let run = evidence::judged(dir, true)?;
    let context = context::gather(&args.out, dir, &run.verdict);
    let extras = evidence::render(dir, &run, &context)?;
    evidence::seal(dir, run_id, &run.journal.head)?;
    Ok(Watched {
        verdict: run.verdict,
        extras,
        interrupted,
    })
}

/// Values of the target's secrets that this process knows.
fn secrets(target: Option<&Loaded<Target>>) -> BTreeMap<String, String> {
    let all = target.iter().flat_map(|t| &t.value.secrets);
    let known = all.filter_map(|(name, secret)| match secret {
        Secret::Env { var } => Some((name.clone(), std::env::var(var).ok()?)),
        Secret::Fixed { value } => Some((name.clone(), value.clone())),
        Secret::Random { .. } => None,
    });
    known.collect()
}

fn header(plan: &Plan, stage: &Stage, run_id: &str) -> Header {
    let mut documents: Vec<Document> = vec![plan.policy.document.clone()];
    documents.extend(plan.target.as_ref().map(|t| t.document.clone()));
    let target = plan.target.as_ref().map(|t| t.value.name.clone());
    Header {
        schema: SCHEMA,
        run: RunInfo {
            id: run_id.to_owned(),
            kind: RunKind::Observe,
            profile: stage.profile.clone(),
            seed: 0,
            target: target.unwrap_or_else(|| plan.policy.value.name.clone()),
            runtime: "live".to_owned(),
            argv: std::env::args().collect(),
            started_at: jiff::Timestamp::now(),
        },
        documents,
        subject: plan.subject.clone(),
        images: BTreeMap::new(),
        versions: BTreeMap::from([("firedrill".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        episodes: Vec::new(),
    }
}

/// Enters the stage, watches it, and leaves it or rolls back.
async fn follow(
    args: &ObserveArgs,
    plan: &Plan,
    watch: &Watch,
    (session, header): (&mut Session, &Header),
    cancel: &Cancel,
) -> End {
    let stage = &watch.stage;
    let keys = [
        ("stage", json!(stage.id)),
        ("selector", json!(plan.selector)),
        ("prometheus", json!(plan.prometheus)),
        ("execute", json!(args.execute)),
        ("every_ms", json!(plan.every.as_millis() as u64)),
        ("length_ms", json!(watch.length.as_millis() as u64)),
    ];
    session.note("observe", keys).await;
    if let Err(why) = session.reachable().await {
        let detail = Some(format!("Prometheus at {}: {why}", plan.prometheus));
        return End {
            reason: EndReason::Failed,
            detail,
        };
    }
    for path in &args.logs {
        session.follow(path).await;
    }
    let names = plan.target.as_ref().map(|t| t.value.metric.clone());
    let names = names.unwrap_or_default();
    let ramp = Ramp {
        policy: &plan.policy.value,
        names: &names,
        stage: &stage.id,
        execute: args.execute,
    };
    session.edge(&stage.id, EdgeKind::Requested, None).await;
    if args.stages.is_some() && !step_through(&ramp, session, "enter", &stage.enter).await {
        let detail = Some(format!("the stage {} was not entered", stage.id));
        return End {
            reason: EndReason::Failed,
            detail,
        };
    }
    let began_ns = session.edge(&stage.id, EdgeKind::Proven, None).await;
    println!(
        "watching {} for {} s, every {} s",
        stage.id,
        watch.length.as_secs_f64(),
        plan.every.as_secs_f64()
    );
    let sha256 = &plan.policy.document.sha256;
    let armed = Armed::new(header, ramp.policy, sha256, stage, &names, began_ns);
    let end = rounds(plan, watch, (&mut *session, armed, &ramp), began_ns, cancel).await;
    if args.stages.is_some() && end.reason == EndReason::Completed && end.detail.is_none() {
        step_through(&ramp, session, "exit", &stage.exit).await;
    }
    session.edge(&stage.id, EdgeKind::Healed, None).await;
    End {
        reason: end.reason,
        detail: end.detail,
    }
}

/// Steps into a stage or out of it; printed where nothing may be executed. False if one didn't have its effect.
async fn step_through(ramp: &Ramp<'_>, session: &Session, of: &str, steps: &[Step]) -> bool {
    if !ramp.execute {
        if !steps.is_empty() {
            println!("{of}: NOTHING WAS EXECUTED, --execute was not given; it would be");
            ramp.print(steps, None);
        }
        return true;
    }
    ramp.steps(session, (of, steps), None, false).await
}

/// Asks at each due time, until the time is over, a trigger acts, or somebody interrupts. The detail of a
/// completed watch says which trigger ended it.
async fn rounds(
    plan: &Plan,
    watch: &Watch,
    (session, mut armed, ramp): (&mut Session, Armed, &Ramp<'_>),
    began_ns: u64,
    cancel: &Cancel,
) -> End {
    let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let (every, end_ns) = (
        nanos(plan.every),
        began_ns.saturating_add(nanos(watch.length)),
    );
    let clock = session.clock();
    let mut due = began_ns;
    loop {
        let round = async {
            clock.sleep_until(due).await;
            session.round(&watch.questions, due).await
        };
        let Ok(samples) = cancel.clone().guard(round).await else {
            return End {
                reason: EndReason::Interrupted,
                detail: Some("the watch was ended by a signal".to_owned()),
            };
        };
        let fired = armed.see(&samples);
        if let Some(by) = act(plan, ramp, session, &fired).await {
            return End {
                reason: EndReason::Completed,
                detail: Some(format!("trigger {by} fired")),
            };
        }
        if due >= end_ns {
            return End {
                reason: EndReason::Completed,
                detail: None,
            };
        }
        due = due.saturating_add(every).min(end_ns);
        // After a stall the missed due times are left out: they are the gap that the judge sees.
        let now = clock.now_ns();
        if due.saturating_add(every) < now {
            due = now.min(end_ns);
        }
    }
}

/// Records what fired, and rolls back where a trigger says so. Returns the first trigger that acts.
async fn act(
    plan: &Plan,
    ramp: &Ramp<'_>,
    session: &Session,
    fired: &[TriggerFired],
) -> Option<String> {
    let policy = &plan.policy.value;
    for shot in fired {
        let keys = [
            ("trigger", json!(shot.id)),
            ("class", json!(shot.class)),
            ("why", json!(shot.observed)),
        ];
        session.note("trigger", keys).await;
        println!("TRIGGER {} ({}): {}", shot.id, shot.class, shot.observed);
        if shot.rollback.is_none() {
            println!("  a person must decide");
        }
    }
    let mut begun: Vec<&Rollback> = Vec::new();
    for shot in fired {
        let id = shot.rollback.as_ref();
        let rollback = id.and_then(|id| policy.rollbacks.iter().find(|r| r.id == *id));
        let Some(rollback) = rollback.filter(|r| begun.iter().all(|b| b.id != r.id)) else {
            continue;
        };
        begun.push(rollback);
        ramp.roll_back(session, rollback, shot).await;
    }
    let acts = |shot: &&TriggerFired| policy.triggers.iter().any(|t| t.id == shot.id && t.acts);
    fired.iter().find(acts).map(|shot| shot.id.clone())
}

fn print(verdict: &Verdict, dir: &Path) {
    println!("{}", firedrill_report::summary_line(verdict));
    for reason in &verdict.reasons {
        println!("  - {reason}");
    }
    if let Some(text) = firedrill_report::text_observe(verdict) {
        print!("{text}");
    }
    if verdict.verdict == Outcome::Pass {
        println!("  nothing fired, and nothing was missing");
    }
    println!("evidence: {}", dir.display());
}
