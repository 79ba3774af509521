//! Device-mapper by ioctl: a dm-verity target over an app's image, a dm-crypt target over the data device.
//!
//! A corrupt block reads as EIO for whoever reads it; nothing panics because one app's image is bad. The root
//! hash comes from the app store, which is itself verified; the image's bytes are checked by the kernel against
//! it before any file-system code sees them. Names are made by the caller from checked ids.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

const DM_DEV_CREATE: u32 = 3;
const DM_DEV_REMOVE: u32 = 4;
const DM_DEV_SUSPEND: u32 = 6;
const DM_TABLE_LOAD: u32 = 9;
const DM_READONLY_FLAG: u32 = 1;
const DM_SECURE_DATA_FLAG: u32 = 1 << 15;
const DM_DEFERRED_REMOVE: u32 = 1 << 17;
/// `sizeof(struct dm_ioctl)`, and the offsets of its fields.
const HEADER: usize = 312;
const OFF_TARGET_COUNT: usize = 20;
const OFF_FLAGS: usize = 28;
const OFF_DEV: usize = 40;
const OFF_NAME: usize = 48;
const NAME_MAX: usize = 127;
/// `sizeof(struct dm_target_spec)`.
const SPEC: usize = 40;
const BUFFER: usize = 1024;

/// Where the hashed data and the hashes are, and what they must come to.
#[derive(Debug, Clone)]
pub struct Verity<'a> {
    /// The block device that holds the data, as `MAJOR:MINOR` or a path.
    pub device: &'a str,
    /// The one that holds the hashes; it may be the same.
    pub tree: &'a str,
    /// Number of 4096-byte data blocks.
    pub data_blocks: u64,
    /// First hash block, on the device of the hashes.
    pub hash_start_block: u64,
    /// Root hash, lower-case hex.
    pub root_hash: &'a str,
    /// Salt, lower-case hex, or `-`.
    pub salt: &'a str,
}

/// The one cipher that data is kept under: AES-256 in XTS mode, by 512-byte sectors.
pub const CIPHER: &str = "aes-xts-plain64";

/// Where the encrypted data is, and its key.
pub struct Crypt<'a> {
    /// The block device, as `MAJOR:MINOR` or a path.
    pub device: &'a str,
    /// Where the data begins, 512-byte sectors.
    pub offset: u64,
    /// How long it is, 512-byte sectors.
    pub sectors: u64,
    /// Bytes that are encrypted as one: 512 or 4096. Tweaks count in units of 512 all the same, as `cryptsetup` has it.
    pub sector_bytes: u32,
    /// The key.
    pub key: &'a [u8; 64],
}

/// The device-mapper control device.
#[derive(Debug)]
pub struct DeviceMapper(File);

impl DeviceMapper {
    /// Opens `/dev/mapper/control`.
    pub fn open() -> io::Result<Self> {
        Ok(Self(OpenOptions::new().read(true).write(true).open("/dev/mapper/control")?))
    }

    /// Makes and activates the verity device `name`; gives its device number (`dev_t` as the kernel encodes it
    /// for userland). On any failure the half-made device is removed again.
    pub fn create_verity(&self, name: &str, verity: &Verity<'_>) -> io::Result<u64> {
        self.create(name, DM_READONLY_FLAG, &|request| request.verity(verity))
    }

    /// The same for the encrypted device `name`. What was written of the key to memory on the way is wiped.
    pub fn create_crypt(&self, name: &str, crypt: &Crypt<'_>) -> io::Result<u64> {
        self.create(name, 0, &|request| request.crypt(crypt))
    }

    fn create(&self, name: &str, flags: u32, target: Target<'_>) -> io::Result<u64> {
        self.run(DM_DEV_CREATE, name, 0, None)?;
        let active = self
            .run(DM_TABLE_LOAD, name, flags | DM_SECURE_DATA_FLAG, Some(target))
            .and_then(|_| self.run(DM_DEV_SUSPEND, name, 0, None));
        if active.is_err() {
            // The first error is the one that says something; this one could only repeat it.
            let _ = self.remove(name);
        }
        active
    }

    /// Removes the device `name`, now or when its last user closes it.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.run(DM_DEV_REMOVE, name, DM_DEFERRED_REMOVE, None).map(drop)
    }

    /// One request; the answer is the device number.
    fn run(&self, command: u32, name: &str, flags: u32, target: Option<Target<'_>>) -> io::Result<u64> {
        let mut request = Request::new(name, flags)?;
        if let Some(write) = target {
            write(&mut request)?;
        }
        // _IOWR(DM_IOCTL, command, struct dm_ioctl)
        let code = (3_u32 << 30) | ((HEADER as u32) << 16) | (0xfd << 8) | command;
        // SAFETY: the buffer starts with a struct dm_ioctl whose data_size is the buffer's length; the kernel
        // reads and writes no more than that. It is 8-byte aligned.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), code as libc::Ioctl, request.0.as_mut_ptr()) };
        if ret < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(request.0.get(OFF_DEV / 8).copied().unwrap_or_default())
    }
}

/// The node of a device that was made, by its number: the kernel's `huge_encode_dev`.
pub fn node(device: u64) -> String {
    format!("/dev/dm-{}", device & 0xff | device >> 12 & 0xfff00)
}

/// Writes a target into a request.
type Target<'a> = &'a dyn Fn(&mut Request) -> io::Result<()>;

/// A `struct dm_ioctl` with room for one target, in 8-byte words for its alignment.
struct Request(Box<[u64; BUFFER / 8]>);

