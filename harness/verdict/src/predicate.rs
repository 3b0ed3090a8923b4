//! Predicates on values and counts.

use std::cmp::Ordering;

use firedrill_journal::Scalar;
use firedrill_plan::Predicate;
use regex::Regex;

/// Bytes that a compiled pattern may take: patterns come from files of the user, logs from strangers.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What one observation saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed<'a> {
    Value(Scalar<'a>),
    Number(f64),
    /// The service couldn't be reached: an observation in a check of availability.
    Unavailable,
    /// Missing data, and why.
    Missing(String),
}

/// A predicate that is ready to be applied many times.
pub struct Test<'a> {
    predicate: &'a Predicate,
    regex: Option<Regex>,
}

/// Compiles a pattern within bounds; the error is a lowercase fragment.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|e| format!("the pattern `{pattern}` can't be used: {e}"))
}

impl<'a> Test<'a> {
    pub fn new(predicate: &'a Predicate) -> Result<Self, String> {
        let regex = match predicate {
            Predicate::Matches(pattern) => Some(compile(pattern)?),
            _ => None,
        };
        Ok(Test { predicate, regex })
    }

    /// `None`: missing data. A value of the wrong type is missing data as well where the predicate
    /// compares numbers: it says nothing about the number.
    pub fn apply(&self, seen: &Observed<'_>) -> Option<bool> {
        match seen {
            Observed::Missing(_) => None,
            Observed::Unavailable => Some(false),
            Observed::Number(n) => self.number(*n),
            Observed::Value(value) => self.value(*value),
        }
    }

    fn value(&self, value: Scalar<'_>) -> Option<bool> {
        match self.predicate {
            Predicate::Equals(wanted) => (!value.is_null()).then(|| same(value, wanted.into())),
            Predicate::OneOf(wanted) => {
                (!value.is_null()).then(|| wanted.iter().any(|w| same(value, w.into())))
            }
            Predicate::Matches(_) => {
                let regex = self.regex.as_ref()?;
                match value {
                    Scalar::Text(text) => Some(regex.is_match(text)),
                    Scalar::Number(_) | Scalar::Bool(_) => {
                        Some(regex.is_match(&value.to_value().to_string()))
                    }
                    _ => None,
                }
            }
            _ => self.number(number_of(value)?),
        }
    }

    pub fn number(&self, n: f64) -> Option<bool> {
        if n.is_nan() {
            return None;
        }
        Some(match self.predicate {
            Predicate::Equals(wanted) => number_of(wanted) == Some(n),
            Predicate::OneOf(wanted) => wanted.iter().any(|w| number_of(w) == Some(n)),
            Predicate::AtMost(bound) => n <= *bound,
            Predicate::Below(bound) => n < *bound,
            Predicate::AtLeast(bound) => n >= *bound,
            Predicate::Above(bound) => n > *bound,
            Predicate::Between(from, to) => (*from..=*to).contains(&n),
            Predicate::Matches(_) => self.regex.as_ref()?.is_match(&n.to_string()),
        })
    }
}

/// Whether a count can only be judged once nothing more can come: it may still be too small.
pub fn wants_more(predicate: &Predicate, count: f64) -> bool {
    match predicate {
        Predicate::AtLeast(_) | Predicate::Above(_) => true,
        Predicate::Equals(wanted) => number_of(wanted).is_none_or(|w| count < w),
        Predicate::OneOf(all) => all.iter().filter_map(number_of).any(|w| count < w),
        Predicate::Between(from, _) => count < *from,
        Predicate::AtMost(_) | Predicate::Below(_) | Predicate::Matches(_) => false,
    }
}

/// Whether the predicate bounds, from above, how many there may be of something. Where there is none at
/// all, such a bound says nothing: "at most one order" holds without any order.
pub fn bounds_something(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::AtMost(bound) => *bound >= 1.0,
        Predicate::Below(bound) => *bound > 1.0,
        _ => false,
    }
}

/// Whether the predicate asks for something to be there (a lower bound on a count).
pub fn is_existence(predicate: &Predicate) -> bool {
    matches!(predicate, Predicate::AtLeast(_) | Predicate::Above(_))
}

/// Numbers are compared as numbers, whatever their JSON form.
pub fn same(a: Scalar<'_>, b: Scalar<'_>) -> bool {
    match (a, b) {
        (Scalar::Number(a), Scalar::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => x.partial_cmp(&y) == Some(Ordering::Equal),
            _ => a == b,
        },
        _ => a == b,
    }
}

/// A number, or a string that holds one (databases send numerics as text). NaN is none.
pub fn number_of<'v>(value: impl Into<Scalar<'v>>) -> Option<f64> {
    let n = match value.into() {
        Scalar::Number(n) => n.as_f64(),
        Scalar::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    n.filter(|n| !n.is_nan())
}

/// Margin to a bound as a share of it; `None` where there is no bound or it is 0.
pub fn margin(predicate: &Predicate, worst: f64) -> Option<f64> {
    let (bound, sign) = match predicate {
        Predicate::AtMost(b) | Predicate::Below(b) => (*b, 1.0),
        Predicate::AtLeast(b) | Predicate::Above(b) => (*b, -1.0),
        _ => return None,
    };
    // The sum with 0 turns a negative zero into a plain one.
    let margin = sign * (bound - worst) / bound.abs() + 0.0;
    margin.is_finite().then_some(margin)
}

/// Margin of a count. "At least one" asks whether something is there at all: one is as good as
/// many, so that there is no margin to speak of.
pub fn count_margin(predicate: &Predicate, count: f64) -> Option<f64> {
    match predicate {
        Predicate::AtLeast(bound) if *bound <= 1.0 => None,
        _ => margin(predicate, count),
    }
}

/// Of two values the one nearer to breaking the predicate.
pub fn worse(predicate: &Predicate, a: f64, b: f64) -> f64 {
    match predicate {
        Predicate::AtLeast(_) | Predicate::Above(_) => a.min(b),
        _ => a.max(b),
    }
}
