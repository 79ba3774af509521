//! What an app is made of, for whoever has to know which of them has a flaw: a CycloneDX document in its image.

use crate::debian;
use crate::recipe::Recipe;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs;
use std::path::Path;

/// Where it is in an app's file system.
pub const PLACE: &str = "usr/share/gabion/sbom.cdx.json";

/// The document (CycloneDX 1.5, JSON) of the app `(id, version)` whose source is `source`: the Debian packages of its recipe with
/// the versions that `cache` has, which are those that were taken.
///
/// # Errors
/// The recipe is wrong.
pub fn of(cache: &Path, source: &Path, (id, version): (&str, &str)) -> Result<String> {
    let list = source.join("app.list");
    let recipe = match fs::read_to_string(&list) {
        Ok(text) => Recipe::parse(&text)?,
        // An app that is a root directory: nobody knows what of.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Recipe::default(),
        Err(e) => return Err(e).with_context(|| format!("reading {}", list.display())),
    };
    let components: Vec<_> = debian::versions(cache, &recipe.packages)?
        .into_iter()
        .map(|(name, version, architecture)| {
            let purl = format!("pkg:deb/debian/{name}@{version}?arch={architecture}");
            json!({ "type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl })
        })
        .collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "application", "name": id, "version": version, "bom-ref": id } },
        "components": components,
    });
    Ok(format!("{document:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_listed_as_they_were_taken_and_one_that_is_missing_is_an_error() {
        let (cache, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(cache.path().join("python3.11-minimal_3.11.2-6+deb12u6_amd64.deb"), "").unwrap();
        fs::write(cache.path().join("zlib1g_1%3a1.2.13.dfsg-1_amd64.deb"), "").unwrap();
        fs::write(source.path().join("app.list"), "package python3.11-minimal zlib1g\n").unwrap();
        let text = of(cache.path(), source.path(), ("com.example.a", "1.0.0")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let purl = |index: usize| document["components"][index]["purl"].as_str().unwrap().to_owned();
        assert_eq!(purl(0), "pkg:deb/debian/python3.11-minimal@3.11.2-6+deb12u6?arch=amd64");
        assert_eq!(purl(1), "pkg:deb/debian/zlib1g@1%3a1.2.13.dfsg-1?arch=amd64");
        fs::write(source.path().join("app.list"), "package other\n").unwrap();
        assert!(of(cache.path(), source.path(), ("com.example.a", "1.0.0")).is_err());
    }
}
