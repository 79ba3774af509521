//! Container images with one thing wrong.

use std::collections::BTreeMap;
use std::fs;

use packing::sha256;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::gabion;

fn digest(bytes: &[u8]) -> String {
    let hex: String = sha256(&[bytes]).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// An entry of a layer: path, as it is; kind; content or target.
type Entry<'a> = (&'a str, EntryType, &'a str);

/// A layer of entries.
fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, text) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..path.len()].copy_from_slice(path.as_bytes());
        let content = if matches!(kind, EntryType::Regular) { text.as_bytes() } else { &[] };
        if content.is_empty() {
            raw.linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The parts of an image before they are written down: each may be changed.
struct Image {
    layers: Vec<Vec<u8>>,
    config: Value,
    manifest: Value,
    index: Value,
    files: BTreeMap<String, Vec<u8>>,
}

impl Image {
    fn of(layers: Vec<Vec<u8>>) -> Self {
        let ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/bin/a"] },
            "rootfs": { "type": "layers", "diff_ids": ids } });
        Self { layers, config, manifest: Value::Null, index: Value::Null, files: BTreeMap::new() }.described()
    }

    fn good() -> Self {
        Self::of(vec![
            layer(&[("bin/a", EntryType::Regular, "text")]),
            layer(&[("etc/b", EntryType::Regular, "more")]),
        ])
    }

    /// Manifest and index of the layers and the configuration as they are now.
    fn described(mut self) -> Self {
        let of = |bytes: &[u8]| json!({ "digest": digest(bytes), "size": bytes.len() });
        let layers: Vec<Value> = self.layers.iter().map(|layer| of(layer)).collect();
        self.manifest =
            json!({ "schemaVersion": 2, "config": of(self.config.to_string().as_bytes()), "layers": layers });
        self.listed()
    }

    /// The index of the manifest as it is now.
    fn listed(mut self) -> Self {
        let manifest = self.manifest.to_string();
        self.index = json!({ "schemaVersion": 2, "manifests": [{ "digest": digest(manifest.as_bytes()), "size": manifest.len() }] });
        self
    }

    /// All files, by their names.
    fn written(mut self) -> Self {
        let blobs = [self.config.to_string().into_bytes(), self.manifest.to_string().into_bytes()];
        for blob in blobs.iter().chain(&self.layers) {
            self.files.insert(format!("blobs/{}", digest(blob).replace(':', "/")), blob.clone());
        }
        self.files.insert("index.json".to_owned(), self.index.to_string().into_bytes());
        self
    }

    fn blob(digest: &str) -> String {
        format!("blobs/{}", digest.replace(':', "/"))
    }

    /// Writes it to a folder, and has it imported.
    fn import(self, what: &str) -> crate::Said {
        let place = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.files {
            let path = place.path().join("image").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let said = gabion(place.path(), what, &["import", "image", "app"]);
        let kept = place.path().join("app").exists() || place.path().join("app.partial").exists();
        assert!(!kept || said.code == Some(0), "{what}: something is left behind");
        said
    }
}

/// What is changed, how, and the part that is named.
type Change = (&'static str, fn(Image) -> Image, &'static str);

