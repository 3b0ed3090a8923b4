//! Removes what runs left behind whose process is dead.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures_util::future::join_all;

use crate::engine::{Engine, EngineError, QUICK, SLOW};
use crate::owner::Owner;
use crate::{LABEL, LABEL_KEPT};

/// How long thawing a container may keep its removal waiting.
const THAW: Duration = Duration::from_millis(500);
/// How long the last container of a network may take to leave it.
const LEAVING: Duration = Duration::from_secs(5);

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub containers: usize,
    pub networks: usize,
    /// Why something of a run that died could not be removed. It hinders no other run.
    pub left: Vec<String>,
}

/// Removes what carries our label and whose owner is dead. Touches nothing of live runs.
pub async fn sweep(engine: &Engine) -> Result<Swept, EngineError> {
    let removed = remove(engine, LABEL, |labels| {
        let kept = labels.contains_key(LABEL_KEPT);
        !kept && Owner::from_labels(labels).is_some_and(|owner| owner.is_dead())
    });
    let (mut swept, left) = removed.await?;
    swept.left = left.iter().map(ToString::to_string).collect();
    Ok(swept)
}

/// Removes what was left running on purpose and whose maker is gone. A run that will be kept but
/// is still going on is not touched.
pub async fn sweep_kept(engine: &Engine) -> Result<Swept, EngineError> {
    let removed = remove(engine, LABEL, |labels| {
        let kept = labels.contains_key(LABEL_KEPT);
        kept && Owner::from_labels(labels).is_some_and(|owner| owner.is_dead())
    });
    all(removed.await?)
}

/// Removes everything of one run, whoever owns it.
pub async fn sweep_run(engine: &Engine, run_id: &str) -> Result<Swept, EngineError> {
    all(remove(engine, &format!("{LABEL}={run_id}"), |_| true).await?)
}

/// Removes what that owner made for a run. Another one may have taken the run up again by now.
pub(crate) async fn sweep_owned(
    engine: &Engine,
    run_id: &str,
    owner: &Owner,
) -> Result<Swept, EngineError> {
    let label = format!("{LABEL}={run_id}");
    let removed = remove(engine, &label, |labels| {
        Owner::from_labels(labels).as_ref() == Some(owner)
    });
    all(removed.await?)
}

/// Nothing may be left.
fn all((swept, left): (Swept, Vec<EngineError>)) -> Result<Swept, EngineError> {
    left.into_iter().next().map_or(Ok(swept), Err)
}

async fn remove(
    engine: &Engine,
    label: &str,
    doomed: impl Fn(&HashMap<String, String>) -> bool,
) -> Result<(Swept, Vec<EngineError>), EngineError> {
    let filters = HashMap::from([("label", vec![label])]);
    let docker = engine.docker();
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters);
    let listing = engine.call(
        "listing containers",
        QUICK,
        docker.list_containers(Some(options.build())),
    );
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let networks = engine.call(
        "listing networks",
        QUICK,
        docker.list_networks(Some(options)),
    );
    let (containers, networks) = tokio::join!(listing, networks);
    let mut found = Vec::new();
    for container in containers? {
        let labels = container.labels.unwrap_or_default();
        let paused = container.state == Some(ContainerSummaryStateEnum::PAUSED);
        found.extend(
            container
                .id
                .filter(|_| doomed(&labels))
                .map(|id| (id, paused)),
        );
    }
    // Each on its own: none waits for another one to thaw or to die.
    let removing = found.iter().map(|(id, paused)| async move {
        if *paused {
            thaw(engine, id).await;
        }
        remove_container(engine, id).await
    });
    let mut left = Vec::new();
    let containers = count(join_all(removing).await, &mut left);
    let ids = networks?.into_iter().filter_map(|network| {
        let labels = network.labels.unwrap_or_default();
        network.id.filter(|_| doomed(&labels))
    });
    let ids: Vec<String> = ids.collect();
    let removed = join_all(ids.iter().map(|id| remove_network(engine, id))).await;
    let swept = Swept {
        containers,
        networks: count(removed, &mut left),
        left: Vec::new(),
    };
    Ok((swept, left))
}

/// What is frozen is thawed before it is removed: removing takes long enough that others would meet it frozen.
/// If it can't be thawed, it is removed all the same.
async fn thaw(engine: &Engine, id: &str) {
    let unpause = engine.docker().unpause_container(id);
    let thawed = engine.call("unpausing a container", THAW, unpause).await;
    if let Err(error) = thawed {
        tracing::debug!(%error, "thawing before the removal");
    }
}

fn count(removed: Vec<Result<bool, EngineError>>, left: &mut Vec<EngineError>) -> usize {
    let mut count = 0;
    for one in removed {
        match one {
            Ok(removed) => count += usize::from(removed),
            Err(error) => left.push(error),
        }
    }
    count
}

/// Whether it was this call that removed it. Removing what is gone, or going, is no error.
pub(crate) async fn remove_container(engine: &Engine, id: &str) -> Result<bool, EngineError> {
    let what = "removing a container";
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    let docker = engine.docker();
    let attempt = || {
        engine.call(
            what,
            SLOW,
            docker.remove_container(id, Some(options.clone())),
        )
    };
    match attempt().await {
        Ok(()) => Ok(true),
        Err(error) if error.is_gone() => Ok(false),
        Err(error) if error.says("already in progress") => wait_gone(engine, id).await,
        Err(_) => {
            // An engine that won't kill a paused container does so once it runs.
            let _ = engine.call(what, QUICK, docker.unpause_container(id)).await;
            match attempt().await {
                Err(error) if error.is_gone() => Ok(false),
                other => other.map(|()| true),
            }
        }
    }
}

/// Someone else is removing it: what counts is that it is gone before its network is removed.
async fn wait_gone(engine: &Engine, id: &str) -> Result<bool, EngineError> {
    let what = "waiting for a container's removal";
    let watch = async {
        loop {
            let found = engine.docker().inspect_container(id, None).await;
            if let Err(error) = found {
                let error = EngineError::new(what, error);
                return if error.is_gone() {
                    Ok(false)
                } else {
                    Err(error)
                };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let timeout = |_| EngineError::Timeout {
        what: what.into(),
        after: SLOW,
    };
    tokio::time::timeout(SLOW, watch).await.map_err(timeout)?
}

/// Whether it was this call that removed it. A container that another hand is removing is out of the list before it
/// has left its network: that is waited for.
pub(crate) async fn remove_network(engine: &Engine, id: &str) -> Result<bool, EngineError> {
    let until = Instant::now() + LEAVING;
    loop {
        let removal = engine.docker().remove_network(id);
        match engine.call("removing a network", SLOW, removal).await {
            Ok(()) => return Ok(true),
            Err(error) if error.is_gone() => return Ok(false),
            Err(error) if !error.says("active endpoints") || Instant::now() >= until => {
                return Err(error);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
