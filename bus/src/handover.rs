//! What the router and a server say to each other, on the server's connection to its `/run/serve/INTERFACE`.
//!
//! A `SOCK_SEQPACKET` socket, so that a message is whole and its descriptor is its own; plain text, so that a server
//! in any language can read it.
//!
//! Router to server, one message per connection, with the connected `SOCK_STREAM` socket as its one descriptor:
//!
//! ```json
//! {"serial":17,"app":"com.example.display","uid":10003,"system":false,"interface":"com.example.Temperature",
//!  "methods":["Get","Watch"],"message_bytes":65536}
//! ```
//!
//! and without a descriptor: `{"monitor":true}` or `{"monitor":false}`: tell, or no longer tell, of every call.
//!
//! Server to router, one line of text per message, at most [`REPORT_MAX`] bytes; all are optional:
//!
//! ```text
//! refused SERIAL METHOD     a call was refused because its grant does not name the method
//! dropped SERIAL REASON     a connection was ended because it broke the rules; REASON is one word
//! called SERIAL METHOD      a call, while monitored
//! ```
//!
//! What holds: a server ends a connection by `shutdown(2)` and then `close(2)`. The router has a duplicate, so `close`
//! alone would leave the caller waiting until the server ends. Closing this socket (or ending) ends every
//! connection that came over it: callers see end of file and connect again.

/// Longest report of a server, bytes.
pub const REPORT_MAX: usize = 128;
