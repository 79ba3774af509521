//! Where a board has what a system is started from and renewed on, where that is not as on the reference board.
//!
//! ```text
//! disk /dev/nvme0n1     # the system's disk, as the kernel calls it
//! # its partitions, by their numbers in the table
//! esp 3
//! slot 5 6              # root, and its hash tree
//! slot 7 8
//! kernels EFI/Linux     # the folder of kernel images
//! apps /dev/nvme0n1p9   # the app store
//! data /dev/nvme0n1p10  # what the device stores
//! ```
//!
//! Without such a file, or without one of its lines, it is as the Discoverable Partitions Specification and the Boot Loader
//! Specification have it: the first EFI system partition, the two roots with their hash trees of one architecture, `EFI/Linux`;
//! and disk, apps and data are those of the reference board.
//!
//! What the lines of devices say goes into the kernel's command line when an image is made; the others are read on the device.
//! There the file is part of the verified root, so that whoever has the disk can not write it.

/// The folder of kernel images, by the Boot Loader Specification.
pub const KERNELS: &str = "EFI/Linux";
/// Longest text, bytes.
pub const TEXT_MAX: usize = 4096;
/// Numbers of partitions there can be.
const PARTITIONS: std::ops::RangeInclusive<usize> = 1..=128;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The system's disk, the kernel's name for it.
    pub disk: String,
    /// The device with the app store, likewise.
    pub apps: String,
    /// The device whose file system is the device's data, likewise.
    pub data: String,
    /// The EFI system partition, by its place in the table: its number less one.
    pub esp: Option<usize>,
    /// Root and hash tree of both slots, likewise.
    pub slots: Option<[(usize, usize); 2]>,
    /// The folder of kernel images, below the EFI system partition.
    pub kernels: String,
}

impl Default for Layout {
    fn default() -> Self {
        let [disk, apps, data] = ["/dev/vda", "/dev/vdb", "/dev/vdc"].map(str::to_owned);
        Self { disk, apps, data, esp: None, slots: None, kernels: KERNELS.to_owned() }
    }
}

impl Layout {
    /// Reads a text. The error is what is wrong with it, with its line.
    ///
    /// # Errors
    /// An unknown word, a number of no partition, something that is there twice, or one slot alone; a text of more than
    /// [`TEXT_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("it is longer than {TEXT_MAX} bytes"));
        }
        let (mut layout, mut slots, mut taken) = (Self::default(), Vec::new(), Vec::new());
        let mut said: Vec<&str> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let wrong = |what: &str| format!("line {number}: {what}");
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let mut place = |word: &str| {
                let number = word.parse().ok().filter(|number| PARTITIONS.contains(number));
                let number: usize =
                    number.ok_or_else(|| wrong(&format!("{word} is no partition's number, 1 to 128")))?;
                if taken.contains(&number) {
                    return Err(wrong(&format!("partition {number} is there twice")));
                }
                taken.push(number);
                Ok(number - 1)
            };
            if let [word, _] = words.as_slice() {
                if said.contains(word) {
                    return Err(wrong(&format!("`{word}` is there twice")));
                }
                said.push(word);
            }
            match words.as_slice() {
                [] => {}
                ["disk", device] if is_device(device) => layout.disk = (*device).to_owned(),
                ["apps", device] if is_device(device) => layout.apps = (*device).to_owned(),
                ["data", device] if is_device(device) => layout.data = (*device).to_owned(),
                ["esp", esp] => layout.esp = Some(place(esp)?),
                ["slot", root, tree] => slots.push((place(root)?, place(tree)?)),
                ["kernels", folder] if is_folder(folder) => layout.kernels = (*folder).to_owned(),
                _ => {
                    return Err(wrong(
                        "one of `disk /dev/NAME`, `esp NUMBER`, `slot ROOT TREE`, `kernels FOLDER`, `apps /dev/NAME` and \
                         `data /dev/NAME` is expected",
                    ));
                }
            }
        }
        for (one, other) in
            [(&layout.disk, &layout.apps), (&layout.disk, &layout.data), (&layout.apps, &layout.data)]
        {
            if one == other {
                return Err(format!("{one} can not be two of the disk, the apps and the data"));
            }
        }
        layout.leave_free(slots.iter().flat_map(|(root, tree)| [*root, *tree]).chain(layout.esp))?;
        layout.slots = match slots.as_slice() {
            [] => None,
            [a, b] => Some([*a, *b]),
            other => return Err(format!("a device has two slots, and there are {}", other.len())),
        };
        Ok(layout)
    }

    /// Refuses apps or data on one of these partitions of the system, by their places in the table.
    ///
    /// # Errors
    /// Which it is.
    pub fn leave_free(&self, places: impl Iterator<Item = usize>) -> Result<(), String> {
        let system: Vec<String> = places.map(|place| self.partition(place + 1)).collect();
        match [&self.apps, &self.data].into_iter().find(|device| system.contains(device)) {
            Some(taken) => Err(format!("{taken} is the system's, and can not have the apps or the data")),
            None => Ok(()),
        }
    }

    /// The kernel's name of the EFI system partition: by that the device finds the disk.
    pub fn esp_device(&self) -> String {
        self.partition(self.esp.unwrap_or_default() + 1)
    }

    /// The kernel's name of the partition with this number.
    pub fn partition(&self, number: usize) -> String {
        // `sda1` and `nvme0n1p1`.
        let between = if self.disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        format!("{}{between}{number}", self.disk)
    }
}

/// A name below `/dev`.
fn is_device(text: &str) -> bool {
    let name = text.strip_prefix("/dev/").unwrap_or_default();
    !name.is_empty() && name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
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
        let text = "# ours\nesp 3\n\nslot 5 6 # first\nslot 7 8\nkernels boot/linux\ndisk /dev/mmcblk0\ndata /dev/sda\n";
        let [kernels, disk, data] = ["boot/linux", "/dev/mmcblk0", "/dev/sda"].map(str::to_owned);
        let slots = Some([(4, 5), (6, 7)]);
        let layout = Layout { disk, data, esp: Some(2), slots, kernels, ..Layout::default() };
        assert_eq!(Layout::parse(text), Ok(layout.clone()));
        assert_eq!(layout.esp_device(), "/dev/mmcblk0p3");
        assert_eq!(Layout::parse("# nothing\n"), Ok(Layout::default()));
        assert_eq!(Layout::default().esp_device(), "/dev/vda1");
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
            ("esp 1\nesp 2\n", "line 2: `esp` is there twice"),
            ("data /dev/a\ndata /dev/b\n", "line 2: `data` is there twice"),
            ("data /dev/vda\n", "/dev/vda can not be two of"),
            (
                "disk /dev/nvme0n1\nslot 5 6\nslot 7 8\ndata /dev/nvme0n1p7\n",
                "/dev/nvme0n1p7 is the system's",
            ),
            ("apps /dev/../etc\n", "line 1: one of"),
            ("apps /sys/a\n", "line 1: one of"),
            ("data /dev/\n", "line 1: one of"),
            ("kernels ../up\n", "line 1: one of"),
            ("kernels /EFI\n", "line 1: one of"),
            ("disk 1\n", "line 1: one of"),
        ] {
            let said = Layout::parse(text).unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
        }
        let long = "# a word\n".repeat(500);
        assert_eq!(Layout::parse(&long), Err("it is longer than 4096 bytes".to_owned()));
    }
}
