//! The smallest app worth supervising: says how long it has run, and that it is alive.
//!
//! Speaks the `sd_notify` protocol by hand (a datagram of `KEY=value` lines to the socket named in `NOTIFY_SOCKET`),
//! to show that it takes no library. Without that socket it just runs. No dependencies, no unsafe.

use std::env;
use std::os::unix::net::UnixDatagram;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two lines of the log. A third of the watchdog's time or less, as `sd_watchdog_enabled(3)` advises.
const PERIOD: Duration = Duration::from_secs(5);

fn main() {
    let started = Instant::now();
    notify("READY=1");
    loop {
        println!("up for {} s", started.elapsed().as_secs());
        notify("WATCHDOG=1");
        sleep(PERIOD);
    }
}

/// Tells the supervisor. A failure is its business, not ours: it sees that nothing came.
fn notify(state: &str) {
    if let Some(path) = env::var_os("NOTIFY_SOCKET")
        && let Ok(socket) = UnixDatagram::unbound()
    {
        let _ = socket.send_to(state.as_bytes(), path);
    }
}
