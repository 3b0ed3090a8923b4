//! A helper process that outlives the harness: when the harness dies without having cleaned up,
//! however it dies, the run's containers and network are removed within a second.
//!
//! The helper is the same executable with a hidden subcommand. Its standard input is a pipe that
//! only the harness holds open; the kernel closes it with the harness. The engine's client is made
//! before the wait and "ready" is answered before the first fault, so nothing is left to fail later.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::engine::{Engine, EngineError};
use crate::owner::Owner;
use crate::sweep::{Swept, sweep_owned};

const READY: &str = "ready";
const DONE: &[u8] = b"done\n";
const HANDSHAKE: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(5);
/// What was being created when the harness died may turn up this much later.
const AFTERMATH: Duration = Duration::from_secs(1);
const ROUND_EVERY: Duration = Duration::from_millis(50);
/// An engine that can't be moved to remove what is left doesn't keep the janitor for ever.
const GIVE_UP: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum JanitorError {
    #[error("starting the janitor {}: {source}", executable.display())]
    Spawn {
        executable: PathBuf,
        source: std::io::Error,
    },
    #[error("the janitor didn't get ready: {detail}")]
    NotReady { detail: String },
    #[error("the janitor didn't leave: {detail}")]
    NotLeft { detail: String },
    #[error("the janitor's signal handlers: {0}")]
    Signals(std::io::Error),
    #[error("the janitor's pipe: {0}")]
    Pipe(std::io::Error),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The harness's end. Dropping it without [`Janitor::done`] makes the janitor clean up.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    stdin: ChildStdin,
}

impl Janitor {
    /// Runs `executable` with `args` (the hidden subcommand and the run's id); returns once it is ready.
    pub async fn spawn(executable: &Path, args: &[&str]) -> Result<Janitor, JanitorError> {
        let failed = |source| JanitorError::Spawn {
            executable: executable.into(),
            source,
        };
        let mut child = Command::new(executable)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A group of its own: Ctrl-C on the terminal must not reach it.
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) = match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => (stdin, stdout),
            _ => return Err(failed(std::io::Error::other("no pipe to it"))),
        };
        let not_ready = |detail: String| JanitorError::NotReady { detail };
        let mut line = String::new();
        let mut answer = BufReader::new(stdout.take(64));
        tokio::time::timeout(HANDSHAKE, answer.read_line(&mut line))
            .await
            .map_err(|_| not_ready(format!("no answer within {} s", HANDSHAKE.as_secs())))?
            .map_err(|error| not_ready(error.to_string()))?;
        if line.trim_end() != READY {
            return Err(not_ready(format!("answered {line:?} instead of {READY:?}")));
        }
        Ok(Janitor { child, stdin })
    }

    /// Process number, as long as it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything is healed and down: lets the janitor leave, and waits until it has.
    pub async fn done(mut self) -> Result<(), JanitorError> {
        let not_left = |detail: String| JanitorError::NotLeft { detail };
        let farewell = async {
            self.stdin.write_all(DONE).await?;
            self.stdin.flush().await?;
            self.child.wait().await
        };
        let status = tokio::time::timeout(FAREWELL, farewell)
            .await
            .map_err(|_| not_left(format!("still there after {} s", FAREWELL.as_secs())))?
            .map_err(|error| not_left(error.to_string()))?;
        if status.success() {
            Ok(())
        } else {
            Err(not_left(status.to_string()))
        }
    }
}

/// Body of the hidden subcommand: waits for the end of the harness that started it, and removes what that one
/// left of the run. Whoever takes the run up again has a janitor of its own.
pub async fn main(run_id: &str) -> Result<Swept, JanitorError> {
    let _deaf = ignore_signals().map_err(JanitorError::Signals)?;
    let engine = Engine::connect().await?;
    // Asked before the answer that the harness waits for: until then it has made nothing, and it lives.
    let owner = Owner::parent();
    let mut stdout = tokio::io::stdout();
    let hello = async {
        stdout.write_all(format!("{READY}\n").as_bytes()).await?;
        stdout.flush().await
    };
    hello.await.map_err(JanitorError::Pipe)?;

    // No deadline: this wait lasts as long as the harness lives, and its end is certain.
    let mut word = Vec::new();
    let mut stdin = tokio::io::stdin().take(DONE.len() as u64);
    stdin
        .read_to_end(&mut word)
        .await
        .map_err(JanitorError::Pipe)?;
    if word == DONE {
        return Ok(Swept::default());
    }
    clean_up(&engine, run_id, &owner).await
}

/// A request of the harness may still have been under way when it died, and its container appear
/// after the first round. It is over once nothing has been found for a while.
async fn clean_up(engine: &Engine, run_id: &str, owner: &Owner) -> Result<Swept, JanitorError> {
    let started = Instant::now();
    let mut total = Swept::default();
    let mut found_last = started;
    loop {
        let round = sweep_owned(engine, run_id, owner).await;
        match &round {
            Ok(swept) if *swept == Swept::default() => {
                if found_last.elapsed() >= AFTERMATH {
                    return Ok(total);
                }
            }
            Ok(swept) => {
                total.containers += swept.containers;
                total.networks += swept.networks;
                found_last = Instant::now();
            }
            Err(_) => found_last = Instant::now(),
        }
        if started.elapsed() >= GIVE_UP {
            round?;
            return Ok(total);
        }
        tokio::time::sleep(ROUND_EVERY).await;
    }
}

/// A handler that does nothing, as long as the values live.
fn ignore_signals() -> std::io::Result<[Signal; 3]> {
    Ok([
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
    ])
}
