//! What every command that starts a stack needs first: engine, swept leftovers, images, subject.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use firedrill_journal::{Subject, sha256_hex};
use firedrill_plan::{Drill, ImageSource, Target};
use firedrill_runner::Cancel;
use firedrill_stack::{Engine, Images, images, sweep};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::args::Runtime;
use crate::exit::Stop;

/// Free bytes below which no run is started: a journal cut by a full disk judges nothing.
const DISK_MIN: u64 = 512 * 1024 * 1024;

/// Everything that is ready before the first container is started.
pub struct Ready {
    pub engine: Engine,
    pub images: Images,
    pub executable: PathBuf,
}

pub async fn ready(target: &Target, runtime: Runtime, out: &Path) -> Result<Ready, Stop> {
    match runtime {
        Runtime::Auto | Runtime::Docker => {}
        Runtime::Compose | Runtime::Process => {
            let text = "this version runs stacks in the docker runtime only; use --runtime docker";
            return Err(Stop::Usage(text.to_owned()));
        }
    }
    if target.production {
        let text = format!(
            "target {} is marked production: no fault is injected into it",
            target.name
        );
        return Err(Stop::Usage(text));
    }
    enough_disk(out)?;
    let engine = Engine::connect()
        .await
        .map_err(|e| Stop::Environment(e.to_string()))?;
    let swept = sweep(&engine)
        .await
        .map_err(|e| Stop::Environment(e.to_string()))?;
    // It was another run's, and hinders none.
    for why in &swept.left {
        eprintln!("left of a run that died: {why}; `firedrill heal` tries again");
    }
    if swept.containers + swept.networks > 0 {
        eprintln!(
            "swept {} containers and {} networks of runs that died",
            swept.containers, swept.networks
        );
    }
    let executable = std::env::current_exe().map_err(|e| Stop::Internal(e.to_string()))?;
    let mut say = |line: &str| eprintln!("{line}");
    let images = images::provision(&engine, target, &executable, &mut say)
        .await
        .map_err(|e| Stop::Environment(e.to_string()))?;
    Ok(Ready {
        engine,
        images,
        executable,
    })
}

/// The target with its Prometheus, where one of the drills asks it something, or `always`; else as it is.
/// Rules of all drills are loaded together.
pub fn monitored<'d>(
    target: &Target,
    drills: impl IntoIterator<Item = &'d Drill>,
    always: bool,
) -> Result<Target, Stop> {
    let (mut wanted, mut rules) = (always, Vec::new());
    let mut replicas: BTreeMap<String, u32> = BTreeMap::new();
    for drill in drills {
        wanted |= drill.needs_prometheus();
        rules.extend(drill.alerts.clone());
        for (service, count) in &drill.replicas {
            let most = replicas.entry(service.clone()).or_insert(1);
            *most = (*most).max(*count);
        }
    }
    if !wanted {
        return Ok(target.clone());
    }
    target.with_prometheus(&rules, &replicas).ok_or_else(|| {
        let name = &target.name;
        Stop::Usage(format!(
            "target {name} describes no Prometheus; add [prometheus] to its file"
        ))
    })
}

