//! `each`: one `[[expect]]` that stands for several, one per value of a list, so that what is said of
//! three services is written once. Works on the parsed text, before anything is checked, so that every
//! check sees what is meant.

use std::borrow::Cow;
use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diag::{Problem, Sink};
use crate::node::{self, Value};

/// What stands for the value.
const PLACEHOLDER: &str = "{each}";
/// Expectations that one can stand for.
const MAX: usize = 64;

/// Replaces every expectation that has `each` by one per value. What comes of it keeps a list of its
/// one value, by which its id is told.
pub(crate) fn expand(sink: &mut Sink<'_>, root: &mut DeTable<'_>) {
    let Some(expects) = root.get_mut("expect").map(Spanned::get_mut) else {
        return;
    };
    let DeValue::Array(items) = expects else {
        return;
    };
    let mut all = Vec::new();
    for item in items.iter() {
        match values(sink, item) {
            None => all.push(item.clone()),
            Some(values) => all.extend(values.iter().map(|value| with(item, value))),
        }
    }
    let mut expanded: toml::de::DeArray<'_> = all.into_iter().collect();
    std::mem::swap(items, &mut expanded);
}

/// The id of an expectation; its own value follows where it has one.
pub(crate) fn id(node: node::Node<'_>) -> Option<String> {
    let id = node.text("id")?;
    Some(match node.texts("each").as_slice() {
        [one] => format!("{}/{}", id.value, one.value),
        _ => id.owned(),
    })
}

/// The values of `each`, if it is there and can be used; what is wrong with its type the checker says.
fn values<'a, 'i>(sink: &mut Sink<'_>, item: &'a Value<'i>) -> Option<Vec<&'a Value<'i>>> {
    let DeValue::Table(table) = item.get_ref() else {
        return None;
    };
    let named = places(item.get_ref());
    let Some(each) = table.get("each") else {
        if let Some(at) = named {
            let problem = Problem::new(format!("{PLACEHOLDER} without a list of values"));
            sink.error(at, problem.expected("each = [\"…\", \"…\"]"));
        }
        return None;
    };
    let DeValue::Array(values) = each.get_ref() else {
        return None;
    };
    let at = each.span().start;
    if named.is_none() {
        let problem = Problem::new("\"each\" is named nowhere: its checks would all be the same");
        sink.error(
            at,
            problem.expected(format!("{PLACEHOLDER} in the expectation")),
        );
    }
    if values.len() > MAX {
        let problem = Problem::new(format!("\"each\" has {} values", values.len()));
        sink.error(at, problem.expected(format!("{MAX} or fewer")));
        return None;
    }
    let texts: Vec<_> = values.iter().filter_map(node::text).collect();
    crate::names::unique(sink, "value", texts.iter().copied());
    if texts.len() < values.len() || texts.is_empty() {
        return None;
    }
    let mut seen = BTreeSet::new();
    let all = values.iter().zip(&texts);
    let once = all.filter(|(_, text)| seen.insert(text.value));
    Some(once.map(|(value, _)| value).collect())
}

/// Where the placeholder stands first.
fn places(value: &DeValue<'_>) -> Option<usize> {
    let of = |value: &Value<'_>| match value.get_ref() {
        DeValue::String(text) if text.contains(PLACEHOLDER) => Some(value.span().start),
        other => places(other),
    };
    match value {
        DeValue::Array(items) => items.iter().filter_map(of).min(),
        DeValue::Table(table) => table.iter().filter_map(|(_, value)| of(value)).min(),
        _ => None,
    }
}

fn with<'i>(item: &Value<'i>, value: &Value<'i>) -> Value<'i> {
    let mut item = item.clone();
    if let (DeValue::Table(table), DeValue::String(text)) = (item.get_mut(), value.get_ref()) {
        if let Some(DeValue::Array(each)) = table.get_mut("each").map(Spanned::get_mut) {
            *each = [value.clone()].into_iter().collect();
        }
        for (_, inner) in table.iter_mut() {
            substitute(inner, text, value);
        }
    }
    item
}

fn substitute<'i>(place: &mut Value<'i>, text: &str, value: &Value<'i>) {
    match place.get_mut() {
        // A mistake in a value is shown where the value stands.
        DeValue::String(old) if old == PLACEHOLDER => *place = value.clone(),
        DeValue::String(old) if old.contains(PLACEHOLDER) => {
            *old = Cow::Owned(old.replace(PLACEHOLDER, text));
        }
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                substitute(item, text, value);
            }
        }
        DeValue::Table(table) => {
            for (_, inner) in table.iter_mut() {
                substitute(inner, text, value);
            }
        }
        _ => {}
    }
}
