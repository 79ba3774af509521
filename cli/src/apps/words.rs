//! What the interface of apps says, as people read it.

use bus::interfaces::apps::{State, Stream};

/// How an app is doing.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Preparing => "preparing",
        State::Starting => "starting",
        State::Running => "running",
        State::Waiting => "waiting after crashes",
        State::Stopped => "stopped",
        State::Failed => "failed",
    }
}

/// Where it wrote a line.
pub(crate) fn stream(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "out",
        Stream::Stderr => "err",
    }
}
