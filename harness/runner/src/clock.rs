//! One clock for the whole run: the host's monotonic clock, counted from the run's start.
//!
//! Containers share the host's kernel, so a timestamp that a container takes from the monotonic
//! clock lies on the same axis. Wall-clock timestamps (the engine's log stamps) are carried over by
//! the offset at the moment of reading.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the run's start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_ns: u64,
    /// When this part of the run began, on the run's axis.
    pub began_ns: u64,
}

fn host_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanos
}

impl Clock {
    pub fn start() -> Self {
        Self::resume(0)
    }

    /// The clock of a run that began that long ago.
    pub fn resume(began_ns: u64) -> Self {
        Self {
            origin_ns: host_ns().saturating_sub(began_ns),
            began_ns,
        }
    }

    pub fn now_ns(&self) -> u64 {
        host_ns().saturating_sub(self.origin_ns)
    }

    /// A timestamp of the host's monotonic clock on the run's axis. What lies before the run's
    /// start becomes 0.
    pub fn from_host_ns(&self, host_ns: u64) -> u64 {
        host_ns.saturating_sub(self.origin_ns)
    }

    /// A wall-clock timestamp on the run's axis, by the offset of this moment.
    pub fn from_wall(&self, stamp: jiff::Timestamp) -> u64 {
        let age = jiff::Timestamp::now().duration_since(stamp).as_nanos();
        let at = i128::from(self.now_ns()) - age;
        u64::try_from(at.max(0)).unwrap_or(0)
    }

    /// Sleeps until that moment; returns at once if it has passed.
    pub async fn sleep_until(&self, at_ns: u64) {
        let now = self.now_ns();
        if at_ns > now {
            tokio::time::sleep(Duration::from_nanos(at_ns - now)).await;
        }
    }
}

/// Nanoseconds of a duration; saturates at five centuries.
pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
