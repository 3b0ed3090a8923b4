//! A view of a parsed table that the decoder reads. What the checker has refused reads as absent, so
//! that one mistake is reported once.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::units;

pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// A table and the place where it starts.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub table: &'a DeTable<'a>,
    pub at: usize,
}

/// Text and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub value: &'a str,
    pub at: usize,
}

impl Text<'_> {
    pub fn owned(&self) -> String {
        self.value.to_string()
    }
}

impl<'a> Node<'a> {
    pub fn of(value: &'a Value<'a>) -> Option<Node<'a>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Node {
                table,
                at: value.span().start,
            }),
            _ => None,
        }
    }

    pub fn value(&self, key: &str) -> Option<&'a Value<'a>> {
        self.table.get(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the key's value starts, or the table where there is none.
    pub fn at(&self, key: &str) -> usize {
        self.value(key).map_or(self.at, |v| v.span().start)
    }

    pub fn text(&self, key: &str) -> Option<Text<'a>> {
        self.value(key).and_then(text)
    }

    pub fn string(&self, key: &str) -> String {
        self.text(key).map(|t| t.owned()).unwrap_or_default()
    }

    pub fn maybe_string(&self, key: &str) -> Option<String> {
        self.text(key).map(|t| t.owned())
    }

    /// The texts of a list, or the one text.
    pub fn texts(&self, key: &str) -> Vec<Text<'a>> {
        self.values(key).into_iter().filter_map(text).collect()
    }

    pub fn strings(&self, key: &str) -> Vec<String> {
        self.texts(key).iter().map(Text::owned).collect()
    }

    pub fn node(&self, key: &str) -> Option<Node<'a>> {
        self.value(key).and_then(Node::of)
    }

    /// The tables of a list, or the one table.
    pub fn nodes(&self, key: &str) -> Vec<Node<'a>> {
        self.values(key).into_iter().filter_map(Node::of).collect()
    }

    /// The values of a list, or the one value.
    pub fn values(&self, key: &str) -> Vec<&'a Value<'a>> {
        match self.value(key) {
            None => Vec::new(),
            Some(value) => match value.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                _ => vec![value],
            },
        }
    }

    /// The table's keys and values in the file's order.
    pub fn entries(&self) -> Vec<(Text<'a>, &'a Value<'a>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| (key_text(key), value))
            .collect();
        entries.sort_by_key(|(key, _)| key.at);
        entries
    }

    pub fn duration(&self, key: &str) -> Option<Duration> {
        units::parse_duration(self.text(key)?.value).ok()
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.value(key)?.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            _ => None,
        }
    }

    pub fn uint(&self, key: &str) -> Option<u64> {
        self.value(key)
            .and_then(|v| integer(v.get_ref())?.try_into().ok())
    }

    /// An integer that the checker has held within bounds that fit.
    pub fn small<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        self.uint(key).and_then(|n| T::try_from(n).ok())
    }

    pub fn size(&self, key: &str) -> Option<u64> {
        match self.text(key) {
            Some(text) => units::parse_size(text.value).ok(),
            None => self.uint(key),
        }
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.value(key).and_then(|v| number(v.get_ref()))
    }

    /// Free names and texts of a table.
    pub fn map(&self, key: &str) -> std::collections::BTreeMap<String, String> {
        self.node(key)
            .map(|node| {
                node.entries()
                    .into_iter()
                    .filter_map(|(k, v)| Some((k.owned(), text(v)?.owned())))
                    .collect()
            })
            .unwrap_or_default()
    }
}

pub(crate) fn text<'a>(value: &'a Value<'a>) -> Option<Text<'a>> {
    match value.get_ref() {
        DeValue::String(s) => Some(Text {
            value: s.as_ref(),
            at: value.span().start,
        }),
        _ => None,
    }
}

pub(crate) fn key_text<'a>(key: &'a Spanned<std::borrow::Cow<'a, str>>) -> Text<'a> {
    Text {
        value: key.get_ref().as_ref(),
        at: key.span().start,
    }
}

pub(crate) fn integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok(),
        _ => None,
    }
}

/// An integer or a finite float.
pub(crate) fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(_) => integer(value).map(|i| i as f64),
        DeValue::Float(f) => f.as_str().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

/// Text, boolean or finite number as JSON.
pub(crate) fn scalar(value: &DeValue<'_>) -> Option<serde_json::Value> {
    match value {
        DeValue::String(s) => Some(serde_json::Value::from(s.as_ref())),
        DeValue::Boolean(b) => Some(serde_json::Value::from(*b)),
        DeValue::Integer(_) => integer(value).map(serde_json::Value::from),
        DeValue::Float(_) => number(value).map(serde_json::Value::from),
        _ => None,
    }
}
