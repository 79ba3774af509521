//! Histories of the router: connect, close, revoke, restart of a daemon, an app, the router, `sandboxd`, verdicts that
//! widen and narrow, sockets that nobody reads, and several of these at once; checked after every step.

mod histories;
mod rules;
mod world;
