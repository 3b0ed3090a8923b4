//! `firedrill soak`: the drills of a profile on one stack, in order or drawn from a seed, under load,
//! and the policy's word on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{Document, RunKind};
use firedrill_plan::{Drill, Profile, Schedule, Target};
use firedrill_runner::{Cancel, Soak};
use firedrill_stack::slots;
use firedrill_verdict::{Around, Outcome};
use tokio::sync::watch;

use crate::args::SoakArgs;
use crate::cmd::{gate, run::seed};
use crate::context;
use crate::evidence;
use crate::execute::{self, Job};
use crate::exit::{Exit, Stop};
use crate::files::Loaded;
use crate::launch::Ready;
use crate::resume::{self, Before};
use crate::{course, files, launch};

/// The profile of a soak that is given a time of its own, unless it names one.
const TIMED: &str = "nightly";
const SHORT: &str = "smoke";

/// The files of a soak, read and checked before anything is started.
struct Plan {
    target: Loaded<Target>,
    profile: Loaded<Profile>,
    policy: Option<(PathBuf, Document)>,
    drills: Vec<Loaded<Drill>>,
    schedule: Schedule,
    disk_max: u64,
}

/// Where it is recorded, and what it goes on with.
struct Place {
    seed: u32,
    run_id: String,
    dir: PathBuf,
    defect: Option<String>,
    resume: Option<Before>,
}

pub async fn soak(args: SoakArgs) -> Result<Exit, Stop> {
    let before = args.resume.as_deref().map(resume::read).transpose()?;
    let seed = match &before {
        Some(before) => u32::try_from(before.header.run.seed).unwrap_or(u32::MAX),
        None => seed(&args.common),
    };
    let plan = plan(&args, seed, before.as_ref())?;
    let defect = match &before {
        Some(before) => before.header.subject.defect.clone(),
        None => launch::defect(&plan.target.value)?,
    };
    eprintln!("seed {seed}");
    if args.common.dry_run {
        print!(
            "{}",
            course::table(&plan.profile.value.name, &plan.schedule)
        );
        println!("\n{}", course::picture(&plan.schedule, course::width()));
        return Ok(Exit::Pass);
    }
    let (switch, cancel) = launch::on_signal()?;
    let out = &args.common.out;
    let drills = plan.drills.iter().map(|d| &d.value);
    let whole = launch::monitored(&plan.target.value, drills, false)?;
    let ready = cancel
        .clone()
        .guard(launch::ready(&whole, args.common.runtime, out))
        .await;
    let ready = ready.map_err(|_| Stop::Interrupted)??;
    let place = match before {
        Some(before) => continued(before, seed, &plan, &ready)?,
        None => {
            let run_id = evidence::run_id("soak", seed);
            Place {
                seed,
                dir: out.join(&run_id),
                run_id,
                defect,
                resume: None,
            }
        }
    };
    let (run_id, dir) = (place.run_id.clone(), place.dir.clone());
    let policy = plan.policy.as_ref().map(|(path, _)| path.clone());
    let switch = Some(switch).filter(|_| !args.keep_going);
    let job = job(&args, plan, place, (whole, switch, cancel))?;
    let done = execute::run(job, &ready).await?;
    evidence::point_latest(out, &run_id);
    execute::print(&done);
    if let Some(command) = &args.on_finish {
        launch::tell(command, &dir.join(evidence::VERDICT)).await;
    }
    if done.interrupted {
        return Ok(Exit::Interrupted);
    }
    let digest = &done.verdict.subject.digest;
    match policy {
        Some(policy) => {
            let around = Around {
                baselines: context::baselines(out)?,
                ..Around::default()
            };
            let runs = std::slice::from_ref(&dir);
            let decided = gate::decide(&policy, digest, runs, out, around)?;
            Ok(end(done.verdict.verdict, decided))
        }
        None => Ok(done.verdict.verdict.into()),
    }
}

/// The first line says what the soak showed. A gate that can't use the run says less, and must not soften that.
fn end(verdict: Outcome, decided: Exit) -> Exit {
    Exit::from(verdict).worst(decided)
}

/// The build that goes on must be the one that began.
fn continued(before: Before, seed: u32, plan: &Plan, ready: &Ready) -> Result<Place, Stop> {
    let began = &before.header.subject;
    let now = launch::subject(&plan.target.value, &ready.images, began.defect.as_ref());
    if now.digest != began.digest {
        return Err(Stop::Usage(format!(
            "{}: it began with the build {}, and this is {}; start a new soak",
            before.dir.display(),
            began.digest,
            now.digest
        )));
    }
    Ok(Place {
        seed,
        run_id: before.header.run.id.clone(),
        dir: before.dir.clone(),
        defect: began.defect.clone(),
        resume: Some(before),
    })
}

