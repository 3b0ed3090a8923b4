//! Plain text for terminals and CI logs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use firedrill_verdict::{AuditCheck, CheckVerdict, DrillVerdict, FaultVerdict, Outcome, Verdict};

use crate::clean;
use crate::words::{
    NOT_APPLICABLE, checks_failures_first, drill_label, lost_words, margin, ms, phase_at,
    short_digest, symbol, worst_margin,
};

/// Log lines that a failure shows per service.
const LOG_LINES_MAX: usize = 12;
/// Lines of an offending slice that a failure shows.
const SLICE_LINES_MAX: usize = 20;
/// Widest column of a summary table, in characters.
const COLUMN_MAX: usize = 60;

/// The first line of every output: what was judged, and how it ended.
pub fn summary_line(verdict: &Verdict) -> String {
    let name = match verdict.drills.as_slice() {
        [] => match &verdict.observe {
            Some(seen) => format!(
                "stage {} of {}",
                clean::line(&seen.stage),
                clean::line(&seen.policy)
            ),
            None => "no drill".to_owned(),
        },
        [drill] => clean::line(&drill.name),
        many => format!("{} drills", many.len()),
    };
    let mut line = format!(
        "{} {name} · subject {} · target {} · profile {} · seed {} · worst margin {}",
        verdict.verdict.word(),
        clean::line(&short_digest(&verdict.subject.digest)),
        clean::line(&verdict.run.target),
        clean::line(&verdict.run.profile),
        verdict.run.seed,
        margin(worst_margin(verdict)),
    );
    if let Some(defect) = &verdict.subject.defect {
        let _infallible = write!(line, " · DEFECT {}", clean::line(defect));
    }
    if verdict.run.runtime == "process" {
        line.push_str(" · RUNTIME process (no containers)");
    }
    line
}

