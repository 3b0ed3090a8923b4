//! Markdown that reads well as a comment in GitHub or Jira: plain tables, no HTML.

use std::fmt::Write as _;

use firedrill_verdict::{
    AuditVerdict, CheckVerdict, DrillVerdict, GateDecision, ObserveVerdict, Outcome, SoakVerdict,
    Verdict,
};

use crate::observe;
use crate::text::summary_line;
use crate::words::{
    checks_failures_first, count, coverage, drill_label, drills_failures_first, headline,
    lost_words, margin, ms, share, symbol, warnings,
};
use crate::{Extras, changes, clean, recovery, soak};

/// Longest comment, in bytes; GitHub takes 65,536 characters.
const BYTES_MAX: usize = 60_000;
/// Most rows of a table or list.
const ROWS_MAX: usize = 40;
/// Longest text in a cell, in characters.
const CELL_MAX: usize = 240;

/// The verdict as a comment: verdict line, what changed, recovery, reasons, what failed, then all drills.
pub fn markdown(verdict: &Verdict, gate: Option<&GateDecision>, extras: &Extras) -> String {
    let (outcome, headline) = headline(verdict, gate);
    let mut out = format!(
        "## {} {}\n\n{}\n\n",
        symbol(outcome),
        text(headline),
        code(&summary_line(verdict))
    );
    if let Some(gate) = gate {
        let policy = text(&gate.policy_title);
        let _infallible = write!(
            out,
            "**Gate: {}** under policy {policy}; this run: {}\n\n",
            text(&gate.headline),
            mark(verdict.verdict)
        );
        bullets(&mut out, "Reasons of the gate", &gate.reasons);
    }
    for warning in warnings(verdict) {
        let _infallible = write!(out, "> **{}**\n\n", text(&warning));
    }
    changed(&mut out, verdict, extras);
    recoveries(&mut out, verdict, extras);
    bullets(&mut out, "Reasons", &verdict.reasons);
    match &verdict.observe {
        Some(seen) => watched(&mut out, seen),
        None => drills(&mut out, verdict),
    }
    for drill in drills_failures_first(verdict).into_iter().take(ROWS_MAX) {
        failed_checks(&mut out, verdict, drill);
    }
    if let Some(soak) = &verdict.soak {
        whole_soak(&mut out, soak);
    }
    audit(&mut out, &verdict.audit);
    load(&mut out, verdict);
    bullets(&mut out, "Not exercised", &verdict.not_exercised);
    let _infallible = writeln!(
        out,
        "Run {} · {} to {} · journal head {} · {}",
        code(&verdict.run.id),
        text(&verdict.run.started_at),
        text(&verdict.run.ended_at),
        code(&verdict.journal_head),
        crate::words::NOT_SIGNED
    );
    bounded(out)
}

/// Cuts a comment that no server would take at the end of a line, and says so.
fn bounded(mut out: String) -> String {
    if out.len() > BYTES_MAX {
        let end = out.floor_char_boundary(BYTES_MAX);
        out.truncate(out[..end].rfind('\n').unwrap_or(end));
        out.push_str("\n\n… cut: the rest is in report.html\n");
    }
    out
}

/// A live system under one stage.
fn watched(out: &mut String, seen: &ObserveVerdict) {
    bullets(out, "Live canary", &observe::lines(seen));
    out.push_str("| Verdict | Item | Expected | Seen |\n|:--|:--|:--|:--|\n");
    let items = observe::failures_first(seen);
    for item in items.iter().take(ROWS_MAX) {
        let _infallible = writeln!(
            out,
            "| {} | {}: {} | {} | {} |",
            mark(item.verdict),
            code_cell(&item.id),
            cell(&item.what),
            code_cell(&item.expected),
            code_cell(&item.observed),
        );
    }
    out.push('\n');
    rest(out, items.len());
}

fn changed(out: &mut String, verdict: &Verdict, extras: &Extras) {
    let page = changes::page(verdict, extras);
    let _infallible = write!(out, "### What changed\n\n{}\n\n", text(&page.summary));
    for line in page.lines.iter().take(ROWS_MAX) {
        let _infallible = writeln!(out, "- {}", text(line));
    }
    if page.rows.is_empty() {
        out.push('\n');
        return;
    }
    out.push_str("\n| Change | Figure | Accepted | This run | By | Effect |\n");
    out.push_str("|:--|:--|--:|--:|--:|--:|\n");
    for row in &page.rows {
        let why = row.why.as_ref().map(|why| format!(": {}", cell(why)));
        let _infallible = writeln!(
            out,
            "| {} {} | {}{} | {} | {} | {} | {} |",
            row.symbol,
            row.word,
            cell(&row.id),
            why.unwrap_or_default(),
            row.was,
            row.is,
            row.change,
            cell(&row.effect),
        );
    }
    match page.cut {
        0 => out.push('\n'),
        cut => {
            let _infallible = write!(out, "\n… {cut} more figures\n\n");
        }
    }
}

