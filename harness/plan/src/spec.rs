//! How a file's shape is declared: tables of keys with type and doc. The checker, the JSON Schema
//! and the reference all read the same declaration, so none of them can say something else.

/// A table's keys.
#[derive(Debug)]
pub struct Table {
    /// What a message calls it.
    pub name: &'static str,
    pub keys: &'static [Key],
    /// Of each of these sets exactly one key is given.
    pub exactly_one: &'static [&'static [&'static str]],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub ty: Ty,
    pub required: bool,
    pub doc: &'static str,
}

/// What a value may be.
#[derive(Debug)]
pub enum Ty {
    /// Text that isn't empty.
    Text,
    /// Any text, also none.
    AnyText,
    /// Letters, digits, `-` and `_`.
    Id,
    /// Text that starts with `/`.
    Path,
    /// A JSON pointer: empty, or starting with `/`.
    Pointer,
    Regex,
    /// `name{label="value"}`.
    Series,
    Bool,
    Int {
        min: u64,
        max: u64,
    },
    /// A finite number.
    Number,
    /// A finite number that isn't negative.
    Rate,
    /// A number from 0 to 1.
    Share,
    /// `250ms`, `2s`, …; may be zero.
    Duration,
    /// A duration above zero.
    Positive,
    /// Bytes, or text such as `64MiB`; above zero.
    Size,
    Word(&'static [&'static str]),
    /// Text, boolean or finite number.
    Scalar,
    List(&'static Ty),
    /// A list that isn't empty.
    Some(&'static Ty),
    /// A pair of two such values.
    Pair(&'static Ty),
    /// A table whose keys are free names.
    Map(&'static Ty),
    Table(&'static Table),
    /// A table whose key `kind` says which one it is.
    Kind(&'static [(&'static str, &'static Table)]),
    /// A table that is told by which table's first key it has; the first such one is meant.
    Either(&'static [&'static Table]),
    /// One such value, or a list of them.
    OneOrMany(&'static Ty),
    /// Either text of the first type or a table of the second.
    TextOr(&'static Ty, &'static Ty),
}

pub(crate) const fn req(name: &'static str, ty: Ty, doc: &'static str) -> Key {
    Key {
        name,
        ty,
        required: true,
        doc,
    }
}

pub(crate) const fn opt(name: &'static str, ty: Ty, doc: &'static str) -> Key {
    Key {
        name,
        ty,
        required: false,
        doc,
    }
}
