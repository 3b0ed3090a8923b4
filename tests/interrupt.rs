//! Interrupted in the middle of a fault, on a real stack: what was broken is healed and removed.
//!
//! What is left is asked of the engine's own command line and of `/proc`: a second opinion. Only
//! what belongs to the test's own run is looked at, for others run at the same time.

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use firedrill_journal::{EdgeKind, EndReason, Event, Journal};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{firedrill, root};
use tempfile::TempDir;

/// Until the fault is in force: images may have to be made, and other stacks may hold all slots.
const FAULT_WITHIN: Duration = Duration::from_secs(300);
const HEALED_WITHIN: Duration = Duration::from_secs(20);
/// After SIGKILL nobody but the janitor is left.
const UNPAUSED_WITHIN: Duration = Duration::from_secs(1);
const REMOVED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One stack of these tests at a time: what is measured is not how four of them share two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A run whose fault is in force. Dropping it kills the program; its janitor does the rest.
struct Running {
    child: Child,
    dir: PathBuf,
    run_id: String,
    redis: String,
    belongings: Belongings,
    _temporary: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// What belongs to the run while it is running, and can't be found by its label afterwards.
struct Belongings {
    volumes: Vec<String>,
    /// Processes of the containers, where this machine shows them.
    processes: Vec<u32>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until there is something to see.
fn wait<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Running {
    /// Starts `redis-outage` and waits until its journal shows that Redis is paused.
    fn until_the_fault() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let temporary = TempDir::new().expect("a temporary folder");
        let out = temporary.path().join("out");
        let log = fs::File::create(temporary.path().join("log")).expect("a file is created");
        let mut child = firedrill(&root())
            .args(["run", "redis-outage", "--seed", "7", "--out"])
            .arg(&out)
            .stdout(log.try_clone().expect("a file is shared"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("the executable starts");
        let dir = wait("the fault is proven", FAULT_WITHIN, || {
            let ended = child.try_wait().expect("its state is known");
            let said = || fs::read_to_string(temporary.path().join("log")).unwrap_or_default();
            assert!(
                ended.is_none(),
                "the run ended early: {ended:?}\n{}",
                said()
            );
            let dir = fs::read_dir(&out).ok()?.next()?.ok()?.path();
            fault_is_proven(&dir).then_some(dir)
        });
        let run_id = journal(&dir).header.run.id;
        let containers = docker(&["ps", "-q", "--filter", &label(&run_id)]);
        assert!(
            containers.len() >= 6,
            "the stack has {} containers",
            containers.len()
        );
        let redis = "label=firedrill.service=redis";
        let redis = docker(&["ps", "-q", "--filter", &label(&run_id), "--filter", redis]);
        assert_eq!(redis.len(), 1, "one container is Redis");
        assert_eq!(paused(&redis[0]), Some(true));
        Self {
            child,
            dir,
            belongings: Belongings::of(&containers),
            redis: redis[0].clone(),
            run_id,
            _temporary: temporary,
            _turn: turn,
        }
    }

    fn send(&self, signal: Signal) -> Instant {
        let pid = i32::try_from(self.child.id()).expect("a process number");
        kill_process(Pid::from_raw(pid).expect("a process number"), signal).expect("it is sent");
        Instant::now()
    }

    fn end(&mut self, within: Duration) -> ExitStatus {
        let child = &mut self.child;
        wait("the program ends", within, || {
            child.try_wait().expect("its state is known")
        })
    }

    /// Everything on this machine that still belongs to the run.
    fn left(&self) -> Vec<String> {
        let filter = label(&self.run_id);
        let mut left = Vec::new();
        let mut add = |kind: &str, names: Vec<String>| {
            left.extend(names.into_iter().map(|name| format!("{kind} {name}")));
        };
        add("container", docker(&["ps", "-aq", "--filter", &filter]));
        add(
            "network",
            docker(&["network", "ls", "-q", "--filter", &filter]),
        );
        add(
            "volume",
            docker(&["volume", "ls", "-q", "--filter", &filter]),
        );
        let volumes = docker(&["volume", "ls", "-q"]);
        let belongings = &self.belongings;
        add(
            "volume",
            belongings
                .volumes
                .iter()
                .filter(|v| volumes.contains(v))
                .cloned()
                .collect(),
        );
        let alive = |pid: &&u32| {
            Path::new("/proc")
                .join(pid.to_string())
                .join("exe")
                .exists()
        };
        add(
            "process",
            belongings
                .processes
                .iter()
                .filter(alive)
                .map(u32::to_string)
                .collect(),
        );
        add("process", processes_named(&self.run_id));
        left
    }
}

impl Belongings {
    fn of(containers: &[String]) -> Self {
        let mut volumes = Vec::new();
        let mut processes = Vec::new();
        for container in containers {
            let mounts = "{{range .Mounts}}{{.Name}} {{end}}";
            let mounts = docker(&["inspect", "-f", mounts, container]);
            volumes.extend(
                mounts
                    .iter()
                    .flat_map(|l| l.split_whitespace())
                    .map(str::to_owned),
            );
            let pid = docker(&["inspect", "-f", "{{.State.Pid}}", container]);
            processes.extend(pid.iter().filter_map(|p| p.parse::<u32>().ok()));
        }
        processes.retain(|pid| {
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            containers
                .iter()
                .any(|container| cgroup.contains(container.as_str()))
        });
        Self { volumes, processes }
    }
}

fn label(run_id: &str) -> String {
    format!("label=firedrill={run_id}")
}

/// The lines that the engine's command line answers.
fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker")
        .args(args)
        .output()
        .expect("the docker client starts");
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Whether a container is paused; nothing if it is gone.
fn paused(container: &str) -> Option<bool> {
    let mut docker = Command::new("docker");
    let output = docker
        .args(["inspect", "-f", "{{.State.Paused}}", container])
        .output();
    let output = output.expect("the docker client starts");
    match output.status.success() {
        true => Some(output.stdout.starts_with(b"true")),
        false => None,
    }
}

/// Processes whose command line holds a text: the program itself and its janitor.
fn processes_named(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    let command = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    entries
        .filter_map(|entry| command(entry.ok()?))
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(text))
        .collect()
}

fn fault_is_proven(dir: &Path) -> bool {
    let Ok(journal) = firedrill_journal::read_file(&dir.join("journal.jsonl")) else {
        return false;
    };
    journal.events.iter().any(|line| match &line.event {
        Event::Edge(edge) => edge.fault.is_some() && edge.kind == EdgeKind::Proven,
        _ => false,
    })
}

fn journal(dir: &Path) -> Journal {
    firedrill_journal::read_file(&dir.join("journal.jsonl")).expect("the journal is readable")
}

/// Healed, ended 130, nothing left behind, and the evidence says what happened.
fn ends_well_on(signal: Signal) {
    let mut run = Running::until_the_fault();
    let sent = run.send(signal);
    let status = run.end(HEALED_WITHIN);
    println!("{signal:?}: ended after {:?}", sent.elapsed());
    assert_eq!(status.code(), Some(130), "{status:?}");
    assert_eq!(
        run.left(),
        Vec::<String>::new(),
        "left behind by {}",
        run.run_id
    );

    let journal = journal(&run.dir);
    assert_eq!(journal.truncation, None);
    assert_eq!(
        journal.end().map(|end| end.reason),
        Some(EndReason::Interrupted)
    );
    let healed = |event: &Event| match event {
        Event::Edge(edge) => edge.fault.is_some() && edge.kind == EdgeKind::Healed,
        _ => false,
    };
    assert!(
        journal.events.iter().any(|line| healed(&line.event)),
        "the healing isn't proven"
    );
    let text = fs::read_to_string(run.dir.join("verdict.json")).expect("there is a verdict");
    let verdict: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(verdict["verdict"], "inconclusive");
    let reason = verdict["reasons"][0].as_str().expect("it has a reason");
    assert!(reason.contains("interrupted"), "{reason}");
    for name in ["manifest.json", "report.html", "junit.xml"] {
        assert!(run.dir.join(name).exists(), "no {name}");
    }
}

#[test]
fn ctrl_c_heals_and_leaves_nothing() {
    ends_well_on(Signal::INT);
}

#[test]
fn sigterm_heals_and_leaves_nothing() {
    ends_well_on(Signal::TERM);
}

#[test]
fn after_sigkill_the_janitor_heals_and_leaves_nothing() {
    let mut run = Running::until_the_fault();
    assert_eq!(
        processes_named(&format!("janitor {}", run.run_id)).len(),
        1,
        "one janitor"
    );
    let killed = run.send(Signal::KILL);
    wait("Redis isn't paused any more", UNPAUSED_WITHIN, || {
        (paused(&run.redis) != Some(true)).then_some(())
    });
    println!("unpaused or gone after {:?}", killed.elapsed());
    assert_eq!(run.end(HEALED_WITHIN).signal(), Some(Signal::KILL.as_raw()));
    let rest = REMOVED_WITHIN.saturating_sub(killed.elapsed());
    wait("all is removed", rest, || {
        run.left().is_empty().then_some(())
    });
    println!("all removed after {:?}", killed.elapsed());

    // What it wrote until then can be judged, and is no PASS.
    let journal = journal(&run.dir);
    assert!(journal.truncation.is_some());
    let verdict = firedrill_verdict::judge(&journal);
    assert_eq!(
        verdict.verdict,
        firedrill_verdict::Outcome::Inconclusive,
        "{:?}",
        verdict.reasons
    );
}

/// What came of one SIGKILL.
struct Killed {
    after: Duration,
    /// Whether a container was paused, and how long it stayed so.
    unpaused: Option<Duration>,
    /// When something of the run was seen last.
    gone: Duration,
}

/// From when on the time until a kill is counted.
#[derive(Clone, Copy, Debug)]
enum Since {
    /// The run's beginning: its containers are being made.
    Beginning,
    /// The fault is proven: a container is paused.
    Fault,
}

/// Starts `redis-outage`, kills the program so long after that, and watches what it left until nobody is
/// there any more who could leave something.
fn kill_after(since: Since, after: Duration) -> Killed {
    let temporary = TempDir::new().expect("a temporary folder");
    let out = temporary.path().join("out");
    let mut child = firedrill(&root())
        .args(["run", "redis-outage", "--seed", "7", "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .expect("the executable starts");
    let dir = wait("the run begins", FAULT_WITHIN, || {
        let dir = fs::read_dir(&out).ok()?.next()?.ok()?.path();
        firedrill_journal::read_file(&dir.join("journal.jsonl")).ok()?;
        match since {
            Since::Beginning => Some(dir),
            Since::Fault => fault_is_proven(&dir).then_some(dir),
        }
    });
    let run_id = journal(&dir).header.run.id;
    std::thread::sleep(after);
    let label = label(&run_id);
    let frozen = docker(&["ps", "-q", "--filter", &label, "--filter", "status=paused"]);
    let pid = i32::try_from(child.id()).expect("a process number");
    kill_process(Pid::from_raw(pid).expect("a process number"), Signal::KILL).expect("it is sent");
    let killed = Instant::now();
    let unpaused = frozen.first().map(|container| {
        wait("it isn't paused any more", HEALED_WITHIN, || {
            (paused(container) != Some(true)).then_some(killed.elapsed())
        })
    });
    let mut gone = killed.elapsed();
    // One question at a time, as long as it finds something: asking takes time that the engine needs.
    let questions: [&[&str]; 3] = [
        &["ps", "-aq"],
        &["network", "ls", "-q"],
        &["volume", "ls", "-q"],
    ];
    wait("the janitor is done", HEALED_WITHIN, || {
        let is_left = |question: &&[&str]| {
            let whole = [*question, &["--filter", label.as_str()]].concat();
            !docker(&whole).is_empty()
        };
        if questions.iter().any(is_left) {
            gone = killed.elapsed();
            return None;
        }
        processes_named(&format!("janitor {run_id}"))
            .is_empty()
            .then_some(())
    });
    let status = child.wait().expect("its state is known");
    assert_eq!(
        status.signal(),
        Some(Signal::KILL.as_raw()),
        "it ended before"
    );
    Killed {
        after,
        unpaused,
        gone,
    }
}

/// `just sigkill`: takes minutes, and what it measures is not how it shares the machine with other tests.
#[test]
#[ignore = "minutes long; just sigkill runs it"]
fn sigkill_at_random_moments() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let (times, seed) = (
        number("FIREDRILL_TEST_KILLS").unwrap_or(20),
        number("FIREDRILL_TEST_SEED").unwrap_or(7),
    );
    println!("FIREDRILL_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    for round in 1..=times {
        // Every other one in the outage, which lasts 8 s; the others from the first container on.
        let (since, longest_ms) = match round % 2 {
            0 => (Since::Fault, 7_000),
            _ => (Since::Beginning, 18_000),
        };
        let killed = kill_after(
            since,
            Duration::from_millis(rng.random_range(0..longest_ms)),
        );
        let (after, gone) = (killed.after, killed.gone);
        let frozen = match killed.unpaused {
            Some(unpaused) => format!("unpaused after {unpaused:.3?}"),
            None => "nothing was paused".to_owned(),
        };
        println!(
            "{round:>3}: killed {after:>6.1?} after the {since:?}: {frozen}; all gone after {gone:.3?}"
        );
        all.push(killed);
    }
    spread(
        "unpaused",
        all.iter().filter_map(|k| k.unpaused),
        UNPAUSED_WITHIN,
    );
    spread("gone", all.iter().map(|k| k.gone), REMOVED_WITHIN);
}

fn spread(what: &str, times: impl Iterator<Item = Duration>, within: Duration) {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let (Some(min), Some(max)) = (times.first(), times.last()) else {
        panic!("{what}: none was measured");
    };
    let median = times[times.len() / 2];
    println!(
        "{what}: {} times, min {min:.3?}, median {median:.3?}, max {max:.3?}",
        times.len()
    );
    assert!(*max <= within, "{what}: {max:?}, at most {within:?} wanted");
}
