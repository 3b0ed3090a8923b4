//! Soak profiles.

use crate::diag::{Diagnostics, Parsed};
use crate::model::*;
use crate::names;
use crate::{grammar, soak, watch};

/// Parses a soak profile, which is named after its file; `known_drills` are the drills there are, and
/// `target` is what its watches look at.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse_profile(
    path: &str,
    text: &str,
    known_drills: &[String],
    target: &Target,
) -> Result<Parsed<Profile>, Diagnostics> {
    names::parse_file(path, text, &grammar::PROFILE, |sink, root, broken| {
        let watches = watch::watches(sink, root, broken, target);
        soak::profile(
            sink,
            root,
            known_drills,
            target,
            (names::stem(path), watches),
        )
    })
}
