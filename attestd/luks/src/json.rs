//! The JSON behind the binary part (clause 3): which slots there are and where, how their keys are derived, what is
//! encrypted, and a token with what the TPM has sealed.
//!
//! Read strictly: a field that is not known, or a value other than ours, is a header that is not ours. What has to be right
//! besides: the areas of slots lie apart from each other, behind the header and before the data.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::binary::{BINARY, Binary, SIZE};
use crate::error::Error;
use crate::slot::{KEY, MATERIAL, STRIPES};

/// Where the data begins, in bytes: where `cryptsetup` has it.
pub const DATA_OFFSET: u64 = 16 * 1024 * 1024;

/// Bytes of a sector of the data, of which each has its own tweak: its number in units of 512 bytes.
pub const SECTOR: u32 = 4096;

/// The longest token.
pub const MOST_TOKEN: usize = 4096;

/// The least that `cryptsetup` takes. Our passphrases can't be guessed, so more would only cost time.
pub(crate) const ITERATIONS: u32 = 1000;

/// The most that is read: some seconds of a small processor, which whoever has the disk could take in any case.
const MOST_ITERATIONS: u32 = 5_000_000;

/// The most slots that are read: `cryptsetup` has as many.
const MOST_SLOTS: usize = 32;

/// Bytes that a slot takes, whole pages.
const AREA: u64 = (MATERIAL as u64).next_multiple_of(4096);

const CIPHER: &str = "aes-xts-plain64";
const TOKEN: &str = "gabion-tpm2";

/// PBKDF2 with HMAC-SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Derivation {
    pub(crate) iterations: u32,
    pub(crate) salt: [u8; 32],
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) offset: u64,
    pub(crate) derivation: Derivation,
}

/// A header that was read, or is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub(crate) binary: Binary,
    pub(crate) slots: BTreeMap<u8, Slot>,
    pub(crate) digest: [u8; 32],
    pub(crate) derivation: Derivation,
    pub(crate) sector: u32,
    pub(crate) token: Option<Vec<u8>>,
}

impl Header {
    /// Reads the JSON of a header alone, as it is once its binary part is known to be whole. There is no UUID then.
    ///
    /// # Errors
    /// [`Error::Foreign`].
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        read(Binary { sequence: 0, uuid: String::new() }, text)
    }

    /// Its JSON, as we write it.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        write(self)
    }

    /// The disk's UUID.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.binary.uuid
    }

    /// What is kept with the slot of the TPM.
    #[must_use]
    pub fn token(&self) -> Option<&[u8]> {
        self.token.as_deref()
    }

    /// Bytes of a sector of the data: 512 or 4096. Tweaks count in units of 512 bytes whatever it is.
    #[must_use]
    pub fn sector(&self) -> u32 {
        self.sector
    }
}

/// Where the slot with this number is, when we make it.
pub(crate) fn area(slot: u8) -> u64 {
    2 * SIZE as u64 + u64::from(slot) * AREA
}

pub(crate) fn write(header: &Header) -> Result<Vec<u8>, Error> {
    let slots: Vec<String> = header.slots.keys().map(u8::to_string).collect();
    let keyslots = header.slots.iter().map(|(number, slot)| (number.to_string(), Keyslot::of(slot)));
    let tokens = header.token.as_deref().map(|sealed| {
        let first = slots.first().cloned().into_iter().collect();
        let token = Token { kind: TOKEN.into(), keyslots: first, sealed: STANDARD.encode(sealed) };
        ("0".to_owned(), token)
    });
    let root = Root {
        keyslots: keyslots.collect(),
        tokens: tokens.into_iter().collect(),
        segments: [("0".to_owned(), Segment::of(header.sector))].into(),
        digests: [("0".to_owned(), Digest::of(header, slots))].into(),
        config: Config {
            json_size: (SIZE - BINARY).to_string(),
            keyslots_size: (DATA_OFFSET - 2 * SIZE as u64).to_string(),
        },
    };
    let text = serde_json::to_vec(&root).map_err(|_| Error::TooLong)?;
    if text.len() < SIZE - BINARY { Ok(text) } else { Err(Error::TooLong) }
}

