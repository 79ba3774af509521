//! Texts of ours that lie on a writable disk: the last line is a checksum over all bytes before it, so that one that was
//! cut short or damaged is known for that.
//!
//! Against accidents alone: whoever can write the disk can write a sum as well. That is dm-crypt's business.

/// `body`, whole lines, with its sum.
pub(crate) fn with_sum(body: &str) -> String {
    format!("{body}sum {:016x}\n", fnv1a(body.as_bytes()))
}

/// The body of a text that is whole; else what is wrong with it.
pub(crate) fn body(text: &str) -> Result<&str, &'static str> {
    const CUT: &str = "it is cut short";
    let whole = text.strip_suffix('\n').ok_or(CUT)?;
    let (_, sum) = whole.rsplit_once("\nsum ").ok_or(CUT)?;
    let body = whole.get(..whole.len() - sum.len() - "sum ".len()).ok_or(CUT)?;
    if sum != format!("{:016x}", fnv1a(body.as_bytes())) {
        return Err("its checksum does not match");
    }
    Ok(body)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cut_or_changed_anywhere_is_refused() {
        let text = with_sum("gabion-something 1\nnext 4\n");
        assert_eq!(body(&text), Ok("gabion-something 1\nnext 4\n"));
        for end in 0..text.len() {
            assert!(body(&text[..end]).is_err(), "cut at {end}");
        }
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            assert!(String::from_utf8(bad).is_ok_and(|bad| body(&bad).is_err()), "changed at {at}");
        }
    }
}
