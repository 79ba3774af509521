//! Attack: files of different days, each rightly signed, put together.
//! Control: those of one day.

use anyhow::Result;
use tuf::Why;
use update_test::site::{APP, OS, file};
use update_test::{Between, Device, NOW_S, Site, why};

use update_test::forge::newest;

#[test]
fn files_of_different_days_are_refused() -> Result<()> {
    let site = Site::new()?;
    let day_one = newest(&site)?;
    let target =
        std::fs::read_dir(site.path().join("targets/os/box"))?.next().transpose()?.map(|entry| entry.path());
    let target = std::fs::read(target.unwrap_or_default())?;
    site.release(b"system 2", "2")?;
    let day_two = newest(&site)?;
    let cases = [
        ("snapshot", file("snapshot", day_two), site.file(&file("snapshot", day_one))?),
        ("os", file("os", 2), site.file(&file("os", 1))?),
        ("os", file("os", 2), site.file(&file("apps-acme", 1))?),
        ("targets", file("targets", 1), site.file(&file("os", 1))?),
    ];
    for (role, name, bytes) in cases {
        let mut between = Between::new(site.path()).instead(&name, bytes);
        let (what, reason) = why(Device::new(&site)?.fetch(&mut between, NOW_S, OS))?;
        assert!(
            what == role && matches!(reason, Why::Length { .. } | Why::Digest),
            "{name}: {what} {reason}"
        );
    }
    let device = Device::new(&site)?;
    let mut real = Between::new(site.path());
    assert_eq!(device.fetch(&mut real, NOW_S, OS)?, b"system 2");
    let asked = real.asked.last().cloned().unwrap_or_default();
    // Yesterday's image, and an app's, where today's image is asked for.
    for other in [target, b"app 1".to_vec()] {
        let mut between = Between::new(site.path()).instead(&asked, other);
        let (what, reason) = why(device.fetch(&mut between, NOW_S, OS))?;
        assert!(what == OS && matches!(reason, Why::Length { .. } | Why::Digest), "{reason}");
    }
    assert_eq!(device.fetch(&mut Between::new(site.path()), NOW_S, APP)?, b"app 1");
    Ok(())
}