fn recoveries(out: &mut String, verdict: &Verdict, extras: &Extras) {
    let rows = recovery::rows(verdict, extras);
    if rows.is_empty() {
        return;
    }
    out.push_str(
        "### Recovery\n\n| Recovery | Drill | Took | Budget | Of it | Accepted | Trend |\n",
    );
    out.push_str("|:--|:--|--:|--:|--:|--:|:--|\n");
    for row in rows.iter().take(ROWS_MAX) {
        let _infallible = writeln!(
            out,
            "| {} {}{} | {} | {} | {} | {} | {} | {} |",
            row.symbol,
            row.words,
            row.note
                .as_ref()
                .map(|note| format!(", {note}"))
                .unwrap_or_default(),
            cell(&row.drill),
            row.took,
            row.budget,
            row.used,
            row.accepted,
            cell(&row.trend),
        );
    }
    rest(out, rows.len());
}

fn drills(out: &mut String, verdict: &Verdict) {
    out.push_str("### Drills\n\n");
    if verdict.drills.is_empty() {
        out.push_str("No drill was judged.\n\n");
        return;
    }
    out.push_str("| Verdict | Drill | Faults proven | Checks passed | Recovery | Worst margin |\n");
    out.push_str("|:--|:--|--:|--:|--:|--:|\n");
    let drills = drills_failures_first(verdict);
    for drill in drills.iter().take(ROWS_MAX) {
        let proven = drill
            .faults
            .iter()
            .filter(|fault| fault.proven_at.is_some())
            .count();
        let passed = drill
            .checks
            .iter()
            .filter(|check| check.verdict == Outcome::Pass)
            .count();
        let _infallible = writeln!(
            out,
            "| {} | {} | {proven}/{} | {passed}/{} | {} | {} |",
            mark(drill.verdict),
            cell(&drill_label(verdict, drill)),
            drill.faults.len(),
            drill.checks.len(),
            ms(drill.recovery_ms.map(|value| value as f64)),
            margin(drill.worst_margin),
        );
    }
    rest(out, drills.len());
}

fn failed_checks(out: &mut String, verdict: &Verdict, drill: &DrillVerdict) {
    let failed: Vec<&CheckVerdict> = checks_failures_first(&drill.checks)
        .into_iter()
        .filter(|check| check.verdict != Outcome::Pass)
        .collect();
    if drill.verdict == Outcome::Pass && failed.is_empty() {
        return;
    }
    let _infallible = write!(
        out,
        "### {} {}\n\n",
        symbol(drill.verdict),
        text(&drill_label(verdict, drill))
    );
    for reason in drill.reasons.iter().take(ROWS_MAX) {
        let _infallible = writeln!(out, "- {}", text(reason));
    }
    out.push('\n');
    if failed.is_empty() {
        return;
    }
    out.push_str("| Verdict | Check | Expected | Seen | At | Samples | Coverage |\n");
    out.push_str("|:--|:--|:--|:--|--:|--:|--:|\n");
    for check in failed.iter().take(ROWS_MAX) {
        let _infallible = writeln!(
            out,
            "| {} | {}: {} | {} | {} | {} | {} | {} |",
            mark(check.verdict),
            code_cell(&check.id),
            cell(&check.what),
            code_cell(&check.expected),
            code_cell(&check.observed),
            ms(check.at_ms),
            count(check.samples),
            coverage(check.coverage, check.samples),
        );
    }
    rest(out, failed.len());
}

fn whole_soak(out: &mut String, soak: &SoakVerdict) {
    let _infallible = write!(out, "### Soak as a whole: {}\n\n", mark(soak.verdict));
    for line in soak::lines(soak).iter().take(ROWS_MAX) {
        let _infallible = writeln!(out, "- {}", text(line));
    }
    if soak.watches.is_empty() {
        out.push_str("\nNo series was watched.\n\n");
        return;
    }
    out.push_str(
        "\n| Verdict | Watch | Expected | Seen | Samples | Coverage | Largest gap |\n|:--|:--|:--|:--|--:|--:|--:|\n",
    );
    for watch in soak::failures_first(soak).into_iter().take(ROWS_MAX) {
        let _infallible = writeln!(
            out,
            "| {} | {}: {} | {} | {} | {} | {} | {} |",
            mark(watch.verdict),
            code_cell(&watch.id),
            cell(&watch.what),
            cell(&watch.expected),
            cell(&watch.observed),
            count(watch.samples),
            coverage(watch.coverage, watch.samples),
            ms(watch.largest_gap_ms),
        );
    }
    rest(out, soak.watches.len());
}

