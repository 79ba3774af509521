//! What metadata says of a release besides its bytes: what it is, and what a device needs to fetch and check it.
//!
//! Open: what a later release says besides is kept and passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The system: kernel image and root.
    Os,
    /// An app.
    App,
}

/// What is said of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    /// What kind of release it belongs to.
    pub kind: Kind,
    /// The product that it runs on; none for apps that run on all of a catalog's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The app; none for the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The release's version.
    pub version: String,
    /// What no device goes back behind once it has run it: a number that grows with each release that must not be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<u64>,
    /// The root hash of the image's dm-verity tree, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<String>,
    /// The target that has the release's reference values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The target that has the image's block index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<String>,
    /// If it is a patch: the root hash of the image that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_release_says_is_kept() -> Result<(), serde_json::Error> {
        let text = r#"{"kind":"os","product":"p","version":"1.2","later":{"a":1}}"#;
        let custom: Custom = serde_json::from_str(text)?;
        assert_eq!((custom.kind, custom.version.as_str()), (Kind::Os, "1.2"));
        assert_eq!(serde_json::to_string(&custom)?, text);
        Ok(())
    }
}
