//! JSON Schema 2020-12 of the files, from the same declaration that the checker reads.

use serde_json::{Map, Value, json};

use crate::grammar;
use crate::spec::{Table, Ty};

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Drill,
    Target,
    Policy,
    Profile,
    Waivers,
    Attestations,
}

impl FileKind {
    /// The declaration of the file's keys, for the schema and the reference.
    pub fn table(self) -> &'static Table {
        match self {
            FileKind::Drill => &grammar::DRILL,
            FileKind::Target => &grammar::TARGET,
            FileKind::Policy => &grammar::POLICY,
            FileKind::Profile => &grammar::PROFILE,
            FileKind::Waivers => &grammar::WAIVERS,
            FileKind::Attestations => &grammar::ATTESTATIONS,
        }
    }
}

/// JSON Schema 2020-12 of a kind of file. It says all that can be said about structure; what a name
/// refers to, and which keys fit together, `firedrill check` says.
pub fn schema(kind: FileKind) -> Value {
    let mut schema = table(kind.table(), None);
    if let Value::Object(map) = &mut schema {
        map.insert(
            "$schema".into(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
    }
    schema
}

fn table(spec: &Table, kind: Option<&str>) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    if let Some(kind) = kind {
        properties.insert("kind".into(), json!({ "const": kind }));
        required.push("kind");
    }
    let expands = spec.keys.iter().any(|key| key.name == "each");
    for key in spec.keys {
        let mut schema = value(&key.ty);
        if expands && !["id", "each"].contains(&key.name) {
            or_placeholder(&mut schema);
        }
        if let Value::Object(map) = &mut schema {
            map.insert("description".into(), json!(key.doc));
        }
        properties.insert(key.name.into(), schema);
        if key.required {
            required.push(key.name);
        }
    }
    let mut schema = json!({
        "title": spec.name,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if !spec.exactly_one.is_empty() {
        let sets: Vec<Value> = spec
            .exactly_one
            .iter()
            .map(|set| exactly_one(set))
            .collect();
        schema["allOf"] = json!(sets);
    }
    schema
}

/// Wherever a text has a form of its own, one that holds the placeholder of `each` fits as well.
fn or_placeholder(schema: &mut Value) {
    let formed = schema["pattern"].is_string() || schema["enum"].is_array();
    match schema {
        whole if formed => {
            let own = whole.take();
            *whole = json!({ "anyOf": [own, { "type": "string", "pattern": r"\{each\}" }] });
        }
        Value::Object(map) => map.values_mut().for_each(or_placeholder),
        Value::Array(items) => items.iter_mut().for_each(or_placeholder),
        _ => {}
    }
}

fn exactly_one(set: &[&str]) -> Value {
    let alternatives: Vec<Value> = set.iter().map(|key| json!({ "required": [key] })).collect();
    json!({ "oneOf": alternatives })
}

/// Durations as [`crate::parse_duration`] takes them.
const DURATION: &str = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$";

fn value(ty: &Ty) -> Value {
    match ty {
        Ty::Text => json!({ "type": "string", "pattern": r"\S" }),
        Ty::AnyText => json!({ "type": "string" }),
        Ty::Id => json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$" }),
        Ty::Path => json!({ "type": "string", "pattern": "^/" }),
        Ty::Pointer => json!({ "type": "string", "pattern": "^(/|$)" }),
        Ty::Regex => json!({ "type": "string", "format": "regex" }),
        Ty::Series => json!({ "type": "string", "pattern": r"^\s*[A-Za-z_:]" }),
        Ty::Bool => json!({ "type": "boolean" }),
        Ty::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Ty::Number => json!({ "type": "number" }),
        Ty::Rate => json!({ "type": "number", "minimum": 0 }),
        Ty::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Ty::Duration | Ty::Positive => json!({ "type": "string", "pattern": DURATION }),
        Ty::Size => json!({
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" },
            ]
        }),
        Ty::Word(words) => json!({ "enum": words }),
        Ty::Scalar => json!({ "type": ["string", "boolean", "number"] }),
        Ty::List(of) => json!({ "type": "array", "items": value(of) }),
        Ty::Some(of) => json!({ "type": "array", "items": value(of), "minItems": 1 }),
        Ty::Pair(of) => {
            json!({ "type": "array", "items": value(of), "minItems": 2, "maxItems": 2 })
        }
        Ty::Map(of) => json!({ "type": "object", "additionalProperties": value(of) }),
        Ty::Table(spec) => table(spec, None),
        Ty::Kind(kinds) => {
            let kinds: Vec<Value> = kinds.iter().map(|(n, t)| table(t, Some(n))).collect();
            json!({ "oneOf": kinds })
        }
        Ty::Either(specs) => either(specs),
        Ty::OneOrMany(of) => json!({
            "anyOf": [value(of), { "type": "array", "items": value(of), "minItems": 1 }]
        }),
        Ty::TextOr(text, table) => json!({ "anyOf": [value(text), value(table)] }),
    }
}

/// The first key of each table tells it; a table whose first key is optional there would be told by
/// nothing, so here it is required.
fn either(specs: &[&Table]) -> Value {
    let specs: Vec<Value> = specs
        .iter()
        .map(|spec| {
            let mut schema = table(spec, None);
            if let (Some(first), Some(required)) = (
                spec.keys.first().filter(|k| !k.required),
                schema["required"].as_array_mut(),
            ) {
                required.push(json!(first.name));
            }
            schema
        })
        .collect();
    json!({ "anyOf": specs })
}
