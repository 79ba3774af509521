//! The one crate with `unsafe`: the kernel's objects that no safe crate wraps. PID 1 is built without its features.

pub mod bundle;
pub mod channel;
mod codec;
pub mod device;
pub mod launch;
pub mod process;
pub mod step;

#[cfg(feature = "builder")]
pub mod audit;
#[cfg(feature = "bpf")]
pub mod bpf;
#[cfg(feature = "builder")]
pub mod dm;
#[cfg(feature = "builder")]
pub mod ext4;
#[cfg(feature = "bus")]
pub mod heap;
#[cfg(feature = "builder")]
pub mod inherit;
#[cfg(feature = "builder")]
pub mod loopdev;
#[cfg(feature = "manager")]
pub mod manager;
#[cfg(any(feature = "builder", feature = "bus"))]
pub mod memfd;
#[cfg(feature = "builder")]
pub mod mount;
#[cfg(feature = "builder")]
pub mod pagecache;
#[cfg(feature = "builder")]
pub mod quota;
#[cfg(feature = "bus")]
pub mod shared;
#[cfg(feature = "bus")]
pub mod stream;
#[cfg(feature = "time")]
pub mod time;
#[cfg(all(feature = "trace", target_arch = "x86_64"))]
pub mod trace;
#[cfg(feature = "weak")]
pub mod weak;
