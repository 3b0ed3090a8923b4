//! Watching a live system: a journal, the questions that are asked of its Prometheus, and the commands
//! that are run on its behalf. Nothing is injected, and nothing is compared with a bound here: who
//! drives the session decides what an answer means.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use firedrill_journal::{
    EdgeKind, EndReason, Event, FactSource, Header, Sample, SampleResult, Seal, StreamState, Writer,
};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::clock::Clock;
use crate::error::RunError;
use crate::prometheus::{self, Source};
use crate::recorder::{self, Recorder, RecorderTask};
use crate::redact::Redactor;
use crate::tail::Tail;

/// Questions that are on their way at the same time.
const AT_ONCE: usize = 8;
/// Bytes of a command's output that are kept, per stream.
const OUTPUT_MAX: u64 = 16 * 1024;

/// An expression with its variables filled in, and the probe that its answers are recorded under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    pub probe: String,
    pub expr: String,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// Exit code; `None` if it could not be started, was killed, or did not end in time.
    pub exit: Option<i32>,
    /// Cleaned and bounded.
    pub stdout: String,
    pub stderr: String,
    /// Why there is no exit code.
    pub why: Option<String>,
}

/// A watch under way.
pub struct Session {
    recorder: Recorder,
    task: RecorderTask,
    source: Source,
    /// Least of the interval between two rounds and what a question may take.
    deadline: Duration,
    tails: Vec<Tail>,
}

