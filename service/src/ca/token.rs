//! Keys that never leave a token: an HSM, a card, a TPM behind its PKCS#11 module.
//!
//! A key is made in the token, may not be read or taken out, and is found again by its id, which is random and belongs to us
//! alone. Whatever breaks (the token was pulled, its daemon was restarted) is tried once more with a new session; if that fails the
//! request does, and the next one tries again.
//!
//! One session, one signature at a time: a token is slow, and does no more at once. The PIN is read from its file each time a
//! session begins, so that it need not stay in memory.

use super::token_uri::TokenUri;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use ring::digest::{SHA256, digest};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, PoisonError};

/// `prime256v1`, as the DER of its object identifier.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Bytes of an id.
const ID: usize = 16;
/// The longest PIN's file.
const PIN_MAX: u64 = 1024;

/// Why a token did not do what it was asked for.
#[derive(Debug)]
pub enum TokenError {
    /// The file with the PIN.
    Pin(io::Error),
    /// No token is called so, or several are.
    Which(usize),
    /// There is no key of this id in the token.
    NoKey,
    /// The key is not on P-256, or the signature no signature.
    Answer,
    /// What the module said.
    Module(Error),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin(_) => f.write_str("reading the token's PIN"),
            Self::Which(0) => f.write_str("no token is called so"),
            Self::Which(many) => write!(f, "{many} tokens are called so; say which by its serial number"),
            Self::NoKey => f.write_str("the key is not in the token"),
            Self::Answer => f.write_str("the token's answer is not a key or signature on P-256"),
            Self::Module(_) => f.write_str("the token"),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pin(error) => Some(error),
            Self::Module(error) => Some(error),
            Self::Which(_) | Self::NoKey | Self::Answer => None,
        }
    }
}

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        Self::Module(error)
    }
}

/// A token.
pub(super) struct Token {
    uri: TokenUri,
    module: Pkcs11,
    open: Mutex<Option<Open>>,
}

struct Open {
    session: Session,
    keys: HashMap<Vec<u8>, ObjectHandle>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.uri)
    }
}

impl Token {
    /// Loads the module, and signs in to be sure that it can.
    pub(super) fn open(uri: &TokenUri) -> Result<Arc<Self>, TokenError> {
        let module = Pkcs11::new(&uri.module)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        let token = Arc::new(Self { uri: uri.clone(), module, open: Mutex::new(None) });
        token.with(|_| Ok(()))?;
        Ok(token)
    }

