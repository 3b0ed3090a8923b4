//! Checks of facts: how many there were, and in which order.

use firedrill_plan::{Expect, FactSelector, Predicate, When, Window};

use crate::checks::{Finding, nanos};
use crate::facts::{Found, Hit, InOrder, select, sequence};
use crate::model::Outcome;
use crate::operators::Span;
use crate::predicate::{
    Test, bounds_something, count_margin, is_existence, margin, same, wants_more,
};
use crate::window::{Resolved, Scene};
use crate::words::{self, ms, quote, to_ms};

pub fn judge_count(
    scene: &Scene<'_>,
    expect: &Expect,
    facts: &FactSelector,
    is: &Predicate,
) -> Result<Finding, String> {
    match &expect.when {
        When::Throughout { window } | When::Eventually { window } => {
            count_in(scene, facts, is, window, false)
        }
        When::Never { window } => count_in(scene, facts, is, window, true),
        When::Within { bound, of, .. } => {
            let edge = scene.edge(of)?;
            let to = edge.hi.saturating_add(nanos(*bound));
            let span = Span { from: edge.lo, to };
            let found = select(scene, facts, span)?;
            let seen = scene.settled_at(to);
            counted(is, false, &found, seen)
                .map(|f| mark_time(f, is, &found, edge.hi, nanos(*bound)))
        }
        When::NotBefore { bound, of, window } => {
            let edge = scene.edge(of)?.lo;
            let window = scene.window(window)?;
            let span = Span {
                from: edge,
                to: window.span.to,
            };
            let found = select(scene, facts, span)?;
            let settled = window.complete && scene.index.settled(scene.episode);
            Ok(first_not_early(&found, edge, nanos(*bound), settled))
        }
    }
}

fn mark_time(mut f: Finding, is: &Predicate, found: &Found, edge: u64, bound: u64) -> Finding {
    if !is_existence(is) || f.verdict != Some(Outcome::Pass) {
        return f;
    }
    let Ok(test) = Test::new(is) else { return f };
    let nth = (1..=found.hits.len()).find(|n| test.number(*n as f64) == Some(true));
    if let Some(hit) = nth.map(|n| &found.hits[n - 1]) {
        let took = hit.at.saturating_sub(edge);
        f.worst = Some(to_ms(took));
        f.margin = margin(&Predicate::AtMost(bound as f64), took as f64);
        f.at = Some(hit.at);
    }
    f
}

fn count_in(
    scene: &Scene<'_>,
    facts: &FactSelector,
    is: &Predicate,
    window: &Window,
    never: bool,
) -> Result<Finding, String> {
    let resolved = scene.window(window)?;
    let from = if is_existence(is) && !never {
        resolved.loose_from
    } else {
        resolved.span.from
    };
    let span = Span {
        from,
        to: resolved.span.to,
    };
    let found = select(scene, facts, span)?;
    let settled = resolved.complete && scene.index.settled(scene.episode);
    let mut finding = counted(is, never, &found, settled)?;
    let none = matches!(is, Predicate::Equals(v) if same(v.into(), (&serde_json::json!(0)).into()));
    if none && !never && !window.grace.is_zero() && !matches!(facts, FactSelector::Row { .. }) {
        finding.margin = grace_margin(scene, facts, &resolved, finding.verdict)?;
    }
    Ok(finding)
}

/// How much of the grace was left when the last of what mustn't come afterwards came.
fn grace_margin(
    scene: &Scene<'_>,
    facts: &FactSelector,
    window: &Resolved,
    verdict: Option<Outcome>,
) -> Result<Option<f64>, String> {
    if verdict == Some(Outcome::Fail) {
        return Ok(None);
    }
    let grace = window.span.from.saturating_sub(window.proven);
    let inside = Span {
        from: window.proven,
        to: window.span.from,
    };
    let last = select(scene, facts, inside)?.hits.last().map(|h| h.at);
    let offset = last.map_or(0, |at| at.saturating_sub(window.proven));
    Ok((grace > 0).then(|| 1.0 - offset as f64 / grace as f64))
}