impl Request {
    fn new(name: &str, flags: u32) -> io::Result<Self> {
        if name.is_empty() || name.len() > NAME_MAX || name.contains(['/', '\0']) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut request = Self(Box::new([0; BUFFER / 8]));
        // version 4.0.0; data_size; data_start
        for (at, value) in [(0, 4), (12, BUFFER as u32), (16, HEADER as u32), (OFF_FLAGS, flags)] {
            request.put(at, &value.to_ne_bytes())?;
        }
        request.put(OFF_NAME, name.as_bytes())?;
        Ok(request)
    }

    fn verity(&mut self, verity: &Verity<'_>) -> io::Result<()> {
        let Verity { device, tree, data_blocks, hash_start_block, root_hash, salt } = verity;
        let table =
            format!("1 {device} {tree} 4096 4096 {data_blocks} {hash_start_block} sha256 {root_hash} {salt}");
        self.target(b"verity", data_blocks.saturating_mul(8))?;
        // The NUL after it is there.
        self.put(HEADER + SPEC, table.as_bytes())
    }

    /// The key is written digit by digit, so that no copy of it is left anywhere but here.
    fn crypt(&mut self, crypt: &Crypt<'_>) -> io::Result<()> {
        self.target(b"crypt", crypt.sectors)?;
        let mut at = HEADER + SPEC;
        let mut put = |bytes: &[u8]| {
            self.put(at, bytes)?;
            at += bytes.len();
            Ok::<(), io::Error>(())
        };
        put(CIPHER.as_bytes())?;
        put(b" ")?;
        for byte in crypt.key {
            let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            put(&[digit(byte >> 4), digit(byte & 15)])?;
        }
        put(format!(" 0 {} {} 1 sector_size:{}", crypt.device, crypt.offset, crypt.sector_bytes).as_bytes())
    }

    fn target(&mut self, kind: &[u8], sectors: u64) -> io::Result<()> {
        self.put(OFF_TARGET_COUNT, &1_u32.to_ne_bytes())?;
        self.put(HEADER + 8, &sectors.to_ne_bytes())?;
        self.put(HEADER + 24, kind)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        for (i, byte) in bytes.iter().enumerate() {
            let at = at + i;
            let word = self.0.get_mut(at / 8).ok_or(io::Error::from_raw_os_error(libc::E2BIG))?;
            let mut raw = word.to_ne_bytes();
            raw[at % 8] = *byte;
            *word = u64::from_ne_bytes(raw);
        }
        Ok(())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        for word in self.0.iter_mut() {
            // SAFETY: a valid, aligned place of our own. Volatile, so that it is done although nobody reads it again.
            unsafe { std::ptr::write_volatile(word, 0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(request: &Request) -> Vec<u8> {
        request.0.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    #[test]
    fn request_has_the_kernel_layout() {
        let mut request = Request::new("app-1", DM_READONLY_FLAG).unwrap();
        let verity = Verity {
            device: "7:0",
            tree: "7:1",
            data_blocks: 2,
            hash_start_block: 2,
            root_hash: "ab",
            salt: "-",
        };
        request.verity(&verity).unwrap();
        let raw = bytes(&request);
        assert_eq!(raw[0..4], 4_u32.to_ne_bytes());
        assert_eq!(raw[OFF_FLAGS..OFF_FLAGS + 4], 1_u32.to_ne_bytes());
        assert_eq!(&raw[OFF_NAME..OFF_NAME + 6], b"app-1\0");
        assert_eq!(raw[HEADER + 8..HEADER + 16], 16_u64.to_ne_bytes());
        assert_eq!(&raw[HEADER + 24..HEADER + 31], b"verity\0");
        let table = b"1 7:0 7:1 4096 4096 2 2 sha256 ab -\0";
        assert_eq!(&raw[HEADER + SPEC..HEADER + SPEC + table.len()], table);
    }

    #[test]
    fn request_oversized_table_is_refused() {
        let mut request = Request::new("x", 0).unwrap();
        let long = "a".repeat(BUFFER);
        let verity = Verity {
            device: "7:0",
            tree: "7:0",
            data_blocks: 1,
            hash_start_block: 1,
            root_hash: &long,
            salt: "-",
        };
        assert!(request.verity(&verity).is_err());
    }

    #[test]
    fn request_for_crypt_has_the_key_in_hex() {
        let mut request = Request::new("data", 0).unwrap();
        let key = [0xa5; 64];
        request
            .crypt(&Crypt { device: "8:1", offset: 32768, sectors: 99, sector_bytes: 4096, key: &key })
            .unwrap();
        let raw = bytes(&request);
        assert_eq!(raw[HEADER + 8..HEADER + 16], 99_u64.to_ne_bytes());
        assert_eq!(&raw[HEADER + 24..HEADER + 30], b"crypt\0");
        let table = format!("aes-xts-plain64 {} 0 8:1 32768 1 sector_size:4096\0", "a5".repeat(64));
        assert_eq!(&raw[HEADER + SPEC..HEADER + SPEC + table.len()], table.as_bytes());
    }

    #[test]
    fn node_of_a_device_has_all_bits_of_its_minor() {
        // Major 252, minors 3 and 300: the minor's upper bits lie above the major's.
        assert_eq!(node(252 << 8 | 3), "/dev/dm-3");
        assert_eq!(node(1 << 20 | 252 << 8 | 44), "/dev/dm-300");
    }

    #[test]
    fn request_bad_name_is_refused() {
        assert!(Request::new("a/b", 0).is_err());
        assert!(Request::new("", 0).is_err());
    }
}
