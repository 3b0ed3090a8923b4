//! Exit codes: fixed, for scripts and CI depend on them.

use firedrill_verdict::{GateOutcome, Outcome};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// PASS, GO, or a command that did what it was asked for.
    Pass,
    /// FAIL, NO-GO.
    Fail,
    /// INCONCLUSIVE, also when the environment failed.
    Inconclusive,
    /// Bad usage or an invalid file.
    Usage,
    /// A bug of firedrill's own.
    Internal,
    /// Interrupted, after healing.
    Interrupted,
}

impl Exit {
    pub fn code(self) -> i32 {
        match self {
            Exit::Pass => 0,
            Exit::Fail => 1,
            Exit::Inconclusive => 2,
            Exit::Usage => 64,
            Exit::Internal => 70,
            Exit::Interrupted => 130,
        }
    }

    /// The worse of two, in the order in which they must not hide one another.
    pub fn worst(self, other: Exit) -> Exit {
        let rank = |exit: Exit| match exit {
            Exit::Pass => 0,
            Exit::Inconclusive => 1,
            Exit::Fail => 2,
            Exit::Interrupted => 3,
            Exit::Usage => 4,
            Exit::Internal => 5,
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Exit::Pass,
            Outcome::Fail => Exit::Fail,
            Outcome::Inconclusive => Exit::Inconclusive,
        }
    }
}

impl From<GateOutcome> for Exit {
    fn from(outcome: GateOutcome) -> Self {
        match outcome {
            GateOutcome::Go | GateOutcome::SmokePass => Exit::Pass,
            GateOutcome::NoGo | GateOutcome::SmokeFail => Exit::Fail,
            GateOutcome::Inconclusive => Exit::Inconclusive,
        }
    }
}

/// Why a command could not do its work, with what the user can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error("{0}")]
    Usage(String),
    /// The environment: no engine, full disk, image not buildable.
    #[error("{0}")]
    Environment(String),
    #[error("{0}")]
    Internal(String),
    #[error("interrupted")]
    Interrupted,
}

impl Stop {
    pub fn exit(&self) -> Exit {
        match self {
            Stop::Usage(_) => Exit::Usage,
            Stop::Environment(_) => Exit::Inconclusive,
            Stop::Internal(_) => Exit::Internal,
            Stop::Interrupted => Exit::Interrupted,
        }
    }
}
