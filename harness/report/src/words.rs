//! How numbers, digests and outcomes are written, the same in every format.

use std::cmp::Reverse;

use firedrill_verdict::{
    CheckVerdict, DrillVerdict, GateDecision, GateOutcome, LostByRestore, Outcome, Verdict,
};

/// What is not known, or is a share of nothing: never "0" and never "100 %".
pub(crate) const NOT_APPLICABLE: &str = "n/a";

/// Said wherever a sign-off block stands.
pub(crate) const NOT_SIGNED: &str = "not signed: this output is not tamper-proof";

/// A symbol that carries the outcome without colour.
pub(crate) fn symbol(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "✓",
        Outcome::Fail => "✗",
        Outcome::Inconclusive => "?",
    }
}

/// The gate's outcome in the three values' symbols.
pub(crate) fn gate_as_outcome(outcome: GateOutcome) -> Outcome {
    match outcome {
        GateOutcome::Go | GateOutcome::SmokePass => Outcome::Pass,
        GateOutcome::NoGo | GateOutcome::SmokeFail => Outcome::Fail,
        GateOutcome::Inconclusive => Outcome::Inconclusive,
    }
}

/// What stands largest: the gate's word where a gate decided, else the run's.
pub(crate) fn headline<'a>(
    verdict: &Verdict,
    gate: Option<&'a GateDecision>,
) -> (Outcome, &'a str) {
    match gate {
        Some(gate) => (gate_as_outcome(gate.outcome), gate.headline.as_str()),
        None => (verdict.verdict, verdict.verdict.word()),
    }
}

/// `12345` as `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What the audit did not hold against the target.
pub(crate) fn lost_words(lost: &LostByRestore) -> String {
    format!(
        "lost by the restore: {} signals, {} transactions (dump begun at {}, restored at {})",
        count(lost.signals),
        count(lost.transactions),
        ms(Some(lost.dumped_at_ms)),
        ms(Some(lost.restored_at_ms)),
    )
}

/// Milliseconds: whole ones below a hundred seconds, tenths of a second above.
pub(crate) fn ms(value: Option<f64>) -> String {
    match value.filter(|ms| ms.is_finite()) {
        None => NOT_APPLICABLE.to_owned(),
        Some(ms) if ms.abs() >= 99_999.5 => format!("{:.1} s", ms / 1_000.0),
        // A latency of 0.4 ms is not "0 ms".
        Some(ms) if ms.abs() < 9.95 && ms.fract() != 0.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 0.0 => format!("−{} ms", count(ms.abs().round() as u64)),
        Some(ms) => format!("{} ms", count(ms.round() as u64)),
    }
}

/// A share as whole percent, rounded down so that a margin never looks better than it is.
pub(crate) fn margin(share: Option<f64>) -> String {
    match share.filter(|share| share.is_finite()) {
        None => NOT_APPLICABLE.to_owned(),
        Some(share) => {
            let percent = floor_to(share * 100.0, 1.0);
            let sign = if percent < 0.0 { "−" } else { "" };
            format!("{sign}{:.0} %", percent.abs())
        }
    }
}

/// Coverage in tenths of a percent, rounded down: only full coverage is "100 %".
pub(crate) fn coverage(share: Option<f64>, samples: u64) -> String {
    match share.filter(|share| share.is_finite()) {
        // A share of nothing observed is not applicable, whatever was computed for it.
        Some(share) if samples > 0 || share == 0.0 => {
            let percent = floor_to(share * 100.0, 10.0);
            if percent.fract() == 0.0 {
                format!("{percent:.0} %")
            } else {
                format!("{percent:.1} %")
            }
        }
        _ => NOT_APPLICABLE.to_owned(),
    }
}

/// `part` of `whole` in percent; of nothing it is not applicable.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NOT_APPLICABLE.to_owned();
    }
    coverage(Some(part as f64 / whole as f64), whole)
}

/// Rounds down to a 1/`steps`, forgiving the last bits of a binary fraction (0.29 × 100).
fn floor_to(value: f64, steps: f64) -> f64 {
    (value * steps + 1e-6).floor() / steps
}

/// A value in a check's own unit, without a tail of digits.
pub(crate) fn plain(value: Option<f64>) -> String {
    match value.filter(|value| value.is_finite()) {
        None => NOT_APPLICABLE.to_owned(),
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
            let sign = if value < 0.0 { "−" } else { "" };
            format!("{sign}{}", count(value.abs() as u64))
        }
        Some(value) if value.abs() >= 10_000.0 && value.abs() < 1e15 => plain(Some(value.round())),
        Some(value) if value.abs() >= 100.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 1.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.4}"),
    }
}

