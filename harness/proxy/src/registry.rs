//! Owns the proxies: their listeners, their connections, their toxics.
//!
//! One lock over all of them. It is never held across anything that a connection could delay: a change
//! of toxics is a send into a watch channel, and a stop aborts tasks, so every call here is bounded.
//! Must NOT know: HTTP, JSON beyond the values that it shows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::config::{ProxyConfig, is_address, is_name};
use crate::connection::{self, Stats};
use crate::toxic::{Counters, Kind, Stream, Toxic};

/// Connections that one proxy holds at a time; further ones are closed at once.
const CONNECTIONS: usize = 4096;
/// Toxics that one proxy may have.
const TOXICS: usize = 64;
/// How long resolving and binding a listening address may take.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a listener may take to stop. Aborting tasks takes microseconds; this is the safety net.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept, so that a lack of descriptors doesn't become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What went wrong with a request to the registry, in Toxiproxy's words.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("bad request body: {0}")]
    BadRequest(String),
    #[error("missing required field: {0}")]
    MissingField(&'static str),
    #[error("proxy not found")]
    ProxyNotFound,
    #[error("proxy already exists")]
    ProxyExists,
    #[error("stream was invalid, can be either upstream or downstream")]
    InvalidStream,
    #[error("invalid toxic type")]
    InvalidToxicType,
    #[error("toxic already exists")]
    ToxicExists,
    #[error("toxic not found")]
    ToxicNotFound,
    #[error("listen tcp {listen}: {source}")]
    Listen {
        listen: String,
        #[source]
        source: std::io::Error,
    },
}

impl ProxyError {
    /// The HTTP status that Toxiproxy answers.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_)
            | Self::MissingField(_)
            | Self::InvalidStream
            | Self::InvalidToxicType => 400,
            Self::ProxyNotFound | Self::ToxicNotFound => 404,
            Self::ProxyExists | Self::ToxicExists => 409,
            Self::Listen { .. } => 500,
        }
    }
}

/// What an update of a proxy changes.
#[derive(Debug, Default, serde::Deserialize)]
pub struct ProxyChange {
    pub listen: Option<String>,
    pub upstream: Option<String>,
    pub enabled: Option<bool>,
}

/// A toxic as a client describes it; in an update only attributes and toxicity count.
#[derive(Debug, serde::Deserialize)]
pub struct ToxicRequest {
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub stream: String,
    pub toxicity: Option<f64>,
    #[serde(default)]
    pub attributes: Value,
}

impl ToxicRequest {
    fn toxicity(&self) -> Result<Option<f64>, ProxyError> {
        match self.toxicity {
            Some(share) if !(0.0..=1.0).contains(&share) => Err(ProxyError::BadRequest(
                "toxicity must be from 0 to 1".into(),
            )),
            share => Ok(share),
        }
    }
}

/// All proxies, by name.
#[derive(Default)]
pub struct Registry {
    proxies: Mutex<BTreeMap<String, Proxy>>,
    next_toxic: AtomicU64,
}

impl Registry {
    pub async fn list(&self) -> Value {
        let proxies = self.proxies.lock().await;
        Value::Object(
            proxies
                .iter()
                .map(|(name, proxy)| (name.clone(), proxy.to_json()))
                .collect::<Map<_, _>>(),
        )
    }

    pub async fn create(&self, config: ProxyConfig) -> Result<Value, ProxyError> {
        validate(&config)?;
        let mut proxies = self.proxies.lock().await;
        if proxies.contains_key(&config.name) {
            return Err(ProxyError::ProxyExists);
        }
        insert(&mut proxies, config).await
    }

