//! Which catalog our certificate is of, and whom its devices are known by.

use service_api::{Bytes, Name};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Longest authority that is kept, bytes.
const DER_MAX: usize = 64 << 10;
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

/// The root, from what the service publishes in PEM, and the authorities between it and us.
pub fn authorities(root: &[u8], between: &[Bytes<4096>]) -> Vec<Bytes<DER_MAX>> {
    let published = CertificateDer::pem_slice_iter(root).filter_map(Result::ok).map(|der| der.to_vec());
    let mut all: Vec<Vec<u8>> = published.collect();
    for der in between {
        if !all.iter().any(|known| known == der.as_slice()) {
            all.push(der.as_slice().to_vec());
        }
    }
    all.into_iter().filter_map(Bytes::new).collect()
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
    fn authorities_are_the_root_and_what_is_between_each_once() {
        let pem = include_bytes!("../testdata/ca.pem");
        let root = authorities(pem, &[]);
        assert_eq!(root.len(), 1);
        let same = Bytes::new(root[0].as_slice()).unwrap();
        assert_eq!(authorities(pem, &[same, Bytes::new(*b"x").unwrap()]).len(), 2);
    }
}