fn enough_disk(out: &Path) -> Result<(), Stop> {
    crate::evidence::create(out)?;
    let stat = rustix::fs::statvfs(out).map_err(|e| Stop::Environment(e.to_string()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < DISK_MIN {
        let text = format!(
            "{}: {} MiB free, {} MiB needed; free some space or give --out another disk",
            out.display(),
            free >> 20,
            DISK_MIN >> 20
        );
        return Err(Stop::Environment(text));
    }
    Ok(())
}

/// The digest of what the application runs: the executable's own where each of its services runs that, else one over the
/// executable's and the ids of the other images. `None` where an image has no id.
fn digest(target: &Target, images: &Images) -> Option<String> {
    let own = images.executable.as_ref().map(|e| e.digest.as_str());
    let mut others = BTreeMap::new();
    for service in target.app_services() {
        if service.image != ImageSource::Executable {
            others.insert(&service.name, images.ids.get(&service.name)?);
        }
    }
    if others.is_empty() {
        return own.map(str::to_owned);
    }
    let mut text = format!("executable {}\n", own.unwrap_or("none"));
    for (name, id) in others {
        text += &format!("{name} {id}\n");
    }
    Some(format!("sha256:{}", sha256_hex(text.as_bytes())))
}

/// The exact build under test. Revision and cleanliness come from git where there is one.
pub fn subject(target: &Target, images: &Images, defect: Option<&String>) -> Subject {
    let digest = digest(target, images).unwrap_or_else(|| "unknown".to_owned());
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    Subject {
        name: target.name.clone(),
        digest,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git_revision: git(&["rev-parse", "HEAD"]),
        dirty: git(&["status", "--porcelain"]).map(|s| !s.is_empty()),
        defect: defect.cloned(),
    }
}

/// The defect that the environment asks for, checked against the target's list.
pub fn defect(target: &Target) -> Result<Option<String>, Stop> {
    let Some(defects) = &target.defects else {
        return Ok(None);
    };
    let name = match std::env::var(&defects.env) {
        Ok(name) if !name.is_empty() => name,
        _ => return Ok(None),
    };
    if defects.names.contains(&name) {
        return Ok(Some(name));
    }
    let nearest = firedrill_plan::nearest(
        &name,
        &defects.names.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let hint = nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
    Err(Stop::Usage(format!(
        "{}={name}: target {} has no such defect{hint}",
        defects.env, target.name
    )))
}

/// `KEY=VALUE` settings, for all services of the target's application.
pub fn apply_settings(drill: &mut Drill, target: &Target, set: &[String]) -> Result<(), Stop> {
    for (key, value) in settings(set, target)? {
        for service in target.app_services() {
            let env = drill.env.entry(service.name.clone()).or_default();
            env.insert(key.clone(), value.clone());
        }
    }
    Ok(())
}

pub fn settings(set: &[String], target: &Target) -> Result<BTreeMap<String, String>, Stop> {
    let split = |pair: &String| match pair.split_once('=') {
        Some((key, _)) if target.defects.as_ref().is_some_and(|d| d.env == key) => {
            Err(Stop::Usage(format!(
                "--set {pair}: a defect is part of the subject, not a setting; write {pair} before the command"
            )))
        }
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Stop::Usage(format!("--set {pair}: expected KEY=VALUE"))),
    };
    set.iter().map(split).collect()
}

/// Cancels on SIGINT and SIGTERM, so that what was broken is healed before the program ends.
pub fn on_signal() -> Result<(watch::Sender<bool>, Cancel), Stop> {
    on_signal_saying("healing and removing the stack")
}

/// The same where there is no stack: `then` says what is done instead.
pub fn on_signal_saying(then: &'static str) -> Result<(watch::Sender<bool>, Cancel), Stop> {
    let (switch, cancel) = Cancel::new();
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|e| Stop::Internal(e.to_string()))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|e| Stop::Internal(e.to_string()))?;
    let shared = switch.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("interrupted: {then}");
        shared.send_replace(true);
    });
    Ok((switch, cancel))
}

/// How long a command that is told of the end may take.
const TELL_DEADLINE: Duration = Duration::from_secs(60);

/// Hands a file to a command on its standard input. What the command does changes no verdict.
pub async fn tell(command: &str, file: &Path) {
    let said = async {
        let input = std::fs::File::open(file)?;
        tokio::process::Command::new("sh")
            .args(["-c", command])
            .stdin(input)
            .kill_on_drop(true)
            .status()
            .await
    };
    match tokio::time::timeout(TELL_DEADLINE, said).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => eprintln!("--on-finish: {status}"),
        Ok(Err(error)) => eprintln!("--on-finish: {error}"),
        Err(_) => eprintln!("--on-finish: not done after {} s", TELL_DEADLINE.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use firedrill_stack::images::ExecutableImage;

    use super::*;

    /// The digest of a target whose application runs that image, as the engine knows it by that id.
    fn digest_of(image: &str, id: &str) -> Option<String> {
        let path = "fixtures/targets/reference.toml";
        let text = std::fs::read_to_string(path).expect("the target is there");
        let halves = text.split_once("role    = \"app\"");
        let (before, app) = halves.expect("it has an application");
        let app = app.replacen("\"self\"", image, 1);
        let text = format!("{before}role    = \"app\"{app}");
        let target = firedrill_plan::parse_target(path, &text, &|_| Ok(String::new()));
        let target = target.expect("it is a target").value;
        let executable = ExecutableImage {
            reference: "firedrill:a".to_owned(),
            id: "sha256:b".to_owned(),
            digest: "sha256:c".to_owned(),
        };
        let mut images = Images {
            executable: Some(executable),
            ..Images::default()
        };
        let ids = target.app_services().filter(|_| !id.is_empty());
        images.ids = ids.map(|s| (s.name.clone(), id.to_owned())).collect();
        digest(&target, &images)
    }

    #[test]
    fn the_subject_is_all_that_the_application_runs() {
        let own = "\"self\"";
        assert_eq!(digest_of(own, "1").as_deref(), Some("sha256:c"));
        let foreign = "{ name = \"bot:1\" }";
        let one = digest_of(foreign, "1").expect("it has a digest");
        assert!(crate::evidence::is_digest(&one), "{one}");
        assert_ne!(Some(one), digest_of(foreign, "2"));
        assert_eq!(digest_of(foreign, ""), None);
    }
}
