//! A live system in small: services whose counters grow with time, a real Prometheus that scrapes them,
//! and a folder of marks by which commands change what the services do.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const IMAGE: &str = "firedrill-prometheus:2";
const REQUESTS_PER_S: f64 = 200.0;

/// What a service does; marks in its folder change it while it runs.
#[derive(Default)]
struct Counters {
    canary_ok: f64,
    canary_failed: f64,
    stable: f64,
    seen: Option<Instant>,
}

/// A service with a canary of 10 %: `degraded` makes half of the canary's answers fail, `rolled-back`
/// sends all traffic to stable, `weight-50` half of it to the canary, `down` answers no scrape.
pub struct Service {
    pub name: String,
    pub marks: PathBuf,
    pub port: u16,
}

impl Service {
    pub fn start(name: &str, folder: &Path) -> Self {
        let marks = folder.join(name);
        std::fs::create_dir_all(&marks).expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let counters = Arc::new(Mutex::new(Counters::default()));
        let of = marks.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &of, &counters);
            }
        });
        Self {
            name: name.to_owned(),
            marks,
            port,
        }
    }

    pub fn mark(&self, name: &str) {
        std::fs::write(self.marks.join(name), "").expect("a mark is written");
    }

    pub fn is_marked(&self, name: &str) -> bool {
        self.marks.join(name).exists()
    }
}

fn answer(mut stream: TcpStream, marks: &Path, counters: &Mutex<Counters>) {
    let marked = |name: &str| marks.join(name).exists();
    let mut counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
    let elapsed = counters.seen.map_or(0.0, |at| at.elapsed().as_secs_f64());
    counters.seen = Some(Instant::now());
    let weight = match (marked("rolled-back"), marked("weight-50")) {
        (true, _) => 0.0,
        (false, true) => 0.5,
        (false, false) => 0.1,
    };
    let failing = if marked("degraded") { 0.5 } else { 0.0 };
    let all = elapsed * REQUESTS_PER_S;
    counters.canary_ok += all * weight * (1.0 - failing);
    counters.canary_failed += all * weight * failing;
    counters.stable += all * (1.0 - weight);
    if marked("down") {
        return;
    }
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = stream.read(&mut [0; 4096]);
    let mut body = String::from("# TYPE requests_total counter\n");
    for (track, status, value) in [
        ("canary", "200", counters.canary_ok),
        ("canary", "500", counters.canary_failed),
        ("stable", "200", counters.stable),
    ] {
        writeln!(
            body,
            "requests_total{{track=\"{track}\",status=\"{status}\"}} {value}"
        )
        .expect("writing to a string");
    }
    let length = body.len();
    // Who doesn't wait for the answer gets none.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

/// A Prometheus that scrapes the services twice a second; removed when it goes out of scope.
pub struct Prometheus {
    container: String,
    pub url: String,
}

impl Prometheus {
    pub fn start(services: &[&Service]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let mut config = String::from(
            "global: { scrape_interval: 500ms, scrape_timeout: 500ms }\nscrape_configs:\n",
        );
        for service in services {
            let (name, port) = (&service.name, service.port);
            writeln!(
                config,
                "- {{ job_name: {name}, static_configs: [ {{ targets: ['127.0.0.1:{port}'] }} ] }}"
            )
            .expect("writing to a string");
        }
        let script = format!(
            "printf %s \"$CONFIG\" > /tmp/p.yml && exec prometheus --config.file=/tmp/p.yml --storage.tsdb.path=/tmp/data --web.listen-address=127.0.0.1:{port} --query.lookback-delta=3s --log.level=error"
        );
        let container = format!("firedrill-test-observe-{}-{port}", std::process::id());
        let started = Command::new("docker")
            .args([
                "run",
                "--detach",
                "--rm",
                "--network",
                "host",
                "--name",
                &container,
            ])
            .args([
                "--env",
                &format!("CONFIG={config}"),
                IMAGE,
                "sh",
                "-c",
                &script,
            ])
            .stdout(Stdio::null())
            .status()
            .expect("the docker client starts");
        assert!(started.success(), "Prometheus doesn't start");
        let this = Self {
            container,
            url: format!("http://127.0.0.1:{port}"),
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        // Three seconds of scrapes: what the rates of the policy look back over.
        while !this.ready(port, services.len()) {
            assert!(Instant::now() < deadline, "Prometheus isn't ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        this
    }

    /// Whether every service was scraped over the windows that are asked for.
    fn ready(&self, port: u16, services: usize) -> bool {
        let query = "count(count_over_time(up%5B4s%5D)%20%3E%3D%207)";
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            return false;
        };
        let asked = write!(
            stream,
            "GET /api/v1/query?query={query} HTTP/1.0\r\nhost: x\r\n\r\n"
        );
        let mut text = String::new();
        asked.is_ok()
            && stream.read_to_string(&mut text).is_ok()
            && text.contains(&format!(",\"{services}\"]"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["rm", "--force", &self.container])
            .stdout(Stdio::null())
            .status();
    }
}
