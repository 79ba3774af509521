//! Somebody on the bus between us and a real software TPM (attacks on the wire), and a TPM that is in a bad state.

mod swtpm;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use anyhow::{Context, Result};
use swtpm::{Socket, Swtpm};
use tpm::{Condition, Error, KeyId, MOST_BYTES, PolicyKey, Sealed, SignedPolicy, Tpm, Transport};

type Buffer = [u8; MOST_BYTES];

/// What he does to the answer of the exchange with this number.
type Act = Box<dyn FnMut(usize, &[u8], &mut Buffer, &mut usize)>;

/// He sees everything, and changes what he likes.
struct Interposer {
    bus: Socket,
    number: Rc<Cell<usize>>,
    act: Act,
}

impl Transport for Interposer {
    fn exchange(&mut self, command: &[u8], answer: &mut Buffer) -> io::Result<usize> {
        let mut length = self.bus.exchange(command, answer)?;
        (self.act)(self.number.get(), command, answer, &mut length);
        self.number.set(self.number.get() + 1);
        Ok(length)
    }

    fn pause(&mut self, _: u32) {}
}

fn interposed(
    swtpm: &Swtpm,
    act: impl FnMut(usize, &[u8], &mut Buffer, &mut usize) + 'static,
) -> Result<(Tpm<Interposer>, Rc<Cell<usize>>)> {
    let number = Rc::new(Cell::new(0));
    let bus = swtpm.transport()?;
    Ok((Tpm::open(Interposer { bus, number: Rc::clone(&number), act: Box::new(act) }), number))
}

fn app() -> KeyId {
    KeyId::new("com.example.a", 1)
}

/// A secret under a key of OpenSSL's, and a signature for the state in which nothing was measured.
fn sealed(swtpm: &Swtpm, secret: &[u8]) -> Result<(Sealed, SignedPolicy)> {
    swtpm.run("openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem")?;
    swtpm.run("openssl pkey -in key.pem -pubout -outform DER -out key.der")?;
    let key = PolicyKey::from_der(&swtpm.read("key.der")?).context("a key")?;
    let sha256 = |parts: &[&[u8]]| ring::digest::digest(&ring::digest::SHA256, &parts.concat());
    let state = sha256(&[&[0; 32]]);
    let selection = [0, 0, 0, 1, 0, 0x0b, 3, 0, 8, 0];
    let digest = sha256(&[&[0; 32], &[0, 0, 1, 0x7f], &selection, state.as_ref()]);
    swtpm.write("policy", digest.as_ref())?;
    swtpm.run("openssl dgst -sha256 -sign key.pem -out signature policy")?;
    let policy = digest.as_ref().try_into()?;
    let signed = SignedPolicy { pcrs: vec![11], policy, signature: swtpm.read("signature")? };
    let mut tpm = swtpm.open()?;
    let sealed = tpm.seal(secret, &key)?;
    tpm.close()?;
    Ok((sealed, signed))
}

/// What `act` gives is always the same, or an error, whatever bit of whatever answer is changed.
fn withstands<R: PartialEq + std::fmt::Debug>(
    swtpm: &Swtpm,
    act: impl Fn(&mut Tpm<Interposer>) -> Result<R, Error>,
) -> Result<()> {
    let lengths = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&lengths);
    let (mut tpm, _) = interposed(swtpm, move |_, _, _, length| seen.borrow_mut().push(*length))?;
    let truth = act(&mut tpm)?;
    drop(tpm.close()?);
    // The last is the flush of the storage root key.
    let lengths: Vec<usize> = lengths.borrow().clone();
    let mut refused = 0;
    for (target, length) in lengths.iter().enumerate() {
        // Every third byte, another bit each time.
        for at in (target % 3..*length).step_by(3) {
            let (mut tpm, _) = interposed(swtpm, move |number, _, answer, _| {
                if number == target {
                    answer[at] ^= 1 << (at % 8);
                }
            })?;
            match act(&mut tpm) {
                Ok(value) => assert_eq!(value, truth, "byte {at} of answer {target}"),
                Err(_) => refused += 1,
            }
            drop(tpm);
            // Somebody whose answers are altered can't know what to flush; the kernel's resource manager does.
            swtpm.open()?.flush_leftovers()?;
        }
    }
    assert!(refused > 100, "{refused}");
    Ok(())
}

#[test]
fn key_with_any_answer_altered_is_refused_or_the_right_one() -> Result<()> {
    let swtpm = Swtpm::start()?;
    withstands(&swtpm, |tpm| tpm.app_key(app()))
}

#[test]
fn pcrs_with_any_answer_altered_are_refused_or_the_right_ones() -> Result<()> {
    let swtpm = Swtpm::start()?;
    withstands(&swtpm, |tpm| tpm.read_pcrs(&[0, 7, 11]))
}

#[test]
fn secret_with_any_answer_altered_is_refused_or_the_right_one() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let (sealed, signed) = sealed(&swtpm, b"a secret")?;
    withstands(&swtpm, |tpm| tpm.unseal(&sealed, std::slice::from_ref(&signed)))
}

