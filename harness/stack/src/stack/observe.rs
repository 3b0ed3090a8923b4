//! What a stack shows of itself: logs, events, resource figures. All of it comes from the target and
//! is bounded here; nothing of it is believed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::models::{ContainerStatsResponse, EventMessage};
use bollard::query_parameters::{EventsOptionsBuilder, LogsOptionsBuilder, StatsOptionsBuilder};
use futures_util::{Stream, StreamExt};

use super::{Stack, StackError, lock};
use crate::engine::{EngineError, QUICK};
use crate::{LABEL, LABEL_SERVICE};

const TEXT_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    Out,
    Err,
}

/// A line of a service's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub service: String,
    /// RFC 3339 with nanoseconds, the engine's wall clock.
    pub ts: String,
    pub stream: LogSource,
    /// At most 16 KiB, without its newline; what isn't UTF-8 is replaced.
    pub text: String,
    /// The line was longer than this, and goes on in the next one or is lost.
    pub cut: bool,
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    pub service: String,
    /// `die`, `oom`, `start`, `restart`, `kill`, `stop`, `pause`, `unpause`, `destroy`, …
    pub action: String,
    /// Since the epoch, the engine's wall clock.
    pub time_ns: i64,
    /// Of a `die`.
    pub exit_code: Option<i64>,
}

/// Resource figures of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Memory in use without the reclaimable page cache.
    pub rss_bytes: u64,
    pub memory_limit_bytes: u64,
    /// Processor time since this handle's last sample; 100 is one core. 0 on the first one.
    pub cpu_percent: f64,
    /// Processor time since the container's start.
    pub cpu_total_ns: u64,
    pub pids: u64,
}

impl Stack {
    /// Follows a service's log from `since` (seconds since the epoch; 0: from its start). Ends when the
    /// container does: call it again after a start.
    pub fn logs(
        &self,
        service: &str,
        since: i64,
    ) -> Result<impl Stream<Item = Result<LogLine, StackError>> + Send + Unpin + 'static, StackError>
    {
        self.logs_of(service, &self.container_id(service)?, since)
    }

    /// The same of one container, which may no longer be the one that the service is.
    pub fn logs_of(
        &self,
        service: &str,
        container: &str,
        since: i64,
    ) -> Result<impl Stream<Item = Result<LogLine, StackError>> + Send + Unpin + use<>, StackError>
    {
        let instance = self.instance(service)?;
        let options = LogsOptionsBuilder::new()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .since(i32::try_from(since).unwrap_or(i32::MAX))
            .build();
        let name = instance.name.clone();
        let docker = self.engine.docker().clone();
        let lines = docker.logs(container, Some(options)).map(move |line| {
            let what = "following a log";
            line.map(|line| log_line(&name, line))
                .map_err(|error| EngineError::new(what, error).into())
        });
        Ok(lines.boxed())
    }

    /// Container events of this run since a moment (nanoseconds since the epoch) and from now on. The engine
    /// keeps its last few hundred events only: whether it tells everything since then, it doesn't say.
    pub fn events(
        &self,
        since_ns: i64,
    ) -> impl Stream<Item = Result<ContainerEvent, StackError>> + Send + Unpin + use<> {
        let run = format!("{LABEL}={}", self.run_id);
        let filters = HashMap::from([("label", vec![run.as_str()]), ("type", vec!["container"])]);
        let since = Duration::from_nanos(u64::try_from(since_ns).unwrap_or_default());
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let options = EventsOptionsBuilder::new()
            .since(&since)
            .filters(&filters)
            .build();
        let docker = self.engine.docker().clone();
        let events = docker.events(Some(options)).map(|event| {
            let what = "following the engine's events";
            event
                .map(container_event)
                .map_err(|error| EngineError::new(what, error).into())
        });
        events.boxed()
    }

