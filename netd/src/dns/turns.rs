//! How much of something each box, and all together, may have at once.
//!
//! A few boxes that take all they can must not be all: once half of the places are taken, a box has one and no more.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Places that boxes take.
#[derive(Debug)]
pub(super) struct Turns {
    one: usize,
    all: usize,
    taken: RefCell<BTreeMap<u32, usize>>,
}

/// One box's place, for as long as this lives.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Rc<Turns>,
    uid: u32,
}

impl Turns {
    /// So many for one box, and for all.
    pub(super) fn new(one: usize, all: usize) -> Rc<Self> {
        Rc::new(Self { one, all, taken: RefCell::default() })
    }

    /// A place for the box `uid`, if there is one.
    pub(super) fn take(self: &Rc<Self>, uid: u32) -> Option<Turn> {
        let mut taken = self.taken.borrow_mut();
        let own = taken.get(&uid).copied().unwrap_or(0);
        let all = taken.values().sum::<usize>();
        let one = if all < self.all / 2 { self.one } else { 1 };
        if own >= one || all >= self.all {
            return None;
        }
        taken.insert(uid, own + 1);
        Some(Turn { turns: self.clone(), uid })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.borrow_mut();
        match taken.get_mut(&self.uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_bounded_for_one_and_for_all_and_come_back() {
        let turns = Turns::new(2, 6);
        let (first, _second) = (turns.take(7).unwrap(), turns.take(7).unwrap());
        assert!(turns.take(7).is_none(), "its own");
        let mut others: Vec<_> = (8..12).map(|uid| turns.take(uid).unwrap()).collect();
        assert!(turns.take(12).is_none(), "all");
        drop(first);
        assert!(turns.take(12).is_some());
        others.clear();
        assert!(turns.take(7).is_some());
        assert_eq!(turns.taken.borrow().values().sum::<usize>(), 1);
    }

    #[test]
    fn boxes_that_take_all_they_can_leave_one_for_each_other() {
        let turns = Turns::new(16, 128);
        let greedy: Vec<_> = (0..8).flat_map(|uid| vec![uid; 16]).filter_map(|uid| turns.take(uid)).collect();
        assert_eq!(greedy.len(), 64 + 4, "half, and one for each of those that came too late");
        let _others: Vec<_> = (100..160).map(|uid| turns.take(uid).unwrap()).collect();
        assert!(turns.take(100).is_none() && turns.take(200).is_none());
    }
}
