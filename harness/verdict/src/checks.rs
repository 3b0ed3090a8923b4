//! One expectation → one verdict.

use std::time::Duration;

use firedrill_plan::{Coverage, Expect, Observe, Predicate, ProbeKind, ProbeRef, When};

use crate::counts::{judge_count, judge_sequence};
use crate::coverage::{measure, scaled, too_little};
use crate::growth::judge_growth;
use crate::model::{CheckVerdict, Outcome};
use crate::operators::{Decision, Obs, Span, eventually, inside, not_before, throughout, within};
use crate::predicate::{Observed, Test, bounds_something, margin, number_of, worse};
use crate::window::{Resolved, Scene, Series, observed};
use crate::words::{self, count, ms, to_ms};

/// Journal lines named as evidence at the most.
const EVIDENCE_MAX: usize = 20;

/// What was found out about an expectation.
#[derive(Debug, Default)]
pub struct Finding {
    pub verdict: Option<Outcome>,
    pub observed: String,
    pub worst: Option<f64>,
    pub margin: Option<f64>,
    pub samples: u64,
    pub coverage: Option<f64>,
    pub gap: Option<u64>,
    pub at: Option<u64>,
    pub evidence: Vec<u64>,
}

impl Finding {
    fn unknown(why: impl Into<String>) -> Self {
        Finding {
            verdict: Some(Outcome::Inconclusive),
            observed: why.into(),
            ..Finding::default()
        }
    }

    pub fn set(mut self, verdict: Outcome, observed: impl Into<String>) -> Self {
        self.verdict = Some(verdict);
        self.observed = observed.into();
        self
    }

    fn decided(mut self, obs: &Obs) -> Self {
        self.at = Some(obs.end);
        self.evidence = vec![obs.seq];
        self
    }
}

/// Judges one expectation. Whatever is missing for it makes it INCONCLUSIVE, with the reason.
pub fn judge_check(scene: &Scene<'_>, expect: &Expect) -> CheckVerdict {
    let found = match &expect.observe {
        Observe::Value { probe, is } => judge_value(scene, expect, probe, is),
        Observe::Growth { probe, growth, is } => judge_growth(scene, expect, probe, *growth, is),
        Observe::Count { facts, is } => judge_count(scene, expect, facts, is),
        Observe::Sequence { facts } => judge_sequence(scene, expect, facts),
    };
    let found = found.unwrap_or_else(Finding::unknown);
    let mut verdict = found.verdict.unwrap_or(Outcome::Inconclusive);
    let mut observed = found.observed;
    if expect.precondition && verdict == Outcome::Fail {
        verdict = Outcome::Inconclusive;
        observed = format!("the precondition does not hold: {observed}");
    }
    CheckVerdict {
        id: expect.id.clone(),
        what: expect.what.clone(),
        source: expect.source.clone(),
        precondition: expect.precondition,
        verdict,
        expected: words::expected(expect),
        observed,
        worst: found.worst.filter(|w| w.is_finite()),
        margin: found.margin.filter(|m| m.is_finite()),
        samples: found.samples,
        coverage: found.coverage,
        largest_gap_ms: found.gap.map(to_ms),
        at_ms: found.at.map(to_ms),
        evidence: found.evidence.into_iter().take(EVIDENCE_MAX).collect(),
    }
}

/// A check of a value, with what all of its operators need.
struct ValueCheck<'a> {
    scene: &'a Scene<'a>,
    probe: &'a ProbeRef,
    is: &'a Predicate,
    test: Test<'a>,
    every: Duration,
    coverage: Coverage,
}

fn judge_value(
    scene: &Scene<'_>,
    expect: &Expect,
    probe: &ProbeRef,
    is: &Predicate,
) -> Result<Finding, String> {
    let check = ValueCheck {
        scene,
        probe,
        is,
        test: Test::new(is)?,
        every: scene.probe(&probe.probe)?.every,
        coverage: expect.coverage,
    };
    match &expect.when {
        When::Throughout { window } => check.always(&scene.window(window)?, false),
        When::Never { window } => check.always(&scene.window(window)?, true),
        When::Eventually { window } => check.once(&scene.window(window)?),
        When::Within {
            bound,
            of,
            then_throughout,
        } => {
            let edge = scene.edge(of)?.hi;
            let then = then_throughout.then(|| scene.end_after(of));
            check.in_time(edge, nanos(*bound), then)
        }
        When::NotBefore { bound, of, window } => {
            let edge = scene.edge(of)?.lo;
            check.not_early(edge, nanos(*bound), &scene.window(window)?)
        }
    }
}

