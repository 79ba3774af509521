//! The socket of PID 1: requests, written by `sandboxd` with strings of an app's author in them, and events.

use sys::bundle::{Event, FIRST_APP, Request};

/// Requests to PID 1: no box as root, no app with the system's means, nothing that `execve` would read otherwise.
pub fn request(bytes: &[u8]) {
    let Some(request) = Request::decode(bytes) else { return };
    if let Request::Put(spec) = &request {
        assert_ne!(spec.id, 0);
        assert!(spec.id < FIRST_APP || spec.capabilities == 0 && !spec.host_pids);
        assert!(!spec.argv.is_empty() && spec.hostname.len() <= 64);
        let texts = spec.argv.iter().chain(&spec.env).chain([&spec.hostname, &spec.directory]);
        let mut length = 0;
        for text in texts {
            assert!(!text.contains('\0'));
            length += text.len() + 4;
        }
        assert!(length <= bytes.len(), "more than the message has");
    }
    let again = request.encode();
    assert_eq!(again.len(), bytes.len());
    assert_eq!(Request::decode(&again), Some(request));
}

/// Events of PID 1: ends alone are in `Kept`, and what is read is as long as what was sent.
pub fn event(bytes: &[u8]) {
    let Some(event) = Event::decode(bytes) else { return };
    if let Event::Kept { ends, .. } = &event {
        assert!(ends.len() <= bytes.len() / 12);
        assert!(ends.iter().all(|(_, end)| matches!(end, Event::Refused { .. } | Event::Exited { .. })));
    }
    let again = event.encode();
    assert_eq!(again.len(), bytes.len());
    assert_eq!(Event::decode(&again), Some(event));
}
