//! Small texts with a grammar of their own: durations, sizes, series, ids.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Series;

/// Longest duration that a file may ask for: a month. Keeps every later sum far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// A duration as files write it: `250ms`, `2s`, `1.5s`, `3m`, `1h`, `24h`.
///
/// # Errors
/// The text isn't a number followed by `ms`, `s`, `m` or `h`, or is longer than 31 days.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("\"{text}\" isn't a duration")),
    };
    if !is_decimal(number) {
        return Err(format!("\"{text}\" isn't a duration"));
    }
    let seconds = number
        .parse::<f64>()
        .map_err(|_| format!("\"{text}\" isn't a duration"))?
        * unit_s;
    if seconds > DURATION_MAX.as_secs_f64() {
        return Err(format!("\"{text}\" is longer than 31 days"));
    }
    // Rounded to a microsecond, so that 0.1 s times a unit is what was written.
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

fn is_decimal(number: &str) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(fraction)
}

/// A size in bytes as files write it: `512`, `64KiB`, `64MiB`, `2GiB`.
///
/// # Errors
/// The text isn't a whole number with one of these units.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("\"{text}\" isn't a size")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| format!("\"{text}\" isn't a size"))
}

/// A series as PromQL writes it without operators: `name` or `name{label="value", …}`.
///
/// # Errors
/// The text isn't of that form, or names a label twice.
pub fn parse_series(text: &str) -> Result<Series, String> {
    let bad = |why: &str| format!("\"{text}\" isn't a series: {why}");
    let (name, labels) = match text.split_once('{') {
        None => (text, ""),
        Some((name, rest)) => {
            let inner = rest.trim_end().strip_suffix('}');
            (name, inner.ok_or_else(|| bad("the brace isn't closed"))?)
        }
    };
    let name = name.trim();
    if !is_metric_name(name) {
        return Err(bad("bad metric name"));
    }
    Ok(Series {
        text: text.to_string(),
        name: name.to_string(),
        labels: parse_labels(labels).map_err(|why| bad(&why))?,
    })
}

fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("a label needs =\"value\"")?;
        let name = name.trim();
        if !is_metric_name(name) || name.contains(':') {
            return Err(format!("bad label name \"{name}\""));
        }
        let quoted = after
            .trim_start()
            .strip_prefix('"')
            .ok_or("a label's value stands in double quotes")?;
        let (value, after) = unquote(quoted)?;
        if labels.insert(name.to_string(), value).is_some() {
            return Err(format!("label \"{name}\" twice"));
        }
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err("labels are separated by commas".to_string()),
        };
    }
    Ok(labels)
}

/// The text up to the closing quote with escapes undone, and what follows it.
fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[i + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                _ => return Err("bad escape in a label's value".to_string()),
            },
            c => value.push(c),
        }
    }
    Err("a label's value isn't closed".to_string())
}

fn is_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Whether the text can be an id: no dot, slash or `@`, which join ids to other things.
pub(crate) fn is_id(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
