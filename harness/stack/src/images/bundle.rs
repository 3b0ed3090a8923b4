//! Images in the form that `docker load` reads: layers as tar files with fixed times and owners, so
//! that equal content is an equal layer, and the engine keeps it once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{ImageError, find};
use crate::engine::{Engine, EngineError};

const LOAD: Duration = Duration::from_secs(180);
const CHUNK_BYTES: usize = 256 * 1024;

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A layer on disk.
pub(crate) struct Layer {
    path: PathBuf,
    /// Hexadecimal SHA-256 of the tar file.
    pub(crate) digest: String,
}

/// Writes a layer. Parent directories come by themselves.
pub(crate) struct LayerWriter {
    tar: tar::Builder<Hashing<BufWriter<File>>>,
    path: PathBuf,
    seen: BTreeSet<String>,
}

impl LayerWriter {
    pub(crate) fn create(path: &Path) -> io::Result<LayerWriter> {
        let file = Hashing {
            inner: BufWriter::with_capacity(CHUNK_BYTES, File::create(path)?),
            hash: Sha256::new(),
        };
        Ok(LayerWriter {
            tar: tar::Builder::new(file),
            path: path.into(),
            seen: BTreeSet::new(),
        })
    }

    /// A directory; one that is already there stays as it is.
    pub(crate) fn dir(&mut self, path: &str, mode: u32, uid: u64) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.new_entry(path)? {
            return Ok(());
        }
        let mut header = header(tar::EntryType::Directory, mode, uid, 0);
        self.tar
            .append_data(&mut header, format!("{path}/"), io::empty())
    }

    /// A regular file with the content of another one.
    pub(crate) fn file(&mut self, path: &str, mode: u32, source: &Path) -> io::Result<()> {
        let path = path.trim_matches('/');
        if !self.new_entry(path)? {
            return Ok(());
        }
        let file = File::open(source)?;
        let mut header = header(tar::EntryType::Regular, mode, 0, file.metadata()?.len());
        self.tar
            .append_data(&mut header, path, BufReader::new(file))
    }

    pub(crate) fn bytes(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = path.trim_matches('/');
        if !self.new_entry(path)? {
            return Ok(());
        }
        let mut header = header(tar::EntryType::Regular, mode, 0, content.len() as u64);
        self.tar.append_data(&mut header, path, content)
    }

    pub(crate) fn link(&mut self, path: &str, to: &Path) -> io::Result<()> {
        let path = path.trim_matches('/');
        if !self.new_entry(path)? {
            return Ok(());
        }
        let mut header = header(tar::EntryType::Symlink, 0o777, 0, 0);
        self.tar.append_link(&mut header, path, to)
    }

    pub(crate) fn finish(self) -> io::Result<Layer> {
        let mut file = self.tar.into_inner()?;
        file.flush()?;
        Ok(Layer {
            path: self.path,
            digest: hex::encode(file.hash.finalize()),
        })
    }

    /// Whether the path is new; its parents are made.
    fn new_entry(&mut self, path: &str) -> io::Result<bool> {
        if !self.seen.insert(path.to_string()) {
            return Ok(false);
        }
        match path.rsplit_once('/') {
            Some((parent, _)) => self.dir(parent, 0o755, 0).map(|()| true),
            None => Ok(true),
        }
    }
}

fn header(kind: tar::EntryType, mode: u32, uid: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(uid);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// What a container of the image runs by default.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Runtime {
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) user: String,
    pub(crate) working_dir: String,
    pub(crate) stop_signal: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// Packs the layers and loads them into the engine under a tag. Answers with the image's id.
pub(crate) async fn load(
    engine: &Engine,
    reference: &str,
    layers: Vec<Layer>,
    runtime: Runtime,
    scratch: &Path,
) -> Result<String, ImageError> {
    let path = scratch.join("image.tar");
    let packing = (
        path.clone(),
        reference.to_string(),
        engine.info().arch.clone(),
    );
    tokio::task::spawn_blocking(move || {
        let (path, reference, arch) = packing;
        pack(&path, &reference, &arch, &layers, &runtime)
    })
    .await
    .map_err(|error| ImageError::io("packing an image")(io::Error::other(error)))?
    .map_err(ImageError::io(format!("packing image {reference}")))?;
    send(engine, reference, &path).await?;
    find(engine, reference).await?.ok_or_else(|| {
        ImageError::Engine(EngineError::Other {
            what: format!("loading image {reference}"),
            detail: "the engine took it, but doesn't list it".into(),
        })
    })
}

