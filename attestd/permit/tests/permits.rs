//! Permits that are good, and each way in which one is not.

mod tools;

use permit::text::{LIFETIME_MAX_S, TEXT_MAX};
use permit::{Book, Claimed, Developer, Refusal, Taken, Way, book, developer};
use tools::{Catalog, DEVICE, OTHER};

const NOW_S: u64 = 1_800_000_000;
const DAY_S: u64 = 86_400;

fn taken(book: &mut Book, catalog: &Catalog, text: &str, now_s: u64) -> Result<Taken, Refusal> {
    book.take(text, catalog.ground(DEVICE), Way::Hand, now_s)
}

#[test]
fn permit_says_what_was_issued() {
    let catalog = Catalog::new("acme");
    let terms = catalog.terms(DEVICE, NOW_S, NOW_S + DAY_S);
    let text = catalog.issue(&terms).unwrap();
    let claimed = Claimed::read(&text).unwrap();
    assert_eq!((claimed.terms(), claimed.authority()), (&terms, &b"the authority's certificate"[..]));
    assert_eq!(claimed.checked(catalog.ground(DEVICE).authority).unwrap().terms(), &terms);
    assert!(Claimed::read(&format!("{text}\n")).is_ok());
    assert!(text.len() < TEXT_MAX / 2, "{}", text.len());
}

#[test]
fn permit_with_one_bit_flipped_anywhere_is_refused() {
    let catalog = Catalog::new("acme");
    let good = catalog.permit(DEVICE, NOW_S, NOW_S + DAY_S);
    for at in 0..good.len() {
        for bit in 0..7 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let bad = String::from_utf8(bytes).unwrap();
            let mut book = Book::default();
            let refused = taken(&mut book, &catalog, &bad, NOW_S);
            assert!(
                matches!(refused, Err(Refusal::Form(_) | Refusal::Signature)),
                "bit {bit} of byte {at}: {refused:?}"
            );
            assert_eq!(book, Book::default());
        }
    }
}

#[test]
fn permit_of_another_device_or_catalog_is_refused() {
    let (acme, other) = (Catalog::new("acme"), Catalog::new("acme"));
    let mut book = Book::default();
    let text = acme.permit(OTHER, NOW_S, NOW_S + DAY_S);
    assert_eq!(taken(&mut book, &acme, &text, NOW_S), Err(Refusal::Device(OTHER.to_owned())));
    let text = other.permit(DEVICE, NOW_S, NOW_S + DAY_S);
    assert_eq!(taken(&mut book, &acme, &text, NOW_S), Err(Refusal::Signature));
    let mut terms = acme.terms(DEVICE, NOW_S, NOW_S + DAY_S);
    terms.catalog = "emca".to_owned();
    assert_eq!(taken(&mut book, &acme, &acme.issue(&terms).unwrap(), NOW_S), Err(Refusal::Catalog));
    assert!(!book.is_held());
}

#[test]
fn permit_ends_when_it_says_and_not_before() {
    let catalog = Catalog::new("acme");
    let text = catalog.permit(DEVICE, NOW_S, NOW_S + DAY_S);
    let mut book = Book::default();
    assert_eq!(taken(&mut book, &catalog, &text, NOW_S + DAY_S), Err(Refusal::Expired));
    assert_eq!(taken(&mut book, &catalog, &text, NOW_S - book::SKEW_S - 1), Err(Refusal::Early));
    assert_eq!(taken(&mut book, &catalog, &text, NOW_S - book::SKEW_S), Ok(Taken::New));
    let ground = Some(catalog.ground(DEVICE));
    assert!(book.in_force(ground, NOW_S + DAY_S - 1).is_some());
    assert!(book.in_force(ground, NOW_S + DAY_S).is_none());
    assert!(!book.is_held());
}