    /// Makes a key. Comes back with it and its id.
    pub(super) fn generate(
        self: &Arc<Self>,
        label: &str,
        id: [u8; ID],
    ) -> Result<(TokenKey, Vec<u8>), TokenError> {
        let named = || [Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
        let mut public = vec![
            Attribute::Token(true),
            Attribute::KeyType(KeyType::EC),
            Attribute::Verify(true),
            Attribute::EcParams(P256.to_vec()),
        ];
        let mut private = vec![
            Attribute::Token(true),
            Attribute::KeyType(KeyType::EC),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        public.extend(named());
        private.extend(named());
        self.with(|open| {
            open.session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
            Ok(())
        })?;
        Ok((self.key(&id)?, id.to_vec()))
    }

    /// The key with an id.
    pub(super) fn key(self: &Arc<Self>, id: &[u8]) -> Result<TokenKey, TokenError> {
        let point = self.with(|open| {
            open.private(id)?;
            let public = open.find(ObjectClass::PUBLIC_KEY, id)?;
            let attributes = open.session.get_attributes(public, &[AttributeType::EcPoint])?;
            let point = attributes.into_iter().find_map(|attribute| match attribute {
                Attribute::EcPoint(point) => point_of(&point),
                _ => None,
            });
            point.ok_or(TokenError::Answer)
        })?;
        Ok(TokenKey { token: self.clone(), id: id.to_vec(), point })
    }

    fn with<T>(&self, mut act: impl FnMut(&mut Open) -> Result<T, TokenError>) -> Result<T, TokenError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.as_mut() {
            match act(open) {
                Err(TokenError::Module(error)) => tracing::warn!(%error, "the token's session is begun anew"),
                answer => return answer,
            }
        }
        // The old one ends first: some tokens take one.
        *open = None;
        act(open.insert(self.begin()?))
    }

    fn begin(&self) -> Result<Open, TokenError> {
        let session = self.module.open_rw_session(self.slot()?)?;
        match session.login(UserType::User, Some(&self.pin()?)) {
            // Another session of this process has signed in, which holds for all.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Open { session, keys: HashMap::new() })
    }

    fn slot(&self) -> Result<Slot, TokenError> {
        let mut found = Vec::new();
        for slot in self.module.get_slots_with_token()? {
            let info = self.module.get_token_info(slot)?;
            let is = |wanted: &Option<String>, seen: &str| {
                wanted.as_ref().is_none_or(|wanted| wanted.trim_end() == seen.trim_end())
            };
            if is(&self.uri.label, info.label()) && is(&self.uri.serial, info.serial_number()) {
                found.push(slot);
            }
        }
        match found.as_slice() {
            [slot] => Ok(*slot),
            others => Err(TokenError::Which(others.len())),
        }
    }

    fn pin(&self) -> Result<AuthPin, TokenError> {
        let mut pin = String::new();
        let file = File::open(&self.uri.pin).map_err(TokenError::Pin)?;
        file.take(PIN_MAX).read_to_string(&mut pin).map_err(TokenError::Pin)?;
        Ok(AuthPin::new(pin.trim_end_matches(['\r', '\n']).into()))
    }
}

impl Open {
    fn find(&self, class: ObjectClass, id: &[u8]) -> Result<ObjectHandle, TokenError> {
        let wanted = [Attribute::Class(class), Attribute::Id(id.to_vec())];
        self.session.find_objects(&wanted)?.first().copied().ok_or(TokenError::NoKey)
    }

    fn private(&mut self, id: &[u8]) -> Result<ObjectHandle, TokenError> {
        if let Some(key) = self.keys.get(id) {
            return Ok(*key);
        }
        let key = self.find(ObjectClass::PRIVATE_KEY, id)?;
        self.keys.insert(id.to_vec(), key);
        Ok(key)
    }
}

/// The uncompressed point: in an OCTET STRING, as PKCS#11 says, or bare, as some tokens have it.
fn point_of(attribute: &[u8]) -> Option<[u8; 65]> {
    let point = attribute.strip_prefix(&[0x04, 65]).unwrap_or(attribute);
    point.try_into().ok().filter(|point: &[u8; 65]| point[0] == 0x04)
}

/// A key in the token.
#[derive(Debug)]
pub(super) struct TokenKey {
    token: Arc<Token>,
    id: Vec<u8>,
    point: [u8; 65],
}

impl PublicKeyData for TokenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for TokenKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let hashed = digest(&SHA256, message);
        let signed = self.token.with(|open| {
            let key = open.private(&self.id)?;
            Ok(open.session.sign(&Mechanism::Ecdsa, key, hashed.as_ref())?)
        });
        let signed = signed.and_then(|raw| signature(&raw).ok_or(TokenError::Answer));
        signed.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the token did not sign");
            rcgen::Error::RemoteKeyError
        })
    }
}

/// `ECDSA-Sig-Value` (RFC 3279, 2.2.3) of what a token gives: r and s, each in 32 bytes.
fn signature(raw: &[u8]) -> Option<Vec<u8>> {
    let raw: &[u8; 64] = raw.try_into().ok()?;
    let (r, s) = raw.split_at(32);
    let integers = [integer(r), integer(s)].concat();
    let length = u8::try_from(integers.len()).ok()?;
    Some([&[0x30, length], integers.as_slice()].concat())
}

/// The shortest that is not negative.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take(bytes.len() - 1).take_while(|byte| **byte == 0).count();
    let digits = &bytes[zeros..];
    let pad = usize::from(digits[0] >= 0x80);
    // At most 33 bytes.
    let mut integer = vec![0x02, (digits.len() + pad) as u8];
    integer.extend(std::iter::repeat_n(0, pad));
    integer.extend_from_slice(digits);
    integer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_has_the_shortest_integers() {
        let mut raw = [0; 64];
        (raw[31], raw[32]) = (5, 0x80);
        let der = signature(&raw).unwrap_or_default();
        assert_eq!(&der[..7], [0x30, 38, 0x02, 1, 5, 0x02, 33]);
        assert_eq!((der[7], der[8], der.len()), (0, 0x80, 40));
        assert_eq!(signature(&raw[1..]), None);
        assert_eq!(signature(&[0; 64]), Some(vec![0x30, 6, 2, 1, 0, 2, 1, 0]));
    }

    #[test]
    fn point_is_taken_with_and_without_its_wrapping() {
        let mut point = [7; 65];
        point[0] = 4;
        assert_eq!(point_of(&point), Some(point));
        assert_eq!(point_of(&[&[4, 65], &point[..]].concat()), Some(point));
        assert_eq!(point_of(&point[..64]), None);
        assert_eq!(point_of(&[2; 65]), None);
    }
}
