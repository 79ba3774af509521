//! Network Time Security (RFC 8915): keys and cookies by TLS, then SNTP that is authenticated with them.
//!
//! | file | |
//! |---|---|
//! | `records` | what is said in the TLS connection |
//! | `fields` | what is added to a question and an answer |
//! | `establish` | the TLS connection |
//!
//! An attacker on the way to the server can only be silent, drop and delay: what he writes into an answer makes it none, and
//! each answer holds for one question. He can have the keys established anew, once a round. Who has a certificate for the
//! server's name is the server.

pub mod establish;
pub mod fields;
pub mod records;

/// What was established with a server: it holds until the cookies are used up.
#[derive(Debug)]
pub struct Session {
    /// For what we say.
    pub to_server: Key,
    /// For what the server says.
    pub from_server: Key,
    /// Each names the keys for one question; at most [`MOST_COOKIES`].
    pub cookies: Vec<Vec<u8>>,
}

/// A key of AEAD_AES_SIV_CMAC_256.
pub type Key = [u8; 32];

/// Cookies that are kept: RFC 8915, section 5.7, has a client keep 8.
pub const MOST_COOKIES: usize = 8;

/// The longest cookie. They are 100 bytes of the servers there are; a question with eight must fit into a packet.
pub const COOKIE_BYTES: usize = 144;
