//! A release as a device fetches it: one document, which is a target of the signed metadata, and what it names by digest.
//!
//! | target | of |
//! |---|---|
//! | `os/PRODUCT/VERSION.json` | the system of a product's devices: a root, and a kernel image whose signed command line names it |
//! | `apps/CATALOG/APP/VERSION.json` | an app: its image, and its manifest |
//!
//! Everything that a document names is a *blob*: a file called by its SHA-256, `blobs/HEX`, beside the metadata's targets or on
//! any other web server. Patches against more old images may be added to a document later; the images stay what they are.
//!
//! It is read as if nobody had signed it: bounded, strict, and of one kind of images as its kind asks for.

use crate::{Digest, Few, Name, Text, Version};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// Longest document, bytes.
pub const DOCUMENT_MAX: usize = 256 << 10;
/// Payloads of one image: one full, and patches.
pub const OFFERS_MAX: usize = 64;
/// Longest manifest, bytes.
pub const MANIFEST_MAX: u64 = 256 << 10;

/// A release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Release {
    /// What it replaces.
    pub what: What,
    /// Its version.
    pub version: Version,
    /// What no device goes back behind once it has run this: a number that grows with each release that must not be undone.
    #[serde(default)]
    pub floor: u32,
    /// The images.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Image>, max_items = 2))]
    pub images: Few<Image, 2>,
    /// The manifest of an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Blob>,
    /// What is new, for people.
    #[serde(default)]
    pub notes: Text<1024>,
}

/// What a release replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum What {
    /// The system, on devices of this product.
    Os(Name),
    /// An app, by its id.
    App(Text<128>),
}

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum Role {
    /// The root of the system: a file system and its hash tree behind it.
    Root,
    /// The kernel image: a signed PE file.
    Kernel,
    /// An app's file system and its hash tree behind it.
    App,
}

/// An image, and how to come by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Image {
    /// What for.
    pub role: Role,
    /// All of it: file system and hash tree.
    pub content: Blob,
    /// Where the hash tree is and what it must be: as in `root.verity`, without a line feed. None for a kernel image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verity: Option<Text<320>>,
    /// Payloads, of which a device takes the one by which the least is fetched.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Offer>, max_items = 64))]
    pub offers: Few<Offer, OFFERS_MAX>,
}

/// Bytes by their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Blob {
    /// SHA-256.
    pub sha256: Digest,
    /// How many bytes.
    pub length: u64,
}

/// A payload: an index, which is fetched whole, and a body, of which parts may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Offer {
    /// If it is for exactly one old image: that image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Blob>,
    /// The index.
    pub index: Blob,
    /// The body.
    pub body: Blob,
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the release's document: {}", self.0)
    }
}

impl std::error::Error for Refused {}

impl Release {
    /// Reads a document that was found as the target `path`.
    ///
    /// # Errors
    /// It is none; it has not the images of its kind; it belongs to another path.
    pub fn read(bytes: &[u8], path: &str) -> Result<Self, Refused> {
        if bytes.len() > DOCUMENT_MAX {
            return Err(Refused(format!("longer than {DOCUMENT_MAX} bytes")));
        }
        let release: Self = serde_json::from_slice(bytes).map_err(|e| Refused(e.to_string()))?;
        release.check(path)?;
        Ok(release)
    }

    fn check(&self, path: &str) -> Result<(), Refused> {
        let roles: Vec<Role> = self.images.iter().map(|image| image.role).collect();
        let (wanted, manifest): (&[Role], bool) = match self.what {
            What::Os(_) => (&[Role::Root, Role::Kernel], false),
            What::App(_) => (&[Role::App], true),
        };
        if roles != wanted || self.manifest.is_some() != manifest {
            return Err(Refused("not the images and manifest of what it replaces".to_owned()));
        }
        if self.images.iter().any(|image| image.verity.is_some() == (image.role == Role::Kernel)) {
            return Err(Refused("a hash tree where none belongs, or none where one does".to_owned()));
        }
        if self.manifest.as_ref().is_some_and(|manifest| manifest.length > MANIFEST_MAX) {
            return Err(Refused(format!("its manifest is longer than {MANIFEST_MAX} bytes")));
        }
        let parts: Vec<&str> = path.split('/').collect();
        let file = format!("{}.json", self.version);
        let fits = match (&self.what, parts.as_slice()) {
            (What::Os(product), ["os", of, name]) => *of == product.as_str() && *name == file,
            (What::App(app), ["apps", _, of, name]) => *of == app.as_str() && *name == file,
            _ => false,
        };
        fits.then_some(()).ok_or_else(|| Refused(format!("it is not the one of {path}")))
    }

    /// The image with this role.
    pub fn image(&self, role: Role) -> Option<&Image> {
        self.images.iter().find(|image| image.role == role)
    }
}

impl Blob {
    /// Where it is, below the targets.
    pub fn path(&self) -> String {
        format!("blobs/{}", self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(what: &str, images: &str, more: &str) -> Vec<u8> {
        format!(r#"{{"what":{what},"version":"1.2","images":[{images}]{more}}}"#).into_bytes()
    }

    fn image(role: &str, verity: &str) -> String {
        let blob = format!(r#"{{"sha256":"{}","length":4096}}"#, "0a".repeat(32));
        format!(r#"{{"role":"{role}","content":{blob}{verity},"offers":[{{"index":{blob},"body":{blob}}}]}}"#)
    }

    #[test]
    fn release_is_read_at_its_own_path_alone() {
        let verity = r#","verity":"data_blocks=1""#;
        let images = format!("{},{}", image("root", verity), image("kernel", ""));
        let bytes = document(r#"{"os":"box"}"#, &images, "");
        let release = Release::read(&bytes, "os/box/1.2.json").unwrap();
        assert_eq!(release.image(Role::Kernel).map(|image| image.offers.len()), Some(1));
        for path in ["os/box/1.3.json", "os/other/1.2.json", "apps/box/box/1.2.json", "os/box/1.2", ""] {
            assert!(Release::read(&bytes, path).is_err(), "{path}");
        }
    }

    #[test]
    fn release_without_all_its_images_is_refused() {
        let verity = r#","verity":"data_blocks=1""#;
        let blob = format!(r#","manifest":{{"sha256":"{}","length":9}}"#, "0a".repeat(32));
        let long = format!(r#","manifest":{{"sha256":"{}","length":999999}}"#, "0a".repeat(32));
        let app = r#"{"app":"com.example.a"}"#;
        let path = "apps/shop/com.example.a/1.2.json";
        assert!(Release::read(&document(app, &image("app", verity), &blob), path).is_ok());
        for (images, more) in [
            (String::new(), blob.as_str()),
            (image("app", verity), ""),
            (image("app", ""), &blob),
            (image("root", verity), &blob),
            (format!("{},{}", image("app", verity), image("app", verity)), &blob),
            (image("app", verity), &long),
        ] {
            assert!(Release::read(&document(app, &images, more), path).is_err(), "{images} {more}");
        }
    }
}
