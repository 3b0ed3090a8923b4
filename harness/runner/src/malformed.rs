//! Requests that are no valid signals, made from the run's seed.
//!
//! All that is known about the target is how it takes signals: the template of the body, the header and
//! the secret of the signature, and what its fields may hold. Every request is made from a valid signal
//! by one change, so that exactly that change is what is refused; whatever isn't about the signature is
//! signed as it should be. The same seed makes the same bytes.

use firedrill_plan::{Field, Malformed, Signals, Takes};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::load::signature;

/// Bytes of a body that no service should have to read to its end.
const HUGE: usize = 1024 * 1024;
/// Depth of brackets at which a careless parser's stack ends.
const DEPTH: usize = 20_000;
/// Text that has done harm elsewhere.
const HOSTILE: [&str; 10] = [
    "'; DROP TABLE signals; --",
    "\" OR \"\"=\"",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "<script>alert(1)</script>",
    "${jndi:ldap://127.0.0.1/a}",
    "%n%n%s%x",
    "$(reboot)",
    "\u{202e}\u{feff}\u{1f4a5}",
    "a b\tc",
];

/// A request, as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is wrong with it, in words.
    pub what: String,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Makes malformed requests of one class.
pub struct Malformer<'a> {
    signals: &'a Signals,
    secret: &'a [u8],
    class: Malformed,
    rng: StdRng,
    /// Changes of the class in the order in which they come; by field for the class of fields.
    orders: Vec<Vec<usize>>,
    made: usize,
}

impl<'a> Malformer<'a> {
    pub fn new(
        signals: &'a Signals,
        secret: &'a [u8],
        class: Malformed,
        seed: u64,
        id: &str,
    ) -> Self {
        let digest = Sha256::digest(format!("{seed} {id}"));
        let mut rng = StdRng::from_seed(digest.into());
        let lengths: Vec<usize> = match class {
            Malformed::Signature => vec![SIGNATURES.len()],
            Malformed::Body => vec![BODIES.len()],
            Malformed::Huge => vec![HUGES.len()],
            Malformed::Path => vec![PATHS.len()],
            Malformed::Method => vec![METHODS.len()],
            Malformed::Field => vec![FIELD_CHANGES; signals.fields.len()],
        };
        let orders = lengths.into_iter().map(|n| {
            let mut order: Vec<usize> = (0..n).collect();
            order.shuffle(&mut rng);
            order
        });
        let orders = orders.collect();
        Self {
            signals,
            secret,
            class,
            rng,
            orders,
            made: 0,
        }
    }

    /// The next request, made from the body of a valid signal. The changes of the class come in turn, and
    /// so do the fields.
    pub fn make(&mut self, body: &str) -> Result<Request, String> {
        let turn = self.made;
        self.made += 1;
        let lists = self.orders.len().max(1);
        let order = self.orders.get(turn % lists);
        let order = order.filter(|o| !o.is_empty());
        let order = order.ok_or("the target file doesn't say what the fields may hold")?;
        let change = order[turn / lists % order.len()];
        match self.class {
            Malformed::Signature => Ok(self.signature(body, SIGNATURES[change])),
            Malformed::Body => self.body(body, BODIES[change]),
            Malformed::Huge => self.huge(body, HUGES[change]),
            Malformed::Field => self.field(body, turn % lists, turn / lists),
            Malformed::Path => Ok(self.path(body, PATHS[change])),
            Malformed::Method => {
                let request = self.signed(format!("method {}", METHODS[change]), body.into());
                Ok(Request {
                    method: METHODS[change].to_owned(),
                    ..request
                })
            }
        }
    }

    /// A POST with the right signature.
    fn signed(&self, what: String, body: Vec<u8>) -> Request {
        let signature = signature(self.secret, &body);
        self.with_signatures(what, body, vec![signature.into_bytes()])
    }

    fn with_signatures(&self, what: String, body: Vec<u8>, signatures: Vec<Vec<u8>>) -> Request {
        let name = &self.signals.signature_header;
        let mut headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
        headers.extend(signatures.into_iter().map(|value| (name.clone(), value)));
        Request {
            what,
            method: "POST".to_owned(),
            path: self.signals.path.clone(),
            headers,
            body,
        }
    }

