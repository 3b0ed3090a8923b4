//! Renderers of a verdict: HTML, Markdown, JUnit, `go-no-go.md` and plain text for terminals.
//!
//! Each is a pure function of the verdict and, where there is one, of the gate's decision. So no
//! number can differ between two outputs, and an old run is rendered again to the byte.
//!
//! What this crate must NOT know: files, clocks, networks, the journal's events, and how a verdict
//! was reached. It never compares a value with a bound: it shows what the judge decided. Every
//! string that it is given may come from the target under test, and is made harmless before it is
//! shown.

mod changes;
mod clean;
mod go_no_go;
mod html;
mod junit;
mod markdown;
mod observe;
mod recovery;
mod sensitivity;
mod soak;
mod text;
mod timeline;
mod words;

use std::collections::BTreeMap;

use firedrill_verdict::Comparison;
use serde::{Deserialize, Serialize};

pub use go_no_go::go_no_go;
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use observe::text_observe;
pub use recovery::{History, PastRun, RUNS_MAX};
pub use sensitivity::{SensitivityCell, sensitivity_html, sensitivity_markdown};
pub use soak::text_soak;
pub use text::{summary_line, summary_table, text_failure};

/// What a report shows beside the verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extras {
    /// The last lines that each service logged, oldest first.
    pub last_log_lines: BTreeMap<String, Vec<String>>,
    /// Where the journal lies, relative to the report.
    pub journal_path: String,
    /// The line to paste that runs this again.
    pub rerun: String,
    /// Name and SHA-256 of each file of evidence.
    pub files: Vec<(String, String)>,
    /// What earlier runs showed.
    pub history: History,
    /// What differs from the accepted run; `None` where none was accepted.
    pub comparison: Option<Comparison>,
    /// Why there is no comparison, where that isn't because no run was accepted.
    pub not_compared: Option<String>,
}

/// Why a report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The verdict holds a value that its own format can't carry.
    #[error("the verdict can't be written as JSON (is a number not finite?): {0}")]
    Verdict(#[from] serde_json::Error),
    /// The page's template is at odds with the verdict's fields.
    #[error("the template of the report failed: {0}")]
    Template(#[from] minijinja::Error),
    /// The XML could not be written.
    #[error("the junit report can't be written: {0}")]
    Junit(#[from] quick_junit::SerializeError),
}
