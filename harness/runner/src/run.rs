//! A run as a whole: header, stack, streams, drills one after the other, collection, end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use firedrill_journal::{EndReason, Event, FactSource, Header, Part, Position, Seal, Writer, act};
use firedrill_plan::{Drill, Pace, Target};
use firedrill_stack::{Engine, Images, Stack, UpOptions};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::chain;
use crate::clock::Clock;
use crate::engine;
use crate::error::RunError;
use crate::ledger::Ledger;
use crate::load::Sender;
use crate::meter::Meter;
use crate::recorder::{self, Recorder};
use crate::redact::Redactor;
use crate::schedule::Schedule;
use crate::soak::{Course, Soak};
use crate::store::Store;
use crate::streams::{self, LogEnds, Tails};
use crate::{collect, probes};

const QUIESCE: Duration = Duration::from_secs(20);
const HTTP_DEADLINE: Duration = Duration::from_secs(2);

/// What a run is made of.
pub struct RunPlan {
    pub target: Arc<Target>,
    pub episodes: Vec<Episode>,
    pub pace: Pace,
    /// What lies around the drills, if they are part of a soak.
    pub soak: Option<Soak>,
    pub header: Header,
    /// Set if another process began the run and died.
    pub resume: Option<Resume>,
}

/// Where a run is taken up again.
pub struct Resume {
    /// Where the journal so far ends.
    pub after: Position,
    pub part: Part,
    /// How much of the soak's time had passed.
    pub elapsed_ms: u64,
    /// Above all numbers of signals and operations before.
    pub next_number: u64,
}

/// Someone who looks on while the run goes on, and may say that it is over.
pub struct Onlooker {
    /// Gets every event that finds room.
    pub events: mpsc::Sender<Event>,
    /// What must never happen, and did: recorded. Who sends it may pull the switch as well.
    pub offences: mpsc::Receiver<Offence>,
}

#[derive(Clone, Debug)]
pub struct Offence {
    pub rule: String,
    pub why: String,
}

pub struct Episode {
    pub drill: Arc<Drill>,
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
    pub onlooker: Option<Onlooker>,
}

