//! Builds an image from the distribution's packages, without root and without touching the system's
//! own package state: apt gets directories of ours, believes that nothing is installed, and only downloads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use tokio::process::Command;

use super::bundle::{self, Layer, LayerWriter, Runtime};
use super::closure::{self, Library};
use super::recipe::{Recipe, matches};
use super::store::Store;
use super::{ImageError, find};
use crate::engine::Engine;

const UPDATE: Duration = Duration::from_secs(120);
const DOWNLOAD: Duration = Duration::from_secs(300);
const UNPACK: Duration = Duration::from_secs(60);
const UNPACK_AT_ONCE: usize = 4;

/// Builds the image. The caller holds the build lock.
pub(crate) async fn build(
    engine: &Engine,
    store: &Store,
    reference: &str,
    recipe: &Recipe,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<String, ImageError> {
    let failed = |detail: String| ImageError::Packages {
        reference: reference.into(),
        detail,
    };
    let apt = Apt::new(store)?;
    progress(&format!("downloading packages for {reference}"));
    let archives = apt.fetch(recipe).await.map_err(failed)?;
    progress(&format!(
        "building {reference} from {} packages",
        archives.len()
    ));
    let scratch = store.scratch()?;
    let root = scratch.path().join("root");
    std::fs::create_dir(&root).map_err(ImageError::io("unpacking packages"))?;
    unpack(&archives, &root).await.map_err(failed)?;
    let tree = index(&root).map_err(ImageError::io("reading unpacked packages"))?;
    let content = Content::gather(&tree, recipe).await.map_err(failed)?;
    let path = scratch.path().join("layer.tar");
    let (written, user) = (recipe.clone(), recipe.user.name.clone());
    let layer = tokio::task::spawn_blocking(move || content.write(&path, &written))
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(ImageError::io("writing the image's layer"))?;
    let runtime = Runtime {
        env: vec![
            format!("PATH={}", search_path(&tree, recipe)),
            "LANG=C.UTF-8".into(),
        ],
        cmd: recipe.run.command.clone(),
        user,
        working_dir: recipe.run.working_dir.clone(),
        stop_signal: recipe.run.stop_signal.clone(),
        ..Runtime::default()
    };
    bundle::load(engine, reference, vec![layer], runtime, scratch.path()).await?;
    find(engine, reference)
        .await?
        .ok_or_else(|| failed("the image was loaded, but isn't there".into()))
}

/// apt with a state and cache of our own.
struct Apt {
    options: Vec<String>,
    debs: PathBuf,
    lists: PathBuf,
}

impl Apt {
    fn new(store: &Store) -> Result<Apt, ImageError> {
        let state = store.dir("apt/state")?;
        let lists = store.dir("apt/state/lists")?;
        store.dir("apt/state/lists/partial")?;
        store.dir("apt/cache/archives/partial")?;
        let status = store.path("apt/nothing-installed");
        std::fs::write(&status, b"").map_err(ImageError::io("apt's status file"))?;
        let set = |name: &str, path: &Path| format!("{name}={}", path.display());
        Ok(Apt {
            options: vec![
                set("Dir::State", &state),
                set("Dir::State::status", &status),
                set("Dir::Cache", &store.path("apt/cache")),
                "APT::Install-Recommends=false".into(),
                "APT::Sandbox::User=".into(),
                "Acquire::Languages=none".into(),
                "Acquire::Retries=2".into(),
                "Acquire::http::Timeout=20".into(),
                "Acquire::https::Timeout=20".into(),
            ],
            debs: store.dir("debs")?,
            lists,
        })
    }

    /// Package files of the recipe and what it depends on. Lists that are there are used; when they turn
    /// out to be stale, they are renewed.
    async fn fetch(&self, recipe: &Recipe) -> Result<Vec<PathBuf>, String> {
        let known = std::fs::read_dir(&self.lists)
            .map(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_file())))
            .unwrap_or(false);
        if known {
            match self.download(recipe).await {
                Ok(archives) => return Ok(archives),
                Err(error) => tracing::debug!(error, "stale package lists"),
            }
        }
        // A foreign source may fail while the distribution's own answers: what counts is the download.
        let updated = self.run("apt-get", &["update"], UPDATE).await;
        let archives = self.download(recipe).await;
        archives.map_err(|error| match updated {
            Ok(_) => error,
            Err(first) => format!("{first}; {error}"),
        })
    }

    async fn download(&self, recipe: &Recipe) -> Result<Vec<PathBuf>, String> {
        let mut arguments = vec!["--simulate", "install"];
        arguments.extend(recipe.packages.iter().map(String::as_str));
        let plan = self.run("apt-get", &arguments, UPDATE).await?;
        let names = planned(&plan, &recipe.skip);
        if names.is_empty() {
            return Err("apt finds nothing to download".into());
        }
        let mut arguments = vec!["download", "--print-uris"];
        arguments.extend(names.iter().map(String::as_str));
        let uris = self.run("apt-get", &arguments, UPDATE).await?;
        arguments.remove(1);
        self.run("apt-get", &arguments, DOWNLOAD).await?;
        // What is there already isn't printed, so the names come from the files that match a package.
        let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let fresh: BTreeSet<String> = uris.lines().filter_map(file_of_uri).collect();
        self.archives(&wanted, &fresh)
    }

    /// One file per package: the one just named, else the newest.
    fn archives(
        &self,
        wanted: &BTreeSet<&str>,
        fresh: &BTreeSet<String>,
    ) -> Result<Vec<PathBuf>, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.debs.display());
        let mut found: BTreeMap<String, (bool, std::time::SystemTime, PathBuf)> = BTreeMap::new();
        for entry in std::fs::read_dir(&self.debs).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((package, _)) = name.split_once('_') else {
                continue;
            };
            if !wanted.contains(package) || !name.ends_with(".deb") {
                continue;
            }
            let changed = entry
                .metadata()
                .and_then(|found| found.modified())
                .map_err(failed)?;
            let candidate = (fresh.contains(&name), changed, entry.path());
            match found.get(package) {
                Some(best) if *best >= candidate => {}
                _ => {
                    found.insert(package.to_string(), candidate);
                }
            }
        }
        match wanted.iter().find(|name| !found.contains_key(**name)) {
            Some(missing) => Err(format!("package {missing} was not downloaded")),
            None => Ok(found.into_values().map(|(_, _, path)| path).collect()),
        }
    }

    async fn run(
        &self,
        program: &str,
        arguments: &[&str],
        within: Duration,
    ) -> Result<String, String> {
        let mut command = Command::new(program);
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        command
            .args(arguments)
            .current_dir(&self.debs)
            .env("LC_ALL", "C");
        output(command, program, within).await
    }
}

