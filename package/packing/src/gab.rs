//! A package: one file, a Discoverable Disk Image of the UAPI Group, which `systemd-dissect` and `losetup` open as well.
//!
//! | partition | what |
//! |---|---|
//! | root | the app's file system, with its manifest at [`MANIFEST`] |
//! | root-verity | the hash tree over it, as `veritysetup` writes it |
//! | root-verity-sig | JSON: the root hash, and a PKCS#7 signature over it; only in a package that was signed |
//!
//! All of it follows from the root hash: the partitions are called by it, and the manifest is below it. The same app makes
//! the same file, but for the signature's own time. Where it is read by a device nothing of this file is believed; this is the
//! maker's side, and the developer's.

use crate::command::{output, tool};
use crate::gpt::{self, FILE_GRAIN, Partition};
use crate::verity::{BLOCK, Verified};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the manifest is, which devices look for.
pub use package::gab::MANIFEST;
/// What signatures are over, and how long the partition for one is, bytes.
const SIGNATURE_MAX: usize = package::gab::SIGNATURE_MAX as usize;

/// Who signs a package.
#[derive(Clone, Debug)]
pub struct Signer {
    /// A private key, PEM.
    pub key: PathBuf,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
}

/// Makes the package `to` of an app's image.
///
/// # Errors
/// The image can not be read, the file not written; `openssl` does not sign.
pub fn write(verified: &Verified, signer: Option<&Signer>, to: &Path) -> Result<()> {
    let image = fs::read(&verified.image).with_context(|| format!("reading {}", verified.image.display()))?;
    let data_bytes = usize::try_from(verified.data_blocks * BLOCK)?;
    let (data, tree) = image.split_at_checked(data_bytes).context("an image that is shorter than it says")?;
    let [root, root_verity] = gpt::halves(&verified.root_hash)?;
    let partition = |place, kind, unique, label: &str, bytes: usize| Partition {
        place,
        kind,
        unique,
        label: label.to_owned(),
        attributes: gpt::READ_ONLY,
        bytes: (bytes as u64).next_multiple_of(BLOCK),
    };
    let mut parts = vec![
        (partition(0, gpt::ROOT, root, "app", data.len()), data.to_vec()),
        (partition(1, gpt::ROOT_VERITY, root_verity, "app-verity", tree.len()), tree.to_vec()),
    ];
    if let Some(signer) = signer {
        let text = signature(&verified.root_hash, signer)?.into_bytes();
        let mut unique = [0; 16];
        unique.copy_from_slice(crate::sha256(&[b"signature", &text]).get(..16).unwrap_or(&[0; 16]));
        parts.push((partition(2, gpt::ROOT_SIGNATURE, unique, "app-verity-sig", SIGNATURE_MAX), text));
    }
    let partitions: Vec<Partition> = parts.iter().map(|(partition, _)| partition.clone()).collect();
    let partial = to.with_extension("partial");
    let file: File = gpt::format(&partial, FILE_GRAIN, &partitions)?;
    for (index, (_, content)) in parts.iter().enumerate() {
        file.write_all_at(content, gpt::start(FILE_GRAIN, &partitions, index))?;
    }
    file.sync_all()?;
    fs::rename(&partial, to).with_context(|| format!("writing {}", to.display()))
}

