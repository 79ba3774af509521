//! The board's ceiling: what no single app may exceed on this device, whatever its manifest says.
//!
//! The ceiling comes from whoever builds the image, never from an app. `check` and `Plan::decode` both hold every
//! manifest against it, so a worker that lies about its manifest gains nothing.

use crate::amount::{Bytes, CpuPercent};

/// The most that one app may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Ceiling of `[resources] memory`, and so of `tmp`, which is counted in it.
    pub memory: Bytes,
    /// Ceiling of `[resources] cpu`, in percent of one CPU.
    pub cpu_percent: u32,
    /// Ceiling of `[resources] tasks`.
    pub tasks: u32,
    /// Ceiling of `[resources] storage`.
    pub storage: Bytes,
    /// Ceiling of `[resources] open_files`.
    pub open_files: u32,
}

impl Board {
    /// Whether `cpu` fits under the ceiling.
    pub(crate) fn allows_cpu(&self, cpu: CpuPercent) -> bool {
        cpu.percent() <= self.cpu_percent
    }
}

impl Default for Board {
    /// The reference board: 64 MiB of memory, two CPUs, 512 tasks, 256 MiB of storage, 4096 open files per app.
    fn default() -> Self {
        Self {
            memory: Bytes::mebibytes(64),
            cpu_percent: 200,
            tasks: 512,
            storage: Bytes::mebibytes(256),
            open_files: 4096,
        }
    }
}
