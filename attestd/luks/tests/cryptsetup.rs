//! Our headers read by `cryptsetup`, and its headers by us.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use luks::{DATA_OFFSET, Error, Opened, RecoveryKey, Unlock};
use tempfile::TempDir;

const PASSPHRASE: [u8; 32] = [0x1b; 32];

struct Disk {
    folder: TempDir,
}

impl Disk {
    /// A sparse one with 4 MiB for data.
    fn new() -> Result<Self> {
        let disk = Self { folder: TempDir::new()? };
        File::create(disk.path("disk"))?.set_len(DATA_OFFSET + (4 << 20))?;
        fs::write(disk.path("passphrase"), PASSPHRASE)?;
        Ok(disk)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> Result<File> {
        Ok(OpenOptions::new().read(true).write(true).open(self.path("disk"))?)
    }

    fn cryptsetup(&self, line: &str) -> Result<String> {
        let output = Command::new("/usr/sbin/cryptsetup")
            .args(line.split(' '))
            .current_dir(self.folder.path())
            .output()?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn create(disk: &mut (impl Write + Seek), recovery: Option<&str>) -> Result<Opened, Error> {
    let unlock = Unlock { passphrase: &PASSPHRASE, token: b"sealed in the tpm", recovery };
    luks::create(disk, &unlock, |_| Ok(()))
}

#[test]
fn header_of_ours_opens_for_cryptsetup_by_passphrase_and_recovery_key() -> Result<()> {
    let disk = Disk::new()?;
    let recovery = RecoveryKey::generate()?;
    let made = create(&mut disk.open()?, Some(recovery.text()))?;
    fs::write(disk.path("recovery"), recovery.text())?;
    fs::write(disk.path("wrong"), [&PASSPHRASE[1..], &[0]].concat())?;
    let dump = disk.cryptsetup("luksDump disk")?;
    for said in
        ["Version:       \t2", made.header.uuid(), "gabion-tpm2", "aes-xts-plain64", "16777216 [bytes]"]
    {
        assert!(dump.contains(said), "{said} in {dump}");
    }
    for name in ["passphrase", "recovery"] {
        disk.cryptsetup(&format!("open --test-passphrase --key-file {name} disk"))?;
        let out = format!("{name}.key");
        disk.cryptsetup(&format!(
            "luksDump -q --dump-volume-key --volume-key-file {out} --key-file {name} disk"
        ))?;
        assert_eq!(fs::read(disk.path(&out))?, made.key.bytes());
    }
    assert!(disk.cryptsetup("open --test-passphrase --key-file wrong disk").is_err());
    // cryptsetup finds nothing to repair in it.
    disk.cryptsetup("repair -q disk")?;
    disk.cryptsetup("luksUUID disk")?;
    Ok(())
}

#[test]
fn header_of_ours_reads_back_and_opens() -> Result<()> {
    let disk = Disk::new()?;
    let recovery = RecoveryKey::generate()?;
    let made = create(&mut disk.open()?, Some(recovery.text()))?;
    let mut file = disk.open()?;
    let header = luks::read(&mut file)?;
    assert_eq!(header, made.header);
    assert_eq!(header.token(), Some(&b"sealed in the tpm"[..]));
    for passphrase in [&PASSPHRASE[..], recovery.text().as_bytes()] {
        assert_eq!(luks::open(&mut file, &header, passphrase)?.bytes(), made.key.bytes());
    }
    assert!(matches!(luks::open(&mut file, &header, b"another"), Err(Error::Passphrase)));
    Ok(())
}

#[test]
fn header_of_cryptsetups_opens_and_one_with_another_derivation_is_foreign() -> Result<()> {
    for sector in [512, 4096] {
        let disk = Disk::new()?;
        disk.cryptsetup(&format!(
            "luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 -s 512 --sector-size {sector} --key-file passphrase disk"
        ))?;
        let mut file = disk.open()?;
        let header = luks::read(&mut file)?;
        assert_eq!((header.sector(), header.token()), (sector, None));
        let key = luks::open(&mut file, &header, &PASSPHRASE)?;
        disk.cryptsetup("luksDump -q --dump-volume-key --volume-key-file key --key-file passphrase disk")?;
        assert_eq!(fs::read(disk.path("key"))?, key.bytes());
    }
    let disk = Disk::new()?;
    disk.cryptsetup("luksFormat -q --type luks2 --pbkdf-memory 32 --pbkdf-force-iterations 4 -s 512 --key-file passphrase disk")?;
    assert!(matches!(luks::read(&mut disk.open()?), Err(Error::Foreign(_))));
    Ok(())
}

#[test]
fn recovery_key_put_in_later_opens_for_cryptsetup_in_place_of_the_one_before() -> Result<()> {
    let disk = Disk::new()?;
    let [first, second, third] = [(); 3].map(|()| RecoveryKey::generate());
    let keys = [first?, second?, third?];
    let made = create(&mut disk.open()?, Some(keys[0].text()))?;
    let mut header = made.header.clone();
    for (number, recovery) in keys.iter().enumerate().skip(1) {
        header = luks::set_recovery(&mut disk.open()?, &header, &made.key, recovery.text())?;
        assert_eq!(luks::read(&mut disk.open()?)?, header);
        fs::write(disk.path("before"), keys[number - 1].text())?;
        fs::write(disk.path("recovery"), recovery.text())?;
        for name in ["recovery", "passphrase"] {
            disk.cryptsetup(&format!("open --test-passphrase --key-file {name} disk"))?;
        }
        assert!(disk.cryptsetup("open --test-passphrase --key-file before disk").is_err());
        disk.cryptsetup("repair -q disk")?;
    }
    assert_eq!(header.token(), made.header.token());
    // cryptsetup gives a slot of its own the place; ours is not put over it.
    disk.cryptsetup("luksKillSlot -q --key-file passphrase disk 1")?;
    disk.cryptsetup("luksAddKey -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-slot 5 --key-file passphrase disk recovery")?;
    let before = fs::read(disk.path("disk"))?;
    let header = luks::read(&mut disk.open()?)?;
    let refused = luks::set_recovery(&mut disk.open()?, &header, &made.key, keys[0].text());
    assert!(matches!(refused, Err(Error::Foreign(_))));
    assert!(fs::read(disk.path("disk"))? == before);
    Ok(())
}

#[test]
fn damaged_first_copy_is_made_good_by_the_second_for_both() -> Result<()> {
    let disk = Disk::new()?;
    let made = create(&mut disk.open()?, None)?;
    let mut file = disk.open()?;
    file.write_all(&[0; 4096])?;
    assert_eq!(luks::read(&mut file)?, made.header);
    disk.cryptsetup("open --test-passphrase --key-file passphrase disk")?;
    Ok(())
}

/// A disk that has lost its power after so many bytes.
struct Cut {
    disk: Cursor<Vec<u8>>,
    left: usize,
}

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        if taken == 0 { Err(io::ErrorKind::Other.into()) } else { self.disk.write(&bytes[..taken]) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cut {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

#[test]
fn header_that_a_power_cut_stopped_is_the_old_one_absent_or_the_new_one() -> Result<()> {
    const COPY: usize = 16 * 1024;
    let whole = COPY + 512 + 2 * 256_000 + 2 * COPY;
    let ends = [COPY, COPY + 512, whole - 2 * COPY, whole - COPY, whole];
    let steps = (0..whole).step_by(51_200).chain(ends.iter().flat_map(|end| [end - 512, *end]));
    let (mut olds, mut news) = (0, 0);
    for left in steps {
        // The disk of somebody who had one before, of which nothing but the header counts.
        let mut old = Cursor::new(vec![0; 1 << 20]);
        let before = create(&mut old, None)?;
        let mut cut = Cut { disk: old, left };
        let made = create(&mut cut, Some("recovery"));
        assert_eq!(made.is_ok(), left == whole, "{left}");
        match luks::read(&mut cut.disk) {
            Ok(header) => {
                luks::open(&mut cut.disk, &header, &PASSPHRASE)?;
                let count = if header == before.header { &mut olds } else { &mut news };
                *count += 1;
            }
            Err(Error::Absent) => {}
            Err(other) => return Err(other).with_context(|| format!("after {left} bytes")),
        }
    }
    assert!(olds > 1 && news > 1, "{olds} {news}");
    Ok(())
}

#[test]
fn token_that_does_not_fit_is_refused_before_anything_is_written() -> Result<()> {
    let disk = Disk::new()?;
    let unlock = Unlock { passphrase: &PASSPHRASE, token: &[0; luks::MOST_TOKEN + 1], recovery: None };
    assert!(matches!(luks::create(&mut disk.open()?, &unlock, |_| Ok(())), Err(Error::TooLong)));
    let mut first = [0; 16];
    disk.open()?.read_exact(&mut first)?;
    assert_eq!(first, [0; 16]);
    let unlock = Unlock { token: &[0; luks::MOST_TOKEN], ..unlock };
    luks::create(&mut disk.open()?, &unlock, |_| Ok(()))?;
    disk.cryptsetup("open --test-passphrase --key-file passphrase disk")?;
    Ok(())
}
