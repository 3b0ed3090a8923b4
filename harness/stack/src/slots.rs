//! Machine-wide semaphore: how many stacks this user runs at once, over all processes.
//!
//! A slot is a locked file. The kernel frees it when the process dies, however it dies.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// Stacks that may run on this machine at the same time, whoever started them, unless more are asked for: one
/// more than there are processors, for a drill waits for most of its time.
pub fn stacks_max() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get() + 1)
}

const POLL: Duration = Duration::from_millis(25);

#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error(
        "no slot out of {limit} became free within {} s; other runs are busy: wait for them, or allow more at once",
        waited.as_secs()
    )]
    Busy { limit: usize, waited: Duration },
    #[error("runtime directory {}: {detail}; set XDG_RUNTIME_DIR to a directory of your own", path.display())]
    Directory { path: PathBuf, detail: String },
    #[error("slot file {}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Holds a slot until it is dropped.
#[derive(Debug)]
pub struct SlotGuard {
    _file: File,
}

/// Waits for one of `limit` slots, at most until `deadline` has passed.
pub async fn acquire(limit: usize, deadline: Duration) -> Result<SlotGuard, SlotError> {
    acquire_in(&runtime_dir()?, limit, deadline).await
}

async fn acquire_in(dir: &Path, limit: usize, deadline: Duration) -> Result<SlotGuard, SlotError> {
    let limit = limit.max(1);
    let started = Instant::now();
    loop {
        for index in 0..limit {
            if let Some(file) = try_lock(&dir.join(format!("slot-{index}")))? {
                return Ok(SlotGuard { _file: file });
            }
        }
        if started.elapsed() >= deadline {
            return Err(SlotError::Busy {
                limit,
                waited: deadline,
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

fn try_lock(path: &Path) -> Result<Option<File>, SlotError> {
    let failed = |source| SlotError::File {
        path: path.into(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

/// `$XDG_RUNTIME_DIR/firedrill`, else a directory in the temporary one that must be this user's alone.
fn runtime_dir() -> Result<PathBuf, SlotError> {
    let uid = rustix::process::getuid().as_raw();
    let path = match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("firedrill"),
        None => std::env::temp_dir().join(format!("firedrill-{uid}")),
    };
    let failed = |detail: String| SlotError::Directory {
        path: path.clone(),
        detail,
    };
    let created = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    created.map_err(|error| failed(error.to_string()))?;
    let found = std::fs::symlink_metadata(&path).map_err(|error| failed(error.to_string()))?;
    if !found.is_dir() || found.uid() != uid {
        return Err(failed("belongs to someone else".into()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_run_out_and_come_back() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let first = acquire_in(dir.path(), 2, Duration::ZERO).await?;
        let _second = acquire_in(dir.path(), 2, Duration::ZERO).await?;
        let third = acquire_in(dir.path(), 2, Duration::from_millis(40)).await;
        assert!(matches!(third, Err(SlotError::Busy { limit: 2, .. })));
        drop(first);
        acquire_in(dir.path(), 2, Duration::ZERO).await?;
        Ok(())
    }
}
