//! Bring-up: a network of the run's own, all containers started at once, health awaited.
//!
//! Names. A container's name must be unique on the machine, while `postgres` must mean this run's one. So
//! each is called `<instance>.<run>.firedrill`, and searches names in `<run>.firedrill` first: the
//! engine's own name service does the rest, and a container is reachable from its very first moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bollard::models::{HostConfig, HostConfigLogConfig, NetworkCreateRequest, PortBinding};
use bollard::query_parameters::LogsOptionsBuilder;
use firedrill_plan::{Healthy, Role, Service, Target};
use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

use super::{Instance, LOOK_EVERY, Stack, StackError, State, Timings, lock};

use crate::engine::{Engine, EngineError, QUICK, SLOW};
use crate::health::Question;
use crate::images::{Images, split_tag};
use crate::owner::Owner;
use crate::sweep::sweep_run;
use crate::{LABEL, LABEL_KEPT, LABEL_SERVICE};

const RUN_ID_BYTES_MAX: usize = 40;
const REPLICAS_MAX: u32 = 8;
const LOG_TAIL: usize = 20;
/// Between looks at whether a container that isn't healthy has ended.
const STATE_EVERY: Duration = Duration::from_millis(250);
const LOG_BYTES_MAX: &str = "256m";

/// What a run adds to its target.
#[derive(Clone, Debug, Default)]
pub struct UpOptions {
    /// Unique; lowercase letters, digits and dashes, at most 40.
    pub run_id: String,
    /// Service → number of instances, where it isn't one.
    pub replicas: BTreeMap<String, u32>,
    /// Service, or one instance of it → environment that wins over the target's.
    pub env: BTreeMap<String, BTreeMap<String, String>>,
    /// One of the target's defects.
    pub defect: Option<String>,
    /// Values of the target's secrets.
    pub secrets: BTreeMap<String, String>,
    /// It is to outlive this process: only [`crate::sweep_kept`] removes it.
    pub keep: bool,
    /// Publish each container port under the same number on the host, where two services don't
    /// want the same one. For a stack that people type addresses of.
    pub same_ports: bool,
}

/// Why a target didn't come up. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("can't bring up the target: {0}")]
    Options(String),
    #[error("service {service} didn't start: {detail}")]
    Start { service: String, detail: String },
    #[error(
        "service {service} ended with exit code {exit_code} before it was healthy{}",
        tail(log_tail)
    )]
    Exited {
        service: String,
        exit_code: i64,
        log_tail: Vec<String>,
    },
    #[error("service {service} isn't healthy after {} ms: {last}{}", waited.as_millis(), tail(log_tail))]
    NotReady {
        service: String,
        waited: Duration,
        state: Box<State>,
        last: String,
        log_tail: Vec<String>,
    },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Stack(#[from] StackError),
}

fn tail(lines: &[String]) -> String {
    if lines.is_empty() {
        return "; it logged nothing".into();
    }
    format!("; its log ends:\n  {}", lines.join("\n  "))
}

impl Stack {
    /// Starts all services at once, and waits until every one is healthy, at most for the target's
    /// `ready_within`. What was started is removed if that fails.
    pub async fn up(
        engine: &Engine,
        images: &Images,
        target: &Target,
        options: UpOptions,
    ) -> Result<Stack, UpError> {
        let wanted = plan(images, target, &options)?;
        let result = bring_up(engine, target, &options.run_id, options.keep, wanted).await;
        if result.is_err()
            && let Err(error) = sweep_run(engine, &options.run_id).await
        {
            tracing::warn!(%error, run = options.run_id, "what was started stays for the next sweep");
        }
        result
    }
}

/// A container to be.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    service: Service,
    image: String,
    pub(super) env: BTreeMap<String, String>,
    question: (String, Question),
    /// Container ports that are published under their own number.
    same_ports: BTreeSet<u16>,
}

/// Its environment holds secrets.
impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted")
            .field("name", &self.name)
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

