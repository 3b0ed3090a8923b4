//! Makes strings of unknown origin harmless: control characters become visible, lengths and counts
//! get a bound that says what was cut. Escaping for a format (HTML, XML, Markdown) comes after.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::RenderError;

/// Longest string that a report shows, in characters.
const CHARS_MAX: usize = 2_000;
/// Longest list of strings that a report shows.
const LINES_MAX: usize = 200;

/// A copy of a whole struct in which every string is harmless. It walks the serialised form, so no
/// field that is added later can be forgotten.
pub(crate) fn tame<T: Serialize + DeserializeOwned>(original: &T) -> Result<T, RenderError> {
    let mut value = serde_json::to_value(original)?;
    tame_value(&mut value);
    Ok(serde_json::from_value(value)?)
}

fn tame_value(value: &mut Value) {
    match value {
        Value::String(text) => *text = line(text),
        Value::Array(items) => {
            cut_lines(items);
            items.iter_mut().for_each(tame_value);
        }
        Value::Object(map) => {
            *map = std::mem::take(map)
                .into_iter()
                .map(|(key, mut inner)| {
                    tame_value(&mut inner);
                    (line(&key), inner)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Only lists of strings are cut: a list of structs has a place of its own in each renderer, where
/// what was left out is said.
fn cut_lines(items: &mut Vec<Value>) {
    if items.len() > LINES_MAX && items.iter().all(Value::is_string) {
        let cut = items.len() - LINES_MAX;
        items.truncate(LINES_MAX);
        items.push(Value::String(format!("… {cut} more lines cut")));
    }
}

/// One line of text without control characters, of bounded length.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(CHARS_MAX));
    for character in text.chars().take(CHARS_MAX) {
        push_visible(&mut out, character);
    }
    // Bytes bound characters from above, so that the common case never counts them.
    if text.len() > CHARS_MAX {
        let count = text.chars().count();
        if count > CHARS_MAX {
            let _infallible = write!(out, " … cut ({count} characters in all)");
        }
    }
    out
}

fn push_visible(out: &mut String, character: char) {
    let code = u32::from(character);
    match code {
        // The control pictures block mirrors ASCII: ESC is shown as ␛.
        0x00..=0x1F => out.push(char::from_u32(0x2400 + code).unwrap_or('\u{FFFD}')),
        0x7F => out.push('␡'),
        _ if is_invisible(code) => {
            let _infallible = write!(out, "⟨U+{code:04X}⟩");
        }
        _ => out.push(character),
    }
}

/// Characters that change how their neighbours are shown, or aren't shown at all: C1 controls,
/// direction marks and overrides, zero-width characters, tags, and what XML 1.0 doesn't allow.
fn is_invisible(code: u32) -> bool {
    matches!(
        code,
        0x80..=0x9F
            | 0xAD
            | 0x61C
            | 0x180E
            | 0x200B..=0x200F
            | 0x2028..=0x202E
            | 0x2060..=0x206F
            | 0xFEFF
            | 0xFFF9..=0xFFFB
            | 0xFFFE..=0xFFFF
            | 0xE0000..=0xE0FFF
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_overrides_become_visible() {
        assert_eq!(line("\u{1b}[31mred\u{7f}\r\n"), "␛[31mred␡␍␊");
        assert_eq!(line("abc\u{202e}fdp.exe"), "abc⟨U+202E⟩fdp.exe");
        assert_eq!(line("日本 naïve ✓"), "日本 naïve ✓");
    }

    #[test]
    fn long_lines_say_that_they_were_cut() {
        let long = "x".repeat(1_000_000);
        let cut = line(&long);
        assert!(cut.ends_with("… cut (1000000 characters in all)"));
        assert!(cut.len() < CHARS_MAX + 60);
        // 2,000 characters of three bytes each are not too long.
        assert_eq!(line(&"日".repeat(CHARS_MAX)).chars().count(), CHARS_MAX);
    }

    #[test]
    fn lists_of_lines_are_cut_and_numbers_are_not() -> Result<(), RenderError> {
        let lines: Vec<String> = (0..500).map(|n| n.to_string()).collect();
        let tamed = tame(&lines)?;
        assert_eq!(tamed.len(), LINES_MAX + 1);
        assert_eq!(
            tamed.last().map(String::as_str),
            Some("… 300 more lines cut")
        );
        assert_eq!(tame(&vec![Some(1.5_f64); 600])?.len(), 600);
        Ok(())
    }
}
