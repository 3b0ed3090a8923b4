//! The image of the running executable: FROM scratch, with its libraries in a layer of their own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::bundle::{self, Layer, LayerWriter, Runtime};
use super::closure::{self, Library};
use super::store::Store;
use super::{ExecutableImage, ImageError, find};
use crate::engine::Engine;

const NAME: &str = "firedrill-exe";
/// Path of the executable in the image.
const INSIDE: &str = "/firedrill";
/// Nobody: a service has no need to be root.
const USER: &str = "65534:65534";
/// Name services that the C library loads by name, so that no listing shows them.
const BY_NAME: [&str; 3] = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];
const NSSWITCH: &[u8] = b"passwd: files\ngroup: files\nhosts: files dns\n";
const PASSWD: &[u8] =
    b"root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &[u8] = b"root:x:0:\nnogroup:x:65534:\n";

/// `sha256:…` of a file's bytes.
pub fn digest_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("sha256:{}", hex::encode(hash.finalize()))),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// Makes the image of an executable, unless the engine has it.
pub async fn executable_image(
    engine: &Engine,
    executable: &Path,
) -> Result<ExecutableImage, ImageError> {
    provide(engine, &Store::open()?, executable, &mut |_| {}).await
}

pub(crate) async fn provide(
    engine: &Engine,
    store: &Store,
    executable: &Path,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ExecutableImage, ImageError> {
    let failed = |error: io::Error| ImageError::Executable {
        path: executable.into(),
        detail: error.to_string(),
    };
    let path = executable.to_path_buf();
    let digest = tokio::task::spawn_blocking(move || digest_of(&path))
        .await
        .map_err(|error| failed(io::Error::other(error)))?
        .map_err(failed)?;
    let base = base_files(executable).await.map_err(failed)?;
    let reference = format!("{NAME}:{}", tag(&base, &digest).map_err(failed)?);
    store.touch(&reference);
    let image = |id| ExecutableImage {
        reference: reference.clone(),
        id,
        digest: digest.clone(),
    };
    if let Some(id) = find(engine, &reference).await? {
        return Ok(image(id));
    }
    let _lock = store.lock().await?;
    if let Some(id) = find(engine, &reference).await? {
        return Ok(image(id));
    }
    progress(&format!("loading the executable as {reference}"));
    let scratch = store.scratch()?;
    let dir = scratch.path().to_path_buf();
    let source = executable.to_path_buf();
    let layers = tokio::task::spawn_blocking(move || layers(&dir, &base, &source))
        .await
        .map_err(|error| failed(io::Error::other(error)))?
        .map_err(failed)?;
    let runtime = Runtime {
        entrypoint: vec![INSIDE.into()],
        user: USER.into(),
        working_dir: "/".into(),
        stop_signal: "SIGTERM".into(),
        ..Runtime::default()
    };
    let id = bundle::load(engine, &reference, layers, runtime, scratch.path()).await?;
    store.prune(engine, NAME).await?;
    Ok(image(id))
}

/// Loader, libraries and what the C library loads by name; nothing for a static executable.
async fn base_files(executable: &Path) -> io::Result<Vec<Library>> {
    let Some(loader) = closure::interpreter(executable)? else {
        return Ok(Vec::new());
    };
    let mut files = closure::libraries(&loader, &[], executable).await?;
    let libc = files.iter().find(|library| library.name == "libc.so.6");
    let dir = libc.and_then(|library| library.path.parent().map(Path::to_path_buf));
    for name in BY_NAME {
        let path = dir.as_ref().map(|dir| dir.join(name));
        if let Some(path) = path.filter(|path| path.exists()) {
            files.push(Library {
                name: name.into(),
                path,
            });
        }
    }
    files.push(Library {
        name: "loader".into(),
        path: loader,
    });
    // Where the loader looks by default is part of it, so each file keeps its own path.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

/// Hash of all that goes into the image. A library is known by path, size and time of change, as
/// reading all of them again on every start would cost more than the rest.
fn tag(base: &[Library], digest: &str) -> io::Result<String> {
    let mut hash = Sha256::new();
    for part in [NSSWITCH, PASSWD, GROUP, USER.as_bytes(), digest.as_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    for library in base {
        let found = std::fs::metadata(&library.path)?;
        let changed = found.modified()?.duration_since(std::time::UNIX_EPOCH);
        let changed = changed.map(|time| time.as_nanos()).unwrap_or_default();
        hash.update(format!(
            "{} {} {changed}\n",
            library.path.display(),
            found.len()
        ));
    }
    let mut text = hex::encode(hash.finalize());
    text.truncate(24);
    Ok(text)
}

fn layers(scratch: &Path, base: &[Library], executable: &Path) -> io::Result<Vec<Layer>> {
    let mut layer = LayerWriter::create(&scratch.join("base.tar"))?;
    layer.dir("/tmp", 0o1777, 0)?;
    layer.bytes("/etc/nsswitch.conf", 0o644, NSSWITCH)?;
    layer.bytes("/etc/passwd", 0o644, PASSWD)?;
    layer.bytes("/etc/group", 0o644, GROUP)?;
    for Library { path, .. } in base {
        layer.file(&path.to_string_lossy(), 0o755, &real(path)?)?;
    }
    let base = layer.finish()?;
    let mut layer = LayerWriter::create(&scratch.join("executable.tar"))?;
    layer.file(INSIDE, 0o755, executable)?;
    Ok(vec![base, layer.finish()?])
}

fn real(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}
