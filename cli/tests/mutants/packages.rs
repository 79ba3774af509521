//! Packages with bytes changed where they mean something: tables, the hash tree, the signature, the file system, the manifest in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use packing::gab::{self, Signer};
use packing::{erofs, verity};

use crate::gabion;

const UUID: &str = packing::app::UUID;
const MANIFEST: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";

/// A folder with a key, its certificate and a file system to pack.
struct Maker {
    place: tempfile::TempDir,
}

impl Maker {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for name in ["own", "other"] {
            let at = |end: &str| place.path().join(format!("{name}.{end}"));
            let mut openssl = Command::new("openssl");
            openssl.args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-subj",
                "/CN=a",
            ]);
            let done = openssl.arg("-keyout").arg(at("key")).arg("-out").arg(at("pem")).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        Self { place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A root of an app, changed by `more`.
    fn root(&self, more: impl FnOnce(&Path)) -> PathBuf {
        let root = self.path("root");
        let _ = fs::remove_dir_all(&root);
        for (path, text) in [("bin/a", "a line\n".repeat(20_000)), (gab::MANIFEST, MANIFEST.to_owned())] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::set_permissions(root.join("bin/a"), fs::Permissions::from_mode(0o755)).unwrap();
        more(&root);
        root
    }

    /// The package of a root whose image was changed by `change`, with a hash tree over that.
    fn package(&self, root: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let image = self.path("root.img");
        let _ = fs::remove_file(&image);
        erofs::format(root, UUID, &image).unwrap();
        let mut bytes = fs::read(&image).unwrap();
        change(&mut bytes);
        fs::write(&image, bytes).unwrap();
        let verified = verity::append(&image, UUID).unwrap();
        let signer = Signer { key: self.path("own.key"), certificate: self.path("own.pem") };
        let to = self.path("made.gab");
        gab::write(&verified, Some(&signer), &to).unwrap();
        fs::read(to).unwrap()
    }

    /// It is refused for this part.
    #[track_caller]
    fn refused(&self, what: &str, package: &[u8], part: &str) {
        fs::write(self.path("it.gab"), package).unwrap();
        gabion(self.place.path(), what, &["check", "it.gab"]).is_told(part);
    }

    #[track_caller]
    fn refused_by(&self, certificate: &str, what: &str, package: &[u8], part: &str) {
        fs::write(self.path("it.gab"), package).unwrap();
        gabion(self.place.path(), what, &["check", "it.gab", "--certificate", certificate]).is_told(part);
    }
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let sum = bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    });
    (!sum).to_le_bytes()
}