fn files(mut image: Image, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Image {
    image = image.written();
    change(&mut image.files);
    image
}

fn with_layer(entries: &[Entry<'_>]) -> Image {
    Image::of(vec![layer(&[("bin/a", EntryType::Regular, "text")]), layer(entries)])
}

const OF_FILES: [Change; 14] = [
    ("no index", |i| files(i, |f| drop(f.remove("index.json"))), "neither index.json nor manifest.json"),
    ("index is empty", |i| files(i, |f| drop(f.insert("index.json".into(), Vec::new()))), "index.json: "),
    (
        "index is no JSON",
        |i| files(i, |f| drop(f.insert("index.json".into(), b"{".to_vec()))),
        "index.json: ",
    ),
    (
        "index is another thing",
        |i| files(i, |f| drop(f.insert("index.json".into(), b"[]".to_vec()))),
        "index.json: ",
    ),
    ("index has no manifests", |i| Image { index: json!({ "manifests": [] }), ..i }, "other machines"),
    (
        "index of another machine",
        |mut i| {
            i.index["manifests"][0]["platform"] = json!({ "os": "linux", "architecture": "s390x" });
            i
        },
        "other machines",
    ),
    (
        "index with a way out",
        |mut i| {
            i.index["manifests"][0]["digest"] = json!("sha256:../../../../etc/passwd");
            i
        },
        "is no SHA-256 digest",
    ),
    (
        "index with another sum",
        |mut i| {
            i.index["manifests"][0]["digest"] = json!("md5:00");
            i
        },
        "is no SHA-256 digest",
    ),
    (
        "manifest is missing",
        |i| {
            let name = Image::blob(i.index["manifests"][0]["digest"].as_str().unwrap());
            files(i, |f| drop(f.remove(&name)))
        },
        "is missing",
    ),
    (
        "manifest is another",
        |i| {
            let name = Image::blob(i.index["manifests"][0]["digest"].as_str().unwrap());
            files(i, |f| drop(f.insert(name, b"{}".to_vec())))
        },
        "is not what its name says",
    ),
    (
        "configuration is missing",
        |i| {
            let name = Image::blob(i.manifest["config"]["digest"].as_str().unwrap());
            files(i, |f| drop(f.remove(&name)))
        },
        "is missing",
    ),
    (
        "configuration is another",
        |i| {
            let name = Image::blob(i.manifest["config"]["digest"].as_str().unwrap());
            files(i, |f| drop(f.insert(name, b"{}".to_vec())))
        },
        "is not what its name says",
    ),
    (
        "layer is missing",
        |i| {
            let name = Image::blob(i.manifest["layers"][1]["digest"].as_str().unwrap());
            files(i, |f| drop(f.remove(&name)))
        },
        "layer 2: ",
    ),
    (
        "layer is another",
        |i| {
            let name = Image::blob(i.manifest["layers"][1]["digest"].as_str().unwrap());
            let other = layer(&[("x", EntryType::Regular, "y")]);
            files(i, |f| drop(f.insert(name, other)))
        },
        "layer 2: ",
    ),
];

const OF_TEXTS: [Change; 9] = [
    (
        "manifest without a configuration",
        |mut i| {
            i.manifest["config"] = Value::Null;
            i.listed()
        },
        "names no configuration",
    ),
    (
        "manifest whose layers are a word",
        |mut i| {
            i.manifest["layers"] = json!("all");
            i.listed()
        },
        "the manifest: ",
    ),
    (
        "manifest with a layer less",
        |mut i| {
            i.manifest["layers"].as_array_mut().unwrap().pop();
            i.listed()
        },
        "other layers than the configuration",
    ),
    (
        "manifest with a layer that is no digest",
        |mut i| {
            i.manifest["layers"][0]["digest"] = json!("sha256:xyz");
            i.listed()
        },
        "is no SHA-256 digest",
    ),
    (
        "configuration for Windows",
        |mut i| {
            i.config["os"] = json!("windows");
            i.described()
        },
        "windows/amd64",
    ),
    (
        "configuration for another processor",
        |mut i| {
            i.config["architecture"] = json!("riscv64");
            i.described()
        },
        "linux/riscv64",
    ),
    (
        "configuration without layers",
        |mut i| {
            i.config["rootfs"] = json!({});
            i.described()
        },
        "other layers than the configuration",
    ),
    (
        "configuration whose entry point is a word",
        |mut i| {
            i.config["config"]["Entrypoint"] = json!("/bin/a");
            i.described()
        },
        "the configuration: ",
    ),
    (
        "configuration with other layers",
        |mut i| {
            i.config["rootfs"]["diff_ids"][0] = json!(digest(b"x"));
            i.described()
        },
        "layer 1: ",
    ),
];

#[test]
fn image_with_one_part_wrong_is_told_which_with_the_remedy() {
    assert_eq!(Image::good().written().import("good").code, Some(0));
    for (what, change, said) in OF_FILES.into_iter().chain(OF_TEXTS) {
        let image = change(Image::good());
        let image = if image.files.is_empty() { image.written() } else { image };
        image.import(what).is_told(said);
    }
}

#[test]
fn image_with_a_layer_that_leads_elsewhere_is_told_so() {
    let long = "d/".repeat(45);
    let entries: [(&str, &[Entry<'_>]); 7] = [
        ("a way up", &[("../../etc/passwd", EntryType::Regular, "x")]),
        ("a way up further down", &[("bin/../../x", EntryType::Regular, "x")]),
        ("a second name of nothing", &[("bin/b", EntryType::Link, "bin/none")]),
        ("a second name of what is outside", &[("bin/b", EntryType::Link, "../../etc/passwd")]),
        ("a link to nothing", &[("bin/b", EntryType::Symlink, "")]),
        ("a whiteout of nothing", &[("bin/.wh.", EntryType::Regular, "")]),
        (
            "links in a circle",
            &[
                ("l", EntryType::Symlink, "m"),
                ("m", EntryType::Symlink, "l"),
                ("l/x", EntryType::Regular, "x"),
            ],
        ),
    ];
    for (what, entries) in entries {
        with_layer(entries).written().import(what).is_told("layer 2: ");
    }
    let whole = layer(&[(&format!("{long}f"), EntryType::Regular, "text")]);
    for (what, bytes) in [
        ("cut off within an entry", whole[..600].to_vec()),
        ("noise", vec![0x5a; 4096]),
        ("a header with another sum", [&[b'x'; 8][..], &whole[8..]].concat()),
        ("a compressed file that ends early", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1]),
    ] {
        Image::of(vec![layer(&[("bin/a", EntryType::Regular, "text")]), bytes])
            .written()
            .import(what)
            .is_told("layer 2: ");
    }
    // What an app can not have is left out, which is said.
    let said = with_layer(&[("dev/sda", EntryType::Block, ""), ("pipe", EntryType::Fifo, "")])
        .written()
        .import("devices");
    assert!(said.code == Some(0) && said.err.contains("left out, as of"), "{}", said.err);
}

#[test]
fn file_that_is_no_image_is_told_so() {
    let place = tempfile::tempdir().unwrap();
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("a text", b"no image"),
        ("a zip file", b"PK\x03\x04"),
        ("gzip of nothing", b"\x1f\x8b"),
    ] {
        fs::write(place.path().join("it.tar"), bytes).unwrap();
        gabion(place.path(), what, &["import", "it.tar", "app"]).is_told("it.tar: ");
    }
    for (what, manifest) in [
        ("no JSON", "x"),
        ("two images", r#"[{"Config":"a","Layers":[]},{"Config":"b","Layers":[]}]"#),
        ("no configuration", r#"[{"Config":"a.json","Layers":[]}]"#),
    ] {
        fs::create_dir_all(place.path().join("saved")).unwrap();
        fs::write(place.path().join("saved/manifest.json"), manifest).unwrap();
        gabion(place.path(), what, &["import", "saved", "app"]).is_told("saved: ");
    }
}
