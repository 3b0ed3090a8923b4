//! Checks a file's structure against its declaration: keys, types, and values that are wrong by
//! themselves. What a value refers to is the decoder's to check.

use std::collections::HashSet;

use toml::de::{DeTable, DeValue};

use crate::diag::{Problem, Sink, list, nearest};
use crate::node::{self, Node, Value};
use crate::spec::{Table, Ty};
use crate::units;

/// Tables with a structural error of their own; the decoder says nothing more about them.
#[derive(Default)]
pub(crate) struct Broken(HashSet<*const ()>);

impl Broken {
    pub fn has(&self, node: Node<'_>) -> bool {
        self.0.contains(&identity(node.table))
    }
}

fn identity(table: &DeTable<'_>) -> *const () {
    std::ptr::from_ref(table).cast()
}

/// Checks `node` against `spec`, into `sink`.
pub(crate) fn check(sink: &mut Sink<'_>, node: Node<'_>, spec: &'static Table) -> Broken {
    let mut checker = Checker {
        sink,
        broken: Broken::default(),
    };
    checker.table(node, spec, None);
    checker.broken
}

struct Checker<'s, 't> {
    sink: &'s mut Sink<'t>,
    broken: Broken,
}

impl Checker<'_, '_> {
    /// `tag` is the key that chose this table and isn't declared in it.
    fn table(&mut self, node: Node<'_>, spec: &'static Table, tag: Option<&str>) {
        let before = self.sink.len();
        for (key, value) in node.entries() {
            if Some(key.value) == tag {
                continue;
            }
            match spec.keys.iter().find(|k| k.name == key.value) {
                Some(known) => self.value(value, &known.ty, key.value),
                None => {
                    let names: Vec<&str> = spec.keys.iter().map(|k| k.name).collect();
                    let message = format!("unknown key \"{}\" in {}", key.value, spec.name);
                    let problem = Problem::new(message).expected_names(&names, key.value);
                    self.sink.error(key.at, problem);
                }
            }
        }
        for key in spec.keys.iter().filter(|k| k.required && !node.has(k.name)) {
            let message = format!("missing key \"{}\" in {}", key.name, spec.name);
            self.sink
                .error(node.at, Problem::new(message).expected(describe(&key.ty)));
        }
        for set in spec.exactly_one {
            self.exactly_one(node, spec, set);
        }
        if self.sink.len() > before {
            self.broken.0.insert(identity(node.table));
        }
    }

    fn exactly_one(&mut self, node: Node<'_>, spec: &Table, set: &[&str]) {
        let given: Vec<&str> = set.iter().copied().filter(|k| node.has(k)).collect();
        let expected = format!("exactly one of {}", set.join(", "));
        match given.as_slice() {
            [_] => {}
            [] => {
                let message = format!("{} has none of its alternatives", spec.name);
                self.sink
                    .error(node.at, Problem::new(message).expected(expected));
            }
            [first, second, ..] => {
                let at = node.at(first).max(node.at(second));
                let message = format!("\"{first}\" and \"{second}\" exclude each other");
                self.sink
                    .error(at, Problem::new(message).expected(expected));
            }
        }
    }

    fn value(&mut self, value: &Value<'_>, ty: &'static Ty, key: &str) {
        let at = value.span().start;
        match (ty, value.get_ref()) {
            (Ty::List(of) | Ty::Some(of) | Ty::OneOrMany(of), DeValue::Array(items)) => {
                if items.is_empty() && !matches!(ty, Ty::List(_)) {
                    self.sink
                        .error(at, Problem::new(format!("\"{key}\" is empty")));
                }
                for item in items.iter() {
                    self.value(item, of, key);
                }
            }
            (Ty::OneOrMany(of), _) => self.value(value, of, key),
            (Ty::Pair(of), DeValue::Array(items)) if items.len() == 2 => {
                for item in items.iter() {
                    self.value(item, of, key);
                }
            }
            (Ty::TextOr(text, _), DeValue::String(_)) => self.value(value, text, key),
            (Ty::TextOr(_, table), DeValue::Table(_)) => self.value(value, table, key),
            (Ty::Map(of), DeValue::Table(_)) => {
                for (name, value) in Node::of(value).map(|n| n.entries()).unwrap_or_default() {
                    self.value(value, of, name.value);
                }
            }
            (Ty::Table(_) | Ty::Kind(_) | Ty::Either(_), DeValue::Table(_)) => {
                if let Some(node) = Node::of(value) {
                    self.tables(node, ty, key);
                }
            }
            (ty, value) => {
                if let Err(problem) = leaf(ty, value, key) {
                    self.sink.error(at, problem);
                }
            }
        }
    }

