//! What the device's identity daemon reads, and what it and `sandboxd` say to each other.

use std::io;

use ::bus::attest_link::{FromAttestd, ToAttestd};
use ::luks::{HEADER_BYTES, Header, MOST_TOKEN};
use ::permit::{Book, Claimed, Developer, Ground, Refusal, Way};
use ::tpm::{
    Error, KeyId, MOST_BYTES, PolicyKey, Sealed, SignedPolicy, Tpm, Transport, answer, pcrsig, wire,
};

use crate::encodes_to_itself;

/// Messages of `sandboxd` and attestd: each encodes to itself, no longer.
pub fn attestlink(bytes: &[u8]) {
    encodes_to_itself(bytes, ToAttestd::decode, ToAttestd::encode);
    encodes_to_itself(bytes, FromAttestd::decode, FromAttestd::encode);
}

/// A permit, and a certificate: what is read says the same when it is written again; nobody's signature lets anybody in.
pub fn permit(bytes: &[u8]) {
    if let Ok(developer) = Developer::of(bytes) {
        assert!(developer.is(bytes) && developer.fingerprint().len() == 64);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(claimed) = Claimed::read(text) else { return };
    let terms = claimed.terms();
    let again = terms.issue(claimed.authority(), |_| Ok::<_, Refusal>([0; 64]));
    let again = again.ok().and_then(|again| Claimed::read(&again).ok());
    assert_eq!(again.as_ref().map(Claimed::terms), Some(terms));
    let authority = [4; 65];
    let ground = Ground { device: &terms.device, catalog: &terms.catalog, authority: &authority };
    for way in [Way::Service, Way::Hand] {
        let mut book = Book::default();
        assert_eq!(book.take(text, ground, way, terms.issued_s), Err(Refusal::Signature));
        assert_eq!(book, Book::default());
    }
}

/// A TPM that answers with what the fuzzer says, one answer after another, each after its length in two bytes.
struct Scripted<'a> {
    script: wire::Reader<'a>,
}

impl Transport for Scripted<'_> {
    fn exchange(&mut self, command: &[u8], answer: &mut [u8; MOST_BYTES]) -> io::Result<usize> {
        assert!((10..=MOST_BYTES).contains(&command.len()));
        assert_eq!(command[2..6], u32::try_from(command.len()).unwrap_or(0).to_be_bytes());
        let said = self.script.sized(MOST_BYTES).ok_or(io::ErrorKind::UnexpectedEof)?;
        answer[..said.len()].copy_from_slice(said);
        Ok(said.len())
    }

    fn pause(&mut self, _: u32) {}
}

type Act<'a> = &'a dyn Fn(&mut Tpm<Scripted<'_>>) -> Result<(), Error>;

/// A TPM that is hostile from its first answer: without the key that sessions are salted to it makes us believe nothing but
/// which certificate there is none of, and it can't keep us busy. Answers alone: nothing in them is beyond them.
pub fn tpm(bytes: &[u8]) {
    for (loads, sessions) in [(false, 0), (true, 0), (false, 1), (true, 1), (false, 3)] {
        let Some(Ok(answer)) = answer::split(bytes, loads, sessions) else { continue };
        assert_eq!(answer.sessions.len(), sessions);
        assert_eq!(answer.handle.is_some(), loads);
        let said: usize = answer.sessions.iter().map(|said| said.nonce.len() + said.hmac.len() + 5).sum();
        let sizes = 10 + usize::from(loads) * 4 + if sessions > 0 { 4 } else { 0 };
        assert_eq!(sizes + answer.parameters.len() + said, bytes.len());
    }
    let signed = SignedPolicy { pcrs: vec![11], policy: [0; 32], signature: Vec::new() };
    let acts: [Act<'_>; 6] = [
        &|tpm| tpm.ek().map(drop),
        &|tpm| tpm.sign(KeyId::new("a.b.c", 1), &[7; 32]).map(drop),
        &|tpm| tpm.activate(&[1; 68], &[2; 70]).map(drop),
        &|tpm| tpm.read_counter(0x0180_0000).map(drop),
        &|tpm| tpm.flush_leftovers(),
        &|tpm| match Sealed::from_bytes(bytes) {
            Some(sealed) => tpm.unseal(&sealed, std::slice::from_ref(&signed)).map(drop),
            None => tpm.read_pcrs(&[0, 1, 2]).map(drop),
        },
    ];
    for (number, act) in acts.iter().enumerate() {
        let mut tpm = Tpm::open(Scripted { script: wire::Reader::new(bytes) });
        let result = act(&mut tpm);
        // It may say that it holds nothing. All else is authenticated.
        assert!(result.is_err() || number == 4);
    }
}

/// A key that signs policies, on P-256: 7 and 8 in each byte of its coordinates.
const KEY: [u8; 86] = {
    let mut bytes = [7; 86];
    let head = *b"\0\x23\0\x0b\0\x06\0\x40\0\0\0\x10\0\x10\0\x03\0\x10\0\x20";
    let mut at = 0;
    while at < 20 {
        bytes[at] = head[at];
        at += 1;
    }
    (bytes[52], bytes[53]) = (0, 32);
    at = 54;
    while at < 86 {
        bytes[at] = 8;
        at += 1;
    }
    bytes
};

/// A sealed object, a policy key and what it has signed are what would be written for them.
pub fn sealed(bytes: &[u8]) {
    if let Some(sealed) = Sealed::from_bytes(bytes) {
        assert_eq!(sealed.to_bytes(), bytes);
        assert_eq!(PolicyKey::from_public(sealed.key().public()).as_ref(), Some(sealed.key()));
    }
    if let Some(key) = PolicyKey::from_der(bytes) {
        assert_eq!(PolicyKey::from_public(key.public()).as_ref(), Some(&key));
    }
    if let Some(key) = PolicyKey::from_pem(bytes) {
        assert_eq!(PolicyKey::from_public(key.public()).as_ref(), Some(&key));
    }
    if let Some(states) = PolicyKey::from_public(&KEY).and_then(|key| pcrsig::read(bytes, &key)) {
        assert!(states.len() <= 64);
        assert!(
            states.iter().all(|state| (1..=24).contains(&state.pcrs.len()) && state.signature.len() <= 512)
        );
    }
    if let Some((r, s)) = wire::Reader::whole(bytes, ::tpm::read_signature) {
        assert!(bytes.len() <= 72 && r.len() + s.len() == 64);
    }
}

/// A LUKS2 header: the text behind its checksums, which anybody can make, and the whole with two copies. What is taken is
/// read again from what we write for it; a passphrase opens nothing, whatever the header says of its slots.
pub fn luks(bytes: &[u8]) {
    if let Ok(header) = Header::from_json(bytes) {
        assert!(matches!(header.sector(), 512 | 4096));
        assert!(header.token().is_none_or(|token| token.len() <= MOST_TOKEN));
        if let Ok(again) = header.to_json() {
            assert_eq!(Header::from_json(&again).ok(), Some(header));
        }
    }
    let mut disk = bytes.to_vec();
    disk.resize(disk.len().max(HEADER_BYTES), 0);
    if let Ok(header) = ::luks::read(&mut io::Cursor::new(&disk)) {
        assert!(header.uuid().len() < 40 && header.uuid().is_ascii());
    }
}
