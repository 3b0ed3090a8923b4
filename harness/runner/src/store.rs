//! The target's database, read as text: a row is a map from column to value, NULL is no entry.
//!
//! Every call has a deadline of its own, since a frozen server answers neither yes nor no.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryStream};

/// Column to value, where it holds one.
pub type Row = BTreeMap<String, Option<String>>;

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

    /// All rows of a query that has few, without the columns that hold nothing.
    pub async fn query(
        &self,
        sql: &str,
        deadline: Duration,
    ) -> Result<Vec<BTreeMap<String, String>>, String> {
        let mut answers = self.rows(sql, deadline).await?;
        let mut rows = Vec::new();
        while let Some(row) = answers.next().await? {
            rows.push(row.into_iter().filter_map(|(k, v)| Some((k, v?))).collect());
        }
        Ok(rows)
    }

    /// The rows one by one, so that a table of any size takes no memory here. The deadline is each row's.
    pub async fn rows(&self, sql: &str, deadline: Duration) -> Result<Rows, String> {
        let asking = self.client.simple_query_raw(sql);
        let answers = tokio::time::timeout(deadline, asking)
            .await
            .map_err(|_| late(deadline))?
            .map_err(|e| refused(&e))?;
        Ok(Rows {
            answers: Box::pin(answers),
            deadline,
        })
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

/// The rows of a query that is being answered.
pub struct Rows {
    answers: Pin<Box<SimpleQueryStream>>,
    deadline: Duration,
}

impl Rows {
    pub async fn next(&mut self) -> Result<Option<Row>, String> {
        loop {
            let next = tokio::time::timeout(self.deadline, self.answers.next()).await;
            match next.map_err(|_| late(self.deadline))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(refused(&error)),
                Some(Ok(SimpleQueryMessage::Row(row))) => return Ok(Some(to_map(&row))),
                Some(Ok(_)) => {}
            }
        }
    }
}

fn late(deadline: Duration) -> String {
    format!("deadline of {} ms: no answer", deadline.as_millis())
}

fn refused(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("query: {}", db.message()),
        None => format!("query: {error}"),
    }
}

fn to_map(row: &tokio_postgres::SimpleQueryRow) -> Row {
    let columns = row.columns().iter().enumerate();
    columns
        .map(|(i, c)| (c.name().to_owned(), row.get(i).map(str::to_owned)))
        .collect()
}
