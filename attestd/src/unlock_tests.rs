//! Sealed and opened on a software TPM, by systems of different numbers. OpenSSL is the maker who signs states.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use super::*;
use crate::floor::INDEX;
use swtpm::Swtpm;

#[path = "../tpm/tests/swtpm/mod.rs"]
mod swtpm;

const HEADER: usize = HEADER_MAX as usize;

/// A board whose PCR 11 nobody has extended, a key, and what that has signed: the state in which the board is.
struct Board {
    swtpm: Arc<Swtpm>,
    identity: Identity,
    key: PolicyKey,
    signatures: Vec<Vec<u8>>,
}

fn board() -> Board {
    let swtpm = Arc::new(Swtpm::start().unwrap());
    swtpm.run("openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem").unwrap();
    swtpm.run("openssl pkey -in key.pem -pubout -out key.pub").unwrap();
    let key = PolicyKey::from_pem(&swtpm.read("key.pub").unwrap()).unwrap();
    let hash = |parts: &[&[u8]]| digest(&SHA256, &parts.concat()).as_ref().to_vec();
    // `TPM2_PolicyPCR` over PCR 11 of the SHA-256 bank.
    let selection = [0, 0, 0, 1, 0, 0x0b, 3, 0, 8, 0];
    let policy = hash(&[&[0; 32], &[0, 0, 1, 0x7f], &selection, &hash(&[&[0; 32]])]);
    swtpm.write("policy", &policy).unwrap();
    swtpm.run("openssl dgst -sha256 -sign key.pem -out signature policy").unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (print, signature) = (hex(&key.fingerprint()), STANDARD.encode(swtpm.read("signature").unwrap()));
    let state = serde_json::json!({"pcrs": [11], "pkfp": print, "pol": hex(&policy), "sig": signature});
    let signatures = vec![serde_json::json!({"sha256": [state]}).to_string().into_bytes()];
    let own = swtpm.clone();
    let identity = Identity::behind(move || Ok(Box::new(own.transport().map_err(io::Error::other)?)));
    Board { swtpm, identity, key, signatures }
}

impl Board {
    /// Seals a blank device by a system of this number. Its beginning.
    fn seal(&self, system: u32) -> Result<Vec<u8>, UnlockError> {
        let made = seal(&self.identity, system, &self.key, &states(&self.signatures, &self.key), HEADER)?;
        assert_eq!(made.floor, system);
        Ok(Memory::open(made.header.unwrap(), HEADER_MAX)?.read()?)
    }

    /// What the device does not go back behind, to a system of this number that opens it.
    fn open(&self, system: u32, disk: &[u8]) -> Result<u32, UnlockError> {
        by_the_tpm(&self.identity, system, disk.to_vec(), &self.signatures).map(|known| known.floor)
    }

    fn raise(&self, system: u32, disk: &[u8]) -> Result<u32, UnlockError> {
        let known = by_the_tpm(&self.identity, system, disk.to_vec(), &self.signatures)?;
        known.raise(&self.identity, system)
    }
}

fn is_too_old(outcome: Result<u32, UnlockError>, system: u32, device: u32) -> bool {
    matches!(outcome, Err(UnlockError::Floor(FloorError::Older(is, was))) if (is, was) == (system, device))
}

#[test]
fn device_opens_for_the_system_before_until_the_new_one_is_good() {
    let board = board();
    let disk = board.seal(1).unwrap();
    assert_eq!(board.open(1, &disk).unwrap(), 1);
    // On trial: both open it.
    assert_eq!(board.open(3, &disk).unwrap(), 1);
    assert_eq!(board.open(1, &disk).unwrap(), 1);
    assert_eq!(board.raise(3, &disk).unwrap(), 3);
    for old in [0, 1, 2] {
        assert!(is_too_old(board.open(old, &disk), old, 3));
        assert!(is_too_old(board.raise(old, &disk), old, 3));
    }
    // Once more changes nothing, nor does the power.
    assert_eq!(board.raise(3, &disk).unwrap(), 3);
    assert_eq!(board.open(4, &disk).unwrap(), 3);
}

#[test]
fn header_of_an_earlier_day_opens_for_no_older_system() {
    let board = board();
    let first = board.seal(1).unwrap();
    board.raise(2, &first).unwrap();
    // Made new by system 2, which goes on to 4.
    let second = board.seal(2).unwrap();
    assert_eq!(board.open(2, &second).unwrap(), 2);
    board.raise(4, &second).unwrap();
    for (disk, old) in [(&first, 1), (&first, 3), (&second, 3)] {
        assert!(is_too_old(board.open(old, disk), old, 4));
    }
}

#[test]
fn counter_removed_or_made_again_or_counted_by_others_opens_nothing_older() {
    let board = board();
    let disk = board.seal(1).unwrap();
    board.raise(2, &disk).unwrap();
    board.identity.with(|tpm| tpm.undefine_counter(INDEX)).unwrap();
    let gone = |outcome| matches!(outcome, Err(UnlockError::Floor(FloorError::Counter)));
    assert!(gone(board.open(2, &disk)));
    board.identity.with(|tpm| tpm.define_counter(INDEX)).unwrap();
    assert!(is_too_old(board.open(2, &disk), 2, 3));
    board.identity.with(|tpm| tpm.increment_counter(INDEX)).unwrap();
    assert!(is_too_old(board.open(2, &disk), 2, 4));
}

#[test]
fn many_numbers_are_counted_some_at_a_time_and_a_cut_between_them_is_gone_on_from() {
    let board = board();
    let disk = board.seal(0).unwrap();
    assert_eq!(board.raise(100, &disk).unwrap(), 64);
    assert_eq!(board.open(64, &disk).unwrap(), 64);
    assert_eq!(board.raise(100, &disk).unwrap(), 100);
    assert!(is_too_old(board.open(99, &disk), 99, 100));
}

#[test]
fn owner_that_was_cleared_leaves_a_device_that_the_tpm_does_not_open() {
    let board = board();
    let disk = board.seal(1).unwrap();
    // swtpm serves one at a time: what leaves the TPM unknown closes the way to it.
    board.identity.with(|_| Err::<(), _>(tpm::Error::Malformed(tpm::Command::GetRandom))).unwrap_err();
    board.swtpm.run("tpm2_clear -c p").unwrap();
    let refused = board.open(1, &disk).unwrap_err();
    assert!(refused.to_string().contains("storage root key"), "{refused}");
}

#[test]
fn header_without_a_beginning_is_none_of_ours() {
    let board = board();
    let states = states(&board.signatures, &board.key);
    let passphrase = [7; 32];
    let sealed = board.identity.with(|tpm| tpm.seal(&passphrase, &board.key)).unwrap();
    board.identity.with(|tpm| tpm.unseal(&sealed, &states)).unwrap();
    let token = sealed.to_bytes();
    let unlock = luks::Unlock { passphrase: &passphrase, token: &token, recovery: None };
    let mut disk = Cursor::new(vec![0; HEADER]);
    luks::create(&mut disk, &unlock, |_| Ok(())).unwrap();
    assert!(matches!(board.open(0, disk.get_ref()), Err(UnlockError::Token)));
}
