//! What a device says to the service and hears from it, below `/device/v1`.
//!
//! ```text
//! POST /device/v1/enrolments               NewEnrolment  → Challenge       once, and again after the code was used up
//! POST /device/v1/enrolments/{enrolment}   Activation    → Enrolled
//! POST /device/v1/nonces                   NonceRequest  → Nonce           then, within its seconds:
//! POST /device/v1/attestations             Evidence      → Granted, or 403 `Problem` with reasons
//! POST /device/v1/reports                  ReportBatch   → Taken           mutual TLS by the device's certificate
//! PUT  /device/v1/recovery-key             Escrow        → 204             the same; when `Granted.escrow` asks for it
//! GET  /device/v1/crl?catalog=NAME         DER: what was revoked of a catalog's certificates
//! GET  /device/v1/ca[?catalog=NAME]        PEM: the root; or a catalog's authority as a root of its own
//! ```
//!
//! Everything a device sends may come from anybody on the Internet. Nothing here is believed because it was well formed.

use crate::{Bytes, Code, DeviceId, Few, Name, RecoveryKey, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// Certificates asked for in one attestation: the device's own and one for each app.
pub const REQUESTS_MAX: usize = 65;
/// Reports in one batch.
pub const REPORTS_MAX: usize = 1000;

/// Begins an enrolment: which TPM this is, and which key it will attest with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewEnrolment {
    /// The manufacturer's certificate of the endorsement key (X.509, DER), if the TPM has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_certificate: Option<Bytes<4096>>,
    /// The endorsement key's `TPMT_PUBLIC`.
    pub ek_public: Bytes<1024>,
    /// The attestation key's `TPMT_PUBLIC`.
    pub ak_public: Bytes<1024>,
}

/// What only the TPM with both keys can open (`TPM2_ActivateCredential`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Challenge {
    /// Names this enrolment in the path of the next request.
    pub enrolment: Code,
    /// `TPM2B_ID_OBJECT`.
    pub credential_blob: Bytes<256>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Bytes<1024>,
}

/// The opened secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Activation {
    /// What was in the credential.
    pub secret: Bytes<64>,
}

/// An enrolled device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Enrolled {
    /// Its id from now on, for good.
    pub device: DeviceId,
    /// Claims the device, once, while nobody owns it. The device shows it to whoever has access to it and to nobody else;
    /// another enrolment replaces it. None while the device has an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_code: Option<Code>,
}

/// Asks for a nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NonceRequest {
    /// Who will quote it. The nonce is worth nothing to another.
    pub device: DeviceId,
}

/// What the next quote must be over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Nonce {
    /// 32 bytes.
    pub nonce: Bytes<32>,
    /// For how long.
    pub expires_s: u32,
}

/// The boot state with its proof, and the certificates asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Evidence {
    /// Who says so.
    pub device: DeviceId,
    /// The nonce that was given out to it.
    pub nonce: Bytes<32>,
    /// `TPMS_ATTEST` of `TPM2_Quote`, with the nonce as its extra data.
    pub quote: Bytes<1024>,
    /// `TPMT_SIGNATURE` over it, by the attestation key.
    pub signature: Bytes<1024>,
    /// The SHA-256 bank, as the quote has it: the registers' numbers in decimal.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, Bytes<32>>))]
    pub pcrs: BTreeMap<Pcr, Bytes<32>>,
    /// The firmware's event log (TCG PC Client, crypto-agile), as it was handed over.
    pub boot_log: Bytes<131_072>,
    /// The log of packages (TCG Canonical Event Log, CEL-JSON).
    pub package_log: Bytes<262_144>,
    /// Certificates asked for.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<CertificateRequest>, max_items = 65))]
    pub requests: Few<CertificateRequest, REQUESTS_MAX>,
}

/// A platform configuration register, 0 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "PcrKey", into = "String")]
pub struct Pcr(u8);

#[derive(Deserialize)]
#[serde(transparent)]
struct PcrKey(String);

