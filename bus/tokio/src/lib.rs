//! What the daemons that run on tokio share: one thread, the link to `sandboxd` as standard input, the bus's server as one
//! task among theirs.

mod link;
mod serve;
mod watched;

pub use link::{Link, Message};
pub use serve::{Done, answers, run, run_until};
pub use watched::watched;
