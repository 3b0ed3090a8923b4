//! `firedrill soak`: the drills of a profile one after the other on one stack, under load, and the
//! policy's word on it.

use std::path::Path;
use std::sync::Arc;

use firedrill_journal::RunKind;

use crate::args::SoakArgs;
use crate::cmd::{gate, run::seed};
use crate::evidence;
use crate::execute::{self, Job};
use crate::exit::{Exit, Stop};
use crate::{files, launch};

pub async fn soak(args: SoakArgs) -> Result<Exit, Stop> {
    let names = files::drill_names()?;
    let path = Path::new(files::PROFILES).join(format!("{}.toml", args.profile));
    if !path.exists() {
        return Err(unknown_profile(&args.profile));
    }
    let profile = files::profile(&path, &names)?;
    let policy = files::policy(&args.policy, &names)?;
    let target = files::target(&args.common.target.target)?;
    let defect = launch::defect(&target.value)?;
    let mut drills = Vec::new();
    for name in &profile.value.drills {
        let path = Path::new(files::DRILLS).join(format!("{name}.toml"));
        let mut drill = files::drill(&path, &target.value)?;
        launch::apply_settings(&mut drill.value, &target.value, &args.common.set)?;
        drills.push(drill);
    }
    let seed = seed(&args.common);
    eprintln!("seed {seed}");
    if args.common.dry_run {
        println!(
            "{}: {}",
            profile.value.name,
            profile.value.drills.join(", ")
        );
        return Ok(Exit::Pass);
    }
    let (_switch, cancel) = launch::on_signal()?;
    let out = &args.common.out;
    let ready = cancel
        .clone()
        .guard(launch::ready(&target.value, args.common.runtime, out))
        .await;
    let ready = ready.map_err(|_| Stop::Interrupted)??;
    let run_id = evidence::run_id("soak", seed);
    let dir = out.join(&run_id);
    let job = Job {
        kind: RunKind::Soak,
        profile: profile.value.name.clone(),
        pace: profile.value.pace,
        seed,
        run_id: run_id.clone(),
        dir: dir.clone(),
        target: Arc::new(target.value),
        documents: vec![target.document, profile.document, policy.document],
        drills,
        quiet: profile.value.quiet,
        load: Some(profile.value.load),
        keep: args.common.keep,
        defect,
        cancel,
        rerun: format!(
            "cargo run --release -- soak --profile {} --seed {seed}",
            args.profile
        ),
    };
    let done = execute::run(job, &ready).await?;
    evidence::point_latest(out, &run_id);
    execute::print(&done);
    if done.interrupted {
        return Ok(Exit::Interrupted);
    }
    gate::decide(
        &args.policy,
        &done.verdict.subject.digest,
        std::slice::from_ref(&dir),
        out,
    )
}

fn unknown_profile(name: &str) -> Stop {
    let known = files::in_folder(Path::new(files::PROFILES)).unwrap_or_default();
    let names: Vec<String> = known.iter().map(|p| files::stem(p)).collect();
    let nearest =
        firedrill_plan::nearest(name, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
    Stop::Usage(format!(
        "no profile {name:?}; there are {}{hint}",
        names.join(", ")
    ))
}
