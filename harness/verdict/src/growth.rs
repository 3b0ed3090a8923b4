//! How much a counter grew over a window, as a range that certainly holds the truth.
//!
//! Samples say what a counter was at their moments only. Between the window's edge and the sample next
//! to it, and between a sample and a restart, nobody looked: so the samples inside the window give a lower
//! bound of the growth, those around it an upper one, and a restart takes the upper one away. A check is
//! decided only where the whole range is on one side of its bound.

use firedrill_plan::{Expect, Growth, Predicate, ProbeRef, When};

use crate::checks::Finding;
use crate::coverage::{measure, too_little};
use crate::model::Outcome;
use crate::operators::{Obs, Span};
use crate::predicate::{Observed, Test, is_existence, margin, number_of};
use crate::window::{Scene, observed};
use crate::words::{count, ms, number};

/// One reading of the counter.
#[derive(Clone, Copy, Debug)]
struct Reading {
    due: u64,
    end: u64,
    value: f64,
    seq: u64,
}

/// Growth from the first to the last of some readings, and how often the counter started anew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Grown {
    by: f64,
    resets: u64,
}

/// A counter only ever falls by starting anew, from 0: what it shows then, it has counted since.
fn grown(readings: &[Reading]) -> Grown {
    let mut grown = Grown::default();
    for pair in readings.windows(2) {
        let (before, after) = (pair[0].value, pair[1].value);
        if after < before {
            grown.resets += 1;
            grown.by += after;
        } else {
            grown.by += after - before;
        }
    }
    grown
}

pub fn judge_growth(
    scene: &Scene<'_>,
    expect: &Expect,
    probe: &ProbeRef,
    growth: Growth,
    is: &Predicate,
) -> Result<Finding, String> {
    let When::Throughout { window } = &expect.when else {
        return Err("a growth can only be asked for over a window".to_owned());
    };
    let resolved = scene.window(window)?;
    // What has to be there may have begun with the request, as it does for facts.
    let from = if is_existence(is) {
        resolved.loose_from
    } else {
        resolved.span.from
    };
    let span = Span {
        from,
        to: resolved.span.to,
    };
    let every = scene.probe(&probe.probe)?.every;
    let Sampled {
        readings,
        seen,
        missing,
    } = sampled(scene, probe, span);
    let scale = match growth {
        Growth::Total => 1.0,
        Growth::PerSecond => 1e9 / (span.len().max(1) as f64),
    };
    let covered = measure(&seen, span, every, &scene.index.starved);
    let little = too_little(&covered, &expect.coverage).map(|why| match missing {
        Some(missing) => format!("too little data: {why} ({missing})"),
        None => format!("too little data: {why}"),
    });
    let finding = Finding {
        samples: covered.values,
        coverage: Some(covered.share),
        gap: Some(covered.gap),
        ..Finding::default()
    };
    let range = Range::of(&readings, span, scale);
    decide(finding, is, range, little, resolved.complete)
}

/// A probe's samples: those that hold a number, all of them, and why the first one in the span holds none.
struct Sampled {
    readings: Vec<Reading>,
    seen: Vec<Obs>,
    missing: Option<String>,
}

/// Of readings that overlap in time nobody knows which saw the later value, so only the first is taken: the
/// other could look like a counter that started anew.
fn sampled(scene: &Scene<'_>, probe: &ProbeRef, span: Span) -> Sampled {
    let http = scene.is_http(probe);
    let mut all = Sampled {
        readings: Vec::new(),
        seen: Vec::new(),
        missing: None,
    };
    for at in scene.index.samples_in(&probe.probe, 0, u64::MAX) {
        let due = at.sample.due_ns;
        let end = due.saturating_add(at.sample.took_ns);
        let value = match observed(at, &probe.field, http) {
            Observed::Value(value) => number_of(value),
            Observed::Missing(why) => {
                let inside = due >= span.from && end <= span.to;
                all.missing = all.missing.or(inside.then_some(why));
                None
            }
            Observed::Number(_) | Observed::Unavailable => None,
        };
        all.seen.push(Obs {
            due,
            end,
            ok: value.map(|_| true),
            seq: at.seq,
        });
        let free = all.readings.last().is_none_or(|last| last.end <= due);
        all.readings
            .extend(value.filter(|_| free).map(|value| Reading {
                due,
                end,
                value,
                seq: at.seq,
            }));
    }
    all
}

