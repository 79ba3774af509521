//! `TPM2_MakeCredential`, outside of a TPM: a secret that only the TPM with a certain endorsement key gives back, and only
//! if it has the named attestation key too. Part 1, 24 "Credential Protection", and annexes B.10.4 (RSA) and C.6.4 (ECC).

use super::{KeyKind, Public};
use crate::Digest;
use aes::Aes128;
use cfb_mode::cipher::KeyIvInit as _;
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use rsa::rand_core::{TryCryptoRng, TryRng};
use std::fmt;

/// Most bytes of a secret: what a `TPM2B_DIGEST` of the endorsement key's hash holds.
pub const SECRET_MAX: usize = 32;

/// What goes to the TPM; both with their lengths before them, as `TPM2_ActivateCredential` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPM2B_ID_OBJECT`.
    pub blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Vec<u8>,
}

/// Why there is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialError {
    /// The endorsement key is no valid public key.
    Key,
    /// The secret has more than [`SECRET_MAX`] bytes.
    Secret,
    /// The system gives no random numbers.
    Random,
}

impl fmt::Display for CredentialError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Key => "the endorsement key is no valid public key",
            Self::Secret => "the secret is too long",
            Self::Random => "the system gives no random numbers",
        })
    }
}

impl std::error::Error for CredentialError {}

/// Protects `secret` for the TPM of `ek`, to be given back only if the key called `name` is loaded there.
pub fn make_credential(
    ek: &Public,
    name: &[u8],
    secret: &[u8],
    random: &SystemRandom,
) -> Result<Credential, CredentialError> {
    if secret.len() > SECRET_MAX {
        return Err(CredentialError::Secret);
    }
    let (seed, encrypted_seed) = match &ek.key {
        KeyKind::Rsa(modulus) => rsa_seed(modulus, random)?,
        KeyKind::P256 { x, y } => ecc_seed(x, y, random)?,
    };
    let mut identity = sized(secret);
    let storage: [u8; 16] = first(kdfa(&seed, "STORAGE", name, 128));
    cfb_mode::Encryptor::<Aes128>::new(&storage.into(), &[0; 16].into()).encrypt(&mut identity);
    let integrity = hmac(&kdfa(&seed, "INTEGRITY", &[], 256), &[&identity, name]);
    let blob = sized(&[&sized(&integrity)[..], &identity].concat());
    Ok(Credential { blob, encrypted_secret: sized(&encrypted_seed) })
}

type Seed = [u8; 32];

fn rsa_seed(modulus: &[u8; 256], random: &SystemRandom) -> Result<(Seed, Vec<u8>), CredentialError> {
    let modulus = rsa::BoxedUint::from_be_slice_vartime(modulus);
    let key =
        rsa::PublicKey::new(modulus, rsa::BoxedUint::from(65537_u32)).map_err(|_| CredentialError::Key)?;
    let mut seed = [0; 32];
    random.fill(&mut seed).map_err(|_| CredentialError::Random)?;
    // The label's final zero is part of it.
    let padding = rsa::Oaep::<sha2::Sha256>::new_with_label(b"IDENTITY\0".to_vec());
    let encrypted = key.encrypt(&mut Random(random), padding, &seed).map_err(|_| CredentialError::Key)?;
    Ok((seed, encrypted))
}

fn ecc_seed(x: &[u8; 32], y: &[u8; 32], random: &SystemRandom) -> Result<(Seed, Vec<u8>), CredentialError> {
    let ephemeral = EphemeralPrivateKey::generate(&ECDH_P256, random).map_err(|_| CredentialError::Random)?;
    let own = ephemeral.compute_public_key().map_err(|_| CredentialError::Random)?;
    // An uncompressed point: 4, and both coordinates.
    let (own_x, own_y) =
        own.as_ref().get(1..).and_then(|both| both.split_at_checked(32)).ok_or(CredentialError::Key)?;
    let key = UnparsedPublicKey::new(&ECDH_P256, [&[4][..], x, y].concat());
    let seed = agree_ephemeral(ephemeral, &key, |shared| kdfe(shared, "IDENTITY", own_x, x))
        .map_err(|_| CredentialError::Key)?;
    Ok((seed, [sized(own_x), sized(own_y)].concat()))
}

/// The system's random numbers as the padding wants them.
struct Random<'a>(&'a SystemRandom);

impl TryRng for Random<'_> {
    type Error = Failed;

    fn try_next_u32(&mut self) -> Result<u32, Failed> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Failed> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Failed> {
        self.0.fill(bytes).map_err(Failed)
    }
}

impl TryCryptoRng for Random<'_> {}

#[derive(Debug)]
struct Failed(Unspecified);

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl std::error::Error for Failed {}

/// A `TPM2B` of at most 64 KiB, which everything here is by far.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn first<const N: usize>(bytes: [u8; 32]) -> [u8; N] {
    std::array::from_fn(|n| bytes.get(n).copied().unwrap_or_default())
}

/// KDFa (part 1, 11.4.10.2) of at most 256 bits, which is one round; the second context is empty in both uses.
fn kdfa(key: &[u8], label: &str, context: &[u8], bits: u32) -> [u8; 32] {
    hmac(key, &[&1_u32.to_be_bytes(), label.as_bytes(), &[0], context, &bits.to_be_bytes()])
}

/// KDFe (part 1, 11.4.10.3) of 256 bits, which is one round.
fn kdfe(shared: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Seed {
    Digest::of(&[&1_u32.to_be_bytes()[..], shared, label.as_bytes(), &[0], party_u, party_v].concat()).0
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    let mut tag = [0; 32];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}