async fn output(mut command: Command, program: &str, within: Duration) -> Result<String, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(within, command.output())
        .await
        .map_err(|_| format!("{program} took longer than {} s", within.as_secs()))?
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("E:"))
        .take(3)
        .collect();
    Err(format!(
        "{program} failed ({}): {}",
        output.status,
        said.join(" ")
    ))
}

/// Names in lines like `Inst libc6 (2.36-9 Debian:12.1/stable [amd64])`.
fn planned(plan: &str, skip: &[String]) -> Vec<String> {
    let lines = plan.lines().filter_map(|line| line.strip_prefix("Inst "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let wanted = names.filter(|name| !skip.iter().any(|pattern| matches(pattern, name)));
    wanted.map(str::to_string).collect()
}

/// The file's name in lines like `'http://…/x_1.deb' x_1_amd64.deb 1234 SHA256:…`.
fn file_of_uri(line: &str) -> Option<String> {
    let name = line.split_whitespace().nth(1)?;
    name.ends_with(".deb").then(|| name.to_string())
}

async fn unpack(archives: &[PathBuf], root: &Path) -> Result<(), String> {
    futures_util::stream::iter(archives)
        .map(|archive| async move {
            let mut command = Command::new("dpkg-deb");
            command.arg("--extract").arg(archive).arg(root);
            output(command, "dpkg-deb", UNPACK).await
        })
        .buffer_unordered(UNPACK_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await
}

/// Files and links by their path in a system where /bin, /lib and /lib64 are links into /usr.
type Tree = BTreeMap<String, PathBuf>;

fn index(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else if let Ok(inside) = path.strip_prefix(root) {
                tree.insert(merged(&inside.to_string_lossy()), path);
            }
        }
    }
    Ok(tree)
}

fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    match path.split('/').next() {
        Some("bin" | "sbin" | "lib" | "lib64") => format!("usr/{path}"),
        _ => path.to_string(),
    }
}

