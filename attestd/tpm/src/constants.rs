//! Numbers of the TPM 2.0 Library, part 2 (revision 1.59), under its own names without the prefixes. Only those in use.

/// `TPM_ST_NO_SESSIONS`.
pub(crate) const ST_NO_SESSIONS: u16 = 0x8001;
/// `TPM_ST_SESSIONS`.
pub(crate) const ST_SESSIONS: u16 = 0x8002;
/// `TPM_ST_CREATION`, the tag of a creation ticket.
pub(crate) const ST_CREATION: u16 = 0x8021;
/// `TPM_ST_VERIFIED`, the tag of a ticket that says that a signature is good.
pub(crate) const ST_VERIFIED: u16 = 0x8022;
/// `TPM_ST_AUTH_SECRET`, the tag of a ticket of `PolicySecret`.
pub(crate) const ST_AUTH_SECRET: u16 = 0x8023;
/// `TPM_ST_HASHCHECK`, the tag of a ticket that says that the TPM made a digest.
pub(crate) const ST_HASHCHECK: u16 = 0x8024;

/// `TPM_ALG_RSA`.
pub(crate) const ALG_RSA: u16 = 0x0001;
/// `TPM_ALG_AES`.
pub(crate) const ALG_AES: u16 = 0x0006;
/// `TPM_ALG_KEYEDHASH`.
pub(crate) const ALG_KEYEDHASH: u16 = 0x0008;
/// `TPM_ALG_SHA256`.
pub(crate) const ALG_SHA256: u16 = 0x000b;
/// `TPM_ALG_NULL`.
pub(crate) const ALG_NULL: u16 = 0x0010;
/// `TPM_ALG_RSASSA`.
pub(crate) const ALG_RSASSA: u16 = 0x0014;
/// `TPM_ALG_ECDSA`.
pub(crate) const ALG_ECDSA: u16 = 0x0018;
/// `TPM_ALG_ECC`.
pub(crate) const ALG_ECC: u16 = 0x0023;
/// `TPM_ALG_CFB`.
pub(crate) const ALG_CFB: u16 = 0x0043;
/// `TPM_ECC_NIST_P256`.
pub(crate) const ECC_NIST_P256: u16 = 0x0003;

/// `TPM_RH_OWNER`.
pub(crate) const RH_OWNER: u32 = 0x4000_0001;
/// `TPM_RH_NULL`.
pub(crate) const RH_NULL: u32 = 0x4000_0007;
/// `TPM_RS_PW`: a password instead of a session.
pub(crate) const RS_PW: u32 = 0x4000_0009;
/// `TPM_RH_ENDORSEMENT`.
pub(crate) const RH_ENDORSEMENT: u32 = 0x4000_000b;

/// `TPM_SE_HMAC`.
pub(crate) const SE_HMAC: u8 = 0x00;
/// `TPM_SE_POLICY`.
pub(crate) const SE_POLICY: u8 = 0x01;

/// First byte of the handle of an HMAC session, `TPM_HT_HMAC_SESSION`.
pub(crate) const HT_HMAC_SESSION: u8 = 0x02;
/// First byte of the handle of a policy session, `TPM_HT_POLICY_SESSION`.
pub(crate) const HT_POLICY_SESSION: u8 = 0x03;
/// First byte of the handle of a loaded object, `TPM_HT_TRANSIENT`.
pub(crate) const HT_TRANSIENT: u8 = 0x80;

/// `TPM_CAP_HANDLES`.
pub(crate) const CAP_HANDLES: u32 = 1;
/// `TPM_CAP_TPM_PROPERTIES`.
pub(crate) const CAP_TPM_PROPERTIES: u32 = 6;
/// `TPM_PT_NV_BUFFER_MAX`: the most bytes of one read of NV memory.
pub(crate) const PT_NV_BUFFER_MAX: u32 = 0x12c;

/// `TPMA_SESSION`: the session lives on after the command.
pub(crate) const SESSION_CONTINUE: u8 = 0x01;
/// `TPMA_SESSION`: in an answer, that nothing but audited commands ran since.
pub(crate) const SESSION_AUDIT_EXCLUSIVE: u8 = 0x02;
/// `TPMA_SESSION`: the first parameter of the command is encrypted.
pub(crate) const SESSION_DECRYPT: u8 = 0x20;
/// `TPMA_SESSION`: the first parameter of the answer is encrypted.
pub(crate) const SESSION_ENCRYPT: u8 = 0x40;
/// `TPMA_SESSION`: the session authorises nothing, its HMAC alone counts.
pub(crate) const SESSION_AUDIT: u8 = 0x80;

/// Bytes of a SHA-256 digest, and of the nonces of our sessions.
pub(crate) const DIGEST: usize = 32;

/// The longest command or answer: no TPM has more, and Linux's resource manager takes 4096 (`TPM_BUFSIZE`).
pub const MOST_BYTES: usize = 4096;

/// The longest `TPMT_PUBLIC` that is read: that of an RSA key of 2048 bits takes 314 bytes.
pub(crate) const MOST_PUBLIC: usize = 512;
