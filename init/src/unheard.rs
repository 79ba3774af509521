//! Ends of one box that `sandboxd` has not said it recorded: it was down, or died with them in its socket.
//!
//! Bounded for each box by itself, so that one which ends again and again loses records of its own only; those that
//! find no room are counted. All the memory there will ever be is taken when the box is made.

use std::collections::VecDeque;

use sys::bundle::{ENDS_MAX, Event};

/// The oldest ends, and how many came after them.
pub(crate) struct Unheard {
    ends: VecDeque<(u64, Event)>,
    more: u32,
}

impl Unheard {
    pub(crate) fn new() -> Unheard {
        Unheard { ends: VecDeque::with_capacity(ENDS_MAX), more: 0 }
    }

    /// Remembers an end, and passes it on to be told.
    pub(crate) fn keep(&mut self, at_ms: u64, end: Event) -> Event {
        if self.ends.len() < ENDS_MAX {
            self.ends.push_back((at_ms, end.clone()));
        } else {
            self.more = self.more.saturating_add(1);
        }
        end
    }

    /// The oldest `count` ends were recorded.
    pub(crate) fn heard(&mut self, count: u32) {
        let kept = (count as usize).min(self.ends.len());
        self.ends.drain(..kept);
        self.more = self.more.saturating_sub(count.saturating_sub(kept as u32));
    }

    /// What is still to be recorded: each end with its time, and how many came after them.
    pub(crate) fn all(&self) -> (Vec<(u64, Event)>, u32) {
        (self.ends.iter().cloned().collect(), self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(n: u32) -> Event {
        Event::Failed { id: n, errno: 0 }
    }

    #[test]
    fn ends_beyond_the_room_are_counted_and_the_count_is_exact_whatever_is_heard() {
        let mut unheard = Unheard::new();
        let most = ENDS_MAX as u32;
        let capacity = unheard.ends.capacity();
        for n in 0..most + 3 {
            assert_eq!(unheard.keep(u64::from(n), end(n)), end(n));
        }
        let (ends, more) = unheard.all();
        assert_eq!((ends.len(), ends[0].clone(), more), (ENDS_MAX, (0, end(0)), 3));
        unheard.heard(2);
        assert_eq!(unheard.all().0[0], (2, end(2)));
        unheard.keep(99, end(99));
        unheard.heard(most);
        let (ends, more) = unheard.all();
        assert_eq!((ends.len(), more), (0, 2));
        unheard.heard(u32::MAX);
        assert_eq!(unheard.all(), (vec![], 0));
        assert_eq!(unheard.ends.capacity(), capacity);
    }
}
