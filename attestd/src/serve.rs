//! `os.gabion.Certificate`, and the server of all that attestd has for the bus. Who calls is known by where the connection came in; which key signs follows from that, and from
//! nothing that is said.
//!
//! What an attacker controls: how often he calls, and the digests. A call keeps the TPM busy for as long as it takes it, so
//! each app has a bucket of them; what is refused costs the TPM nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus::bulk;
use bus::interfaces::certificate::*;
use bus::interfaces::{identity, permit};
use bus::server::{Answer, Call, Server};
use bus::session::About;
use serde::Serialize;

use crate::identity::{DEVICE, Identity, QUOTED};
use crate::kept::{Held, Kept};
use crate::pace::Bucket;
use crate::state::State;

/// The only algorithm.
const ALGORITHM: &str = "ecdsa-p256-sha256";
/// Bytes of a SHA-256 digest.
const DIGEST: i64 = 32;
/// Shortest and longest nonce, bytes.
const NONCE: std::ops::RangeInclusive<usize> = 8..=32;
/// The update daemon, and the door for developers. No app can be called so: ids below `os.gabion` are the system's own.
const DEVICES_OWN: [&str; 2] = ["os.gabion.update", "os.gabion.door"];
/// Apps whose buckets are remembered.
const BUCKETS_MAX: usize = 256;

/// The handler of all calls.
pub struct Serve {
    state: Rc<State>,
    buckets: RefCell<BTreeMap<u32, Bucket>>,
}

/// What [`Handler::attest`] proves, as the interface describes it: the quote over the caller's nonce, the logs, who asks. JSON, as
/// what the service is sent: a second encoding of the same would be a second parser for whoever checks it.
#[derive(Serialize)]
struct Proof<'a> {
    app: &'a str,
    quote: String,
    signature: String,
    pcrs: BTreeMap<u8, String>,
    boot_log: String,
    package_log: String,
}

/// Serves for ever.
///
/// # Errors
/// The server's descriptors fail.
pub async fn run(state: Rc<State>) -> std::io::Result<()> {
    let about = About { vendor: "Gabion", product: "attestd", version: env!("CARGO_PKG_VERSION"), url: "" };
    let mut server = Server::new(about)?;
    server.serve(&INTERFACE, dispatch);
    server.serve(&identity::INTERFACE, identity::dispatch);
    server.serve(&permit::INTERFACE, permit::dispatch);
    let (_done, answers) = bus_tokio::answers();
    bus_tokio::run(server, Serve { state, buckets: RefCell::default() }, answers).await
}