/// A regular file of the tree, links followed within it.
fn resolve<'a>(tree: &'a Tree, path: &str) -> Option<&'a Path> {
    let mut path = path.to_string();
    for _ in 0..8 {
        let found = tree.get(&path)?;
        let Ok(to) = std::fs::read_link(found) else {
            return Some(found);
        };
        let to = to.to_string_lossy();
        path = match to.strip_prefix('/') {
            Some(absolute) => merged(absolute),
            None => joined(path.rsplit_once('/').map_or("", |(dir, _)| dir), &to),
        };
    }
    None
}

/// A relative link's aim, seen from its directory.
fn joined(dir: &str, to: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    merged(&parts.join("/"))
}

fn search_path(tree: &Tree, recipe: &Recipe) -> String {
    let mut dirs = vec!["usr/bin".to_string()];
    for path in tree.keys() {
        if recipe.binaries.iter().any(|pattern| matches(pattern, path))
            && let Some((dir, _)) = path.rsplit_once('/')
            && !dirs.iter().any(|known| known == dir)
        {
            dirs.insert(0, dir.to_string());
        }
    }
    let dirs: Vec<String> = dirs.iter().map(|dir| format!("/{dir}")).collect();
    dirs.join(":")
}

/// What goes into the image.
struct Content {
    /// Path inside → executable file.
    programs: BTreeMap<String, PathBuf>,
    /// Path inside → file or link, as it is.
    files: BTreeMap<String, PathBuf>,
}

impl Content {
    async fn gather(tree: &Tree, recipe: &Recipe) -> Result<Content, String> {
        let mut programs = BTreeMap::new();
        for pattern in &recipe.binaries {
            let mut paths = tree.keys().filter(|path| matches(pattern, path)).peekable();
            if paths.peek().is_none() {
                return Err(format!("no package holds {pattern}"));
            }
            for path in paths {
                let file = resolve(tree, path).ok_or_else(|| format!("{path} leads nowhere"))?;
                programs.insert(path.clone(), file.to_path_buf());
            }
        }
        for path in tree.keys().filter(|path| is_plugin(recipe, path)) {
            if let Some(file) = resolve(tree, path) {
                programs.insert(path.clone(), file.to_path_buf());
            }
        }
        add_libraries(tree, recipe, &mut programs).await?;
        let within = |patterns: &[String], path: &str| {
            patterns.iter().any(|pattern| {
                let depth = pattern.split('/').count();
                let head: Vec<&str> = path.split('/').take(depth).collect();
                matches(pattern, &head.join("/"))
            })
        };
        let files = tree
            .iter()
            .filter(|(path, _)| within(&recipe.trees, path) && !within(&recipe.without, path))
            .map(|(path, file)| (path.clone(), file.clone()));
        Ok(Content {
            files: files.collect(),
            programs,
        })
    }

    fn write(&self, path: &Path, recipe: &Recipe) -> io::Result<Layer> {
        let user = &recipe.user;
        let mut layer = LayerWriter::create(path)?;
        layer.dir("tmp", 0o1777, 0)?;
        layer.dir("var/tmp", 0o1777, 0)?;
        for dir in &recipe.dirs {
            layer.dir(dir, 0o755, user.id)?;
        }
        for name in ["bin", "lib", "lib64"] {
            layer.dir(&format!("usr/{name}"), 0o755, 0)?;
            layer.link(name, &Path::new("usr").join(name))?;
        }
        layer.link("var/run", Path::new("../run"))?;
        layer.link("usr/bin/sh", Path::new("dash"))?;
        let (name, id, home) = (&user.name, user.id, &user.home);
        let passwd =
            format!("root:x:0:0:root:/:/bin/sh\n{name}:x:{id}:{id}:{name}:{home}:/bin/sh\n");
        layer.bytes("etc/passwd", 0o644, passwd.as_bytes())?;
        layer.bytes(
            "etc/group",
            0o644,
            format!("root:x:0:\n{name}:x:{id}:\n").as_bytes(),
        )?;
        layer.bytes(
            "etc/nsswitch.conf",
            0o644,
            b"passwd: files\ngroup: files\nhosts: files dns\n",
        )?;
        for (inside, file) in &self.programs {
            layer.file(inside, 0o755, file)?;
        }
        for (inside, file) in &self.files {
            match std::fs::read_link(file) {
                Ok(to) => layer.link(inside, &to)?,
                Err(_) => layer.file(inside, 0o644, file)?,
            }
        }
        layer.finish()
    }
}

