//! What the worker found in a package file, and says of it: where its parts lie, and its manifest.
//!
//! ```text
//! u64 data_at, data_blocks, tree_at, tree_blocks   little-endian; bytes of the file, blocks of 4096 bytes
//! [u8; 32] root hash
//! u8 length, salt
//! u32 length, the manifest's text
//! the encoded plan
//! ```
//!
//! The worker may have been taken over by the package. So this is read strictly, what it says is held to the file's length, the
//! plan is decoded and checked as any other, and that the bytes fit the root hash is dm-verity's to find out.

use package::gab::Gab;

use crate::packages::place::IMAGE_MAX;
use crate::verity::VerityText;

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The image and its hash tree: each from where, how many blocks.
    pub parts: [(u64, u64); 2],
    root_hash: [u8; 32],
    salt: Vec<u8>,
    /// The manifest's text.
    pub manifest: Vec<u8>,
    /// Its plan, unchecked.
    pub plan: Vec<u8>,
}

impl Offered {
    /// As it was found in a file, with its manifest and that one's plan.
    pub fn of(gab: Gab, manifest: Vec<u8>, plan: Vec<u8>) -> Self {
        Self {
            parts: [(gab.data_at, gab.data_blocks), (gab.tree_at, gab.tree_blocks)],
            root_hash: gab.root_hash,
            salt: gab.salt,
            manifest,
            plan,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, blocks) in self.parts {
            out.extend([at, blocks].map(u64::to_le_bytes).as_flattened());
        }
        out.extend(self.root_hash);
        out.push(u8::try_from(self.salt.len()).unwrap_or(u8::MAX));
        out.extend(&self.salt);
        out.extend(u32::try_from(self.manifest.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(&self.manifest);
        out.extend(&self.plan);
        out
    }

    /// Reads what the worker says of a file of `length` bytes; `None` for what can not be so.
    pub fn decode(bytes: &[u8], length: u64) -> Option<Self> {
        let (numbers, rest) = bytes.split_first_chunk::<32>()?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut part = || Some((numbers.next()?, numbers.next()?));
        let parts = [part()?, part()?];
        let (root_hash, rest) = rest.split_first_chunk::<32>()?;
        let (salt_length, rest) = rest.split_first()?;
        let (salt, rest) = rest.split_at_checked(usize::from(*salt_length))?;
        let (text_length, rest) = rest.split_first_chunk::<4>()?;
        let (manifest, plan) = rest.split_at_checked(u32::from_le_bytes(*text_length) as usize)?;
        let within = |(at, blocks): (u64, u64)| {
            let end = blocks.checked_mul(BLOCK).and_then(|bytes| bytes.checked_add(at));
            blocks > 0 && end.is_some_and(|end| end <= length)
        };
        let offered = Self {
            parts,
            root_hash: *root_hash,
            salt: salt.to_vec(),
            manifest: manifest.to_vec(),
            plan: plan.to_vec(),
        };
        let good = parts.into_iter().all(within)
            && manifest.len() <= policy::TEXT_MAX
            && offered.image_bytes() <= IMAGE_MAX
            && VerityText::parse(&offered.verity()).is_ok();
        good.then_some(offered)
    }

    /// Length of the image with its hash tree behind it, bytes.
    pub fn image_bytes(&self) -> u64 {
        let [(_, data), (_, tree)] = self.parts;
        data.saturating_add(tree).saturating_mul(BLOCK)
    }

    /// The text of `root.verity` for the image with its hash tree right behind it, superblock first.
    pub fn verity(&self) -> String {
        let [(_, data), _] = self.parts;
        let (root_hash, salt) = (self.root_hash(), hex(&self.salt));
        let start = data.saturating_add(1);
        format!("data_blocks={data} hash_start_block={start} root_hash={root_hash} salt={salt}\n")
    }

    /// The root hash, lower-case hex.
    pub fn root_hash(&self) -> String {
        hex(&self.root_hash)
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offered() -> Offered {
        let gab = Gab {
            data_at: 20480,
            data_blocks: 2,
            tree_at: 28672,
            tree_blocks: 2,
            root_hash: [0xab; 32],
            salt: vec![0, 255],
            signature: None,
        };
        Offered::of(gab, b"[app]".to_vec(), b"plan".to_vec())
    }

    #[test]
    fn offered_encoded_decodes_to_itself_and_not_when_cut_or_past_the_file() {
        let bytes = offered().encode();
        assert_eq!(Offered::decode(&bytes, 36864), Some(offered()));
        assert_eq!(Offered::decode(&bytes, 36863), None);
        for end in 0..bytes.len() - 4 {
            assert_eq!(Offered::decode(&bytes[..end], 36864), None);
        }
        let hash = "ab".repeat(32);
        assert_eq!(
            offered().verity(),
            format!("data_blocks=2 hash_start_block=3 root_hash={hash} salt=00ff\n")
        );
        assert_eq!(offered().image_bytes(), 4 * 4096);
        let none = Offered { salt: Vec::new(), ..offered() };
        assert_eq!(Offered::decode(&none.encode(), 36864), None);
    }

    proptest! {
        #[test]
        fn decode_of_any_bytes_lies_within_the_file(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(offered) = Offered::decode(&bytes, 1 << 20) {
                prop_assert!(offered.parts.iter().all(|(at, blocks)| at + blocks * 4096 <= 1 << 20));
            }
        }
    }
}
