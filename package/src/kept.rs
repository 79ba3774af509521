//! The word of the checker on an image, kept beside it in the verified app store, so that a boot need not read the image.
//!
//! Whoever builds a store writes it, and removes one that an author brought. It counts for the image with exactly this root
//! hash and for the checker that wrote it; anything else is as if it were not there, and the image is checked on the device.

/// Which checker this is: a hash of its sources (`build.rs`).
pub const CHECKER: &str = env!("GABION_CHECKER");
/// Longest kept word, bytes.
pub const KEPT_MAX: usize = 128;

/// What is kept for a good image with the dm-verity root hash `root_hash`, in lower-case hexadecimal digits.
pub fn kept(root_hash: &str) -> String {
    format!("checker={CHECKER} root_hash={root_hash}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_word_names_the_image_and_the_checker() {
        let hash = "ab".repeat(32);
        assert!(kept(&hash).contains(&hash) && kept(&hash).contains(CHECKER));
        assert_ne!(kept(&hash), kept(&"cd".repeat(32)));
        assert!(kept(&hash).len() <= KEPT_MAX);
    }
}