pub type ProgressFn = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// What a caller may show while a run goes on.
pub enum Progress<'a> {
    Up {
        ready: Duration,
    },
    /// Load without a drill.
    Quiet {
        length: Duration,
    },
    Drill {
        name: &'a str,
        episode: usize,
        lasts: Duration,
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

/// What the current drill has seen so far of what it can need.
#[derive(Default)]
pub struct Tally {
    since_ns: AtomicU64,
    accepted: AtomicU64,
    first_sends: AtomicU64,
}

impl Tally {
    /// Counts anew what happens from that moment on.
    pub fn restart(&self, now_ns: u64) {
        self.since_ns.store(now_ns, Ordering::Relaxed);
        self.accepted.store(0, Ordering::Relaxed);
        self.first_sends.store(0, Ordering::Relaxed);
    }

    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// The chain's trail is read a little later than things happen, so their own time counts.
    pub fn first_send(&self, at_ns: u64) {
        if at_ns >= self.since_ns.load(Ordering::Relaxed) {
            self.first_sends.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Signals accepted and first sends seen.
    pub fn counts(&self) -> (u64, u64) {
        let accepted = self.accepted.load(Ordering::Relaxed);
        (accepted, self.first_sends.load(Ordering::Relaxed))
    }
}

/// What every part of a run shares.
pub struct World {
    pub tally: Tally,
    pub target: Arc<Target>,
    pub stack: Arc<Stack>,
    pub recorder: Recorder,
    pub run_id: String,
    /// What the run's random moments are drawn from.
    pub seed: u64,
    pub log_ends: LogEnds,
    /// Whether the engine's events have been listened to yet.
    pub engine_attached: watch::Sender<bool>,
    pub http: reqwest::Client,
    /// Each request by a connection of its own: a target may close the one that a malformed request came by, and
    /// what is well-formed must not be cut off with it.
    pub http_apart: reqwest::Client,
    pub progress: ProgressFn,
    pub meter: Meter,
    /// The run's folder.
    pub dir: PathBuf,
    /// Bytes of the folder once they are too many; 0 before.
    disk_full: AtomicU64,
    secrets: BTreeMap<String, String>,
}

impl World {
    /// Bytes of the run's folder, if they are more than it may hold.
    pub fn disk_full(&self) -> Option<u64> {
        let bytes = self.disk_full.load(Ordering::Relaxed);
        (bytes > 0).then_some(bytes)
    }

    pub fn note_disk(&self, bytes: u64) {
        self.disk_full.store(bytes, Ordering::Relaxed);
    }

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

    /// Ends a service and starts it anew where a fault can't be undone otherwise. Its death is this harness's
    /// doing, and that is recorded before and after.
    pub async fn by_force<T>(
        &self,
        service: &str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        self.forced(service, "begins").await;
        let done = work.await;
        self.forced(service, "ended").await;
        done
    }

    async fn forced(&self, service: &str, state: &str) {
        let recorder = &self.recorder;
        let keys = [("service", json!(service)), ("state", json!(state))];
        let now = recorder.clock.now_ns();
        recorder.fact(FactSource::Act, act::FORCED, now, keys).await;
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
pub async fn execute(plan: RunPlan, mut options: Options) -> Result<Finished, RunError> {
    let (writer, clock, first) = beginning(&plan, &options)?;
    let redactor = Redactor::new(&options.secrets);
    let (tap, offences) = match options.onlooker.take() {
        Some(onlooker) => (Some(onlooker.events), Some(onlooker.offences)),
        None => (None, None),
    };
    let (recorder, task) = recorder::start(writer, clock, redactor, tap);
    recorder.record(first).await;
    let first_offence = Arc::new(OnceLock::new());
    let noting = offences.map(|o| tokio::spawn(note(recorder.clone(), o, first_offence.clone())));
    let tails = Tails::default();
    let progress = options.progress.clone();
    let mut left_behind = None;
    let mut error = match up(&plan, &options, &recorder).await {
        Err(error) => Some(error),
        Ok(stack) => {
            let shared = (&recorder, &tails, first_offence.as_ref());
            let outcome = on_stack(&plan, &options, &stack, shared).await;
            progress(Progress::Down);
            match options.keep {
                true => stack.leave(),
                false => left_behind = stack.down().await.err().map(|e| e.to_string()),
            }
            outcome.err()
        }
    };
    if let Some(noting) = noting {
        noting.abort();
        let _ = noting.await;
    }
    if let (Some(RunError::Interrupted), Some(why)) = (&error, first_offence.get()) {
        error = Some(RunError::Aborted(why.clone()));
    }
    let lost = recorder.is_lost();
    let detail = error.as_ref().map(|e| recorder.clean(&e.to_string()));
    drop(recorder);
    let reason = match &error {
        _ if lost => EndReason::Failed,
        None => EndReason::Completed,
        Some(RunError::Interrupted | RunError::Aborted(_)) => EndReason::Interrupted,
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

/// The journal, the clock and the first event: of a new run, or of one that goes on.
fn beginning(plan: &RunPlan, options: &Options) -> Result<(Writer, Clock, Event), RunError> {
    if let Some(resume) = &plan.resume {
        let writer = Writer::resume(&options.dir, &resume.after)?;
        let clock = Clock::resume(resume.part.at_ns);
        return Ok((writer, clock, Event::Part(Box::new(resume.part.clone()))));
    }
    let writer = match &plan.soak {
        Some(soak) if soak.schedule.waits => Writer::segments(&options.dir)?,
        _ => Writer::create(&options.dir.join(firedrill_journal::PLAIN))?,
    };
    let header = Event::Header(Box::new(plan.header.clone()));
    Ok((writer, Clock::start(), header))
}

/// Records what the onlooker says must never happen.
async fn note(
    recorder: Recorder,
    mut offences: mpsc::Receiver<Offence>,
    first: Arc<OnceLock<String>>,
) {
    while let Some(offence) = offences.recv().await {
        let why = recorder.clean(&format!("{}: {}", offence.rule, offence.why));
        let keys = [("rule", json!(offence.rule)), ("why", json!(why))];
        let now = recorder.clock.now_ns();
        recorder
            .fact(FactSource::Act, act::OFFENCE, now, keys)
            .await;
        let _ = first.set(why);
    }
}

async fn up(
    plan: &RunPlan,
    options: &Options,
    recorder: &Recorder,
) -> Result<Arc<Stack>, RunError> {
    let mut replicas: BTreeMap<String, u32> = BTreeMap::new();
    let mut env: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    if let Some(soak) = &plan.soak {
        env.clone_from(&soak.env);
    }
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
    let stack = match options.cancel.clone().guard(starting).await {
        Ok(stack) => stack,
        Err(interrupted) => {
            // What was made so far has no owner that would remove it.
            let swept = firedrill_stack::sweep_run(&options.engine, &plan.header.run.id).await;
            if let Err(error) = swept {
                tracing::warn!(%error, "an interrupted bring-up could not be removed");
            }
            return Err(interrupted);
        }
    };
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
    stack: &Arc<Stack>,
    (recorder, tails, offended): (&Recorder, &Tails, &OnceLock<String>),
) -> Result<(), RunError> {
    let http = client(|builder| builder)?;
    let http_apart = client(|builder| builder.pool_max_idle_per_host(0))?;
    let world = Arc::new(World {
        tally: Tally::default(),
        target: plan.target.clone(),
        stack: stack.clone(),
        recorder: recorder.clone(),
        run_id: plan.header.run.id.clone(),
        seed: plan.header.run.seed,
        log_ends: LogEnds::default(),
        engine_attached: watch::Sender::new(false),
        http,
        http_apart,
        progress: options.progress.clone(),
        meter: Meter::default(),
        dir: options.dir.clone(),
        disk_full: AtomicU64::new(0),
        secrets: options.secrets.clone(),
    });
    let (stop, stopped) = watch::channel(false);
    let mut following = follow(&world, tails, &stopped);
    let first = plan.resume.as_ref().map_or(0, |r| r.next_number);
    let sender = Sender::new(world.clone(), first);
    let loading = tokio::spawn(sender.clone().run(stopped.clone()));
    let outcome = drills(plan, options, &world, &sender, &stopped).await;
    stop_load(&sender);
    let aborted = matches!(outcome, Err(RunError::Interrupted)) && offended.get().is_some();
    if aborted {
        // What was begun may end, so that the record shows the offence and not just a cut.
        let _ = collect::quiesce(&world, QUIESCE).await;
    }
    if outcome.is_ok() || aborted {
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

fn client(
    change: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, RunError> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    let built = change(builder).build();
    built.map_err(|e| RunError::Up(e.to_string()))
}

fn stop_load(sender: &Sender) {
    sender.stage.send_modify(|stage| stage.signals_per_s = 0.0);
}

fn follow(world: &Arc<World>, tails: &Tails, stopped: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut following = JoinSet::new();
    following.spawn(engine::follow(world.clone(), stopped.clone()));
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
    let course = match &plan.soak {
        Some(soak) => {
            let elapsed_ms = plan.resume.as_ref().map_or(0, |r| r.elapsed_ms);
            let scope = (world, sender, elapsed_ms);
            Some(Course::begin(soak, scope, options.cancel.clone()).await?)
        }
        None => None,
    };
    let outcome = episodes(plan, options, world, sender, (stopped, course.as_ref())).await;
    if let Some(course) = course {
        course.end().await;
    }
    outcome
}

async fn episodes(
    plan: &RunPlan,
    options: &Options,
    world: &Arc<World>,
    sender: &Arc<Sender>,
    (stopped, course): (&watch::Receiver<bool>, Option<&Course<'_>>),
) -> Result<(), RunError> {
    let mut ledger = Ledger::create(&options.dir)?;
    let first = plan.resume.as_ref().map_or(0, |r| r.part.episode as usize);
    for (index, episode) in plan.episodes.iter().enumerate().skip(first) {
        if let Some(course) = course {
            course.before(index).await?;
        }
        let drill = &episode.drill;
        (options.progress)(Progress::Drill {
            name: &drill.name,
            episode: index,
            lasts: drill.hold(plan.pace),
        });
        let (stop, probe_stop) = watch::channel(false);
        let mut observing = JoinSet::new();
        for probe in &drill.probes {
            observing.spawn(probes::observe(
                world.clone(),
                probe.clone(),
                probe_stop.clone(),
            ));
        }
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let scope = (number, drill.as_ref(), plan.pace);
        let schedule = Schedule::new(world, sender, &mut ledger, options.cancel.clone(), scope);
        let outcome = schedule.run().await;
        stop.send_replace(true);
        while observing.join_next().await.is_some() {}
        outcome?;
        if *stopped.borrow() {
            return Ok(());
        }
    }
    match course {
        Some(course) => course.after(plan.episodes.len()).await,
        None => Ok(()),
    }
}