fn pack(
    path: &Path,
    reference: &str,
    arch: &str,
    layers: &[Layer],
    runtime: &Runtime,
) -> io::Result<()> {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("sha256:{}", layer.digest))
        .collect();
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": runtime,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": diff_ids.iter().map(|_| json!({ "created_by": "firedrill" })).collect::<Vec<_>>(),
    });
    let config = serde_json::to_vec(&config)?;
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    let names: Vec<String> = layers
        .iter()
        .map(|layer| format!("{}/layer.tar", layer.digest))
        .collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": [reference], "Layers": names }]);

    let file = BufWriter::with_capacity(CHUNK_BYTES, File::create(path)?);
    let mut tar = tar::Builder::new(file);
    let mut bytes = |name: &str, content: &[u8]| {
        let mut header = header(tar::EntryType::Regular, 0o644, 0, content.len() as u64);
        tar.append_data(&mut header, name, content)
    };
    bytes("manifest.json", &serde_json::to_vec(&manifest)?)?;
    bytes(&config_name, &config)?;
    for (layer, name) in layers.iter().zip(&names) {
        let content = File::open(&layer.path)?;
        let size = content.metadata()?.len();
        let mut header = header(tar::EntryType::Regular, 0o644, 0, size);
        tar.append_data(
            &mut header,
            name,
            BufReader::with_capacity(CHUNK_BYTES, content),
        )?;
    }
    tar.into_inner()?.flush()
}

async fn send(engine: &Engine, reference: &str, path: &Path) -> Result<(), ImageError> {
    let what = format!("loading image {reference}");
    let file = File::open(path).map_err(ImageError::io(what.clone()))?;
    let body = futures_util::stream::iter(Chunks { file });
    let options = ImportImageOptionsBuilder::new().quiet(true).build();
    let mut answer = engine.docker().import_image_stream(options, body, None);
    let all = async {
        while let Some(line) = answer.next().await {
            line.map_err(|error| EngineError::new(&what, error))?;
        }
        Ok::<(), EngineError>(())
    };
    let timeout = |_| EngineError::Timeout {
        what: what.clone(),
        after: LOAD,
    };
    tokio::time::timeout(LOAD, all).await.map_err(timeout)??;
    Ok(())
}

/// A file in pieces. The page cache holds it still, so that reading hardly blocks.
struct Chunks {
    file: File,
}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut buffer = vec![0; CHUNK_BYTES];
        match self.file.read(&mut buffer) {
            Ok(0) => None,
            Ok(length) => {
                buffer.truncate(length);
                Some(Ok(buffer.into()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(path: &Path) -> io::Result<Layer> {
        let mut layer = LayerWriter::create(path)?;
        layer.dir("/tmp", 0o1777, 0)?;
        layer.bytes("/etc/hosts.conf", 0o644, b"x")?;
        layer.bytes("/etc/other", 0o644, b"y")?;
        layer.link("/lib", Path::new("usr/lib"))?;
        layer.finish()
    }

    #[test]
    fn equal_content_is_an_equal_layer() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let one = layer(&dir.path().join("one"))?;
        let two = layer(&dir.path().join("two"))?;
        assert_eq!(one.digest, two.digest);
        let mut tar = tar::Archive::new(File::open(one.path)?);
        let names: io::Result<Vec<String>> = tar
            .entries()?
            .map(|entry| Ok(entry?.path()?.to_string_lossy().into_owned()))
            .collect();
        assert_eq!(
            names?,
            ["tmp/", "etc/", "etc/hosts.conf", "etc/other", "lib"]
        );
        Ok(())
    }
}
