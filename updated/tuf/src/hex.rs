//! Hexadecimal, as metadata has digests, signatures and keys.

/// Lower-case.
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits =
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

/// Either case, whole bytes.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_back() {
        assert_eq!(decode(&encode(&[0, 255, 16])), Some(vec![0, 255, 16]));
        assert_eq!(decode("FF"), Some(vec![255]));
        for bad in ["0", "0g", "+1", "é0", " 1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