fn is_plugin(recipe: &Recipe, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    recipe.plugins.iter().any(|pattern| matches(pattern, path))
        && !recipe
            .skip_plugins
            .iter()
            .any(|pattern| matches(pattern, name))
}

/// The loader of the packages lists what each program needs, among the packages' own libraries only.
async fn add_libraries(
    tree: &Tree,
    recipe: &Recipe,
    programs: &mut BTreeMap<String, PathBuf>,
) -> Result<(), String> {
    let libc = tree
        .keys()
        .find(|path| matches("usr/lib/*/libc.so.6", path));
    let home = libc
        .and_then(|path| path.rsplit_once('/'))
        .map(|(dir, _)| dir.to_string());
    let home = home.ok_or("no package holds the C library")?;
    let prefix = format!("{home}/");
    let dirs: BTreeSet<PathBuf> = tree
        .iter()
        .filter(|(path, _)| {
            path.strip_prefix(&prefix)
                .is_some_and(|name| !name.contains('/'))
        })
        .filter_map(|(_, file)| file.parent().map(Path::to_path_buf))
        .collect();
    let dirs: Vec<PathBuf> = dirs.into_iter().collect();
    let sample = programs.iter().find(|(path, _)| !is_plugin(recipe, path));
    let sample = sample
        .map(|(_, file)| file.clone())
        .ok_or("the recipe names no program")?;
    let interpreter = closure::interpreter(&sample)
        .map_err(|error| format!("{}: {error}", sample.display()))?
        .ok_or("the packages' programs are static")?;
    let interpreter = merged(&interpreter.to_string_lossy());
    let loader = resolve(tree, &interpreter).ok_or("no package holds the loader")?;
    let mut libraries: BTreeMap<String, PathBuf> = BTreeMap::new();
    libraries.insert(interpreter, loader.to_path_buf());
    for (path, file) in programs.iter() {
        let needed = match closure::libraries(loader, &dirs, file).await {
            Ok(needed) => needed,
            // A plugin whose libraries were skipped is of no use here; a program is.
            Err(_) if is_plugin(recipe, path) => continue,
            Err(error) => return Err(format!("{path}: {error}")),
        };
        let needed = needed
            .into_iter()
            .filter(|library| !library.name.starts_with('/'));
        for Library { name, path } in needed {
            let real = resolve(tree, &format!("{prefix}{name}")).map_or(path, Path::to_path_buf);
            libraries.insert(format!("{prefix}{name}"), real);
        }
    }
    for name in ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"] {
        if let Some(file) = resolve(tree, &format!("{prefix}{name}")) {
            libraries.insert(format!("{prefix}{name}"), file.to_path_buf());
        }
    }
    programs.extend(libraries);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_and_uris_are_read() {
        let plan = "NOTE: simulation\nInst libc6 (2.36-9 Debian:12 [amd64])\nInst perl (5 x)\nConf libc6 (2)\n";
        assert_eq!(planned(plan, &["perl*".into()]), ["libc6"]);
        let line = "'http://x/pool/redis_7%3a1_amd64.deb' redis_7%3a1_amd64.deb 12 SHA256:ab";
        assert_eq!(file_of_uri(line).as_deref(), Some("redis_7%3a1_amd64.deb"));
    }

    #[test]
    fn paths_are_seen_as_on_a_merged_system() {
        assert_eq!(merged("/lib64/ld.so"), "usr/lib64/ld.so");
        assert_eq!(merged("usr/lib/x"), "usr/lib/x");
        assert_eq!(joined("usr/lib/a", "../b/./c"), "usr/lib/b/c");
        assert_eq!(joined("usr/lib64", "/x"), "usr/lib64/x");
    }
}
