//! A timer that errs by a tenth of a millisecond where the runtime's own errs by a whole one.
//!
//! The runtime's own timer rounds up to its millisecond tick, which turns a delay of 1 ms into 2. A kernel
//! timer descriptor doesn't. The runtime's timer carries long waits; the descriptor covers the last stretch.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Waits longer than this begin on the runtime's timer.
const FINE: Duration = Duration::from_millis(10);
/// How much of a long wait is left to the descriptor.
const MARGIN: Duration = Duration::from_millis(3);

/// A lazily created kernel timer. Cancelling a wait is harmless: the next one arms it anew.
#[derive(Default)]
pub struct Timer {
    fd: Option<AsyncFd<OwnedFd>>,
    /// Set when the kernel refused a descriptor, so that it isn't asked again on every wait.
    coarse_only: bool,
}

impl Timer {
    /// Completes at `deadline`, or immediately if that has passed.
    pub async fn wait_until(&mut self, deadline: Instant) {
        if deadline.saturating_duration_since(Instant::now()) >= FINE {
            let coarse = deadline.checked_sub(MARGIN).unwrap_or(deadline);
            tokio::time::sleep_until(coarse.into()).await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if self.coarse_only || self.wait_fine(left).await.is_err() {
            self.coarse_only = true;
            self.fd = None;
            tokio::time::sleep_until(deadline.into()).await;
        }
    }

    async fn wait_fine(&mut self, left: Duration) -> std::io::Result<()> {
        if self.fd.is_none() {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            self.fd = Some(watched(timerfd_create(TimerfdClockId::Monotonic, flags)?)?);
        }
        let Some(fd) = &self.fd else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let spec = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(fd.get_ref(), TimerfdTimerFlags::empty(), &spec)?;
        loop {
            let mut guard = fd.readable().await?;
            let mut count = [0u8; 8];
            match rustix::io::read(fd.get_ref(), &mut count) {
                Ok(_) => return Ok(()),
                // Readiness left over from a wait that was cancelled.
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[allow(
    deprecated,
    reason = "the runtime warns of types that may swap their descriptor; an `OwnedFd` can't"
)]
fn watched(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_never_early_and_seldom_late() {
        let mut timer = Timer::default();
        for micros in [200, 1_000, 5_000, 15_000] {
            let wait = Duration::from_micros(micros);
            let mut late = Vec::new();
            for _ in 0..5 {
                let deadline = Instant::now() + wait;
                timer.wait_until(deadline).await;
                let now = Instant::now();
                assert!(now >= deadline, "woke before the deadline of {micros} us");
                late.push(now - deadline);
            }
            late.sort();
            // The median, because the machine may be busy with something else.
            assert!(
                late[2] < Duration::from_millis(2),
                "late by {:?} for {micros} us",
                late[2]
            );
        }
        assert!(!timer.coarse_only);
    }
}