impl Handler for Serve {
    fn get_chain(&mut self, call: Call<'_, GetChain>) -> Answer {
        let caller = call.caller();
        let (app, uid) = who(&caller.app, caller.uid);
        let held = match self.held(app, uid) {
            Ok(held) => held,
            Err(reason) => return call.fail(&Error::NotIssued { reason }),
        };
        let certificates = held.chain.iter().map(|der| STANDARD.encode(der.as_slice()).into()).collect();
        let expires_us = i64::try_from(held.expires_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        call.reply(&GetChainReply { certificates, expires_us })
    }

    fn get_authorities(&mut self, call: Call<'_, GetAuthorities>) -> Answer {
        if self.state.revoked_is_old(sys::process::now_ms()) {
            // For the next one who asks: this one is not kept waiting.
            self.state.wake.notify_one();
        }
        let kept: Kept = self.state.kept.borrow().clone();
        if kept.authorities.is_empty() {
            return call.fail(&Error::NotIssued { reason: self.state.why_none() });
        }
        let certificates =
            kept.authorities.iter().map(|der| STANDARD.encode(der.as_slice()).into()).collect();
        let revoked = kept.revoked.map(|der| STANDARD.encode(der.as_slice()).into());
        call.reply(&GetAuthoritiesReply { certificates, revoked })
    }

    fn sign(&mut self, call: Call<'_, Sign>, parameters: SignParameters<'_>) -> Answer {
        if parameters.algorithm != ALGORITHM {
            return call.invalid("algorithm");
        }
        let Ok(digest) = STANDARD.decode(&*parameters.digest) else { return call.invalid("digest") };
        let Ok(digest) = <&[u8; 32]>::try_from(digest.as_slice()) else {
            return call.fail(&Error::WrongLength { min_bytes: DIGEST, max_bytes: DIGEST });
        };
        let (app, uid) = (call.caller().app.to_owned(), call.caller().uid);
        let (name, number) = who(&app, uid);
        if let Err(reason) = self.held(name, number) {
            return call.fail(&Error::NotIssued { reason });
        }
        if !self.may(uid) {
            return call.fail(&Error::DeviceBusy {});
        }
        match self.state.identity.with(|tpm| tpm.sign(Identity::key_id(name, number), digest)) {
            Ok(signature) => call.reply(&SignReply { signature: STANDARD.encode(signature).into() }),
            Err(e) => {
                eprintln!("{app}: {e}");
                call.fail(&Error::DeviceBusy {})
            }
        }
    }

    fn attest(&mut self, call: Call<'_, Attest>, parameters: AttestParameters<'_>) -> Answer {
        let Ok(nonce) = STANDARD.decode(&*parameters.nonce) else { return call.invalid("nonce") };
        if !NONCE.contains(&nonce.len()) {
            return call.fail(&Error::WrongLength { min_bytes: 8, max_bytes: 32 });
        }
        let (app, uid) = (call.caller().app.to_owned(), call.caller().uid);
        if !self.may(uid) {
            return call.fail(&Error::DeviceBusy {});
        }
        match self.proof(&app, &nonce) {
            Some((memory, size_bytes)) => {
                call.reply_with(&AttestReply { evidence: 0, size_bytes }, vec![memory])
            }
            None => call.fail(&Error::DeviceBusy {}),
        }
    }
}

/// Whose certificate the caller has: its own; and the update daemon, which speaks to the service for the device, the device's.
fn who(app: &str, uid: u32) -> (&str, u32) {
    if DEVICES_OWN.contains(&app) { (DEVICE, 0) } else { (app, uid) }
}

impl Serve {
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    fn held(&self, app: &str, uid: u32) -> Result<Held, String> {
        let now_s = crate::state::now_s();
        let kept = self.state.kept.borrow();
        kept.certificate(app, uid, now_s).cloned().ok_or_else(|| self.state.why_none())
    }

    fn may(&self, uid: u32) -> bool {
        let mut buckets = self.buckets.borrow_mut();
        if buckets.len() >= BUCKETS_MAX {
            // Only connections that still are there could be throttled: the rest begin anew.
            buckets.clear();
        }
        let now_ms = sys::process::now_ms();
        buckets.entry(uid).or_insert_with(|| Bucket::new(now_ms)).take(now_ms)
    }

    /// The quote is over SHA-256 of the nonce and the app's id, so that none is another app's.
    fn proof(&self, app: &str, nonce: &[u8]) -> Option<(std::os::fd::OwnedFd, i64)> {
        let bound = ring::digest::digest(&ring::digest::SHA256, &[nonce, b"\0", app.as_bytes()].concat());
        let quoted = self
            .state
            .identity
            .with(|tpm| Ok((tpm.quote(bound.as_ref(), &QUOTED)?, tpm.read_pcrs(&QUOTED)?)));
        let (quote, values) = quoted.inspect_err(|e| eprintln!("{app}: {e}")).ok()?;
        let proof = Proof {
            app,
            quote: STANDARD.encode(quote.attest),
            signature: STANDARD.encode(quote.signature),
            pcrs: values.into_iter().map(|(pcr, value)| (pcr, STANDARD.encode(value))).collect(),
            boot_log: STANDARD.encode(&*self.state.boot_log.borrow()),
            package_log: STANDARD.encode(self.state.packages.borrow().text()),
        };
        let bytes = serde_json::to_vec(&proof).ok()?;
        let size = i64::try_from(bytes.len()).ok()?;
        Some((bulk::seal(c"evidence", &bytes).ok()?, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_that_speak_for_the_device_alone_are_the_device() {
        assert_eq!(who("os.gabion.update", 1004), (DEVICE, 0));
        assert_eq!(who("os.gabion.door", 1008), (DEVICE, 0));
        assert_eq!(who("com.example.update", 10_000), ("com.example.update", 10_000));
    }
}
