//! A day's certificate for a device or for an app on it.

use super::{CaError, CatalogIssuer, dated};
use crate::secrets;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType,
    SubjectPublicKeyInfo,
};
use service_api::device::CertificateSubject;
use service_api::fleet::Placement;
use service_api::{DeviceId, Name};

/// The longest common name there may be (RFC 5280, `ub-common-name`). An app's id that is longer is in the URI alone.
const COMMON_NAME_MAX: usize = 64;

/// What to certify.
#[derive(Clone, Copy, Debug)]
pub struct LeafRequest<'a> {
    /// On which device.
    pub device: &'a DeviceId,
    /// The device itself, or an app.
    pub subject: &'a CertificateSubject,
    /// Whose device it is.
    pub catalog: &'a Name,
    /// Where in the catalog.
    pub place: &'a Placement,
    /// `SubjectPublicKeyInfo`, DER.
    pub public_key: &'a [u8],
}

/// An issued certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// DER.
    pub certificate: Vec<u8>,
    /// Big endian.
    pub serial: Vec<u8>,
    /// SHA-256 of the certificate, in hexadecimal.
    pub sha256: String,
    /// From when.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

impl CatalogIssuer {
    /// Certifies a key.
    ///
    /// # Errors
    /// A key of a kind that is not certified, or no chance.
    pub fn leaf(&self, request: &LeafRequest<'_>, now: i64, lifetime_s: i64) -> Result<Leaf, CaError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        dated(&mut params, now, lifetime_s)?;
        params.distinguished_name = DistinguishedName::new();
        let LeafRequest { device, subject, catalog, place, public_key } = request;
        let (name, uri) = match subject {
            CertificateSubject::Device => (device.as_str(), format!("gabion:device/{device}")),
            CertificateSubject::App(app) => {
                (app.as_str(), format!("gabion:device/{device}/app/{}", app.as_str()))
            }
        };
        if name.len() <= COMMON_NAME_MAX {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let group = format!("gabion:group/{catalog}/{}/{}", place.product, place.group);
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?), SanType::URI(group.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let (not_before, not_after) = (params.not_before.unix_timestamp(), params.not_after.unix_timestamp());
        let serial = params.serial_number.as_ref().map(|serial| serial.to_bytes()).unwrap_or_default();
        let key = SubjectPublicKeyInfo::from_der(public_key)?;
        let certificate = params.signed_by(&key, &self.issuer)?.der().to_vec();
        let sha256 = secrets::sha256(&certificate);
        Ok(Leaf { certificate, serial, sha256, not_before, not_after })
    }
}
