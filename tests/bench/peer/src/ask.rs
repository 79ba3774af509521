//! How the bench talks to a program in a box: a byte on standard input asks for one round, numbers on standard output
//! answer (native-endian `u64`). A program that is not asked any more (end of file) ends.

use std::io::{self, Read, Write};

use anyhow::Result;

/// Says that the program is ready to be asked, or to be called.
pub(crate) fn ready() -> Result<()> {
    answer(&[0])
}

/// Answers.
pub(crate) fn answer(numbers: &[u64]) -> Result<()> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    let mut out = io::stdout().lock();
    out.write_all(&bytes)?;
    Ok(out.flush()?)
}

/// Waits for being asked; false at the end.
pub(crate) fn asked() -> bool {
    matches!(io::stdin().lock().read(&mut [0]), Ok(1))
}

/// Each time that it is asked: makes `calls` calls and answers how long one took, in ns.
pub(crate) fn rounds(calls: u32, mut call: impl FnMut() -> Result<()>) -> Result<()> {
    ready()?;
    while asked() {
        let begin = std::time::Instant::now();
        for _ in 0..calls {
            call()?;
        }
        let ns = begin.elapsed().as_nanos() / u128::from(calls.max(1));
        answer(&[u64::try_from(ns)?])?;
    }
    Ok(())
}
