//! A line of the journal taken apart without copying its texts.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::view::{Cell, FactView, Keys, OpView, ResultView, SampleView, SignalView, Text, View};
use crate::{Envelope, Event, FactSource, OpState};

/// Kinds of events whose lines are read ahead. A `part` says that something was lost: that is for the plain reader.
const KINDS: [&str; 8] = [
    "op", "sample", "fact", "edge", "stream", "starved", "header", "end",
];

/// A line in the form in which it was written.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'l> {
    pub seq: u64,
    pub mono_ns: u64,
    pub wall: &'l str,
    pub prev: &'l str,
    pub kind: &'static str,
    pub event: &'l str,
}

impl<'l> Parts<'l> {
    pub fn of(line: &'l str) -> Option<Self> {
        let (seq, rest) = number(line.strip_prefix("{\"seq\":")?)?;
        let (mono_ns, rest) = number(rest.strip_prefix(",\"mono_ns\":")?)?;
        let (wall, rest) = text(rest.strip_prefix(",\"wall\":\"")?)?;
        let (prev, rest) = text(rest.strip_prefix(",\"prev\":\"")?)?;
        let event = rest.strip_prefix(",\"event\":")?.strip_suffix('}')?;
        let (kind, _) = text(event.strip_prefix("{\"type\":\"")?)?;
        Some(Parts {
            seq,
            mono_ns,
            wall,
            prev,
            kind: KINDS.into_iter().find(|k| *k == kind)?,
            event,
        })
    }

    pub fn envelope(&self) -> Option<Envelope> {
        Some(Envelope {
            seq: self.seq,
            mono_ns: self.mono_ns,
            wall: self.wall.parse().ok()?,
            prev: self.prev.to_owned(),
            event: event(self.kind, self.event)?,
        })
    }
}

/// An event of that kind, read from its text.
pub(crate) fn event(kind: &str, text: &str) -> Option<Event> {
    Some(match kind {
        "op" => Event::Op(read(text)?),
        "sample" => Event::Sample(read(text)?),
        "fact" => Event::Fact(read(text)?),
        "edge" => Event::Edge(read(text)?),
        "stream" => Event::Stream(read(text)?),
        _ => read(text)?,
    })
}

fn read<'l, T: Deserialize<'l>>(event: &'l str) -> Option<T> {
    serde_json::from_str(event).ok()
}

fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 1 && text.starts_with('0') {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

/// A text without escapes, up to its closing quotation mark.
fn text(rest: &str) -> Option<(&str, &str)> {
    let end = memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
    let (text, rest) = rest.split_at(end);
    Some((text, rest.strip_prefix('"')?))
}

/// An event that borrows from its line.
pub(crate) enum Sight<'l> {
    Op(OpLine<'l>),
    Sample(SampleLine<'l>),
    Fact(FactLine<'l>),
    Other(Event),
}

impl<'l> Sight<'l> {
    /// An event of that kind, read from its text.
    pub fn of(kind: &str, text: &'l str) -> Option<Self> {
        Some(match kind {
            "op" => Sight::Op(read(text)?),
            "sample" => Sight::Sample(read(text)?),
            "fact" => Sight::Fact(read(text)?),
            _ => Sight::Other(event(kind, text)?),
        })
    }

    pub fn view(&self) -> View<'_> {
        match self {
            Sight::Op(op) => View::Op(op.view()),
            Sight::Sample(sample) => View::Sample(sample.view()),
            Sight::Fact(fact) => View::Fact(FactView {
                source: fact.source,
                what: fact.what.as_str(),
                at_ns: fact.at_ns,
                keys: Keys::Cells(&fact.keys.0),
            }),
            Sight::Other(event) => View::Other(event),
        }
    }
}

/// [`crate::Op`]: what makes one whole makes the other whole.
#[derive(serde::Deserialize)]
pub(crate) struct OpLine<'l> {
    id: u64,
    state: OpState,
    intended_ns: u64,
    at_ns: u64,
    #[serde(borrow, default)]
    signal: Option<SignalLine<'l>>,
    #[serde(default, rename = "status")]
    _status: Option<u16>,
    #[serde(borrow, default)]
    detail: Option<Text<'l>>,
    #[serde(borrow, default, rename = "names")]
    _names: Option<Text<'l>>,
}

/// [`crate::SignalRef`]
#[derive(serde::Deserialize)]
struct SignalLine<'l> {
    #[serde(borrow)]
    key: Text<'l>,
    #[serde(borrow)]
    tag: Text<'l>,
    #[serde(borrow, rename = "payload")]
    _payload: Text<'l>,
    episode: u32,
    #[serde(borrow)]
    phase: Text<'l>,
    #[serde(borrow)]
    origin: Text<'l>,
    #[serde(borrow, rename = "service")]
    _service: Text<'l>,
    #[serde(borrow, default, rename = "malformed")]
    _malformed: Option<Text<'l>>,
}

impl OpLine<'_> {
    fn view(&self) -> OpView<'_> {
        let signal = self.signal.as_ref().map(|signal| SignalView {
            key: signal.key.as_str(),
            tag: signal.tag.as_str(),
            episode: signal.episode,
            phase: signal.phase.as_str(),
            origin: signal.origin.as_str(),
        });
        OpView {
            id: self.id,
            state: self.state,
            intended_ns: self.intended_ns,
            at_ns: self.at_ns,
            signal,
            detail: self.detail.as_ref().map(Text::as_str),
        }
    }
}

/// [`crate::Sample`]
#[derive(serde::Deserialize)]
pub(crate) struct SampleLine<'l> {
    #[serde(borrow)]
    probe: Text<'l>,
    due_ns: u64,
    took_ns: u64,
    #[serde(borrow)]
    result: ResultLine<'l>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResultLine<'l> {
    #[serde(borrow)]
    Value(Cells<'l>),
    #[serde(borrow)]
    Missing(Text<'l>),
}

impl SampleLine<'_> {
    fn view(&self) -> SampleView<'_> {
        SampleView {
            probe: self.probe.as_str(),
            due_ns: self.due_ns,
            took_ns: self.took_ns,
            result: match &self.result {
                ResultLine::Value(cells) => ResultView::Value(Keys::Cells(&cells.0)),
                ResultLine::Missing(why) => ResultView::Missing(why.as_str()),
            },
        }
    }
}

/// [`crate::Fact`]
#[derive(serde::Deserialize)]
pub(crate) struct FactLine<'l> {
    source: FactSource,
    #[serde(borrow)]
    what: Text<'l>,
    at_ns: u64,
    #[serde(borrow)]
    keys: Cells<'l>,
}

/// The cells of an object, in the order of the line.
struct Cells<'l>(Vec<(Text<'l>, Cell<'l>)>);

/// Cells that most objects have room for.
const CELLS: usize = 16;

impl<'de: 'l, 'l> Deserialize<'de> for Cells<'l> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Cells<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut cells = Vec::with_capacity(CELLS);
                while let Some(cell) = map.next_entry()? {
                    cells.push(cell);
                }
                Ok(Cells(cells))
            }
        }
        deserializer.deserialize_map(Of)
    }
}

impl<'de: 'l, 'l> Deserialize<'de> for Cell<'l> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfCell)
    }
}

struct OfCell;

/// As a [`Value`] is read.
impl<'de> Visitor<'de> for OfCell {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: de::Error>(self, is: bool) -> Result<Self::Value, E> {
        Ok(Cell::Bool(is))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Cell::Number(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Cell::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).map_or(Cell::Null, Cell::Number))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(seq)).map(Cell::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(map)).map(Cell::Nested)
    }
}
