//! `go-no-go.md`: the one page that a release manager signs.

use std::fmt::Write as _;

use firedrill_verdict::{GateDecision, GateItem, Outcome, Verdict};

use crate::markdown::{cell, code, code_cell, mark, text};
use crate::words::{self, NOT_SIGNED, gate_as_outcome, symbol, warnings};

/// The decision, headline first, with all that it rests on and a place to sign.
pub fn go_no_go(gate: &GateDecision, verdicts: &[Verdict]) -> String {
    let mut out = format!(
        "# {} {}\n\n",
        symbol(gate_as_outcome(gate.outcome)),
        text(&gate.headline)
    );
    header(&mut out, gate, verdicts);
    list(
        &mut out,
        "Reasons",
        "No reason was recorded; see the items.",
        &gate.reasons,
    );
    if !gate.stages.is_empty() {
        list(&mut out, "Stages", "", &stages(gate));
    }
    if !gate.triggers.is_empty() {
        list(&mut out, "Triggers that fired", "", &triggers(gate));
    }
    items(&mut out, &gate.items);
    evidence(&mut out, gate, verdicts);
    let not_exercised: Vec<String> = verdicts
        .iter()
        .flat_map(|verdict| verdict.not_exercised.iter().cloned())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    list(
        &mut out,
        "Not exercised",
        "Nothing was reported as left out.",
        &not_exercised,
    );
    list(&mut out, "Waivers", "None.", &gate.waivers);
    sign_off(&mut out, gate);
    out
}

fn header(out: &mut String, gate: &GateDecision, verdicts: &[Verdict]) {
    let _infallible = write!(
        out,
        "- **Subject:** {}\n- **Policy:** {} ({})\n- **Policy digest:** {}\n- **Class:** {}\n",
        code(&gate.subject),
        text(&gate.policy_title),
        code(&gate.policy),
        code(&gate.policy_sha256),
        text(&gate.class),
    );
    for verdict in verdicts {
        let _infallible = writeln!(
            out,
            "- **Run:** {} of {} {}, target {}, runtime {}, profile {}, seed {}, {} to {}",
            code(&verdict.run.id),
            text(&verdict.subject.name),
            text(&verdict.subject.version),
            text(&verdict.run.target),
            text(&verdict.run.runtime),
            text(&verdict.run.profile),
            verdict.run.seed,
            text(&verdict.run.started_at),
            text(&verdict.run.ended_at),
        );
        for warning in warnings(verdict) {
            let _infallible = writeln!(out, "  - **{}**", text(&warning));
        }
        if verdict.subject.digest != gate.subject {
            let other = code(&verdict.subject.digest);
            let _infallible = writeln!(out, "  - **ANOTHER SUBJECT:** this run judged {other}");
        }
    }
    out.push('\n');
}

fn list(out: &mut String, title: &str, none: &str, lines: &[String]) {
    let _infallible = write!(out, "## {title}\n\n");
    if lines.is_empty() {
        out.push_str(none);
        out.push('\n');
    }
    for line in lines {
        let _infallible = writeln!(out, "- {}", text(line));
    }
    out.push('\n');
}

fn stages(gate: &GateDecision) -> Vec<String> {
    let line =
        |s: &firedrill_verdict::StageDecision| format!("{} {}: {}", s.verdict.word(), s.id, s.what);
    gate.stages.iter().map(line).collect()
}

fn triggers(gate: &GateDecision) -> Vec<String> {
    let line = |t: &firedrill_verdict::TriggerFired| {
        let at = t.fired_at.as_deref().unwrap_or("at the end");
        let then = match &t.rollback {
            Some(rollback) => format!("starts {rollback}"),
            None => "asks a person".to_owned(),
        };
        let due = words::ms(t.due_ms);
        let seen = match t.late_ms {
            Some(late) => format!(
                "due {due} into the run, seen {} later",
                words::ms(Some(late.max(0.0)))
            ),
            None => format!("due {due} into the run, seen by nobody as it happened"),
        };
        format!(
            "{} ({}), {at}: {}; {seen}; {then}",
            t.id, t.class, t.observed
        )
    };
    gate.triggers.iter().map(line).collect()
}

