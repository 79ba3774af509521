//! Images as tools write them, and as nobody should.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use oci::Translated;
use proptest::prelude::*;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// An entry of a layer: its path, as it is; what it is; mode; content or target.
type Entry<'a> = (&'a str, EntryType, u32, &'a str);

fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, mode, text) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        // The library's own setters refuse what an attacker writes.
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..path.len()].copy_from_slice(path.as_bytes());
        let content: &[u8] = if matches!(kind, EntryType::Symlink | EntryType::Link) {
            raw.linkname[..text.len()].copy_from_slice(text.as_bytes());
            &[]
        } else {
            text.as_bytes()
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn file<'a>(path: &'a str, text: &'a str) -> Entry<'a> {
    (path, EntryType::Regular, 0o755, text)
}

fn sha(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Which of the ways of writing an image down.
#[derive(Clone, Copy)]
enum As {
    Layout,
    Archive,
    Saved,
}

fn config(layers: &[Vec<u8>], run: &Value) -> Value {
    let ids: Vec<String> = layers.iter().map(|layer| sha(layer)).collect();
    json!({ "architecture": "amd64", "os": "linux", "config": run, "rootfs": { "type": "layers", "diff_ids": ids } })
}

fn image(place: &Path, written: As, layers: &[Vec<u8>], config: &Value) -> std::path::PathBuf {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut keep = |bytes: Vec<u8>| {
        let name = sha(&bytes);
        files.insert(format!("blobs/{}", name.replace(':', "/")), bytes);
        name
    };
    let config = keep(config.to_string().into_bytes());
    let packed: Vec<String> = layers
        .iter()
        .enumerate()
        .map(|(index, layer)| {
            // The first as it is, the others compressed, each in its way.
            keep(match index % 3 {
                0 => layer.clone(),
                1 => {
                    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                    gzip.write_all(layer).unwrap();
                    gzip.finish().unwrap()
                }
                _ => zstd::encode_all(&layer[..], 1).unwrap(),
            })
        })
        .collect();
    let descriptor = |digest: &String| json!({ "digest": digest, "size": 1, "mediaType": "application/x" });
    if matches!(written, As::Saved) {
        let name = |digest: &String| format!("blobs/{}", digest.replace(':', "/"));
        let saved = json!([{ "Config": name(&config), "RepoTags": null, "Layers": packed.iter().map(name).collect::<Vec<_>>() }]);
        files.insert("manifest.json".to_owned(), saved.to_string().into_bytes());
    } else {
        let layers: Vec<Value> = packed.iter().map(descriptor).collect();
        let manifest = json!({ "schemaVersion": 2, "config": descriptor(&config), "layers": layers });
        let manifest = keep(manifest.to_string().into_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor(&manifest)] });
        files.insert("index.json".to_owned(), index.to_string().into_bytes());
        files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    }
    let to = place.join("image");
    if matches!(written, As::Layout) {
        for (name, bytes) in files {
            fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
            fs::write(to.join(name), bytes).unwrap();
        }
        return to;
    }
    let mut builder = Builder::new(fs::File::create(&to).unwrap());
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap();
    to
}

fn imported(place: &Path, layers: &[Vec<u8>], run: &Value) -> Result<Translated, String> {
    let image = image(place, As::Layout, layers, &config(layers, run));
    oci::import(&image, &place.join("root"), "com.example.a").map_err(|error| error.to_string())
}

fn read(place: &Path, path: &str) -> Option<String> {
    fs::read_to_string(place.join("root").join(path)).ok()
}

#[test]
fn image_is_read_from_each_form_and_its_manifest_is_good() {
    let base = layer(&[
        ("usr/", EntryType::Directory, 0o755, ""),
        file("usr/bin/server", "one"),
        ("bin", EntryType::Symlink, 0o777, "usr/bin"),
        file("etc/old", "x"),
        file("etc/conf.d/a", "x"),
        file("srv/gone/a", "x"),
    ]);
    let upper = layer(&[
        file("bin/tool", "two"),
        file("etc/.wh.old", ""),
        file("etc/conf.d/b", "y"),
        file("etc/conf.d/.wh..wh..opq", ""),
        file("srv/.wh.gone", ""),
        ("usr/bin/again", EntryType::Link, 0o755, "usr/bin/server"),
    ]);
    let third = layer(&[file("usr/bin/server", "three"), file("tmp/x", ""), file("dev/null", "")]);
    let run = json!({
        "User": "app", "ExposedPorts": { "8080/tcp": {}, "9000/udp": {} }, "Volumes": { "/var/lib/x": {} },
        "Env": ["PATH=/bin", "GREETING=a \"b\"", "LD_PRELOAD=x.so"], "Entrypoint": ["server"], "Cmd": ["--port", "8080"],
        "WorkingDir": "/srv", "StopSignal": "SIGQUIT", "Labels": { "org.opencontainers.image.version": "1.22.3" },
    });
    for written in [As::Layout, As::Archive, As::Saved] {
        let place = tempfile::tempdir().unwrap();
        let layers = [base.clone(), upper.clone(), third.clone()];
        let image = image(place.path(), written, &layers, &config(&layers, &run));
        let Translated { manifest, report } =
            oci::import(&image, &place.path().join("root"), "com.example.a").unwrap();
        let place = place.path();
        assert_eq!(read(place, "usr/bin/server").as_deref(), Some("three"));
        assert_eq!(read(place, "usr/bin/again").as_deref(), Some("one"));
        assert_eq!(read(place, "usr/bin/tool").as_deref(), Some("two"));
        assert_eq!(
            (read(place, "etc/old"), read(place, "etc/conf.d/a"), read(place, "srv/gone/a")),
            (None, None, None)
        );
        assert_eq!(read(place, "etc/conf.d/b").as_deref(), Some("y"));
        assert!(place.join("root/data").is_dir() && !place.join("root/tmp/x").exists());
        let checked = policy::check(&manifest, &policy::Board::default()).unwrap();
        let plan = policy::compile(&checked);
        assert_eq!(plan.argv, ["/usr/bin/server", "--port", "8080"]);
        assert_eq!(
            (plan.id.to_string(), plan.version.to_string()),
            ("com.example.a".to_owned(), "1.22.3".to_owned())
        );
        assert!(manifest.contains("\"8080/tcp\"") && manifest.contains("\"9000/udp\""), "{manifest}");
        assert!(!manifest.contains("LD_PRELOAD"), "{manifest}");
        for part in ["LD_PRELOAD", "SIGQUIT", "user app", "/var/lib/x", "/tmp/x", "network"] {
            assert!(report.iter().any(|line| line.contains(part)), "{part}: {report:?}");
        }
    }
}