#[test]
fn clock_set_back_prolongs_nothing() {
    let catalog = Catalog::new("acme");
    let ground = Some(catalog.ground(DEVICE));
    let text = catalog.permit(DEVICE, NOW_S, NOW_S + DAY_S);
    let mut book = Book::default();
    taken(&mut book, &catalog, &text, NOW_S).unwrap();
    assert!(book.in_force(ground, NOW_S + DAY_S - 1).is_some());
    // What is kept comes back as it was.
    let mut kept: Book = serde_json::from_str(&serde_json::to_string(&book).unwrap()).unwrap();
    assert!(kept.in_force(ground, NOW_S + DAY_S).is_none());
    assert!(kept.in_force(ground, NOW_S).is_none());
    // One that was never used, and has ended by the latest time that was seen.
    let mut book = Book::default();
    book.in_force(ground, NOW_S + 2 * DAY_S);
    assert_eq!(taken(&mut book, &catalog, &text, NOW_S), Err(Refusal::Expired));
    // The service, which offers what is in force, sets right a clock that was wrong.
    assert_eq!(book.take(&text, catalog.ground(DEVICE), Way::Service, NOW_S), Ok(Taken::New));
    assert!(book.in_force(ground, NOW_S).is_some());
}

#[test]
fn permit_that_was_ended_or_replaced_is_not_taken_again() {
    let catalog = Catalog::new("acme");
    let [first, second] = [0, 1].map(|later_s| catalog.permit(DEVICE, NOW_S + later_s, NOW_S + DAY_S));
    let mut book = Book::default();
    assert_eq!(taken(&mut book, &catalog, &first, NOW_S), Ok(Taken::New));
    assert_eq!(taken(&mut book, &catalog, &first, NOW_S), Ok(Taken::Same));
    assert_eq!(taken(&mut book, &catalog, &second, NOW_S), Ok(Taken::New));
    assert_eq!(taken(&mut book, &catalog, &first, NOW_S), Err(Refusal::Used));
    assert!(book.end() && !book.end());
    for text in [&first, &second] {
        assert_eq!(taken(&mut book, &catalog, text, NOW_S), Err(Refusal::Used));
        let by_service = book.take(text, catalog.ground(DEVICE), Way::Service, NOW_S);
        assert_eq!(by_service, Err(Refusal::Used));
    }
}

#[test]
fn device_that_has_another_catalog_now_lets_its_permit_go() {
    let (acme, other) = (Catalog::new("acme"), Catalog::new("other"));
    let mut book = Book::default();
    taken(&mut book, &acme, &acme.permit(DEVICE, NOW_S, NOW_S + DAY_S), NOW_S).unwrap();
    assert!(book.in_force(Some(other.ground(DEVICE)), NOW_S).is_none());
    assert!(book.in_force(Some(acme.ground(DEVICE)), NOW_S).is_none());
}

#[test]
fn terms_that_no_device_takes_are_not_issued() {
    let catalog = Catalog::new("acme");
    for edit in [
        (|terms| terms.expires_s = terms.issued_s) as fn(&mut permit::Terms),
        |terms| terms.expires_s = terms.issued_s + LIFETIME_MAX_S + 1,
        |terms| terms.device.make_ascii_uppercase(),
        |terms| terms.device.truncate(63),
        |terms| terms.catalog.clear(),
        |terms| terms.id = "a b".to_owned(),
    ] {
        let mut terms = catalog.terms(DEVICE, NOW_S, NOW_S + LIFETIME_MAX_S);
        assert!(catalog.issue(&terms).is_ok());
        edit(&mut terms);
        assert!(matches!(catalog.issue(&terms), Err(Refusal::Form(_))), "{terms:?}");
    }
}

#[test]
fn text_that_is_no_permit_is_refused_with_what_is_wrong() {
    let long = "a".repeat(TEXT_MAX + 1);
    for bad in ["", ".", "..", "...", "a.b.c", "e30.e30.", "e30.e30.e30", long.as_str()] {
        assert!(matches!(Claimed::read(bad), Err(Refusal::Form(_))), "{bad}");
    }
}

#[test]
fn developer_is_his_certificate_and_its_key() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let made = |name: &str| {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    };
    let (one, other) = (made("one"), made("other"));
    let developer = Developer::of(&one).unwrap();
    assert_eq!(developer.point, <rcgen::KeyPair as rcgen::PublicKeyData>::der_bytes(&key));
    assert!(developer.is(&one) && !developer.is(&other));
    assert_eq!(developer.fingerprint().len(), 64);
    let edwards = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let edwards = rcgen::CertificateParams::default().self_signed(&edwards).unwrap();
    assert!(Developer::of(edwards.der()).is_err() && Developer::of(b"none").is_err());
    assert!(developer::point_of(&one).is_some());
}
