//! Connections by place: a slot that is used again, and a generation that is not.

/// Generations are 30 bits, so that a place fits into an epoll event. After a thousand million connections on one slot
/// a number comes again; no event is that old.
pub(super) const GENERATION_MAX: u32 = (1 << 30) - 1;

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// A list with holes.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Where the next one will be.
    pub(super) fn next_place(&self) -> Place {
        let slot = self.free.last().copied().unwrap_or(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let generation = self.slots.get(slot as usize).map_or(0, |(generation, _)| *generation);
        Place { slot, generation }
    }

    /// Puts one at [`Slots::next_place`].
    pub(super) fn insert(&mut self, value: T) -> Place {
        let place = self.next_place();
        match self.slots.get_mut(place.slot as usize) {
            Some((_, slot)) => {
                self.free.pop();
                *slot = Some(value);
            }
            None => self.slots.push((0, Some(value))),
        }
        place
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(place.slot as usize)?;
        if *generation == place.generation { value.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<T> {
        let (generation, value) = self.slots.get_mut(place.slot as usize)?;
        if *generation != place.generation {
            return None;
        }
        let removed = value.take()?;
        *generation = (*generation + 1) & GENERATION_MAX;
        self.free.push(place.slot);
        Some(removed)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_one_that_is_gone_leads_nowhere() {
        let mut slots = Slots::new();
        let one = slots.insert('a');
        let two = slots.insert('b');
        assert_eq!(slots.remove(one), Some('a'));
        assert_eq!(slots.remove(one), None);
        assert_eq!(slots.get_mut(one), None);
        assert_eq!(slots.len(), 1);
        let again = slots.insert('c');
        assert_eq!(again.slot, one.slot);
        assert_eq!(slots.get_mut(one), None);
        assert_eq!(slots.get_mut(two), Some(&mut 'b'));
        assert_eq!(slots.get_mut(again), Some(&mut 'c'));
    }
}
