//! How much of something each box, and all together, may have at once.

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
        if own >= self.one || taken.values().sum::<usize>() >= self.all {
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
        let turns = Turns::new(2, 3);
        let (first, _second) = (turns.take(7).unwrap(), turns.take(7).unwrap());
        assert!(turns.take(7).is_none(), "its own");
        let _third = turns.take(8).unwrap();
        assert!(turns.take(8).is_none(), "all");
        drop(first);
        assert!(turns.take(8).is_some());
        assert_eq!(turns.taken.borrow().values().sum::<usize>(), 2);
    }
}
