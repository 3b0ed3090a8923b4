//! One run of the real binary on a real stack, with another hand in it: what the harness itself would
//! never do is done by the engine's own command line and by plain HTTP.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use firedrill_journal::{Edge, EdgeKind, Event, Journal};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{firedrill, root};

/// Images may have to be made, and other stacks may hold all slots.
const SLOT_WITHIN: Duration = Duration::from_secs(600);
/// Once its stack is up, what is staged here is over soon.
const END_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CALL_DEADLINE: Duration = Duration::from_secs(2);

/// What a staged case needs beyond its drill.
#[derive(Clone, Copy, Default)]
pub struct Setting {
    /// Target file below `tests/false_green`; the reference bot if none is given.
    pub target: Option<&'static str>,
    /// Text of the target file and what stands in its place.
    pub instead: &'static [(&'static str, &'static str)],
    pub args: &'static [&'static str],
}

pub const SMALL: Setting = Setting {
    target: Some("small.toml"),
    instead: &[],
    args: &[],
};

/// A run that is going on. Dropping it kills the program; its janitor does the rest.
pub struct Stage {
    child: Child,
    place: TempDir,
    /// The run's folder, once it is there.
    dir: PathBuf,
}

/// A run that has ended.
pub struct Seen {
    pub code: Option<i32>,
    /// Everything that was printed.
    pub said: String,
    pub verdict: Value,
    pub journal: Journal,
    _place: TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn drill(name: &str) -> PathBuf {
    root()
        .join("tests/false_green")
        .join(format!("{name}.toml"))
}

/// The target file with its changes, in a folder of its own.
pub fn target(setting: &Setting, folder: &Path) -> PathBuf {
    let path = match setting.target {
        Some(name) => root().join("tests/false_green").join(name),
        None => root().join("fixtures/targets/reference.toml"),
    };
    let mut text = fs::read_to_string(&path).expect("the target file is readable");
    let schema = root().join("fixtures/bot/schema.sql");
    text = text.replace("../bot/schema.sql", &schema.display().to_string());
    for (from, to) in setting.instead {
        assert!(text.contains(from), "{} has no {from}", path.display());
        text = text.replace(from, to);
    }
    let own = folder.join("target.toml");
    fs::write(&own, text).expect("a file is written");
    own
}

/// Looks until there is something to see.
pub fn wait<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Stage {
    /// Starts a drill of this folder and waits until its stack is up.
    pub fn set(name: &str, setting: Setting) -> Self {
        let place = TempDir::new().expect("a temporary folder");
        let log = fs::File::create(place.path().join("log")).expect("a file is created");
        let out = place.path().join("out");
        let child = firedrill(&root())
            .arg("run")
            .arg(drill(name))
            .arg("--target")
            .arg(target(&setting, place.path()))
            .args(["--seed", "7", "--jobs", "1", "--out"])
            .arg(&out)
            .args(setting.args)
            .stdout(log.try_clone().expect("a file is shared"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("the executable starts");
        let mut stage = Self {
            child,
            place,
            dir: PathBuf::new(),
        };
        stage.dir = wait("the run's folder", SLOT_WITHIN, || {
            stage.assert_alive();
            let entry = fs::read_dir(&out).ok()?.next()?.ok()?.path();
            entry.join("journal.jsonl").exists().then_some(entry)
        });
        stage
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("its state is known");
        assert!(ended.is_none(), "ended early: {ended:?}\n{}", self.said());
    }

    pub fn journal(&self) -> Option<Journal> {
        firedrill_journal::read_file(&self.dir.join("journal.jsonl")).ok()
    }

    pub fn run_id(&self) -> String {
        let journal = self.journal().expect("the journal has a header");
        journal.header.run.id
    }

    /// Waits for an edge of a phase (`fault`: of its first fault).
    pub fn until(&mut self, phase: &str, fault: bool, kind: EdgeKind) {
        let started = Instant::now();
        while !self.has(phase, fault, kind) {
            let ended = self.child.try_wait().expect("its state is known");
            assert!(
                ended.is_none() && started.elapsed() < END_WITHIN,
                "{phase} {kind:?} was not seen; ended: {ended:?}\n{}",
                self.said()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn has(&self, phase: &str, fault: bool, kind: EdgeKind) -> bool {
        let is = |e: &Edge| e.phase == phase && e.fault.is_some() == fault && e.kind == kind;
        self.journal().is_some_and(|journal| {
            let mut events = journal.events.iter();
            events.any(|line| matches!(&line.event, Event::Edge(edge) if is(edge)))
        })
    }

    /// The container of a service of this run.
    pub fn container(&self, service: &str) -> String {
        let run = format!("label=firedrill={}", self.run_id());
        let service = format!("label=firedrill.service={service}");
        let mut found = docker(&["ps", "-aq", "--filter", &run, "--filter", &service]);
        assert_eq!(found.len(), 1, "one container is {service}");
        found.remove(0)
    }

    /// Another hand does something to a container.
    pub fn hand(&self, act: &[&str], service: &str) {
        let container = self.container(service);
        let mut args = act.to_vec();
        args.push(&container);
        docker(&args);
    }

    /// Where the fault proxy's API is published.
    pub fn proxy_api(&self) -> String {
        docker(&["port", &self.container("proxy"), "8474"]).remove(0)
    }

    /// Another hand speaks to the fault proxy's API.
    pub fn proxy(&self, method: &str, path: &str, body: &str) -> u16 {
        http(&self.proxy_api(), method, path, body)
    }

    /// The process that runs the drill.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process number")
    }

    /// What happens in `hand` happens between two looks of the process that runs the drill: it stands still meanwhile.
    pub fn unseen(&self, hand: impl FnOnce()) {
        let pid = Pid::from_raw(self.pid()).expect("a process number");
        kill_process(pid, Signal::STOP).expect("it is sent");
        hand();
        kill_process(pid, Signal::CONT).expect("it is sent");
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits for the process to be gone, however it ends.
    pub fn gone(&mut self) {
        let child = &mut self.child;
        wait("the program ends", END_WITHIN, || {
            child.try_wait().expect("its state is known")
        });
    }

    /// Waits for the end, and reads what it left.
    pub fn end(mut self) -> Seen {
        let (said, child) = (self.said(), &mut self.child);
        let status = wait(&format!("the run ends\n{said}"), END_WITHIN, || {
            child.try_wait().expect("its state is known")
        });
        let verdict = fs::read_to_string(self.dir.join("verdict.json")).unwrap_or_default();
        let place = std::mem::replace(&mut self.place, TempDir::new().expect("a folder"));
        Seen {
            code: status.code(),
            said: fs::read_to_string(place.path().join("log")).unwrap_or_default(),
            verdict: serde_json::from_str(&verdict).unwrap_or_default(),
            journal: self.journal().expect("the journal is readable"),
            _place: place,
        }
    }
}

impl Seen {
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.verdict["reasons"].as_array();
        let words = reasons.into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    }

    /// Verdict and observation of one check of the run's only drill.
    pub fn check(&self, id: &str) -> (String, String) {
        let checks = self.verdict["drills"][0]["checks"].as_array();
        let mut checks = checks.into_iter().flatten();
        let check = checks.find(|check| check["id"] == id);
        let check = check.unwrap_or_else(|| panic!("no check {id}\n{}", self.said));
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        (text("verdict"), text("observed"))
    }

    /// What was printed, what is stored and the exit code say the same.
    pub fn agrees(&self) {
        let verdict = self.verdict["verdict"].as_str().unwrap_or_default();
        let (code, word) = match verdict {
            "pass" => (0, "PASS"),
            "fail" => (1, "FAIL"),
            _ => (2, "INCONCLUSIVE"),
        };
        assert_eq!(self.code, Some(code), "{verdict}\n{}", self.said);
        assert!(self.said.contains(word), "no {word}\n{}", self.said);
    }

    pub fn edges(&self, phase: &str, kind: EdgeKind) -> Vec<Edge> {
        let events = self.journal.events.iter();
        let edges = events.filter_map(|line| match &line.event {
            Event::Edge(edge) if edge.fault.is_some() => Some(edge.clone()),
            _ => None,
        });
        edges
            .filter(|edge| edge.phase == phase && edge.kind == kind)
            .collect()
    }
}

/// The lines that the engine's command line answers.
pub fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(args).output();
    let output = output.expect("the docker client starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

/// The status of one HTTP request, without a library that could know better.
pub fn http(address: &str, method: &str, path: &str, body: &str) -> u16 {
    let status = http_within(address, method, path, body, CALL_DEADLINE);
    status.unwrap_or_else(|why| panic!("{method} {path}: {why}"))
}

/// The same for an answer that may not come.
pub fn http_within(
    address: &str,
    method: &str,
    path: &str,
    body: &str,
    within: Duration,
) -> Result<u16, String> {
    let words = |e: std::io::Error| e.to_string();
    let started = Instant::now();
    let mut stream = TcpStream::connect(address).map_err(words)?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = within.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err("no answer in time".to_owned());
        }
        stream.set_read_timeout(Some(left)).map_err(words)?;
        match stream.read(&mut piece).map_err(words)? {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    whole(&answer).ok_or_else(|| format!("answered {:?}", String::from_utf8_lossy(&answer)))
}

/// The status of an answer that came to its end.
fn whole(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() >= length.unwrap_or(0)).then_some(status)
}
