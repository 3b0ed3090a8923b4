//! Hidden subcommands: what this executable is inside the containers, and the janitor.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::{BotService, Fixture};
use crate::exit::{Exit, Stop};

/// Resolves on SIGTERM or SIGINT.
fn shutdown() -> Result<impl Future<Output = ()> + Send + 'static, Stop> {
    let internal = |e: std::io::Error| Stop::Internal(e.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

pub async fn fixture(which: Fixture) -> Result<Exit, Stop> {
    let ended = match which {
        Fixture::Chain => {
            let config =
                firedrill_chain::Config::from_env().map_err(|e| Stop::Usage(e.to_string()))?;
            firedrill_chain::serve(config, shutdown()?)
                .await
                .map_err(|e| e.to_string())
        }
        Fixture::Bot { service } => {
            let service = match service {
                BotService::Webhook => firedrill_bot::Service::Webhook,
                BotService::Worker => firedrill_bot::Service::Worker,
                BotService::Tpsl => firedrill_bot::Service::Tpsl,
            };
            firedrill_bot::run(service, shutdown()?)
                .await
                .map_err(|e| e.to_string())
        }
    };
    ended.map(|()| Exit::Pass).map_err(Stop::Environment)
}

pub async fn proxy() -> Result<Exit, Stop> {
    let config = firedrill_proxy::Config::from_env().map_err(|e| Stop::Usage(e.to_string()))?;
    let ended = firedrill_proxy::serve(config, shutdown()?).await;
    ended
        .map(|()| Exit::Pass)
        .map_err(|e| Stop::Environment(e.to_string()))
}

pub async fn janitor(run_id: &str) -> Result<Exit, Stop> {
    let ended = firedrill_stack::janitor::main(run_id).await;
    ended
        .map(|_| Exit::Pass)
        .map_err(|e| Stop::Environment(e.to_string()))
}
