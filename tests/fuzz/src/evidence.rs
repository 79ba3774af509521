//! What a device shows of itself, and what releases publish of themselves: read by the Security Service, from anybody.

use ::evidence::appraise::{Evidence, Policy, appraise};
use ::evidence::bootlog::BootLog;
use ::evidence::packages;
use ::evidence::reference::ReferenceValues;
use ::evidence::tpm::{Attest, Attested, Public, Selection, Signature};

use crate::is_printable;

/// A firmware's event log: titles can be shown; the verdict on it is bounded and printable, and affirms nothing while nothing is
/// published.
pub fn bootlog(bytes: &[u8]) {
    let Ok(log) = BootLog::read(bytes) else { return };
    for event in &log.events {
        assert!(event.title().len() < 160 && is_printable(&event.title()), "{}", event.title());
        assert!(event.text().len() < 200 && is_printable(&event.text()), "{}", event.text());
    }
    let mut values = log.replay();
    assert_eq!(values.len(), 16);
    values.retain(|pcr, _| Selection::DEVICE.has(*pcr));
    let evidence = Evidence { values: &values, boot_log: bytes, package_log: &[] };
    let verdict = appraise(evidence, &[], &Policy::default());
    assert!(!verdict.passes());
    assert!(verdict.reasons.len() <= 33 && verdict.reasons.iter().all(|reason| is_printable(reason)));
    assert!(verdict.measurements.len() <= log.events.len() + 32);
}

/// A log of packages: each has one spelling.
pub fn packagelog(bytes: &[u8]) {
    let Ok(all) = packages::read(bytes) else { return };
    let records = all.iter().enumerate().map(|(number, package)| package.record(number));
    let records: Vec<String> =
        records.map(|record| record.map(|line| line + "\n").unwrap_or_default()).collect();
    assert_eq!(records.concat().as_bytes(), bytes);
    assert!(packages::replay(&all).is_ok());
}

/// A TPM's structures: what is read of one is all of it.
pub fn statement(bytes: &[u8]) {
    if let Ok(public) = Public::read(bytes) {
        assert_eq!((public.raw(), public.name().len()), (bytes, 34));
        assert!([91, 294].contains(&public.subject_public_key_info().len()));
    }
    if let Ok(attest) = Attest::read(bytes) {
        assert!(attest.nonce.len() + attest.qualified_signer.len() < bytes.len());
        if let Attested::Quote { selection, .. } = attest.attested {
            let numbers: Vec<u32> = selection.numbers().collect();
            assert_eq!(Selection::of(&numbers), selection);
        }
    }
    if let Ok(Signature::Rsassa(signature)) = Signature::read(bytes) {
        assert!(signature.len() + 6 == bytes.len());
    }
}

/// Reference values: what is read is what is written.
pub fn reference(bytes: &[u8]) {
    let Ok(values) = ReferenceValues::read(bytes) else { return };
    let written = serde_json::to_vec(&values).unwrap_or_default();
    assert_eq!(ReferenceValues::read(&written).ok(), Some(values));
}
