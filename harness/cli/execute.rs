//! One run from header to sealed folder: the recipe that `run` and `soak` share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{Document, EpisodeInfo, Header, RunInfo, RunKind, SCHEMA};
use firedrill_plan::{Drill, Pace, Target};
use firedrill_report::Extras;
use firedrill_runner::{
    Cancel, Episode, Finished, Onlooker, Options, Progress, Resume, RunPlan, Soak, execute,
    resolve_secrets,
};
use firedrill_stack::janitor::Janitor;
use firedrill_stack::slots;
use firedrill_verdict::{Outcome, Verdict};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::context;
use crate::evidence;
use crate::exit::Stop;
use crate::files::Loaded;
use crate::launch::{self, Ready};
use crate::live::Live;
use crate::rerun::rerun;
use crate::show;

/// Events that may wait to be looked at, and offences to be recorded.
const EVENTS: usize = 8_192;
const OFFENCES: usize = 64;
const SLOT_DEADLINE: Duration = Duration::from_secs(1800);

/// What is to be run, once.
pub struct Job {
    pub kind: RunKind,
    pub profile: String,
    pub pace: Pace,
    pub seed: u32,
    pub run_id: String,
    pub dir: PathBuf,
    /// Where the runs before it lie, and the accepted one.
    pub store: PathBuf,
    pub target: Arc<Target>,
    /// Target, profile and policy; the drills' own are added.
    pub documents: Vec<Document>,
    /// Each drill once; a soak's schedule says which comes when.
    pub drills: Vec<Loaded<Drill>>,
    pub soak: Option<Soak>,
    pub keep: bool,
    /// Stacks that may run on this machine at the same time, whoever started them.
    pub stacks_max: usize,
    pub defect: Option<String>,
    pub cancel: Cancel,
    /// What ends the run at once when something is seen that must never happen.
    pub switch: Option<watch::Sender<bool>>,
    /// Set if another process began the run and died.
    pub resume: Option<Resume>,
}

/// A run that was carried out, judged and sealed.
pub struct Done {
    pub verdict: Verdict,
    /// What its report shows beside the verdict.
    pub extras: Extras,
    pub dir: PathBuf,
    pub rerun: String,
    pub tails: BTreeMap<String, Vec<String>>,
    pub interrupted: bool,
}

pub async fn run(mut job: Job, ready: &Ready) -> Result<Done, Stop> {
    evidence::create(&job.dir)?;
    let _ours = evidence::claim(&job.dir)?;
    let resume = job.resume.take();
    let slot = slots::acquire(job.stacks_max, SLOT_DEADLINE);
    let slot = match job.cancel.clone().guard(slot).await {
        Err(_) => return Err(Stop::Interrupted),
        Ok(slot) => slot.map_err(|e| Stop::Environment(e.to_string()))?,
    };
    let environment = |e: &dyn std::fmt::Display| Stop::Environment(e.to_string());
    let janitor = match job.keep {
        true => None,
        false => {
            let args = ["janitor", job.run_id.as_str()];
            let janitor = Janitor::spawn(&ready.executable, &args).await;
            Some(janitor.map_err(|e| environment(&e))?)
        }
    };
    let finished = carry_out(&job, ready, resume).await;
    if let Some(janitor) = janitor {
        // The run is over whatever became of its janitor: what it recorded is judged all the same.
        if let Err(error) = janitor.done().await {
            eprintln!(
                "{}: {error}; `firedrill heal` removes what it left",
                job.run_id
            );
        }
    }
    drop(slot);
    conclude(&job, finished?)
}

async fn carry_out(job: &Job, ready: &Ready, resume: Option<Resume>) -> Result<Finished, Stop> {
    let secrets = resolve_secrets(&job.target).map_err(|e| Stop::Environment(e.to_string()))?;
    let name = match job.drills.as_slice() {
        [one] => one.value.name.clone(),
        _ => job.profile.clone(),
    };
    let plan = RunPlan {
        target: job.target.clone(),
        episodes: episodes(job),
        pace: job.pace,
        soak: job.soak.clone(),
        header: header(job, ready),
        resume,
    };
    let (onlooker, view) = match &job.soak {
        Some(soak) if soak.schedule.waits => {
            let (onlooker, view) = look_on(job, soak, &plan);
            (Some(onlooker), Some(view))
        }
        _ => (None, None),
    };
    let viewed = view.is_some();
    let drawn = viewed && show::is_drawn();
    let options = Options {
        dir: job.dir.clone(),
        engine: ready.engine.clone(),
        images: ready.images.clone(),
        secrets,
        defect: job.defect.clone(),
        keep: job.keep,
        cancel: job.cancel.clone(),
        progress: Arc::new(move |progress| {
            let shown = matches!(
                progress,
                Progress::Quiet { .. } | Progress::Drill { .. } | Progress::Phase { .. }
            );
            if !drawn && (!viewed || !shown) {
                say(&name, &progress);
            }
        }),
        onlooker,
    };
    let finished = execute(plan, options).await;
    if let Some(view) = view {
        // It ends with the events, which have ended.
        let _ = view.await;
    }
    finished.map_err(|e| Stop::Environment(e.to_string()))
}