/// Judges a count: what is there is certain at once, what isn't there only once nothing can follow
/// and nobody looked away.
fn counted(is: &Predicate, never: bool, found: &Found, settled: bool) -> Result<Finding, String> {
    let n = found.hits.len() as f64;
    let holds = Test::new(is)?
        .number(n)
        .ok_or("the count can't be compared")?
        != never;
    let certain = match (holds, never) {
        (true, false) => is_existence(is),
        (false, false) => !wants_more(is, n),
        (false, true) => is_existence(is),
        (true, true) => !wants_more(is, n),
    };
    let finding = Finding {
        worst: Some(n),
        margin: if never { None } else { count_margin(is, n) },
        samples: found.looked_at,
        evidence: found.hits.iter().map(|h| h.seq).collect(),
        at: found.hits.first().map(|h| h.at),
        ..Finding::default()
    };
    let words = count_words(&found.hits, found.looked_at);
    if holds && !never && n == 0.0 && bounds_something(is) {
        let words = format!("{words}: there was nothing to bound; where none is meant, say none");
        return Ok(finding.set(Outcome::Inconclusive, words));
    }
    let verdict = if holds { Outcome::Pass } else { Outcome::Fail };
    if certain {
        return Ok(finding.set(verdict, words));
    }
    if let Some(gap) = &found.gap {
        return Ok(finding.set(Outcome::Inconclusive, format!("{words}; {gap}")));
    }
    if !settled {
        let words = format!("{words}, but the window was not seen to its end");
        return Ok(finding.set(Outcome::Inconclusive, words));
    }
    Ok(finding.set(verdict, words))
}

fn count_words(hits: &[Hit], looked_at: u64) -> String {
    let of = format!("{} of {looked_at} looked at", hits.len());
    match hits.first() {
        Some(first) => format!(
            "{of}, the first at {}: {}",
            ms(first.at),
            quote(&first.text)
        ),
        None => of,
    }
}

fn first_not_early(found: &Found, edge: u64, bound: u64, settled: bool) -> Finding {
    let finding = Finding {
        samples: found.looked_at,
        evidence: found.hits.first().map(|h| h.seq).into_iter().collect(),
        ..Finding::default()
    };
    let Some(first) = found.hits.first() else {
        return match &found.gap {
            Some(gap) => finding.set(Outcome::Inconclusive, format!("never seen; {gap}")),
            None if !settled => {
                finding.set(Outcome::Inconclusive, "not seen before the journal ends")
            }
            None => finding.set(Outcome::Fail, "never seen"),
        };
    };
    let took = first.at.saturating_sub(edge);
    let words = format!("after {}: {}", ms(took), quote(&first.text));
    let finding = Finding {
        worst: Some(to_ms(took)),
        margin: margin(&Predicate::AtLeast(bound as f64), took as f64),
        at: Some(first.at),
        ..finding
    };
    match &found.gap {
        _ if took < bound => finding.set(Outcome::Fail, words),
        Some(gap) => finding.set(Outcome::Inconclusive, format!("{words}; {gap}")),
        None => finding.set(Outcome::Pass, words),
    }
}

pub fn judge_sequence(
    scene: &Scene<'_>,
    expect: &Expect,
    facts: &[FactSelector],
) -> Result<Finding, String> {
    let (span, complete) = match &expect.when {
        When::Throughout { window } | When::Eventually { window } => {
            let w = scene.window(window)?;
            let span = Span {
                from: w.loose_from,
                to: w.span.to,
            };
            (span, w.complete)
        }
        When::Within { bound, of, .. } => {
            let edge = scene.edge(of)?;
            let to = edge.hi.saturating_add(nanos(*bound));
            (Span { from: edge.lo, to }, scene.settled_at(to))
        }
        When::Never { .. } | When::NotBefore { .. } => {
            return Err("a sequence can only be asked for within a window".to_owned());
        }
    };
    if facts.is_empty() {
        return Err("the sequence is empty".to_owned());
    }
    let InOrder { hits, missing } = sequence(scene, facts, span)?;
    let finding = Finding {
        samples: hits.len() as u64,
        at: hits.last().map(|h| h.at),
        evidence: hits.iter().map(|h| h.seq).collect(),
        ..Finding::default()
    };
    let Some((position, gap)) = missing else {
        let times: Vec<String> = hits
            .iter()
            .map(|h| ms(h.at.saturating_sub(span.from)))
            .collect();
        let words = format!("all {} in order, after {}", hits.len(), times.join(", "));
        return Ok(finding.set(Outcome::Pass, words));
    };
    let wanted = facts.get(position).map(words::selector).unwrap_or_default();
    let words = format!("{} of {} seen; missing: {wanted}", hits.len(), facts.len());
    Ok(match gap {
        Some(gap) => finding.set(Outcome::Inconclusive, format!("{words}; {gap}")),
        None if !complete || !scene.index.settled(scene.episode) => finding.set(
            Outcome::Inconclusive,
            format!("{words}, but the window was not seen to its end"),
        ),
        None => finding.set(Outcome::Fail, words),
    })
}