fn audit(out: &mut String, audit: &AuditVerdict) {
    let _infallible = write!(out, "### Audit: {}\n\n", mark(audit.verdict));
    for reason in audit.reasons.iter().take(ROWS_MAX) {
        let _infallible = writeln!(out, "- {}", text(reason));
    }
    if let Some(lost) = &audit.lost_by_restore {
        let _infallible = writeln!(out, "- {}", lost_words(lost));
    }
    if audit.checks.is_empty() {
        out.push_str("No equation was evaluated.\n\n");
        return;
    }
    out.push_str(
        "\n| Verdict | Equation | Compared | Violations | Seen |\n|:--|:--|--:|--:|:--|\n",
    );
    for check in audit.checks.iter().take(ROWS_MAX) {
        let _infallible = writeln!(
            out,
            "| {} | {}: {} | {} | {} | {} |",
            mark(check.verdict),
            code_cell(&check.id),
            cell(&check.what),
            count(check.samples),
            count(check.violations),
            code_cell(&check.observed),
        );
    }
    rest(out, audit.checks.len());
}

fn load(out: &mut String, verdict: &Verdict) {
    let load = &verdict.load;
    let _infallible = write!(
        out,
        "Load: {} sent, {} acknowledged ({}), {} rejected, {} failed, {} unknown, {} shed",
        count(load.sent),
        count(load.ok),
        share(load.ok, load.sent),
        count(load.rejected),
        count(load.failed),
        count(load.unknown),
        count(load.shed),
    );
    if let Some(latency) = &load.latency_ms {
        let _infallible = write!(
            out,
            "; latency p50 {}, p95 {}, p99 {}, max {}",
            ms(Some(latency.p50)),
            ms(Some(latency.p95)),
            ms(Some(latency.p99)),
            ms(Some(latency.max)),
        );
    }
    out.push_str(".\n\n");
}

fn bullets(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _infallible = write!(out, "### {title}\n\n");
    for line in lines.iter().take(ROWS_MAX) {
        let _infallible = writeln!(out, "- {}", text(line));
    }
    rest(out, lines.len());
}

/// Ends a table or list, and says how much of it was left out.
fn rest(out: &mut String, length: usize) {
    if length > ROWS_MAX {
        let _infallible = write!(out, "\n… {} more in verdict.json\n", length - ROWS_MAX);
    }
    out.push('\n');
}

/// Symbol and word of an outcome.
pub(crate) fn mark(outcome: Outcome) -> String {
    format!("{} {}", symbol(outcome), outcome.word())
}

/// Text in which nothing is markup, a mention or a link.
pub(crate) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let clean = clean::line(raw);
    for (at, character) in clean.char_indices() {
        match character {
            // A mention notifies people even where the sign is escaped.
            '@' => out.push('＠'),
            // `www.` would become a link without any scheme.
            '.' if ends_with_www(&out) => out.push_str("\\."),
            // So would a scheme.
            ':' if clean[at..].starts_with("://") => out.push_str("\\:"),
            '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '{' | '}' | '#' | '|' | '~' | '!'
            | '&' | '$' => {
                out.push('\\');
                out.push(character);
            }
            _ => out.push(character),
        }
    }
    out
}

/// Text in a cell of a table.
pub(crate) fn cell(raw: &str) -> String {
    text(&shorten(raw))
}

/// A code span that its content can't leave.
pub(crate) fn code(raw: &str) -> String {
    let clean = clean::line(raw);
    if clean.is_empty() {
        return "—".to_owned();
    }
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A space keeps a backtick at either end away from the fence.
    let pad = if longest > 0 { " " } else { "" };
    format!("{fence}{pad}{clean}{pad}{fence}")
}

/// A code span in a cell of a table, where a bar would end the cell even within code.
pub(crate) fn code_cell(raw: &str) -> String {
    code(&shorten(raw)).replace('|', "\\|")
}

fn shorten(raw: &str) -> String {
    if raw.len() <= CELL_MAX || raw.chars().count() <= CELL_MAX {
        return raw.to_owned();
    }
    let mut short: String = raw.chars().take(CELL_MAX).collect();
    short.push_str("… cut");
    short
}

fn ends_with_www(text: &str) -> bool {
    text.len() >= 3 && text.as_bytes()[text.len() - 3..].eq_ignore_ascii_case(b"www")
}