fn plan(images: &Images, target: &Target, options: &UpOptions) -> Result<Vec<Wanted>, UpError> {
    check(target, options)?;
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut taken = BTreeSet::new();
    for service in &target.services {
        let image = images.references.get(&service.name).ok_or_else(|| {
            UpError::Options(format!(
                "no image was provided for service {}",
                service.name
            ))
        })?;
        let count = options.replicas.get(&service.name).copied().unwrap_or(1);
        for index in 1..=count {
            let name = match index {
                1 => service.name.clone(),
                _ => format!("{}-{index}", service.name),
            };
            if wanted.iter().any(|other| other.name == name) {
                return Err(UpError::Options(format!(
                    "two containers would be called {name}"
                )));
            }
            wanted.push(Wanted {
                env: environment(target, service, &name, options)?,
                question: question(&service.healthy),
                image: image.clone(),
                same_ports: same_ports(service, options, &mut taken),
                service: service.clone(),
                name,
            });
        }
    }
    Ok(wanted)
}

/// The ports that keep their number; the first service that wants one gets it.
fn same_ports(service: &Service, options: &UpOptions, taken: &mut BTreeSet<u16>) -> BTreeSet<u16> {
    let all = service.ports.values().copied();
    all.filter(|port| options.same_ports && taken.insert(*port))
        .collect()
}

fn check(target: &Target, options: &UpOptions) -> Result<(), UpError> {
    let refuse = |detail: String| Err(UpError::Options(detail));
    let run_id = &options.run_id;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if run_id.is_empty() || run_id.len() > RUN_ID_BYTES_MAX || !run_id.bytes().all(plain) {
        return refuse(format!(
            "run id {run_id:?} isn't made of at most {RUN_ID_BYTES_MAX} lowercase letters, digits and dashes"
        ));
    }
    let known = |name: &str| target.services.iter().any(|service| service.name == name);
    for (service, count) in &options.replicas {
        if !known(service) {
            return refuse(format!("replicas of {service:?}, which is no service"));
        }
        if !(1..=REPLICAS_MAX).contains(count) {
            return refuse(format!(
                "{count} replicas of {service}; 1 to {REPLICAS_MAX} are possible"
            ));
        }
    }
    let instance = |name: &str| {
        let base = name
            .rsplit_once('-')
            .filter(|(_, index)| index.parse::<u32>().is_ok());
        known(name) || base.is_some_and(|(base, _)| known(base))
    };
    if let Some(name) = options.env.keys().find(|name| !instance(name)) {
        return refuse(format!("environment for {name:?}, which is no service"));
    }
    let Some(defect) = &options.defect else {
        return Ok(());
    };
    match &target.defects {
        Some(defects) if defects.names.contains(defect) => Ok(()),
        _ => refuse(format!("the target has no defect {defect:?}")),
    }
}

fn environment(
    target: &Target,
    service: &Service,
    name: &str,
    options: &UpOptions,
) -> Result<BTreeMap<String, String>, UpError> {
    let mut env = BTreeMap::new();
    if service.role == Role::App {
        env.extend(target.env.clone());
    }
    env.extend(service.env.clone());
    if let (Some(defects), Some(defect)) = (&target.defects, &options.defect)
        && defects.services.contains(&service.name)
    {
        env.insert(defects.env.clone(), defect.clone());
    }
    for key in [service.name.as_str(), name] {
        env.extend(options.env.get(key).cloned().unwrap_or_default());
    }
    for (key, value) in &mut env {
        *value = substitute(value, options)
            .map_err(|detail| UpError::Options(format!("{key} of service {name}: {detail}")))?;
    }
    Ok(env)
}

