//! Which payload a device takes: the one by which the least is downloaded.
//!
//! How much is known of two of them before anything is fetched: the metadata names lengths. What a full payload costs a device
//! with some other old image is only known with its index and a look at the old image ([`crate::Apply::left`]), which is
//! dearer than a patch for exactly that image ever was: so the patch is taken if there is one and it is shorter than the whole.

use crate::index::Image;

/// A payload that is offered, by what the signed metadata says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// For exactly this old image; none if for any.
    pub old: Option<Image>,
    /// Length of the index, bytes.
    pub index: u64,
    /// Length of the body, bytes.
    pub body: u64,
}

/// The place in `offers` of the one to take for a device that has `old`; none if none is for it.
pub fn choose(offers: &[Offer], old: Option<Image>) -> Option<usize> {
    let fits = |offer: &Offer| offer.old.is_none() || offer.old == old;
    let cost = |offer: &Offer| offer.index.saturating_add(offer.body);
    let fitting = offers.iter().enumerate().filter(|(_, offer)| fits(offer));
    fitting.min_by_key(|(_, offer)| cost(offer)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_for_another_image_is_never_chosen_and_the_shortest_of_the_others_is() {
        let image = |byte| Image { length: 1, digest: [byte; 32] };
        let offer = |old, body| Offer { old, index: 10, body };
        let offers = [offer(None, 900), offer(Some(image(1)), 5), offer(Some(image(2)), 70)];
        assert_eq!(choose(&offers, Some(image(2))), Some(2));
        assert_eq!(choose(&offers, Some(image(3))), Some(0));
        assert_eq!(choose(&offers, None), Some(0));
        assert_eq!(choose(&offers[1..], None), None);
        assert_eq!(choose(&[offer(None, 60), offer(Some(image(2)), 70)], Some(image(2))), Some(0));
    }
}
