//! The target's database, read as text: a row is a map from column to value, NULL is no entry.
//!
//! Every call has a deadline of its own, since a frozen server answers neither yes nor no.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

pub type Row = BTreeMap<String, String>;

/// A connection and the task that serves it.
pub struct Store {
    client: Client,
    served: tokio::task::JoinHandle<()>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Store {
    /// `template` is the URL of the target file, with `{host}` and `{port}`.
    pub async fn connect(
        template: &str,
        addr: SocketAddr,
        deadline: Duration,
    ) -> Result<Self, String> {
        let url = template
            .replace("{host}", &addr.ip().to_string())
            .replace("{port}", &addr.port().to_string());
        let connecting = tokio_postgres::connect(&url, NoTls);
        let (client, connection) = tokio::time::timeout(deadline, connecting)
            .await
            .map_err(|_| format!("deadline of {} ms: no connection", deadline.as_millis()))?
            .map_err(|e| format!("connect: {e}"))?;
        let served = tokio::spawn(async move {
            // The error reaches the caller of the query that it broke.
            let _ = connection.await;
        });
        Ok(Self { client, served })
    }

    pub async fn query(&self, sql: &str, deadline: Duration) -> Result<Vec<Row>, String> {
        let messages = tokio::time::timeout(deadline, self.client.simple_query(sql))
            .await
            .map_err(|_| format!("deadline of {} ms: no answer", deadline.as_millis()))?
            .map_err(|e| match e.as_db_error() {
                Some(db) => format!("query: {}", db.message()),
                None => format!("query: {e}"),
            })?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let to_map = |row: tokio_postgres::SimpleQueryRow| {
            let columns = row.columns().iter().enumerate();
            columns
                .filter_map(|(i, c)| Some((c.name().to_owned(), row.get(i)?.to_owned())))
                .collect()
        };
        Ok(rows.map(to_map).collect())
    }

    /// The first column of the only row, as a number.
    pub async fn number(&self, sql: &str, deadline: Duration) -> Result<f64, String> {
        let rows = self.query(sql, deadline).await?;
        let value = rows
            .first()
            .and_then(|row| row.values().next())
            .ok_or_else(|| "the query returned no value".to_owned())?;
        value
            .parse()
            .map_err(|_| format!("the query returned {value:?} where a number belongs"))
    }
}
