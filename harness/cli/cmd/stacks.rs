//! Commands about stacks without a run: `up`, `down`, `heal`, `images`.

use std::collections::BTreeMap;

use firedrill_plan::Target;
use firedrill_runner::resolve_secrets;
use firedrill_stack::{Engine, Stack, UpOptions, sweep, sweep_kept};

use crate::args::{Runtime, UpArgs};
use crate::evidence;
use crate::exit::{Exit, Stop};
use crate::{files, launch};

async fn engine() -> Result<Engine, Stop> {
    Engine::connect()
        .await
        .map_err(|e| Stop::Environment(e.to_string()))
}

pub async fn heal() -> Result<Exit, Stop> {
    let swept = sweep(&engine().await?)
        .await
        .map_err(|e| Stop::Environment(e.to_string()))?;
    println!(
        "removed {} containers and {} networks of runs that died",
        swept.containers, swept.networks
    );
    match swept.left.first() {
        Some(why) => Err(Stop::Environment(why.clone())),
        None => Ok(Exit::Pass),
    }
}

pub async fn down() -> Result<Exit, Stop> {
    let swept = sweep_kept(&engine().await?)
        .await
        .map_err(|e| Stop::Environment(e.to_string()))?;
    println!(
        "removed {} containers and {} networks",
        swept.containers, swept.networks
    );
    Ok(Exit::Pass)
}

pub async fn images(target: &std::path::Path) -> Result<Exit, Stop> {
    let target = files::target(target)?.value;
    let target = launch::monitored(&target, [], target.prometheus.is_some())?;
    let ready = launch::ready(&target, Runtime::Auto, &std::env::temp_dir()).await?;
    for (service, reference) in &ready.images.references {
        println!("{service:<12} {reference}");
    }
    Ok(Exit::Pass)
}

pub async fn up(args: &UpArgs) -> Result<Exit, Stop> {
    let target = files::target(&args.target.target)?.value;
    let defect = launch::defect(&target)?;
    let ready = launch::ready(&target, Runtime::Auto, &std::env::temp_dir()).await?;
    let secrets = resolve_secrets(&target).map_err(|e| Stop::Environment(e.to_string()))?;
    let set = launch::settings(&args.set, &target)?;
    let env = target
        .app_services()
        .map(|s| (s.name.clone(), set.clone()))
        .collect();
    let options = UpOptions {
        run_id: evidence::run_id("up", 0),
        env,
        defect,
        secrets: secrets.clone(),
        keep: true,
        same_ports: true,
        ..UpOptions::default()
    };
    let stack = Stack::up(&ready.engine, &ready.images, &target, options)
        .await
        .map_err(|e| Stop::Environment(e.to_string()))?;
    print_stack(&stack, &target, &secrets)?;
    stack.leave();
    Ok(Exit::Pass)
}

/// Addresses, secrets and a signal to paste, made from the target's own templates.
fn print_stack(
    stack: &Stack,
    target: &Target,
    secrets: &BTreeMap<String, String>,
) -> Result<(), Stop> {
    let environment = |e: &dyn std::fmt::Display| Stop::Environment(e.to_string());
    println!("# {} is up; `firedrill down` removes it", stack.run_id());
    for service in &target.services {
        for port in service.ports.keys() {
            let addr = stack
                .addr(&service.name, port)
                .map_err(|e| environment(&e))?;
            println!("# {:<10} {port:<6} {addr}", service.name);
        }
    }
    for (name, value) in secrets {
        println!("export {name}={value}");
    }
    let signals = &target.signals;
    let addr = stack
        .addr(&signals.service, &signals.port)
        .map_err(|e| environment(&e))?;
    let signal = signals
        .signal("by-hand", 1, &BTreeMap::new())
        .map_err(|e| environment(&e))?;
    println!("\npayload='{}'", signal.body);
    println!(
        "sig=$(echo -n \"$payload\" | openssl dgst -sha256 -hmac \"${}\" -r | cut -d' ' -f1)",
        signals.secret
    );
    println!(
        "curl -X POST http://{addr}{} -H 'Content-Type: application/json' -H \"{}: $sig\" -d \"$payload\"",
        signals.path, signals.signature_header
    );
    Ok(())
}