impl Session {
    /// Creates the journal, and records its header.
    ///
    /// # Errors
    /// The journal can't be written.
    pub async fn begin(
        dir: &Path,
        header: Header,
        prometheus: &str,
        deadline: Duration,
        redactor: Redactor,
    ) -> Result<Self, RunError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| RunError::Up(e.to_string()))?;
        let writer = Writer::create(&dir.join(firedrill_journal::PLAIN))?;
        let (recorder, task) = recorder::start(writer, Clock::start(), redactor, None);
        recorder.record(Event::Header(Box::new(header))).await;
        Ok(Self {
            recorder,
            task,
            source: Source::shared(http, prometheus),
            deadline,
            tails: Vec::new(),
        })
    }

    pub fn clock(&self) -> Clock {
        self.recorder.clock
    }

    /// Whether it answers at all.
    ///
    /// # Errors
    /// Why it doesn't.
    pub async fn reachable(&self) -> Result<(), String> {
        let asked = prometheus::answers(&self.source);
        let answered = tokio::time::timeout(self.deadline, asked).await;
        answered.unwrap_or_else(|_| Err(self.late()))
    }

    fn late(&self) -> String {
        format!("deadline of {} ms: no answer", self.deadline.as_millis())
    }

    /// Follows a log file from its present end.
    pub async fn follow(&mut self, path: &Path) {
        let tail = Tail::open(path, self.recorder.clock.now_ns());
        let (state, detail) = match &tail.gone {
            None => (StreamState::Attached, None),
            Some(why) => (StreamState::Gap, Some(why.clone())),
        };
        self.recorder.stream(&tail.stream, state, detail).await;
        self.tails.push(tail);
    }

    /// One answer, recorded.
    pub async fn ask(&self, question: &Question, due_ns: u64) -> Sample {
        let asked = prometheus::value(&self.source, &question.expr);
        let result = match tokio::time::timeout(self.deadline, asked).await {
            Err(_) => SampleResult::Missing(self.late()),
            Ok(Err(why)) => SampleResult::Missing(self.recorder.clean(&why)),
            Ok(Ok(fields)) => SampleResult::Value(fields),
        };
        self.sample(&question.probe, due_ns, result).await
    }

    async fn sample(&self, probe: &str, due_ns: u64, result: SampleResult) -> Sample {
        let sample = Sample {
            probe: probe.to_owned(),
            due_ns,
            took_ns: self.recorder.clock.now_ns().saturating_sub(due_ns),
            result,
        };
        self.recorder.record(Event::Sample(sample.clone())).await;
        sample
    }

    /// Everything that is due at one moment: each question, and each level of the logs. It ends within the
    /// deadline of one question, times how often they have to queue.
    pub async fn round(&mut self, questions: &[Question], due_ns: u64) -> Vec<Sample> {
        let this = &*self;
        let mut samples: Vec<Sample> = stream::iter(questions)
            .map(|question| this.ask(question, due_ns))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let logs = self.read_logs(due_ns).await;
        for (probe, result) in logs {
            samples.push(self.sample(probe, due_ns, result).await);
        }
        samples
    }

    /// Lines of the last minute at each level, over all files; missing as soon as one file's are.
    async fn read_logs(&mut self, due_ns: u64) -> Vec<(&'static str, SampleResult)> {
        if self.tails.is_empty() {
            return Vec::new();
        }
        let (mut errors, mut warnings, mut missing) = (0, 0, None);
        for tail in &mut self.tails {
            let before = tail.gone.is_some();
            for (level, line) in tail.read(due_ns) {
                let text = self.recorder.clean(&line);
                let keys = [
                    ("service", json!(tail.name)),
                    ("level", json!(level)),
                    ("text", json!(text)),
                ];
                self.recorder
                    .fact(FactSource::Log, "line", due_ns, keys)
                    .await;
            }
            if let (Some(why), false) = (&tail.gone, before) {
                let state = (StreamState::Gap, Some(why.clone()));
                self.recorder.stream(&tail.stream, state.0, state.1).await;
            }
            missing = missing.or_else(|| tail.missing());
            errors += tail.errors_per_minute(due_ns);
            warnings += tail.warnings_per_minute(due_ns);
        }
        let of = |count: u64| match &missing {
            Some(why) => SampleResult::Missing(why.clone()),
            None => SampleResult::Value([("value".to_owned(), json!(count))].into()),
        };
        vec![("log:errors", of(errors)), ("log:warnings", of(warnings))]
    }

    /// What a person or a program found out by itself: recorded as it is.
    pub async fn note<const N: usize>(&self, what: &str, keys: [(&str, Value); N]) {
        let now = self.recorder.clock.now_ns();
        self.recorder.fact(FactSource::Act, what, now, keys).await;
    }

    /// Whether a step's effect was seen, under the probe that policies look for.
    pub async fn verified(&self, step: &str, verified: bool) {
        let fields = [("verified".to_owned(), json!(verified))].into();
        let now = self.recorder.clock.now_ns();
        self.sample(&format!("step:{step}"), now, SampleResult::Value(fields))
            .await;
    }

    /// A boundary of the stage; returns when it was.
    pub async fn edge(&self, stage: &str, kind: EdgeKind, proof: Option<String>) -> u64 {
        let now = self.recorder.clock.now_ns();
        self.recorder.edge(0, stage, None, kind, now, proof).await;
        now
    }

    /// Runs a command, given as its arguments: no shell looks at them. It is killed at the deadline.
    pub async fn command(&self, argv: &[String], deadline: Duration) -> Ran {
        let began_ns = self.recorder.clock.now_ns();
        let ran = match tokio::time::timeout(deadline, run(argv)).await {
            Ok(Ok(ran)) => ran,
            Ok(Err(why)) => Ran::none(why),
            Err(_) => Ran::none(format!("not done after {} ms", deadline.as_millis())),
        };
        let ran = Ran {
            stdout: self.recorder.clean(&ran.stdout),
            stderr: self.recorder.clean(&ran.stderr),
            ..ran
        };
        let argv: Vec<String> = argv.iter().map(|a| self.recorder.clean(a)).collect();
        let keys = [
            ("argv", json!(argv)),
            ("exit", json!(ran.exit)),
            ("stdout", json!(ran.stdout)),
            ("stderr", json!(ran.stderr)),
            ("why", json!(ran.why)),
            ("began_ns", json!(began_ns)),
        ];
        self.note("command", keys).await;
        ran
    }

    /// Ends the journal and seals the file.
    ///
    /// # Errors
    /// The journal was lost.
    pub async fn end(self, reason: EndReason, detail: Option<String>) -> Result<Seal, RunError> {
        let detail = detail.map(|d| self.recorder.clean(&d));
        let reason = match self.recorder.is_lost() {
            true => EndReason::Failed,
            false => reason,
        };
        drop(self.recorder);
        self.task.finish(reason, detail).await
    }
}

impl Ran {
    fn none(why: String) -> Self {
        Self {
            exit: None,
            stdout: String::new(),
            stderr: String::new(),
            why: Some(why),
        }
    }
}

async fn run(argv: &[String]) -> Result<Ran, String> {
    let (program, arguments) = argv.split_first().ok_or("there is no command")?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err, status) = tokio::join!(bounded(out), bounded(err), child.wait());
    let status = status.map_err(|e| format!("{program}: {e}"))?;
    Ok(Ran {
        exit: status.code(),
        stdout: out,
        stderr: err,
        why: status
            .code()
            .is_none()
            .then(|| format!("{program}: {status}")),
    })
}

/// The beginning of a stream; the rest is read and dropped, so that whoever writes is never held up.
async fn bounded(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut kept = Vec::new();
    // What can't be read any more ends what was said.
    let _ = (&mut stream).take(OUTPUT_MAX).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}
