//! Where a board has what an update needs, where that can not be told by the types of its partitions.
//!
//! ```text
//! # partitions by their numbers in the table
//! esp 3
//! slot 5 6              # root, and its hash tree
//! slot 7 8
//! kernels EFI/Linux     # the folder of kernel images
//! ```
//!
//! Without such a file, or without one of its lines, it is as the Discoverable Partitions Specification and the Boot Loader
//! Specification have it: the first EFI system partition, the two roots with their hash trees of one architecture, `EFI/Linux`.
//! The file is part of the verified root, so that whoever has the disk can not write it.

/// The folder of kernel images, by the Boot Loader Specification.
pub const KERNELS: &str = "EFI/Linux";
/// Longest text, bytes.
pub const TEXT_MAX: u64 = 4096;
/// Numbers of partitions there can be.
const PARTITIONS: std::ops::RangeInclusive<usize> = 1..=128;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The EFI system partition, by its number.
    pub esp: Option<usize>,
    /// Root and hash tree of both slots, by their numbers.
    pub slots: Option<[(usize, usize); 2]>,
    /// The folder of kernel images, below the EFI system partition.
    pub kernels: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self { esp: None, slots: None, kernels: KERNELS.to_owned() }
    }
}

impl Layout {
    /// Reads a text. The error is what is wrong with it, with its line.
    ///
    /// # Errors
    /// An unknown word, a number of no partition, one that is there twice, or one slot alone.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut layout, mut slots, mut taken) = (Self::default(), Vec::new(), Vec::new());
        for (line, number) in text.lines().zip(1..) {
            let wrong = |what: &str| format!("line {number}: {what}");
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let mut place = |word: &str| {
                let place = word.parse().ok().filter(|place| PARTITIONS.contains(place));
                let place =
                    place.ok_or_else(|| wrong(&format!("{word} is no partition's number, 1 to 128")))?;
                if taken.contains(&place) {
                    return Err(wrong(&format!("partition {place} is there twice")));
                }
                taken.push(place);
                Ok(place)
            };
            match words.as_slice() {
                [] => {}
                ["esp", esp] if layout.esp.is_none() => layout.esp = Some(place(esp)?),
                ["slot", root, tree] => slots.push((place(root)?, place(tree)?)),
                ["kernels", folder] if is_folder(folder) => layout.kernels = (*folder).to_owned(),
                _ => {
                    return Err(wrong(
                        "one of `esp NUMBER`, `slot ROOT TREE` and `kernels FOLDER` is expected",
                    ));
                }
            }
        }
        layout.slots = match slots.as_slice() {
            [] => None,
            [a, b] => Some([*a, *b]),
            other => return Err(format!("a device has two slots, and there are {}", other.len())),
        };
        Ok(layout)
    }
}

/// Names with slashes between them.
fn is_folder(text: &str) -> bool {
    let plain = |name: &str| {
        !name.is_empty()
            && name.bytes().any(|byte| byte != b'.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    text.len() <= 128 && text.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_read_and_what_is_left_out_is_as_specified() {
        let text = "# ours\nesp 3\n\nslot 5 6 # first\nslot 7 8\nkernels boot/linux\n";
        let kernels = "boot/linux".to_owned();
        assert_eq!(Layout::parse(text), Ok(Layout { esp: Some(3), slots: Some([(5, 6), (7, 8)]), kernels }));
        assert_eq!(Layout::parse("# nothing\n"), Ok(Layout::default()));
    }

    #[test]
    fn layout_that_can_not_be_is_refused_with_its_line() {
        for (text, why) in [
            ("esp 0\n", "line 1: 0 is no partition's number"),
            ("\nesp 129\n", "line 2: 129"),
            ("slot 1 1\n", "line 1: partition 1 is there twice"),
            ("esp 1\nslot 1 2\nslot 3 4\n", "line 2: partition 1 is there twice"),
            ("slot 1 2\n", "two slots, and there are 1"),
            ("slot 1 2\nslot 3 4\nslot 5 6\n", "two slots, and there are 3"),
            ("esp 1\nesp 2\n", "line 2: one of"),
            ("kernels ../up\n", "line 1: one of"),
            ("kernels /EFI\n", "line 1: one of"),
            ("disk 1\n", "line 1: one of"),
        ] {
            let said = Layout::parse(text).unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
        }
    }
}
