//! Lines as whoever only counts them sees them: every text is borrowed, from an event in memory or from the bytes of
//! the journal itself, so that a line costs no memory of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Number, Value};

use crate::{Event, Fact, FactSource, Op, OpState, Sample, SampleResult, SignalRef};

/// An event, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum View<'v> {
    Op(OpView<'v>),
    Sample(SampleView<'v>),
    Fact(FactView<'v>),
    /// One of those that are few.
    Other(&'v Event),
}

/// See [`Op`].
#[derive(Clone, Copy, Debug)]
pub struct OpView<'v> {
    pub id: u64,
    pub state: OpState,
    pub intended_ns: u64,
    pub at_ns: u64,
    pub signal: Option<SignalView<'v>>,
    pub detail: Option<&'v str>,
}

/// See [`SignalRef`].
#[derive(Clone, Copy, Debug)]
pub struct SignalView<'v> {
    pub key: &'v str,
    pub tag: &'v str,
    pub episode: u32,
    pub phase: &'v str,
    pub origin: &'v str,
}

/// See [`Sample`].
#[derive(Clone, Copy, Debug)]
pub struct SampleView<'v> {
    pub probe: &'v str,
    pub due_ns: u64,
    pub took_ns: u64,
    pub result: ResultView<'v>,
}

/// See [`SampleResult`].
#[derive(Clone, Copy, Debug)]
pub enum ResultView<'v> {
    Value(Keys<'v>),
    Missing(&'v str),
}

/// See [`Fact`].
#[derive(Clone, Copy, Debug)]
pub struct FactView<'v> {
    pub source: FactSource,
    pub what: &'v str,
    pub at_ns: u64,
    pub keys: Keys<'v>,
}

/// Names and their values.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'v> {
    Map(&'v BTreeMap<String, Value>),
    /// As they stand in a line. Of a name that stands there twice the last value counts.
    Cells(&'v [(Text<'v>, Cell<'v>)]),
}

/// A value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'v> {
    Null,
    Bool(bool),
    Number(&'v Number),
    Text(&'v str),
    /// A list or an object.
    Nested(&'v Value),
}

/// A text of a line: borrowed, unless it is escaped there.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(transparent)]
pub struct Text<'l>(#[serde(borrow)] pub(crate) Cow<'l, str>);

/// A value of a line.
#[derive(Clone, Debug)]
pub enum Cell<'l> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text<'l>),
    Nested(Value),
}

impl<'v> View<'v> {
    pub fn of(event: &'v Event) -> Self {
        match event {
            Event::Op(op) => View::Op(op.into()),
            Event::Sample(sample) => View::Sample(sample.into()),
            Event::Fact(fact) => View::Fact(fact.into()),
            other => View::Other(other),
        }
    }
}

impl<'v> From<&'v Op> for OpView<'v> {
    fn from(op: &'v Op) -> Self {
        OpView {
            id: op.id,
            state: op.state,
            intended_ns: op.intended_ns,
            at_ns: op.at_ns,
            signal: op.signal.as_ref().map(SignalView::from),
            detail: op.detail.as_deref(),
        }
    }
}

impl<'v> From<&'v SignalRef> for SignalView<'v> {
    fn from(signal: &'v SignalRef) -> Self {
        SignalView {
            key: &signal.key,
            tag: &signal.tag,
            episode: signal.episode,
            phase: &signal.phase,
            origin: &signal.origin,
        }
    }
}

impl<'v> From<&'v Sample> for SampleView<'v> {
    fn from(sample: &'v Sample) -> Self {
        SampleView {
            probe: &sample.probe,
            due_ns: sample.due_ns,
            took_ns: sample.took_ns,
            result: (&sample.result).into(),
        }
    }
}

impl<'v> From<&'v SampleResult> for ResultView<'v> {
    fn from(result: &'v SampleResult) -> Self {
        match result {
            SampleResult::Value(fields) => ResultView::Value(Keys::Map(fields)),
            SampleResult::Missing(why) => ResultView::Missing(why),
        }
    }
}

impl<'v> From<&'v Fact> for FactView<'v> {
    fn from(fact: &'v Fact) -> Self {
        FactView {
            source: fact.source,
            what: &fact.what,
            at_ns: fact.at_ns,
            keys: Keys::Map(&fact.keys),
        }
    }
}

impl<'v> FactView<'v> {
    /// The text under a name, if a text is there.
    pub fn text(&self, name: &str) -> Option<&'v str> {
        self.keys.get(name)?.text()
    }

    /// Whether `true` stands under a name.
    pub fn is_true(&self, name: &str) -> bool {
        self.keys.get(name) == Some(Scalar::Bool(true))
    }

    pub fn to_fact(&self) -> Fact {
        Fact {
            source: self.source,
            what: self.what.to_owned(),
            at_ns: self.at_ns,
            keys: self.keys.to_map(),
        }
    }
}

impl<'v> Keys<'v> {
    pub fn get(&self, name: &str) -> Option<Scalar<'v>> {
        match self {
            Keys::Map(map) => map.get(name).map(Scalar::from),
            Keys::Cells(cells) => {
                let cell = cells.iter().rev().find(|(n, _)| n.as_str() == name);
                cell.map(|(_, cell)| cell.scalar())
            }
        }
    }

    /// The names, in whatever order; some may come twice.
    pub fn each_name(&self, with: &mut dyn FnMut(&'v str)) {
        match self {
            Keys::Map(map) => map.keys().for_each(|name| with(name)),
            Keys::Cells(cells) => cells.iter().for_each(|(name, _)| with(name.as_str())),
        }
    }

    pub fn to_map(&self) -> BTreeMap<String, Value> {
        match self {
            Keys::Map(map) => (*map).clone(),
            Keys::Cells(cells) => {
                let cells = cells.iter();
                let own = |(name, cell): &(Text<'_>, Cell<'_>)| {
                    (name.as_str().to_owned(), cell.scalar().to_value())
                };
                cells.map(own).collect()
            }
        }
    }
}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Cell<'_> {
    pub(crate) fn scalar(&self) -> Scalar<'_> {
        match self {
            Cell::Null => Scalar::Null,
            Cell::Bool(is) => Scalar::Bool(*is),
            Cell::Number(number) => Scalar::Number(number),
            Cell::Text(text) => Scalar::Text(text.as_str()),
            Cell::Nested(value) => Scalar::Nested(value),
        }
    }
}

impl<'v> From<&'v Value> for Scalar<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Null => Scalar::Null,
            Value::Bool(is) => Scalar::Bool(*is),
            Value::Number(number) => Scalar::Number(number),
            Value::String(text) => Scalar::Text(text),
            nested => Scalar::Nested(nested),
        }
    }
}

impl<'v> Scalar<'v> {
    pub fn text(self) -> Option<&'v str> {
        match self {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_null(self) -> bool {
        matches!(self, Scalar::Null)
    }

    /// As [`Value::as_u64`].
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Scalar::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    pub fn to_value(self) -> Value {
        match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(is) => Value::Bool(is),
            Scalar::Number(number) => Value::Number(number.clone()),
            Scalar::Text(text) => Value::String(text.to_owned()),
            Scalar::Nested(value) => value.clone(),
        }
    }
}
