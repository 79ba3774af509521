//! A catalog's authority as a root of its own, for whoever is to take that catalog's devices and nobody else's.
//!
//! The issuing authority's certificate is the root's, and most TLS libraries follow a chain until they come to one that
//! signed itself: told to trust that certificate they trust nobody, and told to trust the root they take the devices of every
//! catalog. The same name and the same key in a certificate that signed itself end the chain where it should.

use super::{CaError, CatalogIssuer, ISSUER_S, authority_params, issuer_name};
use service_api::Name;

impl CatalogIssuer {
    /// The certificate, DER. It is made anew each time; what counts in it are name and key.
    ///
    /// # Errors
    /// No signature.
    pub fn anchor(&self, catalog: &Name, now: i64) -> Result<Vec<u8>, CaError> {
        let params = authority_params(&issuer_name(catalog), now, ISSUER_S, Some(0))?;
        Ok(params.signed_by(self.issuer.key(), &self.issuer)?.der().to_vec())
    }
}
