//! Acts: what a drill does once. An act that fails ends the drill, for what follows would be judged
//! on a world that never came about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use firedrill_journal::{FactSource, OpState};
use firedrill_plan::{Act, ActKind};
use serde_json::json;
use tokio::sync::{Barrier, Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::backup::Backup;
use crate::clock::ns;
use crate::error::RunError;
use crate::load::{Sender, Signal, describe};
use crate::malformed::Malformer;
use crate::run::World;
use crate::store::Store;
use crate::{faults, recreate};

const HTTP_DEADLINE: Duration = Duration::from_secs(5);
const AWAIT_EVERY: Duration = Duration::from_millis(20);
const LOCK_DEADLINE: Duration = Duration::from_secs(2);
/// How long the first copy may need to the lock.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);
/// Copies that wait at a lock before it is let go; with fewer, it is let go this long after the first one came all the
/// same: the time for which our lock holds the target up counts against the target's own deadlines.
const MEETING: f64 = 10.0;
const MEETING_MAX: Duration = Duration::from_millis(400);
const MALFORMED_IN_FLIGHT: usize = 16;
const MEETING_EVERY: Duration = Duration::from_millis(5);

/// Carries out acts, and remembers what was sent so that it can be sent again.
pub struct Actor {
    world: Arc<World>,
    sender: Arc<Sender>,
    sent: Mutex<BTreeMap<String, Signal>>,
    backup: Backup,
}

impl Actor {
    pub fn new(world: Arc<World>, sender: Arc<Sender>) -> Self {
        let sent = Mutex::new(BTreeMap::new());
        Self {
            world,
            sender,
            sent,
            backup: Backup::default(),
        }
    }

    /// Carries out one act and records it with the time of its end. For a request that was
    /// acknowledged, that is the time of the acknowledgement.
    pub async fn act(&self, act: &Act) -> Result<u64, RunError> {
        let clock = self.world.recorder.clock;
        let started = clock.now_ns();
        let done = match &act.kind {
            ActKind::RedisSet {
                service,
                key,
                value,
            } => faults::redis_set(&self.world, service, key, value)
                .await
                .map(|p| (p.at_ns, p.text)),
            ActKind::Await { .. } => self.until(&act.kind).await,
            ActKind::Restart { services } => self.restart(services).await,
            ActKind::Recreate { services, env } => {
                recreate::recreate(&self.world, services, env).await
            }
            ActKind::Dump => self.backup.dump(&self.world).await,
            ActKind::Restore => self.backup.restore(&self.world).await,
            ActKind::Http { .. } => self.http(&act.kind).await,
            ActKind::Burst { count, concurrency } => {
                self.burst(&act.id, *count, *concurrency).await
            }
            ActKind::Duplicate { .. } => self.duplicate(act).await,
            ActKind::Twins { count } => self.twins(&act.id, *count).await,
            ActKind::Malformed { .. } => self.malformed(act).await,
        };
        let (at_ns, observed) = done.map_err(|why| RunError::Act {
            id: act.id.clone(),
            why,
        })?;
        let keys = BTreeMap::from([
            ("id".to_owned(), json!(act.id)),
            ("started_ns".to_owned(), json!(started)),
            (
                "observed".to_owned(),
                json!(self.world.recorder.clean(&observed)),
            ),
            ("services".to_owned(), json!(services_of(&act.kind))),
        ]);
        self.world
            .recorder
            .fact_map(FactSource::Act, kind_of(&act.kind), at_ns, keys)
            .await;
        Ok(at_ns)
    }

    async fn until(&self, kind: &ActKind) -> Result<(u64, String), String> {
        let ActKind::Await {
            service,
            path,
            pointer,
            equals,
            within,
        } = kind
        else {
            return Err("not an await act".to_owned());
        };
        let clock = self.world.recorder.clock;
        let deadline = clock.now_ns() + ns(*within);
        loop {
            let seen = self.world.json_at(service, path, pointer).await;
            if seen.as_ref() == Ok(equals) {
                return Ok((clock.now_ns(), format!("{service} shows {equals}")));
            }
            if clock.now_ns() >= deadline {
                let (Ok(last) | Err(last)) = seen;
                let ms = within.as_millis();
                return Err(format!(
                    "{service} {path} {pointer} was not {equals} within {ms} ms: {last}"
                ));
            }
            tokio::time::sleep(AWAIT_EVERY).await;
        }
    }

    async fn restart(&self, services: &[String]) -> Result<(u64, String), String> {
        let mut restarts = JoinSet::new();
        for service in services {
            let (world, service) = (self.world.clone(), service.clone());
            restarts.spawn(async move { faults::restart(&world, &service).await });
        }
        let mut last = 0;
        let mut texts = Vec::new();
        while let Some(joined) = restarts.join_next().await {
            let proof = joined.map_err(|e| e.to_string())??;
            last = last.max(proof.at_ns);
            texts.push(proof.text);
        }
        texts.sort();
        Ok((last, texts.join("; ")))
    }

    async fn http(&self, kind: &ActKind) -> Result<(u64, String), String> {
        let ActKind::Http {
            service,
            port,
            method,
            path,
            headers,
            body,
            status,
        } = kind
        else {
            return Err("not an http act".to_owned());
        };
        let port = port.as_deref().unwrap_or("main");
        let addr = self
            .world
            .stack
            .addr(service, port)
            .map_err(|e| e.to_string())?;
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
        let mut request = self
            .world
            .http
            .request(method, format!("http://{addr}{path}"));
        for (name, value) in headers {
            request = request.header(name, self.world.fill_secrets(value)?);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.clone());
        }
        let exchange = async {
            let response = request.send().await?;
            let got = response.status().as_u16();
            let at_ns = self.world.recorder.clock.now_ns();
            Ok::<_, reqwest::Error>((got, at_ns, response.text().await?))
        };
        let (got, at_ns, text) = tokio::time::timeout(HTTP_DEADLINE, exchange)
            .await
            .map_err(|_| format!("{path}: no answer within {} s", HTTP_DEADLINE.as_secs()))?
            .map_err(|e| describe(&e))?;
        if !status.contains(&got) {
            let all: Vec<String> = status.iter().map(ToString::to_string).collect();
            let all = all.join(" or ");
            return Err(format!(
                "{path} answered {got} where {all} was expected: {text}"
            ));
        }
        Ok((at_ns, format!("{got} {text}")))
    }

    async fn burst(&self, id: &str, count: u32, concurrency: u32) -> Result<(u64, String), String> {
        let room = Arc::new(Semaphore::new(concurrency.max(1) as usize));
        let clock = self.world.recorder.clock;
        let mut flying = JoinSet::new();
        for _ in 0..count {
            let signal = self
                .sender
                .make(&BTreeMap::new())
                .map_err(|e| e.to_string())?;
            let permit = room
                .clone()
                .acquire_owned()
                .await
                .map_err(|e| e.to_string())?;
            let (sender, world, id) = (self.sender.clone(), self.world.clone(), id.to_owned());
            flying.spawn(async move {
                let service = world.target.signals.service.clone();
                let state = sender.send(&signal, &service, &id, clock.now_ns()).await;
                drop(permit);
                state
            });
        }
        let states = states(flying).await?;
        Ok((clock.now_ns(), count_words(&states)))
    }

    /// Sends copies of one signal at the same moment: all wait at a barrier and then go.
    async fn duplicate(&self, act: &Act) -> Result<(u64, String), String> {
        let ActKind::Duplicate {
            copies,
            services,
            overrides,
            as_act,
            meet_at,
        } = &act.kind
        else {
            return Err("not a duplicate act".to_owned());
        };
        let signal = match as_act {
            None => self.sender.make(overrides).map_err(|e| e.to_string())?,
            Some(earlier) => {
                let sent = self.sent.lock().await;
                let signal = sent.get(earlier);
                let signal = signal.ok_or_else(|| format!("act {earlier} has sent nothing"))?;
                self.sender
                    .like(signal, overrides)
                    .map_err(|e| e.to_string())?
            }
        };
        self.sent
            .lock()
            .await
            .insert(act.id.clone(), signal.clone());
        let all: Vec<String> = match services.is_empty() {
            true => vec![self.world.target.signals.service.clone()],
            false => services.clone(),
        };
        let lock = match meet_at {
            Some(sql) => Some(Lock::take(&self.world, sql).await?),
            None => None,
        };
        let barrier = Arc::new(Barrier::new(*copies as usize));
        let answered = Arc::new(AtomicU32::new(0));
        let clock = self.world.recorder.clock;
        let mut flying = JoinSet::new();
        for copy in 0..*copies as usize {
            let service = all[copy % all.len()].clone();
            let (sender, signal, id) = (self.sender.clone(), signal.clone(), act.id.clone());
            let (barrier, answered) = (barrier.clone(), answered.clone());
            flying.spawn(async move {
                barrier.wait().await;
                let state = sender.send(&signal, &service, &id, clock.now_ns()).await;
                answered.fetch_add(1, Ordering::Relaxed);
                state
            });
        }
        let met = match lock {
            Some(lock) => {
                let waiting = || copies - answered.load(Ordering::Relaxed);
                let met = lock.meet(waiting).await?;
                format!("; {met} waited at the same moment")
            }
            None => String::new(),
        };
        let states = states(flying).await?;
        Ok((clock.now_ns(), format!("{}{met}", count_words(&states))))
    }

    /// Sends requests that are no valid signals. All are made before the first one is sent, so that what
    /// is sent depends on the seed alone.
    async fn malformed(&self, act: &Act) -> Result<(u64, String), String> {
        let ActKind::Malformed {
            class,
            count,
            overrides,
        } = &act.kind
        else {
            return Err("not an act of malformed requests".to_owned());
        };
        let world = &self.world;
        let signals = &world.target.signals;
        let secret = world.secret(&signals.secret).as_bytes();
        let mut maker = Malformer::new(signals, secret, *class, world.seed, &act.id);
        let mut made = Vec::new();
        for _ in 0..*count {
            let signal = self.sender.make(overrides).map_err(|e| e.to_string())?;
            made.push((maker.make(&signal.body)?, signal));
        }
        let room = Arc::new(Semaphore::new(MALFORMED_IN_FLIGHT));
        let clock = world.recorder.clock;
        let mut flying = JoinSet::new();
        for (request, signal) in made {
            let room = room.clone().acquire_owned();
            let permit = room.await.map_err(|e| e.to_string())?;
            let (sender, id) = (self.sender.clone(), act.id.clone());
            flying.spawn(async move {
                let now = clock.now_ns();
                let state = sender.send_malformed(&signal, &request, &id, now).await;
                drop(permit);
                state
            });
        }
        let states = states(flying).await?;
        Ok((clock.now_ns(), count_words(&states)))
    }

    async fn twins(&self, id: &str, count: u32) -> Result<(u64, String), String> {
        self.burst(id, count, count).await
    }
}

