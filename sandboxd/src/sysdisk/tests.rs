//! On a file that is a disk, made by tools that are not ours. Partitions of the kernel's, and what is read back through it,
//! are for the tests on the device.

use super::*;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;
const ESP: (u64, u64) = (MIB, 4 * MIB);
/// "Linux filesystem data", which anything may be.
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

struct Rig {
    place: tempfile::TempDir,
    layout: Layout,
    folder: &'static str,
}

fn hash(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// The command line of the system with this number.
fn line(number: u8, floor: u32, apps: u8) -> String {
    format!(
        "ro dm-mod.create=\"root,,0,ro,0 64 verity 1 PARTUUID=1 PARTUUID=2 4096 4096 8 1 sha256 {} 00;\
         apps,,1,ro,0 8 verity 1 /dev/vdb /dev/vdb 4096 4096 1 2 sha256 {} 00\" GABION_FLOOR={floor}",
        hash(number),
        hash(apps)
    )
}

fn verity(number: u8) -> VerityText {
    let text = format!("data_blocks=8 hash_start_block=9 root_hash={} salt=00", hash(number));
    VerityText::parse(&text).unwrap()
}

/// A kernel image of these parts: a PE file as small as can be.
fn image(version: &str, line: &str) -> Vec<u8> {
    let about = format!("ID=gabion\nIMAGE_VERSION={version}\n");
    let parts: [(&[u8], &[u8]); 3] =
        [(b".cmdline", line.as_bytes()), (b".osrel", about.as_bytes()), (b".linux", &[7; 5000])];
    let mut bytes = vec![0; 0x200];
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x86] = parts.len() as u8;
    for (number, (name, content)) in parts.iter().enumerate() {
        let entry = 0x80 + 24 + 40 * number;
        let start = bytes.len() as u32;
        bytes[entry..entry + name.len()].copy_from_slice(name);
        bytes[entry + 16..entry + 20].copy_from_slice(&(content.len() as u32).to_le_bytes());
        bytes[entry + 20..entry + 24].copy_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(content);
    }
    bytes
}

fn run(command: &mut Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
}

impl Rig {
    /// A disk as its maker has it, with the system of number 1 in its first slot.
    fn new(kernel: &str) -> Self {
        Self::of(kernel, Layout::default(), "EFI/Linux")
    }

    /// The same with partitions whose types say nothing, unless it is the specified layout.
    fn of(kernel: &str, layout: Layout, folder: &'static str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let disk = place.path().join("disk");
        File::create(&disk).unwrap().set_len(12 * MIB).unwrap();
        let guid = |from: usize| {
            let hex = &hash(1)[2 * from..2 * from + 32];
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        };
        let (root, tree) = ("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5");
        let esp_type = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
        let [root, tree, esp_type] =
            if layout == Layout::default() { [root, tree, esp_type] } else { [LINUX; 3] };
        let script = format!(
            "label: gpt\nsize=4MiB, type={esp_type}\nsize=1MiB, type={root}, uuid={}\n\
             size=1MiB, type={tree}, uuid={}\nsize=1MiB, type={root}\nsize=1MiB, type={tree}\n",
            guid(0),
            guid(16),
        );
        run(Command::new("sfdisk").arg("--quiet").arg(&disk), &script);
        let esp = place.path().join("esp");
        File::create(&esp).unwrap().set_len(ESP.1).unwrap();
        run(Command::new("mkfs.vfat").args(["-F", "16", "-s", "1", "-n", "ESP"]).arg(&esp), "");
        run(
            Command::new("mmd")
                .arg("-i")
                .arg(&esp)
                .args([format!("::/{}", folder.split('/').next().unwrap()), format!("::/{folder}")]),
            "",
        );
        let content = fs::read(&esp).unwrap();
        File::options().write(true).open(&disk).unwrap().write_all_at(&content, ESP.0).unwrap();
        let rig = Self { place, layout, folder };
        rig.put(kernel, &image("1.0.0", &line(1, 3, 9)));
        rig
    }

    fn put(&self, name: &str, content: &[u8]) {
        let file = self.place.path().join("image");
        fs::write(&file, content).unwrap();
        let disk = format!("{}@@{}", self.place.path().join("disk").display(), ESP.0);
        let to = format!("::/{}/{name}", self.folder);
        run(Command::new("mcopy").args(["-o", "-i", &disk]).arg(file).arg(to), "");
    }