/// Fills in `${secret.NAME}` and `${run.id}`. What was filled in isn't looked at again.
fn substitute(text: &str, options: &UpOptions) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("`${` without `}`")?;
        out.push_str(before);
        match name.strip_prefix("secret.") {
            Some(secret) => {
                let value = options.secrets.get(secret);
                out.push_str(value.ok_or_else(|| format!("no secret {secret:?}"))?);
            }
            None if name == "run.id" => out.push_str(&options.run_id),
            None => return Err(format!("unknown placeholder ${{{name}}}")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn question(healthy: &Healthy) -> (String, Question) {
    match healthy.clone() {
        Healthy::Http { port, path } => (port, Question::Http { path }),
        Healthy::Redis { port } => (port, Question::Redis),
        Healthy::Postgres { port, url } => (port, Question::Postgres { url }),
        Healthy::Tcp { port } => (port, Question::Tcp),
    }
}

async fn bring_up(
    engine: &Engine,
    target: &Target,
    run_id: &str,
    keep: bool,
    wanted: Vec<Wanted>,
) -> Result<Stack, UpError> {
    let started = Instant::now();
    let deadline = started + target.ready_within;
    let labels = labels(run_id, keep);
    let network = create_network(engine, run_id, &labels).await?;
    let mut timings = Timings {
        network: started.elapsed(),
        ..Timings::default()
    };
    let containers = start_all(run_id, &labels, &wanted, target.ready_within).await?;
    timings.started = started.elapsed();
    let instances = wanted
        .into_iter()
        .zip(&containers)
        .map(|(wanted, container)| Instance {
            service: wanted.service.name.clone(),
            name: wanted.name.clone(),
            id: Mutex::new(container.id().to_string()),
            ports: wanted.service.ports.clone(),
            question: wanted.question.clone(),
            wanted,
            published: Mutex::default(),
            cpu: Mutex::default(),
        });
    let mut stack = Stack {
        engine: engine.clone(),
        run_id: run_id.into(),
        keep,
        network,
        instances: instances.collect(),
        timings: Timings::default(),
        containers: Mutex::new(containers),
    };
    let ready = stack.instances.iter().map(|instance| async {
        await_health(&stack, instance, started, deadline).await?;
        Ok::<_, UpError>((instance.name.clone(), started.elapsed()))
    });
    match try_join_all(ready).await {
        Ok(services) => timings.services = services.into_iter().collect(),
        Err(error) => {
            // A way out that doesn't block, as dropping the containers would.
            stack.down().await?;
            return Err(error);
        }
    }
    timings.ready = started.elapsed();
    stack.timings = timings;
    Ok(stack)
}

/// testcontainers knows networks by name only, and would make one that is called like another's id.
fn network_name(run_id: &str) -> String {
    format!("firedrill-{run_id}")
}

pub(super) type Labels = HashMap<String, String>;

async fn create_network(
    engine: &Engine,
    run_id: &str,
    labels: &Labels,
) -> Result<String, EngineError> {
    let request = NetworkCreateRequest {
        name: network_name(run_id),
        driver: Some("bridge".into()),
        labels: Some(labels.clone()),
        ..NetworkCreateRequest::default()
    };
    let call = engine.docker().create_network(request);
    Ok(engine
        .call("creating the run's network", SLOW, call)
        .await?
        .id)
}

pub(super) fn labels(run_id: &str, keep: bool) -> Labels {
    let owner = Owner::current().labels();
    let mut labels: Labels = owner
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect();
    labels.insert(LABEL.into(), run_id.into());
    if keep {
        labels.insert(LABEL_KEPT.into(), "yes".into());
    }
    labels
}

pub(super) async fn start_all(
    run_id: &str,
    labels: &Labels,
    wanted: &[Wanted],
    within: Duration,
) -> Result<Vec<ContainerAsync<GenericImage>>, UpError> {
    let starts = wanted.iter().map(|wanted| async {
        let failed = |detail: String| UpError::Start {
            service: wanted.name.clone(),
            detail: with_remedy(detail),
        };
        let start = request(run_id, labels, wanted).start();
        match tokio::time::timeout(within, start).await {
            Ok(Ok(container)) => Ok(container),
            Ok(Err(error)) => Err(failed(chain(&error))),
            Err(_) => Err(failed(format!(
                "not started within {} ms",
                within.as_millis()
            ))),
        }
    });
    // All are awaited even if one fails: what is half made can't be removed.
    let (mut started, mut failed) = (Vec::new(), None);
    for result in join_all(starts).await {
        match result {
            Ok(container) => started.push(container),
            Err(error) => failed = Some(error),
        }
    }
    let Some(error) = failed else {
        return Ok(started);
    };
    let removals = started.into_iter().map(|container| container.rm());
    let removals = tokio::time::timeout(SLOW, join_all(removals)).await;
    tracing::debug!(in_time = removals.is_ok(), "removed what had started");
    Err(error)
}

/// What the engine says of a port that isn't free, with what the user can do about it.
fn with_remedy(detail: String) -> String {
    let taken = ["address already in use", "port is already allocated"];
    match taken.iter().any(|words| detail.contains(words)) {
        true => format!(
            "{detail}; stop what uses that port, or run `firedrill down` if it is a kept stack"
        ),
        false => detail,
    }
}

/// An error with its causes, which this library leaves out of its own text.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn request(run_id: &str, labels: &Labels, wanted: &Wanted) -> ContainerRequest<GenericImage> {
    let (name, tag) = split_tag(&wanted.image);
    let domain = format!("{run_id}.firedrill");
    let mut image = GenericImage::new(name, tag);
    for port in wanted.service.ports.values() {
        image = image.with_exposed_port(port.tcp());
    }
    let mut request = image
        .with_container_name(format!("{}.{domain}", wanted.name))
        .with_hostname(wanted.name.clone())
        .with_network(network_name(run_id))
        .with_labels(labels)
        .with_label(LABEL_SERVICE, wanted.name.clone())
        .with_startup_timeout(SLOW);
    for (key, value) in &wanted.env {
        request = request.with_env_var(key, value);
    }
    for (path, text) in &wanted.service.files {
        request = request.with_copy_to(path, text.clone().into_bytes());
    }
    if !wanted.service.command.is_empty() {
        request = request.with_cmd(wanted.service.command.clone());
    }
    let host_port = |port: &u16| match wanted.same_ports.contains(port) {
        true => port.to_string(),
        false => String::new(),
    };
    let ports = wanted.service.ports.values();
    let ports: Vec<(u16, String)> = ports.map(|port| (*port, host_port(port))).collect();
    let memory = wanted
        .service
        .memory_max
        .and_then(|bytes| i64::try_from(bytes).ok());
    request.with_host_config_modifier(move |host| configure(host, &ports, &domain, memory))
}

fn configure(host: &mut HostConfig, ports: &[(u16, String)], domain: &str, memory: Option<i64>) {
    // An empty host port lets the engine choose a free one.
    let loopback = |host_port: &String| PortBinding {
        host_ip: Some("127.0.0.1".into()),
        host_port: Some(host_port.clone()),
    };
    let bindings = ports
        .iter()
        .map(|(port, host_port)| (format!("{port}/tcp"), Some(vec![loopback(host_port)])));
    host.port_bindings = Some(bindings.collect());
    host.publish_all_ports = Some(false);
    host.dns_search = Some(vec![domain.into()]);
    // Without this the engine asks for the bare name first, outside of the run as well.
    host.dns_options = Some(vec!["ndots:1".into()]);
    host.memory = memory;
    host.memory_swap = memory;
    // The only driver that every engine can read back from.
    host.log_config = Some(HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(HashMap::from([("max-size".into(), LOG_BYTES_MAX.into())])),
    });
}