fn look_on(job: &Job, soak: &Soak, plan: &RunPlan) -> (Onlooker, JoinHandle<()>) {
    let (events, seen) = mpsc::channel(EVENTS);
    let (told, offences) = mpsc::channel(OFFENCES);
    let drills = plan.episodes.iter().map(|e| e.drill.as_ref());
    let live = Live::new(Arc::new(soak.schedule.clone()), drills);
    let view = show::follow(live, seen, told, job.switch.clone());
    (Onlooker { events, offences }, view)
}

/// The drills in the order in which they are executed.
fn order(job: &Job) -> Vec<&Loaded<Drill>> {
    let Some(soak) = &job.soak else {
        return job.drills.iter().collect();
    };
    let named = |name: &String| job.drills.iter().find(|d| d.value.name == *name);
    let episodes = soak.schedule.episodes.iter();
    episodes.filter_map(|e| named(&e.drill)).collect()
}

fn episodes(job: &Job) -> Vec<Episode> {
    let shared: BTreeMap<&str, Arc<Drill>> = job
        .drills
        .iter()
        .map(|d| (d.value.name.as_str(), Arc::new(d.value.clone())))
        .collect();
    order(job)
        .into_iter()
        .filter_map(|d| shared.get(d.value.name.as_str()))
        .map(|drill| Episode {
            drill: drill.clone(),
        })
        .collect()
}

/// Judges what was recorded, renders and seals it.
fn conclude(job: &Job, finished: Finished) -> Result<Done, Stop> {
    if let Some(error) = &finished.error {
        eprintln!("{}: {error}", job.run_id);
    }
    if let Some(left) = &finished.left_behind {
        eprintln!(
            "{}: the stack could not be removed: {left}; run `firedrill heal`",
            job.run_id
        );
    }
    let run = evidence::judged(&job.dir, true)?;
    let context = context::gather(&job.store, &job.dir, &run.verdict);
    let extras = evidence::render(&job.dir, &run, &context)?;
    evidence::seal(&job.dir, &job.run_id, &run.journal.head)?;
    Ok(Done {
        interrupted: matches!(
            finished.error,
            Some(firedrill_runner::RunError::Interrupted)
        ),
        verdict: run.verdict,
        extras,
        dir: job.dir.clone(),
        rerun: rerun(&run.journal.header),
        tails: finished.tails,
    })
}

fn header(job: &Job, ready: &Ready) -> Header {
    let info = ready.engine.info();
    let mut documents = job.documents.clone();
    for drill in &job.drills {
        documents.push(drill.document.clone());
        for document in &drill.beside {
            if !documents.contains(document) {
                documents.push(document.clone());
            }
        }
    }
    let mut images = ready.images.ids.clone();
    images.retain(|service, _| job.target.service(service).is_some());
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    Header {
        schema: SCHEMA,
        run: RunInfo {
            id: job.run_id.clone(),
            kind: job.kind,
            profile: job.profile.clone(),
            seed: u64::from(job.seed),
            target: job.target.name.clone(),
            runtime: "docker".to_owned(),
            argv: std::env::args().collect(),
            started_at: jiff::Timestamp::now(),
        },
        documents,
        subject: launch::subject(&job.target, &ready.images, job.defect.as_ref()),
        images,
        versions: BTreeMap::from([
            ("firedrill".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            (
                "engine".to_owned(),
                format!("{} (API {})", info.version, info.api),
            ),
            ("kernel".to_owned(), kernel),
        ]),
        episodes: order(job)
            .into_iter()
            .map(|d| EpisodeInfo {
                drill: d.value.name.clone(),
                document: d.document.path.clone(),
            })
            .collect(),
    }
}

fn say(name: &str, progress: &Progress<'_>) {
    match progress {
        Progress::Up { ready } => eprintln!("{name}: stack up in {:.1} s", ready.as_secs_f64()),
        Progress::Drill { name: drill, .. } if drill == &name => {}
        Progress::Drill { name: drill, .. } => eprintln!("{name}: drill {drill}"),
        Progress::Phase { drill, phase, hold } => {
            eprintln!("{drill}: {phase} ({} s)", hold.as_secs_f64());
        }
        Progress::Collecting => eprintln!("{name}: reading the record"),
        Progress::Quiet { .. } | Progress::Down => {}
    }
}

/// Prints what a finished run has to say; failures in full.
pub fn print(done: &Done) {
    println!("{}", firedrill_report::summary_line(&done.verdict));
    let folder = done.dir.display().to_string();
    for drill in &done.verdict.drills {
        if drill.verdict != Outcome::Pass {
            let text = firedrill_report::text_failure(
                &done.verdict,
                drill,
                &done.tails,
                &folder,
                &done.rerun,
            );
            println!("{text}");
        }
    }
    if done
        .verdict
        .drills
        .iter()
        .all(|d| d.verdict == Outcome::Pass)
    {
        for reason in &done.verdict.reasons {
            println!("  {reason}");
        }
    }
    if let Some(text) = firedrill_report::text_soak(&done.verdict) {
        print!("{text}");
    }
    println!("evidence: {folder}");
}
