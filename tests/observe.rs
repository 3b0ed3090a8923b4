//! `firedrill observe` on a real Prometheus and services that are made to degrade: what fires, what is
//! rolled back, what is said when that fails or doesn't help, and what is said without data.

mod support;
#[path = "observe/world.rs"]
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Ended, ended, firedrill, root};
use world::{Prometheus, Service};

/// Interval of the policy below: a trigger is seen at most so much after its `for`.
const EVERY_MS: f64 = 2_000.0;

/// A policy about the service of that job. `ROLLBACK` is the roll-back's command.
fn policy(service: &Service, rollback: &[&str]) -> String {
    let job = &service.name;
    let marks = service.marks.display();
    let rollback = serde_json::to_string(rollback).expect("a list of words");
    format!(
        r#"
title     = "A canary of 10 %, then of 50 %"
class     = "release"
release   = "1.0"
no_target = "a system of this test's own"

[metrics]
requests = "requests_total"

[canary]
selector  = 'track="canary",job="{job}"'
share     = 'sum(rate(${{metric.requests}}{{${{canary}}}}[3s])) / sum(rate(${{metric.requests}}{{job="{job}"}}[3s]))'
tolerance = 0.05
every     = "2s"
scrape    = "500ms"

[[stage]]
id     = "s10"
what   = "10 % of the traffic"
weight = 10
hold   = "6s"

[[stage]]
id       = "s50"
what     = "50 % of the traffic"
weight   = 50
hold     = "6s"
settle   = "2s"
requires = ["s10"]

[[stage.enter]]
id     = "weight-50"
what   = "half of the traffic, measured"
run    = ["touch", "{marks}/weight-50"]
verify = {{ expr = 'sum(rate(${{metric.requests}}{{${{canary}}}}[2s])) / sum(rate(${{metric.requests}}{{job="{job}"}}[2s]))', above = 0.45, within = "15s" }}

[[rule]]
id    = "error-rate"
what  = "share of the canary's answers that are 5xx"
stage = "all"
expr  = 'sum(rate(${{metric.requests}}{{${{canary}},status=~"5.."}}[3s])) / sum(rate(${{metric.requests}}{{${{canary}}}}[3s]))'
below = 0.02

[[trigger]]
id    = "errors"
what  = "more than 5 % of the canary's answers are 5xx"
class = "critical"
stage = "all"
expr  = 'sum(rate(${{metric.requests}}{{${{canary}},status=~"5.."}}[3s])) / sum(rate(${{metric.requests}}{{${{canary}}}}[3s]))'
above = 0.05
for   = "4s"

[[rollback]]
id        = "back"
what      = "all traffic to stable"
on        = "any"
positions = "keep"
within    = "30s"

[[rollback.step]]
id     = "to-stable"
what   = "the canary's measured share is 0"
run    = {rollback}
verify = {{ expr = 'sum(rate(${{metric.requests}}{{${{canary}}}}[2s])) / sum(rate(${{metric.requests}}{{job="{job}"}}[2s]))', equals = 0, within = "8s" }}
"#
    )
}

/// A folder for the policy and the runs of one scenario.
struct Case<'a> {
    service: &'a Service,
    url: String,
    folder: PathBuf,
}

impl<'a> Case<'a> {
    fn new(service: &'a Service, prometheus: &Prometheus, policy: &str) -> Self {
        let folder = service.marks.join("files");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("policy.toml"), policy).expect("a policy is written");
        Self {
            service,
            url: prometheus.url.clone(),
            folder,
        }
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = firedrill(&root());
        command
            .args(["observe", "--prometheus", &self.url, "--policy"])
            .arg(self.folder.join("policy.toml"))
            .arg("--out")
            .arg(self.folder.join("out"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("the executable starts")
    }

    fn run(&self, args: &[&str]) -> Ended {
        wait(self.start(args))
    }

    /// The newest run, or one of its stages.
    fn dir(&self) -> PathBuf {
        self.folder
            .join("out/latest")
            .canonicalize()
            .expect("there is a run")
    }

    fn verdict(&self) -> Value {
        verdict(&self.dir())
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.dir().join("journal.jsonl")).expect("there is a journal")
    }

    /// Waits until a run that is under way has recorded an answer.
    fn asked(&self) {
        until("a first answer is recorded", || {
            let runs = fs::read_dir(self.folder.join("out"));
            let mut runs = runs.into_iter().flatten().flatten();
            runs.any(|run| {
                let text = fs::read_to_string(run.path().join("journal.jsonl"));
                text.is_ok_and(|t| t.contains("\"promql:"))
            })
        });
    }

