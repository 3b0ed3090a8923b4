//! Attestations: who says which verdicts of which sealed runs, and which decision, signed with Ed25519.
//!
//! A seal shows accidental changes; whoever can write a run's folder can make all of it anew. An attestation
//! names the digest of the run's manifest, so that only the holder of the key can make another.

use std::fs;
use std::path::{Component, Path, PathBuf};

use ed25519_dalek::{Signature, Signer as _, SigningKey};
use firedrill_journal::sha256_hex;
use firedrill_verdict::{GateOutcome, Outcome};
use serde::{Deserialize, Serialize};

use crate::exit::Stop;
use crate::keys::Public;
use crate::{evidence, files};

/// Folder beside the runs.
pub const FOLDER: &str = "attestations";
/// First bytes of what is signed: a signature over anything else is none over an attestation.
const DOMAIN: &[u8] = b"firedrill attestation 1\n";
const SCHEMA_VERSION: u32 = 1;
/// Attestations of a store that are looked at.
const FILES_MAX: usize = 1_000;
/// Folders above an attestation in which its runs are looked for.
const ABOVE_MAX: usize = 3;
/// Folders above a run that may be the store with its attestations.
pub const STORES_MAX: usize = 6;
/// Digits of a signature's digest in the name of its file.
const NAME_DIGITS: usize = 12;

/// An attestation file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    pub schema_version: u32,
    pub statement: Statement,
    /// Fingerprint of the key; says which one to verify with, and proves nothing.
    pub key: String,
    /// Hexadecimal, over the statement.
    pub signature: String,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Digest of the build under test.
    pub subject: String,
    pub runs: Vec<Attested>,
    /// Manifest of the folder of a run of several drills, by that folder.
    pub wholes: Vec<Whole>,
    pub decision: Option<Decided>,
    pub signer: String,
    pub role: Option<String>,
    /// RFC 3339, UTC, by the signer's clock.
    pub signed_at: jiff::Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    pub run: String,
    /// The run's folder in the store, such as `20261121t101500z-drill-7-abcd/redis-outage`.
    pub folder: String,
    pub manifest_sha256: String,
    pub journal_head: String,
    pub profile: String,
    pub verdict: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whole {
    pub folder: String,
    pub manifest_sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// The decision's folder in the store, such as `gates/20261121t111500z-smoke-0-abcd`.
    pub folder: String,
    pub policy: String,
    pub policy_sha256: String,
    pub outcome: GateOutcome,
    pub decision_sha256: String,
    pub go_no_go_sha256: String,
    /// Digest of its `report.html`, where it has one. Left out otherwise: what was signed before has the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_sha256: Option<String>,
}

/// An attestation, and where it lies.
#[derive(Clone, Debug)]
pub struct Found {
    pub path: PathBuf,
    pub attestation: Attestation,
}

/// The bytes that are signed: the statement as compact JSON, its fields in the order of their declaration.
fn canonical(statement: &Statement) -> Result<Vec<u8>, Stop> {
    let mut bytes = DOMAIN.to_vec();
    serde_json::to_writer(&mut bytes, statement).map_err(|e| Stop::Internal(e.to_string()))?;
    Ok(bytes)
}

pub fn sign(statement: Statement, key: &SigningKey) -> Result<Attestation, Stop> {
    let signature = key.sign(&canonical(&statement)?);
    Ok(Attestation {
        schema_version: SCHEMA_VERSION,
        statement,
        key: Public::of(key.verifying_key()).fingerprint,
        signature: hex::encode(signature.to_bytes()),
    })
}

impl Attestation {
    /// Whether the statement was signed with that key.
    pub fn is_signed_with(&self, key: &Public) -> Result<bool, Stop> {
        let mut bytes = [0_u8; Signature::BYTE_SIZE];
        if hex::decode_to_slice(&self.signature, &mut bytes).is_err() {
            return Ok(false);
        }
        let message = canonical(&self.statement)?;
        let signature = Signature::from_bytes(&bytes);
        Ok(key.key.verify_strict(&message, &signature).is_ok())
    }

