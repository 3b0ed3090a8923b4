//! What a dynamic executable needs beside itself: the loader that it names, and the libraries that
//! this loader finds for it. The program itself is never run for that.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const LISTING: Duration = Duration::from_secs(20);
const PT_INTERP: u32 = 3;
const HEADERS_MAX: u64 = 256;
const INTERP_BYTES_MAX: u64 = 4096;

/// A library: the name that the loader looks for (a path, for the loader itself), and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// The loader that an executable names; `None` for a static one. 64-bit little-endian ELF only,
/// which is what runs in containers today.
pub(crate) fn interpreter(path: &Path) -> io::Result<Option<PathBuf>> {
    let bad = |detail: &str| io::Error::new(io::ErrorKind::InvalidData, detail.to_string());
    let mut file = File::open(path)?;
    let mut header = [0u8; 64];
    file.read_exact(&mut header)
        .map_err(|_| bad("not an ELF file"))?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return Err(bad("not a 64-bit little-endian ELF file"));
    }
    let table = number(&header, 32, 8);
    let entry_bytes = number(&header, 54, 2);
    let entries = number(&header, 56, 2);
    if entry_bytes != 56 || entries > HEADERS_MAX {
        return Err(bad("unexpected ELF program headers"));
    }
    for index in 0..entries {
        let mut entry = [0u8; 56];
        let start = table
            .checked_add(index * entry_bytes)
            .ok_or_else(|| bad("ELF program headers out of range"))?;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut entry)?;
        if number(&entry, 0, 4) != u64::from(PT_INTERP) {
            continue;
        }
        let mut name = Vec::new();
        file.seek(SeekFrom::Start(number(&entry, 8, 8)))?;
        let length = number(&entry, 32, 8).min(INTERP_BYTES_MAX);
        (&mut file).take(length).read_to_end(&mut name)?;
        name.retain(|byte| *byte != 0);
        let name = String::from_utf8(name).map_err(|_| bad("loader's name is no text"))?;
        return Ok(Some(PathBuf::from(name)));
    }
    Ok(None)
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let digits = bytes[at..at + length].iter().rev();
    digits.fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// Libraries of an executable or library, as `loader` finds them, by default or in `dirs`.
pub(crate) async fn libraries(
    loader: &Path,
    dirs: &[PathBuf],
    of: &Path,
) -> io::Result<Vec<Library>> {
    let mut command = tokio::process::Command::new(loader);
    if !dirs.is_empty() {
        let dirs: Vec<String> = dirs
            .iter()
            .map(|dir| dir.to_string_lossy().into_owned())
            .collect();
        command.arg("--library-path").arg(dirs.join(":"));
    }
    command
        .arg("--list")
        .arg(of)
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LISTING, command.output())
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the loader doesn't answer"))??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!(
            "the loader says: {}",
            said.trim()
        )));
    }
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// Lines are `name => path (0x…)`, `/path/of/loader (0x…)`, or `name => not found`.
fn parse(listing: &str) -> io::Result<Vec<Library>> {
    let mut libraries = Vec::new();
    for line in listing.lines().map(str::trim) {
        let line = line.rsplit_once(" (0x").map_or(line, |(left, _)| left);
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        if path == "not found" {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("library {name} is missing"),
            ));
        }
        if path.starts_with('/') {
            libraries.push(Library {
                name: name.to_string(),
                path: PathBuf::from(path),
            });
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read() -> io::Result<()> {
        let listing = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x1)\n";
        let libraries = parse(listing)?;
        let names: Vec<&str> = libraries.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["libc.so.6", "/lib64/ld.so.2"]);
        assert_eq!(libraries[0].path, Path::new("/lib/x/libc.so.6"));
        assert!(parse("\tlibx.so => not found\n").is_err());
        Ok(())
    }

    #[test]
    fn what_is_no_executable_is_refused() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("script");
        std::fs::write(&path, "#!/bin/sh\n")?;
        assert!(interpreter(&path).is_err());
        let mut lie = vec![0u8; 64];
        lie[..6].copy_from_slice(b"\x7fELF\x02\x01");
        lie[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        lie[54] = 56;
        lie[56] = 2;
        std::fs::write(&path, lie)?;
        assert!(interpreter(&path).is_err());
        Ok(())
    }
}
