//! Recipes: which packages make an image, and what is taken from them. They are data, in `fixtures/images`.

use serde::Deserialize;

use super::ImageError;

const REDIS: &str = include_str!("../../../../fixtures/images/redis.toml");
const POSTGRES: &str = include_str!("../../../../fixtures/images/postgres.toml");
const PROMETHEUS: &str = include_str!("../../../../fixtures/images/prometheus.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    pub(crate) packages: Vec<String>,
    pub(crate) skip: Vec<String>,
    pub(crate) binaries: Vec<String>,
    pub(crate) trees: Vec<String>,
    pub(crate) without: Vec<String>,
    pub(crate) plugins: Vec<String>,
    #[serde(default)]
    pub(crate) skip_plugins: Vec<String>,
    pub(crate) dirs: Vec<String>,
    pub(crate) user: User,
    pub(crate) run: Run,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) home: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) command: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) stop_signal: String,
}

/// The recipe of that name, for the image `reference`.
pub(crate) fn find(reference: &str, name: &str) -> Result<Recipe, ImageError> {
    let text = match name {
        "redis" => REDIS,
        "postgres" => POSTGRES,
        "prometheus" => PROMETHEUS,
        _ => {
            return Err(ImageError::UnknownRecipe {
                reference: reference.into(),
                recipe: name.into(),
            });
        }
    };
    toml::from_str(text).map_err(|error| ImageError::Packages {
        reference: reference.into(),
        detail: format!("recipe {name}: {error}"),
    })
}

/// Whether a text matches a pattern whose stars stand for anything but a slash.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else {
                return false;
            };
            let reach = rest.find('/').unwrap_or(rest.len());
            (0..=reach)
                .filter(|length| rest.is_char_boundary(*length))
                .any(|length| matches(tail, &rest[length..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_a_name() {
        assert!(matches(
            "usr/lib/postgresql/*/bin/psql",
            "usr/lib/postgresql/15/bin/psql"
        ));
        assert!(!matches("usr/*/psql", "usr/lib/bin/psql"));
        assert!(matches("lib*-perl", "libjson-perl"));
        assert!(matches("perl*", "perl"));
        assert!(!matches("tar", "tart"));
    }

    #[test]
    fn recipes_parse() -> Result<(), ImageError> {
        for name in ["redis", "postgres"] {
            assert!(!find("x:1", name)?.binaries.is_empty());
        }
        assert!(matches!(
            find("x:1", "mysql"),
            Err(ImageError::UnknownRecipe { .. })
        ));
        Ok(())
    }
}
