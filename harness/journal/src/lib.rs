//! The journal: everything that crosses from acting to judging.
//!
//! An append-only stream of JSON Lines, typed, versioned and chained: each line carries the SHA-256
//! of the line before it, so that an edit, a lost tail or a swapped piece is visible afterwards.
//!
//! What this crate must not know: who writes a journal and who judges one. It has no opinion on
//! what an event means, takes no clock of its own and never compares a value with a bound.

mod ahead;
mod event;
mod line;
mod reader;
mod shown;
mod view;
mod writer;

#[cfg(test)]
mod tests;

pub use event::{
    Document, DocumentRole, Edge, EdgeKind, End, EndReason, Envelope, EpisodeInfo, Event, Fact,
    FactSource, FaultRef, Header, Op, OpState, Part, RunInfo, RunKind, SCHEMA, Sample,
    SampleResult, SignalRef, Stream, StreamState, Subject, act,
};
pub use reader::{
    Journal, Lines, Position, ReadError, Truncation, find, open, read, read_file, read_run,
};
pub use shown::{Held, Kept, Line};
pub use view::{
    Cell, FactView, Keys, OpView, ResultView, SampleView, Scalar, SignalView, Text, View,
};
pub use writer::{Seal, WriteError, Writer};

/// Name of a journal that is one plain file, in its run's folder.
pub const PLAIN: &str = "journal.jsonl";
/// Name of the folder of a journal in compressed segments, in its run's folder.
pub const SEGMENTS: &str = "journal";

/// Lowercase hexadecimal SHA-256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    const_hex::encode(sha2::Sha256::digest(bytes))
}

/// The `prev` value of a journal's first line.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