#[test]
fn secrets_are_not_seen_on_the_bus() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let secret = *b"the key of everything";
    let (_, signed) = sealed(&swtpm, b"another")?;
    let key = PolicyKey::from_der(&swtpm.read("key.der")?).context("a key")?;
    let all = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&all);
    let (mut tpm, _) = interposed(&swtpm, move |_, command, answer, length| {
        seen.borrow_mut().extend([command, &answer[..*length]].concat());
    })?;
    let sealed = tpm.seal(&secret, &key)?;
    assert_eq!(*tpm.unseal(&sealed, &[signed])?, secret);
    let random = tpm.random(32)?;
    let all = all.borrow();
    let is_seen = |bytes: &[u8]| all.windows(bytes.len()).any(|window| window == bytes);
    assert!(!is_seen(&secret[..8]) && !is_seen(&random[..8]));
    // That what is looked at is what was sent.
    assert!(is_seen(key.public()));
    Ok(())
}

#[test]
fn extend_that_was_swallowed_is_noticed() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let earlier: Rc<RefCell<Option<Vec<u8>>>> = Rc::default();
    let kept = Rc::clone(&earlier);
    let (mut tpm, _) = interposed(&swtpm, move |_, command, answer, length| {
        if command[6..10] == [0, 0, 1, 0x82] {
            // He answers with what the TPM said before.
            let before = kept.borrow_mut().replace(answer[..*length].to_vec());
            if let Some(before) = before {
                answer[..before.len()].copy_from_slice(&before);
            }
        }
    })?;
    tpm.extend(13, &[1; 32])?;
    assert!(matches!(tpm.extend(13, &[2; 32]), Err(Error::Forged(_))));
    assert!(earlier.borrow().is_some());
    Ok(())
}

#[test]
fn answer_without_its_sessions_is_refused() -> Result<()> {
    let swtpm = Swtpm::start()?;
    let (mut tpm, _) = interposed(&swtpm, |_, command, answer, length| {
        if command[6..10] == [0, 0, 1, 0x82] {
            answer[..10].copy_from_slice(&[0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]);
            *length = 10;
        }
    })?;
    assert!(matches!(tpm.extend(13, &[1; 32]), Err(Error::Malformed(_))));
    Ok(())
}

#[test]
fn storage_key_that_was_not_expected_is_refused_before_anything_is_said() -> Result<()> {
    let (ours, his) = (Swtpm::start()?, Swtpm::start()?);
    let mut tpm = ours.open()?;
    let name = tpm.storage_key()?;
    drop(tpm.close()?);
    let mut again = ours.open()?;
    again.expect_storage_key(name);
    again.app_key(app())?;
    let mut tpm = his.open()?;
    tpm.expect_storage_key(name);
    assert!(matches!(tpm.app_key(app()), Err(Error::Unexpected(_))));
    Ok(())
}

#[test]
fn busy_tpm_is_asked_again_and_not_for_ever() -> Result<()> {
    const RETRY: [u8; 10] = [0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x22];
    let swtpm = Swtpm::start()?;
    let busy = |times: usize| {
        move |number: usize, command: &[u8], answer: &mut Buffer, length: &mut usize| {
            if command[6..10] == [0, 0, 1, 0x7a] && number < times {
                answer[..10].copy_from_slice(&RETRY);
                *length = 10;
            }
        }
    };
    let (mut tpm, number) = interposed(&swtpm, busy(3))?;
    tpm.flush_leftovers()?;
    assert_eq!(number.get(), 5);
    drop(tpm);
    let (mut tpm, number) = interposed(&swtpm, busy(usize::MAX))?;
    let refused = tpm.flush_leftovers().expect_err("it is busy");
    assert_eq!(refused.condition(), Some(Condition::Again), "{refused}");
    assert!(number.get() <= 10);
    Ok(())
}

#[test]
fn full_tpm_says_so_and_works_again_once_it_is_flushed() -> Result<()> {
    let swtpm = Swtpm::start()?;
    for _ in 0..3 {
        swtpm.run("tpm2_createprimary -Q -C o -G ecc -c any.ctx")?;
    }
    let mut tpm = swtpm.open()?;
    let refused = tpm.app_key(app()).expect_err("it is full");
    assert_eq!(refused.condition(), Some(Condition::NoPlace), "{refused}");
    tpm.flush_leftovers()?;
    tpm.certify(app(), b"nonce")?;
    // What is left after all of that are two places.
    for _ in 0..5 {
        tpm.certify(app(), b"nonce")?;
    }
    Ok(())
}

#[test]
fn owner_with_a_password_is_told_as_wrong_authorisation() -> Result<()> {
    let swtpm = Swtpm::start()?;
    swtpm.run("tpm2_changeauth -Q -c owner password")?;
    let refused = swtpm.open()?.app_key(app()).expect_err("there is a password");
    assert_eq!(refused.condition(), Some(Condition::WrongAuthorisation), "{refused}");
    Ok(())
}