/// A lock in the target's database, held by a transaction of ours. It goes with the connection.
struct Lock {
    store: Store,
}

impl Lock {
    async fn take(world: &World, sql: &str) -> Result<Self, String> {
        let Some((service, _)) = &world.target.audit.postgres else {
            return Err("the target file has no [audit] postgres".to_owned());
        };
        let store = world.store(service, LOCK_DEADLINE).await?;
        store.query("BEGIN", LOCK_DEADLINE).await?;
        store.query(sql, LOCK_DEADLINE).await?;
        Ok(Self { store })
    }

    /// Waits until enough sessions wait for a lock, lets them go, and says how many they were. A session
    /// that waits need not be a copy's; a copy that was answered by then has not waited.
    async fn meet(self, unanswered: impl Fn() -> u32) -> Result<f64, String> {
        const WAITING: &str = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted";
        let started = tokio::time::Instant::now();
        let mut first = None;
        let mut waiting = 0.0;
        let over = |first: Option<tokio::time::Instant>| match first {
            Some(first) => first.elapsed() >= MEETING_MAX,
            None => started.elapsed() >= ARRIVAL_MAX,
        };
        while waiting < MEETING && !over(first) {
            waiting = self.store.number(WAITING, LOCK_DEADLINE).await?;
            if waiting > 0.0 {
                first.get_or_insert_with(tokio::time::Instant::now);
            }
            tokio::time::sleep(MEETING_EVERY).await;
        }
        let met = waiting.min(f64::from(unanswered()));
        self.store.query("COMMIT", LOCK_DEADLINE).await?;
        match met >= 2.0 {
            true => Ok(met),
            false => Err(format!("the copies did not meet: {met} waited")),
        }
    }
}