    /// Creates each proxy; one that exists is left alone if its addresses are the same, else replaced.
    pub async fn populate(&self, configs: Vec<ProxyConfig>) -> (Vec<Value>, Option<ProxyError>) {
        if let Some(error) = configs.iter().find_map(|config| validate(config).err()) {
            return (Vec::new(), Some(error));
        }
        let mut proxies = self.proxies.lock().await;
        let mut done = Vec::new();
        for config in configs {
            if let Some(proxy) = proxies.get_mut(&config.name) {
                if proxy.config.listen == config.listen && proxy.config.upstream == config.upstream
                {
                    done.push(proxy.to_json());
                    continue;
                }
                proxy.stop().await;
                proxies.remove(&config.name);
            }
            match insert(&mut proxies, config).await {
                Ok(json) => done.push(json),
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }

    pub async fn get(&self, name: &str) -> Result<Value, ProxyError> {
        self.proxies
            .lock()
            .await
            .get(name)
            .map(Proxy::to_json)
            .ok_or(ProxyError::ProxyNotFound)
    }

    pub async fn update(&self, name: &str, change: ProxyChange) -> Result<Value, ProxyError> {
        let mut proxies = self.proxies.lock().await;
        let proxy = proxies.get_mut(name).ok_or(ProxyError::ProxyNotFound)?;
        let next = ProxyConfig {
            name: name.to_owned(),
            listen: change.listen.unwrap_or_else(|| proxy.config.listen.clone()),
            upstream: change
                .upstream
                .unwrap_or_else(|| proxy.config.upstream.clone()),
            enabled: change.enabled.unwrap_or(proxy.config.enabled),
        };
        validate(&next)?;
        let moved = next.listen != proxy.config.listen || next.upstream != proxy.config.upstream;
        if moved || !next.enabled {
            proxy.stop().await;
        }
        proxy.config = next;
        if proxy.config.enabled {
            proxy.start().await?;
        }
        Ok(proxy.to_json())
    }

    pub async fn delete(&self, name: &str) -> Result<(), ProxyError> {
        let mut proxies = self.proxies.lock().await;
        proxies
            .get_mut(name)
            .ok_or(ProxyError::ProxyNotFound)?
            .stop()
            .await;
        proxies.remove(name);
        Ok(())
    }

    /// Enables every proxy and removes every toxic. Goes on after an error and returns the first.
    pub async fn reset(&self) -> Result<(), ProxyError> {
        let mut result = Ok(());
        for proxy in self.proxies.lock().await.values_mut() {
            proxy.toxics.send_replace(Arc::default());
            let started = proxy.start().await;
            result = result.and(started);
        }
        result
    }

    pub async fn toxics(&self, name: &str) -> Result<Value, ProxyError> {
        let proxies = self.proxies.lock().await;
        Ok(proxies
            .get(name)
            .ok_or(ProxyError::ProxyNotFound)?
            .toxics_json())
    }

    pub async fn toxic(&self, name: &str, toxic: &str) -> Result<Value, ProxyError> {
        let proxies = self.proxies.lock().await;
        Ok(proxies
            .get(name)
            .ok_or(ProxyError::ProxyNotFound)?
            .find(toxic)?
            .to_json())
    }

    pub async fn add_toxic(&self, name: &str, request: ToxicRequest) -> Result<Value, ProxyError> {
        let mut proxies = self.proxies.lock().await;
        let proxy = proxies.get_mut(name).ok_or(ProxyError::ProxyNotFound)?;
        let stream = Stream::parse(&request.stream)?;
        let kind = Kind::parse(&request.kind, &request.attributes)?;
        let toxicity = request.toxicity()?.unwrap_or(1.0);
        let name = if request.name.is_empty() {
            Toxic::default_name(&kind, stream)
        } else {
            request.name
        };
        if !is_name(&name) {
            return Err(ProxyError::BadRequest(
                "a toxic's name can't hold slashes or blanks".into(),
            ));
        }
        let mut toxics = proxy.toxics.borrow().to_vec();
        if toxics.iter().any(|toxic| toxic.name == name) {
            return Err(ProxyError::ToxicExists);
        }
        if toxics.len() >= TOXICS {
            return Err(ProxyError::BadRequest(format!(
                "a proxy holds at most {TOXICS} toxics"
            )));
        }
        let id = self.next_toxic.fetch_add(1, Ordering::Relaxed);
        let toxic = Arc::new(Toxic {
            id,
            name,
            kind,
            stream,
            toxicity,
            counters: Arc::new(Counters::default()),
        });
        toxics.push(toxic.clone());
        proxy.toxics.send_replace(toxics.into());
        Ok(toxic.to_json())
    }

    pub async fn update_toxic(
        &self,
        name: &str,
        toxic: &str,
        request: ToxicRequest,
    ) -> Result<Value, ProxyError> {
        let mut proxies = self.proxies.lock().await;
        let proxy = proxies.get_mut(name).ok_or(ProxyError::ProxyNotFound)?;
        let current = proxy.find(toxic)?;
        let next = Arc::new(Toxic {
            kind: current.kind.merged(&request.attributes)?,
            toxicity: request.toxicity()?.unwrap_or(current.toxicity),
            ..(*current).clone()
        });
        let mut toxics = proxy.toxics.borrow().to_vec();
        for slot in toxics.iter_mut().filter(|slot| slot.id == next.id) {
            *slot = next.clone();
        }
        proxy.toxics.send_replace(toxics.into());
        Ok(next.to_json())
    }

    pub async fn remove_toxic(&self, name: &str, toxic: &str) -> Result<(), ProxyError> {
        let mut proxies = self.proxies.lock().await;
        let proxy = proxies.get_mut(name).ok_or(ProxyError::ProxyNotFound)?;
        let id = proxy.find(toxic)?.id;
        let mut toxics = proxy.toxics.borrow().to_vec();
        toxics.retain(|toxic| toxic.id != id);
        proxy.toxics.send_replace(toxics.into());
        Ok(())
    }

    pub async fn listen_addr(&self, name: &str) -> Option<SocketAddr> {
        self.proxies.lock().await.get(name)?.addr
    }

    /// Closes all listeners and connections.
    pub async fn close(&self) {
        for proxy in self.proxies.lock().await.values_mut() {
            proxy.stop().await;
        }
    }
}

fn validate(config: &ProxyConfig) -> Result<(), ProxyError> {
    if config.name.is_empty() {
        return Err(ProxyError::MissingField("name"));
    }
    if config.upstream.is_empty() {
        return Err(ProxyError::MissingField("upstream"));
    }
    if !is_name(&config.name) {
        return Err(ProxyError::BadRequest(
            "a proxy's name can't hold slashes or blanks".into(),
        ));
    }
    if !is_address(&config.listen, 0) {
        return Err(ProxyError::BadRequest(format!(
            "listen `{}` is not HOST:PORT",
            config.listen
        )));
    }
    if !is_address(&config.upstream, 1) {
        return Err(ProxyError::BadRequest(format!(
            "upstream `{}` is not HOST:PORT",
            config.upstream
        )));
    }
    Ok(())
}

async fn insert(
    proxies: &mut BTreeMap<String, Proxy>,
    config: ProxyConfig,
) -> Result<Value, ProxyError> {
    let name = config.name.clone();
    let start = config.enabled;
    let mut proxy = Proxy {
        config,
        toxics: watch::Sender::new(Arc::default()),
        stats: Arc::default(),
        addr: None,
        running: None,
    };
    if start {
        proxy.start().await?;
    }
    let json = proxy.to_json();
    proxies.insert(name, proxy);
    Ok(json)
}

struct Proxy {
    config: ProxyConfig,
    toxics: watch::Sender<Arc<[Arc<Toxic>]>>,
    stats: Arc<Stats>,
    addr: Option<SocketAddr>,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Proxy {
    fn find(&self, name: &str) -> Result<Arc<Toxic>, ProxyError> {
        let toxics = self.toxics.borrow();
        toxics
            .iter()
            .find(|toxic| toxic.name == name)
            .cloned()
            .ok_or(ProxyError::ToxicNotFound)
    }

    fn toxics_json(&self) -> Value {
        self.toxics
            .borrow()
            .iter()
            .map(|toxic| toxic.to_json())
            .collect()
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.config.name,
            "listen": self.config.listen,
            "upstream": self.config.upstream,
            "enabled": self.config.enabled,
            "toxics": self.toxics_json(),
            "open_connections": self.stats.open.load(Ordering::Relaxed),
            "accepted_connections": self.stats.accepted.load(Ordering::Relaxed),
            "failed_connects": self.stats.failed_connects.load(Ordering::Relaxed),
        })
    }

    /// Listens, unless it does already. The port that was found for port 0 stays the proxy's own.
    async fn start(&mut self) -> Result<(), ProxyError> {
        if self.running.is_some() {
            return Ok(());
        }
        self.config.enabled = false;
        let bound = timeout(BIND_TIMEOUT, TcpListener::bind(&self.config.listen)).await;
        let bound = bound.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (addr, listener) = bound.map_err(|source| ProxyError::Listen {
            listen: self.config.listen.clone(),
            source,
        })?;
        self.config.listen = addr.to_string();
        self.config.enabled = true;
        self.addr = Some(addr);
        let (stop, stopped) = oneshot::channel();
        let acceptor = Acceptor {
            listener,
            upstream: self.config.upstream.as_str().into(),
            toxics: self.toxics.subscribe(),
            stats: self.stats.clone(),
        };
        self.running = Some(Running {
            stop,
            task: tokio::spawn(acceptor.run(stopped)),
        });
        Ok(())
    }

    /// Closes the listener and every connection, and returns when that is done.
    async fn stop(&mut self) {
        self.config.enabled = false;
        let Some(Running { stop, mut task }) = self.running.take() else {
            return;
        };
        drop(stop);
        if timeout(STOP_TIMEOUT, &mut task).await.is_err() {
            tracing::warn!(
                proxy = self.config.name,
                "a listener didn't stop in time, aborting it"
            );
            task.abort();
        }
    }
}

struct Acceptor {
    listener: TcpListener,
    upstream: Arc<str>,
    toxics: watch::Receiver<Arc<[Arc<Toxic>]>>,
    stats: Arc<Stats>,
}

impl Acceptor {
    async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((client, _)) if connections.len() < CONNECTIONS => {
                        connections.spawn(self.connection(client));
                    }
                    Ok(_) => tracing::warn!("refused a connection: {CONNECTIONS} are open already"),
                    Err(error) => {
                        tracing::warn!(%error, "can't accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        connections.shutdown().await;
    }

    fn connection(&self, client: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        self.stats.accepted.fetch_add(1, Ordering::Relaxed);
        let open = Open::new(self.stats.clone());
        let (upstream, toxics) = (self.upstream.clone(), self.toxics.clone());
        async move {
            match connection::connect(&upstream).await {
                Some(server) => connection::relay(client, server, toxics).await,
                None => {
                    open.0.failed_connects.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Counts a connection as open until it is dropped, also by an abort.
struct Open(Arc<Stats>);

impl Open {
    fn new(stats: Arc<Stats>) -> Self {
        stats.open.fetch_add(1, Ordering::Relaxed);
        Self(stats)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