fn items(out: &mut String, items: &[GateItem]) {
    out.push_str("## Items\n\n");
    if items.is_empty() {
        out.push_str("The policy asked for nothing, so nothing was shown.\n\n");
        return;
    }
    out.push_str("| Verdict | Item | Expected | Seen | Source |\n|:--|:--|:--|:--|:--|\n");
    let mut sorted: Vec<&GateItem> = items.iter().collect();
    sorted.sort_by_key(|item| std::cmp::Reverse(item.verdict));
    for item in sorted {
        let _infallible = writeln!(
            out,
            "| {} | {}: {} | {} | {} | {} |",
            mark(item.verdict),
            code_cell(&item.id),
            cell(&item.what),
            code_cell(&item.expected),
            code_cell(&item.observed),
            cell(item.source.as_deref().unwrap_or("—")),
        );
    }
    let passed = items
        .iter()
        .filter(|item| item.verdict == Outcome::Pass)
        .count();
    let _infallible = write!(out, "\n{passed} of {} items passed.\n\n", items.len());
}

fn evidence(out: &mut String, gate: &GateDecision, verdicts: &[Verdict]) {
    out.push_str("## Evidence\n\n");
    if gate.evidence.is_empty() {
        out.push_str("No run was looked at.\n\n");
        return;
    }
    out.push_str("| Verdict | Run | Profile | Subject | Manifest SHA-256 | Journal head |\n");
    out.push_str("|:--|:--|:--|:--|:--|:--|\n");
    for run in &gate.evidence {
        let judged = verdicts.iter().find(|verdict| verdict.run.id == run.run);
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            mark(run.verdict),
            code_cell(&run.run),
            cell(&run.profile),
            code_cell(&run.subject),
            code_cell(&run.manifest_sha256),
            judged.map_or("—".to_owned(), |verdict| code_cell(&verdict.journal_head)),
        );
    }
    out.push('\n');
}

fn sign_off(out: &mut String, gate: &GateDecision) {
    out.push_str("## Sign-off\n\n| Role | Name | Date | Signature |\n|:--|:--|:--|:--|\n");
    if gate.signatures.is_empty() {
        out.push_str("| Release manager | | | |\n");
    }
    for role in &gate.signatures {
        // Without a signature the row stays open, for a pen.
        let shown = |text: Option<&str>| text.map_or(String::new(), |t| format!("{} ", cell(t)));
        let key = role.key.as_ref().map(|key| format!("key {key}, verified"));
        let why = role.why.clone().filter(|why| why != "not signed");
        let _infallible = writeln!(
            out,
            "| {} | {}| {}| {}|",
            cell(&role.role),
            shown(role.signer.as_deref()),
            shown(role.signed_at.as_deref()),
            shown(key.or(why).as_deref()),
        );
    }
    if !gate.signed.is_empty() {
        out.push_str("\n| Confirmed | By | As | On | Note |\n|:--|:--|:--|:--|:--|\n");
    }
    for signed in &gate.signed {
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            code_cell(&signed.item),
            cell(&signed.name),
            cell(&signed.role),
            cell(&signed.date),
            cell(signed.note.as_deref().unwrap_or("—")),
        );
    }
    let counted = gate.signatures.iter().filter(|s| s.counts).count();
    match counted {
        0 => {
            let _infallible = write!(out, "\n**{NOT_SIGNED}**\n");
        }
        n => {
            let _infallible = write!(
                out,
                "\n{n} of {} roles signed the runs; this page itself is signed by `firedrill sign --decision`.\n",
                gate.signatures.len()
            );
        }
    }
}