fn number(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

/// Changes the entries of both tables, and makes the sums right again.
fn entries(package: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut package = package.to_vec();
    for header in [512, package.len() - 512] {
        let table = number(&package, header + 72) * 512;
        change(&mut package[table..table + 128 * 128]);
        let sum = crc32(&package[table..table + 128 * 128]);
        package[header + 88..header + 92].copy_from_slice(&sum);
        package[header + 16..header + 20].fill(0);
        let sum = crc32(&package[header..header + 92]);
        package[header + 16..header + 20].copy_from_slice(&sum);
    }
    package
}

/// Where a partition begins and ends.
fn partition(package: &[u8], index: usize) -> std::ops::Range<usize> {
    let entry = 1024 + 128 * index;
    number(package, entry + 32) * 512..(number(package, entry + 40) + 1) * 512
}

fn flipped(package: &[u8], at: usize) -> Vec<u8> {
    let mut package = package.to_vec();
    package[at] ^= 1;
    package
}

#[test]
fn package_with_a_byte_changed_in_a_table_is_told_so() {
    let maker = Maker::new();
    let good = maker.package(&maker.root(|_| ()), |_| ());
    fs::write(maker.path("it.gab"), &good).unwrap();
    let said = gabion(maker.place.path(), "good", &["check", "it.gab", "--certificate", "own.pem"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let table = "partition table: ";
    let backup = good.len() - 512;
    for at in [
        450,
        510,
        512,
        520,
        524,
        528,
        536,
        544,
        552,
        560,
        568,
        584,
        592,
        596,
        600,
        backup,
        backup + 24,
        backup + 72,
    ] {
        maker.refused(&format!("byte {at}"), &flipped(&good, at), table);
    }
    for at in [1024, 1040, 1056, 1064, 1072, 1080, 1152, 1280, 1280 + 32, 1408] {
        maker.refused(&format!("entry at {at}"), &flipped(&good, at), table);
    }
    type Change = (&'static str, &'static dyn Fn(&mut [u8]));
    let changes: [Change; 9] = [
        ("a root of another type", &|entries| entries[0] ^= 1),
        ("a tree of another type", &|entries| entries[128] ^= 1),
        ("a signature of another type", &|entries| entries[256] ^= 1),
        ("a root that begins outside", &|entries| entries[32 + 7] = 1),
        ("a root that ends outside", &|entries| entries[40 + 4] = 1),
        ("a root that ends before it begins", &|entries| entries[40..48].fill(0)),
        ("a tree over the root", &|entries| entries.copy_within(32..40, 128 + 32)),
        ("a fourth partition", &|entries| {
            entries.copy_within(256..384, 384);
            entries.copy_within(256 + 40..256 + 48, 384 + 32);
        }),
        ("no partition", &|entries| entries.fill(0)),
    ];
    for (what, change) in changes {
        maker.refused(what, &entries(&good, change), table);
    }
    for (what, package) in [
        ("cut off", good[..good.len() - 4096].to_vec()),
        ("longer", [&good[..], &[0; 512]].concat()),
        ("no whole sector", [&good[..], &[0; 5]].concat()),
        ("empty", Vec::new()),
        ("a text", MANIFEST.into()),
        ("half", good[..good.len() / 2].to_vec()),
    ] {
        maker.refused(what, &package, table);
    }
    // Names that follow from the root hash.
    maker.refused(
        "root called otherwise",
        &entries(&good, |entries| entries[16] ^= 1),
        "root: its root hash is ",
    );
    maker.refused(
        "tree called otherwise",
        &entries(&good, |entries| entries[128 + 16] ^= 1),
        "root: its root hash is ",
    );
}

#[test]
fn package_with_a_byte_changed_below_the_root_hash_is_told_so() {
    let maker = Maker::new();
    let good = maker.package(&maker.root(|_| ()), |_| ());
    let (root, tree) = (partition(&good, 0), partition(&good, 1));
    for at in
        [root.start, root.start + 1024, root.start + 1500, root.end - 1, tree.start + 4096, tree.end - 4096]
    {
        maker.refused(&format!("byte {at}"), &flipped(&good, at), "hash tree: ");
    }
    for at in [0, 8, 12, 32, 64, 68, 72, 80, 88] {
        maker.refused(
            &format!("superblock of the tree, {at}"),
            &flipped(&good, tree.start + at),
            "hash tree: ",
        );
    }
}

#[test]
fn package_with_another_signature_is_told_so() {
    let maker = Maker::new();
    let good = maker.package(&maker.root(|_| ()), |_| ());
    let at = partition(&good, 2);
    let text = String::from_utf8(good[at.clone()].to_vec()).unwrap();
    let text = text.trim_end_matches('\0');
    let with = |text: &str| {
        let mut package = good.clone();
        package[at.clone()].fill(0);
        package[at.start..at.start + text.len()].copy_from_slice(text.as_bytes());
        package
    };
    let said: serde_json::Value = serde_json::from_str(text).unwrap();
    let hash = said["rootHash"].as_str().unwrap();
    let fingerprint = said["certificateFingerprint"].as_str().unwrap();
    let signature = said["signature"].as_str().unwrap();
    for (what, text) in [
        ("empty", String::new()),
        ("no JSON", text.replace('{', "(")),
        ("a list", "[]".to_owned()),
        ("no root hash", text.replace("rootHash", "hash")),
        ("another root hash", text.replace(hash, &"0".repeat(64))),
        ("no fingerprint", text.replace(fingerprint, "")),
        ("no hex", text.replace(fingerprint, &"x".repeat(64))),
        ("no signature", text.replace(signature, "")),
        ("no base64", text.replace(signature, "!!!!")),
        ("no PKCS#7", text.replace(signature, "aGVsbG8=")),
    ] {
        maker.refused(what, &with(&text), "signature: ");
    }
    // These take the certificate to be seen.
    let middle = signature.len() - 20;
    let changed = format!(
        "{}{}{}",
        &signature[..middle],
        if &signature[middle..=middle] == "A" { "B" } else { "A" },
        &signature[middle + 1..]
    );
    maker.refused_by(
        "own.pem",
        "signature changed",
        &with(&text.replace(signature, &changed)),
        "signature: ",
    );
    maker.refused_by("other.pem", "by somebody else", &good, "signature: it is by the certificate");
    let plain = entries(&good, |entries| entries[256..384].fill(0));
    maker.refused_by("own.pem", "taken away", &plain, "signature: there is none");
}

#[test]
fn package_whose_file_system_is_none_of_ours_is_told_so() {
    let maker = Maker::new();
    let root = maker.root(|_| ());
    // The superblock's magic, sum, features, block size, root, inodes, blocks, extra devices; the root's inode.
    for at in [1024, 1028, 1032, 1036, 1038, 1064, 1104, 1110] {
        let package = maker.package(&root, |image| image[at] ^= 0x41);
        maker.refused(&format!("byte {at} of the image"), &package, "root: not fit for a package: ");
    }
    type Make = (&'static str, &'static dyn Fn(&Path), &'static str);
    let makes: [Make; 5] = [
        (
            "setuid",
            &|root| fs::set_permissions(root.join("bin/a"), fs::Permissions::from_mode(0o4755)).unwrap(),
            "bin/a is setuid",
        ),
        (
            "a fifo",
            &|root| nix::unistd::mkfifo(&root.join("bin/b"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "bin/b is a FIFO",
        ),
        ("a link that is too long", &|root| symlink("x/".repeat(2000), root.join("bin/l")).unwrap(), "bin/l"),
        ("no manifest", &|root| fs::remove_file(root.join(gab::MANIFEST)).unwrap(), "manifest: there is no "),
        (
            "a manifest with a problem",
            &|root| fs::write(root.join(gab::MANIFEST), format!("{MANIFEST}[netwrok]\n")).unwrap(),
            "--> it.gab/usr/share/gabion/manifest.toml:5:2",
        ),
    ];
    for (what, make, said) in makes {
        maker.refused(what, &maker.package(&maker.root(make), |_| ()), said);
    }
}
