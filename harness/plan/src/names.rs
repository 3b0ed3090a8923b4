//! Checks that names refer to something, and that ids are given once.

use std::collections::BTreeMap;

use crate::diag::{Parsed, Problem, Sink};
use crate::expand::expand;
use crate::node::{Node, Text};
use crate::template;
use crate::{Diagnostics, check, check::Broken, spec::Table};

/// Checks the text's structure, then lets `decode` make a value of it.
pub(crate) fn parse_file<T>(
    path: &str,
    text: &str,
    spec: &'static Table,
    decode: impl FnOnce(&mut Sink<'_>, Node<'_>, &Broken) -> Option<T>,
) -> Result<Parsed<T>, Diagnostics> {
    let mut sink = Sink::new(path, text);
    let (mut document, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut line = None;
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            // What follows on the same line is a consequence of the first error there.
            let this = text
                .as_bytes()
                .iter()
                .take(at)
                .filter(|b| **b == b'\n')
                .count();
            if line != Some(this) {
                sink.error(at, Problem::new(error.message()));
            }
            line = Some(this);
        }
        return sink.finish(None, None);
    }
    expand(&mut sink, document.get_mut());
    let root = Node {
        table: document.get_ref(),
        at: 0,
    };
    let broken = check::check(&mut sink, root, spec);
    let value = decode(&mut sink, root, &broken);
    sink.muted = false;
    let accept = root.has("accept").then(|| root.at("accept"));
    sink.finish(value, accept)
}

/// The file's name without folder and ending.
pub(crate) fn stem(path: &str) -> String {
    std::path::Path::new(path)
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Reports a name that isn't known. True if it is.
pub(crate) fn known<S: AsRef<str>>(
    sink: &mut Sink<'_>,
    what: &str,
    name: Text<'_>,
    names: &[S],
) -> bool {
    let found = names.iter().any(|n| n.as_ref() == name.value);
    if !found {
        let names = names.iter().map(AsRef::as_ref);
        sink.error(name.at, Problem::unknown(what, name.value, names));
    }
    found
}

/// Reports each text that was there before.
pub(crate) fn unique<'a>(
    sink: &mut Sink<'_>,
    what: &str,
    names: impl IntoIterator<Item = Text<'a>>,
) {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name.value) {
            sink.error(
                name.at,
                Problem::new(format!("{what} \"{}\" is there twice", name.value)),
            );
        }
    }
}

/// Reports placeholders that the place doesn't know.
pub(crate) fn template<S: AsRef<str>>(sink: &mut Sink<'_>, text: Text<'_>, names: &[S]) {
    for name in template::placeholders(text.value) {
        known(
            sink,
            "placeholder",
            Text {
                value: name,
                at: text.at,
            },
            names,
        );
    }
}

/// Placeholders that environment, headers and bodies may hold.
pub(crate) fn references<T>(secrets: &BTreeMap<String, T>) -> Vec<String> {
    let mut names: Vec<String> = secrets.keys().map(|n| format!("secret.{n}")).collect();
    names.push("run.id".to_string());
    names
}