    /// The signer, and as what.
    pub fn by(&self) -> String {
        let statement = &self.statement;
        match &statement.role {
            Some(role) => format!("{} ({role})", statement.signer),
            None => statement.signer.clone(),
        }
    }
}

pub fn read(path: &Path) -> Result<Found, Stop> {
    let text = files::read(path)?;
    let attestation: Attestation = serde_json::from_str(&text).map_err(|e| {
        Stop::Usage(format!(
            "{}:{}:{}: not an attestation: {e}",
            path.display(),
            e.line(),
            e.column()
        ))
    })?;
    if attestation.schema_version != SCHEMA_VERSION {
        return Err(Stop::Usage(format!(
            "{}: version {} of the format, this program reads {SCHEMA_VERSION}",
            path.display(),
            attestation.schema_version
        )));
    }
    Ok(Found {
        path: path.to_owned(),
        attestation,
    })
}

/// The attestations of a store, and those that can't be read.
pub fn of_store(store: &Path) -> Result<(Vec<Found>, Vec<String>), Stop> {
    let Ok(entries) = fs::read_dir(store.join(FOLDER)) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    if paths.len() > FILES_MAX {
        let folder = store.join(FOLDER);
        return Err(Stop::Usage(format!(
            "{}: more than {FILES_MAX} attestations; give the one that is meant",
            folder.display()
        )));
    }
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        if !evidence::is_plain(&path) {
            unreadable.push(format!("{} is no plain file", path.display()));
            continue;
        }
        match read(&path) {
            Ok(one) => found.push(one),
            Err(why) => unreadable.push(why.to_string()),
        }
    }
    Ok((found, unreadable))
}

/// Writes an attestation into the store's folder of them, whole or not at all; one that is there is never overwritten.
/// Its name holds a part of the signature's digest, so that whoever signs again has a file of their own.
pub fn store(store: &Path, attestation: &Attestation) -> Result<PathBuf, Stop> {
    let statement = &attestation.statement;
    let first = statement.runs.first().map_or("", |r| r.folder.as_str());
    let safe = |text: &str| -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        text.chars().take(80).map(plain).collect()
    };
    let who = statement.role.as_ref().unwrap_or(&statement.signer);
    let what = statement.decision.as_ref().map_or("", |_| "-decision");
    let folder = store.join(FOLDER);
    evidence::create(&folder)?;
    let digits = &sha256_hex(attestation.signature.as_bytes())[..NAME_DIGITS];
    let name = format!("{}{what}-{}-{digits}.json", safe(first), safe(who));
    let path = folder.join(name);
    let text =
        serde_json::to_string_pretty(attestation).map_err(|e| Stop::Internal(e.to_string()))?;
    let fresh = path.with_extension("fresh");
    evidence::write(&fresh, &(text + "\n"))?;
    // A link, unlike a rename, never takes the place of a file.
    let linked = fs::hard_link(&fresh, &path);
    let _ = fs::remove_file(&fresh);
    match linked {
        Ok(()) => Ok(path),
        Err(error) => Err(Stop::Environment(format!(
            "{}: {error}; an attestation is never overwritten: move that file away, or keep the runs on a file system that knows links, and sign again",
            path.display()
        ))),
    }
}

/// Where a folder that an attestation names lies: in the store around it.
pub fn locate(attestation: &Path, folder: &str) -> Option<PathBuf> {
    let relative = Path::new(folder);
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
    if folder.is_empty() || !relative.components().all(plain) {
        return None;
    }
    let path = attestation.canonicalize().ok()?;
    let above = path.ancestors().skip(1).take(ABOVE_MAX);
    let mut folders = above.map(|base| base.join(relative));
    folders.find(|folder| folder.is_dir())
}
