//! The kernel's command line: which root it starts, under which hash. It is signed with the kernel, so that what is read here
//! of the running one is what the firmware let through, and of another one what it would let through.

use crate::verity::VerityText;

/// Parts of a command line: words, of which quotes keep blanks together.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |c: char| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    })
}

/// The value of the word `NAME=value`, without its quotes; `None` if it is not there exactly once.
pub(crate) fn word<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut found = words(line).filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    match (found.next(), found.next()) {
        (Some(value), None) => Some(value.trim_matches('"')),
        _ => None,
    }
}

/// Where the line has the system's disk, the data and the app store, as far as it says.
pub(crate) fn places(line: &str) -> [Option<&str>; 3] {
    let apps = table(line, "apps").and_then(|table| table.split(' ').nth(4));
    [word(line, "GABION_ESP"), word(line, "GABION_DATA"), apps]
}

/// What the kernel waits for, without an end, before it starts anything.
pub(crate) fn awaited(line: &str) -> impl Iterator<Item = &str> {
    word(line, "dm-mod.waitfor").into_iter().flat_map(|devices| devices.split(','))
}

/// The table of the device `name` that the line has made.
fn table<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut devices = word(line, "dm-mod.create")?.split(';');
    devices.find_map(|device| {
        let mut fields = device.splitn(5, ',');
        (fields.next() == Some(name)).then(|| fields.nth(3)).flatten()
    })
}

/// The verified device `name` that the line has made, as [`VerityText`] has it. What has its hash tree on a device of its own
/// has it from that one's beginning: an image has it behind the data.
pub(crate) fn verity(line: &str, name: &str) -> Option<VerityText> {
    let fields: Vec<&str> = table(line, name)?.split(' ').collect();
    let ["0", _, "verity", "1", data, tree, "4096", "4096", blocks, start, "sha256", hash, salt] = fields[..]
    else {
        return None;
    };
    let blocks: u64 = blocks.parse().ok()?;
    let start: u64 = start.parse().ok()?;
    let start = if data == tree { start } else { start.checked_add(blocks)? };
    let text = format!("data_blocks={blocks} hash_start_block={start} root_hash={hash} salt={salt}");
    VerityText::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> String {
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        format!(
            "console=ttyS0 dm-mod.create=\"root,,0,ro,0 16 verity 1 PARTUUID=1 PARTUUID=2 4096 4096 2 1 sha256 {a} 00;\
             apps,,1,ro,0 80 verity 1 /dev/vdb /dev/vdb 4096 4096 10 11 sha256 {b} 01\" ro GABION_FLOOR=7 GABION_TPM=1"
        )
    }

    #[test]
    fn devices_of_a_line_are_read_whether_the_tree_is_apart_or_not() {
        let text = |blocks, start, hash: &str, salt| {
            let hash = hash.repeat(32);
            VerityText::parse(&format!(
                "data_blocks={blocks} hash_start_block={start} root_hash={hash} salt={salt}"
            ))
            .ok()
        };
        assert_eq!(verity(&line(), "root"), text(2, 3, "ab", "00"));
        assert_eq!(verity(&line(), "apps"), text(10, 11, "cd", "01"));
        assert_eq!(verity(&line(), "data"), None);
        assert_eq!(verity("root=/dev/vda", "root"), None);
        assert_eq!(verity(&line().replace("sha256", "sha1"), "root"), None);
    }

    #[test]
    fn places_of_a_line_are_read() {
        assert_eq!(places(&line()), [None, None, Some("/dev/vdb")]);
        let more =
            format!("{} GABION_ESP=/dev/sda1 GABION_DATA=/dev/sdb dm-mod.waitfor=/dev/sda5,/dev/vdb", line());
        assert_eq!(places(&more), [Some("/dev/sda1"), Some("/dev/sdb"), Some("/dev/vdb")]);
        assert_eq!(awaited(&more).collect::<Vec<_>>(), ["/dev/sda5", "/dev/vdb"]);
        assert_eq!(awaited(&line()).count(), 0);
    }

    #[test]
    fn word_that_stands_twice_or_is_part_of_another_is_none() {
        assert_eq!(word(&line(), "GABION_FLOOR"), Some("7"));
        assert_eq!(word(&line(), "FLOOR"), None);
        assert_eq!(word(&line(), "apps,,1,ro,0"), None);
        assert_eq!(word("GABION_FLOOR=1 GABION_FLOOR=2", "GABION_FLOOR"), None);
    }
}
