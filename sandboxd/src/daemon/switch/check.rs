//! What is found wrong before anything is stopped: what belongs to others, and images that do not read back.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use policy::{AppId, Network};

use super::super::Daemon;
use super::super::intake::{devices, label};
use super::Phase;
use crate::packages::fit::Taken;
use crate::verity;
use crate::worker::What;

/// What is read back in one turn, bytes.
const AT_ONCE: usize = 1 << 20;

impl Daemon {
    /// Devices, ports and interfaces belong to one app: they are checked against all who stay, and each other.
    pub(super) fn switch_fits(&mut self) -> Result<(), String> {
        let Some(switch) = &self.installs.switch else { return Ok(()) };
        let leave: BTreeSet<u32> =
            switch.coming.iter().filter_map(|coming| self.uid_of(coming.id.as_str())).collect();
        let mut taken = Taken::by_who_stays(self.holders.held(), &leave);
        let mut ports = Taken::by_who_stays(self.net_ports(), &leave);
        let mut served = Taken::by_who_stays(self.bus.grants.served(), &leave);
        let name = |who: u32| {
            let coming = switch.index(who).and_then(|index| switch.coming.get(index));
            coming.map(|coming| coming.id.to_string()).or_else(|| Some(self.apps.get(&who)?.id.clone()))
        };
        let held = |id: &AppId, what: &str, who: u32| {
            let who = name(who).unwrap_or_else(|| "another app".to_owned());
            format!("{id}: {what} is held by {who}")
        };
        for (coming, index) in switch.coming.iter().zip(0..) {
            let (Some(plan), who, id) = (&coming.plan, switch.key(index), &coming.id) else { continue };
            for device in devices(plan, 0).map_err(|e| format!("{id}: {e}"))? {
                let what = format!("/dev/{}", device.name);
                taken.take(device.rdev, who).map_err(|holder| held(id, &what, holder))?;
            }
            if let Network::Device { listen, .. } = &plan.network {
                for port in listen.iter().map(|listen| listen.port()) {
                    ports.take(port, who).map_err(|holder| held(id, &format!("port {port}"), holder))?;
                }
            }
            for (interface, _) in &plan.provides {
                served.take(interface.clone(), who).map_err(|holder| held(id, interface, holder))?;
            }
        }
        self.switch_prepare()
    }

    /// Sets the images up under their root hashes, to be read from the disk and not from memory.
    fn switch_prepare(&mut self) -> Result<(), String> {
        let images = self.config.images;
        let Some(switch) = &mut self.installs.switch else { return Ok(()) };
        for coming in &mut switch.coming {
            let says = |e: &dyn std::fmt::Display| format!("{}: {e}", coming.id);
            let file = File::open(coming.dir.join("root.img")).map_err(|e| says(&e))?;
            posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .map_err(|e| says(&e))?;
            let name = label("coming", Some(coming.number));
            let image = verity::prepare(&coming.dir, &name, images).map_err(|e| says(&e))?;
            coming.whole = Some(image.open().map_err(|e| says(&e))?);
            coming.image = Some(image);
        }
        switch.phase = Phase::Reading;
        Ok(())
    }

    /// Reads some more back: what was written is what was meant, to the last block, before anything depends on it.
    pub(super) fn switch_read(&mut self) -> io::Result<()> {
        let Some(switch) = &mut self.installs.switch else { return Ok(()) };
        for (index, coming) in switch.coming.iter_mut().enumerate() {
            let Some((file, length)) = &coming.whole else { continue };
            let left = usize::try_from(length.saturating_sub(coming.read)).unwrap_or(AT_ONCE);
            let mut part = vec![0; left.min(AT_ONCE)];
            match file.read_exact_at(&mut part, coming.read) {
                Ok(()) if part.is_empty() => coming.whole = None,
                Ok(()) => {
                    coming.read += part.len() as u64;
                    return Ok(());
                }
                Err(e) => {
                    let why = format!("{}: its image is damaged behind byte {}: {e}", coming.id, coming.read);
                    self.switch_refuse(&why, Some(index));
                    return Ok(());
                }
            }
        }
        self.switch_ask(Phase::Images, What::Image)
    }
}
