//! The reference of a file's grammar as Markdown, from the same declaration that the checker reads.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::schema::FileKind;
use crate::spec::{Table, Ty};

/// One Markdown section per table of the file's grammar, each table once, outermost first.
pub fn reference(kind: FileKind) -> String {
    let mut out = String::new();
    let mut queue: VecDeque<&'static Table> = VecDeque::from([kind.table()]);
    let mut known: Vec<&'static str> = vec![kind.table().name];
    while let Some(table) = queue.pop_front() {
        section(&mut out, table);
        for key in table.keys {
            for inner in tables(&key.ty) {
                if !known.contains(&inner.name) {
                    known.push(inner.name);
                    queue.push_back(inner);
                }
            }
        }
    }
    out
}

fn section(out: &mut String, table: &Table) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "### {}\n", table.name);
    for set in table.exactly_one {
        let keys: Vec<String> = set.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(out, "Exactly one of {}.\n", keys.join(", "));
    }
    out.push_str("| key | value | |\n|---|---|---|\n");
    for key in table.keys {
        let name = match key.required {
            true => format!("**`{}`**", key.name),
            false => format!("`{}`", key.name),
        };
        let _ = writeln!(out, "| {name} | {} | {} |", words(&key.ty), key.doc);
    }
    out.push('\n');
}

/// The tables that a value may be or hold.
fn tables(ty: &Ty) -> Vec<&'static Table> {
    match ty {
        Ty::Table(table) => vec![table],
        Ty::Kind(kinds) => kinds.iter().map(|(_, table)| *table).collect(),
        Ty::Either(all) => all.to_vec(),
        Ty::List(inner) | Ty::Some(inner) | Ty::Pair(inner) | Ty::Map(inner) => tables(inner),
        Ty::OneOrMany(inner) => tables(inner),
        Ty::TextOr(_, table) => tables(table),
        _ => Vec::new(),
    }
}

fn words(ty: &Ty) -> String {
    match ty {
        Ty::Text | Ty::AnyText => "text".into(),
        Ty::Id => "name".into(),
        Ty::Path => "path".into(),
        Ty::Pointer => "JSON pointer".into(),
        Ty::Regex => "regular expression".into(),
        Ty::Series => "series".into(),
        Ty::Bool => "true or false".into(),
        Ty::Int { min, max: u64::MAX } => format!("whole number from {min}"),
        Ty::Int { min, max } => format!("whole number, {min} to {max}"),
        Ty::Number => "number".into(),
        Ty::Rate => "number, not negative".into(),
        Ty::Share => "number, 0 to 1".into(),
        Ty::Duration => "duration".into(),
        Ty::Positive => "duration above 0".into(),
        Ty::Size => "bytes".into(),
        Ty::Word(all) => {
            let all: Vec<String> = all.iter().map(|word| format!("`{word}`")).collect();
            all.join(", ")
        }
        Ty::Scalar => "text, number, true or false".into(),
        Ty::List(inner) => format!("list of: {}", words(inner)),
        Ty::Some(inner) => format!("list, not empty, of: {}", words(inner)),
        Ty::Pair(inner) => format!("pair of: {}", words(inner)),
        Ty::Map(inner) => format!("table of names with: {}", words(inner)),
        Ty::Table(table) => format!("table [{}](#{})", table.name, anchor(table.name)),
        Ty::Kind(kinds) => {
            let link =
                |(word, table): &(&str, &Table)| format!("[`{word}`](#{})", anchor(table.name));
            let all: Vec<String> = kinds.iter().map(link).collect();
            format!("table with `kind` = {}", all.join(", "))
        }
        Ty::Either(all) => {
            let link = |table: &&Table| format!("[{}](#{})", table.name, anchor(table.name));
            let all: Vec<String> = all.iter().map(link).collect();
            all.join(" or ")
        }
        Ty::OneOrMany(inner) => format!("one, or a list of: {}", words(inner)),
        Ty::TextOr(text, table) => format!("{}, or {}", words(text), words(table)),
    }
}

/// The anchor that Markdown renderers give a heading.
fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
