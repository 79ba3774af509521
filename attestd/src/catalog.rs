//! Which catalog our certificate is of, and whom its devices are known by.

use service_api::{Bytes, Name};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Longest authority that is kept, bytes.
const DER_MAX: usize = 64 << 10;
/// Authorities that are kept.
const AUTHORITIES_MAX: usize = 8;
/// What the name of a group begins with.
const GROUP: &[u8] = b"gabion:group/";

/// The catalog's name in a chain: `gabion:group/CATALOG/…` in the certificate's names. The service made it; what is found
/// is asked for at the service, and nothing else.
pub fn of(chain: &[Bytes<4096>]) -> Option<Name> {
    let der = chain.first()?.as_slice();
    let at = der.windows(GROUP.len()).position(|window| window == GROUP)? + GROUP.len();
    let rest = der.get(at..)?;
    let name = rest.split(|byte| *byte == b'/').next()?;
    std::str::from_utf8(name).ok()?.to_owned().try_into().ok()
}

/// Whom this catalog's devices are known by: what the service publishes for it in PEM. The service's root is not among them,
/// since every catalog's devices lead to that.
pub fn authorities(published: &[u8]) -> Vec<Bytes<DER_MAX>> {
    let all = CertificateDer::pem_slice_iter(published).take(AUTHORITIES_MAX).filter_map(Result::ok);
    all.filter_map(|der| Bytes::new(der.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalog_is_the_first_part_of_the_groups_name() {
        let chain = |text: &str| vec![Bytes::new(format!("\u{30}\u{82}..{text}..")).unwrap()];
        assert_eq!(of(&chain("gabion:group/acme/meter/field")).unwrap().as_str(), "acme");
        assert!(of(&chain("gabion:device/ab")).is_none());
        assert!(of(&chain("gabion:group/Not A Name/x")).is_none());
        assert!(of(&[]).is_none());
    }

    #[test]
    fn authorities_are_those_of_the_pem_within_bounds() {
        let pem = include_bytes!("../testdata/ca.pem");
        assert_eq!(authorities(pem).len(), 1);
        assert_eq!(authorities(&pem.repeat(100)).len(), AUTHORITIES_MAX);
        assert!(authorities(b"nonsense").is_empty());
    }
}
