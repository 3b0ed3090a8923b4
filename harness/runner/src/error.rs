//! Why a run could not be carried out. Each of these ends INCONCLUSIVE (exit 2): the system under
//! test was not judged.

use firedrill_journal::WriteError;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Journal(#[from] WriteError),
    #[error("the journal's writer is gone; the run cannot be judged")]
    JournalLost,
    #[error("bring-up failed: {0}")]
    Up(String),
    #[error("secret {name}: set the environment variable {var}")]
    Secret { name: String, var: String },
    #[error("need not met: {0}")]
    Need(String),
    #[error("act {id}: {why}")]
    Act { id: String, why: String },
    #[error("fault {kind} on {target} in phase {phase}: {why}")]
    Fault {
        kind: String,
        target: String,
        phase: String,
        why: String,
    },
    #[error("the run's folder holds {} MiB, and its limit is {} MiB (disk_max of the profile)", bytes >> 20, limit >> 20)]
    Disk { bytes: u64, limit: u64 },
    #[error("stopped at once: {0}")]
    Aborted(String),
    #[error("interrupted")]
    Interrupted,
    #[error("{path}: {source}")]
    Io {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("template of the target: {0}")]
    Template(String),
}
