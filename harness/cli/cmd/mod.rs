//! One file per subcommand.

pub mod baseline;
pub mod check;
pub mod gate;
pub mod judge;
pub mod keygen;
pub mod observe;
pub mod prove;
pub mod run;
pub mod serve;
pub mod sign;
pub mod soak;
pub mod stacks;
pub mod verify;