    fn signature(&mut self, body: &str, change: &str) -> Request {
        let right = signature(self.secret, body.as_bytes());
        let wrong = hex::encode(self.rng.random::<[u8; 32]>());
        let given: Vec<String> = match change {
            "missing" => Vec::new(),
            "empty" => vec![String::new()],
            "wrong" => vec![wrong],
            "one digit off" => vec![one_off(&right, self.rng.random_range(0..right.len()))],
            // Digits alone have no upper case.
            "uppercase" if right.to_uppercase() != right => vec![right.to_uppercase()],
            "uppercase" => vec![wrong.to_uppercase()],
            "prefixed" => vec![format!("sha256={right}")],
            "non-ASCII" => vec!["é".repeat(32)],
            "truncated" => vec![right[..self.rng.random_range(1..right.len())].to_owned()],
            "over-long" => vec![format!("{right}{}", &wrong[..2])],
            "not hexadecimal" => vec![format!("z{}", &right[1..])],
            "of another body" => vec![signature(self.secret, format!("{body} ").as_bytes())],
            "under another secret" => vec![signature(wrong.as_bytes(), body.as_bytes())],
            "doubled, wrong first" => vec![wrong, right],
            "doubled, wrong last" => vec![right, wrong],
            _ => vec![right.clone(), right],
        };
        let given = given.into_iter().map(String::into_bytes).collect();
        self.with_signatures(format!("signature {change}"), body.into(), given)
    }

    fn body(&mut self, body: &str, change: &str) -> Result<Request, String> {
        let fields = object(body)?;
        let bytes = body.as_bytes();
        // Within the object: what is left has no end.
        let within = self.rng.random_range(1..bytes.len().max(2));
        let mut made: Vec<u8> = match change {
            "empty" => Vec::new(),
            "white space" => b" \n\t ".to_vec(),
            "truncated" => bytes[..within].to_vec(),
            "trailing text" => format!("{body} trailing").into_bytes(),
            "two objects" => format!("{body}{body}").into_bytes(),
            "array" => format!("[{body}]").into_bytes(),
            "text" => Value::from(body).to_string().into_bytes(),
            "null" => b"null".to_vec(),
            "a number" => b"5".to_vec(),
            "single quotes" => body.replace('"', "'").into_bytes(),
            "a comma too many" => body.replacen('}', ",}", 1).into_bytes(),
            "a comment" => format!("/* a signal */ {body}").into_bytes(),
            "deep nesting" => nested(self.rng.random_range(DEPTH / 2..DEPTH)).into_bytes(),
            "form" => form(&fields).into_bytes(),
            "random bytes" => (0..within)
                .map(|_| self.rng.random::<u8>() | 0x80)
                .collect(),
            "UTF-16" => body.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "invalid UTF-8" => replaced(body, "\":\"", b"\":\"\xff\xfe"),
            "raw control character" => replaced(body, "\":\"", b"\":\"\x01"),
            "duplicate key" => self.doubled(&fields),
            literal => self.literal(&fields, literal).unwrap_or_default(),
        };
        // A body that the change passes by would be a valid signal.
        if made == bytes {
            made.clear();
        }
        let mut request = self.signed(format!("body: {change}"), made);
        if change == "form" {
            request.headers[0].1 = b"application/x-www-form-urlencoded".to_vec();
        }
        Ok(request)
    }

    /// One key twice, each time with a value that is right by itself.
    fn doubled(&mut self, fields: &Map<String, Value>) -> Vec<u8> {
        let names: Vec<&String> = fields.keys().collect();
        let Some(name) = names.choose(&mut self.rng) else {
            return Vec::new();
        };
        let second = match &fields[*name] {
            Value::Number(_) => Value::from(self.rng.random_range(1..9)),
            same => same.clone(),
        };
        let mut text = Value::Object(fields.clone()).to_string();
        text.truncate(text.len() - 1);
        format!("{text},{}:{second}}}", quoted(name)).into_bytes()
    }

