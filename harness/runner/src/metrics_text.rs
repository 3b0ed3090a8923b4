//! The Prometheus text format, strictly: a line that can't be read makes the whole scrape missing
//! data, for a parser that drops lines turns a broken exporter into zeros.
//!
//! Source: Prometheus documentation, "Exposition formats", text-based format version 0.0.4.

use std::collections::BTreeMap;

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleLine {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// The line (from 1) that is not in the text format, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics is not in the text format: {why}")]
pub struct MetricsTextError {
    pub line: usize,
    pub why: &'static str,
}

/// Reads all samples. Comments and empty lines are skipped.
pub fn parse(text: &str) -> Result<Vec<SampleLine>, MetricsTextError> {
    let mut samples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sample = parse_line(line).map_err(|why| MetricsTextError {
            line: line_number,
            why,
        })?;
        samples.push(sample);
    }
    Ok(samples)
}

fn parse_line(line: &str) -> Result<SampleLine, &'static str> {
    let name_end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .ok_or("a name without a value")?;
    let (name, rest) = line.split_at(name_end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("it does not start with a metric's name");
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => parse_labels(inner)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("no value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse().map_err(|_| "the value is not a number")?,
    };
    if let Some(stamp) = words.next() {
        stamp
            .parse::<i64>()
            .map_err(|_| "the timestamp is not a number")?;
    }
    if words.next().is_some() {
        return Err("something follows the timestamp");
    }
    Ok(SampleLine {
        name: name.to_owned(),
        labels,
        value,
    })
}

type Labels = BTreeMap<String, String>;

/// Parses `a="b",c="d"} rest` and returns what follows the brace.
fn parse_labels(mut rest: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_once('=').ok_or("a label without a value")?;
        let after = after
            .trim_start()
            .strip_prefix('"')
            .ok_or("a label's value is not quoted")?;
        let (value, after) = quoted(after)?;
        if labels.insert(name.trim().to_owned(), value).is_some() {
            return Err("a label stands twice");
        }
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.starts_with('}') => rest,
            None => return Err("neither comma nor brace after a label"),
        };
    }
}

fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                _ => return Err("an unknown escape in a label's value"),
            },
            other => value.push(other),
        }
    }
    Err("a label's value is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_labels_escapes_and_special_values() {
        let text = "# HELP x y\nx 1\nx_total{a=\"b\",c=\"d\\\"e\\\\\"} 2.5 1700000000000\ny +Inf\n";
        let samples = parse(text).expect("valid");
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[1].labels["c"], "d\"e\\");
        assert_eq!(samples[1].value, 2.5);
        assert_eq!(samples[2].value, f64::INFINITY);
    }

    #[test]
    fn one_bad_line_spoils_the_scrape_and_is_named() {
        for (text, line) in [
            ("x 1\n<html>oops</html>\n", 2),
            ("x\n", 1),
            ("x one\n", 1),
            ("x{a=b} 1\n", 1),
            ("x{a=\"b\" 1\n", 1),
            ("x{a=\"b\",a=\"c\"} 1\n", 1),
            ("1x 2\n", 1),
            ("x 1 2 3\n", 1),
        ] {
            assert_eq!(parse(text).map_err(|e| e.line), Err(line), "{text}");
        }
    }
}
