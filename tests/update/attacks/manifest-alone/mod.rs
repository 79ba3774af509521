//! Attack: metadata without the file that it speaks of, a file that no metadata speaks of, keys alone.
//! Control: both.

use anyhow::Result;
use tuf::Why;
use update_test::site::{OS, file};
use update_test::{Between, Device, NOW_S, Site, why};

#[test]
fn part_of_a_repository_is_no_update() -> Result<()> {
    let site = Site::new()?;
    let device = Device::new(&site)?;
    let mut real = Between::new(site.path());
    assert_eq!(device.fetch(&mut real, NOW_S, OS)?, b"system 1");
    let target = real.asked.last().cloned().unwrap_or_default();
    // Metadata alone.
    let refused = why(device.fetch(&mut Between::new(site.path()).missing(&target), NOW_S, OS))?;
    assert_eq!(refused, (OS.into(), Why::Missing));
    // Keys and everything up to one role, for each.
    for (role, name) in [
        ("timestamp", "timestamp.json".into()),
        ("snapshot", file("snapshot", 1)),
        ("targets", file("targets", 1)),
        ("os", file("os", 1)),
    ] {
        let refused =
            why(Device::new(&site)?.fetch(&mut Between::new(site.path()).missing(&name), NOW_S, OS))?;
        assert_eq!(refused, (role.to_owned(), Why::Missing));
    }
    // A file that nobody speaks of.
    std::fs::write(site.path().join("targets/os/box/evil.img"), b"evil")?;
    let refused = why(device.fetch(&mut Between::new(site.path()), NOW_S, "os/box/evil.img"))?;
    assert_eq!(refused, ("os/box/evil.img".into(), Why::NoTarget));
    for path in ["", "/os", "os/../os/box/root.img", "os//box", "os/box/"] {
        assert_eq!(why(device.fetch(&mut Between::new(site.path()), NOW_S, path))?.1, Why::Name, "{path}");
    }
    Ok(())
}