async fn states(mut flying: JoinSet<OpState>) -> Result<Vec<OpState>, String> {
    let mut states = Vec::new();
    while let Some(joined) = flying.join_next().await {
        states.push(joined.map_err(|e| e.to_string())?);
    }
    Ok(states)
}

fn count_words(states: &[OpState]) -> String {
    let count = |wanted: OpState| states.iter().filter(|s| **s == wanted).count();
    format!(
        "{} sent: {} ok, {} rejected, {} failed, {} unknown",
        states.len(),
        count(OpState::Ok),
        count(OpState::Rejected),
        count(OpState::Failed),
        count(OpState::Unknown)
    )
}

fn kind_of(kind: &ActKind) -> &'static str {
    match kind {
        ActKind::Await { .. } => "await",
        ActKind::RedisSet { .. } => "redis_set",
        ActKind::Restart { .. } => "restart",
        ActKind::Recreate { .. } => "recreate",
        ActKind::Dump => "dump",
        ActKind::Restore => "restore",
        ActKind::Http { .. } => "http",
        ActKind::Burst { .. } => "burst",
        ActKind::Duplicate { .. } => "duplicate",
        ActKind::Twins { .. } => "twins",
        ActKind::Malformed { .. } => "malformed",
    }
}

fn services_of(kind: &ActKind) -> Vec<String> {
    match kind {
        ActKind::Await { service, .. }
        | ActKind::RedisSet { service, .. }
        | ActKind::Http { service, .. } => vec![service.clone()],
        ActKind::Restart { services } | ActKind::Recreate { services, .. } => services.clone(),
        _ => Vec::new(),
    }
}
