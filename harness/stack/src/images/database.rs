//! A database image with the schema applied: `initdb` and the schema run once, in a container that is
//! committed. The data lies outside any volume, so that it is part of the image.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bollard::models::{ContainerConfig, ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, LogsOptionsBuilder,
    StartContainerOptions, UploadToContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::store::Store;
use super::{ImageError, find};
use crate::LABEL;
use crate::engine::{Engine, EngineError, QUICK, SLOW};
use crate::owner::Owner;
use crate::sweep::remove_container;

const NAME: &str = "firedrill-db";
const DATA: &str = "/var/lib/postgresql/firedrill";
const USER: &str = "postgres";
const INIT: Duration = Duration::from_secs(120);
const LOG_LINES: usize = 12;
const SETTINGS: &str = "listen_addresses = '*'
max_connections = 200
shared_buffers = 64MB
fsync = off
logging_collector = off
log_min_messages = warning
";
const SCRIPT: &str = r#"set -eu
initdb -D "$PGDATA" -U "$DB_USER" -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
while read -r line; do printf '%s\n' "$line"; done </tmp/settings >>"$PGDATA/postgresql.conf"
pg_ctl -D "$PGDATA" -s -w -t 60 -o "-c listen_addresses='' -c unix_socket_directories=/tmp" -l /tmp/log start
psql -X -q -h /tmp -U "$DB_USER" -d postgres -v ON_ERROR_STOP=1 -f /tmp/create.sql >/dev/null
psql -X -q -h /tmp -U "$DB_USER" -d "$DB_NAME" -v ON_ERROR_STOP=1 -f /tmp/schema.sql >/dev/null
pg_ctl -D "$PGDATA" -s -w -t 60 -m fast stop
while read -r line; do printf '%s\n' "$line"; done </tmp/hba >"$PGDATA/pg_hba.conf"
: >/tmp/log
"#;

/// What the image must hold.
pub(crate) struct Wanted<'a> {
    pub(crate) base_reference: &'a str,
    pub(crate) base_id: &'a str,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) schema: &'a str,
}

impl Wanted<'_> {
    fn reference(&self) -> String {
        let mut hash = Sha256::new();
        let parts = [
            self.base_id,
            self.database,
            self.user,
            self.password,
            self.schema,
        ];
        for part in parts.into_iter().chain([SETTINGS, SCRIPT, DATA]) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let mut tag = hex::encode(hash.finalize());
        tag.truncate(24);
        format!("{NAME}:{tag}")
    }

    fn failed(&self, detail: impl Into<String>) -> ImageError {
        ImageError::Database {
            reference: self.base_reference.into(),
            detail: detail.into(),
        }
    }

    /// Role and database. `initdb` has made the role; where the database has the role's name or
    /// another, it is made here, unless `initdb` has made that as well.
    fn create_sql(&self) -> String {
        let mut sql = String::new();
        if !self.password.is_empty() {
            let (user, password) = (identifier(self.user), literal(self.password));
            sql.push_str(&format!("ALTER ROLE {user} PASSWORD {password};\n"));
        }
        if !["postgres", "template0", "template1"].contains(&self.database) {
            let (database, user) = (identifier(self.database), identifier(self.user));
            sql.push_str(&format!("CREATE DATABASE {database} OWNER {user};\n"));
        }
        sql
    }

    /// Inside the container everyone is trusted; from outside the password counts, where there is one.
    fn hba(&self) -> String {
        let method = if self.password.is_empty() {
            "trust"
        } else {
            "scram-sha-256"
        };
        format!("local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all all {method}\n")
    }

    fn upload(&self) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let files = [
            ("init.sh", SCRIPT.to_string()),
            ("settings", SETTINGS.to_string()),
            ("hba", self.hba()),
            ("create.sql", self.create_sql()),
            ("schema.sql", self.schema.to_string()),
        ];
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes())?;
        }
        tar.into_inner()
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

/// Reference and id of the image; it is made unless the engine has it.
pub(crate) async fn provide(
    engine: &Engine,
    store: &Store,
    wanted: &Wanted<'_>,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<(String, String), ImageError> {
    let reference = wanted.reference();
    store.touch(&reference);
    if let Some(id) = find(engine, &reference).await? {
        return Ok((reference, id));
    }
    let _lock = store.lock().await?;
    if let Some(id) = find(engine, &reference).await? {
        return Ok((reference, id));
    }
    progress(&format!("initialising the database as {reference}"));
    let container = create(engine, wanted).await?;
    let made = initialise(engine, wanted, &container, &reference).await;
    let removed = remove_container(engine, &container).await;
    made?;
    removed?;
    store.prune(engine, NAME).await?;
    let id = find(engine, &reference).await?;
    let id = id.ok_or_else(|| wanted.failed("committed, but the image isn't there"))?;
    Ok((reference, id))
}

