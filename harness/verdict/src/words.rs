//! Words: values, durations and expectations as people read them.

use std::time::Duration;

use firedrill_journal::Scalar;
use firedrill_plan::{
    Edge, EdgeRef, Expect, FactSelector, FieldBound, Growth, Observe, Predicate, When, Window,
};

/// Bytes of a value of the target's that are quoted.
const QUOTE_MAX: usize = 200;

/// Nanoseconds as whole milliseconds, or seconds where that is shorter.
pub fn ms(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    if ms >= 10_000.0 {
        format!("{:.1} s", ms / 1000.0)
    } else {
        format!("{ms:.0} ms")
    }
}

/// A duration of the plan, exactly.
pub fn duration(d: Duration) -> String {
    let ms = d.as_millis();
    if ms >= 1000 && ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

pub fn to_ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// A value, bounded; strings without quotation marks.
pub fn value<'v>(value: impl Into<Scalar<'v>>) -> String {
    match value.into() {
        Scalar::Text(text) => quote(text),
        other => quote(&other.to_value().to_string()),
    }
}

pub fn quote(text: &str) -> String {
    if text.len() <= QUOTE_MAX {
        return text.to_owned();
    }
    let mut end = QUOTE_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// A number without superfluous digits.
pub fn number(n: f64) -> String {
    if n.is_infinite() {
        "no answer".to_owned()
    } else if n.fract() == 0.0 && n.abs() < 1e15 {
        format!("{n:.0}")
    } else {
        format!("{n:.3}")
    }
}

/// `1 sample`, `2 samples`.
pub fn count(n: u64, one: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {one}s")
    }
}

pub fn predicate(p: &Predicate) -> String {
    match p {
        Predicate::Equals(v) => value(v),
        Predicate::OneOf(all) => {
            let words: Vec<String> = all.iter().map(value).collect();
            format!("one of {}", words.join(", "))
        }
        Predicate::AtMost(b) => format!("at most {}", number(*b)),
        Predicate::Below(b) => format!("below {}", number(*b)),
        Predicate::AtLeast(b) => format!("at least {}", number(*b)),
        Predicate::Above(b) => format!("above {}", number(*b)),
        Predicate::Between(a, b) => format!("from {} to {}", number(*a), number(*b)),
        Predicate::Matches(pattern) => format!("matching `{}`", quote(pattern)),
    }
}

pub fn edge(e: &EdgeRef) -> String {
    match e {
        EdgeRef::Mark { id } => format!("@{id}"),
        EdgeRef::Phase { phase, edge } => {
            let edge = match edge {
                Edge::Requested => "requested",
                Edge::Proven => "proven",
                Edge::HealRequested => "heal_requested",
                Edge::Healed => "healed",
            };
            format!("{phase}.{edge}")
        }
    }
}

pub fn window(w: &Window) -> String {
    let span = match (&w.from, &w.to) {
        (Some(from), Some(to)) if from == to => format!("in {from}"),
        (from, to) => format!(
            "from {} to {}",
            from.as_deref().unwrap_or("the start"),
            to.as_deref().unwrap_or("the end")
        ),
    };
    if w.grace.is_zero() {
        span
    } else {
        format!("{span}, {} left out at the start", duration(w.grace))
    }
}

pub fn when(w: &When) -> String {
    match w {
        When::Throughout { window: w } => format!("throughout, {}", window(w)),
        When::Eventually { window: w } => format!("at least once, {}", window(w)),
        When::Never { window: w } => format!("never, {}", window(w)),
        When::Within {
            bound,
            of,
            then_throughout,
        } => {
            let then = if *then_throughout {
                ", then throughout"
            } else {
                ""
            };
            format!("within {} of {}{then}", duration(*bound), edge(of))
        }
        When::NotBefore {
            bound,
            of,
            window: w,
        } => format!(
            "no earlier than {} after {}, {}",
            duration(*bound),
            edge(of),
            window(w)
        ),
    }
}

pub fn selector(s: &FactSelector) -> String {
    let of = |phases: &[String]| {
        if phases.is_empty() {
            String::new()
        } else {
            format!(" of signals sent in {}", phases.join(", "))
        }
    };
    let with = |outcome: &Option<String>| {
        let word = outcome.as_ref().map(|outcome| format!("{outcome} "));
        word.unwrap_or_default()
    };
    match s {
        FactSelector::Log { service, pattern } => {
            format!("log lines of {service} matching `{}`", quote(pattern))
        }
        FactSelector::ChainFirstSend {
            outcome,
            signals_of,
            origin,
            fields,
        } => {
            let (outcome, bounds) = (with(outcome), bounds(fields));
            let of = of(signals_of);
            format!("{outcome}first sends{bounds}{of}{}", from(origin))
        }
        FactSelector::ChainSubmission {
            outcome,
            signals_of,
            origin,
            fields,
        } => {
            let (outcome, bounds) = (with(outcome), bounds(fields));
            let of = of(signals_of);
            format!("{outcome}chain submissions{bounds}{of}{}", from(origin))
        }
        FactSelector::Engine { service, event } => format!("events `{event}` of {service}"),
        FactSelector::Op {
            state,
            status,
            detail,
            names,
            origin,
        } => {
            let mut words = format!(
                "operations {}",
                state.as_deref().unwrap_or("of any outcome")
            );
            if let Some(status) = status {
                words.push_str(&format!(" with {status}"));
            }
            if let Some(detail) = detail {
                words.push_str(&format!(" `{}`", quote(detail)));
            }
            if let Some(names) = names {
                words.push_str(&format!(" that name `{}`", quote(names)));
            }
            words.push_str(&from(origin));
            words
        }
        FactSelector::Row {
            table,
            columns,
            signals_of,
            origin,
            fields,
        } => {
            let filter: Vec<String> = columns.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            let filter = if filter.is_empty() {
                String::new()
            } else {
                format!(" with {}", quote(&filter.join(", ")))
            };
            let of = of(signals_of);
            format!("{table} rows{filter}{}{of}{}", bounds(fields), from(origin))
        }
    }
}

fn from(origin: &Option<String>) -> String {
    let word = |origin: &String| format!(" from {origin}");
    origin.as_ref().map(word).unwrap_or_default()
}

fn bounds(fields: &[FieldBound]) -> String {
    let all = fields
        .iter()
        .map(|f| format!("{} {}", f.field, predicate(&f.is)));
    let words = all.collect::<Vec<_>>().join(", ");
    if words.is_empty() {
        words
    } else {
        format!(" with {}", quote(&words))
    }
}

/// What is expected, from the plan alone.
pub fn expected(e: &Expect) -> String {
    match &e.observe {
        Observe::Value { is, .. } => format!("{} {}", predicate(is), when(&e.when)),
        Observe::Growth { growth, is, .. } => {
            let unit = match growth {
                Growth::Total => "more than before",
                Growth::PerSecond => "more per second",
            };
            format!("{} {unit}, {}", predicate(is), when(&e.when))
        }
        Observe::Count { facts, is } => {
            let is = match is {
                Predicate::Equals(v) if v.as_f64() == Some(0.0) => "no".to_owned(),
                other => predicate(other),
            };
            format!("{is} {} {}", selector(facts), when(&e.when))
        }
        Observe::Sequence { facts } => {
            let all: Vec<String> = facts.iter().map(selector).collect();
            format!("in order: {}; {}", all.join(", then "), when(&e.when))
        }
    }
}
