//! One file per subcommand.

pub mod check;
pub mod gate;
pub mod judge;
pub mod prove;
pub mod run;
pub mod serve;
pub mod soak;
pub mod stacks;
