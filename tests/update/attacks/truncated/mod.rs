//! Attack: each file cut short at each stage, or a connection that ends there.
//! Control: the same device then takes the whole.

use anyhow::Result;
use tuf::{Error, Why};
use update_test::site::OS;
use update_test::{Between, Device, NOW_S, Site, why};

#[test]
fn file_that_is_cut_short_is_refused_and_harms_nothing() -> Result<()> {
    let site = Site::new()?;
    let mut real = Between::new(site.path());
    Device::new(&site)?.fetch(&mut real, NOW_S, OS)?;
    site.release(b"system 2, which is longer", "2")?;
    let before = Device::new(&site)?;
    let mut real = Between::new(site.path());
    before.fetch(&mut real, NOW_S, OS)?;
    for name in real.asked.clone().into_iter().filter(|name| name != "2.root.json") {
        let folder = if name.contains('/') { "targets" } else { "metadata" };
        let whole = std::fs::read(site.path().join(folder).join(&name))?;
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            let device = Device::new(&site)?;
            let mut between = Between::new(site.path()).instead(&name, whole[..length].to_vec());
            let (_, reason) = why(device.fetch(&mut between, NOW_S, OS))?;
            assert!(matches!(reason, Why::Form(_) | Why::Length { .. }), "{name} {length}: {reason}");
            assert_eq!(
                device.fetch(&mut Between::new(site.path()), NOW_S, OS)?,
                b"system 2, which is longer"
            );
        }
        let device = Device::new(&site)?;
        let lost = device.fetch(&mut Between::new(site.path()).cut(&name), NOW_S, OS);
        assert!(matches!(lost, Err(Error::Source(_))), "{name}");
        assert_eq!(device.fetch(&mut Between::new(site.path()), NOW_S, OS)?, b"system 2, which is longer");
    }
    Ok(())
}
