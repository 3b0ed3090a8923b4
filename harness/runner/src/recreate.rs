//! The act that makes containers anew with another environment.
//!
//! A container's log goes with it. So the old one is stopped first, and removed once its log was read to the
//! end; where that didn't come about in time, the log's stream says that something could have been missed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::faults::{Proof, STOP_GRACE, healthy};
use crate::run::World;

const LOG_DEADLINE: Duration = Duration::from_secs(3);
const LOG_EVERY: Duration = Duration::from_millis(10);

/// Makes all of them anew at once; the time is that of the last one's health.
pub async fn recreate(
    world: &Arc<World>,
    services: &[String],
    env: &BTreeMap<String, String>,
) -> Result<(u64, String), String> {
    let mut filled = BTreeMap::new();
    for (name, value) in env {
        let value = value.replace("${run.id}", &world.run_id);
        filled.insert(name.clone(), world.fill_secrets(&value)?);
    }
    let mut anew = JoinSet::new();
    for service in services {
        let (world, service, env) = (world.clone(), service.clone(), filled.clone());
        anew.spawn(async move { one(&world, &service, &env).await });
    }
    let (mut last, mut texts) = (0, Vec::new());
    let mut failed = None;
    // All are awaited even if one fails: what is half made can't be removed.
    while let Some(joined) = anew.join_next().await {
        match joined.map_err(|e| e.to_string()).and_then(|proof| proof) {
            Ok(proof) => {
                last = last.max(proof.at_ns);
                texts.push(proof.text);
            }
            Err(why) => failed = Some(why),
        }
    }
    texts.sort();
    failed.map_or(Ok((last, texts.join("; "))), Err)
}

async fn one(
    world: &Arc<World>,
    service: &str,
    env: &BTreeMap<String, String>,
) -> Result<Proof, String> {
    let stack = &world.stack;
    let before = stack.container_id(service).map_err(|e| e.to_string())?;
    let stopped = stack.stop(service, STOP_GRACE).await;
    stopped.map_err(|e| e.to_string())?;
    await_log(world, service, &before).await?;
    let made = stack.recreate(service, env).await;
    made.map_err(|e| e.to_string())?;
    let after = stack.container_id(service).map_err(|e| e.to_string())?;
    if before == after {
        return Err(format!("{service} is the same container as before"));
    }
    let seen = stack.environment(service).await;
    let seen = seen.map_err(|e| e.to_string())?;
    if let Some(name) = env.keys().find(|name| seen.get(*name) != env.get(*name)) {
        return Err(format!(
            "{service} was made anew without the {name} asked for"
        ));
    }
    let changed: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let changed = match changed.is_empty() {
        true => "the environment of bring-up".to_owned(),
        false => format!("environment read back: {}", changed.join(" ")),
    };
    let mut proof = healthy(world, service).await?;
    proof.text = format!(
        "{service} made anew as {}, was {}, {changed}; {}",
        short(&after),
        short(&before),
        proof.text
    );
    Ok(proof)
}

/// Waits until the stopped container's log was read to its end, if anybody reads it.
async fn await_log(world: &World, service: &str, container: &str) -> Result<(), String> {
    let followed = world
        .target
        .services
        .iter()
        .any(|s| s.logs && world.stack.instances(&s.name).contains(&service));
    if !followed {
        return Ok(());
    }
    let life = world.stack.ended_life(service, container).await;
    let life = life.map_err(|e| e.to_string())?;
    let life = life.ok_or_else(|| format!("{service} still runs after it was stopped"))?;
    let started = tokio::time::Instant::now();
    while started.elapsed() < LOG_DEADLINE {
        if world.log_ends.is_read(service, &life) {
            return Ok(());
        }
        tokio::time::sleep(LOG_EVERY).await;
    }
    world.log_ends.missed(container);
    Ok(())
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