pub(crate) fn read(binary: Binary, text: &[u8]) -> Result<Header, Error> {
    let root: Root = serde_json::from_slice(text).map_err(|_| Error::Foreign("a field that is not known"))?;
    if root.config.json_size != (SIZE - BINARY).to_string() {
        return Err(Error::Foreign("the size of its text"));
    }
    let mut slots = BTreeMap::new();
    for (number, slot) in &root.keyslots {
        let number = number.parse::<u8>().ok().filter(|number| usize::from(*number) < MOST_SLOTS);
        let number = number.ok_or(Error::Foreign("the number of a slot"))?;
        if slots.insert(number, slot.checked()?).is_some() {
            return Err(Error::Foreign("two slots with one number"));
        }
    }
    let mut offsets: Vec<u64> = slots.values().map(|slot| slot.offset).collect();
    offsets.sort_unstable();
    if offsets.windows(2).any(|pair| matches!(pair, [one, other] if other - one < AREA)) {
        return Err(Error::Foreign("slots that lie over each other"));
    }
    let segment = only(&root.segments, "segments")?;
    let sector = segment.sector_size;
    if *segment != Segment::of(sector) || !matches!(sector, 512 | 4096) {
        return Err(Error::Foreign("its segment"));
    }
    let digest = only(&root.digests, "digests")?;
    if digest.kind != "pbkdf2" || digest.hash != "sha256" || digest.segments != ["0"] {
        return Err(Error::Foreign("its digest"));
    }
    let derivation = derivation(digest.iterations, &digest.salt)?;
    let sum = STANDARD.decode(&digest.digest).ok().and_then(|bytes| bytes.try_into().ok());
    let token = match root.tokens.len() {
        0 => None,
        _ => Some(only(&root.tokens, "tokens")?.checked()?),
    };
    Ok(Header {
        binary,
        slots,
        digest: sum.ok_or(Error::Foreign("the length of its digest"))?,
        derivation,
        sector,
        token,
    })
}

/// The only one, which has the number 0.
fn only<'a, V>(all: &'a BTreeMap<String, V>, what: &'static str) -> Result<&'a V, Error> {
    all.get("0").filter(|_| all.len() == 1).ok_or(Error::Foreign(what))
}

fn derivation(iterations: u32, salt: &str) -> Result<Derivation, Error> {
    let salt = STANDARD.decode(salt).ok().and_then(|bytes| bytes.try_into().ok());
    let salt = salt.ok_or(Error::Foreign("the length of a salt"))?;
    if (1..=MOST_ITERATIONS).contains(&iterations) {
        Ok(Derivation { iterations, salt })
    } else {
        Err(Error::Foreign("too many iterations"))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    keyslots: BTreeMap<String, Keyslot>,
    tokens: BTreeMap<String, Token>,
    segments: BTreeMap<String, Segment>,
    digests: BTreeMap<String, Digest>,
    config: Config,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keyslot {
    #[serde(rename = "type")]
    kind: String,
    key_size: usize,
    af: Splitter,
    area: Area,
    kdf: Kdf,
}

impl Keyslot {
    fn of(slot: &Slot) -> Self {
        Self {
            kind: "luks2".into(),
            key_size: KEY,
            af: Splitter { kind: "luks1".into(), stripes: STRIPES, hash: "sha256".into() },
            area: Area {
                kind: "raw".into(),
                offset: slot.offset.to_string(),
                size: AREA.to_string(),
                encryption: CIPHER.into(),
                key_size: KEY,
            },
            kdf: Kdf {
                kind: "pbkdf2".into(),
                hash: "sha256".into(),
                iterations: slot.derivation.iterations,
                salt: STANDARD.encode(slot.derivation.salt),
            },
        }
    }

    fn checked(&self) -> Result<Slot, Error> {
        let offset = self.area.offset.parse::<u64>().ok();
        let fits = |offset: &u64| {
            *offset >= 2 * SIZE as u64 && *offset <= DATA_OFFSET - AREA && offset.is_multiple_of(4096)
        };
        let offset = offset.filter(fits).ok_or(Error::Foreign("the place of a slot"))?;
        let slot = Slot { offset, derivation: derivation(self.kdf.iterations, &self.kdf.salt)? };
        let ours = Self::of(&slot);
        let is_ours = self.kind == ours.kind
            && self.key_size == ours.key_size
            && self.af == ours.af
            && self.area == ours.area
            && self.kdf.kind == ours.kdf.kind
            && self.kdf.hash == ours.kdf.hash;
        if is_ours { Ok(slot) } else { Err(Error::Foreign("the kind of a slot")) }
    }
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Splitter {
    #[serde(rename = "type")]
    kind: String,
    stripes: usize,
    hash: String,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Area {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    encryption: String,
    key_size: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    #[serde(rename = "type")]
    kind: String,
    hash: String,
    iterations: u32,
    salt: String,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Segment {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    iv_tweak: String,
    encryption: String,
    sector_size: u32,
}

impl Segment {
    fn of(sector: u32) -> Self {
        Self {
            kind: "crypt".into(),
            offset: DATA_OFFSET.to_string(),
            size: "dynamic".into(),
            iv_tweak: "0".into(),
            encryption: CIPHER.into(),
            sector_size: sector,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digest {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: String,
    iterations: u32,
    salt: String,
    digest: String,
}

impl Digest {
    fn of(header: &Header, keyslots: Vec<String>) -> Self {
        Self {
            kind: "pbkdf2".into(),
            keyslots,
            segments: vec!["0".into()],
            hash: "sha256".into(),
            iterations: header.derivation.iterations,
            salt: STANDARD.encode(header.derivation.salt),
            digest: STANDARD.encode(header.digest),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    sealed: String,
}

impl Token {
    fn checked(&self) -> Result<Vec<u8>, Error> {
        let bytes = STANDARD.decode(&self.sealed).ok().filter(|bytes| bytes.len() <= MOST_TOKEN);
        bytes.filter(|_| self.kind == TOKEN).ok_or(Error::Foreign("its token"))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    json_size: String,
    keyslots_size: String,
}
