//! Images: present, else pulled, else built from the distribution's packages; and the one made of
//! the running executable. Everything of ours is tagged by content, so a second run sends nothing.

mod bundle;
mod closure;
mod database;
mod executable;
mod packages;
mod recipe;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::query_parameters::CreateImageOptionsBuilder;
use firedrill_plan::{ImageSource, Target};
use futures_util::StreamExt;

pub use executable::{digest_of, executable_image};

use crate::engine::{Engine, EngineError, QUICK};
use store::Store;

/// Our own names are built here; no registry is asked for them.
const LOCAL_PREFIX: &str = "firedrill-";
/// A registry that doesn't even begin to answer.
const PULL_SILENCE: Duration = Duration::from_secs(20);
const PULL: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::io::Error,
    },
    #[error(
        "image {reference} is not there and can't be pulled ({why}); pull it where a registry answers and bring it over with `docker save` and `docker load`"
    )]
    Absent { reference: String, why: String },
    #[error(
        "image {reference}: unknown recipe {recipe:?}; there are `redis`, `postgres` and `prometheus`"
    )]
    UnknownRecipe { reference: String, recipe: String },
    #[error("executable {}: {detail}", path.display())]
    Executable { path: PathBuf, detail: String },
    #[error(
        "packages for image {reference}: {detail}; on a machine without apt or offline, bring the image with `docker load`, or `docker pull` one and tag it {reference}"
    )]
    Packages { reference: String, detail: String },
    #[error("initialising the database of image {reference}: {detail}")]
    Database { reference: String, detail: String },
    #[error(
        "another process has been building images for {} s; wait for it, or end it",
        waited.as_secs()
    )]
    Busy { waited: Duration },
    #[error("no directory for the cache: set HOME or XDG_CACHE_HOME")]
    NoCache,
}

impl ImageError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ImageError {
        let what = what.into();
        move |source| ImageError::Io { what, source }
    }
}

/// The image made of the running executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutableImage {
    /// `name:tag`, the tag being the content's hash.
    pub reference: String,
    /// The engine's image id.
    pub id: String,
    /// `sha256:…` of the executable's bytes: the subject of what is measured with it.
    pub digest: String,
}

/// What the containers of a target are created from.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Service → `name:tag`.
    pub references: BTreeMap<String, String>,
    /// Service → image id.
    pub ids: BTreeMap<String, String>,
    /// Where a service runs the executable.
    pub executable: Option<ExecutableImage>,
}

/// Provides every image that the target names. Idempotent, and a matter of milliseconds once all are there.
pub async fn provision(
    engine: &Engine,
    target: &Target,
    executable: &Path,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Images, ImageError> {
    let store = Store::open()?;
    let mut images = Images::default();
    for service in &target.services {
        let (reference, id) = match &service.image {
            ImageSource::Executable => {
                let image = match images.executable.take() {
                    Some(image) => image,
                    None => executable::provide(engine, &store, executable, progress).await?,
                };
                let found = (image.reference.clone(), image.id.clone());
                images.executable = Some(image);
                found
            }
            ImageSource::Named { reference, recipe } => {
                let id = named(engine, &store, reference, recipe.as_deref(), progress).await?;
                (reference.clone(), id)
            }
            ImageSource::Postgres {
                reference,
                recipe,
                database,
                user,
                password,
                schema,
            } => {
                let base = named(engine, &store, reference, recipe.as_deref(), progress).await?;
                let wanted = database::Wanted {
                    base_reference: reference,
                    base_id: &base,
                    database,
                    user,
                    password,
                    schema,
                };
                database::provide(engine, &store, &wanted, progress).await?
            }
        };
        images.references.insert(service.name.clone(), reference);
        images.ids.insert(service.name.clone(), id);
    }
    Ok(images)
}

/// Present, else pulled, else built. Answers with the image's id.
async fn named(
    engine: &Engine,
    store: &Store,
    reference: &str,
    recipe: Option<&str>,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<String, ImageError> {
    if let Some(id) = find(engine, reference).await? {
        return Ok(id);
    }
    let mut why = "the name is a local one".to_string();
    if !reference.starts_with(LOCAL_PREFIX) {
        progress(&format!("pulling {reference}"));
        match pull(engine, reference).await {
            Ok(()) => match find(engine, reference).await? {
                Some(id) => return Ok(id),
                None => why = "it was pulled, but isn't there".into(),
            },
            Err(error @ EngineError::DiskFull { .. }) => return Err(error.into()),
            Err(error) => why = error.to_string(),
        }
    }
    let absent = ImageError::Absent {
        reference: reference.to_string(),
        why,
    };
    let Some(recipe) = recipe else {
        return Err(absent);
    };
    let recipe = recipe::find(reference, recipe)?;
    let _lock = store.lock().await?;
    if let Some(id) = find(engine, reference).await? {
        return Ok(id);
    }
    packages::build(engine, store, reference, &recipe, progress).await
}

/// The image's id, where the engine has it.
pub(crate) async fn find(engine: &Engine, reference: &str) -> Result<Option<String>, EngineError> {
    let what = format!("looking up image {reference}");
    let inspected = engine.docker().inspect_image(reference);
    match engine.call(&what, QUICK, inspected).await {
        Ok(image) => Ok(image.id),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn pull(engine: &Engine, reference: &str) -> Result<(), EngineError> {
    let what = format!("pulling {reference}");
    let (name, tag) = split_tag(reference);
    let options = CreateImageOptionsBuilder::new()
        .from_image(name)
        .tag(tag)
        .build();
    let mut progress = engine.docker().create_image(Some(options), None, None);
    let silent = |after| EngineError::Timeout {
        what: what.clone(),
        after,
    };
    let all = async {
        loop {
            let next = tokio::time::timeout(PULL_SILENCE, progress.next()).await;
            match next.map_err(|_| silent(PULL_SILENCE))? {
                None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(EngineError::new(&what, error)),
            }
        }
    };
    tokio::time::timeout(PULL, all)
        .await
        .map_err(|_| silent(PULL))?
}

/// Name and tag; `latest` where none is given. A colon before a slash belongs to the registry's port.
pub(crate) fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_port_is_no_tag() {
        assert_eq!(split_tag("redis:7"), ("redis", "7"));
        assert_eq!(split_tag("host:5000/redis"), ("host:5000/redis", "latest"));
        assert_eq!(split_tag("host:5000/redis:7"), ("host:5000/redis", "7"));
    }
}
