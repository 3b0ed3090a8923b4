//! `firedrill keygen`: a pair of keys for attestations.

use std::path::Path;

use crate::exit::{Exit, Stop};
use crate::keys;

pub fn keygen(out: &Path) -> Result<Exit, Stop> {
    let (public, pair) = keys::generate(out)?;
    println!("key {}", pair.fingerprint);
    println!("private: {} (keep it to yourself)", out.display());
    println!("public: {} (give it to whoever verifies)", public.display());
    Ok(Exit::Pass)
}