    fn names(&self) -> Vec<String> {
        let disk = format!("{}@@{}", self.place.path().join("disk").display(), ESP.0);
        let out =
            Command::new("mdir").args(["-b", "-i", &disk, &format!("::/{}", self.folder)]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let mut names: Vec<_> =
            text.lines().filter_map(|line| line.rsplit('/').next()).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The disk of the system with this number.
    fn disk(&self, number: u8) -> SystemDisk {
        let line = line(number, 3, 9);
        let disk = self.place.path().join("disk");
        SystemDisk::of(disk, self.layout.clone(), &format!("{number}.0.0"), &line).unwrap()
    }
}

fn order(number: u8, floor: u32, image: &[u8]) -> Order {
    let kernel = File::from(bulk::seal(c"test", image).unwrap());
    Order { version: format!("{number}.0.0"), verity: verity(number), floor, kernel }
}

fn good_order(number: u8) -> Order {
    order(number, 3, &image(&format!("{number}.0.0"), &line(number, 3, 9)))
}

#[test]
fn system_is_armed_tried_and_judged() {
    tried_and_judged(&Rig::new("gabion_1.0.0.efi"));
}

#[test]
fn system_is_armed_tried_and_judged_on_a_board_with_a_layout_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("disk.layout");
    assert_eq!(layout(&file), Ok(Layout::default()));
    fs::write(&file, "esp 1\nslot 2 3\nslot 4 5\nkernels boot/ours\n").unwrap();
    tried_and_judged(&Rig::of("gabion_1.0.0.efi", layout(&file).unwrap(), "boot/ours"));
    fs::write(&file, "esp 1\nslot 2 3\n").unwrap();
    assert!(layout(&file).unwrap_err().contains("two slots"));
    // By the types of its partitions nothing is found on it.
    let mut rig = Rig::of("gabion_1.0.0.efi", Layout { esp: Some(0), ..Layout::default() }, "EFI/Linux");
    assert!(rig.disk(1).standing().unwrap_err().to_string().contains("two slots"));
    // A partition that is not there.
    rig.layout.slots = Some([(1, 2), (3, 8)]);
    assert!(rig.disk(1).standing().is_err());
}

fn tried_and_judged(rig: &Rig) {
    let one = rig.disk(1);
    assert_eq!(one.standing().unwrap(), Standing::default());
    assert!(matches!(one.is_armed(), Err(DiskError::Unarmed)));
    assert!(matches!(one.fail(), Err(DiskError::Alone)), "there would be nothing to start");
    assert_eq!(one.boot_images().unwrap().len(), 1);
    one.arm_with(&good_order(2), |_, _| Ok(())).unwrap();
    one.is_armed().unwrap();
    assert_eq!(rig.names(), ["gabion_1.0.0.efi", "gabion_2.0.0+3.efi"]);
    // As the boot loader has it.
    let two = rig.disk(2);
    assert_eq!(two.standing().unwrap(), Standing { trial: true, other: true, ..Standing::default() });
    two.bless().unwrap();
    assert_eq!(rig.names(), ["gabion_1.0.0.efi", "gabion_2.0.0.efi"]);
    assert!(!two.standing().unwrap().trial);
    two.fail().unwrap();
    assert_eq!(rig.names(), ["gabion_1.0.0.efi", "gabion_2.0.0+0.efi"]);
    assert_eq!(rig.disk(1).standing().unwrap().spent, Some(("2.0.0".to_owned(), 0)));
}

#[test]
fn system_that_was_tried_in_vain_is_known_by_the_one_before() {
    let rig = Rig::new("gabion_1.0.0.efi");
    rig.put("gabion_2.0.0+0-3.efi", &image("2.0.0", &line(2, 3, 9)));
    let spent = Some(("2.0.0".to_owned(), 3));
    assert_eq!(rig.disk(1).standing().unwrap(), Standing { spent, ..Standing::default() });
    // One older than what runs is what was there before.
    let two = rig.disk(2);
    two.arm_with(&good_order(3), |_, _| Ok(())).unwrap_err();
    assert!(matches!(rig.disk(1).slot(), Err(DiskError::Io("find a slot's device", _))), "a file has none");
    assert_eq!(rig.names(), ["gabion_1.0.0.efi"], "what failed is given up before its slot is written");
}

#[test]
fn factory_system_on_trial_is_told_so_and_has_its_image_under_two_names() {
    let rig = Rig::new("gabion_1.0.0+1-2.efi");
    assert!(rig.disk(1).standing().unwrap().trial);
    assert!(
        matches!(rig.disk(1).slot(), Err(DiskError::Slots(Fault::Missing(_)))),
        "it is not known to be good"
    );
    rig.put("gabion_1.0.0+2-1.efi", &image("1.0.0", &line(1, 3, 9)));
    rig.put("gabion_0.9.0.efi", &image("0.9.0", &line(4, 3, 9)));
    assert_eq!(rig.disk(1).boot_images().unwrap().len(), 2);
    rig.disk(1).bless().unwrap();
    assert_eq!(rig.names(), ["gabion_0.9.0.efi", "gabion_1.0.0.efi"]);
}

#[test]
fn good_system_goes_back_only_to_one_whose_floor_is_not_lower() {
    for (floor, goes) in [(2, false), (3, true)] {
        let rig = Rig::new("gabion_1.0.0.efi");
        rig.put("gabion_0.9.0.efi", &image("0.9.0", &line(4, floor, 9)));
        assert_eq!(rig.disk(1).fail().is_ok(), goes, "{floor}");
        let on_trial = Rig::new("gabion_1.0.0+1-2.efi");
        on_trial.put("gabion_0.9.0.efi", &image("0.9.0", &line(4, floor, 9)));
        on_trial.disk(1).fail().unwrap();
    }
}

#[test]
fn kernel_image_that_is_not_what_is_said_of_it_is_refused() {
    let rig = Rig::new("gabion_1.0.0.efi");
    let good = image("2.0.0", &line(2, 3, 9));
    let refused = |order: &Order| {
        let why = rig.disk(1).arm_with(order, |_, _| panic!("it was read back")).unwrap_err().to_string();
        assert_eq!(rig.names(), ["gabion_1.0.0.efi"], "{why}");
        why
    };
    for (order, why) in [
        (
            Order { version: "1.0.0".into(), ..good_order(2) },
            "version 1.0.0 is not newer than 1.0.0, which runs",
        ),
        (
            Order { version: "0.9.9".into(), ..good_order(2) },
            "version 0.9.9 is not newer than 1.0.0, which runs",
        ),
        (Order { version: "two".into(), ..good_order(2) }, "version two is not newer than 1.0.0, which runs"),
        (Order { version: "2.0.1".into(), ..good_order(2) }, "it is of another version"),
        (Order { verity: verity(3), ..good_order(2) }, "it starts another root"),
        (order(2, 4, &good), "its floor is another"),
        (order(2, 2, &image("2.0.0", &line(2, 2, 9))), "its floor is 2, and that of what runs is 3"),
        (order(2, 3, &image("2.0.0", &line(2, 3, 8))), "with other apps in its store"),
        (order(2, 3, &image("2.0.0", &line(2, 3, 9).replace("/dev/vdb", "/dev/vdc"))), "with other disks"),
        (
            order(2, 3, &image("2.0.0", &format!("{} GABION_DATA=/dev/vdc", line(2, 3, 9)))),
            "with other disks",
        ),
        (
            order(2, 3, &image("2.0.0", &format!("{} dm-mod.waitfor=/dev/none9", line(2, 3, 9)))),
            "with other disks",
        ),
        (order(2, 3, &good[..good.len() - 1]), "it is no program"),
        (order(2, 3, b"MZ"), "it is no program"),
        (order(2, 3, &[0; 4096]), "it is no program"),
    ] {
        let said = refused(&order);
        assert!(said.contains(why), "{said}");
    }
    let large = Order {
        verity: VerityText::parse(&format!(
            "data_blocks=300 hash_start_block=301 root_hash={} salt=00",
            hash(2)
        ))
        .unwrap(),
        ..good_order(2)
    };
    let large = Order {
        kernel: order(2, 3, &image("2.0.0", &line(2, 3, 9).replace(" 8 1 sha256", " 300 1 sha256"))).kernel,
        ..large
    };
    assert!(refused(&large).contains("does not fit its slot"));
}

#[test]
fn slot_that_does_not_read_back_is_not_armed() {
    let rig = Rig::new("gabion_1.0.0.efi");
    let broken =
        |_: &Slots, _: &VerityText| Err(DiskError::Io("read the slot back", io::ErrorKind::Other.into()));
    rig.disk(1).arm_with(&good_order(2), broken).unwrap_err();
    assert_eq!(rig.names(), ["gabion_1.0.0.efi"]);
}
