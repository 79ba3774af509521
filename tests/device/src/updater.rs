//! A stand-in for the update daemon: it speaks its link with sandboxd by a word of the test's, and says what it hears. It
//! believes nothing and checks nothing, which is what sandboxd is tested against.
//!
//! The new release is in `/data/payload`: a block of text, then the kernel image and the root with its tree, each from a
//! block's beginning. A package is in `/data/NAME.img`, `NAME.verity` and `NAME.toml`. The test's word is in `/data/word`.

use bus::bulk;
use bus::update_link::{FromUpdated, Package, ToUpdated};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use sys::channel;

/// The payload's unit, bytes.
const BLOCK: u64 = 4096;
const WORD: &str = "/data/word";
const PAYLOAD: &str = "/data/payload";
/// How often the test's word is looked for.
const LOOK_MS: u16 = 100;

fn main() {
    println!("updater: {:?}", run());
}

fn run() -> io::Result<()> {
    let link = io::stdin();
    let link = Link(link.as_fd());
    link.send(&FromUpdated::Hello, &[])?;
    loop {
        if let Some((message, _)) = link.heard(LOOK_MS)? {
            println!("updater: heard {message:?}");
        }
        let Ok(word) = fs::read_to_string(WORD) else { continue };
        if word.is_empty() {
            // It is there, and is written next.
            continue;
        }
        fs::remove_file(WORD)?;
        match word.trim() {
            "install" => install(&link, false)?,
            "spoil" => install(&link, true)?,
            "reboot" => link.send(&FromUpdated::Reboot, &[])?,
            "bless" => link.send(&FromUpdated::Bless, &[])?,
            "fail" => link.send(&FromUpdated::Fail("the test says so".to_owned()), &[])?,
            other => match other.split_once(':') {
                Some(("apps", packages)) => println!("updater: apps {:?}", install_apps(&link, packages)),
                Some(("back", id)) => link.send(&FromUpdated::Back(id.to_owned()), &[])?,
                Some(("remove", id)) => link.send(&FromUpdated::Remove(id.to_owned()), &[])?,
                _ => println!("updater: what is {other}?"),
            },
        }
    }
}

struct Link<'a>(BorrowedFd<'a>);

impl Link<'_> {
    fn send(&self, message: &FromUpdated, fds: &[RawFd]) -> io::Result<()> {
        channel::send(self.0, &message.encode(), fds)
    }

    /// What comes within so many milliseconds.
    fn heard(&self, ms: u16) -> io::Result<Option<(ToUpdated, Vec<OwnedFd>)>> {
        let mut fds = [PollFd::new(self.0, PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(ms))? == 0 {
            return Ok(None);
        }
        let (bytes, fds) = channel::receive(self.0)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let message = ToUpdated::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some((message, fds?)))
    }

    fn answer(&self) -> io::Result<(ToUpdated, Vec<OwnedFd>)> {
        let (message, fds) = self.heard(u16::MAX)?.ok_or(io::ErrorKind::TimedOut)?;
        println!("updater: heard {message:?} with {}", fds.len());
        Ok((message, fds))
    }
}

/// Installs `SECONDS:ID@VERSION@NAME:…`, together; how that ends is heard later.
fn install_apps(link: &Link<'_>, words: &str) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (seconds, packages) = words.split_once(':').ok_or_else(invalid)?;
    let seconds = seconds.parse().map_err(|_| invalid())?;
    let (mut together, mut manifests) = (Vec::new(), Vec::new());
    for package in packages.split(':') {
        let [id, version, name] = package.split('@').collect::<Vec<_>>()[..] else { return Err(invalid()) };
        let image = fs::read(format!("/data/{name}.img"))?;
        link.send(&FromUpdated::Incoming(id.to_owned(), version.to_owned(), image.len() as u64), &[])?;
        // Of apps it is told meanwhile.
        let file = loop {
            match link.answer()? {
                (ToUpdated::Incoming, fds) => break fds.into_iter().next().ok_or_else(invalid)?,
                (ToUpdated::Refused(_), _) => return Ok(()),
                _ => {}
            }
        };
        let file = File::from(file);
        file.write_all_at(&image, 0)?;
        file.sync_data()?;
        let verity = fs::read_to_string(format!("/data/{name}.verity"))?.trim().to_owned();
        together.push(Package { id: id.to_owned(), version: version.to_owned(), verity });
        manifests.push(bulk::seal(c"manifest", &fs::read(format!("/data/{name}.toml"))?)?);
    }
    let manifests: Vec<RawFd> = manifests.iter().map(AsRawFd::as_raw_fd).collect();
    link.send(&FromUpdated::Install(together, seconds), &manifests)
}

/// A part of the payload, from this block on.
fn read_part(payload: &File, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut part = vec![0; bytes];
    payload.read_exact_at(&mut part, at * BLOCK)?;
    Ok(part)
}

/// Writes the release into the other slot, with one bit of it wrong if it is to be spoiled, and has it armed.
fn install(link: &Link<'_>, spoil: bool) -> io::Result<()> {
    let payload = File::open(PAYLOAD)?;
    let head = read_part(&payload, 0, BLOCK as usize)?;
    let head = String::from_utf8_lossy(&head);
    let (words, verity) = head.trim_end_matches('\0').split_once('\n').ok_or(io::ErrorKind::InvalidData)?;
    let words: Vec<&str> = words.split(' ').collect();
    let [version, floor, kernel, root, data] = words[..] else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let number = |text: &str| text.parse::<usize>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    let (kernel, root, data) = (number(kernel)?, number(root)?, number(data)?);

    link.send(&FromUpdated::Slot, &[])?;
    // Of apps it is told meanwhile.
    let slots = loop {
        match link.answer()? {
            (ToUpdated::Slot, slots) => break slots,
            (ToUpdated::Refused(_), _) => return Ok(()),
            _ => {}
        }
    };
    let [running, _, root_slot, tree_slot] =
        <[OwnedFd; 4]>::try_from(slots).map_err(|_| io::ErrorKind::InvalidData)?;
    let refused = File::from(running).write_all_at(&[0; 512], 0);
    println!("updater: writing what runs: {}", refused.is_err());
    let kernel_blocks = (kernel as u64).div_ceil(BLOCK);
    let mut image = read_part(&payload, 1 + kernel_blocks, root)?;
    if let Some(byte) = image.get_mut(data / 2).filter(|_| spoil) {
        *byte ^= 1;
    }
    let (data, tree) = image.split_at_checked(data).ok_or(io::ErrorKind::InvalidData)?;
    File::from(root_slot).write_all_at(data, 0)?;
    File::from(tree_slot).write_all_at(tree, 0)?;
    let memory = bulk::seal(c"kernel", &read_part(&payload, 1, kernel)?)?;
    let floor = u32::try_from(number(floor)?).unwrap_or(0);
    let arm = FromUpdated::Arm(version.to_owned(), verity.trim().to_owned(), floor);
    link.send(&arm, &[memory.as_raw_fd()])?;
    link.answer().map(drop)
}