pub fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl ValueCheck<'_> {
    fn series(&self, from: u64, to: u64) -> Result<Series<'_>, String> {
        self.scene.series(self.probe, &self.test, from, to)
    }

    /// What a line of the journal saw, in words.
    fn saw(&self, series: &Series<'_>, obs: &Obs) -> String {
        let sample = series.samples.iter().find(|s| s.seq == obs.seq);
        let http = self.scene.is_http(self.probe);
        match sample.map(|s| observed(s, &self.probe.field, http)) {
            Some(Observed::Value(value)) => words::value(value),
            Some(Observed::Number(n)) => words::number(n),
            Some(Observed::Unavailable) => "no answer".to_owned(),
            Some(Observed::Missing(why)) => why,
            None => "nothing".to_owned(),
        }
    }

    /// The commonest reason for missing data in a span, to be named.
    fn missing(&self, series: &Series<'_>, span: Span) -> Option<String> {
        let http = self.scene.is_http(self.probe);
        let missing: Vec<u64> = inside(&series.obs, span)
            .filter(|o| o.ok.is_none())
            .map(|o| o.seq)
            .collect();
        let first = missing.first()?;
        let sample = series.samples.iter().find(|s| s.seq == *first)?;
        let why = match observed(sample, &self.probe.field, http) {
            Observed::Missing(why) => why,
            Observed::Value(value) => {
                format!(
                    "`{}` is not comparable: {}",
                    self.probe.field,
                    words::value(value)
                )
            }
            Observed::Unavailable => "no answer".to_owned(),
            Observed::Number(_) => "it can't be compared".to_owned(),
        };
        let n = count(missing.len() as u64, "observation");
        Some(format!("{n} without a value, the first: {why}"))
    }

    /// Coverage of a span, and why it is too little if it is.
    fn cover(&self, series: &Series<'_>, span: Span, min: &Coverage) -> (Finding, Option<String>) {
        let seen = measure(&series.obs, span, self.every, &self.scene.index.starved);
        let little = too_little(&seen, min).map(|why| match self.missing(series, span) {
            Some(missing) => format!("too little data: {why} ({missing})"),
            None => format!("too little data: {why}"),
        });
        let finding = Finding {
            samples: seen.values,
            coverage: Some(seen.share),
            gap: Some(seen.gap),
            ..Finding::default()
        };
        (finding, little)
    }

    fn scaled(&self, span: Span) -> Coverage {
        scaled(&self.coverage, span, self.every)
    }

    /// The worst number in a span, where the values are numbers.
    fn worst(&self, series: &Series<'_>, span: Span) -> Option<f64> {
        let http = self.scene.is_http(self.probe);
        let mut worst: Option<f64> = None;
        for (obs, sample) in series.obs.iter().zip(series.samples) {
            if !span.holds(obs) {
                continue;
            }
            let n = match observed(sample, &self.probe.field, http) {
                Observed::Value(value) => number_of(value),
                Observed::Number(n) => Some(n),
                Observed::Unavailable | Observed::Missing(_) => None,
            };
            if let Some(n) = n {
                worst = Some(worst.map_or(n, |w| worse(self.is, w, n)));
            }
        }
        worst
    }

    /// A query whose number is bounded from above: with a condition that nothing meets it is 0, and holds.
    fn counts_rows(&self) -> bool {
        let probe = self.scene.probe(&self.probe.probe);
        bounds_something(self.is) && probe.is_ok_and(|p| matches!(p.kind, ProbeKind::Sql { .. }))
    }

    fn always(&self, window: &Resolved, never: bool) -> Result<Finding, String> {
        let span = window.span;
        let mut series = self.series(span.from, span.to)?;
        if never {
            let http = self.scene.is_http(self.probe);
            for (obs, sample) in series.obs.iter_mut().zip(series.samples) {
                // No answer shows neither that it was so nor that it wasn't.
                obs.ok = match observed(sample, &self.probe.field, http) {
                    Observed::Unavailable => None,
                    _ => obs.ok.map(|ok| !ok),
                };
            }
        }
        let (mut finding, little) = self.cover(&series, span, &self.coverage);
        finding.worst = self.worst(&series, span);
        if !never {
            finding.margin = finding.worst.and_then(|w| margin(self.is, w));
        }
        let n = count(finding.samples, "sample");
        if let Decision::Violated(obs) = throughout(&series.obs, span) {
            let all: Vec<u64> = inside(&series.obs, span)
                .filter(|o| o.ok == Some(false))
                .map(|o| o.seq)
                .collect();
            let words = format!(
                "{} at {} after the window's start; {} of {n} broke it",
                self.saw(&series, &obs),
                ms(obs.end.saturating_sub(span.from)),
                all.len()
            );
            let mut finding = finding.decided(&obs).set(Outcome::Fail, words);
            finding.evidence = all;
            return Ok(finding);
        }
        if let Some(why) = little {
            return Ok(finding.set(Outcome::Inconclusive, why));
        }
        if !window.complete {
            let words = format!("held in {n}, but the window was not seen to its end");
            return Ok(finding.set(Outcome::Inconclusive, words));
        }
        if !never && finding.worst == Some(0.0) && self.counts_rows() {
            let words = format!(
                "0 in all of {n}: there was nothing to bound; where none is meant, say equals = 0"
            );
            return Ok(finding.set(Outcome::Inconclusive, words));
        }
        let worst = finding
            .worst
            .filter(|_| finding.margin.is_some())
            .map(|w| format!(", worst {}", words::number(w)));
        let words = format!("held in {n}{}", worst.unwrap_or_default());
        Ok(finding.set(Outcome::Pass, words))
    }

    fn once(&self, window: &Resolved) -> Result<Finding, String> {
        let span = window.span;
        let series = self.series(span.from, span.to)?;
        let (finding, little) = self.cover(&series, span, &self.coverage);
        let n = count(finding.samples, "sample");
        if let Decision::Holds(Some(obs)) = eventually(&series.obs, span) {
            let after = ms(obs.end.saturating_sub(span.from));
            let words = format!("{} after {after}; {n}", self.saw(&series, &obs));
            return Ok(finding.decided(&obs).set(Outcome::Pass, words));
        }
        let n = format!("{n}{}", self.last(&series, span));
        Ok(self.unseen(finding, little, window.complete, &n))
    }

    /// What a span ends with, where it never held what was looked for.
    fn last(&self, series: &Series<'_>, span: Span) -> String {
        let last = inside(&series.obs, span).filter(|o| o.ok.is_some()).last();
        last.map_or_else(String::new, |o| format!(", last {}", self.saw(series, &o)))
    }

    fn unseen(&self, finding: Finding, little: Option<String>, complete: bool, n: &str) -> Finding {
        let wanted = words::predicate(self.is);
        match little {
            Some(why) => finding.set(Outcome::Inconclusive, format!("{wanted} not seen; {why}")),
            None if !complete => finding.set(
                Outcome::Inconclusive,
                format!("{wanted} not seen before the journal ends"),
            ),
            None => finding.set(Outcome::Fail, format!("{wanted} never seen in {n}")),
        }
    }

    fn in_time(&self, edge: u64, bound: u64, then: Option<(u64, bool)>) -> Result<Finding, String> {
        let horizon = self.scene.horizon();
        let series = self.series(edge, then.map_or(horizon, |(to, _)| to.max(horizon)))?;
        let limit = edge.saturating_add(bound);
        let early = Span {
            from: edge,
            to: limit,
        };
        let whole = Span {
            from: edge,
            to: then.map_or(limit.min(horizon), |(to, _)| to.max(edge)),
        };
        let (mut finding, little) = self.cover(&series, whole, &self.coverage);
        let n = count(finding.samples, "sample");
        let decision = within(&series.obs, edge, bound, then.map(|(to, _)| to));
        let first = inside(
            &series.obs,
            Span {
                from: edge,
                to: u64::MAX,
            },
        )
        .find(|o| o.ok == Some(true));
        if let Some(first) = first {
            let took = first.end.saturating_sub(edge);
            finding.worst = Some(to_ms(took));
            finding.margin = margin(&Predicate::AtMost(bound as f64), took as f64);
        }
        let (_, blind) = self.cover(&series, early, &self.scaled(early));
        let after = |o: &Obs| ms(o.end.saturating_sub(edge));
        Ok(match decision {
            Decision::Unseen => {
                let n = format!("{n}{}", self.last(&series, early));
                self.unseen(finding, blind, horizon >= limit, &n)
            }
            Decision::Violated(obs) if obs.ok == Some(false) => {
                let (saw, is) = (self.saw(&series, &obs), words::predicate(self.is));
                let words = match first.is_some_and(|first| first.end <= obs.end) {
                    true => format!("{saw} at {}, after it had been {is}", after(&obs)),
                    false => format!("{is} never seen in {n}; still {saw} at {}", after(&obs)),
                };
                finding.decided(&obs).set(Outcome::Fail, words)
            }
            Decision::Violated(obs) => {
                let words = format!("{} after {}; {n}", self.saw(&series, &obs), after(&obs));
                match blind {
                    Some(why) => finding
                        .decided(&obs)
                        .set(Outcome::Inconclusive, format!("{words}; {why}")),
                    None => finding.decided(&obs).set(Outcome::Fail, words),
                }
            }
            Decision::Holds(None) => finding.set(Outcome::Inconclusive, "no data"),
            Decision::Holds(Some(obs)) => {
                let words = format!("{} after {}; {n}", self.saw(&series, &obs), after(&obs));
                // Without a `then` one observation in time is all that is asked for.
                let little = little.filter(|_| then.is_some());
                let open = then.is_some_and(|(_, complete)| !complete);
                let finding = finding.decided(&obs);
                seen_through(finding, words, little, open)
            }
        })
    }

    fn not_early(&self, edge: u64, bound: u64, window: &Resolved) -> Result<Finding, String> {
        let until = window.span.to;
        let series = self.series(edge, until)?;
        let whole = Span {
            from: edge,
            to: until,
        };
        let (mut finding, little) = self.cover(&series, whole, &self.coverage);
        let n = count(finding.samples, "sample");
        let obs = match not_before(&series.obs, edge, bound, until) {
            Decision::Unseen => return Ok(self.unseen(finding, little, window.complete, &n)),
            Decision::Holds(None) => return Ok(finding.set(Outcome::Inconclusive, "no data")),
            Decision::Violated(obs) | Decision::Holds(Some(obs)) => obs,
        };
        let took = obs.end.saturating_sub(edge);
        finding.worst = Some(to_ms(took));
        finding.margin = margin(&Predicate::AtLeast(bound as f64), took as f64);
        let finding = finding.decided(&obs);
        let words = format!("{} after {}; {n}", self.saw(&series, &obs), ms(took));
        if obs.end < edge.saturating_add(bound) {
            return Ok(finding.set(Outcome::Fail, words));
        }
        // What wasn't looked at before the bound may have been there already.
        let before = Span {
            from: edge,
            to: edge.saturating_add(bound).min(until),
        };
        let (_, blind) = self.cover(&series, before, &self.scaled(before));
        Ok(match blind {
            Some(why) => finding.set(Outcome::Inconclusive, format!("{words}; {why}")),
            None => finding.set(Outcome::Pass, words),
        })
    }
}

/// What held is a PASS only if enough was seen, to the window's end.
fn seen_through(finding: Finding, words: String, little: Option<String>, open: bool) -> Finding {
    match little {
        Some(why) => finding.set(Outcome::Inconclusive, format!("{words}; {why}")),
        None if open => finding.set(
            Outcome::Inconclusive,
            format!("{words}, but the window was not seen to its end"),
        ),
        None => finding.set(Outcome::Pass, words),
    }
}
