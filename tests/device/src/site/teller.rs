//! A time server of the site that says what it is told to: no clock of this machine has to be wrong for that.

use super::Site;
use crate::device::PATIENCE;
use anyhow::{Context, Result};
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// From 1900, where the time of NTP begins, to 1970, seconds.
const TO_1970_S: u64 = 2_208_988_800;
/// An answer with its head: version 4, server; stratum 2; asked every 64 s; a precision of a microsecond.
const HEAD: [u8; 4] = [0x24, 2, 6, 0xec];

/// It answers until it is dropped.
pub struct Teller {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    /// At this address of the site. It says that it is so many seconds later than it is, modulo the 136 years of NTP.
    ///
    /// # Errors
    /// The address is taken, or not there.
    pub fn start(site: &Site, at: IpAddr, later_s: u64) -> Result<Self> {
        let socket = site.inside(|| UdpSocket::bind((at, 123)).context("the time server's socket"))?;
        // So often it looks whether it is to end.
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let ends = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        let told = (ends.clone(), asked.clone());
        let thread = std::thread::spawn(move || {
            let mut question = [0; 1024];
            while !told.0.load(Ordering::Relaxed) {
                // None came, or one that cannot be answered.
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                if let Some(question) = question.get(..length.min(48)).and_then(|q| q.try_into().ok()) {
                    let _ = socket.send_to(&answer(question, now(later_s)), from);
                    told.1.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { ends, asked, thread: Some(thread) })
    }

    /// Waits until it was asked so often.
    ///
    /// # Panics
    /// It was not.
    #[track_caller]
    pub fn wait(&self, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.asked.load(Ordering::Relaxed) < times {
            assert!(Instant::now() < deadline, "nobody asks this time server");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // It has nothing to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn now(later_s: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (now.as_secs() + TO_1970_S).wrapping_add(later_s) & u64::from(u32::MAX);
    (seconds << 32) | ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000)
}

/// Its reference, receive and transmit times are now; its origin is the question's transmit time.
fn answer(question: [u8; 48], now: u64) -> [u8; 48] {
    let mut answer = [0; 48];
    answer[..4].copy_from_slice(&HEAD);
    answer[12..16].copy_from_slice(&[10, 77, 0, 1]);
    answer[24..32].copy_from_slice(&question[40..48]);
    for at in [16, 32, 40] {
        answer[at..at + 8].copy_from_slice(&now.to_be_bytes());
    }
    answer
}
