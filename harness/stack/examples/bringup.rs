//! Measures: images, bring-up of six containers, pause until proven, removal.
//!
//! `cargo run -p firedrill-stack --examples --example bringup -- [ROUNDS]`

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use firedrill_stack::{Engine, Stack, UpOptions, images};

const SETTLES_WITHIN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rounds: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(10), |text| text.parse())?;
    let engine = Engine::connect().await?;
    println!("{:?}", engine.info());
    let mut services = vec![common::redis(), common::postgres()];
    services.extend(["rpc", "webhook", "worker", "tpsl"].map(common::app));
    let target = common::target(services);
    let helper = common::helper()?;
    for _ in 0..2 {
        let started = Instant::now();
        let mut say = |line: &str| println!("{:>8.3} s {line}", started.elapsed().as_secs_f64());
        images::provision(&engine, &target, &helper, &mut say).await?;
        println!("images: {:?}", started.elapsed());
    }
    let found = images::provision(&engine, &target, &helper, &mut |_| {}).await?;
    let mut figures: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for round in 0..rounds {
        let options = UpOptions {
            run_id: format!("bringup-{}-{round}", std::process::id()),
            secrets: BTreeMap::from([("TOKEN".to_string(), "secret".to_string())]),
            ..UpOptions::default()
        };
        let stack = Stack::up(&engine, &found, &target, options).await?;
        let timings = stack.timings().clone();
        let started = Instant::now();
        stack.pause("redis").await?;
        let answered = started.elapsed();
        while stack.is_frozen("redis").await? == Some(false) {
            if started.elapsed() > SETTLES_WITHIN {
                return Err("the pause was never proven".into());
            }
        }
        let proven = started.elapsed();
        let started = Instant::now();
        stack.down().await?;
        let all = [
            ("1 network", timings.network),
            ("2 started", timings.started),
            ("3 ready", timings.ready),
            ("4 pause answered", answered),
            ("5 pause proven", proven),
            ("6 down", started.elapsed()),
        ];
        println!("{all:?} {:?}", timings.services);
        for (name, took) in all {
            figures.entry(name).or_default().push(took);
        }
    }
    for (name, mut took) in figures {
        took.sort();
        println!(
            "{name:<18} median {:?} max {:?}",
            took[took.len() / 2],
            took[took.len() - 1]
        );
    }
    Ok(())
}
