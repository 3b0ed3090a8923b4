//! A target that is up: one handle to all its services.

mod exec;
mod observe;
mod recreate;
mod up;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::models::{
    ContainerInspectResponse, EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use futures_util::future::join_all;
use testcontainers::{ContainerAsync, GenericImage};

pub use exec::Ran;
pub use observe::{ContainerEvent, LogLine, LogSource, Stats};
pub use up::{UpError, UpOptions};

use crate::engine::{Engine, EngineError, QUICK, SLOW};
use crate::health::{Question, look};
use crate::sweep::sweep_run;
use up::Wanted;

/// Pace of looking whether a service is healthy, and the deadline of one look.
const LOOK_EVERY: Duration = Duration::from_millis(15);
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// Why a service can't be reached or acted upon.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("no service {name:?} in this stack; there are {}", known.join(", "))]
    UnknownService { name: String, known: Vec<String> },
    #[error("service {service} has no port {port:?}; there are {}", known.join(", "))]
    UnknownPort {
        service: String,
        port: String,
        known: Vec<String>,
    },
    #[error("service {service}: port {port} isn't published now; it isn't running, or cut off")]
    NotPublished { service: String, port: String },
    #[error("service {service} can't be made anew: {detail}")]
    NotMade { service: String, detail: String },
    #[error("service {service}: `{command}` isn't over after {} s", after.as_secs_f64())]
    NotOver {
        service: String,
        command: String,
        after: Duration,
    },
    #[error("service {service} isn't healthy after {} ms: {last}", waited.as_millis())]
    NotHealthy {
        service: String,
        waited: Duration,
        last: String,
    },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What the engine says about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Also true while it is paused.
    pub running: bool,
    pub paused: bool,
    pub restart_count: i64,
    pub oom_killed: bool,
    pub exit_code: i64,
    /// RFC 3339, the engine's clock.
    pub started_at: String,
    /// RFC 3339; year 1 while it hasn't ended.
    pub finished_at: String,
    /// Process number on the engine's machine; 0 while it isn't running.
    pub pid: i64,
}

/// How long bring-up took.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// Until the network was there.
    pub network: Duration,
    /// Until all containers were started.
    pub started: Duration,
    /// Until all services were healthy.
    pub ready: Duration,
    /// Until each service was healthy.
    pub services: BTreeMap<String, Duration>,
}

/// One container of the stack.
#[derive(Debug)]
pub(crate) struct Instance {
    /// `webhook-2`.
    name: String,
    /// `webhook`.
    service: String,
    /// Of the container that it is now.
    id: Mutex<String>,
    /// What the container was made from.
    wanted: Wanted,
    /// Port name → port inside.
    ports: BTreeMap<String, u16>,
    /// Port name and what to ask there.
    question: (String, Question),
    /// Port inside → where it is published now.
    published: Mutex<BTreeMap<u16, u16>>,
    /// Last sample of processor time, for the share since then.
    cpu: Mutex<Option<(Instant, u64)>>,
}

/// A target that is up. [`Stack::down`] removes it; dropping it does so as well, but blocks and can't report.
pub struct Stack {
    engine: Engine,
    run_id: String,
    keep: bool,
    network: String,
    instances: Vec<Instance>,
    timings: Timings,
    containers: Mutex<Vec<ContainerAsync<GenericImage>>>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("run_id", &self.run_id)
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

/// A lock whose holder panicked still guards a usable value here: all of them are replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stack {
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Names of all instances, in the target's order: `webhook`, `webhook-2`.
    pub fn services(&self) -> Vec<&str> {
        let names = self.instances.iter().map(|instance| instance.name.as_str());
        names.collect()
    }

    /// Names of one service's instances.
    pub fn instances(&self, service: &str) -> Vec<&str> {
        let own = self.instances.iter().filter(|one| one.service == service);
        own.map(|instance| instance.name.as_str()).collect()
    }

    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Of the container that it is now: [`Stack::recreate`] changes it.
    pub fn container_id(&self, service: &str) -> Result<String, StackError> {
        Ok(self.instance(service)?.id())
    }

