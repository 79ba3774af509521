//! No attack: a device that slept. What it keeps has expired, keys were rotated meanwhile, and it catches up.
//! What is refused: a repository from before it slept, as if no time had passed.

use anyhow::Result;
use repository::edit::Change;
use tuf::Why;
use update_test::site::OS;
use update_test::{Between, DAY_S, Device, NOW_S, Site, why};

#[test]
fn device_that_slept_for_sixty_days_catches_up() -> Result<()> {
    let mut site = Site::new()?;
    let device = Device::new(&site)?;
    device.fetch(&mut Between::new(site.path()), NOW_S, OS)?;
    let before = site.file("timestamp.json")?;
    site.pass(60 * DAY_S);
    site.release(b"system 2", "2")?;
    let mut between = Between::new(site.path()).instead("timestamp.json", before);
    let (what, reason) = why(device.refresh(&mut between, site.now_s()))?;
    assert!(what == "timestamp" && matches!(reason, Why::Expired(_)), "{reason}");
    assert_eq!(device.fetch(&mut Between::new(site.path()), site.now_s(), OS)?, b"system 2");
    Ok(())
}

#[test]
fn device_that_slept_through_years_of_roots_catches_up() -> Result<()> {
    let mut site = Site::new()?;
    let device = Device::new(&site)?;
    device.fetch(&mut Between::new(site.path()), NOW_S, OS)?;
    for year in 1..=6 {
        site.pass(365 * DAY_S);
        let (old, new) = (format!("root-{year}"), format!("root-{}", year + 2));
        let change = Change {
            add: vec![site.key(&new)?.public],
            remove: vec![site.key(&old)?.id()?],
            threshold: None,
        };
        site.repository()?.rotate("root", &change)?;
        let other = format!("root-{}", year + 1);
        site.sign(&[&old, &other, &new])?;
        for (role, keys) in
            [("targets", &["targets"][..]), ("os", &["os-1", "os-2"]), ("apps-acme", &["acme"])]
        {
            site.repository()?.renew(role)?;
            site.sign(keys)?;
        }
        site.refresh()?;
    }
    assert_eq!(device.fetch(&mut Between::new(site.path()), site.now_s(), OS)?, b"system 1");
    assert_eq!(device.refresh(&mut Between::new(site.path()), site.now_s())?.root_version(), 7);
    Ok(())
}