    /// Judged again from the journal: the sealed verdict, byte for byte.
    fn judged_again(&self) {
        let again = ended(firedrill(&root()).arg("judge").arg(self.dir()));
        let same = again
            .out
            .contains("the same verdict as when the run was sealed");
        assert!(same, "{}: {again:?}", self.service.name);
    }
}

fn wait(child: Child) -> Ended {
    let output = child.wait_with_output().expect("it ends");
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

fn verdict(dir: &Path) -> Value {
    let text = fs::read_to_string(dir.join("verdict.json")).expect("there is a verdict");
    serde_json::from_str(&text).expect("it is JSON")
}

fn first_reason(verdict: &Value) -> &str {
    verdict["reasons"][0].as_str().unwrap_or("no reason")
}

fn item<'v>(verdict: &'v Value, id: &str) -> &'v Value {
    let items = verdict["observe"]["items"]
        .as_array()
        .expect("there are items");
    let found = items.iter().find(|i| i["id"] == id);
    found.unwrap_or_else(|| panic!("no item {id} in {items:?}"))
}

/// Waits until a condition holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "it never happens: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const S10: [&str; 2] = ["--stage", "s10"];
const LONG: [&str; 4] = ["--stage", "s10", "--for", "40s"];

fn healthy(service: &Service, prometheus: &Prometheus) {
    let case = Case::new(service, prometheus, &policy(service, &["true"]));
    let ran = case.run(&S10);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let verdict = case.verdict();
    assert_eq!(verdict["verdict"], "pass");
    let seen = &verdict["observe"];
    assert_eq!(
        (seen["rounds"].as_u64(), seen["asked_share"].as_f64()),
        (Some(4), Some(0.1))
    );
    let measured = seen["measured_share"].as_f64().expect("it was measured");
    assert!((measured - 0.1).abs() < 0.02, "{measured}");
    assert!(ran.out.contains("asked 10 %, measured"), "{}", ran.out);
    for file in [
        "journal.jsonl",
        "manifest.json",
        "report.html",
        "report.md",
        "junit.xml",
    ] {
        assert!(case.dir().join(file).exists(), "{file}");
    }
    case.judged_again();
}

fn fires_and_is_rolled_back(service: &Service, prometheus: &Prometheus) {
    let mark = service.marks.join("rolled-back").display().to_string();
    let case = Case::new(service, prometheus, &policy(service, &["touch", &mark]));
    let child = case.start(&[&LONG[..], &["--execute"]].concat());
    service.mark("degraded");
    let ran = wait(child);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let verdict = case.verdict();
    let seen = &verdict["observe"];
    let shot = &seen["triggers"][0];
    assert_eq!(shot["id"], "errors");
    let late = shot["late_ms"]
        .as_f64()
        .expect("it was seen as it happened");
    assert!(
        (0.0..=EVERY_MS).contains(&late),
        "{late} ms after its `for`: {shot}"
    );
    let back = &seen["rollbacks"][0];
    assert_eq!(
        (&back["verdict"], &back["trigger"]),
        (&"pass".into(), &"errors".into()),
        "{back}"
    );
    assert!(service.is_marked("rolled-back"));
    assert!(
        first_reason(&verdict).starts_with("trigger errors@s10: fired"),
        "{verdict}"
    );
    let journal = case.journal();
    for fact in [
        "\"what\":\"trigger\"",
        "\"what\":\"rollback\"",
        "\"what\":\"command\"",
        "step:to-stable",
    ] {
        assert!(journal.contains(fact), "{fact}");
    }
    let report = fs::read_to_string(case.dir().join("report.html")).expect("a report");
    assert!(report.contains("Roll-back back for trigger errors: PASS"));
    case.judged_again();
}

