//! `bench-peer`: one end of a conversation that is measured. Runs in a box; [`ask`] says how it is asked.
//!
//! ```text
//! raw-server                          standard input is the listening socket
//! raw-client PATH BYTES CALLS
//! raw-open PATH BYTES CALLS           a connection for each call
//! dbus-server PATH UID
//! dbus-client PATH UID BYTES CALLS
//! bus-server                          of the bench's interface; its callers come through the router
//! bus-client BYTES CALLS
//! bus-bulk BYTES CALLS                beside the socket, by memory that is kept
//! bus-open BYTES CALLS                a connection for each call
//! bus-hold CONNECTIONS
//! bus-storm CONNECTIONS CALLS         calls over all of them in turn, counting those that are lost
//! bus-knock                           new connections, counting those that fail
//! ```

mod ask;
mod bare;
mod payload;
mod raw;
mod varlink;

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = |n: usize| args.get(n).with_context(|| format!("argument {n} is missing"));
    let number = |n: usize| -> Result<u32> { Ok(text(n)?.parse()?) };
    let path = |n: usize| text(n).map(Path::new);
    match text(0)?.as_str() {
        "raw-server" => raw::serve(&std::io::stdin().as_fd().try_clone_to_owned()?.into()),
        "raw-client" => raw::call(path(1)?, number(2)? as usize, number(3)?),
        "raw-open" => raw::connect(path(1)?, number(2)? as usize, number(3)?),
        "dbus-server" => bare::serve(path(1)?, number(2)?),
        "dbus-client" => bare::call(path(1)?, number(2)?, number(3)? as usize, number(4)?),
        "bus-server" => varlink::serve(),
        "bus-client" => varlink::call(number(1)? as usize, number(2)?),
        "bus-bulk" => varlink::bulk(number(1)? as usize, number(2)?),
        "bus-open" => varlink::connect(number(1)? as usize, number(2)?),
        "bus-hold" => varlink::hold(number(1)? as usize),
        "bus-storm" => varlink::storm(number(1)? as usize, number(2)? as usize),
        "bus-knock" => varlink::knock(),
        other => bail!("unknown role {other}"),
    }
}
