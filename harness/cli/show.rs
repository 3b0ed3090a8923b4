//! The live view's three forms: a few lines that are redrawn on a terminal, a line with a timestamp
//! where there is none, and JSON on demand.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use firedrill_journal::Event;
use firedrill_runner::Offence;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::course::clock;
use crate::live::{Live, Progress};

const REDRAW: Duration = Duration::from_millis(500);
const PLAIN_EVERY: Duration = Duration::from_secs(30);
const JSON_EVERY: Duration = Duration::from_secs(5);
const WIDTH_MIN: usize = 40;
const WIDTH_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Terminal,
    Plain,
    Json,
}

impl Form {
    /// `FIREDRILL_PROGRESS` decides, else whether there is a terminal that nobody calls CI.
    fn choose() -> Self {
        let asked = std::env::var("FIREDRILL_PROGRESS").unwrap_or_default();
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        match asked.as_str() {
            "json" => Form::Json,
            "plain" => Form::Plain,
            _ if terminal => Form::Terminal,
            _ => Form::Plain,
        }
    }

    fn every(self) -> Duration {
        match self {
            Form::Terminal => REDRAW,
            Form::Plain => PLAIN_EVERY,
            Form::Json => JSON_EVERY,
        }
    }
}

/// Whether the view is redrawn in place: what others print in between would be left standing in it.
pub fn is_drawn() -> bool {
    Form::choose() == Form::Terminal
}

/// Looks on until the events end. An offence is handed back, and pulls the switch unless told to go on.
pub fn follow(
    mut live: Live,
    mut events: mpsc::Receiver<Event>,
    offences: mpsc::Sender<Offence>,
    switch: Option<watch::Sender<bool>>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let form = Form::choose();
        let mut drawn = Vec::new();
        let mut phase = String::new();
        let mut passed = 0;
        let mut tick = tokio::time::interval(form.every());
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { break };
                    if let Some(offence) = live.see(&event) {
                        let rule = offence.rule.to_owned();
                        let note = Offence { rule, why: offence.why };
                        let told = offences.send(note).await.is_ok();
                        if let (Some(switch), true) = (&switch, told) {
                            switch.send_replace(true);
                        }
                    }
                    let now = live.progress_phase();
                    if form != Form::Terminal && now != phase {
                        phase = now.to_owned();
                        drawn = draw(form, &live.progress(), &drawn);
                    }
                    if live.passed() > passed {
                        passed = live.passed();
                        announce(form, &live.progress());
                    }
                }
                _ = tick.tick() => drawn = draw(form, &live.progress(), &drawn),
            }
        }
        if form == Form::Terminal {
            draw(form, &live.progress(), &drawn);
        }
    })
}

/// A checkpoint has passed. On a terminal it stays in view, and JSON lines hold all of them.
fn announce(form: Form, progress: &Progress) {
    let mut out = std::io::stderr().lock();
    if let (Form::Plain, Some(passed)) = (form, checkpoint(progress)) {
        let now = stamp();
        let _ = writeln!(out, "{now} checkpoint {passed}");
    }
}

fn stamp() -> impl std::fmt::Display {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")
}

/// Draws over the lines that were drawn before; returns how long they are now.
fn draw(form: Form, progress: &Progress, before: &[usize]) -> Vec<usize> {
    let mut out = std::io::stderr().lock();
    // Nobody may be looking any more: that is no reason to end the soak.
    match form {
        Form::Json => {
            let line = serde_json::to_string(progress).unwrap_or_default();
            let _ = writeln!(out, "{line}");
            Vec::new()
        }
        Form::Plain => {
            let _ = writeln!(out, "{} {}", stamp(), plain(progress));
            Vec::new()
        }
        Form::Terminal => {
            let columns = columns();
            let lines = block(progress, columns.clamp(WIDTH_MIN, WIDTH_MAX));
            if !before.is_empty() {
                let _ = write!(out, "\x1b[{}A\x1b[J", rows(before, columns));
            }
            for line in &lines {
                let _ = writeln!(out, "{line}");
            }
            lines.iter().map(|line| line.chars().count()).collect()
        }
    }
}

/// How many rows lines of that length take: a terminal that was made narrower has wrapped them.
fn rows(lines: &[usize], columns: usize) -> usize {
    let of = |length: &usize| length.div_ceil(columns.max(1)).max(1);
    lines.iter().map(of).sum()
}

fn columns() -> usize {
    let asked = rustix::termios::tcgetwinsize(std::io::stderr());
    asked.map_or(80, |size| usize::from(size.ws_col))
}

