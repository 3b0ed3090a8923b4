//! One look at whether a service is healthy, over its published port.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What to ask. Addresses are filled in anew for each look, as they change with a restart.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    Http {
        path: String,
    },
    Redis,
    /// Connection URL with `{host}` and `{port}`.
    Postgres {
        url: String,
    },
    Tcp,
}

/// A single look. `Err` says what was seen instead.
pub(crate) async fn look(
    question: &Question,
    at: SocketAddr,
    within: Duration,
) -> Result<(), String> {
    let asked = async {
        match question {
            Question::Http { path } => http(at, path).await,
            Question::Redis => redis(at).await,
            Question::Postgres { url } => postgres(at, url).await,
            Question::Tcp => connect(at).await.map(|_| ()),
        }
    };
    tokio::time::timeout(within, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", within.as_millis())))
}

async fn connect(at: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(at)
        .await
        .map_err(|error| error.to_string())
}

async fn http(at: SocketAddr, path: &str) -> Result<(), String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    let status = exchange(at, request.as_bytes(), 12).await?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(code) => Err(format!("HTTP status {code}")),
        None => Err(format!("answered {status:?}")),
    }
}

async fn redis(at: SocketAddr) -> Result<(), String> {
    let answer = exchange(at, b"PING\r\n", 7).await?;
    if answer == "+PONG\r\n" {
        Ok(())
    } else {
        Err(format!("answered {answer:?} to PING"))
    }
}

/// Sends a request and reads the first `length` bytes of the answer, or what comes before its end.
async fn exchange(at: SocketAddr, request: &[u8], length: u64) -> Result<String, String> {
    let mut stream = connect(at).await?;
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(request).await.map_err(failed)?;
    let mut answer = Vec::new();
    let mut limited = stream.take(length);
    limited.read_to_end(&mut answer).await.map_err(failed)?;
    if answer.is_empty() {
        return Err("closed the connection without an answer".into());
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn postgres(at: SocketAddr, url: &str) -> Result<(), String> {
    let url = url
        .replace("{host}", &at.ip().to_string())
        .replace("{port}", &at.port().to_string());
    let failed = |error: tokio_postgres::Error| match error.as_db_error() {
        Some(error) => error.message().to_string(),
        None => error.to_string(),
    };
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .map_err(failed)?;
    let asked = async {
        let row = client.query_one("SELECT 1", &[]).await.map_err(failed);
        drop(client);
        row
    };
    let (row, ended) = tokio::join!(asked, connection);
    row?;
    ended.map_err(failed)
}