    fn tables(&mut self, node: Node<'_>, ty: &'static Ty, key: &str) {
        match ty {
            Ty::Table(spec) => self.table(node, spec, None),
            Ty::Kind(kinds) => {
                let names = || kinds.iter().map(|(name, _)| *name);
                match node.text("kind") {
                    None => {
                        let problem = Problem::new(format!("missing key \"kind\" in {key}"));
                        let names: Vec<&str> = names().collect();
                        self.refuse(node, node.at, problem.expected(names.join(", ")));
                    }
                    Some(kind) => match kinds.iter().find(|(name, _)| *name == kind.value) {
                        Some((_, spec)) => self.table(node, spec, Some("kind")),
                        None => {
                            let what = format!("{key} kind");
                            let problem = Problem::unknown(&what, kind.value, names());
                            self.refuse(node, kind.at, problem);
                        }
                    },
                }
            }
            Ty::Either(specs) => {
                let firsts: Vec<&str> = specs
                    .iter()
                    .filter_map(|s| Some(s.keys.first()?.name))
                    .collect();
                let position = firsts.iter().position(|first| node.has(first));
                match position.and_then(|i| specs.get(i)) {
                    Some(spec) => self.table(node, spec, None),
                    None => self.undecided(node, &firsts, specs, key),
                }
            }
            _ => {}
        }
    }

    /// None of the keys that tell the tables apart is there: one of those present may be misspelt.
    fn undecided(&mut self, node: Node<'_>, firsts: &[&str], specs: &[&Table], key: &str) {
        let known = |name: &str| specs.iter().any(|s| s.keys.iter().any(|k| k.name == name));
        let misspelt = node.entries().into_iter().find(|(k, _)| !known(k.value));
        let (at, problem) = match misspelt {
            Some((name, _)) => (
                name.at,
                Problem::new(format!("unknown key \"{}\" in {key}", name.value))
                    .expected_names(firsts, name.value),
            ),
            None => {
                let expected = list(firsts).unwrap_or_default();
                let problem = Problem::new(format!("{key} doesn't say what it is"));
                (node.at, problem.expected(format!("a key {expected}")))
            }
        };
        self.refuse(node, at, problem);
    }

    fn refuse(&mut self, node: Node<'_>, at: usize, problem: Problem) {
        self.broken.0.insert(identity(node.table));
        self.sink.error(at, problem);
    }
}

impl Problem {
    fn expected_names(self, names: &[&str], found: &str) -> Problem {
        let problem = match list(names) {
            Some(names) => self.expected(names),
            None => self,
        };
        problem.nearest(nearest(found, names))
    }
}

/// Checks a value that isn't a collection.
fn leaf(ty: &'static Ty, value: &DeValue<'_>, key: &str) -> Result<(), Problem> {
    let expected = || describe(ty);
    match value {
        DeValue::String(s) => text_leaf(ty, s, key),
        DeValue::Boolean(_) if matches!(ty, Ty::Bool | Ty::Scalar) => Ok(()),
        DeValue::Integer(_) | DeValue::Float(_) => match number_fits(ty, value) {
            Some(true) => Ok(()),
            Some(false) => {
                let message = format!("\"{key}\" is out of range");
                Err(Problem::new(message).expected(expected()))
            }
            None => Err(wrong_type(value, key).expected(expected())),
        },
        _ => Err(wrong_type(value, key).expected(expected())),
    }
}

fn wrong_type(value: &DeValue<'_>, key: &str) -> Problem {
    let found = match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Problem::new(format!("\"{key}\" is {found}"))
}