#[test]
fn image_that_would_write_elsewhere_writes_nothing_there() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, "precious").unwrap();
    let elsewhere = outside.path().to_str().unwrap();
    let (link, up) = (layer(&[("a", EntryType::Symlink, 0o777, elsewhere)]), "../".repeat(20));
    let tries: Vec<Vec<Vec<u8>>> = vec![
        vec![link.clone(), layer(&[file("a/target", "changed")])],
        vec![
            layer(&[("a", EntryType::Symlink, 0o777, &format!("{up}{elsewhere}")[..])]),
            layer(&[file("a/target", "changed")]),
        ],
        vec![layer(&[("a", EntryType::Symlink, 0o777, target.to_str().unwrap()), file("a", "changed")])],
        vec![layer(&[file(&format!("{up}tmp/x")[..], "changed")])],
        vec![layer(&[("b", EntryType::Link, 0o644, target.to_str().unwrap())])],
        vec![layer(&[
            ("a", EntryType::Symlink, 0o777, "b"),
            ("b", EntryType::Symlink, 0o777, "a"),
            file("a/x", ""),
        ])],
        vec![link, layer(&[file("a/.wh.target", "")])],
        vec![layer(&[file("x/.wh...", "")])],
    ];
    for (number, layers) in tries.iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        let result = imported(place.path(), layers, &json!({ "Cmd": ["/a"] }));
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious", "{number}: {result:?}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{number}");
    }
}

#[test]
fn what_no_app_may_have_is_left_out_and_said() {
    let place = tempfile::tempdir().unwrap();
    let layers = [layer(&[
        ("dev/sda", EntryType::Block, 0o660, ""),
        ("etc/fifo", EntryType::Fifo, 0o660, ""),
        ("bin/su", EntryType::Regular, 0o4755, "x"),
    ])];
    let report = imported(place.path(), &layers, &json!({ "Cmd": ["su"] })).unwrap().report.join("\n");
    assert!(
        report.contains("etc/fifo") && report.contains("set-uid") && report.contains("bin/su"),
        "{report}"
    );
    assert!(!place.path().join("root/etc/fifo").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(place.path().join("root/bin/su")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn image_that_is_damaged_or_for_another_machine_is_refused_with_the_reason() {
    let layers = [layer(&[file("a", "b")])];
    let good = config(&layers, &json!({}));
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed
    };
    let cases = [
        (with("architecture", json!("s390x")), "s390x"),
        (with("rootfs", json!({ "diff_ids": [] })), "layers"),
        (with("rootfs", json!({ "diff_ids": [sha(b"another")] })), "digest"),
    ];
    for (config, says) in cases {
        let place = tempfile::tempdir().unwrap();
        let image = image(place.path(), As::Layout, &layers, &config);
        let error = oci::import(&image, &place.path().join("root"), "com.example.a").unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let place = tempfile::tempdir().unwrap();
    let image = image(place.path(), As::Archive, &layers, &good);
    let whole = fs::read(&image).unwrap();
    // Behind the index, which is padded to a block, nothing is needed any more.
    let index = whole.windows(10).rposition(|window| window == b"oci-layout").unwrap();
    for cut in (0..whole.len()).step_by(97) {
        fs::write(&image, &whole[..cut]).unwrap();
        let root = place.path().join(format!("root-{cut}"));
        let result = oci::import(&image, &root, "com.example.a");
        assert_eq!(result.is_ok(), root.exists());
        assert!(result.is_err() || cut + 512 >= index, "{cut} of {}", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_layers_stay_below_the_root(
        entries in proptest::collection::vec(("[ab./]{1,12}", 0..4_u8, "[ab./]{1,12}"), 1..24),
        split in 0..24_usize,
    ) {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a"), "precious").unwrap();
        let kinds = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link];
        let all: Vec<Entry<'_>> =
            entries.iter().map(|(path, kind, text)| (&path[..], kinds[usize::from(*kind)], 0o755, &text[..])).collect();
        let (one, two) = all.split_at(split.min(all.len()));
        let _ = imported(place.path(), &[layer(one), layer(two)], &json!({ "Cmd": ["a"] }));
        let mut names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| !["a", "image", "root"].contains(&name.to_str().unwrap()));
        prop_assert!(names.is_empty(), "{names:?}");
        prop_assert_eq!(fs::read_to_string(place.path().join("a")).unwrap(), "precious");
    }
}