/// What the growth was at least, and at most where that is known.
struct Range {
    least: f64,
    most: Option<f64>,
    resets: u64,
    evidence: Vec<u64>,
}

impl Range {
    fn of(readings: &[Reading], span: Span, scale: f64) -> Self {
        let inside: Vec<Reading> = readings
            .iter()
            .filter(|r| r.due >= span.from && r.end <= span.to)
            .copied()
            .collect();
        let inner = grown(&inside);
        // From the last reading that was over when the window began to the first that began when it was over.
        let first = readings.iter().rposition(|r| r.end <= span.from);
        let last = readings.iter().position(|r| r.due >= span.to);
        let outer = match (first, last) {
            (Some(first), Some(last)) if first <= last => Some(grown(&readings[first..=last])),
            _ => None,
        };
        let ends = [inside.first(), inside.last()].into_iter().flatten();
        Range {
            least: inner.by * scale,
            most: outer.filter(|o| o.resets == 0).map(|o| o.by * scale),
            resets: outer.map_or(inner.resets, |o| o.resets),
            evidence: ends.map(|r| r.seq).collect(),
        }
    }

    fn words(&self) -> String {
        match self.most {
            Some(most) if most > self.least => {
                format!("{} to {}", number(self.least), number(most))
            }
            Some(_) => number(self.least),
            None => format!("at least {}", number(self.least)),
        }
    }
}

/// What the growth that was seen decides by itself: it happened, whatever wasn't seen.
fn by_least(test: &Test<'_>, is: &Predicate, range: &Range) -> Result<Option<bool>, String> {
    let holds = test
        .number(range.least)
        .ok_or("the growth can't be compared")?;
    Ok(match is {
        Predicate::AtLeast(_) | Predicate::Above(_) => holds.then_some(true),
        Predicate::AtMost(_) | Predicate::Below(_) => (!holds).then_some(false),
        Predicate::Equals(wanted) => {
            let wanted = number_of(wanted).ok_or("the growth can't be compared")?;
            (range.least > wanted).then_some(false)
        }
        _ => None,
    })
}

/// What both ends of the range decide together.
fn by_range(test: &Test<'_>, is: &Predicate, range: &Range) -> Option<bool> {
    let most = range.most?;
    if let Predicate::Equals(wanted) = is
        && most < number_of(wanted)?
    {
        return Some(false);
    }
    let (least, most_holds) = (test.number(range.least)?, test.number(most)?);
    let single = range.least >= most || !matches!(is, Predicate::Equals(_));
    (single && least == most_holds).then_some(least)
}

fn decide(
    mut finding: Finding,
    is: &Predicate,
    range: Range,
    little: Option<String>,
    complete: bool,
) -> Result<Finding, String> {
    let worst = match is {
        Predicate::AtLeast(_) | Predicate::Above(_) => Some(range.least),
        _ => range.most,
    };
    finding.worst = worst;
    finding.margin = worst.and_then(|w| margin(is, w));
    finding.evidence = range.evidence.clone();
    let mut words = format!("{} in {}", range.words(), count(finding.samples, "sample"));
    if range.resets > 0 {
        words = format!("{words}, {}", count(range.resets, "restart of the counter"));
    }
    if finding.samples == 0 {
        let why = little.unwrap_or_else(|| "no data".to_owned());
        return Ok(finding.set(Outcome::Inconclusive, why));
    }
    let test = Test::new(is)?;
    match by_least(&test, is, &range)? {
        Some(true) => return Ok(finding.set(Outcome::Pass, words)),
        Some(false) => return Ok(finding.set(Outcome::Fail, words)),
        None => {}
    }
    if let Some(why) = little {
        return Ok(finding.set(Outcome::Inconclusive, format!("{words}; {why}")));
    }
    if !complete {
        let words = format!("{words}, but the window was not seen to its end");
        return Ok(finding.set(Outcome::Inconclusive, words));
    }
    Ok(match by_range(&test, is, &range) {
        Some(true) => finding.set(Outcome::Pass, words),
        Some(false) => finding.set(Outcome::Fail, words),
        None => {
            let gap = ms(finding.gap.unwrap_or_default());
            let words = format!("{words}: what was counted unseen (up to {gap}) decides it");
            finding.set(Outcome::Inconclusive, words)
        }
    })
}