async fn await_health(
    stack: &Stack,
    instance: &Instance,
    started: Instant,
    deadline: Instant,
) -> Result<(), UpError> {
    stack.learn_ports(instance).await?;
    let mut state_due = Instant::now() + STATE_EVERY;
    loop {
        let Err(last) = instance.look().await else {
            return Ok(());
        };
        let now = Instant::now();
        if now < deadline && now < state_due {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        state_due = now + STATE_EVERY;
        let state = State::from_engine(stack.inspect_raw(instance).await?);
        if state.running && now < deadline {
            if lock(&instance.published).is_empty() {
                stack.learn_ports(instance).await?;
            }
            continue;
        }
        let log_tail = log_tail(&stack.engine, &instance.id()).await;
        let service = instance.name.clone();
        if !state.running {
            return Err(UpError::Exited {
                service,
                exit_code: state.exit_code,
                log_tail,
            });
        }
        return Err(UpError::NotReady {
            service,
            waited: started.elapsed(),
            state: Box::new(state),
            last,
            log_tail,
        });
    }
}

/// The log's last lines, as far as they are to be had.
async fn log_tail(engine: &Engine, id: &str) -> Vec<String> {
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .tail(&LOG_TAIL.to_string())
        .build();
    let lines = engine.docker().logs(id, Some(options)).take(LOG_TAIL);
    let lines = lines.filter_map(|line| async {
        let text: String = line.ok()?.to_string().chars().take(500).collect();
        Some(text.trim_end().to_string())
    });
    let collected = tokio::time::timeout(QUICK, lines.collect()).await;
    collected.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_once() {
        let secrets = BTreeMap::from([("A".to_string(), "${run.id}".to_string())]);
        let options = UpOptions {
            run_id: "r1".into(),
            secrets,
            ..UpOptions::default()
        };
        let filled = substitute("x-${run.id}-${secret.A}", &options);
        assert_eq!(filled.as_deref(), Ok("x-r1-${run.id}"));
        assert!(substitute("${secret.B}", &options).is_err());
        assert!(substitute("${run.id", &options).is_err());
        assert!(substitute("${else}", &options).is_err());
    }
}
