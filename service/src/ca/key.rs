//! Where the keys of authorities are: sealed in the file and the database, or in a token, of which those have the keys' ids.

use super::token::{Token, TokenKey};
use super::{CaError, TokenUri, new_key};
use crate::secrets;
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use std::sync::Arc;

/// An authority's key.
pub(super) enum Key {
    /// In memory.
    Here(KeyPair),
    /// In a token.
    Token(TokenKey),
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Here(key) => key.der_bytes(),
            Self::Token(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Here(key) => key.algorithm(),
            Self::Token(key) => key.algorithm(),
        }
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::Here(key) => key.sign(message),
            Self::Token(key) => key.sign(message),
        }
    }
}

/// Makes and opens them.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    /// What is kept is the key (PKCS#8).
    Sealed,
    /// What is kept is the key's id in the token.
    Token(Arc<Token>),
}

impl Keys {
    /// In a token, or not.
    pub(super) fn of(uri: Option<&TokenUri>) -> Result<Self, CaError> {
        Ok(match uri {
            None => Self::Sealed,
            Some(uri) => Self::Token(Token::open(uri)?),
        })
    }

    /// Makes a key. Comes back with it and what is to be kept, sealed, to open it again.
    pub(super) fn make(&self, label: &str) -> Result<(Key, Vec<u8>), CaError> {
        match self {
            Self::Sealed => {
                let key = new_key()?;
                let kept = key.serialize_der();
                Ok((Key::Here(key), kept))
            }
            Self::Token(token) => {
                let (key, id) = token.generate(label, secrets::random()?)?;
                Ok((Key::Token(key), id))
            }
        }
    }

    /// Opens a key by what was kept of it.
    pub(super) fn open(&self, kept: &[u8]) -> Result<Key, CaError> {
        Ok(match self {
            Self::Sealed => Key::Here(KeyPair::try_from(kept)?),
            Self::Token(token) => Key::Token(token.key(kept)?),
        })
    }
}