    /// A number that JSON has no way to write, in a field that takes numbers.
    fn literal(&mut self, fields: &Map<String, Value>, literal: &str) -> Option<Vec<u8>> {
        let numbers: Vec<&String> = fields
            .iter()
            .filter(|(_, value)| value.is_number())
            .map(|(name, _)| name)
            .collect();
        let name = numbers.choose(&mut self.rng)?;
        Some(with_field(fields, name, Some(literal)))
    }

    fn huge(&mut self, body: &str, change: &str) -> Result<Request, String> {
        let fields = object(body)?;
        let length = HUGE + self.rng.random_range(0..1024);
        let filler = "x".repeat(length);
        let made = match change {
            "text" => {
                let mut texts = fields.iter().filter(|(_, value)| value.is_string());
                let name = texts.next().map_or("text", |(name, _)| name.as_str());
                with_field(&fields, name, Some(&quoted(&filler)))
            }
            "nesting" => nested(length / 2).into_bytes(),
            _ => filler.into_bytes(),
        };
        Ok(self.signed(format!("huge {change}"), made))
    }

    fn field(&mut self, body: &str, at: usize, turn: usize) -> Result<Request, String> {
        let fields = object(body)?;
        let signals = self.signals;
        let (name, field) = signals
            .fields
            .iter()
            .nth(at)
            .ok_or("no such field in the target file")?;
        let changes: Vec<(String, Option<String>)> = field_changes(field, &mut self.rng)
            .into_iter()
            .filter(|(_, raw)| is_malformed(field, raw.as_deref()))
            .collect();
        // The order is over more places than there are changes: those that are there come in turn.
        let order = &self.orders[at];
        let places: Vec<&usize> = order.iter().filter(|at| **at < changes.len()).collect();
        let place = places.get(turn % places.len().max(1)).copied();
        let (what, raw) = place
            .and_then(|at| changes.get(*at))
            .ok_or("a field that takes everything")?;
        let made = with_field(&fields, name, raw.as_deref());
        Ok(self.signed(format!("{name}: {what}"), made))
    }

    fn path(&mut self, body: &str, change: &str) -> Request {
        let path = &self.signals.path;
        let other = match change {
            "another case" => path.to_uppercase(),
            "one segment more" => format!("{path}/{}", self.rng.random_range(1..1000)),
            "a slash more" => format!("{path}/"),
            "a letter less" => path[..path.len() - 1].to_owned(),
            "a version before it" => format!("/v{}{path}", self.rng.random_range(2..9)),
            "NUL behind it" => format!("{path}%00"),
            _ => format!("/{}", hex::encode(self.rng.random::<[u8; 8]>())),
        };
        let request = self.signed(format!("path: {change}"), body.into());
        // A path without letters has no other case.
        let path = if other == *path {
            format!("{path}/")
        } else {
            other
        };
        Request { path, ..request }
    }
}

const SIGNATURES: [&str; 15] = [
    "missing",
    "empty",
    "wrong",
    "one digit off",
    "uppercase",
    "prefixed",
    "non-ASCII",
    "truncated",
    "over-long",
    "not hexadecimal",
    "of another body",
    "under another secret",
    "doubled, wrong first",
    "doubled, wrong last",
    "doubled, both right",
];
const BODIES: [&str; 22] = [
    "empty",
    "white space",
    "truncated",
    "trailing text",
    "two objects",
    "array",
    "text",
    "null",
    "a number",
    "single quotes",
    "a comma too many",
    "a comment",
    "deep nesting",
    "form",
    "random bytes",
    "UTF-16",
    "invalid UTF-8",
    "raw control character",
    "duplicate key",
    "NaN",
    "Infinity",
    "-Infinity",
];
const HUGES: [&str; 3] = ["text", "nesting", "garbage"];
const PATHS: [&str; 7] = [
    "another case",
    "one segment more",
    "a slash more",
    "a letter less",
    "a version before it",
    "NUL behind it",
    "another one",
];
const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "SIGNAL"];
/// Changes of one field at the most.
const FIELD_CHANGES: usize = 40;

