//! The fault proxy: a TCP relay that breaks connections on request, steered over Toxiproxy's HTTP API.
//!
//! Three layers, each ignorant of the one above it: a *pump* moves the bytes of one direction and holds
//! them back as the *stages* of its toxics schedule; a *registry* owns proxies, listeners and toxics; the
//! *API* translates HTTP to the registry. A toxic takes hold through a watch channel that every pump
//! reads, so no API call ever waits for a connection, and a dead connection can't block a removal.
//!
//! Beyond Toxiproxy, every toxic counts what it touched, so that a harness can prove that a fault had
//! effect, and `http_error` answers (or loses the answer of) chosen HTTP or JSON-RPC requests.
//!
//! This crate must NOT know: drills, plans, journals, containers, or what the bytes mean to anyone.

mod api;
mod config;
mod connection;
mod http;
mod pump;
mod registry;
mod stage;
mod timer;
mod toxic;

pub use config::{Config, ConfigError, ProxyConfig};

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use registry::Registry;
use tokio::net::TcpListener;

/// How long API requests in flight may take to finish once the shutdown has been asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the proxy could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The API's address could not be bound.
    #[error("can't bind the proxy API to {addr}: {source}; choose another address")]
    Api {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A configured proxy could not be created.
    #[error("can't create proxy `{name}` listening on {listen}: {reason}")]
    Proxy {
        /// The proxy's name.
        name: String,
        /// The address that it should have listened on.
        listen: String,
        /// What the registry answered.
        reason: String,
    },
    /// The API's server broke off.
    #[error("the proxy API stopped: {0}")]
    Stopped(#[source] std::io::Error),
}

/// A proxy server whose sockets are bound and which waits for [`Server::run`].
pub struct Server {
    api: TcpListener,
    api_addr: SocketAddr,
    registry: Arc<Registry>,
}

impl Server {
    /// Binds the API and every configured proxy. Port 0 takes a free port; the accessors tell which.
    ///
    /// # Errors
    /// When an address can't be bound or two proxies share a name.
    pub async fn bind(config: Config) -> Result<Self, ServeError> {
        let bind_error = |source| ServeError::Api {
            addr: config.api_addr,
            source,
        };
        let api = TcpListener::bind(config.api_addr)
            .await
            .map_err(bind_error)?;
        let api_addr = api.local_addr().map_err(bind_error)?;
        let registry = Arc::new(Registry::default());
        for proxy in config.proxies {
            let (name, listen) = (proxy.name.clone(), proxy.listen.clone());
            if let Err(error) = registry.create(proxy).await {
                return Err(ServeError::Proxy {
                    name,
                    listen,
                    reason: error.to_string(),
                });
            }
        }
        Ok(Self {
            api,
            api_addr,
            registry,
        })
    }

    /// The address on which the API listens.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// The address on which the proxy of this name listens; none when it is unknown or was never enabled.
    pub async fn proxy_addr(&self, name: &str) -> Option<SocketAddr> {
        self.registry.listen_addr(name).await
    }

    /// Serves until `shutdown` completes, then closes every listener and connection.
    ///
    /// # Errors
    /// When the API's server breaks off.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let (stopping, mut stopped) = tokio::sync::watch::channel(false);
        let signal = async move {
            shutdown.await;
            let _ = stopping.send(true);
        };
        let api = axum::serve(self.api, api::router(self.registry.clone()))
            .with_graceful_shutdown(signal);
        let result = tokio::select! {
            result = async { api.await } => result,
            // A client that keeps its request open must not keep the process alive.
            () = async { let _ = stopped.wait_for(|stop| *stop).await; tokio::time::sleep(DRAIN_TIMEOUT).await } => Ok(()),
        };
        self.registry.close().await;
        result.map_err(ServeError::Stopped)
    }
}

/// Binds and serves until `shutdown` completes.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    Server::bind(config).await?.run(shutdown).await
}
