//! A soak's course: as a document of the journal, as a table, as a picture.

use std::fmt::Write as _;

use firedrill_journal::{Document, DocumentRole, sha256_hex};
use firedrill_plan::Schedule;

use crate::exit::Stop;

/// Columns of a picture where there is no terminal to ask.
const WIDTH: usize = 80;
const WIDTH_MIN: usize = 60;
const WIDTH_MAX: usize = 200;
/// Name of the document in the journal's header.
const DOCUMENT: &str = "schedule.json";

/// The schedule as the journal's header carries it.
pub fn document(schedule: &Schedule) -> Result<Document, Stop> {
    let text = serde_json::to_string_pretty(schedule).map_err(|e| Stop::Internal(e.to_string()))?;
    Ok(Document {
        role: DocumentRole::Schedule,
        path: DOCUMENT.to_owned(),
        sha256: sha256_hex(text.as_bytes()),
        text,
    })
}

/// Columns of the terminal, within reason.
pub fn width() -> usize {
    let asked = rustix::termios::tcgetwinsize(std::io::stdout());
    let columns = asked.map_or(0, |size| usize::from(size.ws_col));
    match columns {
        0 => WIDTH,
        columns => columns.clamp(WIDTH_MIN, WIDTH_MAX),
    }
}

/// `1:02:03`, or `2:03`.
pub fn clock(ms: u64) -> String {
    let s = ms / 1_000;
    match s / 3_600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

pub fn table(profile: &str, schedule: &Schedule) -> String {
    let busy_ms: u64 = schedule.episodes.iter().map(|e| e.lasts_ms).sum();
    let quiet = 100.0 * (1.0 - busy_ms as f64 / schedule.length_ms.max(1) as f64);
    let checkpoints: Vec<String> = schedule
        .checkpoints
        .iter()
        .map(|c| clock(c.at_ms))
        .collect();
    let mut out = format!(
        "profile {profile}, seed {}, {}: {} drills, {quiet:.0} % quiet\n",
        schedule.seed,
        clock(schedule.length_ms),
        schedule.episodes.len(),
    );
    if !checkpoints.is_empty() {
        // Writing to a string can't fail.
        let _ = writeln!(out, "checkpoints at {}", checkpoints.join(", "));
    }
    let _ = writeln!(
        out,
        "\n{:>4}  {:>8}  {:<24} {:>6}  {:>11}",
        "", "at", "drill", "lasts", "quiet after"
    );
    for (index, episode) in schedule.episodes.iter().enumerate() {
        let next = schedule.episodes.get(index + 1);
        let until = next.map_or(schedule.length_ms, |n| n.at_ms);
        let _ = writeln!(
            out,
            "{:>4}  {:>8}  {:<24} {:>4} s  {:>9} s",
            index + 1,
            clock(episode.at_ms),
            episode.drill,
            episode.lasts_ms / 1_000,
            until.saturating_sub(episode.end_ms()) / 1_000,
        );
    }
    out
}

/// A line per drill and one for the rate, on one axis.
pub fn picture(schedule: &Schedule, width: usize) -> String {
    let mut names: Vec<&str> = schedule.episodes.iter().map(|e| e.drill.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let label = names.iter().map(|n| n.len()).max().unwrap_or(0).max(10);
    let columns = width.saturating_sub(label + 2).max(10);
    let length_ms = schedule.length_ms.max(1);
    let column = |at_ms: u64| {
        let at = u128::from(at_ms) * columns as u128 / u128::from(length_ms);
        usize::try_from(at).unwrap_or(0).min(columns - 1)
    };
    let mut out = String::new();
    for name in &names {
        let mut line = vec!['.'; columns];
        for episode in schedule.episodes.iter().filter(|e| e.drill == *name) {
            line[column(episode.at_ms)..=column(episode.end_ms())].fill('#');
        }
        push(&mut out, label, name, &line);
    }
    push(&mut out, label, "signals/s", &rates(schedule, columns));
    let mut line = vec![' '; columns];
    for checkpoint in &schedule.checkpoints {
        line[column(checkpoint.at_ms)] = '^';
    }
    if !schedule.checkpoints.is_empty() {
        push(&mut out, label, "checkpoint", &line);
    }
    let end = clock(length_ms);
    let _ = writeln!(out, "{:label$}  0:00{end:>rest$}", "", rest = columns - 4);
    out
}

/// The highest rate of each column, in tenths of the highest of all.
fn rates(schedule: &Schedule, columns: usize) -> Vec<char> {
    let top = schedule.rates.iter().map(|r| r.signals_per_s);
    let top = top.fold(f64::MIN_POSITIVE, f64::max);
    let edge = |column: usize| column as u64 * schedule.length_ms / columns as u64;
    let highest = |column: usize| {
        let (from, to) = (edge(column), edge(column + 1));
        let inside = schedule
            .rates
            .iter()
            .filter(|r| r.from_ms > from && r.from_ms < to)
            .map(|r| r.signals_per_s);
        let rate = inside.fold(schedule.rate_at(from), f64::max);
        let level = (rate / top * 9.0).round() as u32;
        char::from_digit(level.min(9), 10).unwrap_or('9')
    };
    (0..columns).map(highest).collect()
}

fn push(out: &mut String, label: usize, name: &str, line: &[char]) {
    let line: String = line.iter().collect();
    let _ = writeln!(out, "{name:>label$}  {}", line.trim_end());
}