/// One row per drill of all runs, failures first.
pub fn summary_table(verdicts: &[Verdict]) -> String {
    let mut rows: Vec<(Outcome, [String; 6])> = Vec::new();
    for verdict in verdicts {
        for drill in &verdict.drills {
            rows.push((drill.verdict, drill_row(verdict, drill)));
        }
        if verdict.drills.is_empty() || verdict.audit.verdict > Outcome::Pass {
            rows.push((verdict.audit.verdict, audit_row(verdict)));
        }
    }
    if rows.is_empty() {
        return "nothing was judged\n".to_owned();
    }
    rows.sort_by_key(|(outcome, _)| std::cmp::Reverse(*outcome));
    let header = ["verdict", "drill", "checks", "recovery", "margin", "reason"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(header)
        .chain(rows.into_iter().map(|(_, row)| row))
        .collect();
    align(&rows)
}

fn drill_row(verdict: &Verdict, drill: &DrillVerdict) -> [String; 6] {
    let passed = drill
        .checks
        .iter()
        .filter(|check| check.verdict == Outcome::Pass)
        .count();
    [
        mark(drill.verdict),
        cell(&drill_label(verdict, drill)),
        format!("{passed}/{}", drill.checks.len()),
        ms(drill.recovery_ms.map(|value| value as f64)),
        margin(drill.worst_margin),
        cell(&reason(verdict, drill)),
    ]
}

/// Its first reason; without one, what the audit did not hold against it.
fn reason(verdict: &Verdict, drill: &DrillVerdict) -> String {
    let lost = || verdict.audit.lost_by_restore.as_ref().map(lost_words);
    let first = drill.reasons.first().cloned();
    first.or_else(lost).unwrap_or_default()
}

fn audit_row(verdict: &Verdict) -> [String; 6] {
    let audit = &verdict.audit;
    let passed = audit
        .checks
        .iter()
        .filter(|check| check.verdict == Outcome::Pass)
        .count();
    [
        mark(audit.verdict),
        cell(&format!("audit of {}", verdict.run.id)),
        format!("{passed}/{}", audit.checks.len()),
        NOT_APPLICABLE.to_owned(),
        NOT_APPLICABLE.to_owned(),
        cell(audit.reasons.first().map_or("", String::as_str)),
    ]
}

fn mark(outcome: Outcome) -> String {
    format!("{} {}", symbol(outcome), outcome.word())
}

/// A cell's text, harmless and no wider than a column.
fn cell(text: &str) -> String {
    let text = clean::line(text);
    if text.chars().count() <= COLUMN_MAX {
        return text;
    }
    let mut short: String = text.chars().take(COLUMN_MAX - 1).collect();
    short.push('…');
    short
}

fn align(rows: &[[String; 6]]) -> String {
    let widths: [usize; 6] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (text, width) in row.iter().zip(widths) {
            let padding = width - text.chars().count();
            let _infallible = write!(line, "{text}{:padding$}  ", "");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Why one drill did not pass: each expectation with what was seen and when, the last log lines of
/// the services concerned, where the evidence lies, and the line that runs it again.
pub fn text_failure(
    verdict: &Verdict,
    drill: &DrillVerdict,
    logs: &BTreeMap<String, Vec<String>>,
    evidence: &str,
    rerun: &str,
) -> String {
    let mut out = String::new();
    put(&mut out, "", &summary_line(verdict));
    let name = clean::line(&drill_label(verdict, drill));
    put(
        &mut out,
        "",
        &format!(
            "{}  {name}: {}",
            mark(drill.verdict),
            clean::line(&drill.title)
        ),
    );
    for reason in of_the_run(verdict)
        .chain(&drill.reasons)
        .take(SLICE_LINES_MAX)
    {
        put(&mut out, "  because   ", &clean::line(reason));
    }
    for need in drill
        .needs
        .iter()
        .filter(|need| need.verdict != Outcome::Pass)
    {
        let what = clean::line(&need.what);
        out.push('\n');
        put(
            &mut out,
            "  ",
            &format!("{}  need {what}", mark(need.verdict)),
        );
        put(&mut out, "    expected  ", &clean::line(&need.expected));
        put(&mut out, "    seen      ", &clean::line(&need.observed));
    }
    for fault in drill
        .faults
        .iter()
        .filter(|fault| fault.verdict != Outcome::Pass)
    {
        put_fault(&mut out, fault);
    }
    for check in checks_failures_first(&drill.checks) {
        if check.verdict != Outcome::Pass {
            put_check(&mut out, verdict, drill, check);
        }
    }
    for equation in verdict
        .audit
        .checks
        .iter()
        .filter(|check| check.verdict != Outcome::Pass)
    {
        put_equation(&mut out, equation);
    }
    for (service, lines) in services_concerned(drill, logs) {
        put_log(&mut out, service, lines);
    }
    out.push('\n');
    put(&mut out, "  evidence  ", &clean::line(evidence));
    put(&mut out, "  run again ", &clean::line(rerun));
    out
}

fn put(out: &mut String, label: &str, text: &str) {
    out.push_str(label);
    out.push_str(text);
    out.push('\n');
}

fn put_check(out: &mut String, verdict: &Verdict, drill: &DrillVerdict, check: &CheckVerdict) {
    let kind = if check.precondition {
        "precondition "
    } else {
        ""
    };
    let (id, what) = (clean::line(&check.id), clean::line(&check.what));
    out.push('\n');
    put(
        out,
        "  ",
        &format!("{}  {kind}{id}: {what}", mark(check.verdict)),
    );
    put(out, "    expected  ", &clean::line(&check.expected));
    put(out, "    seen      ", &clean::line(&check.observed));
    if let Some(at_ms) = check.at_ms {
        let phase = phase_at(verdict, drill.episode, at_ms).map_or(String::new(), |phase| {
            format!(", in phase {}", clean::line(phase))
        });
        put(
            out,
            "    when      ",
            &format!("{at_ms:.0} ms into the run{phase}"),
        );
    }
    if !check.evidence.is_empty() {
        let lines: Vec<String> = check.evidence.iter().take(20).map(u64::to_string).collect();
        put(out, "    journal   ", &format!("seq {}", lines.join(", ")));
    }
}

/// The reasons that are neither a drill's nor the audit's: why the run as a whole went wrong, which
/// explains the rest and so comes first.
fn of_the_run(verdict: &Verdict) -> impl Iterator<Item = &String> {
    verdict.reasons.iter().filter(|why| {
        let drill = |d: &DrillVerdict| why.starts_with(&format!("{}: ", d.name));
        !why.starts_with("audit ") && !verdict.drills.iter().any(drill)
    })
}

fn put_fault(out: &mut String, fault: &FaultVerdict) {
    let (kind, target) = (clean::line(&fault.kind), clean::line(&fault.target));
    let phase = clean::line(&fault.phase);
    out.push('\n');
    put(
        out,
        "  ",
        &format!(
            "{}  fault {kind} of {target} in phase {phase}",
            mark(fault.verdict)
        ),
    );
    let reason = fault.reason.as_deref().unwrap_or("no reason was recorded");
    put(out, "    because   ", &clean::line(reason));
    let times = format!(
        "requested {} · proven {} · heal requested {} · healed {}",
        ms(fault.requested_at),
        ms(fault.proven_at),
        ms(fault.heal_requested_at),
        ms(fault.healed_at)
    );
    put(out, "    when      ", &times);
}

fn put_equation(out: &mut String, equation: &AuditCheck) {
    let (id, what) = (clean::line(&equation.id), clean::line(&equation.what));
    out.push('\n');
    put(
        out,
        "  ",
        &format!("{}  audit {id}: {what}", mark(equation.verdict)),
    );
    put(out, "    seen      ", &clean::line(&equation.observed));
    for line in equation.slice.iter().take(SLICE_LINES_MAX) {
        put(out, "    | ", &clean::line(line));
    }
    if equation.slice.len() > SLICE_LINES_MAX {
        let cut = equation.slice.len() - SLICE_LINES_MAX;
        put(
            out,
            "    | ",
            &format!("… {cut} more lines in verdict.json"),
        );
    }
}

fn put_log(out: &mut String, service: &str, lines: &[String]) {
    out.push('\n');
    put(
        out,
        "  ",
        &format!("last log lines of {}", clean::line(service)),
    );
    if lines.is_empty() {
        put(out, "    | ", "(nothing was logged)");
    }
    for line in &lines[lines.len().saturating_sub(LOG_LINES_MAX)..] {
        put(out, "    | ", &clean::line(line));
    }
}

/// The services that what went wrong speaks of; all of them if it names none.
fn services_concerned<'a>(
    drill: &DrillVerdict,
    logs: &'a BTreeMap<String, Vec<String>>,
) -> Vec<(&'a str, &'a [String])> {
    let checks = drill
        .checks
        .iter()
        .filter(|check| check.verdict != Outcome::Pass);
    let said: Vec<&str> = checks
        .flat_map(|check| [&check.id, &check.what, &check.expected, &check.observed])
        .chain(&drill.reasons)
        .map(String::as_str)
        .collect();
    let all = logs
        .iter()
        .map(|(service, lines)| (service.as_str(), lines.as_slice()));
    let named: Vec<_> = all
        .clone()
        .filter(|(service, _)| said.iter().any(|text| has_word(text, service)))
        .collect();
    if named.is_empty() {
        all.collect()
    } else {
        named
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
        .any(|part| part == word)
}
