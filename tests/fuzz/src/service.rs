//! What devices, people and the Security Service send to each other, and requests for certificates.

use serde::Serialize;
use serde::de::DeserializeOwned;
use service_api::problem::Problem;
use service_api::{device, fleet, people, records};

#[path = "../../../service/src/attest/csr.rs"]
mod csr;

/// A body: the first byte says of which type. What is read is written in one way.
pub fn body(bytes: &[u8]) {
    let _is_one = is_body(bytes);
}

fn is_body(bytes: &[u8]) -> bool {
    let all = [
        same::<device::NewEnrolment>,
        same::<device::Challenge>,
        same::<device::Activation>,
        same::<device::Enrolled>,
        same::<device::NonceRequest>,
        same::<device::Nonce>,
        same::<device::Evidence>,
        same::<device::Granted>,
        same::<device::ReportBatch>,
        same::<device::Taken>,
        same::<fleet::New>,
        same::<fleet::NewGroup>,
        same::<fleet::GroupPolicy>,
        same::<fleet::NewRelease>,
        same::<fleet::Withdrawal>,
        same::<fleet::NewClaim>,
        same::<fleet::Placement>,
        same::<fleet::Page<fleet::Device>>,
        same::<people::NewSession>,
        same::<people::Refresh>,
        same::<people::NewInvitation>,
        same::<people::MemberRole>,
        same::<people::NewMachine>,
        same::<records::Verdict>,
        same::<Problem>,
    ];
    let Some((kind, bytes)) = bytes.split_first() else { return false };
    all.get(usize::from(*kind)).is_some_and(|read| read(bytes))
}

fn same<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> bool {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return false };
    let written = serde_json::to_vec(&read).unwrap_or_default();
    let again = serde_json::from_slice::<T>(&written).ok().and_then(|read| serde_json::to_vec(&read).ok());
    assert_eq!(again.as_ref(), Some(&written), "{}", written.escape_ascii());
    true
}

/// A request for a certificate: whoever is certified has a point on P-256.
pub fn csr(bytes: &[u8]) {
    if let Ok(Some(point)) = csr::point(bytes) {
        assert_eq!((point.len(), point.first()), (65, Some(&4)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_bodies_of_each_type() -> std::io::Result<()> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/body");
        let mut count = 0;
        for seed in std::fs::read_dir(folder)? {
            let path = seed?.path();
            assert!(is_body(&std::fs::read(&path)?), "{}", path.display());
            count += 1;
        }
        assert_eq!(count, 25);
        Ok(())
    }
}