impl Pcr {
    /// The register, if a TPM has it.
    pub fn new(index: u8) -> Option<Self> {
        (index < 24).then_some(Self(index))
    }

    /// Its number.
    pub fn index(self) -> u8 {
        self.0
    }
}

impl TryFrom<PcrKey> for Pcr {
    type Error = &'static str;
    fn try_from(key: PcrKey) -> Result<Self, Self::Error> {
        let index = key.0.parse().ok().and_then(Self::new).filter(|pcr| pcr.0.to_string() == key.0);
        index.ok_or("a register is 0 to 23")
    }
}

impl From<Pcr> for String {
    fn from(pcr: Pcr) -> Self {
        pcr.0.to_string()
    }
}

/// Whose certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CertificateSubject {
    /// `"device"`: the device's own, which it reports with.
    Device,
    /// An app's, by its id.
    App(AppId),
}

/// An app's id as manifests have it; "device" is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(String);

impl AppId {
    /// The id as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CertificateSubject {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "device" {
            return Ok(Self::Device);
        }
        let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if bytes.len() <= 128 && ends(bytes.first()) && ends(bytes.last()) && text.bytes().all(known) {
            return Ok(Self::App(AppId(text)));
        }
        Err("a subject is \"device\" or an app's id")
    }
}

impl From<CertificateSubject> for String {
    fn from(subject: CertificateSubject) -> Self {
        subject.as_str().to_owned()
    }
}

impl CertificateSubject {
    /// `"device"` or the app's id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Device => "device",
            Self::App(app) => app.as_str(),
        }
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use super::CertificateSubject;
    use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
    use utoipa::openapi::{RefOr, RefOr::T};

    impl utoipa::PartialSchema for CertificateSubject {
        fn schema() -> RefOr<Schema> {
            let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(128));
            let pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$";
            T(Schema::Object(
                text.pattern(Some(pattern)).description(Some("\"device\" or an app's id")).build(),
            ))
        }
    }

    impl utoipa::ToSchema for CertificateSubject {}
}

/// Asks for one certificate, with the proof that its key is the TPM's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct CertificateRequest {
    /// Whose.
    pub subject: CertificateSubject,
    /// PKCS#10, DER, signed by the key itself.
    pub csr: Bytes<2048>,
    /// The key's `TPMT_PUBLIC`.
    pub key_public: Bytes<1024>,
    /// `TPMS_ATTEST` of `TPM2_Certify`.
    pub certify: Bytes<1024>,
    /// `TPMT_SIGNATURE` over it, by the attestation key.
    pub certify_signature: Bytes<1024>,
}

/// What a device whose evidence holds gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Granted {
    /// The verdict, as an EAT attestation result (a compact JWS), that others can check.
    pub verdict: String,
    /// The certificates that were asked for.
    pub certificates: Vec<Certificate>,
    /// When to come again, counted from now; the device spreads this by chance.
    pub renew_after_s: u32,
    /// When the certificates end, counted from now: a device need not know the time.
    pub lifetime_s: u32,
    /// The group's policy wants a recovery key of the data disk, and the service has none of this owner's that nobody has
    /// read. The device then makes a *new* one, writes it into the disk's header over the one before, and hands it over
    /// ([`Escrow`]); until that is acknowledged it is asked again at each attestation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escrow: bool,
    /// The permit that is in force for this device, as a JWT (`crate::permits`). Without one the device lets no developer in, and
    /// one that it has ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Text<4096>>,
}

/// A certificate and what it hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Certificate {
    /// Whose.
    pub subject: CertificateSubject,
    /// DER: the certificate first, then the issuing authority. The root is the peer's business.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Bytes<4096>>, max_items = 4))]
    pub chain: Few<Bytes<4096>, 4>,
}

/// Error reports that the device kept until now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct ReportBatch {
    /// The device's number for these very reports. Sent again, they are not counted again.
    pub batch: u64,
    /// The reports.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Report>, max_items = 1000))]
    pub reports: Few<Report, REPORTS_MAX>,
}