    fn instance(&self, name: &str) -> Result<&Instance, StackError> {
        let found = self.instances.iter().find(|instance| instance.name == name);
        found.ok_or_else(|| StackError::UnknownService {
            name: name.into(),
            known: self.services().into_iter().map(str::to_string).collect(),
        })
    }

    /// Host address of a port by its name. Known without asking the engine; it changes with `start`,
    /// `restart` and `connect` of this handle, so ask again after those.
    pub fn addr(&self, service: &str, port: &str) -> Result<SocketAddr, StackError> {
        self.instance(service)?.addr(port)
    }

    pub async fn pause(&self, service: &str) -> Result<(), StackError> {
        let instance = self.instance(service)?;
        let what = format!("pausing {service}");
        let id = instance.id();
        let call = self.engine.docker().pause_container(&id);
        tolerate(self.engine.call(&what, QUICK, call).await, "already paused")
    }

    /// Not an error where it isn't paused.
    pub async fn unpause(&self, service: &str) -> Result<(), StackError> {
        let instance = self.instance(service)?;
        let what = format!("unpausing {service}");
        let id = instance.id();
        let call = self.engine.docker().unpause_container(&id);
        tolerate(self.engine.call(&what, QUICK, call).await, "is not paused")
    }

    /// Sends a signal (`SIGKILL`). Not an error where it isn't running; a paused one is killed all the same.
    pub async fn kill(&self, service: &str, signal: &str) -> Result<(), StackError> {
        let instance = self.instance(service)?;
        let what = format!("sending {signal} to {service}");
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let (docker, id) = (self.engine.docker(), instance.id());
        let kill = || docker.kill_container(&id, Some(options.clone()));
        match self.engine.call(&what, QUICK, kill()).await {
            Err(error) if error.says("is paused") => {
                self.unpause(service).await?;
                let again = self.engine.call(&what, QUICK, kill()).await;
                tolerate(again, "is not running")
            }
            other => tolerate(other, "is not running"),
        }
    }

    /// The image's stop signal, then SIGKILL after the grace.
    pub async fn stop(&self, service: &str, grace: Duration) -> Result<(), StackError> {
        let instance = self.instance(service)?;
        let what = format!("stopping {service}");
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let id = instance.id();
        let call = self.engine.docker().stop_container(&id, Some(options));
        Ok(self.engine.call(&what, grace + SLOW, call).await?)
    }

    /// Starts it and learns its new ports. Doesn't wait for health: see [`Stack::healthy`].
    pub async fn start(&self, service: &str) -> Result<(), StackError> {
        let instance = self.instance(service)?;
        let what = format!("starting {service}");
        let (docker, id) = (self.engine.docker(), instance.id());
        let call = docker.start_container(&id, None::<StartContainerOptions>);
        self.engine.call(&what, SLOW, call).await?;
        self.learn_ports(instance).await
    }

    pub async fn restart(&self, service: &str, grace: Duration) -> Result<(), StackError> {
        self.stop(service, grace).await?;
        self.start(service).await
    }

