//! Authorities and developers for tests.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its own; this is test code")]

use permit::{Developer, Ground, Refusal, Terms};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

/// The device of most tests.
pub(crate) const DEVICE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Another.
pub(crate) const OTHER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A catalog with its authority.
pub(crate) struct Catalog {
    pub(crate) name: &'static str,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Catalog {
    pub(crate) fn new(name: &'static str) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap();
        Self { name, key, random }
    }

    pub(crate) fn ground<'a>(&'a self, device: &'a str) -> Ground<'a> {
        Ground { device, catalog: self.name, authority: self.key.public_key().as_ref() }
    }

    pub(crate) fn terms(&self, device: &str, issued_s: u64, expires_s: u64) -> Terms {
        Terms {
            catalog: self.name.to_owned(),
            device: device.to_owned(),
            id: format!("id-{issued_s}"),
            issued_s,
            expires_s,
            developer: developer(1),
        }
    }

    pub(crate) fn issue(&self, terms: &Terms) -> Result<String, Refusal> {
        terms.issue(b"the authority's certificate", |message| {
            let signature = self.key.sign(&self.random, message).unwrap();
            Ok(signature.as_ref().try_into().unwrap())
        })
    }

    pub(crate) fn permit(&self, device: &str, issued_s: u64, expires_s: u64) -> String {
        self.issue(&self.terms(device, issued_s, expires_s)).unwrap()
    }
}

pub(crate) fn developer(number: u8) -> Developer {
    let mut point = [number; 65];
    point[0] = 4;
    Developer { certificate: [number; 32], point }
}
