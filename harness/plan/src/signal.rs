//! A signal's text: body and key, from the target's templates.

use std::collections::BTreeMap;

use crate::diag::{Problem, Sink};
use crate::model::{Field, Signals, Takes};
use crate::names::{self, known};
use crate::node::{Node, text};
use crate::template::{UnknownPlaceholder, render};

/// What every template of a signal may name; the variables come on top.
pub(crate) const BUILT_IN: [&str; 2] = ["run", "seq"];

/// A signal, ready to be signed and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// JSON text.
    pub body: String,
    /// Key under which the target stores it.
    pub key: String,
}

impl Signals {
    /// The signal with that number of that run; `overrides` are variables that differ from the file's.
    ///
    /// # Errors
    /// A template names what neither the file nor `overrides` define; not for a target that was parsed.
    pub fn signal(
        &self,
        run: &str,
        seq: u64,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Signal, UnknownPlaceholder> {
        let mut vars: BTreeMap<String, String> = BTreeMap::from([
            ("run".to_string(), run.to_string()),
            ("seq".to_string(), seq.to_string()),
        ]);
        let base = vars.clone();
        for (name, value) in self.variables.iter().chain(overrides) {
            vars.insert(name.clone(), render(value, &base)?);
        }
        Ok(Signal {
            body: render(&self.body, &vars)?,
            key: render(&self.key, &vars)?,
        })
    }
}

/// Checks the templates: placeholders are known, signals are distinct, and the body is JSON.
pub(crate) fn check(sink: &mut Sink<'_>, node: Node<'_>, signals: &Signals) {
    let before = sink.len();
    let mut all: Vec<&str> = BUILT_IN.to_vec();
    all.extend(signals.variables.keys().map(String::as_str));
    for (name, value) in node
        .node("variables")
        .map(|n| n.entries())
        .unwrap_or_default()
    {
        if BUILT_IN.contains(&name.value) {
            let message = format!("variable \"{}\" is given by the harness", name.value);
            sink.error(name.at, Problem::new(message));
        }
        if let Some(value) = text(value) {
            names::template(sink, value, &BUILT_IN);
        }
    }
    for key in ["body", "key"] {
        if let Some(value) = node.text(key) {
            names::template(sink, value, &all);
        }
    }
    if sink.len() > before {
        return;
    }
    let none = BTreeMap::new();
    let (Ok(one), Ok(two)) = (signals.signal("r", 1, &none), signals.signal("r", 2, &none)) else {
        return;
    };
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&one.body) {
        let message = format!("the body isn't JSON: {error}");
        sink.error(node.at("body"), Problem::new(message));
    }
    if one.key == two.key || one.body == two.body {
        let key = if one.key == two.key { "key" } else { "body" };
        let problem = Problem::new(format!("{key} is the same for every signal"));
        sink.error(node.at(key), problem.expected("{seq} in it"));
    }
}

/// What the fields of a body may hold.
pub(crate) fn fields(signals: Node<'_>) -> BTreeMap<String, Field> {
    let field = |node: Node<'_>| {
        let takes = match node.text("kind")?.value {
            "text" => Takes::Text {
                longest: node.small("longest")?,
                matches: node.maybe_string("matches"),
            },
            "word" => Takes::Word {
                of: node.strings("of"),
            },
            "integer" => Takes::Integer,
            _ => Takes::Number {
                zero: node.bool("zero").unwrap_or(false),
            },
        };
        let optional = node.bool("optional").unwrap_or(false);
        Some(Field { optional, takes })
    };
    let Some(node) = signals.node("fields") else {
        return BTreeMap::new();
    };
    node.entries()
        .into_iter()
        .filter_map(|(name, value)| Some((name.owned(), field(Node::of(value)?)?)))
        .collect()
}

impl Field {
    /// Whether a body may hold this value here. A pattern that doesn't compile is matched by nothing:
    /// a file that was parsed holds none.
    pub fn accepts(&self, value: &serde_json::Value) -> bool {
        if value.is_null() {
            return self.optional;
        }
        match &self.takes {
            Takes::Text { longest, matches } => value.as_str().is_some_and(|text| {
                let length = text.chars().count();
                let fits = |pattern: &String| {
                    regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
                };
                (1..=*longest as usize).contains(&length)
                    && !text.chars().any(char::is_control)
                    && matches.as_ref().is_none_or(fits)
            }),
            Takes::Word { of } => value
                .as_str()
                .is_some_and(|text| of.iter().any(|word| word == text)),
            Takes::Integer => value.as_i64().is_some(),
            Takes::Number { zero } => value
                .as_f64()
                .is_some_and(|n| n.is_finite() && (n > 0.0 || *zero && n == 0.0)),
        }
    }
}

/// Checks the variables that an act overrides.
pub(crate) fn check_overrides(sink: &mut Sink<'_>, node: Node<'_>, signals: &Signals) {
    let names: Vec<&String> = signals.variables.keys().collect();
    for (name, value) in node.entries() {
        known(sink, "variable", name, &names);
        if let Some(value) = text(value) {
            names::template(sink, value, &BUILT_IN);
        }
    }
}