    /// Waits until the service's own health condition holds. Answers with how long that took.
    pub async fn healthy(&self, service: &str, within: Duration) -> Result<Duration, StackError> {
        let instance = self.instance(service)?;
        let started = Instant::now();
        loop {
            let seen = instance.look().await;
            let waited = started.elapsed();
            match seen {
                Ok(()) => return Ok(waited),
                Err(last) if waited >= within => {
                    return Err(StackError::NotHealthy {
                        service: service.into(),
                        waited,
                        last,
                    });
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Takes it off the run's network. Its connections stall; nothing is told.
    pub async fn disconnect(&self, service: &str) -> Result<(), StackError> {
        let instance = self.instance(service)?;
        let what = format!("disconnecting {service}");
        let request = NetworkDisconnectRequest {
            container: instance.id(),
            force: Some(true),
        };
        let call = self
            .engine
            .docker()
            .disconnect_network(&self.network, request);
        tolerate(
            self.engine.call(&what, SLOW, call).await,
            "is not connected",
        )
    }

    /// Puts it back on the network under its name, and learns its new ports.
    pub async fn connect(&self, service: &str) -> Result<(), StackError> {
        let instance = self.instance(service)?;
        let what = format!("connecting {service}");
        let request = NetworkConnectRequest {
            container: instance.id(),
            endpoint_config: Some(EndpointSettings {
                aliases: Some(vec![instance.name.clone()]),
                ..EndpointSettings::default()
            }),
        };
        let call = self.engine.docker().connect_network(&self.network, request);
        tolerate(self.engine.call(&what, SLOW, call).await, "already exists")?;
        self.learn_ports(instance).await
    }

    /// Whether it is on the run's network, as the engine sees it.
    pub async fn is_connected(&self, service: &str) -> Result<bool, StackError> {
        let found = self.inspect_raw(self.instance(service)?).await?;
        let networks = found
            .network_settings
            .and_then(|settings| settings.networks);
        let mut ids = networks.unwrap_or_default().into_values();
        Ok(ids.any(|endpoint| endpoint.network_id.as_deref() == Some(&self.network)))
    }

    pub async fn inspect(&self, service: &str) -> Result<State, StackError> {
        let found = self.inspect_raw(self.instance(service)?).await?;
        Ok(State::from_engine(found))
    }

    /// What the kernel says, independent of the engine. `None` where it can't be read here, or nothing runs.
    pub async fn is_frozen(&self, service: &str) -> Result<Option<bool>, StackError> {
        let pid = self.inspect(service).await?.pid;
        Ok(frozen(pid))
    }

    /// Bytes that a service has written beyond its image. The engine walks its files to count them.
    pub async fn layer_bytes(&self, service: &str) -> Result<Option<u64>, StackError> {
        let instance = self.instance(service)?;
        let what = format!("measuring {}", instance.name);
        let options = InspectContainerOptions { size: true };
        let docker = self.engine.docker();
        let id = instance.id();
        let call = docker.inspect_container(&id, Some(options));
        let found = self.engine.call(&what, QUICK, call).await?;
        Ok(found.size_rw.and_then(|bytes| u64::try_from(bytes).ok()))
    }

    async fn inspect_raw(
        &self,
        instance: &Instance,
    ) -> Result<ContainerInspectResponse, EngineError> {
        self.inspect_id(&instance.name, &instance.id()).await
    }

    async fn inspect_id(
        &self,
        name: &str,
        id: &str,
    ) -> Result<ContainerInspectResponse, EngineError> {
        let what = format!("inspecting {name}");
        let docker = self.engine.docker();
        let call = docker.inspect_container(id, None::<InspectContainerOptions>);
        self.engine.call(&what, QUICK, call).await
    }

    async fn learn_ports(&self, instance: &Instance) -> Result<(), StackError> {
        let published = published(self.inspect_raw(instance).await?);
        *lock(&instance.published) = published;
        Ok(())
    }

    /// Leaves the stack running when this handle is dropped. For one that was brought up to be kept.
    pub fn leave(&self) {
        let containers = std::mem::take(&mut *lock(&self.containers));
        containers.into_iter().for_each(std::mem::forget);
    }

    /// Removes the run's containers, paused ones too, and its network. Bounded, and idempotent.
    pub async fn down(&self) -> Result<(), StackError> {
        let containers = std::mem::take(&mut *lock(&self.containers));
        let removals = containers.into_iter().map(|container| async move {
            // What fails here is found and reported by the sweep below.
            match tokio::time::timeout(SLOW, container.rm()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "removing a container"),
                Err(_) => tracing::debug!("removing a container takes too long"),
            }
        });
        join_all(removals).await;
        sweep_run(&self.engine, &self.run_id).await?;
        Ok(())
    }
}

impl Drop for Stack {
    /// The containers' own end needs a runtime, panics without one, and leaves the network. So a thread with a
    /// runtime of its own removes what is still there; the janitor or the next sweep does if it can't.
    fn drop(&mut self) {
        let containers = std::mem::take(&mut *lock(&self.containers));
        if containers.is_empty() {
            return;
        }
        containers.into_iter().for_each(std::mem::forget);
        let run_id = std::mem::take(&mut self.run_id);
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            let removed = runtime.block_on(async {
                let engine = Engine::connect().await?;
                sweep_run(&engine, &run_id).await
            });
            if let Err(error) = removed {
                tracing::warn!(%error, run_id, "a stack stays for the next sweep");
            }
        });
        if removal.join().is_err() {
            tracing::warn!("removing a stack panicked");
        }
    }
}

impl Instance {
    fn id(&self) -> String {
        lock(&self.id).clone()
    }

