//! Applying a payload in a process of its own: `--apply INDEX BODY OLD SLOT` prints µs, and the most memory it ever had in KiB.

use anyhow::{Context, Result};
use delta::{Apply, Found, INDEX_MAX, Index, Step};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// How much comes at once from a web server.
const PIECE: u64 = 64 << 10;

/// Applies it.
pub(crate) fn child(arguments: &[String]) -> Result<()> {
    let [index, body, old, slot] = arguments else { anyhow::bail!("--apply is for this program itself") };
    let began = Instant::now();
    let mut bytes = Vec::new();
    File::open(index)?.take(INDEX_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let (body, old) = (File::open(body)?, File::open(old)?);
    let slot = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(slot)?;
    let mut apply = Apply::new(Index::read(&bytes)?, Found::default(), 0)?;
    let mut piece = vec![0; usize::try_from(PIECE)?];
    loop {
        match apply.step(&old, &slot)? {
            Step::Done => break,
            Step::Fetch(range) => {
                let count = usize::try_from((range.end - range.start).min(PIECE))?;
                let piece = piece.get_mut(..count).context("a piece is longer than one")?;
                body.read_exact_at(piece, range.start)?;
                apply.give(piece);
            }
            Step::Write { at, bytes } => {
                slot.write_all_at(&bytes, at)?;
                apply.wrote();
            }
        }
    }
    slot.sync_all()?;
    let us = began.elapsed().as_micros();
    let status = fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    println!("{us} {}", most.trim().trim_end_matches(" kB"));
    Ok(())
}