    /// Resource figures of this moment. A paused container answers after about a second.
    pub async fn stats(&self, service: &str) -> Result<Stats, StackError> {
        let instance = self.instance(service)?;
        let what = format!("reading figures of {service}");
        let options = StatsOptionsBuilder::new()
            .stream(false)
            .one_shot(true)
            .build();
        let id = instance.id();
        let mut answers = self.engine.docker().stats(&id, Some(options));
        let none = || EngineError::Other {
            what: what.clone(),
            detail: "no answer".into(),
        };
        let first = tokio::time::timeout(QUICK, answers.next()).await;
        let timeout = |_| EngineError::Timeout {
            what: what.clone(),
            after: QUICK,
        };
        let answer = first.map_err(timeout)?.ok_or_else(none)?;
        let answer = answer.map_err(|error| EngineError::new(&what, error))?;
        let silent = || EngineError::Other {
            what: what.clone(),
            detail: "the engine tells no memory, processor or process figures".into(),
        };
        let mut stats = figures(answer).ok_or_else(silent)?;
        let now = Instant::now();
        let before = lock(&instance.cpu).replace((now, stats.cpu_total_ns));
        if let Some((then, total)) = before {
            let elapsed_ns = now.duration_since(then).as_nanos().max(1) as f64;
            let used_ns = stats.cpu_total_ns.saturating_sub(total) as f64;
            stats.cpu_percent = 100.0 * used_ns / elapsed_ns;
        }
        Ok(stats)
    }
}

/// The engine puts a timestamp and a space before each line.
fn log_line(service: &str, output: LogOutput) -> LogLine {
    let (stream, message) = match output {
        LogOutput::StdErr { message } => (LogSource::Err, message),
        LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => (LogSource::Out, message),
    };
    let space = message.iter().take(64).position(|byte| *byte == b' ');
    let (ts, text) = match space {
        Some(at) => (&message[..at], &message[at + 1..]),
        None => (&message[..0], &message[..]),
    };
    let whole = text.strip_suffix(b"\n");
    let line = whole.unwrap_or(text);
    let kept = &line[..line.len().min(TEXT_BYTES_MAX)];
    LogLine {
        service: service.into(),
        ts: String::from_utf8_lossy(ts).into_owned(),
        stream,
        text: String::from_utf8_lossy(kept).trim_end_matches('\r').into(),
        cut: whole.is_none() || kept.len() < line.len(),
    }
}

fn container_event(event: EventMessage) -> ContainerEvent {
    let attributes = event.actor.and_then(|actor| actor.attributes);
    let attributes = attributes.unwrap_or_default();
    ContainerEvent {
        service: attributes.get(LABEL_SERVICE).cloned().unwrap_or_default(),
        action: event.action.unwrap_or_default(),
        time_ns: event.time_nano.unwrap_or_default(),
        exit_code: attributes
            .get("exitCode")
            .and_then(|code| code.parse().ok()),
    }
}

/// A figure that the engine doesn't tell is missing data, never 0.
fn figures(answer: ContainerStatsResponse) -> Option<Stats> {
    let memory = answer.memory_stats.unwrap_or_default();
    let details = memory.stats.unwrap_or_default();
    let cache = details
        .get("total_inactive_file")
        .or_else(|| details.get("inactive_file"));
    let usage = memory.usage?;
    let cpu = answer.cpu_stats.and_then(|cpu| cpu.cpu_usage);
    let pids = answer.pids_stats.and_then(|pids| pids.current);
    Some(Stats {
        rss_bytes: usage.saturating_sub(cache.copied().unwrap_or_default()),
        memory_limit_bytes: memory.limit.unwrap_or_default(),
        cpu_percent: 0.0,
        cpu_total_ns: cpu.and_then(|cpu| cpu.total_usage)?,
        pids: pids?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_the_engine_does_not_tell_are_no_zeros() {
        assert!(figures(ContainerStatsResponse::default()).is_none());
    }

    fn out(text: &[u8]) -> LogLine {
        let message = text.to_vec().into();
        log_line("x", LogOutput::StdOut { message })
    }

    #[test]
    fn lines_are_split_and_bounded() {
        let line = out(b"2026-01-01T00:00:00.1Z hello world\n");
        assert_eq!(line.ts, "2026-01-01T00:00:00.1Z");
        assert_eq!((line.text.as_str(), line.cut), ("hello world", false));
        let mut long = b"2026-01-01T00:00:00Z ".to_vec();
        long.extend(std::iter::repeat_n(b'x', TEXT_BYTES_MAX + 1));
        let line = out(&long);
        assert_eq!((line.text.len(), line.cut), (TEXT_BYTES_MAX, true));
        assert_eq!(out(b"").text, "");
        assert_eq!(out(b"t \xff\n").text, "\u{fffd}");
    }
}
