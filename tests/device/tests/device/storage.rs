//! An app's own storage, as what the system meets there when it prepares the box again.

use device_test::{App, Bench};

/// Links wherever the system has files of its own, to files of its own; and a directory that everybody may write.
const PLANT: &str = r#"
cd /data
for name in current current.1 exits identity gabion logs apps lost+found notify bus serve manifest.toml root weak; do
  rm -rf $name
  busybox ln -s /data/victim $name
  busybox ln -s /data/gabion/identity $name.identity
  busybox ln -s ../../victim $name.above
  busybox ln -s /proc/1/root/data/victim $name.root
done
busybox chmod 2777 /data
sync
echo planted
exec sleep 1000
"#;

#[test]
fn storage_full_of_links_is_prepared_again_and_none_is_followed() {
    let planter = App::shell("org.test.planter", PLANT).resources("memory = \"8MiB\"\nstorage = \"1MiB\"\n");
    let mut device = Bench::new("storage-links").app(planter).boot().unwrap();
    device.wait_for("[org.test.planter] planted");
    device.agent("write /data/victim unharmed");
    let off = device.power_button();
    let (identity, victim) =
        (off.read_file("/gabion/identity").unwrap(), off.owner_and_mode("/victim").unwrap());
    assert!(identity.contains("org.test.planter"));

    let device = off.boot().unwrap();
    device.wait_for("[org.test.planter] planted");
    let off = device.power_button();
    off.check_data().unwrap();
    assert_eq!(off.read_file("/gabion/identity").unwrap(), identity);
    assert_eq!(off.read_file("/victim").unwrap(), "unharmed");
    assert_eq!(off.owner_and_mode("/victim").unwrap(), victim);
    assert_eq!(victim, "0 0644");
}
