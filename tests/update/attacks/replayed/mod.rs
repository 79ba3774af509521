//! Attack: a device that has seen today's repository is given yesterday's, whole and rightly signed.
//! Control: a device that has not seen it takes it, and the first takes tomorrow's.

use anyhow::Result;
use tuf::Why;
use update_test::site::OS;
use update_test::{Between, Device, NOW_S, Site, why};

#[test]
fn yesterdays_repository_is_refused() -> Result<()> {
    let site = Site::new()?;
    let timestamp = site.file("timestamp.json")?;
    let yesterday = || Between::new(site.path()).instead("timestamp.json", timestamp.clone());
    let device = Device::new(&site)?;
    site.release(b"system 2", "2")?;
    assert_eq!(device.fetch(&mut Between::new(site.path()), NOW_S, OS)?, b"system 2");
    let kept = device.kept()?;
    assert_eq!(
        why(device.fetch(&mut yesterday(), NOW_S, OS))?,
        ("timestamp".into(), Why::Rollback { is: 1, seen: 2 })
    );
    assert_eq!(device.kept()?, kept);
    assert_eq!(Device::new(&site)?.fetch(&mut yesterday(), NOW_S, OS)?, b"system 1");
    site.release(b"system 3", "3")?;
    assert_eq!(device.fetch(&mut Between::new(site.path()), NOW_S, OS)?, b"system 3");
    Ok(())
}