fn plan(args: &SoakArgs, seed: u32, before: Option<&Before>) -> Result<Plan, Stop> {
    let length = args.length.as_deref().map(length).transpose()?;
    let default = if length.is_some() { TIMED } else { SHORT };
    let began = before.map(|b| b.header.run.profile.as_str());
    let name = began.or(args.profile.as_deref()).unwrap_or(default);
    let names = files::drill_names()?;
    let path = Path::new(files::PROFILES).join(format!("{name}.toml"));
    if !path.exists() {
        return Err(unknown_profile(name));
    }
    let target = files::target(&args.common.target.target)?;
    let profile = files::profile(&path, &names, &target.value)?;
    let policy = match policy_path(args, name) {
        Some(path) => Some((path.clone(), files::policy(&path, &names)?.document)),
        None => None,
    };
    let mut drills = Vec::new();
    for name in profile.value.drill_names() {
        let path = Path::new(files::DRILLS).join(format!("{name}.toml"));
        drills.push(files::drill(&path, &target.value)?);
    }
    let values: Vec<Drill> = drills.iter().map(|d| d.value.clone()).collect();
    let schedule = match before {
        Some(before) => before.schedule.clone(),
        None => Schedule::draw(&profile.value, &values, length, u64::from(seed))
            .map_err(|e| Stop::Usage(format!("{}: {e}", path.display())))?,
    };
    let disk_max = match &args.max_disk {
        Some(text) => firedrill_plan::parse_size(text)
            .map_err(|why| Stop::Usage(format!("--max-disk {text}: {why}")))?,
        None => profile.value.disk_max,
    };
    Ok(Plan {
        target,
        profile,
        policy,
        drills,
        schedule,
        disk_max,
    })
}

fn length(text: &str) -> Result<Duration, Stop> {
    firedrill_plan::parse_duration(text)
        .ok()
        .filter(|length| !length.is_zero())
        .ok_or_else(|| {
            Stop::Usage(format!(
                "--for {text}: expected a duration such as 45m or 5h"
            ))
        })
}

/// The policy that is given, or the one of the profile's name. Without one the verdict alone decides.
fn policy_path(args: &SoakArgs, profile: &str) -> Option<PathBuf> {
    let own = Path::new(files::GATES).join(format!("{profile}.toml"));
    args.policy.clone().or_else(|| own.exists().then_some(own))
}

fn job(
    args: &SoakArgs,
    plan: Plan,
    place: Place,
    (target, switch, cancel): (Target, Option<watch::Sender<bool>>, Cancel),
) -> Result<Job, Stop> {
    let profile = plan.profile.value;
    let mut env = profile.env.clone();
    for (key, value) in launch::settings(&args.common.set, &target)? {
        for service in target.app_services() {
            let of = env.entry(service.name.clone()).or_default();
            of.insert(key.clone(), value.clone());
        }
    }
    let mut documents = vec![plan.target.document, plan.profile.document];
    documents.extend(plan.policy.map(|(_, document)| document));
    documents.push(course::document(&plan.schedule)?);
    Ok(Job {
        kind: RunKind::Soak,
        profile: profile.name.clone(),
        pace: profile.pace,
        seed: place.seed,
        run_id: place.run_id,
        dir: place.dir,
        store: args.common.out.clone(),
        target: Arc::new(target),
        documents,
        drills: plan.drills,
        soak: Some(Soak {
            probes: profile.probes().into_iter().cloned().collect(),
            mode: profile.mode.clone(),
            env,
            disk_max: plan.disk_max,
            schedule: plan.schedule,
        }),
        keep: args.common.keep,
        stacks_max: slots::stacks_max(),
        defect: place.defect,
        cancel,
        switch,
        resume: place.resume.map(|before| before.resume),
    })
}

fn unknown_profile(name: &str) -> Stop {
    let known = files::in_folder(Path::new(files::PROFILES)).unwrap_or_default();
    let names: Vec<String> = known.iter().map(|p| files::stem(p)).collect();
    let nearest =
        firedrill_plan::nearest(name, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
    Stop::Usage(format!(
        "no profile {name:?}; there are {}{hint}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soak_ends_as_the_worse_of_verdict_and_decision() {
        // A defect was switched on: the gate drops the run, and the soak has failed all the same.
        assert_eq!(end(Outcome::Fail, Exit::Inconclusive), Exit::Fail);
        assert_eq!(end(Outcome::Pass, Exit::Inconclusive), Exit::Inconclusive);
        assert_eq!(end(Outcome::Inconclusive, Exit::Fail), Exit::Fail);
        assert_eq!(end(Outcome::Pass, Exit::Pass), Exit::Pass);
    }
}
