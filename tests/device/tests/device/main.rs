//! Whole devices, booted in QEMU. One runs at a time, and one that mostly waits beside it; a failed test leaves its console in `target/device-logs`.
//!
//! | module | what is done to the device |
//! |---|---|
//! | `power` | it is switched off and on |
//! | `powercuts` | its power goes while it is updated; `make powercuts` does it at length |
//! | `chain` | it is started by its firmware, and somebody has altered what that finds |
//! | `demo` | nothing: it runs what is shipped |
//! | `attestd` | its identity daemon is looked at, at a site with a Security Service |
//! | `broker` | an app attacks its root of trust, and its disk is put into another board |
//! | `bus` | apps call each other and the system, and some mean ill |
//! | `programs` | Debian's programs do their work |
//! | `first` | it is one of many that boot for the first time |
//! | `foreign` | a varlink client that others wrote calls every interface |
//! | `developer` | its host talks to it, and to one in production |
//! | `deployed` | an app's developer deploys to it, debugs, and takes it all away |
//! | `denied` | apps do what they may not, and it is said who refused it |
//! | `clock` | its battery is empty, and a time server lies |
//! | `configured` | its network is configured, well and badly |
//! | `crash` | its manager and its apps are killed |
//! | `hostile` | apps take all they can get |
//! | `ends` | apps end in every way there is |
//! | `inside` | an app looks around in its box |
//! | `neighbours` | another one is on its link |
//! | `network` | it is beside a site, with real servers |
//! | `stranger` | somebody on its link asks it who it is |
//! | `operator` | its site falls short, and somebody asks why |
//! | `identity` | it belongs to a Security Service: who it is, what it runs, certificates, and what they are good for |
//! | `notify` | apps say that they are ready and alive, or do not |
//! | `packages` | apps come as damaged images |
//! | `offline` | its updates come on a disk |
//! | `peers` | an app of another device asks, by its certificate |
//! | `permits` | its owner lets a developer in, and others want to be |
//! | `renewed` | its owner releases other systems and apps, good ones and bad ones |
//! | `sdk` | apps do all that an app may, in Rust, C and Python |
//! | `storage` | an app leaves links where the system may write |
//! | `returns` | it comes back: after sixty days, with an older system, as a copy of itself |
//! | `input` | its store, its disk and its kernel are not as they should be |

#![expect(clippy::unwrap_used, reason = "tests")]

mod attestd;
mod broker;
mod bus;
mod chain;
mod clock;
mod configured;
mod crash;
mod debug;
mod demo;
mod denied;
mod deployed;
mod developer;
mod ends;
mod first;
mod foreign;
mod hostile;
mod identity;
mod input;
mod inside;
mod neighbours;
mod network;
mod notify;
mod offline;
mod operator;
mod packages;
mod peers;
mod permits;
mod power;
mod powercuts;
mod programs;
mod renewed;
mod returns;
mod sdk;
mod slots;
mod storage;
mod stranger;
mod tool;
mod updates;

/// A script that says that it lives, for ever.
const HEART: &str = "n=0; while true; do n=$((n+1)); echo beat $n; sleep 1; done";

/// The healthy neighbour of most tests.
fn heart() -> device_test::App {
    device_test::App::shell("org.test.heart", HEART)
}
