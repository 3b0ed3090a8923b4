//! What the server needs to start, and how it is written in one environment variable.
//!
//! Must NOT know: sockets. An upstream's name is resolved when a connection needs it, never here.

use std::net::SocketAddr;

/// Where the API listens unless told otherwise: Toxiproxy's port, on loopback.
const DEFAULT_API_ADDR: &str = "127.0.0.1:8474";

/// One proxy: a listening address and the upstream behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Unique name, used in the API's paths.
    pub name: String,
    /// `host:port` to listen on; port 0 takes a free one.
    pub listen: String,
    /// `host:port` of the upstream, resolved anew for each connection.
    pub upstream: String,
    /// Whether it listens from the start.
    pub enabled: bool,
}

/// What the server needs to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address of the HTTP API.
    pub api_addr: SocketAddr,
    /// Proxies that exist from the start.
    pub proxies: Vec<ProxyConfig>,
}

/// What is wrong with the configuration's text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The API's address is no socket address.
    #[error("API address `{0}` is not an IP address and port, such as 0.0.0.0:8474")]
    ApiAddr(String),
    /// An entry hasn't the three parts.
    #[error(
        "proxy entry {index} `{entry}` is not NAME=LISTEN=UPSTREAM, such as rpc=0.0.0.0:8545=node:8545"
    )]
    Shape {
        /// Position in the list, from 1.
        index: usize,
        /// The entry as written.
        entry: String,
    },
    /// A part isn't `host:port`.
    #[error(
        "{what} `{value}` of proxy `{name}` is not HOST:PORT with a port from {least} to 65535"
    )]
    Address {
        /// The proxy's name.
        name: String,
        /// Which address: `listen` or `upstream`.
        what: &'static str,
        /// The address as written.
        value: String,
        /// Lowest port allowed.
        least: u16,
    },
    /// The same name stands twice.
    #[error("proxy `{0}` is listed twice; names must be unique")]
    Duplicate(String),
}

impl Config {
    /// Builds a configuration from the API's address and a list like
    /// `rpc=0.0.0.0:8545=rpc-upstream:8545,redis=0.0.0.0:6379=redis-upstream:6379`.
    ///
    /// # Errors
    /// When either text is malformed, with the entry and the form that is expected.
    pub fn from_args(api_addr: &str, proxies: &str) -> Result<Self, ConfigError> {
        let api_addr = api_addr
            .parse()
            .map_err(|_| ConfigError::ApiAddr(api_addr.into()))?;
        Ok(Self {
            api_addr,
            proxies: ProxyConfig::parse_list(proxies)?,
        })
    }

    /// Reads `API_ADDR` (127.0.0.1:8474 when absent) and `PROXIES` (none when absent).
    ///
    /// # Errors
    /// As [`Config::from_args`].
    pub fn from_env() -> Result<Self, ConfigError> {
        let api_addr = std::env::var("API_ADDR").unwrap_or_else(|_| DEFAULT_API_ADDR.into());
        Self::from_args(&api_addr, &std::env::var("PROXIES").unwrap_or_default())
    }
}

impl ProxyConfig {
    /// Parses a comma-separated list of `NAME=LISTEN=UPSTREAM`; empty text is an empty list.
    ///
    /// # Errors
    /// On the first entry that is malformed.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ConfigError> {
        let mut proxies: Vec<Self> = Vec::new();
        if text.trim().is_empty() {
            return Ok(proxies);
        }
        for (at, entry) in text.split(',').enumerate() {
            let proxy = Self::parse(at + 1, entry.trim())?;
            if proxies.iter().any(|other| other.name == proxy.name) {
                return Err(ConfigError::Duplicate(proxy.name));
            }
            proxies.push(proxy);
        }
        Ok(proxies)
    }

    fn parse(index: usize, entry: &str) -> Result<Self, ConfigError> {
        let parts: Vec<&str> = entry.split('=').map(str::trim).collect();
        let [name, listen, upstream] = parts[..] else {
            return Err(ConfigError::Shape {
                index,
                entry: entry.into(),
            });
        };
        if !is_name(name) {
            return Err(ConfigError::Shape {
                index,
                entry: entry.into(),
            });
        }
        for (what, value, least) in [("listen", listen, 0), ("upstream", upstream, 1)] {
            if !is_address(value, least) {
                return Err(ConfigError::Address {
                    name: name.into(),
                    what,
                    value: value.into(),
                    least,
                });
            }
        }
        Ok(Self {
            name: name.into(),
            listen: listen.into(),
            upstream: upstream.into(),
            enabled: true,
        })
    }
}

/// Whether the text can stand in a path of the API as it is.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == '/' || c.is_control() || c.is_whitespace())
}

/// Whether the text is `HOST:PORT` with a port of at least `least`.
pub(crate) fn is_address(text: &str, least: u16) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port >= least)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_list() {
        let config = Config::from_args(
            "0.0.0.0:8474",
            "rpc=0.0.0.0:8545=rpc-upstream:8545, redis=[::1]:0=10.0.0.1:6379",
        )
        .expect("valid");
        assert_eq!(config.proxies.len(), 2);
        assert_eq!(config.proxies[0].upstream, "rpc-upstream:8545");
        assert_eq!(config.proxies[1].listen, "[::1]:0");
        assert!(config.proxies.iter().all(|proxy| proxy.enabled));
        assert_eq!(ProxyConfig::parse_list("  "), Ok(vec![]));
    }

    #[test]
    fn says_what_is_wrong() {
        let message = |text: &str| {
            ProxyConfig::parse_list(text)
                .expect_err("invalid")
                .to_string()
        };
        assert!(message("rpc=1.1.1.1:1").contains("entry 1 `rpc=1.1.1.1:1`"));
        assert!(message("a=b:1=c:2,").contains("entry 2 ``"));
        assert!(message("a=b=c:2").contains("listen `b` of proxy `a`"));
        assert!(message("a=b:1=c:0").contains("upstream `c:0` of proxy `a`"));
        assert!(message("a=b:1=c:70000").contains("c:70000"));
        assert!(message("a=b:1=c:1,a=b:2=c:2").contains("listed twice"));
        assert!(Config::from_args("here", "").is_err());
    }
}
