//! What a toxic is: its kind and attributes, and the count of what it touched.
//!
//! Attributes are strict where Toxiproxy's are lenient: an unknown key or a value without effect is
//! refused, because a misspelt fault that does nothing looks exactly like a system that survived it.
//! Must NOT know: connections, sockets, HTTP.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::registry::ProxyError;

/// The direction that a toxic works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

impl Stream {
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        match text {
            "" | "downstream" => Ok(Self::Downstream),
            "upstream" => Ok(Self::Upstream),
            _ => Err(ProxyError::InvalidStream),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }
}

/// Kind and attributes, in the units of Toxiproxy's API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "attributes", rename_all = "snake_case")]
pub enum Kind {
    /// Delays data.
    Latency(Latency),
    /// Limits the rate.
    Bandwidth(Bandwidth),
    /// Swallows data, and closes the connection after a while; 0 = never.
    Timeout(Timeout),
    /// Answers the first data with a TCP reset, at once or after a while.
    ResetPeer(Timeout),
    /// Delays the end of the stream.
    SlowClose(SlowClose),
    /// Cuts data into small pieces.
    Slicer(Slicer),
    /// Closes the connection after so many bytes.
    LimitData(LimitData),
    /// Answers HTTP requests with an error, or loses their answers.
    HttpError(HttpError),
}

const KINDS: [&str; 8] = [
    "latency",
    "bandwidth",
    "timeout",
    "reset_peer",
    "slow_close",
    "slicer",
    "limit_data",
    "http_error",
];

/// All in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    pub latency: u32,
    pub jitter: u32,
}

/// Kilobytes (1000 bytes) per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bandwidth {
    pub rate: u32,
}

/// Milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeout {
    pub timeout: u32,
}

/// Milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlowClose {
    pub delay: u32,
}

/// Bytes, and microseconds between two pieces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slicer {
    pub average_size: u32,
    pub size_variation: u32,
    pub delay: u32,
}

/// Bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitData {
    pub bytes: u64,
}

/// Which requests get which error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpError {
    /// Status of the answer, 200 to 599 (a JSON-RPC node may well refuse with 200).
    pub status: u16,
    /// Body of the answer; empty when absent.
    pub body: Option<String>,
    /// Value of `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// JSON-RPC methods that match; empty = all requests. A batch matches if any of its calls does.
    pub methods: Vec<String>,
    /// Path that matches, without query; a trailing `*` makes it a prefix.
    pub path: Option<String>,
    /// Forward the request, then close the connection instead of passing the answer on.
    pub drop_response: bool,
    /// Share of the matching requests that is hit, 0 to 1.
    pub rate: f64,
}

impl Default for HttpError {
    fn default() -> Self {
        Self {
            status: 503,
            body: None,
            retry_after_s: None,
            methods: Vec::new(),
            path: None,
            drop_response: false,
            rate: 1.0,
        }
    }
}

impl Kind {
    /// Reads a kind from its name and its attributes (null = all defaults).
    pub fn parse(name: &str, attributes: &Value) -> Result<Self, ProxyError> {
        if !KINDS.contains(&name) {
            return Err(ProxyError::InvalidToxicType);
        }
        let attributes = if attributes.is_null() {
            json!({})
        } else {
            attributes.clone()
        };
        let kind: Self = serde_json::from_value(json!({ "type": name, "attributes": attributes }))
            .map_err(|error| ProxyError::BadRequest(format!("attributes of {name}: {error}")))?;
        match kind.fault() {
            Some(fault) => Err(ProxyError::BadRequest(format!(
                "attributes of {name}: {fault}"
            ))),
            None => Ok(kind),
        }
    }

    /// What is wrong with the values, if anything is.
    fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Bandwidth(bandwidth) if bandwidth.rate == 0 => {
                Some("rate must be at least 1 KB/s")
            }
            Self::Slicer(slicer) if slicer.average_size == 0 => {
                Some("average_size must be at least 1 byte")
            }
            Self::HttpError(error) if !(200..=599).contains(&error.status) => {
                Some("status must be 200 to 599")
            }
            Self::HttpError(error) if !(error.rate > 0.0 && error.rate <= 1.0) => {
                Some("rate must be above 0 and at most 1")
            }
            _ => None,
        }
    }

    /// These attributes with those of `changes` laid over them.
    pub fn merged(&self, changes: &Value) -> Result<Self, ProxyError> {
        let mut attributes = self.to_json()["attributes"].take();
        match (attributes.as_object_mut(), changes) {
            (Some(current), Value::Object(changes)) => current.extend(changes.clone()),
            (_, Value::Null) => {}
            _ => {
                return Err(ProxyError::BadRequest(
                    "attributes must be an object".into(),
                ));
            }
        }
        Self::parse(self.name(), &attributes)
    }

    /// The type's name in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Bandwidth(_) => "bandwidth",
            Self::Timeout(_) => "timeout",
            Self::ResetPeer(_) => "reset_peer",
            Self::SlowClose(_) => "slow_close",
            Self::Slicer(_) => "slicer",
            Self::LimitData(_) => "limit_data",
            Self::HttpError(_) => "http_error",
        }
    }

    fn to_json(&self) -> Value {
        // Plain structs of numbers and strings always serialise.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// What a toxic touched since it was added. An update of its attributes keeps counting.
#[derive(Debug, Default)]
pub struct Counters {
    bytes: AtomicU64,
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Counters {
    pub fn add_bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn add_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub fn add_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// A toxic in force. Immutable, so that every pump sees all of an update or nothing of it.
#[derive(Clone, Debug)]
pub struct Toxic {
    /// Tells a toxic from a later one of the same name.
    pub id: u64,
    pub name: String,
    pub kind: Kind,
    pub stream: Stream,
    /// Share of the connections that it takes hold of, 0 to 1.
    pub toxicity: f64,
    pub counters: std::sync::Arc<Counters>,
}

impl Toxic {
    /// The name that Toxiproxy gives to a toxic without one.
    pub fn default_name(kind: &Kind, stream: Stream) -> String {
        format!("{}_{}", kind.name(), stream.as_str())
    }

    /// Toxiproxy's JSON, and what the toxic touched.
    pub fn to_json(&self) -> Value {
        let mut json = self.kind.to_json();
        json["name"] = json!(self.name);
        json["stream"] = json!(self.stream);
        json["toxicity"] = json!(self.toxicity);
        json["touched_bytes"] = json!(self.counters.bytes.load(Ordering::Relaxed));
        json["touched_connections"] = json!(self.counters.connections.load(Ordering::Relaxed));
        json["touched_requests"] = json!(self.counters.requests.load(Ordering::Relaxed));
        json
    }
}
