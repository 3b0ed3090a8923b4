//! A run as a whole: header, stack, streams, drills one after the other, collection, end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firedrill_journal::{EndReason, Event, FactSource, Header, Seal, Writer};
use firedrill_plan::{Drill, Load, Pace, Target};
use firedrill_stack::{Engine, Images, Stack, UpOptions};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::chain;
use crate::clock::Clock;
use crate::error::RunError;
use crate::ledger::Ledger;
use crate::load::{Sender, Stage};
use crate::recorder::{self, Recorder};
use crate::redact::Redactor;
use crate::schedule::Schedule;
use crate::store::Store;
use crate::streams::{self, Tails};
use crate::{collect, probes};

const HTTP_DEADLINE: Duration = Duration::from_secs(2);

/// What a run is made of.
pub struct RunPlan {
    pub target: Arc<Target>,
    pub episodes: Vec<Episode>,
    pub pace: Pace,
    /// Time between drills and before the first one, under `load`.
    pub quiet: Duration,
    /// Background load outside drills; a drill brings its own.
    pub load: Option<Load>,
    pub header: Header,
}

pub struct Episode {
    pub drill: Drill,
}

/// What a run needs from its caller.
pub struct Options {
    /// The run's folder; the journal and the ledger are created in it.
    pub dir: PathBuf,
    pub engine: Engine,
    pub images: Images,
    pub secrets: BTreeMap<String, String>,
    pub defect: Option<String>,
    /// Leave the stack running afterwards.
    pub keep: bool,
    pub cancel: Cancel,
    pub progress: ProgressFn,
}

pub type ProgressFn = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// What a caller may show while a run goes on.
pub enum Progress<'a> {
    Up {
        ready: Duration,
    },
    Drill {
        name: &'a str,
    },
    Phase {
        drill: &'a str,
        phase: &'a str,
        hold: Duration,
    },
    Collecting,
    Down,
}

/// What is left when a run is over.
pub struct Finished {
    pub seal: Seal,
    /// Why the run was not carried out to its end, if it wasn't.
    pub error: Option<RunError>,
    /// Last log lines of each service.
    pub tails: BTreeMap<String, Vec<String>>,
    /// Why the stack could not be removed, if it couldn't.
    pub left_behind: Option<String>,
}

/// A request to stop, shared by everything that waits.
#[derive(Clone)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// The switch and what it stops.
    pub fn new() -> (watch::Sender<bool>, Cancel) {
        let (tx, rx) = watch::channel(false);
        (tx, Cancel(rx))
    }

    /// Waits for `work`, unless the run is cancelled first.
    pub async fn guard<T>(mut self, work: impl Future<Output = T>) -> Result<T, RunError> {
        tokio::select! {
            done = work => Ok(done),
            () = self.cancelled() => Err(RunError::Interrupted),
        }
    }

    /// Resolves when the run is cancelled; never if the switch is gone.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What every part of a run shares.
pub struct World {
    pub target: Arc<Target>,
    pub stack: Arc<Stack>,
    pub recorder: Recorder,
    pub run_id: String,
    pub http: reqwest::Client,
    pub progress: ProgressFn,
    secrets: BTreeMap<String, String>,
}

impl World {
    pub fn secret(&self, name: &str) -> &str {
        self.secrets.get(name).map_or("", String::as_str)
    }

    /// Replaces `${secret.NAME}` by the secret's value.
    pub fn fill_secrets(&self, text: &str) -> Result<String, String> {
        let mut out = text.to_owned();
        for (name, value) in &self.secrets {
            out = out.replace(&format!("${{secret.{name}}}"), value);
        }
        match out.contains("${secret.") {
            true => Err(format!("unknown secret in {text:?}")),
            false => Ok(out),
        }
    }

    pub fn main_addr(&self, service: &str) -> Result<SocketAddr, String> {
        self.stack.addr(service, "main").map_err(|e| e.to_string())
    }

