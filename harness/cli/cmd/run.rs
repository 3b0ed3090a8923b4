//! `firedrill run`: drills, each on a stack of its own, several at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use firedrill_journal::{Document, RunKind};
use firedrill_plan::{Drill, Pace, Target};
use firedrill_report::Extras;
use firedrill_runner::Cancel;
use firedrill_stack::slots;
use firedrill_verdict::{Outcome, Verdict};
use rand::RngExt as _;
use tokio::task::JoinSet;

use crate::args::{Common, RunArgs, RunProfile};
use crate::evidence;
use crate::execute::{self, Done, Job};
use crate::exit::{Exit, Stop};
use crate::files::{self, Loaded};
use crate::launch::{self, Ready};
use crate::planned::{self, Planned};

/// The files of a run, read and checked before anything is started.
pub struct Plan {
    pub target: Arc<Target>,
    target_document: Document,
    pub drills: Vec<Loaded<Drill>>,
    pub defect: Option<String>,
    pub seed: u32,
}

pub fn seed(common: &Common) -> u32 {
    common.seed.unwrap_or_else(|| rand::rng().random())
}

pub fn plan(args: &RunArgs) -> Result<Plan, Stop> {
    let paths = share(args, files::drill_paths(&args.drills)?)?;
    let target = files::target(&args.common.target.target)?;
    let defect = launch::defect(&target.value)?;
    let mut drills = Vec::new();
    let mut errors = Vec::new();
    for path in &paths {
        match files::drill(path, &target.value) {
            Ok(drill) => drills.push(drill),
            Err(Stop::Usage(text)) => errors.push(text),
            Err(other) => return Err(other),
        }
    }
    if !errors.is_empty() {
        return Err(Stop::Usage(errors.join("\n")));
    }
    for drill in &mut drills {
        launch::apply_settings(&mut drill.value, &target.value, &args.common.set)?;
    }
    Ok(Plan {
        target: Arc::new(target.value),
        target_document: target.document,
        drills,
        defect,
        seed: seed(&args.common),
    })
}

/// The drills of one machine out of several.
fn share(args: &RunArgs, paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, Stop> {
    let Some(shard) = args.shard else {
        return Ok(paths);
    };
    let all = paths.len();
    let mine = shard.take(paths);
    match mine.is_empty() {
        true => Err(Stop::Usage(format!(
            "--shard {shard}: of {all} drills none is left for it; use as many parts as there are drills, or fewer"
        ))),
        false => Ok(mine),
    }
}

pub async fn run(args: RunArgs) -> Result<Exit, Stop> {
    let plan = plan(&args)?;
    let pace = pace(&args);
    eprintln!("seed {}", plan.seed);
    if args.common.dry_run {
        plan.drills.iter().for_each(|d| describe(&d.value, pace));
        return Ok(Exit::Pass);
    }
    let (_switch, cancel) = launch::on_signal()?;
    let out = &args.common.out;
    let drills = plan.drills.iter().map(|d| &d.value);
    let whole = launch::monitored(&plan.target, drills, false)?;
    let ready = cancel
        .clone()
        .guard(launch::ready(&whole, args.common.runtime, out))
        .await;
    let ready = Arc::new(ready.map_err(|_| Stop::Interrupted)??);
    let id = evidence::run_id("drill", plan.seed);
    let single = plan.drills.len() == 1;
    let folder = out.join(&id);
    let mut jobs = Vec::new();
    for drill in &plan.drills {
        let name = &drill.value.name;
        let dir = match single {
            true => folder.clone(),
            false => folder.join(name),
        };
        jobs.push(job(
            &args,
            &plan,
            name,
            plan.defect.clone(),
            dir,
            cancel.clone(),
        )?);
    }
    if single {
        jobs.iter_mut().for_each(|job| job.run_id.clone_from(&id));
    } else {
        let subject = launch::subject(&whole, &ready.images, plan.defect.as_ref());
        let drills = plan.drills.iter().map(|d| d.value.name.clone());
        let planned = Planned {
            schema_version: 1,
            run: id.clone(),
            subject: subject.digest,
            drills: drills.collect(),
        };
        planned::store(&folder, &planned)?;
    }
    let fail_fast = args.fail_fast;
    let mut stop_after = |done: &Done| {
        execute::print(done);
        fail_fast && done.verdict.verdict != Outcome::Pass
    };
    let done = all(jobs, &ready, width(&args), &mut stop_after).await;
    conclude(done, &folder, out, &id, single)
}

pub fn width(args: &RunArgs) -> usize {
    args.jobs.unwrap_or_else(slots::stacks_max).max(1)
}

fn pace(args: &RunArgs) -> Pace {
    match args.profile {
        RunProfile::Quick => Pace::Quick,
        RunProfile::Full => Pace::Full,
    }
}

/// One run of one of the plan's drills.
pub fn job(
    args: &RunArgs,
    plan: &Plan,
    name: &str,
    defect: Option<String>,
    dir: PathBuf,
    cancel: Cancel,
) -> Result<Job, Stop> {
    let drill = plan.drills.iter().find(|d| d.value.name == name);
    let drill = drill.ok_or_else(|| Stop::Internal(format!("drill {name} is gone")))?;
    let pace = pace(args);
    Ok(Job {
        kind: RunKind::Drill,
        profile: pace_name(pace).to_owned(),
        pace,
        seed: plan.seed,
        run_id: evidence::run_id("drill", plan.seed),
        dir,
        store: args.common.out.clone(),
        target: Arc::new(launch::monitored(&plan.target, [&drill.value], false)?),
        documents: vec![plan.target_document.clone()],
        drills: vec![drill.clone()],
        soak: None,
        switch: None,
        resume: None,
        keep: args.common.keep,
        stacks_max: width(args).max(slots::stacks_max()),
        defect,
        cancel,
    })
}

fn pace_name(pace: Pace) -> &'static str {
    match pace {
        Pace::Quick => "quick",
        Pace::Full => "full",
    }
}