/// What a field may be changed to, as raw JSON; nothing: it is left out. Some of it may be valid there.
fn field_changes(field: &Field, rng: &mut StdRng) -> Vec<(String, Option<String>)> {
    let mut all: Vec<(String, Option<String>)> = vec![("missing".to_owned(), None)];
    let mut put = |what: &str, raw: String| all.push((what.to_owned(), Some(raw)));
    put("null", "null".to_owned());
    put("a boolean", rng.random::<bool>().to_string());
    put("an array", "[1]".to_owned());
    put("an object", "{\"a\":1}".to_owned());
    match &field.takes {
        Takes::Text { .. } | Takes::Word { .. } => {
            let longest = match &field.takes {
                Takes::Text { longest, .. } => *longest as usize,
                _ => 8,
            };
            let more = rng.random_range(2..50);
            put("a number", rng.random_range(1..1000).to_string());
            put("empty", "\"\"".to_owned());
            put("one too long", quoted(&"a".repeat(longest + 1)));
            put("over-long", quoted(&"a".repeat(longest * more)));
            for control in ["\0", "\u{7}", "\n", "\u{1b}[2J"] {
                put("control characters", quoted(&format!("a{control}b")));
            }
            if let Takes::Word { of } = &field.takes {
                let word = of.first().map_or("word", String::as_str);
                put("lower case", quoted(&word.to_lowercase()));
                put("a space behind it", quoted(&format!("{word} ")));
                put("another word", quoted(&format!("{word}S")));
            }
            for text in HOSTILE {
                put("hostile text", quoted(text));
            }
        }
        Takes::Integer | Takes::Number { .. } => {
            let number = rng.random_range(1..1_000_000);
            put("text", quoted(&number.to_string()));
            put("text NaN", quoted("NaN"));
            put("hostile text", quoted(HOSTILE[0]));
            put("negative", format!("-{number}"));
            put("a fraction", format!("{number}.5"));
            put("zero", "0".to_owned());
            put("2^63", "9223372036854775808".to_owned());
            put("-2^63-1", "-9223372036854775809".to_owned());
            put("1e400", "1e400".to_owned());
            put("400 digits", "9".repeat(400));
        }
    }
    all
}

/// Whether the field may not hold that raw JSON. What no JSON value can hold is malformed.
fn is_malformed(field: &Field, raw: Option<&str>) -> bool {
    match raw.map(serde_json::from_str::<Value>) {
        None => !field.optional,
        Some(Ok(value)) => !field.accepts(&value),
        Some(Err(_)) => true,
    }
}

fn object(body: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err("the target's signals are no JSON objects".to_owned()),
    }
}

/// The body with one field changed to raw JSON, or left out.
fn with_field(fields: &Map<String, Value>, name: &str, raw: Option<&str>) -> Vec<u8> {
    let others = fields.iter().filter(|(field, _)| *field != name);
    let mut parts: Vec<String> = others
        .map(|(field, value)| format!("{}:{value}", quoted(field)))
        .collect();
    parts.extend(raw.map(|raw| format!("{}:{raw}", quoted(name))));
    format!("{{{}}}", parts.join(",")).into_bytes()
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn form(fields: &Map<String, Value>) -> String {
    let parts: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}").replace('"', ""))
        .collect();
    parts.join("&")
}

/// Bytes in the place of a text's first occurrence; nothing where there is none.
fn replaced(body: &str, text: &str, by: &[u8]) -> Vec<u8> {
    match body.split_once(text) {
        Some((before, after)) => [before.as_bytes(), by, after.as_bytes()].concat(),
        None => Vec::new(),
    }
}

/// The text with one hexadecimal digit changed.
fn one_off(text: &str, at: usize) -> String {
    let change = |(i, c): (usize, char)| match i == at {
        true if c == '0' => '1',
        true => '0',
        false => c,
    };
    text.chars().enumerate().map(change).collect()
}

#[cfg(test)]
mod tests;