    pub async fn store(&self, service: &str, deadline: Duration) -> Result<Store, String> {
        let template = match &self.target.audit.postgres {
            Some((_, url)) => url,
            None => return Err("the target file has no [audit] postgres".to_owned()),
        };
        Store::connect(template, self.main_addr(service)?, deadline).await
    }

    pub async fn redis(
        &self,
        service: &str,
        deadline: Duration,
    ) -> Result<MultiplexedConnection, String> {
        let url = format!("redis://{}/", self.main_addr(service)?);
        let client = redis::Client::open(url).map_err(|e| format!("redis: {e}"))?;
        let config = redis::AsyncConnectionConfig::new()
            .set_response_timeout(Some(deadline))
            .set_connection_timeout(Some(deadline));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        tokio::time::timeout(deadline, connecting)
            .await
            .map_err(|_| format!("deadline of {} ms: no connection", deadline.as_millis()))?
            .map_err(|e| format!("connect: {e}"))
    }

    /// A scalar of a service's JSON, as text.
    pub async fn json_at(
        &self,
        service: &str,
        path: &str,
        pointer: &str,
    ) -> Result<String, String> {
        let get = probes::get(self, service, path);
        let (_, body) = tokio::time::timeout(HTTP_DEADLINE, get)
            .await
            .map_err(|_| "no answer".to_owned())??;
        let json: Value = serde_json::from_slice(&body).map_err(|_| "no JSON".to_owned())?;
        match json.pointer(pointer) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Ok(other.to_string()),
            None => Err(format!("{path} has no {pointer}")),
        }
    }
}

/// Carries the run out. Returns an error only if there is no journal to judge; everything else is
/// in the journal and in [`Finished`].
pub async fn execute(plan: RunPlan, options: Options) -> Result<Finished, RunError> {
    let writer = Writer::create(&options.dir.join("journal.jsonl"))?;
    let clock = Clock::start();
    let redactor = Redactor::new(&options.secrets);
    let (recorder, task) = recorder::start(writer, clock, redactor);
    recorder
        .record(Event::Header(Box::new(plan.header.clone())))
        .await;
    let tails = Tails::default();
    let progress = options.progress.clone();
    let mut left_behind = None;
    let error = match up(&plan, &options, &recorder).await {
        Err(error) => Some(error),
        Ok(stack) => {
            let outcome = on_stack(&plan, &options, &recorder, &stack, &tails).await;
            progress(Progress::Down);
            match options.keep {
                true => stack.leave(),
                false => left_behind = stack.down().await.err().map(|e| e.to_string()),
            }
            outcome.err()
        }
    };
    let lost = recorder.is_lost();
    let detail = error.as_ref().map(|e| recorder.clean(&e.to_string()));
    drop(recorder);
    let reason = match &error {
        _ if lost => EndReason::Failed,
        None => EndReason::Completed,
        Some(RunError::Interrupted) => EndReason::Interrupted,
        Some(_) => EndReason::Failed,
    };
    let seal = task.finish(reason, detail).await?;
    Ok(Finished {
        seal,
        error,
        tails: tails.snapshot(),
        left_behind,
    })
}

async fn up(
    plan: &RunPlan,
    options: &Options,
    recorder: &Recorder,
) -> Result<Arc<Stack>, RunError> {
    let mut replicas: BTreeMap<String, u32> = BTreeMap::new();
    let mut env: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for drill in plan.episodes.iter().map(|e| &e.drill) {
        for (service, count) in &drill.replicas {
            let most = replicas.entry(service.clone()).or_insert(1);
            *most = (*most).max(*count);
        }
        for (service, vars) in &drill.env {
            env.entry(service.clone()).or_default().extend(vars.clone());
        }
    }
    let up = UpOptions {
        run_id: plan.header.run.id.clone(),
        replicas,
        env,
        defect: options.defect.clone(),
        secrets: options.secrets.clone(),
        keep: options.keep,
        same_ports: false,
    };
    let starting = Stack::up(&options.engine, &options.images, &plan.target, up);
    let stack = options.cancel.clone().guard(starting).await?;
    let stack = stack.map_err(|e| RunError::Up(recorder.clean(&e.to_string())))?;
    let ready = stack.timings().ready;
    (options.progress)(Progress::Up { ready });
    let keys = [("ready_ms", json!(ready.as_secs_f64() * 1e3))];
    recorder
        .fact(FactSource::Engine, "up", recorder.clock.now_ns(), keys)
        .await;
    Ok(Arc::new(stack))
}

