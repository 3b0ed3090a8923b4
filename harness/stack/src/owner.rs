//! Who owns a container or network: the process that made it, told apart from later processes
//! that got the same number, and from processes of other machines that share the engine.

use std::collections::HashMap;

const PID: &str = "firedrill.pid";
const STARTED: &str = "firedrill.started";
const BOOT: &str = "firedrill.boot";
const HOST: &str = "firedrill.host";

/// Identity of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    /// Start time in clock ticks since boot, as the kernel counts it.
    started: String,
    /// Changes with every boot.
    boot: String,
    /// Machine and process namespace: only from there the process number means anything.
    host: String,
}

impl Owner {
    /// The process that is running.
    pub(crate) fn current() -> Owner {
        Owner::of(std::process::id())
    }

    /// The process that started this one. Only as long as it lives.
    pub(crate) fn parent() -> Owner {
        Owner::of(std::os::unix::process::parent_id())
    }

    fn of(pid: u32) -> Owner {
        Owner {
            pid,
            started: start_time(pid).unwrap_or_default(),
            boot: read("/proc/sys/kernel/random/boot_id"),
            host: host(),
        }
    }

    pub(crate) fn labels(&self) -> [(&'static str, String); 4] {
        [
            (PID, self.pid.to_string()),
            (STARTED, self.started.clone()),
            (BOOT, self.boot.clone()),
            (HOST, self.host.clone()),
        ]
    }

    pub(crate) fn from_labels(labels: &HashMap<String, String>) -> Option<Owner> {
        let get = |name: &str| labels.get(name).cloned();
        Some(Owner {
            pid: get(PID)?.parse().ok()?,
            started: get(STARTED)?,
            boot: get(BOOT)?,
            host: get(HOST)?,
        })
    }

    /// Known to be dead. An owner on another machine can't be judged from here and counts as live.
    pub(crate) fn is_dead(&self) -> bool {
        let here = Owner::current();
        if self.host != here.host {
            return false;
        }
        self.boot != here.boot || start_time(self.pid).as_ref() != Some(&self.started)
    }
}

fn host() -> String {
    let uname = rustix::system::uname();
    let namespace = std::fs::read_link("/proc/self/ns/pid")
        .map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default();
    format!("{}/{namespace}", uname.nodename().to_string_lossy())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_string())
        .unwrap_or_default()
}

/// Field 22 of `/proc/<pid>/stat`. The second field is the command's name, which may hold anything, so
/// counting starts behind its closing parenthesis. A zombie counts as gone.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(owner: &Owner) -> HashMap<String, String> {
        let pairs = owner.labels().into_iter();
        pairs
            .map(|(name, value)| (name.to_string(), value))
            .collect()
    }

    #[test]
    fn this_process_lives_and_survives_the_labels() {
        let owner = Owner::current();
        assert!(!owner.started.is_empty());
        assert_eq!(Owner::from_labels(&labels(&owner)), Some(owner.clone()));
        assert!(!owner.is_dead());
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let mut owner = Owner::current();
        owner.started = "1".into();
        assert!(owner.is_dead());
    }

    #[test]
    fn another_machine_is_left_alone() {
        let mut owner = Owner::current();
        owner.started = "1".into();
        owner.host = "elsewhere/pid:[1]".into();
        assert!(!owner.is_dead());
    }

    #[test]
    fn labels_without_an_owner_have_none() {
        assert_eq!(Owner::from_labels(&HashMap::new()), None);
    }
}