/// Runs all jobs, at most `width` at once. `after` sees each as it ends, and says whether to start no
/// further one. Results are in the jobs' order; `None` was never started.
pub async fn all(
    jobs: Vec<Job>,
    ready: &Arc<Ready>,
    width: usize,
    after: &mut dyn FnMut(&Done) -> bool,
) -> Vec<Option<Result<Done, Stop>>> {
    let mut finished: Vec<Option<Result<Done, Stop>>> = jobs.iter().map(|_| None).collect();
    let mut waiting = jobs.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut stopped = false;
    loop {
        while running.len() < width && !stopped {
            let Some((index, job)) = waiting.next() else {
                break;
            };
            let ready = ready.clone();
            running.spawn(async move { (index, execute::run(job, &ready).await) });
        }
        match running.join_next().await {
            None => return finished,
            Some(Err(_)) => stopped = true,
            Some(Ok((index, done))) => {
                stopped |= match &done {
                    Ok(done) => after(done) || done.interrupted,
                    Err(_) => true,
                };
                finished[index] = Some(done);
            }
        }
    }
}

fn conclude(
    finished: Vec<Option<Result<Done, Stop>>>,
    folder: &Path,
    out: &Path,
    id: &str,
    single: bool,
) -> Result<Exit, Stop> {
    let mut exit = Exit::Pass;
    let mut judged: Vec<(Verdict, Extras)> = Vec::new();
    let mut not_run = 0;
    for result in finished {
        match result {
            // Never started, or its task is gone: that is no pass.
            None => not_run += 1,
            Some(Ok(done)) => {
                let own = match done.interrupted {
                    true => Exit::Interrupted,
                    false => done.verdict.verdict.into(),
                };
                exit = exit.worst(own);
                judged.push((done.verdict, done.extras));
            }
            Some(Err(stop)) => {
                eprintln!("firedrill: {stop}");
                exit = exit.worst(stop.exit());
            }
        }
    }
    if not_run > 0 {
        println!("{not_run} drills were not run");
        exit = exit.worst(Exit::Inconclusive);
    }
    if !judged.is_empty() {
        evidence::point_latest(out, id);
    }
    if !single && !judged.is_empty() {
        let mut verdicts: Vec<Verdict> = judged.iter().map(|(v, _)| v.clone()).collect();
        verdicts.sort_by_key(|v| std::cmp::Reverse(v.verdict));
        let table = firedrill_report::summary_table(&verdicts);
        println!("\n{table}\nevidence: {}", folder.display());
        evidence::seal_whole(folder, id, &judged)?;
    }
    Ok(exit)
}

fn describe(drill: &Drill, pace: Pace) {
    println!("{}: {}", drill.name, drill.title);
    for phase in &drill.phases {
        let faults = phase
            .faults
            .iter()
            .map(|f| format!("{} {}", f.kind.name(), f.target));
        let acts = phase.acts.iter().map(|a| a.id.clone());
        let parts: Vec<String> = acts.chain(faults).collect();
        println!(
            "  {:<20} {:>6.1} s  {}",
            phase.id,
            phase.hold.at(pace).as_secs_f64(),
            parts.join(", ")
        );
    }
    for expect in &drill.expects {
        println!("  - {}: {}", expect.id, expect.what);
    }
}
