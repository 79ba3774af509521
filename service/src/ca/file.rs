//! The authority's file: certificates in the open, keys sealed.
//!
//! A random master key seals every other; a key made from the passphrase seals the master. So the passphrase can be changed
//! without touching another key, and the database, which has the issuing keys, is worth nothing without this file.
//! Keys in a token are here, and there, by their ids; the master then still seals those and what the database keeps secret.

use super::key::Keys;
use super::{
    Authority, CaError, TokenUri, UriError, VerdictSigner, authority_params, issuer_of, new_key, signing_key,
};
use crate::secrets::{self, Sealer};
use rcgen::{CertificateParams, DnType, Issuer, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use service_api::Bytes;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The longest file that is read.
const FILE_MAX: u64 = 64 << 10;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityFile {
    /// What the service is called: names and addresses in its own certificate.
    pub names: Vec<String>,
    /// Of the passphrase.
    salt: Bytes<16>,
    /// How slow it is.
    rounds: NonZeroU32,
    /// Sealed by the passphrase.
    master: Bytes<128>,
    /// Where root and issuing keys are, if they are in a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// DER.
    root_certificate: Bytes<4096>,
    root_key: Bytes<1024>,
    /// DER: of the key that signs verdicts.
    verdicts_certificate: Bytes<4096>,
    verdicts_key: Bytes<1024>,
}

/// Why the file could not be made or read.
#[derive(Debug)]
pub enum FileError {
    /// Reading or writing.
    Io(io::Error),
    /// Not such a file.
    Content(serde_json::Error),
    /// The token that it names.
    Token(UriError),
    /// A key or certificate in it.
    Ca(CaError),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io(_) => "the authority's file",
            Self::Content(_) => "this is no authority's file",
            Self::Token(_) => "the authority's file names no token",
            Self::Ca(_) => "the authority's file does not open",
        })
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Content(error) => Some(error),
            Self::Token(error) => Some(error),
            Self::Ca(error) => Some(error),
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<E: Into<CaError>> From<E> for FileError {
    fn from(error: E) -> Self {
        Self::Ca(error.into())
    }
}

impl AuthorityFile {
    /// Makes a root, and a key for verdicts that it certifies. The passphrase takes `rounds`: [`secrets::ROUNDS`].
    ///
    /// # Errors
    /// No chance, or a name that is none.
    pub fn make(names: &[String], passphrase: &str, rounds: NonZeroU32, now: i64) -> Result<Self, FileError> {
        Self::make_in(None, names, passphrase, rounds, now)
    }

    /// The same with the root's key, and those of catalogs later, in a token.
    ///
    /// # Errors
    /// The token too.
    pub fn make_in(
        token: Option<&TokenUri>,
        names: &[String],
        passphrase: &str,
        rounds: NonZeroU32,
        now: i64,
    ) -> Result<Self, FileError> {
        let keys = Keys::of(token)?;
        let (salt, master) = (secrets::random()?, secrets::random()?);
        let sealer = Sealer::new(&master)?;
        let (root_key, kept) = keys.make("gabion root")?;
        let root = authority_params("Gabion device root", now, super::ROOT_S, None)?;
        let root_certificate = root.self_signed(&root_key)?.der().to_vec();
        let sealed_root = sealer.seal("root", &kept)?;
        let verdicts_key = new_key()?;
        let verdicts = verdicts_params(now)?.signed_by(&verdicts_key, &Issuer::new(root, root_key))?;
        Ok(Self {
            names: names.to_vec(),
            salt: bytes(&salt)?,
            rounds,
            token: token.map(ToString::to_string),
            master: bytes(&Sealer::of_passphrase(passphrase, &salt, rounds)?.seal("master", &master)?)?,
            root_certificate: bytes(&root_certificate)?,
            root_key: bytes(&sealed_root)?,
            verdicts_certificate: bytes(verdicts.der())?,
            verdicts_key: bytes(&sealer.seal("verdicts", verdicts_key.serialized_der())?)?,
        })
    }

    /// Opens the keys.
    ///
    /// # Errors
    /// The passphrase is another, or the file was altered.
    pub fn open(&self, passphrase: &str) -> Result<Authority, FileError> {
        let salt: [u8; 16] = self.salt.as_slice().try_into().map_err(|_| CaError::Key)?;
        let master =
            Sealer::of_passphrase(passphrase, &salt, self.rounds)?.open("master", self.master.as_slice())?;
        let master: [u8; 32] = master.try_into().map_err(|_| CaError::Key)?;
        let sealer = Sealer::new(&master)?;
        let root_key = sealer.open("root", self.root_key.as_slice())?;
        let keys = Keys::of(self.token()?.as_ref())?;
        let verdicts = VerdictSigner {
            key: signing_key(&sealer.open("verdicts", self.verdicts_key.as_slice())?)?,
            key_id: secrets::sha256(self.verdicts_certificate.as_slice()),
        };
        Ok(Authority {
            root: issuer_of(self.root_certificate.as_slice(), keys.open(&root_key)?)?,
            keys,
            root_certificate: self.root_certificate.as_slice().to_vec(),
            verdicts,
            verdicts_certificate: self.verdicts_certificate.as_slice().to_vec(),
            sealer,
            master,
        })
    }

    /// Where root and issuing keys are, if they are in a token.
    ///
    /// # Errors
    /// What is in the file is no address of one.
    pub fn token(&self) -> Result<Option<TokenUri>, FileError> {
        self.token.as_deref().map(str::parse).transpose().map_err(FileError::Token)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is not there, or none.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let mut text = String::new();
        File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
        serde_json::from_str(&text).map_err(FileError::Content)
    }

    /// Writes the file, which must not be there, for its owner only; on the disk when this comes back.
    ///
    /// # Errors
    /// It is there, or the disk.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let text = serde_json::to_string_pretty(self).map_err(FileError::Content)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// The root, PEM: what devices and brokers are told to trust.
    pub fn root_pem(&self) -> String {
        super::pem(self.root_certificate.as_slice())
    }
}

fn verdicts_params(now: i64) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    super::dated(&mut params, now, super::ISSUER_S)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Gabion attestation verdicts");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn bytes<const MAX: usize>(bytes: &[u8]) -> Result<Bytes<MAX>, CaError> {
    Bytes::new(bytes).ok_or(CaError::Key)
}
