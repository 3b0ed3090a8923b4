//! `just bench`: the figures that the README quotes, measured on the machine at hand.
//!
//! Bring-up, pause until proven and removal of the reference stack, alone and four at once; and all
//! drills in parallel with the harness's own peak memory. Medians, for small machines are noisy.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use firedrill_plan::Target;
use firedrill_stack::{Engine, Images, Stack, UpOptions, images};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TARGET: &str = "fixtures/targets/reference.toml";
const ROUNDS: usize = 10;
const AT_ONCE: usize = 4;
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let executable = executable()?;
    let target = target()?;
    let engine = Engine::connect().await?;
    let cpus = std::thread::available_parallelism()?;
    println!("machine: {cpus} cores, {:?}", engine.info());
    let mut say = |line: &str| println!("{line}");
    images::provision(&engine, &target, &executable, &mut say).await?;
    let started = Instant::now();
    let images = images::provision(&engine, &target, &executable, &mut |_| {}).await?;
    println!("images, all present: {} ms", started.elapsed().as_millis());
    alone(&engine, &images, &target).await?;
    together(&engine, &images, &target).await?;
    drills(&executable)
}

/// The release build beside this one, or what `FIREDRILL_BIN` names.
fn executable() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FIREDRILL_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let folder = own
        .parent()
        .and_then(Path::parent)
        .ok_or("no build folder")?;
    Ok(folder.join("firedrill"))
}

fn target() -> Result<Target> {
    let text = fs::read_to_string(TARGET)?;
    let folder = Path::new(TARGET).parent().unwrap_or(Path::new(""));
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(|e| e.to_string());
    match firedrill_plan::parse_target(TARGET, &text, &read) {
        Ok(parsed) => Ok(parsed.value),
        Err(diagnostics) => Err(diagnostics.to_string().into()),
    }
}

fn options(target: &Target, name: &str) -> Result<UpOptions> {
    Ok(UpOptions {
        run_id: format!("bench-{}-{name}", std::process::id()),
        secrets: firedrill_runner::resolve_secrets(target)?,
        ..UpOptions::default()
    })
}

/// One stack after the other.
async fn alone(engine: &Engine, images: &Images, target: &Target) -> Result<()> {
    let mut figures: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let options = options(target, &round.to_string())?;
        let stack = Stack::up(engine, images, target, options).await?;
        let started = Instant::now();
        stack.pause("redis").await?;
        while stack.is_frozen("redis").await? != Some(true) {
            if started.elapsed() > SETTLES_WITHIN {
                return Err("the pause was never proven".into());
            }
        }
        let proven = started.elapsed();
        let started = Instant::now();
        stack.down().await?;
        let all = [
            ("1 bring-up, all healthy", stack.timings().ready),
            ("2 pause until proven", proven),
            ("3 removal", started.elapsed()),
        ];
        for (name, took) in all {
            figures.entry(name).or_default().push(took);
        }
    }
    for (name, took) in &mut figures {
        print(&name[2..], took);
    }
    Ok(())
}

/// Several stacks at once: what counts is the slowest.
async fn together(engine: &Engine, images: &Images, target: &Target) -> Result<()> {
    let mut slowest = Vec::new();
    for round in 0..3 {
        let ups = (0..AT_ONCE).map(|n| async move {
            let options = options(target, &format!("{round}-{n}"))?;
            Ok::<_, Box<dyn Error>>(Stack::up(engine, images, target, options).await?)
        });
        let stacks = futures_util::future::try_join_all(ups).await?;
        slowest.push(
            stacks
                .iter()
                .map(|s| s.timings().ready)
                .max()
                .unwrap_or_default(),
        );
        for stack in &stacks {
            stack.down().await?;
        }
    }
    print("four stacks at once, the slowest", &mut slowest);
    Ok(())
}

fn print(name: &str, took: &mut [Duration]) {
    took.sort();
    let ms = |d: Option<&Duration>| d.map_or(0.0, |d| d.as_secs_f64() * 1e3);
    println!(
        "{name}: median {:.0} ms, min {:.0}, max {:.0} over {}",
        ms(took.get(took.len() / 2)),
        ms(took.first()),
        ms(took.last()),
        took.len()
    );
}

/// All drills in parallel, and the most memory that the harness used meanwhile.
fn drills(executable: &Path) -> Result<()> {
    let out = std::env::temp_dir().join(format!("firedrill-bench-{}", std::process::id()));
    let started = Instant::now();
    let mut child = Command::new(executable)
        .args(["run", "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut peak_kib = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak_kib = peak_kib.max(peak(child.id()));
        std::thread::sleep(Duration::from_millis(100));
    };
    println!(
        "all drills at default parallelism: {:.1} s, {status}, harness peak RSS {} MiB",
        started.elapsed().as_secs_f64(),
        peak_kib / 1024
    );
    fs::remove_dir_all(&out)?;
    Ok(())
}

/// High-water mark of a process's resident memory, KiB; 0 if it can't be read.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