/// How long a run took: hours and minutes, minutes and seconds, or milliseconds.
pub(crate) fn span(duration_ms: u64) -> String {
    let seconds = duration_ms / 1_000;
    match seconds {
        0..100 => ms(Some(duration_ms as f64)),
        100..6_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// An RFC 3339 time in UTC to the second, as people read it; anything else as it is.
pub(crate) fn moment(at: &str) -> String {
    let second = at.get(..19).filter(|_| at.ends_with('Z'));
    match second.and_then(|second| second.split_once('T')) {
        Some((day, time)) => format!("{day} {time}"),
        None => at.to_owned(),
    }
}

/// `sha256:` and the first twelve digits: enough for the eye; the whole stands in the report.
pub(crate) fn short_digest(digest: &str) -> String {
    let bare = digest.strip_prefix("sha256:").unwrap_or(digest);
    if bare.is_empty() {
        return "unknown".to_owned();
    }
    let short: String = bare.chars().take(12).collect();
    let tail = if short.len() < bare.len() { "…" } else { "" };
    format!("sha256:{short}{tail}")
}

/// A drill's name, with its episode where one name stands for several.
pub(crate) fn drill_label(verdict: &Verdict, drill: &DrillVerdict) -> String {
    let same = verdict
        .drills
        .iter()
        .filter(|other| other.name == drill.name);
    if same.count() > 1 {
        format!("{} #{}", drill.name, drill.episode)
    } else {
        drill.name.clone()
    }
}

/// The smallest margin over all drills.
pub(crate) fn worst_margin(verdict: &Verdict) -> Option<f64> {
    let margins = verdict.drills.iter().filter_map(|drill| drill.worst_margin);
    margins
        .filter(|margin| margin.is_finite())
        .min_by(f64::total_cmp)
}

/// The phase of an episode in which a moment of the run lies.
pub(crate) fn phase_at(verdict: &Verdict, episode: u32, at_ms: f64) -> Option<&str> {
    verdict
        .timeline
        .windows
        .iter()
        .filter(|window| window.episode == episode && window.requested <= at_ms)
        .max_by(|a, b| a.requested.total_cmp(&b.requested))
        .map(|window| window.phase.as_str())
}

/// Drills with failures first, in the order of the run otherwise.
pub(crate) fn drills_failures_first(verdict: &Verdict) -> Vec<&DrillVerdict> {
    let mut drills: Vec<&DrillVerdict> = verdict.drills.iter().collect();
    drills.sort_by_key(|drill| (Reverse(drill.verdict), drill.episode));
    drills
}

/// Checks with failures first, in the order of the drill otherwise.
pub(crate) fn checks_failures_first(checks: &[CheckVerdict]) -> Vec<&CheckVerdict> {
    let mut checks: Vec<&CheckVerdict> = checks.iter().collect();
    checks.sort_by_key(|check| Reverse(check.verdict));
    checks
}

/// What must not be overlooked about a run: a deliberate defect, plain processes, a dirty tree.
pub(crate) fn warnings(verdict: &Verdict) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(defect) = &verdict.subject.defect {
        warnings.push(format!(
            "DEFECT {defect}: the subject carries a deliberate bug, and can never pass a gate"
        ));
    }
    if verdict.run.runtime == "process" {
        warnings.push(
            "RUNTIME process: plain processes without containers; release policies don't accept it"
                .to_owned(),
        );
    }
    if verdict.subject.dirty == Some(true) {
        warnings.push("DIRTY: built from a work tree with uncommitted changes".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_nothing_is_not_a_hundred_percent() {
        assert_eq!(share(0, 0), "n/a");
        assert_eq!(coverage(Some(1.0), 0), "n/a");
        assert_eq!(coverage(Some(f64::NAN), 3), "n/a");
        assert_eq!(coverage(None, 3), "n/a");
        assert_eq!(coverage(Some(0.0), 0), "0 %");
        assert_eq!(margin(None), "n/a");
    }

    #[test]
    fn shares_are_rounded_down() {
        assert_eq!(coverage(Some(0.9999), 10_000), "99.9 %");
        assert_eq!(coverage(Some(1.0), 1), "100 %");
        assert_eq!(margin(Some(0.29)), "29 %");
        assert_eq!(margin(Some(0.299)), "29 %");
        assert_eq!(margin(Some(-0.004)), "−1 %");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(ms(Some(1_234.4)), "1,234 ms");
        assert_eq!(ms(Some(0.4)), "0.4 ms");
        assert_eq!(ms(Some(13_020.0)), "13,020 ms");
        assert_eq!(ms(Some(161_240.0)), "161.2 s");
        assert_eq!(ms(Some(f64::INFINITY)), "n/a");
        assert_eq!(plain(Some(-3.0)), "−3");
        assert_eq!(plain(Some(95_607_128.7)), "95,607,129");
    }

    #[test]
    fn moments_are_cut_at_the_second() {
        assert_eq!(
            moment("2026-11-21T01:41:26.370890598Z"),
            "2026-11-21 01:41:26"
        );
        assert_eq!(
            moment("2026-11-21T01:41:26+01:00"),
            "2026-11-21T01:41:26+01:00"
        );
        assert_eq!(moment(""), "");
        assert_eq!(moment("日本日本日本日本Z"), "日本日本日本日本Z");
    }

    #[test]
    fn spans_are_told_in_two_units_at_most() {
        assert_eq!(span(12_768), "12,768 ms");
        assert_eq!(span(125_000), "2 min 05 s");
        assert_eq!(span(18_059_999), "5 h 00 min");
    }

    #[test]
    fn digests_are_shortened_once() {
        assert_eq!(
            short_digest("sha256:0123456789abcdef"),
            "sha256:0123456789ab…"
        );
        assert_eq!(short_digest("0123456789abcdef"), "sha256:0123456789ab…");
        assert_eq!(short_digest(""), "unknown");
    }
}
