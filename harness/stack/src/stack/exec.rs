//! A command inside a container: bounded in time and in what is kept of its output.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::StreamExt;

use super::{Stack, StackError};
use crate::engine::{EngineError, QUICK};

/// The last bytes of the output that are kept: errors stand at the end.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub exit_code: i64,
    /// The last 16 KiB of both streams; what isn't UTF-8 is replaced.
    pub output: String,
}

impl Stack {
    /// Runs a command inside a service's container, without a shell, and waits until it is over. One that isn't
    /// over in time goes on by itself until its container is removed: the engine can't end it.
    pub async fn exec(
        &self,
        service: &str,
        command: &[String],
        within: Duration,
    ) -> Result<Ran, StackError> {
        let running = self.exec_unbounded(service, command);
        match tokio::time::timeout(within, running).await {
            Ok(ran) => ran,
            Err(_) => Err(StackError::NotOver {
                service: service.into(),
                command: command.join(" "),
                after: within,
            }),
        }
    }

    async fn exec_unbounded(&self, service: &str, command: &[String]) -> Result<Ran, StackError> {
        let id = self.instance(service)?.id();
        let what = format!("running a command in {service}");
        let docker = self.engine.docker();
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let made = docker.create_exec(&id, options);
        let exec = self.engine.call(&what, QUICK, made).await?.id;
        let started = self
            .engine
            .call(&what, QUICK, docker.start_exec(&exec, None));
        let StartExecResults::Attached { mut output, .. } = started.await? else {
            return Err(other(&what, "the engine did not attach to it").into());
        };
        let mut kept: Vec<u8> = Vec::new();
        while let Some(part) = output.next().await {
            let part: LogOutput = part.map_err(|error| EngineError::new(&what, error))?;
            kept.extend_from_slice(&part.into_bytes());
            if kept.len() > OUTPUT_BYTES_MAX {
                kept.drain(..kept.len() - OUTPUT_BYTES_MAX);
            }
        }
        let asked = self.engine.call(&what, QUICK, docker.inspect_exec(&exec));
        let exit_code = asked.await?.exit_code;
        Ok(Ran {
            exit_code: exit_code.ok_or_else(|| other(&what, "its exit code isn't known"))?,
            output: String::from_utf8_lossy(&kept).into_owned(),
        })
    }
}

fn other(what: &str, detail: &str) -> EngineError {
    EngineError::Other {
        what: what.into(),
        detail: detail.into(),
    }
}