async fn create(engine: &Engine, wanted: &Wanted<'_>) -> Result<String, ImageError> {
    let mut labels = HashMap::from([(LABEL.to_string(), "image".to_string())]);
    let owner = Owner::current();
    labels.extend(
        owner
            .labels()
            .map(|(name, value)| (name.to_string(), value)),
    );
    let body = ContainerCreateBody {
        image: Some(wanted.base_reference.into()),
        user: Some(USER.into()),
        cmd: Some(vec!["/bin/sh".into(), "/tmp/init.sh".into()]),
        env: Some(vec![
            format!("PGDATA={DATA}"),
            format!("DB_USER={}", wanted.user),
            format!("DB_NAME={}", wanted.database),
        ]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let docker = engine.docker();
    let created = docker.create_container(None::<CreateContainerOptions>, body);
    let created = engine
        .call("creating a container for the database", SLOW, created)
        .await?;
    Ok(created.id)
}

async fn initialise(
    engine: &Engine,
    wanted: &Wanted<'_>,
    container: &str,
    reference: &str,
) -> Result<(), ImageError> {
    let docker = engine.docker();
    let archive = wanted
        .upload()
        .map_err(ImageError::io("packing the schema"))?;
    let options = UploadToContainerOptionsBuilder::new().path("/tmp").build();
    let upload =
        docker.upload_to_container(container, Some(options), bollard::body_full(archive.into()));
    engine.call("handing over the schema", SLOW, upload).await?;
    let start = docker.start_container(container, None::<StartContainerOptions>);
    engine
        .call("starting the database's initialisation", SLOW, start)
        .await?;
    let options = WaitContainerOptionsBuilder::new()
        .condition("not-running")
        .build();
    let mut wait = docker.wait_container(container, Some(options));
    let ended = tokio::time::timeout(INIT, wait.next()).await;
    match ended {
        Ok(Some(Ok(_))) => {}
        Ok(Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. }))) => {
            let said = log(engine, container).await;
            return Err(wanted.failed(format!("exit code {code}: {said}")));
        }
        Ok(Some(Err(error))) => {
            return Err(EngineError::new("waiting for the schema", error).into());
        }
        Ok(None) => return Err(wanted.failed("the engine stopped waiting")),
        Err(_) => {
            let said = log(engine, container).await;
            let limit = INIT.as_secs();
            return Err(wanted.failed(format!("not done within {limit} s: {said}")));
        }
    }
    let (repo, tag) = super::split_tag(reference);
    let options = CommitContainerOptionsBuilder::new()
        .container(container)
        .repo(repo)
        .tag(tag)
        .pause(false)
        .build();
    // Labels of the run's owner must not stay in the image: they would make its containers look swept.
    let config = ContainerConfig {
        cmd: Some(vec!["postgres".into()]),
        env: Some(vec![format!("PGDATA={DATA}")]),
        user: Some(USER.into()),
        labels: Some(HashMap::new()),
        ..ContainerConfig::default()
    };
    engine
        .call(
            "keeping the database as an image",
            SLOW,
            docker.commit_container(options, config),
        )
        .await?;
    Ok(())
}

/// Last lines of what the initialisation said.
async fn log(engine: &Engine, container: &str) -> String {
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .tail(&LOG_LINES.to_string())
        .build();
    let lines = engine
        .docker()
        .logs(container, Some(options))
        .take(LOG_LINES);
    let lines = lines.filter_map(|line| async { line.ok().map(|line| line.to_string()) });
    let said = tokio::time::timeout(QUICK, lines.collect::<Vec<String>>()).await;
    said.map(|lines| lines.concat().trim().replace('\n', "; "))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_quoted() {
        let mut wanted = Wanted {
            base_reference: "x:1",
            base_id: "sha256:1",
            database: "va\"nta",
            user: "vanta",
            password: "it's",
            schema: "",
        };
        let sql = wanted.create_sql();
        assert!(sql.contains("PASSWORD E'it''s'"), "{sql}");
        assert!(sql.contains("CREATE DATABASE \"va\"\"nta\""), "{sql}");
        let before = wanted.reference();
        wanted.schema = "CREATE TABLE x ();";
        assert_ne!(before, wanted.reference());
        assert!(wanted.hba().contains("scram"));
        wanted.password = "";
        assert!(wanted.hba().ends_with("trust\n"));
    }
}
