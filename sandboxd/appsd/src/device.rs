//! `os.gabion.Device`.

use bus::desk::{Answer as Told, Ask};
use bus::interfaces::device::*;
use bus::server::{Answer, Call, Pending, Server};
use nix::sys::sysinfo::sysinfo;
use nix::sys::utsname::uname;
use nix::time::{ClockId, clock_gettime};

use crate::appsd::Appsd;
use crate::waiting::Waiting;

impl Handler for Appsd {
    fn get_info(&mut self, call: Call<'_, GetInfo>) -> Answer {
        let (pending, answer) = call.later();
        self.ask(Ask::Device, Waiting::Device(pending));
        answer
    }
}

impl Appsd {
    pub(crate) fn device(&mut self, server: &mut Server<Self>, pending: Pending<GetInfo>, answer: &Told) {
        let Told::Device(device) = answer else { return };
        let system = uname().ok();
        let of_system = |part: Option<&std::ffi::OsStr>| {
            part.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default().into()
        };
        let memory = sysinfo().map(|info| info.ram_total()).unwrap_or_default();
        let board = if device.board.is_empty() { "unknown" } else { device.board.as_str() };
        let reply = GetInfoReply {
            os: "Gabion".into(),
            os_version: device.os_version.as_str().into(),
            board: board.into(),
            architecture: of_system(system.as_ref().map(|s| s.machine())),
            kernel: of_system(system.as_ref().map(|s| s.release())),
            boot_id: device.boot_id.as_str().into(),
            uptime_us: uptime_us(),
            mode: if device.safe_mode { Mode::Safe } else { Mode::Normal },
            developer: device.developer,
            memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
        };
        server.finish(pending, &reply);
    }
}

/// Time since the device booted, microseconds.
fn uptime_us() -> i64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}