/// Everything between bring-up and removal.
async fn on_stack(
    plan: &RunPlan,
    options: &Options,
    recorder: &Recorder,
    stack: &Arc<Stack>,
    tails: &Tails,
) -> Result<(), RunError> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| RunError::Up(e.to_string()))?;
    let world = Arc::new(World {
        target: plan.target.clone(),
        stack: stack.clone(),
        recorder: recorder.clone(),
        run_id: plan.header.run.id.clone(),
        http,
        progress: options.progress.clone(),
        secrets: options.secrets.clone(),
    });
    let (stop, stopped) = watch::channel(false);
    let mut following = follow(&world, tails, &stopped);
    let sender = Sender::new(world.clone());
    let loading = tokio::spawn(sender.clone().run(stopped.clone()));
    let outcome = drills(plan, options, &world, &sender, &stopped).await;
    stop_load(&sender);
    if outcome.is_ok() {
        (options.progress)(Progress::Collecting);
        collect::collect(&world).await;
    }
    stop.send_replace(true);
    let loaded = loading.await;
    while following.join_next().await.is_some() {}
    outcome?;
    match loaded {
        Ok(result) => result,
        Err(_) => Err(RunError::JournalLost),
    }
}

fn stop_load(sender: &Sender) {
    sender.stage.send_modify(|stage| stage.signals_per_s = 0.0);
}

fn follow(world: &Arc<World>, tails: &Tails, stopped: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut following = JoinSet::new();
    following.spawn(streams::engine(world.clone(), stopped.clone()));
    following.spawn(streams::starvation(world.clone(), stopped.clone()));
    if let Some((service, port)) = world.target.audit.chain.clone() {
        following.spawn(chain::follow(world.clone(), service, port, stopped.clone()));
    }
    for service in world.target.services.iter().filter(|s| s.logs) {
        for instance in world.stack.instances(&service.name) {
            let instance = instance.to_owned();
            following.spawn(streams::log(
                world.clone(),
                instance,
                tails.clone(),
                stopped.clone(),
            ));
        }
    }
    following
}

async fn drills(
    plan: &RunPlan,
    options: &Options,
    world: &Arc<World>,
    sender: &Arc<Sender>,
    stopped: &watch::Receiver<bool>,
) -> Result<(), RunError> {
    let mut ledger = Ledger::create(&options.dir)?;
    for (index, episode) in plan.episodes.iter().enumerate() {
        let drill = &episode.drill;
        let episode = u32::try_from(index).unwrap_or(u32::MAX);
        if !plan.quiet.is_zero() {
            sender.stage.send_replace(Stage {
                episode,
                phase: "quiet".to_owned(),
                signals_per_s: plan.load.map_or(0.0, |l| l.signals_per_s),
            });
            options
                .cancel
                .clone()
                .guard(tokio::time::sleep(plan.quiet))
                .await?;
        }
        (options.progress)(Progress::Drill { name: &drill.name });
        let (stop, probe_stop) = watch::channel(false);
        let mut observing = JoinSet::new();
        for probe in &drill.probes {
            observing.spawn(probes::observe(
                world.clone(),
                probe.clone(),
                probe_stop.clone(),
            ));
        }
        let scope = (episode, drill, plan.pace);
        let schedule = Schedule::new(world, sender, &mut ledger, options.cancel.clone(), scope);
        let outcome = schedule.run().await;
        stop.send_replace(true);
        while observing.join_next().await.is_some() {}
        outcome?;
        if *stopped.borrow() {
            break;
        }
    }
    Ok(())
}
