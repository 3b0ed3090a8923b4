//! Key files: Ed25519, one line that says what it is and one line of hexadecimal digits.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::{SigningKey, VerifyingKey};
use firedrill_journal::sha256_hex;
use rand::Rng as _;

use crate::exit::Stop;
use crate::files;

const PRIVATE: &str = "firedrill private key, ed25519";
const PUBLIC: &str = "firedrill public key, ed25519";

/// A public key and how people tell it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    pub key: VerifyingKey,
    /// First 16 digits of the key's SHA-256.
    pub fingerprint: String,
}

impl Public {
    pub fn of(key: VerifyingKey) -> Public {
        let fingerprint = sha256_hex(key.as_bytes())[..16].to_owned();
        Public { key, fingerprint }
    }
}

/// Writes a new private key to `path`, readable by its owner only, and its public one beside it.
pub fn generate(path: &Path) -> Result<(PathBuf, Public), Stop> {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let public_path = PathBuf::from(name);
    if public_path.exists() {
        return Err(exists(&public_path));
    }
    let mut secret = [0_u8; 32];
    rand::rng().fill_bytes(&mut secret);
    let key = SigningKey::from_bytes(&secret);
    let public = Public::of(key.verifying_key());
    store(path, PRIVATE, key.as_bytes(), 0o600)?;
    store(&public_path, PUBLIC, public.key.as_bytes(), 0o644)?;
    Ok((public_path, public))
}

fn store(path: &Path, what: &str, key: &[u8; 32], mode: u32) -> Result<(), Stop> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => Stop::Environment(format!("{}: {e}", path.display())),
    })?;
    write!(file, "{what}\n{}\n", hex::encode(key))
        .and_then(|()| file.sync_all())
        .map_err(|e| Stop::Environment(format!("{}: {e}", path.display())))
}

fn exists(path: &Path) -> Stop {
    Stop::Usage(format!(
        "{}: is there already, and a key is never overwritten; give another path",
        path.display()
    ))
}

pub fn private(path: &Path) -> Result<SigningKey, Stop> {
    Ok(SigningKey::from_bytes(&read(path, PRIVATE)?))
}

pub fn public(path: &Path) -> Result<Public, Stop> {
    let bytes = read(path, PUBLIC)?;
    let key = VerifyingKey::from_bytes(&bytes)
        .map_err(|_| Stop::Usage(format!("{}:2:1: not a point of the curve", path.display())))?;
    Ok(Public::of(key))
}

fn read(path: &Path, wanted: &str) -> Result<[u8; 32], Stop> {
    let text = files::read(path)?;
    let mut lines = text.lines();
    let bad = |line: u32, why: String| Stop::Usage(format!("{}:{line}:1: {why}", path.display()));
    let first = lines.next().unwrap_or_default();
    if first != wanted {
        let hint = match first {
            PRIVATE => ", this is the private one: give its .pub file",
            PUBLIC => ", this is the public one: give the file without .pub",
            _ => "; `firedrill keygen --out KEY` makes a pair",
        };
        return Err(bad(1, format!("expected \"{wanted}\"{hint}")));
    }
    let digits = lines.next().unwrap_or_default();
    let mut key = [0_u8; 32];
    hex::decode_to_slice(digits, &mut key)
        .map_err(|_| bad(2, "expected 64 hexadecimal digits".to_owned()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_pair_is_written_once_and_read_back() {
        let dir = tempfile::TempDir::new().expect("a temporary folder");
        let path = dir.path().join("k");
        let (public_path, made) = generate(&path).expect("a pair is made");
        let mode = fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let own = private(&path).expect("it is readable");
        assert_eq!(own.verifying_key(), made.key);
        assert_eq!(public(&public_path).expect("it is readable"), made);
        let before = fs::read(&path).expect("it is there");
        for kept in [&path, &public_path] {
            let again = generate(&path);
            assert!(matches!(again, Err(Stop::Usage(_))), "{again:?}");
            if kept == &path {
                assert!(fs::read(&path).expect("it is there") == before);
                fs::remove_file(&path).expect("it is removed");
            }
        }
        assert!(!path.exists(), "no private key beside a foreign public one");
    }

    #[test]
    fn what_is_no_key_of_that_kind_is_refused_with_its_place() {
        let dir = tempfile::TempDir::new().expect("a temporary folder");
        let path = dir.path().join("k");
        let (public_path, _) = generate(&path).expect("a pair is made");
        let said = |result: Result<(), Stop>| result.expect_err("it is refused").to_string();
        let swapped = said(public(&path).map(|_| ()));
        assert!(swapped.contains(":1:1: ") && swapped.ends_with("give its .pub file"));
        assert!(said(private(&public_path).map(|_| ())).contains("without .pub"));
        let short = dir.path().join("short");
        fs::write(&short, format!("{PUBLIC}\nabc\n")).expect("it is written");
        assert!(said(public(&short).map(|_| ())).ends_with(":2:1: expected 64 hexadecimal digits"));
    }
}