/// The content of the partition for the signature, by the Discoverable Partitions Specification.
fn signature(root_hash: &str, signer: &Signer) -> Result<String> {
    let place = tempfile::tempdir().context("making a directory")?;
    let (message, signed) = (place.path().join("hash"), place.path().join("signed"));
    fs::write(&message, root_hash)?;
    output(
        tool("openssl")
            .args(["smime", "-sign", "-binary", "-noattr", "-nocerts", "-outform", "DER", "-md", "sha256"])
            .arg("-inkey")
            .arg(&signer.key)
            .arg("-signer")
            .arg(&signer.certificate)
            .arg("-in")
            .arg(&message)
            .arg("-out")
            .arg(&signed),
    )?;
    let certificate = place.path().join("certificate");
    output(
        tool("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(&signer.certificate)
            .arg("-out")
            .arg(&certificate),
    )?;
    let fingerprint: String =
        crate::sha256(&[&fs::read(&certificate)?]).iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = output(tool("openssl").args(["base64", "-A", "-in"]).arg(&signed))?;
    let text = serde_json::json!({
        "rootHash": root_hash,
        "certificateFingerprint": fingerprint,
        "signature": base64.trim(),
    });
    let text = text.to_string();
    ensure!(text.len() <= SIGNATURE_MAX, "the signature is longer than {SIGNATURE_MAX} bytes");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app;
    use std::os::unix::fs::symlink;

    fn image(place: &Path) -> Verified {
        let app = place.join("app");
        fs::create_dir_all(app.join("root/bin")).unwrap();
        fs::write(app.join("root/bin/text"), "a line\n".repeat(9000)).unwrap();
        symlink("text", app.join("root/bin/link")).unwrap();
        let manifest = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/text\"]\n";
        fs::write(app.join("manifest.toml"), manifest).unwrap();
        app::root_to_image(&app).unwrap();
        let text = fs::read_to_string(app.join("root.verity")).unwrap();
        Verified::from_text(&app.join("root.img"), &text).unwrap()
    }

    #[test]
    fn package_is_to_systemd_what_it_is_to_us() {
        let place = tempfile::tempdir().unwrap();
        let (verified, to) = (image(place.path()), place.path().join("a.gab"));
        write(&verified, None, &to).unwrap();
        let dissected = output(tool("systemd-dissect").arg(&to)).unwrap();
        let hash = &verified.root_hash;
        // Found by the types of its partitions, and by the root's hash which of them belong together.
        for (kind, what, half) in
            [("root", "erofs", &hash[..32]), ("root-verity", "DM_verity_hash", &hash[32..])]
        {
            let row = dissected.lines().find(|line| line.split_whitespace().nth(1) == Some(kind));
            let row = row.unwrap_or_else(|| panic!("no {kind} in {dissected}"));
            assert!(row.starts_with("ro ") && row.contains(what), "{row}");
            assert_eq!(row.split_whitespace().nth(2).unwrap().replace('-', ""), half, "{row}");
        }
    }

    #[test]
    fn package_is_opened_by_tools_that_know_nothing_of_it() {
        let place = tempfile::tempdir().unwrap();
        let verified = image(place.path());
        let (key, certificate) = (place.path().join("key.pem"), place.path().join("cert.pem"));
        output(
            tool("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-subj",
                    "/CN=a developer",
                    "-keyout",
                ])
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        )
        .unwrap();
        let to = place.path().join("a.gab");
        write(&verified, Some(&Signer { key, certificate: certificate.clone() }), &to).unwrap();
        assert!(output(tool("sfdisk").arg("--verify").arg(&to)).unwrap().contains("No errors detected"));
        let table: serde_json::Value =
            serde_json::from_str(&output(tool("sfdisk").arg("--json").arg(&to)).unwrap()).unwrap();
        let bytes = fs::read(&to).unwrap();
        let part = |index: usize| {
            let part = &table["partitiontable"]["partitions"][index];
            let number = |name: &str| part[name].as_u64().unwrap() as usize * 512;
            bytes[number("start")..number("start") + number("size")].to_vec()
        };
        let path = |name: &str| place.path().join(name);
        fs::write(path("root"), part(0)).unwrap();
        fs::write(path("tree"), part(1)).unwrap();
        output(tool("fsck.erofs").arg(path("root"))).unwrap();
        output(
            tool("veritysetup").arg("verify").arg(path("root")).arg(path("tree")).arg(&verified.root_hash),
        )
        .unwrap();
        let text = String::from_utf8(part(2)).unwrap();
        let said: serde_json::Value = serde_json::from_str(text.trim_end_matches('\0')).unwrap();
        fs::write(path("base64"), said["signature"].as_str().unwrap()).unwrap();
        fs::write(path("hash"), &verified.root_hash).unwrap();
        output(
            tool("openssl")
                .args(["base64", "-d", "-A", "-in"])
                .arg(path("base64"))
                .arg("-out")
                .arg(path("p7")),
        )
        .unwrap();
        let verify = |hash: &str| {
            output(
                tool("openssl")
                    .args(["smime", "-verify", "-binary", "-inform", "DER", "-noverify", "-in"])
                    .arg(path("p7"))
                    .arg("-content")
                    .arg(path(hash))
                    .arg("-certfile")
                    .arg(&certificate),
            )
        };
        verify("hash").unwrap();
        fs::write(path("other"), "00").unwrap();
        assert!(verify("other").is_err());
    }

    #[test]
    fn package_made_twice_is_the_same_file() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = [&one, &two].map(|place| {
            let to = place.path().join("a.gab");
            write(&image(place.path()), None, &to).unwrap();
            fs::read(to).unwrap()
        });
        assert!(made[0] == made[1]);
    }
}
