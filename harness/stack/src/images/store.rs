//! The cache directory of this user: downloaded packages, files on their way to the engine, and
//! when an image was last used. One lock keeps builders of several processes apart.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions};
use rustix::fs::{FlockOperation, flock};

use super::{ImageError, split_tag};
use crate::engine::{Engine, EngineError, QUICK, SLOW};

const LOCK_WAIT: Duration = Duration::from_secs(300);
const LOCK_POLL: Duration = Duration::from_millis(50);
/// Images of ours that are kept per name, however old.
const KEEP: usize = 4;
/// Images used within this time are kept: another process may be about to use them.
const FRESH: Duration = Duration::from_secs(3600);

/// The cache directory.
pub(crate) struct Store {
    root: PathBuf,
}

/// Held while images are built.
pub(crate) struct BuildLock {
    _file: File,
}

impl Store {
    pub(crate) fn open() -> Result<Store, ImageError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .ok_or(ImageError::NoCache)?;
        let store = Store {
            root: base.join("firedrill"),
        };
        for dir in ["tmp", "used", "debs"] {
            store.dir(dir)?;
        }
        Ok(store)
    }

    /// A directory in the cache, made if it isn't there.
    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf, ImageError> {
        let path = self.root.join(name);
        std::fs::create_dir_all(&path).map_err(ImageError::io(format!(
            "cache directory {}",
            path.display()
        )))?;
        Ok(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A directory that goes with the value. Leftovers of killed builders go with the next one.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir, ImageError> {
        let path = self.path("tmp");
        tempfile::tempdir_in(&path).map_err(ImageError::io(format!(
            "scratch directory in {}",
            path.display()
        )))
    }

    /// Waits until no other process builds.
    pub(crate) async fn lock(&self) -> Result<BuildLock, ImageError> {
        let path = self.path("build.lock");
        let named = || format!("lock {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(ImageError::io(named()))?;
        let started = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < LOCK_WAIT => {
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(ImageError::Busy { waited: LOCK_WAIT });
                }
                Err(error) => return Err(ImageError::io(named())(error.into())),
            }
        }
        self.clear_scratch();
        Ok(BuildLock { _file: file })
    }

    /// Only the lock's holder has scratch directories, so what is there now belongs to the dead.
    fn clear_scratch(&self) {
        let Ok(entries) = std::fs::read_dir(self.path("tmp")) else {
            return;
        };
        for entry in entries.flatten() {
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::debug!(%error, "scratch directory of a dead builder stays");
            }
        }
    }

    /// Remembers that an image was used now. Only pruning looks at it, so a failure costs nothing.
    pub(crate) fn touch(&self, reference: &str) {
        if let Err(error) = std::fs::write(self.stamp(reference), b"") {
            tracing::debug!(%error, reference, "no stamp for an image");
        }
    }

    fn stamp(&self, reference: &str) -> PathBuf {
        let (name, tag) = split_tag(reference);
        self.path("used").join(format!("{name}_{tag}"))
    }

    fn last_used(&self, reference: &str) -> SystemTime {
        let stamp = std::fs::metadata(self.stamp(reference)).and_then(|found| found.modified());
        stamp.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Removes old images of that name, except the last few, fresh ones, and what a container uses.
    pub(crate) async fn prune(&self, engine: &Engine, name: &str) -> Result<(), EngineError> {
        let filters = std::collections::HashMap::from([("reference", vec![name])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let listed = engine.docker().list_images(Some(options));
        let listed = engine.call("listing images", QUICK, listed).await?;
        let tags = listed.into_iter().flat_map(|image| image.repo_tags);
        let mut tags: Vec<(SystemTime, String)> = tags
            .filter(|tag| split_tag(tag).0 == name)
            .map(|tag| (self.last_used(&tag), tag))
            .collect();
        tags.sort_by(|a, b| b.cmp(a));
        for (used, tag) in tags.into_iter().skip(KEEP) {
            if used.elapsed().is_ok_and(|age| age < FRESH) {
                continue;
            }
            // Without force, the engine refuses what a container uses.
            let removal = engine
                .docker()
                .remove_image(&tag, None::<RemoveImageOptions>, None);
            match engine.call("removing an old image", SLOW, removal).await {
                Ok(_) => remove_quietly(&self.stamp(&tag)),
                Err(error) => tracing::debug!(%error, tag, "old image stays"),
            }
        }
        Ok(())
    }
}

fn remove_quietly(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, path = %path.display(), "stamp stays");
    }
}
