//! The standard's own derivations (part 1, clauses 11.4.10 and 21), put together from ring's and RustCrypto's parts.
//!
//! Everything is SHA-256, P-256 and AES-128: what each TPM 2.0 has that we would take.

use aes::Aes128;
use cfb_mode::cipher::KeyIvInit;
use cfb_mode::{Decryptor, Encryptor};
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use zeroize::Zeroizing;

use crate::constants::DIGEST;
use crate::error::Error;

/// A SHA-256 digest.
pub(crate) type Digest = [u8; DIGEST];

/// A point of P-256: its two coordinates.
pub(crate) type Point = ([u8; 32], [u8; 32]);

/// SHA-256 over all `parts` after each other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    fixed(context.finish().as_ref())
}

/// HMAC with SHA-256 over all `parts` after each other.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    fixed(context.sign().as_ref())
}

/// Whether `tag` is the HMAC of `parts`, in constant time.
pub(crate) fn is_hmac(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat(), tag).is_ok()
}

/// `KDFa` with SHA-256 for up to 256 bits: the counter is always 1.
pub(crate) fn kdfa(
    key: &[u8],
    label: &str,
    context_u: &[u8],
    context_v: &[u8],
    bits: u32,
) -> Zeroizing<Digest> {
    let parts: [&[u8]; 6] =
        [&1_u32.to_be_bytes(), label.as_bytes(), &[0], context_u, context_v, &bits.to_be_bytes()];
    Zeroizing::new(hmac(key, &parts))
}

/// `KDFe` with SHA-256 for 256 bits: the counter is always 1.
pub(crate) fn kdfe(z: &[u8], usage: &str, party_u: &[u8], party_v: &[u8]) -> Zeroizing<Digest> {
    let parts: [&[u8]; 6] = [&1_u32.to_be_bytes(), z, usage.as_bytes(), &[0], party_u, party_v];
    Zeroizing::new(sha256(&parts))
}

/// Random bytes of the system's.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::NoRandom)?;
    Ok(bytes)
}

/// A secret that whoever has the private key of `peer` can derive too from the point that comes with it: the salt of a
/// session (part 1, annex C.6.1). ring refuses a peer's point that is not on the curve.
pub(crate) fn salt(peer: &Point) -> Result<(Zeroizing<Digest>, Point), Error> {
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).map_err(|_| Error::NoRandom)?;
    let public = own.compute_public_key().map_err(|_| Error::NoRandom)?;
    let point = point(public.as_ref()).ok_or(Error::NoRandom)?;
    let peers = UnparsedPublicKey::new(&ECDH_P256, uncompressed(peer));
    let salt = agreement::agree_ephemeral(own, &peers, |z| kdfe(z, "SECRET", &point.0, &peer.0));
    Ok((salt.map_err(|_| Error::Unexpected("a key that is not on its curve"))?, point))
}

/// SEC 1: both coordinates after a 4.
pub(crate) fn uncompressed((x, y): &Point) -> [u8; 65] {
    let mut bytes = [4; 65];
    bytes[1..33].copy_from_slice(x);
    bytes[33..].copy_from_slice(y);
    bytes
}

/// Reads SEC 1's form with both coordinates.
pub(crate) fn point(bytes: &[u8]) -> Option<Point> {
    let [4, coordinates @ ..] = bytes else { return None };
    let (x, y) = coordinates.split_at_checked(32)?;
    Some((x.try_into().ok()?, y.try_into().ok()?))
}

/// Encrypts a parameter with `secret`, which is a key and an initial vector, as [`kdfa`] makes them for 256 bits.
pub(crate) fn encrypt(secret: &Digest, bytes: &mut [u8]) {
    let (key, vector) = secret.split_at(16);
    // Both are of their lengths.
    if let Ok(cipher) = Encryptor::<Aes128>::new_from_slices(key, vector) {
        cipher.encrypt(bytes);
    }
}

/// Undoes [`encrypt`].
pub(crate) fn decrypt(secret: &Digest, bytes: &mut [u8]) {
    let (key, vector) = secret.split_at(16);
    if let Ok(cipher) = Decryptor::<Aes128>::new_from_slices(key, vector) {
        cipher.decrypt(bytes);
    }
}

fn fixed(digest: &[u8]) -> Digest {
    let mut bytes = [0; DIGEST];
    bytes.copy_from_slice(digest);
    bytes
}