/// A kind of error that happened once or many times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Report {
    /// The system's version when it happened.
    pub os_version: Text<64>,
    /// The app, or `os.gabion.…` for the system's own.
    pub app: Text<128>,
    /// The app's version.
    pub app_version: Text<64>,
    /// What happened.
    pub kind: ReportKind,
    /// Which signal, exit status, syscall or path.
    pub detail: Text<256>,
    /// How often.
    pub count: u32,
    /// The first time, seconds since 1970; 0 if the clock was not set.
    pub first: u64,
    /// The last time.
    pub last: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum ReportKind {
    /// Ended by a signal; the detail is its name.
    Signal,
    /// Ended with a status other than 0; the detail is the status.
    Exit,
    /// Used more memory than it may.
    OutOfMemory,
    /// Did not answer its watchdog.
    Watchdog,
    /// A syscall that the filter refused; the detail is its name.
    DeniedSyscall,
    /// A path that Landlock refused; the detail is the path.
    DeniedPath,
    /// A network peer that the firewall refused; the detail is the peer.
    DeniedNetwork,
    /// A package that did not start; the detail says why.
    NotStarted,
    /// An update that did not take; the detail says why.
    Update,
    /// The system restarted for no reason that anybody asked for.
    Restart,
}

impl ReportKind {
    /// Every kind with its word in JSON.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Signal, "signal"),
        (Self::Exit, "exit"),
        (Self::OutOfMemory, "out-of-memory"),
        (Self::Watchdog, "watchdog"),
        (Self::DeniedSyscall, "denied-syscall"),
        (Self::DeniedPath, "denied-path"),
        (Self::DeniedNetwork, "denied-network"),
        (Self::NotStarted, "not-started"),
        (Self::Update, "update"),
        (Self::Restart, "restart"),
    ];

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind)
    }
}

/// The recovery key that the device's data disk has from now on. Acknowledged, it is on the service's disk, sealed, and the
/// device may forget it; sent again, it replaces the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Escrow {
    /// The key.
    pub recovery_key: RecoveryKey,
}

/// The batch is committed; the device may forget it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Taken {
    /// Its number.
    pub taken: u64,
}

/// Which catalog's authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
pub struct AuthorityQuery {
    /// The catalog.
    #[serde(default)]
    pub catalog: Option<Name>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_is_written_in_one_way() -> serde_json::Result<()> {
        let pcrs: BTreeMap<Pcr, Bytes<32>> = serde_json::from_str(r#"{"0":"","23":""}"#)?;
        assert_eq!(serde_json::to_string(&pcrs)?, r#"{"0":"","23":""}"#);
        for bad in [r#"{"24":""}"#, r#"{"00":""}"#, r#"{"+1":""}"#, r#"{"":""}"#] {
            assert!(serde_json::from_str::<BTreeMap<Pcr, Bytes<32>>>(bad).is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn kinds_have_the_words_of_their_json() -> serde_json::Result<()> {
        for (kind, word) in ReportKind::ALL {
            assert_eq!(serde_json::to_string(&kind)?, format!("{word:?}"));
            assert_eq!(ReportKind::from_word(word), Some(kind));
        }
        Ok(())
    }

    #[test]
    fn unknown_field_is_refused() {
        assert!(serde_json::from_str::<Activation>(r#"{"secret":"AA"}"#).is_ok());
        assert!(serde_json::from_str::<Activation>(r#"{"secret":"AA","more":1}"#).is_err());
        assert!(serde_json::from_str::<Activation>(r#"{"secret":"AA","secret":"AA"}"#).is_err());
    }

    #[test]
    fn subject_of_an_app_is_not_the_device() {
        let subject = |text: &str| CertificateSubject::try_from(text.to_owned());
        assert_eq!(subject("device"), Ok(CertificateSubject::Device));
        assert!(matches!(subject("org.example.pump"), Ok(CertificateSubject::App(_))));
        for bad in ["", "a/b", ".a", "a.", "a b", "ä"] {
            assert!(subject(bad).is_err(), "{bad}");
        }
    }
}
