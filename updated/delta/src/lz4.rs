//! LZ4 blocks taken apart, and put together again to the very bytes.
//!
//! An LZ4 block is its contents and a choice of matches; given both, there is one encoding. So a device that knows a
//! cluster's new contents needs to be told the matches, most of which are the old ones, and never searches for any.
//! Rejected: compressing on the device with the library that made the image. LZ4HC at level 12 does 10 MB/s where this does
//! hundreds, and its choices are another's with each version of it.
//!
//! In EROFS a cluster's block lies at its end, after zeros. An attacker controls the block: what comes out is bounded by what
//! was asked for.

/// A match: so many bytes of the contents from `at` on are those that lie `distance` before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) at: u32,
    pub(crate) length: u32,
    pub(crate) distance: u32,
}

impl Match {
    pub(crate) fn end(self) -> u32 {
        self.at + self.length
    }
}

/// Shortest match.
pub(crate) const SHORTEST: u32 = 4;
/// Literals and matches up to this are copied in one step.
const SHORT: usize = 16;
/// Longest distance.
pub(crate) const FARTHEST: u32 = 65_535;

/// A cluster's contents, and how they were written.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) raw: Vec<u8>,
    pub(crate) matches: Vec<Match>,
}

impl Opened {
    /// How much memory it has.
    pub(crate) fn bytes(&self) -> usize {
        self.raw.capacity() + self.matches.capacity() * size_of::<Match>()
    }
}

/// Takes `stored` apart; none if it does not hold exactly `length` bytes.
pub(crate) fn open(stored: &[u8], length: usize) -> Option<Opened> {
    let begin = stored.iter().position(|byte| *byte != 0)?;
    let mut input = stored.get(begin..)?;
    let mut raw = vec![0; length];
    let mut at = 0;
    let mut matches = Vec::with_capacity(input.len() / 6);
    loop {
        let (token, rest) = input.split_first()?;
        input = rest;
        let literals = count(&mut input, usize::from(token >> 4))?;
        // Most are short: a copy of fixed length is no call, and what it writes beyond is written again.
        match (literals <= SHORT, input.first_chunk::<SHORT>(), raw.get_mut(at..at + SHORT)) {
            (true, Some(from), Some(to)) => to.copy_from_slice(from),
            _ => raw.get_mut(at..)?.get_mut(..literals)?.copy_from_slice(input.get(..literals)?),
        }
        at += literals;
        input = input.get(literals..)?;
        if input.is_empty() {
            return (at == length && token & 15 == 0).then_some(Opened { raw, matches });
        }
        let (distance, rest) = input.split_first_chunk::<2>()?;
        input = rest;
        let distance = usize::from(u16::from_le_bytes(*distance));
        let longer = count(&mut input, usize::from(token & 15))?.checked_add(SHORTEST as usize)?;
        if distance == 0 || distance > at || longer > length - at {
            return None;
        }
        matches.push(Match { at: at as u32, length: longer as u32, distance: distance as u32 });
        repeat(&mut raw, at, distance, longer)?;
        at += longer;
    }
}

/// Copies `length` bytes to `at` from `distance` before.
fn repeat(raw: &mut [u8], at: usize, distance: usize, length: usize) -> Option<()> {
    let from = at - distance;
    if length <= SHORT
        && distance >= SHORT
        && let Some(bytes) = raw.get(from..).and_then(|bytes| bytes.first_chunk::<SHORT>().copied())
        && let Some(to) = raw.get_mut(at..at + SHORT)
    {
        to.copy_from_slice(&bytes);
        return Some(());
    }
    let mut done = 0;
    while done < length {
        // A match may reach into itself: what it repeats doubles each time.
        let part = (length - done).min(distance + done);
        raw.get(from..from + part)?;
        raw.get(at + done..at + done + part)?;
        raw.copy_within(from..from + part, at + done);
        done += part;
    }
    Some(())
}

fn count(input: &mut &[u8], first: usize) -> Option<usize> {
    let mut sum = first;
    if first < 15 {
        return Some(sum);
    }
    loop {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        sum = sum.checked_add(usize::from(*byte))?;
        if *byte != 255 {
            return Some(sum);
        }
    }
}

/// Puts a block together, match by match.
#[derive(Debug)]
pub(crate) struct Closing<'a> {
    raw: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl<'a> Closing<'a> {
    /// Of `raw`, for a cluster of `stored` bytes.
    pub(crate) fn new(raw: &'a [u8], stored: usize) -> Self {
        Self { raw, at: 0, out: Vec::with_capacity(stored) }
    }

    /// The next match; none if it lies before the last, or past the end.
    pub(crate) fn push(&mut self, next: Match) -> Option<()> {
        let literals = self.raw.get(self.at..next.at as usize)?;
        let longer = next.length.checked_sub(SHORTEST)? as usize;
        self.out.push((literals.len().min(15) << 4 | longer.min(15)) as u8);
        rest(&mut self.out, literals.len());
        self.out.extend_from_slice(literals);
        self.out.extend_from_slice(&u16::try_from(next.distance).ok()?.to_le_bytes());
        rest(&mut self.out, longer);
        self.at = next.end() as usize;
        Some(())
    }

    /// Adds the cluster of `stored` bytes to `image`; none if it does not fit.
    pub(crate) fn finish(mut self, stored: usize, image: &mut Vec<u8>) -> Option<()> {
        let literals = self.raw.get(self.at..)?;
        self.out.push((literals.len().min(15) << 4) as u8);
        rest(&mut self.out, literals.len());
        self.out.extend_from_slice(literals);
        let zeros = stored.checked_sub(self.out.len())?;
        image.resize(image.len() + zeros, 0);
        image.extend_from_slice(&self.out);
        Some(())
    }
}

fn rest(out: &mut Vec<u8>, count: usize) {
    if let Some(mut left) = count.checked_sub(15) {
        while left >= 255 {
            out.push(255);
            left -= 255;
        }
        out.push(left as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(opened: &Opened, stored: usize) -> Option<Vec<u8>> {
        let mut closing = Closing::new(&opened.raw, stored);
        opened.matches.iter().try_for_each(|next| closing.push(*next))?;
        let mut image = Vec::new();
        closing.finish(stored, &mut image)?;
        Some(image)
    }

    #[test]
    fn block_taken_apart_is_put_together_to_the_same_bytes() {
        // "abcd", four back for 30, "xy"; two zeros in front.
        let block = [0, 0, 0x4f, b'a', b'b', b'c', b'd', 4, 0, 11, 0x20, b'x', b'y'];
        let opened = open(&block, 36).unwrap();
        assert_eq!(&opened.raw[..10], b"abcdabcdab");
        assert_eq!(opened.matches, [Match { at: 4, length: 30, distance: 4 }]);
        assert_eq!(closed(&opened, block.len()).unwrap(), block);
        assert_eq!(closed(&opened, block.len() - 3), None);
    }

    #[test]
    fn block_that_yields_another_length_or_looks_before_its_beginning_is_refused() {
        let block = [0x4f, b'a', b'b', b'c', b'd', 4, 0, 11, 0x20, b'x', b'y'];
        assert!(open(&block, 35).is_none());
        assert!(open(&block, 37).is_none());
        assert!(open(&[0x40, b'a', b'b', b'c', b'd', 5, 0, 0x10, b'x'], 9).is_none());
        assert!(open(&[0; 8], 0).is_none());
        for cut in 0..block.len() {
            assert!(open(&block[..cut], 36).is_none());
        }
    }
}
