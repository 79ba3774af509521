//! A binary range coder with adaptive models: what a patch is written in.
//!
//! Reading and writing go through one trait, so that what is said in which order is written once, in [`crate::patch`] and
//! [`crate::parse`]. Rejected: zstd for patches, which costs a third more than these models on the same streams, and whose
//! windows would have to be bounded. An attacker controls every byte read; what comes out is then any sequence of bits,
//! and after the end zeros: whoever asks checks what they mean, and when to stop.

/// How probable a zero is, learnt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    zero: u16,
    seen: u8,
}

/// After so many bits a model learns slowest: by a 64th of what it was wrong by.
const SURE: u8 = 62;
const TOP: u32 = 1 << 24;

impl Model {
    pub(crate) const NEW: Self = Self { zero: 1 << 15, seen: 0 };

    // Without a jump: where a bit is uncertain the processor guesses wrong, which costs more than both ways together.
    #[inline(always)]
    fn learn(&mut self, bit: bool) {
        let shift = (u32::from(self.seen) + 2).ilog2();
        self.seen += u8::from(self.seen < SURE);
        let wrong = if bit { self.zero } else { u16::MAX - self.zero } >> shift;
        self.zero = if bit { self.zero - wrong } else { self.zero + wrong };
    }

    #[inline(always)]
    fn share(self, range: u32) -> u32 {
        (range >> 15) * u32::from((self.zero >> 1).max(1))
    }
}

/// One that writes takes what it is given and gives it back; one that reads ignores it and gives what was written.
pub(crate) trait Bits {
    /// One bit.
    fn bit(&mut self, model: &mut Model, bit: bool) -> bool;
}

/// Reads.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    input: std::slice::Iter<'a, u8>,
    range: u32,
    code: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        let mut reader = Self { input: input.iter(), range: u32::MAX, code: 0 };
        // The writer's first byte is its empty carry.
        for _ in 0..5 {
            reader.code = reader.code << 8 | reader.byte();
        }
        reader
    }

    #[inline]
    fn byte(&mut self) -> u32 {
        u32::from(self.input.next().copied().unwrap_or(0))
    }
}

impl Bits for Reader<'_> {
    // Always: at the level of the device's programs it is a call else, which takes as long as what it does.
    #[inline(always)]
    fn bit(&mut self, model: &mut Model, _: bool) -> bool {
        let share = model.share(self.range);
        let bit = self.code >= share;
        self.code -= if bit { share } else { 0 };
        self.range = if bit { self.range - share } else { share };
        while self.range < TOP {
            self.range <<= 8;
            self.code = self.code << 8 | self.byte();
        }
        model.learn(bit);
        bit
    }
}

/// Writes.
#[cfg(feature = "make")]
#[derive(Debug)]
pub(crate) struct Writer {
    low: u64,
    range: u32,
    cache: u8,
    pending: u64,
    out: Vec<u8>,
}

#[cfg(feature = "make")]
impl Writer {
    pub(crate) fn new() -> Self {
        Self { low: 0, range: u32::MAX, cache: 0, pending: 1, out: Vec::new() }
    }

    fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            let mut byte = self.cache;
            while self.pending > 0 {
                self.out.push(byte.wrapping_add(carry));
                byte = 0xff;
                self.pending -= 1;
            }
            self.cache = (self.low >> 24) as u8;
        }
        self.pending += 1;
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// What was written. Zeros at the end are left out: a reader reads them there in any case.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        (0..5).for_each(|_| self.shift());
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

#[cfg(feature = "make")]
impl Bits for Writer {
    fn bit(&mut self, model: &mut Model, bit: bool) -> bool {
        let share = model.share(self.range);
        if bit {
            self.low += u64::from(share);
            self.range -= share;
        } else {
            self.range = share;
        }
        while self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
        model.learn(bit);
        bit
    }
}

/// Bytes, each most significant bit first, under one context. Its models are there from the first byte on: up to a mebibyte,
/// which a segment that is only copied does without.
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    contexts: usize,
    models: Vec<[Model; 256]>,
}

impl Bytes {
    pub(crate) fn new(contexts: usize) -> Self {
        Self { contexts, models: Vec::new() }
    }

    #[inline]
    pub(crate) fn code(&mut self, bits: &mut impl Bits, context: usize, byte: u8) -> u8 {
        if self.models.is_empty() {
            self.models = vec![[Model::NEW; 256]; self.contexts];
        }
        let Some(models) = self.models.get_mut(context) else { return 0 };
        let mut node = 1_u8;
        for shift in (1..8).rev() {
            let model = &mut models[usize::from(node)];
            node = node << 1 | u8::from(bits.bit(model, byte >> shift & 1 == 1));
        }
        node << 1 | u8::from(bits.bit(&mut models[usize::from(node)], byte & 1 == 1))
    }
}

/// Numbers below 2^32 - 1, small ones in few bits: first how many bits, then those.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    lengths: Vec<Model>,
    digits: Vec<Model>,
}

impl Numbers {
    pub(crate) fn new(contexts: usize) -> Self {
        Self { lengths: vec![Model::NEW; contexts * 32], digits: vec![Model::NEW; contexts * 1024] }
    }

    #[inline]
    pub(crate) fn code(&mut self, bits: &mut impl Bits, context: usize, number: u32) -> u32 {
        let number = number.saturating_add(1);
        let wanted = number.ilog2();
        let mut node = 1_usize;
        for shift in (0..5).rev() {
            let Some(model) = self.lengths.get_mut(context * 32 + node) else { return 0 };
            node = node << 1 | usize::from(bits.bit(model, wanted >> shift & 1 == 1));
        }
        let length = node & 31;
        let mut value = 1_u32;
        for digit in (0..length).rev() {
            // The two digits behind the first under what came before them, the others by their place.
            let place = match length - digit {
                1 => 0,
                2 => 1 + (value & 1) as usize,
                place => place,
            };
            let Some(model) = self.digits.get_mut(context * 1024 + length * 32 + place) else { return 0 };
            value = value << 1 | u32::from(bits.bit(model, number >> digit & 1 == 1));
        }
        value - 1
    }
}

#[cfg(all(test, feature = "make"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_bytes_come_back_as_written(
            numbers in proptest::collection::vec((any::<u32>(), 0_u32..32, any::<u8>()), 0..300)
        ) {
            let numbers: Vec<_> = numbers.into_iter().map(|(n, by, byte)| ((n >> by).min(u32::MAX - 1), byte)).collect();
            let (mut number, mut byte, mut writer) = (Numbers::new(1), Bytes::new(1), Writer::new());
            for (n, b) in &numbers {
                number.code(&mut writer, 0, *n);
                byte.code(&mut writer, 0, *b);
            }
            let written = writer.finish();
            let (mut number, mut byte, mut reader) = (Numbers::new(1), Bytes::new(1), Reader::new(&written));
            for (n, b) in &numbers {
                prop_assert_eq!(number.code(&mut reader, 0, 0), *n);
                prop_assert_eq!(byte.code(&mut reader, 0, 0), *b);
            }
        }
    }
}
