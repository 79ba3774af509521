//! Attack: a file that never ends, in the place of each file.
//! Control: the files themselves.

use anyhow::Result;
use tuf::Why;
use update_test::site::{OS, file};
use update_test::{Between, Device, NOW_S, Site, why};

#[test]
fn files_that_never_end_are_given_up_at_their_bound() -> Result<()> {
    let site = Site::new()?;
    let mut real = Between::new(site.path());
    assert_eq!(Device::new(&site)?.fetch(&mut real, NOW_S, OS)?, b"system 1");
    let target = real.asked.last().cloned().unwrap_or_default();
    // What a device does not know the length of has a bound; what it does, that one.
    let length = |name: &str| site.file(name).map(|bytes| bytes.len() as u64);
    let cases = [
        ("2.root.json".to_owned(), 64 << 10),
        ("timestamp.json".to_owned(), 16 << 10),
        (file("snapshot", 1), length(&file("snapshot", 1))?),
        (file("targets", 1), length(&file("targets", 1))?),
        (file("os", 1), length(&file("os", 1))?),
        (target, 8),
    ];
    for (name, most) in cases {
        let mut between = Between::new(site.path()).endless(&name);
        let (what, reason) = why(Device::new(&site)?.fetch(&mut between, NOW_S, OS))?;
        assert_eq!(reason, Why::Length { most }, "{what}");
        assert!(between.given.get() <= most + 4096, "{name}: {} bytes", between.given.get());
    }
    Ok(())
}
