//! Which release runs: `os-release` of the verified root, by its `IMAGE_VERSION`.

use std::fs;
use std::path::Path;

/// Where it is, by `os-release(5)`.
pub const OS_RELEASE: &str = "/usr/lib/os-release";

/// The version in a text of `os-release`.
pub(crate) fn version(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("IMAGE_VERSION=")).map(|version| version.trim_matches('"'))
}

/// The version of the system whose `os-release` is at `path`; `None` when it says none.
pub fn running(path: &Path) -> Option<String> {
    version(&fs::read_to_string(path).ok()?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_that_of_the_image() {
        let text = "ID=gabion\nVERSION_ID=1\nIMAGE_VERSION=1.20.3\n";
        assert_eq!(version(text), Some("1.20.3"));
        assert_eq!(version("VERSION_ID=1\n"), None);
    }
}