fn p95(progress: &Progress) -> String {
    progress
        .p95_ms
        .map_or_else(|| "—".to_owned(), |ms| format!("{ms:.0} ms"))
}

fn faults(progress: &Progress) -> String {
    match progress.faults.is_empty() {
        true => "none".to_owned(),
        false => progress.faults.join(", "),
    }
}

fn next(progress: &Progress) -> String {
    match (&progress.next, progress.next_in_ms) {
        (Some(drill), Some(ms)) => format!("{drill} in {}", clock(ms)),
        _ => "none".to_owned(),
    }
}

/// The checkpoint that passed last, as it was.
fn checkpoint(p: &Progress) -> Option<String> {
    let last = p.checkpoints.last()?;
    let counts = &last.counts;
    let word = match counts.offences {
        0 => "no offence".to_owned(),
        n => format!("FAIL, {n} offences"),
    };
    Some(format!(
        "{}: {word}, {} accepted, {} rejected, {} unknown, {} first sends, {} mined",
        clock(last.at_ms),
        counts.accepted,
        counts.rejected,
        counts.unknown,
        counts.first_sends,
        counts.mined
    ))
}

fn plain(p: &Progress) -> String {
    let failing = p.first_failing.as_ref();
    let failing = failing.map_or_else(String::new, |why| format!(" · FAILING {why}"));
    format!(
        "{} of {} · {} · {:.1}/s, p95 {} · faults: {} · drills {}/{}, next {}{failing}",
        clock(p.elapsed_ms),
        clock(p.length_ms),
        p.phase,
        p.answers_per_s,
        p95(p),
        faults(p),
        p.drills_done,
        p.drills,
        next(p),
    )
}

/// The lines of the terminal's view, none wider than the terminal.
fn block(p: &Progress, width: usize) -> Vec<String> {
    let left = clock(p.length_ms.saturating_sub(p.elapsed_ms));
    let head = format!("{} of {}", clock(p.elapsed_ms), clock(p.length_ms));
    let tail = format!("{left} left · {}", p.verdict);
    let room = width.saturating_sub(head.chars().count() + tail.chars().count() + 4);
    let filled = room as u64 * p.elapsed_ms.min(p.length_ms) / p.length_ms.max(1);
    let filled = usize::try_from(filled).unwrap_or(0);
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(room - filled));
    let mut lines = vec![
        format!("{head}  {bar}  {tail}"),
        format!("  phase   {}", p.phase),
        format!(
            "  load    {:.1}/s answered, p95 {}, {} unknown",
            p.answers_per_s,
            p95(p),
            p.unknown
        ),
        format!("  faults  {}", faults(p)),
        format!(
            "  drills  {} of {} done, next {}",
            p.drills_done,
            p.drills,
            next(p)
        ),
    ];
    lines.extend(checkpoint(p).map(|c| format!("  passed  {c}")));
    if let Some(why) = &p.first_failing {
        lines.push(format!("  failing {why}"));
    }
    let cut = |line: String| line.chars().take(width).collect();
    lines.into_iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_a_narrower_terminal_has_wrapped_are_drawn_over_as_well() {
        assert_eq!(rows(&[200, 20, 0], 200), 3);
        assert_eq!(rows(&[200, 20, 0], 80), 5);
        assert_eq!(rows(&[200, 20, 0], 0), 221);
    }

    fn lines_of(progress: &Progress, width: usize) -> String {
        block(progress, width).join("\n")
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let progress = Progress {
            elapsed_ms: 754_000,
            length_ms: 2_700_000,
            phase: "redis-outage: outage".to_owned(),
            verdict: "no offence",
            answers_per_s: 10.0,
            p95_ms: Some(12.3),
            unknown: 0,
            checkpoints: vec![crate::live::Passed {
                at_ms: 300_000,
                counts: crate::live::Counts::default(),
            }],
            faults: vec!["pause redis".to_owned()],
            drills_done: 5,
            drills: 22,
            next: Some("rpc-degraded".to_owned()),
            next_in_ms: Some(42_000),
            first_failing: Some("x".repeat(300)),
        };
        for width in [40, 80, 200] {
            let lines = block(&progress, width);
            assert!(lines.iter().all(|l| l.chars().count() <= width));
            assert_eq!(lines[0].chars().count(), width);
        }
        let passed = lines_of(&progress, 200).contains("  passed  5:00: no offence, 0 accepted");
        assert!(passed, "{}", lines_of(&progress, 200));
        let line = plain(&progress);
        assert!(
            line.starts_with("12:34 of 45:00 · redis-outage: outage · 10.0/s, p95 12 ms"),
            "{line}"
        );
    }
}
