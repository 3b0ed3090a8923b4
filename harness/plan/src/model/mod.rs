//! The typed plan: what the files mean once they have been checked. Every name in it has been
//! resolved, every duration is one, every reference points at something that exists.

mod drill;
mod gate;
mod policy;
mod soak;
mod target;
mod watch;

pub use drill::*;
pub use gate::*;
pub use policy::*;
pub use soak::*;
pub use target::*;
pub use watch::*;