    fn addr(&self, port: &str) -> Result<SocketAddr, StackError> {
        let Some(inside) = self.ports.get(port) else {
            return Err(StackError::UnknownPort {
                service: self.name.clone(),
                port: port.into(),
                known: self.ports.keys().cloned().collect(),
            });
        };
        let found = lock(&self.published).get(inside).copied();
        let outside = found.ok_or_else(|| StackError::NotPublished {
            service: self.name.clone(),
            port: port.into(),
        })?;
        Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), outside))
    }

    async fn look(&self) -> Result<(), String> {
        let (port, question) = &self.question;
        let at = self.addr(port).map_err(|error| error.to_string())?;
        look(question, at, LOOK_WITHIN).await
    }
}

impl State {
    fn from_engine(found: ContainerInspectResponse) -> State {
        let restart_count = found.restart_count.unwrap_or_default();
        let state = found.state.unwrap_or_default();
        State {
            running: state.running.unwrap_or_default(),
            paused: state.paused.unwrap_or_default(),
            restart_count,
            oom_killed: state.oom_killed.unwrap_or_default(),
            exit_code: state.exit_code.unwrap_or_default(),
            started_at: state.started_at.unwrap_or_default(),
            finished_at: state.finished_at.unwrap_or_default(),
            pid: state.pid.unwrap_or_default(),
        }
    }
}

/// A refusal in these words means that it is so already.
fn tolerate(result: Result<(), EngineError>, words: &str) -> Result<(), StackError> {
    match result {
        Err(error) if error.says(words) => Ok(()),
        other => Ok(other?),
    }
}

/// Port inside → port on the host.
fn published(found: ContainerInspectResponse) -> BTreeMap<u16, u16> {
    let ports = found.network_settings.and_then(|settings| settings.ports);
    let mut published = BTreeMap::new();
    for (inside, bindings) in ports.unwrap_or_default() {
        let inside = inside.split('/').next().and_then(|port| port.parse().ok());
        let mut outside = bindings.unwrap_or_default().into_iter();
        let outside = outside.find_map(|binding| binding.host_port?.parse().ok());
        if let (Some(inside), Some(outside)) = (inside, outside) {
            published.insert(inside, outside);
        }
    }
    published
}

/// The freezer of the first version of control groups has a state, the second version's groups have
/// an event. Neither needs root to be read.
fn frozen(pid: i64) -> Option<bool> {
    if pid <= 0 {
        return None;
    }
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mut second = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, kinds, path) = (parts.next()?, parts.next()?, parts.next()?);
        if kinds.split(',').any(|kind| kind == "freezer") {
            let file = format!("/sys/fs/cgroup/freezer{path}/freezer.state");
            let state = std::fs::read_to_string(file).ok()?;
            return Some(state.trim() == "FROZEN");
        }
        if kinds.is_empty() {
            second = Some(path);
        }
    }
    let file = format!("/sys/fs/cgroup{}/cgroup.events", second?);
    let events = std::fs::read_to_string(file).ok()?;
    let frozen = events
        .lines()
        .find_map(|line| line.strip_prefix("frozen "))?;
    Some(frozen.trim() == "1")
}
