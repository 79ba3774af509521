//! A header on a disk: written so that a power cut leaves none or a whole one, read, and opened.

use std::io::{Read, Seek, SeekFrom, Write};

use zeroize::Zeroizing;

use crate::binary::{self, Binary, SIZE};
use crate::error::Error;
use crate::json::{self, Derivation, Header, ITERATIONS, MOST_TOKEN, SECTOR, Slot};
use crate::slot::{self, MATERIAL, VolumeKey};

/// Bytes that every medium writes whole or not at all.
const LEAST_SECTOR: usize = 512;

/// The slot of recovery keys.
const RECOVERY: u8 = 1;

/// What opens a new disk, and what is kept beside it.
pub struct Unlock<'a> {
    /// The passphrase of slot 0: 32 random bytes, as a TPM keeps them.
    pub passphrase: &'a [u8],
    /// What brings it back, for the token: at most [`MOST_TOKEN`] bytes.
    pub token: &'a [u8],
    /// The text of the recovery key, for slot 1, if there is to be one.
    pub recovery: Option<&'a str>,
}

/// A header and the volume key that is in it.
pub struct Opened {
    /// The header.
    pub header: Header,
    /// The key of the data.
    pub key: VolumeKey,
}

/// Makes a new header on `disk`, which forgets what was there. `sync` brings to the medium what was written before it.
///
/// What was there goes first, its second copy, then the first sector. Then come the slots, the second copy, and the first at
/// last: so wherever that is cut short, there is the old header, none ([`Error::Absent`]), or the new one, as long as the
/// medium writes a sector whole or not at all.
///
/// # Errors
/// See [`Error`].
pub fn create<D: Write + Seek>(
    disk: &mut D,
    unlock: &Unlock<'_>,
    mut sync: impl FnMut(&mut D) -> std::io::Result<()>,
) -> Result<Opened, Error> {
    if unlock.token.len() > MOST_TOKEN {
        return Err(Error::TooLong);
    }
    write_at(disk, SIZE as u64, &[0; SIZE])?;
    sync(disk)?;
    write_at(disk, 0, &[0; LEAST_SECTOR])?;
    sync(disk)?;
    let key = VolumeKey::generate()?;
    let derivation = fresh()?;
    let mut header = Header {
        binary: Binary { sequence: 1, uuid: uuid()? },
        slots: [].into(),
        digest: key.digest(&derivation),
        derivation,
        sector: SECTOR,
        token: Some(unlock.token.to_vec()),
    };
    let passphrases = [Some(unlock.passphrase), unlock.recovery.map(str::as_bytes)];
    for (number, passphrase) in (0..).zip(passphrases.into_iter().flatten()) {
        let slot = Slot { offset: json::area(number), derivation: fresh()? };
        write_at(disk, slot.offset, &slot::lock(&key, passphrase, &slot.derivation)?)?;
        header.slots.insert(number, slot);
    }
    sync(disk)?;
    let mut salts = [[0; 64]; 2];
    salts.iter_mut().try_for_each(|salt| slot::random(salt))?;
    let both = binary::write(&header.binary, &json::write(&header)?, &salts)?;
    let (first, second) = both.split_at(SIZE);
    write_at(disk, SIZE as u64, second)?;
    sync(disk)?;
    write_at(disk, 0, first)?;
    sync(disk)?;
    Ok(Opened { header, key })
}

/// Reads the header.
///
/// # Errors
/// See [`Error`].
pub fn read<D: Read + Seek>(disk: &mut D) -> Result<Header, Error> {
    let both = read_at(disk, 0, 2 * SIZE)?;
    let (binary, text) = binary::read(&both)?;
    json::read(binary, text)
}

/// The volume key, by the first slot that opens with `passphrase`.
///
/// # Errors
/// See [`Error`]; [`Error::Passphrase`] if none does.
pub fn open<D: Read + Seek>(disk: &mut D, header: &Header, passphrase: &[u8]) -> Result<VolumeKey, Error> {
    for slot in header.slots.values() {
        let area = read_at(disk, slot.offset, MATERIAL)?;
        let key = slot::unlock(area, passphrase, &slot.derivation);
        if let Some(key) = key.filter(|key| key.digest(&header.derivation) == header.digest) {
            return Ok(key);
        }
    }
    Err(Error::Passphrase)
}

/// Puts a recovery key into slot 1, in place of the one that is there, and a header that says so in both its places.
///
/// In this order it is for memory: whoever brings it to a medium writes the slot, then the second copy, then the first, each on
/// the medium before the next. Wherever that is cut short, slot 0 opens.
///
/// # Errors
/// See [`Error`]; [`Error::Foreign`] if another slot lies where ours belongs.
pub fn set_recovery<D: Write + Seek>(
    disk: &mut D,
    header: &Header,
    key: &VolumeKey,
    recovery: &str,
) -> Result<Header, Error> {
    let mut header = header.clone();
    header.binary.sequence = header.binary.sequence.checked_add(1).ok_or(Error::TooLong)?;
    let slot = Slot { offset: json::area(RECOVERY), derivation: fresh()? };
    let area = slot::lock(key, recovery.as_bytes(), &slot.derivation)?;
    let offset = slot.offset;
    header.slots.insert(RECOVERY, slot);
    let text = json::write(&header)?;
    // Not over what somebody else put there.
    json::read(header.binary.clone(), &text)?;
    let mut salts = [[0; 64]; 2];
    salts.iter_mut().try_for_each(|salt| slot::random(salt))?;
    let both = binary::write(&header.binary, &text, &salts)?;
    write_at(disk, offset, &area)?;
    write_at(disk, 0, &both)?;
    Ok(header)
}

fn fresh() -> Result<Derivation, Error> {
    let mut salt = [0; 32];
    slot::random(&mut salt)?;
    Ok(Derivation { iterations: ITERATIONS, salt })
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> Result<String, Error> {
    let mut bytes = [0; 16];
    slot::random(&mut bytes)?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(3 << 62) | 4 << 76 | 2 << 62;
    let text = format!("{number:032x}");
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| text.get(group).unwrap_or_default());
    Ok(groups.join("-"))
}

fn write_at<D: Write + Seek>(disk: &mut D, offset: u64, bytes: &[u8]) -> Result<(), Error> {
    disk.seek(SeekFrom::Start(offset))?;
    Ok(disk.write_all(bytes)?)
}

fn read_at<D: Read + Seek>(disk: &mut D, offset: u64, length: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    disk.seek(SeekFrom::Start(offset))?;
    disk.read_exact(&mut bytes)?;
    Ok(bytes)
}
