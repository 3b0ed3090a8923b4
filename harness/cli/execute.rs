//! One run from header to sealed folder: the recipe that `run` and `soak` share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{Document, EpisodeInfo, Header, RunInfo, RunKind, SCHEMA};
use firedrill_plan::{Drill, Load, Pace, Target};
use firedrill_runner::{
    Cancel, Episode, Finished, Options, Progress, RunPlan, execute, resolve_secrets,
};
use firedrill_stack::janitor::Janitor;
use firedrill_stack::slots;
use firedrill_verdict::{Outcome, Verdict};

use crate::evidence;
use crate::exit::Stop;
use crate::files::Loaded;
use crate::launch::{self, Ready};

/// Stacks that may run on this machine at the same time, whoever started them. Four were measured
/// to come up within 8 s on two cores.
pub const STACKS_MAX: usize = 4;
const SLOT_DEADLINE: Duration = Duration::from_secs(1800);

/// What is to be run, once.
pub struct Job {
    pub kind: RunKind,
    pub profile: String,
    pub pace: Pace,
    pub seed: u32,
    pub run_id: String,
    pub dir: PathBuf,
    pub target: Arc<Target>,
    /// Target, profile and policy; the drills' own are added.
    pub documents: Vec<Document>,
    pub drills: Vec<Loaded<Drill>>,
    pub quiet: Duration,
    pub load: Option<Load>,
    pub keep: bool,
    pub defect: Option<String>,
    pub cancel: Cancel,
    /// The line to paste to run it again.
    pub rerun: String,
}

/// A run that was carried out, judged and sealed.
pub struct Done {
    pub verdict: Verdict,
    pub dir: PathBuf,
    pub rerun: String,
    pub tails: BTreeMap<String, Vec<String>>,
    pub interrupted: bool,
}

pub async fn run(job: Job, ready: &Ready) -> Result<Done, Stop> {
    evidence::create(&job.dir)?;
    let slot = slots::acquire(STACKS_MAX, SLOT_DEADLINE);
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
    let finished = carry_out(&job, ready).await;
    if let Some(janitor) = janitor {
        janitor.done().await.map_err(|e| environment(&e))?;
    }
    drop(slot);
    conclude(&job, finished?)
}

async fn carry_out(job: &Job, ready: &Ready) -> Result<Finished, Stop> {
    let secrets = resolve_secrets(&job.target).map_err(|e| Stop::Environment(e.to_string()))?;
    let name = match job.drills.as_slice() {
        [one] => one.value.name.clone(),
        _ => job.profile.clone(),
    };
    let plan = RunPlan {
        target: job.target.clone(),
        episodes: job
            .drills
            .iter()
            .map(|d| Episode {
                drill: d.value.clone(),
            })
            .collect(),
        pace: job.pace,
        quiet: job.quiet,
        load: job.load,
        header: header(job, ready),
    };
    let options = Options {
        dir: job.dir.clone(),
        engine: ready.engine.clone(),
        images: ready.images.clone(),
        secrets,
        defect: job.defect.clone(),
        keep: job.keep,
        cancel: job.cancel.clone(),
        progress: Arc::new(move |progress| say(&name, &progress)),
    };
    execute(plan, options)
        .await
        .map_err(|e| Stop::Environment(e.to_string()))
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
    let path = job.dir.join(evidence::JOURNAL);
    let journal =
        firedrill_journal::read_file(&path).map_err(|e| Stop::Environment(e.to_string()))?;
    let verdict = firedrill_verdict::judge(&journal);
    evidence::render(&job.dir, &journal, &verdict, &job.rerun)?;
    evidence::seal(&job.dir, &job.run_id, &journal.head)?;
    Ok(Done {
        interrupted: matches!(
            finished.error,
            Some(firedrill_runner::RunError::Interrupted)
        ),
        verdict,
        dir: job.dir.clone(),
        rerun: job.rerun.clone(),
        tails: finished.tails,
    })
}

fn header(job: &Job, ready: &Ready) -> Header {
    let info = ready.engine.info();
    let mut documents = job.documents.clone();
    documents.extend(job.drills.iter().map(|d| d.document.clone()));
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
        images: ready.images.ids.clone(),
        versions: BTreeMap::from([
            ("firedrill".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            (
                "engine".to_owned(),
                format!("{} (API {})", info.version, info.api),
            ),
            ("kernel".to_owned(), kernel),
        ]),
        episodes: job
            .drills
            .iter()
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
        Progress::Drill { name: drill } if drill == &name => {}
        Progress::Drill { name: drill } => eprintln!("{name}: drill {drill}"),
        Progress::Phase { drill, phase, hold } => {
            eprintln!("{drill}: {phase} ({} s)", hold.as_secs_f64());
        }
        Progress::Collecting => eprintln!("{name}: reading the record"),
        Progress::Down => {}
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
    println!("evidence: {folder}");
}
