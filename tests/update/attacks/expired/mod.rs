//! Attack: a device is given what was true once, after its time (freeze).
//! Control: the same a second before.

use anyhow::Result;
use tuf::Why;
use update_test::site::OS;
use update_test::{Between, DAY_S, Device, NOW_S, Site, why};

/// Who expires on which day, with the roles that end before it signed for longer.
#[test]
fn each_role_after_its_time_is_refused() -> Result<()> {
    for (role, days) in [("timestamp", 14), ("snapshot", 100), ("os", 400), ("root", 730)] {
        let mut site = Site::new()?;
        if role != "timestamp" {
            // Everything else is signed anew, a day before.
            site.pass((days - 1) * DAY_S);
            let others: &[(&str, &[&str])] = match role {
                "os" => &[("targets", &["targets"]), ("apps-acme", &["acme"])],
                "root" => &[("targets", &["targets"]), ("apps-acme", &["acme"]), ("os", &["os-1", "os-2"])],
                _ => &[],
            };
            for (other, keys) in others {
                site.repository()?.renew(other)?;
                site.sign(keys)?;
            }
            match role {
                // The repository would sign a new one by itself.
                "snapshot" => {
                    let timestamp = site.forged::<tuf::metadata::Timestamp>(
                        "timestamp.json",
                        |it| {
                            (it.version, it.expires) =
                                (2, tuf::date::Date::from_unix(NOW_S + 999 * DAY_S).unwrap_or(it.expires))
                        },
                        &["timestamp"],
                    )?;
                    std::fs::write(site.path().join("metadata/timestamp.json"), timestamp)?;
                }
                _ => site.refresh()?,
            }
        }
        let end_s = NOW_S + days * DAY_S;
        let mut between = Between::new(site.path());
        let (what, reason) = why(Device::new(&site)?.fetch(&mut between, end_s, OS))?;
        assert!(what == role && matches!(reason, Why::Expired(_)), "{role}: {what} {reason}");
        assert_eq!(
            Device::new(&site)?.fetch(&mut Between::new(site.path()), end_s - 1, OS)?,
            b"system 1",
            "{role}"
        );
    }
    Ok(())
}

#[test]
fn targets_after_their_time_are_refused() -> Result<()> {
    let mut site = Site::new()?;
    site.pass(399 * DAY_S);
    site.repository()?.renew("os")?;
    site.sign(&["os-1", "os-2"])?;
    site.refresh()?;
    let end_s = NOW_S + 400 * DAY_S;
    let (what, reason) = why(Device::new(&site)?.refresh(&mut Between::new(site.path()), end_s))?;
    assert!(what == "targets" && matches!(reason, Why::Expired(_)), "{what} {reason}");
    assert!(Device::new(&site)?.refresh(&mut Between::new(site.path()), end_s - 1).is_ok());
    Ok(())
}