/// Whether the number is within the type's range; `None` where the type takes no such number.
fn number_fits(ty: &Ty, value: &DeValue<'_>) -> Option<bool> {
    let is_int = matches!(value, DeValue::Integer(_));
    let unsigned = || node::integer(value).and_then(|i| u64::try_from(i).ok());
    match ty {
        Ty::Int { min, max } if is_int => {
            Some(unsigned().is_some_and(|n| (*min..=*max).contains(&n)))
        }
        Ty::Size if is_int => Some(unsigned().is_some_and(|n| n > 0)),
        Ty::Number | Ty::Scalar => Some(node::number(value).is_some()),
        Ty::Rate => Some(node::number(value).is_some_and(|n| n >= 0.0)),
        Ty::Share => Some(node::number(value).is_some_and(|n| (0.0..=1.0).contains(&n))),
        _ => None,
    }
}

fn text_leaf(ty: &'static Ty, text: &str, key: &str) -> Result<(), Problem> {
    let bad = |why: String| Err(Problem::new(why).expected(describe(ty)));
    let refuse = |why: &str| bad(format!("\"{key}\" {why}"));
    match ty {
        Ty::AnyText | Ty::Scalar => Ok(()),
        Ty::Text if text.trim().is_empty() => refuse("is empty"),
        Ty::Text => Ok(()),
        Ty::Id if !units::is_id(text) => bad(format!("\"{text}\" can't be an id")),
        Ty::Id => Ok(()),
        Ty::Path if !text.starts_with('/') => bad(format!("\"{text}\" isn't a path")),
        Ty::Path => Ok(()),
        Ty::Pointer if !text.is_empty() && !text.starts_with('/') => {
            bad(format!("\"{text}\" isn't a JSON pointer"))
        }
        Ty::Pointer => Ok(()),
        Ty::Regex => match regex::Regex::new(text) {
            Ok(_) => Ok(()),
            Err(error) => bad(format!("bad regular expression: {}", last_line(&error))),
        },
        Ty::Series => match units::parse_series(text) {
            Ok(_) => Ok(()),
            Err(why) => bad(why),
        },
        Ty::Duration | Ty::Positive => match units::parse_duration(text) {
            Ok(d) if d.is_zero() && matches!(ty, Ty::Positive) => refuse("is zero"),
            Ok(_) => Ok(()),
            Err(why) => bad(why),
        },
        Ty::Size => match units::parse_size(text) {
            Ok(0) => refuse("is zero"),
            Ok(_) => Ok(()),
            Err(why) => bad(why),
        },
        Ty::Word(words) if words.contains(&text) => Ok(()),
        Ty::Word(words) => Err(Problem::unknown(key, text, words.iter().copied())),
        _ => refuse("is text"),
    }
}

/// The last line of a regex error says what is wrong; the others draw it.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

/// What a type takes, in words.
pub(crate) fn describe(ty: &Ty) -> String {
    match ty {
        Ty::Text => "text".into(),
        Ty::AnyText => "text".into(),
        Ty::Id => "letters, digits, - and _".into(),
        Ty::Path => "text that starts with /".into(),
        Ty::Pointer => "a JSON pointer such as /a/b".into(),
        Ty::Regex => "a regular expression".into(),
        Ty::Series => "a series such as name{label=\"value\"}".into(),
        Ty::Bool => "true or false".into(),
        Ty::Int { min, max } => format!("an integer from {min} to {max}"),
        Ty::Number => "a finite number".into(),
        Ty::Rate => "a finite number from 0 up".into(),
        Ty::Share => "a number from 0 to 1".into(),
        Ty::Duration => "a duration such as 250ms, 2s, 1.5s, 3m or 1h".into(),
        Ty::Positive => "a duration above zero such as 250ms, 2s, 1.5s, 3m or 1h".into(),
        Ty::Size => "a size above zero such as 65536 or 64MiB".into(),
        Ty::Word(words) => list(words).unwrap_or_default(),
        Ty::Scalar => "text, a boolean or a finite number".into(),
        Ty::List(of) | Ty::Some(of) => format!("a list of: {}", describe(of)),
        Ty::Pair(of) => format!("a list of two: {}", describe(of)),
        Ty::Map(of) => format!("a table of: {}", describe(of)),
        Ty::Table(_) | Ty::Kind(_) | Ty::Either(_) => "a table".into(),
        Ty::OneOrMany(of) => format!("{}, or a list of such", describe(of)),
        Ty::TextOr(text, table) => format!("{}, or {}", describe(text), describe(table)),
    }
}
