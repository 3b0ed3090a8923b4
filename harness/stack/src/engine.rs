//! Connection to the container engine, with errors that say what to do about them.

use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;

/// First API version of Docker Engine 20.10.
const API_MIN: (u32, u32) = (1, 41);
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Deadline of calls that only ask or flip something.
pub(crate) const QUICK: Duration = Duration::from_secs(15);
/// Deadline of calls that create or remove.
pub(crate) const SLOW: Duration = Duration::from_secs(60);

/// Why the engine didn't do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(
        "no container engine answers at {host}: {detail}; start it (`sudo systemctl start docker`), or point DOCKER_HOST at one"
    )]
    Unreachable { host: String, detail: String },
    #[error(
        "no permission to use the container engine at {host}; join its group (`sudo usermod -aG docker $USER`, then log in again), or point DOCKER_HOST at a rootless one"
    )]
    NoPermission { host: String },
    #[error(
        "container engine {version} speaks API {api}, at least 1.41 is needed; install Docker Engine 20.10 or newer"
    )]
    TooOld { version: String, api: String },
    #[error(
        "the container engine's disk is full ({what}); free space (`docker system df`, `docker image prune`)"
    )]
    DiskFull { what: String },
    #[error("{what}: the container engine doesn't know it: {detail}")]
    Gone { what: String, detail: String },
    #[error(
        "{what}: no answer from the container engine within {} s; see whether it is overloaded (`docker info`)",
        after.as_secs_f64()
    )]
    Timeout { what: String, after: Duration },
    #[error("{what}: refused by the container engine ({status}): {detail}")]
    Refused {
        what: String,
        status: u16,
        detail: String,
    },
    #[error("{what}: {detail}")]
    Other { what: String, detail: String },
}

impl EngineError {
    pub(crate) fn new(what: &str, error: bollard::errors::Error) -> Self {
        let what = what.to_string();
        let detail = error.to_string();
        if detail.contains("no space left on device") {
            return EngineError::DiskFull { what };
        }
        match error {
            bollard::errors::Error::DockerResponseServerError {
                status_code: 404,
                message,
            } => EngineError::Gone {
                what,
                detail: message,
            },
            bollard::errors::Error::DockerResponseServerError {
                status_code,
                message,
            } => EngineError::Refused {
                what,
                status: status_code,
                detail: message,
            },
            _ => EngineError::Other { what, detail },
        }
    }

    /// The thing asked for doesn't exist.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, EngineError::Gone { .. })
    }

    /// The engine's wording of a refusal, for answers that only differ by it.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, EngineError::Refused { detail, .. } if detail.contains(words))
    }
}

/// What the engine says about itself.
#[derive(Clone, Debug)]
pub struct EngineInfo {
    pub version: String,
    /// Version of the API, negotiated.
    pub api: String,
    pub os: String,
    pub arch: String,
    /// Storage driver.
    pub storage: String,
    /// Version of the control groups: `1` or `2`; empty where the engine doesn't say.
    pub cgroup: String,
}

/// A connection to the container engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    info: Arc<EngineInfo>,
}

impl Engine {
    /// Connects to the engine that `DOCKER_HOST` names, or to the local one.
    pub async fn connect() -> Result<Engine, EngineError> {
        let host = std::env::var("DOCKER_HOST")
            .ok()
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| DEFAULT_HOST.to_string());
        check_socket(&host)?;
        let unreachable = |detail: String| EngineError::Unreachable {
            host: host.clone(),
            detail,
        };
        let docker =
            Docker::connect_with_host(&host).map_err(|error| unreachable(error.to_string()))?;
        let docker = tokio::time::timeout(QUICK, docker.negotiate_version())
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", QUICK.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))?;
        let asked = async { tokio::try_join!(docker.version(), docker.info()) };
        let (version, info) = call("asking the engine for its version", QUICK, asked).await?;
        let info = EngineInfo {
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            os: version.os.unwrap_or_default(),
            arch: version.arch.unwrap_or_default(),
            storage: info.driver.unwrap_or_default(),
            cgroup: info
                .cgroup_version
                .map(|version| version.to_string())
                .unwrap_or_default(),
        };
        if parse_version(&info.api).is_none_or(|api| api < API_MIN) {
            return Err(EngineError::TooOld {
                version: info.version,
                api: info.api,
            });
        }
        Ok(Engine {
            docker,
            info: Arc::new(info),
        })
    }

    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Does one call under a deadline. `what` says what was tried, for the error.
    pub(crate) async fn call<T>(
        &self,
        what: &str,
        within: Duration,
        future: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        call(what, within, future).await
    }
}

async fn call<T>(
    what: &str,
    within: Duration,
    future: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(within, future).await {
        Ok(result) => result.map_err(|error| EngineError::new(what, error)),
        Err(_) => Err(EngineError::Timeout {
            what: what.to_string(),
            after: within,
        }),
    }
}

/// The client library folds every failure to connect into one; the socket itself tells them apart.
fn check_socket(host: &str) -> Result<(), EngineError> {
    let Some(path) = host.strip_prefix("unix://") else {
        return Ok(());
    };
    match UnixStream::connect(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(EngineError::NoPermission { host: host.into() })
        }
        Err(error) => Err(EngineError::Unreachable {
            host: host.into(),
            detail: error.to_string(),
        }),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("1.41"), Some((1, 41)));
        assert!(parse_version("1.9").is_some_and(|api| api < API_MIN));
        assert!(parse_version("nonsense").is_none());
    }

    #[test]
    fn an_absent_socket_is_told_from_a_forbidden_one() {
        let error = check_socket("unix:///nowhere/docker.sock");
        assert!(matches!(error, Err(EngineError::Unreachable { .. })));
    }
}
