//! The one crate with `unsafe`: what the kernel offers and no safe crate wraps. Each module is one family of kernel objects.
//! The default part is what PID 1 needs, which is built without `builder` (boxes: mounts, device mapper, quota), `manager`
//! (the other end of its socket), `bus` (streams, shared memory), `bpf` (tables of the
//! firewall) and `trace` (the developer's recording box).

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
pub mod quota;
#[cfg(feature = "bus")]
pub mod shared;
#[cfg(feature = "bus")]
pub mod stream;
#[cfg(all(feature = "trace", target_arch = "x86_64"))]
pub mod trace;
#[cfg(feature = "weak")]
pub mod weak;