/// The command fails, or does nothing: both are said before anything else.
fn does_not_help(service: &Service, prometheus: &Prometheus, command: &str, said: &str) {
    let case = Case::new(service, prometheus, &policy(service, &[command]));
    service.mark("degraded");
    let ran = case.run(&[&LONG[..], &["--execute"]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let verdict = case.verdict();
    let first = first_reason(&verdict);
    assert!(
        first.starts_with("roll-back back FAILED: step to-stable: ") && first.contains(said),
        "{command}: {verdict}"
    );
    assert_eq!(verdict["observe"]["rollbacks"][0]["verdict"], "fail");
    case.judged_again();
}

fn nothing_is_executed_unasked(service: &Service, prometheus: &Prometheus) {
    let mark = service.marks.join("rolled-back").display().to_string();
    let case = Case::new(service, prometheus, &policy(service, &["touch", &mark]));
    service.mark("degraded");
    let ran = case.run(&LONG);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!service.is_marked("rolled-back"));
    assert!(
        ran.out.contains("NOTHING WAS EXECUTED") && ran.out.contains("touch /"),
        "{}",
        ran.out
    );
    let journal = case.journal();
    assert!(!journal.contains("\"what\":\"command\""));
    case.judged_again();
}

/// The canary's series are there, and then its service answers no scrape any more.
fn a_scrape_gap_is_no_pass(service: &Service, prometheus: &Prometheus) {
    let case = Case::new(service, prometheus, &policy(service, &["true"]));
    let child = case.start(&["--stage", "s10", "--for", "16s"]);
    case.asked();
    service.mark("down");
    let ran = wait(child);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(
        item(&case.verdict(), "error-rate@s10")["verdict"],
        "inconclusive"
    );
    let journal = case.journal();
    assert!(journal.contains("scrape gap"), "the gap isn't named");
    case.judged_again();
}

/// No series, several of them, and 0/0.
fn without_a_value_it_is_no_pass(service: &Service, prometheus: &Prometheus) {
    let whole = policy(service, &["true"]);
    let errors = r#"sum(rate(${metric.requests}{${canary},status=~"5.."}[3s])) / sum(rate(${metric.requests}{${canary}}[3s]))"#;
    let cases = [
        ("no series", r#"sum(rate(nobodys{${canary}}[3s]))"#),
        (
            "2 series instead of one",
            "rate(${metric.requests}{${canary}}[3s])",
        ),
        (
            "the value is NaN",
            "sum(rate(${metric.requests}{${canary}}[3s])) * 0 / 0",
        ),
    ];
    for (why, expr) in cases {
        let policy = whole.replace(errors, expr);
        assert_ne!(policy, whole, "{why}: nothing is changed");
        let case = Case::new(service, prometheus, &policy);
        let ran = case.run(&["--stage", "s10", "--for", "4s"]);
        assert_eq!(ran.code, Some(2), "{why}: {ran:?}");
        let verdict = case.verdict();
        for id in ["error-rate@s10", "trigger errors@s10"] {
            assert_eq!(
                item(&verdict, id)["verdict"],
                "inconclusive",
                "{why}: {verdict}"
            );
        }
        assert!(case.journal().contains(why), "{why}");
        case.judged_again();
    }
}

fn the_ramp_is_walked(service: &Service, prometheus: &Prometheus) {
    let case = Case::new(service, prometheus, &policy(service, &["true"]));
    let subject = format!("sha256:{}", "5".repeat(64));
    let ran = case.run(&["--stages", "all", "--execute", "--subject", &subject]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (stage, share) in [("s10", 0.1), ("s50", 0.5)] {
        let verdict = verdict(&case.dir().join(stage));
        assert_eq!(verdict["verdict"], "pass", "{stage}");
        let measured = verdict["observe"]["measured_share"]
            .as_f64()
            .expect("measured");
        assert!((measured - share).abs() < 0.05, "{stage}: {measured}");
    }
    let entered = &verdict(&case.dir().join("s50"))["observe"]["steps"][0];
    assert_eq!(
        (&entered["id"], &entered["verdict"]),
        (&"weight-50".into(), &"pass".into())
    );
    // The stages are parts of one run: sealed together, and evidence as such.
    let verified = ended(firedrill(&root()).arg("verify").arg(case.dir()));
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(
        verified.out.starts_with("PASS 2 runs as sealed"),
        "{verified:?}"
    );
    let mut gate = firedrill(&root());
    gate.args(["gate", "--policy"]);
    gate.arg(case.folder.join("policy.toml"));
    gate.arg("--subject").arg(case.dir()).arg(case.dir());
    let gated = ended(gate.arg("--out").arg(case.folder.join("out")));
    assert!(matches!(gated.code, Some(0..=2)), "{gated:?}");
    for stage in ["s10", "s50"] {
        assert!(gated.out.contains(&format!("-{stage} (")), "{gated:?}");
    }
    for doubt in ["plan.json", "manifest"] {
        assert!(!gated.out.contains(doubt), "{doubt}: {gated:?}");
    }
    fs::remove_dir_all(case.dir().join("s50")).expect("it is removed");
    let gone = ended(firedrill(&root()).arg("verify").arg(case.dir()));
    assert_ne!(gone.code, Some(0), "{gone:?}");
    assert!(gone.out.contains("s50 was planned"), "{gone:?}");
}

fn a_signal_ends_it_sealed(service: &Service, prometheus: &Prometheus) {
    let case = Case::new(service, prometheus, &policy(service, &["true"]));
    let child = case.start(&LONG);
    case.asked();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is signalled");
    let ran = wait(child);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(case.dir().join("manifest.json").exists());
    assert_eq!(case.verdict()["verdict"], "inconclusive");
    case.judged_again();
}

/// What is done with a service of its own.
type Scenario = fn(&Service, &Prometheus);

#[test]
fn a_live_canary_is_watched_and_rolled_back() {
    let images = ended(firedrill(&root()).arg("images"));
    assert_eq!(images.code, Some(0), "{images:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(&str, Scenario); 9] = [
        ("healthy", healthy),
        ("rolled", fires_and_is_rolled_back),
        ("fails", |s, p| {
            does_not_help(s, p, "false", "its command ended with 1")
        }),
        ("vain", |s, p| {
            does_not_help(s, p, "true", "its check saw 0.")
        }),
        ("unasked", nothing_is_executed_unasked),
        ("gap", a_scrape_gap_is_no_pass),
        ("empty", without_a_value_it_is_no_pass),
        ("ramp", the_ramp_is_walked),
        ("signal", a_signal_ends_it_sealed),
    ];
    let services: Vec<Service> = cases
        .iter()
        .map(|c| Service::start(c.0, folder.path()))
        .collect();
    let prometheus = Prometheus::start(&services.iter().collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for ((_, case), service) in cases.iter().zip(&services) {
            let prometheus = &prometheus;
            scope.spawn(move || case(service, prometheus));
        }
    });
}

/// A project's folder for a policy; nothing listens on the port.
fn refused(policy: &str, args: &[&str]) -> Ended {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.toml");
    fs::write(&path, policy).expect("a policy is written");
    let mut command = firedrill(&root());
    command.arg("observe").arg("--policy").arg(&path);
    command
        .arg("--out")
        .arg(folder.path().join("out"))
        .args(args);
    ended(&mut command)
}

fn nobody() -> Service {
    Service {
        name: "x".to_owned(),
        marks: "/nonexistent".into(),
        port: 0,
    }
}

#[test]
fn a_prometheus_that_is_not_there_is_inconclusive() {
    let url = ["--prometheus", "http://127.0.0.1:9"];
    let ran = refused(&policy(&nobody(), &["true"]), &[&url[..], &S10].concat());
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.out.contains("Prometheus at http://127.0.0.1:9"),
        "{ran:?}"
    );
}

#[test]
fn a_subject_that_no_release_gate_takes_is_told_at_the_start() {
    let digest = format!("sha256:{}", "5".repeat(64));
    let url = ["--prometheus", "http://127.0.0.1:9"];
    let args = [&url[..], &S10, &["--subject", digest.as_str()]].concat();
    let ran = refused(&policy(&nobody(), &["true"]), &args);
    assert!(ran.err.contains("a release gate needs to know"), "{ran:?}");
    assert!(ran.err.contains("--subject the folder"), "{ran:?}");
}

#[test]
fn what_can_not_be_watched_is_refused() {
    let whole = policy(&nobody(), &["true"]);
    let from = whole.find("[canary]").expect("it is there");
    let to = whole.find("[[stage]]").expect("it is there");
    let mut fleet = whole.clone();
    fleet.replace_range(from..to, "");
    let fleet = fleet
        .replace("{${canary},", "{")
        .replace("{${canary}}", "")
        .replace("weight ", "# weight ");
    let good = ["--prometheus", "http://127.0.0.1:9"];
    let with = |more: &[&'static str]| [&good[..], more].concat();
    let cases: [(&str, Vec<&str>, &str); 8] = [
        (&whole, with(&["--stage", "s11"]), "did you mean \"s10\"?"),
        (
            &whole,
            with(&["--stage", "s10", "--selector", "track=\"stable\""]),
            "the policy tells its canary by",
        ),
        (&fleet, with(&S10), "say by --selector"),
        (
            &fleet,
            with(&["--stage", "s10", "--selector", "track=\"canary\""]),
            "sees the whole fleet",
        ),
        (
            &whole,
            with(&["--stage", "s10", "--for", "soon"]),
            "--for soon",
        ),
        (
            &whole,
            vec!["--prometheus", "https://x", "--stage", "s10"],
            "TLS",
        ),
        (
            &whole,
            vec!["--prometheus", "http://me:secret@x", "--stage", "s10"],
            "no credentials",
        ),
        (&whole, with(&[]), "--stage"),
    ];
    for (policy, args, said) in cases {
        let ran = refused(policy, &args);
        assert_eq!(ran.code, Some(64), "{args:?}: {ran:?}");
        assert!(ran.err.contains(said), "{said:?} isn't in {ran:?}");
    }
    let unknown = policy(&nobody(), &["echo", "${accepted.digest}"]);
    let ran = refused(&unknown, &with(&["--stage", "s10", "--execute"]));
    assert_eq!(ran.code, Some(64), "{ran:?}");
    assert!(ran.err.contains("step to-stable can't be run"), "{ran:?}");
}
