//! Dump and restore of the target's database, by the commands of its file, inside the service's container.
//!
//! What a command says of itself is no proof. A restore shows by the record's rows: fewer than before it, and no
//! fewer than there were when the dump began.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::run::World;

const COUNT_DEADLINE: Duration = Duration::from_secs(5);
/// No dump was made yet.
const NONE: u64 = u64::MAX;

/// What the drill's dump holds at least.
pub struct Backup {
    rows: AtomicU64,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            rows: AtomicU64::new(NONE),
        }
    }
}

impl Backup {
    pub async fn dump(&self, world: &World) -> Result<(u64, String), String> {
        let rows = rows(world).await?;
        let backup = world.target.backup.as_ref().ok_or(NO_BACKUP)?;
        run(world, &backup.dump).await?;
        self.rows.store(rows, Ordering::SeqCst);
        let at_ns = world.recorder.clock.now_ns();
        Ok((at_ns, format!("dumped; {rows} intents stood when it began")))
    }

    pub async fn restore(&self, world: &World) -> Result<(u64, String), String> {
        let dumped = self.rows.load(Ordering::SeqCst);
        if dumped == NONE {
            return Err("nothing was dumped before".to_owned());
        }
        let before = rows(world).await?;
        let backup = world.target.backup.as_ref().ok_or(NO_BACKUP)?;
        run(world, &backup.restore).await?;
        let at_ns = world.recorder.clock.now_ns();
        let after = rows(world).await?;
        let words = format!("{before} intents before, {after} after, {dumped} when the dump began");
        match after < before && after >= dumped {
            true => Ok((at_ns, words)),
            false => Err(format!("the restore doesn't show: {words}")),
        }
    }
}

const NO_BACKUP: &str = "the target file has no [backup]";

async fn run(world: &World, command: &[String]) -> Result<(), String> {
    let backup = world.target.backup.as_ref().ok_or(NO_BACKUP)?;
    let ran = world.stack.exec(&backup.service, command, backup.deadline);
    let ran = ran.await.map_err(|e| e.to_string())?;
    match ran.exit_code {
        0 => Ok(()),
        code => Err(format!("exit code {code}: {}", ran.output.trim_end())),
    }
}

/// Rows of the record's intents.
async fn rows(world: &World) -> Result<u64, String> {
    let Some((service, _)) = &world.target.audit.postgres else {
        return Err("the target file has no [audit] postgres".to_owned());
    };
    let query = world.target.audit.sql.get("intent");
    let query = query.ok_or("the target file has no intent in [audit.sql]")?;
    let store = world.store(service, COUNT_DEADLINE).await?;
    let sql = format!("SELECT count(*) FROM ({query}) AS rows");
    let number = store.number(&sql, COUNT_DEADLINE).await?;
    Ok(number as u64)
}
