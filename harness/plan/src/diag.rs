//! What is wrong with a file, and where.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// A lint; `accept = "reason"` in the file silences it.
    Warning,
}

/// One finding in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub path: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// What would have been right.
    pub expected: Option<String>,
    /// The known name that comes closest to the one found, if one is close.
    pub nearest: Option<String>,
    pub severity: Severity,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.path, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean \"{nearest}\"?")?;
        }
        Ok(())
    }
}

/// Everything that was found to be wrong with a file, in the file's order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

/// A file's typed content, with the lints that it didn't accept.
#[derive(Clone, Debug)]
pub struct Parsed<T> {
    pub value: T,
    pub warnings: Vec<Diagnostic>,
}

/// A finding before it has a place.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    message: String,
    expected: Option<String>,
    nearest: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Problem {
        Problem {
            message: message.into(),
            expected: None,
            nearest: None,
        }
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Problem {
        self.expected = Some(expected.into());
        self
    }

    pub fn nearest(mut self, nearest: Option<String>) -> Problem {
        self.nearest = nearest;
        self
    }

    /// `name` isn't one of `known`: lists them, and suggests the closest.
    pub fn unknown<'a>(
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Problem {
        let known: Vec<&str> = known.into_iter().collect();
        let mut problem = Problem::new(format!("unknown {what} \"{name}\""));
        problem.nearest = nearest(name, &known);
        problem.expected = list(&known);
        problem
    }
}

/// Names worth listing in a message; more than that are noise, and the suggestion has to do.
const LISTED_MAX: usize = 16;

/// `a, b or c`; nothing where there is nothing to choose from.
pub(crate) fn list(names: &[&str]) -> Option<String> {
    match names {
        [] => None,
        [one] => Some((*one).to_string()),
        [first @ .., last] if names.len() <= LISTED_MAX => {
            Some(format!("{} or {last}", first.join(", ")))
        }
        _ => Some(format!("one of {} names", names.len())),
    }
}

/// The known name closest to `name`, if it is close enough to be what was meant.
pub fn nearest(name: &str, known: &[&str]) -> Option<String> {
    let folded = name.to_lowercase();
    known
        .iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let edits = strsim::damerau_levenshtein(&folded, &lower);
            (edits, strsim::jaro_winkler(&folded, &lower), *candidate)
        })
        .filter(|(edits, similarity, candidate)| {
            *edits <= 1.max(candidate.chars().count() / 3) || *similarity >= 0.9
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, candidate)| candidate.to_string())
}

/// Findings that are kept; a file with more of them is not read by anybody to its end.
const FOUND_MAX: usize = 50;
/// Characters of a message that are kept: it may quote the file.
const MESSAGE_MAX: usize = 300;

/// Collects the findings of one file.
pub(crate) struct Sink<'t> {
    path: &'t str,
    text: &'t str,
    found: Vec<Diagnostic>,
    /// Findings that were not kept.
    more: usize,
    /// While set, findings are dropped: they would only follow from one already reported.
    pub muted: bool,
}

impl<'t> Sink<'t> {
    pub fn new(path: &'t str, text: &'t str) -> Sink<'t> {
        Sink {
            path,
            text,
            found: Vec::new(),
            more: 0,
            muted: false,
        }
    }

    pub fn error(&mut self, at: usize, problem: Problem) {
        self.push(at, problem, Severity::Error);
    }

    pub fn lint(&mut self, at: usize, message: impl Into<String>) {
        self.push(at, Problem::new(message), Severity::Warning);
    }

    /// Number of findings so far, to tell whether a step added one.
    pub fn len(&self) -> usize {
        self.found.len() + self.more
    }

    fn push(&mut self, at: usize, problem: Problem, severity: Severity) {
        if self.muted {
            return;
        }
        if self.found.len() >= FOUND_MAX {
            self.more += 1;
            return;
        }
        let (line, column) = position(self.text, at);
        self.found.push(Diagnostic {
            path: self.path.to_string(),
            line,
            column,
            message: clip(problem.message),
            expected: problem.expected,
            nearest: problem.nearest,
            severity,
        });
    }

    /// The value with the lints that `accept` leaves, or every finding if one of them is an error.
    pub fn finish<T>(
        mut self,
        value: Option<T>,
        accept: Option<usize>,
    ) -> Result<Parsed<T>, Diagnostics> {
        let is_warning = |d: &Diagnostic| d.severity == Severity::Warning;
        let failed = !self.found.iter().all(is_warning);
        if failed {
            // A lint is about a file that can be used; here it may only follow from an error.
            self.found.retain(|d| !is_warning(d));
        } else if let Some(at) = accept {
            if self.found.is_empty() {
                self.lint(at, "accept silences nothing: the file has no lint left");
            } else {
                self.found.clear();
            }
        }
        self.found.sort_by_key(|d| (d.line, d.column));
        self.found.dedup();
        if self.more > 0
            && let Some(last) = self.found.last().cloned()
        {
            let message = format!("and {} more", self.more);
            self.found.push(Diagnostic {
                message,
                expected: None,
                nearest: None,
                ..last
            });
        }
        match value {
            Some(value) if !failed => Ok(Parsed {
                value,
                warnings: self.found,
            }),
            _ => {
                if self.found.is_empty() {
                    self.error(0, Problem::new("the file holds no usable content"));
                }
                Err(Diagnostics(self.found))
            }
        }
    }
}

fn clip(message: String) -> String {
    match message.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// Line and column (in characters) of a byte offset, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let at = text.floor_char_boundary(at);
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
