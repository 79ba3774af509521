//! `EFI_SIGNATURE_LIST`: what PK, KEK, db and dbx hold (UEFI Specification, 32.4.1).

use crate::bytes::{Reader, Short};

/// The entries of a variable's value, each with its owner before the certificate or hash; none if it is malformed.
#[must_use]
pub fn signatures(value: &[u8]) -> Option<Vec<&[u8]>> {
    read(value).ok()
}

fn read(value: &[u8]) -> Result<Vec<&[u8]>, Short> {
    let mut reader = Reader::new(value);
    let mut all = Vec::new();
    while !reader.is_empty() {
        let _type: [u8; 16] = reader.array()?;
        let list = size(reader.u32_le()?)?;
        let header = size(reader.u32_le()?)?;
        let each = size(reader.u32_le()?)?;
        reader.take(header)?;
        let body = list.checked_sub(28).and_then(|left| left.checked_sub(header)).ok_or(Short)?;
        // An entry is an owner of 16 bytes and something.
        if each <= 16 || body % each != 0 {
            return Err(Short);
        }
        all.extend(reader.take(body)?.chunks_exact(each));
    }
    Ok(all)
}

fn size(value: u32) -> Result<usize, Short> {
    usize::try_from(value).map_err(|_| Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&[u8]], each: u32) -> Vec<u8> {
        let body = entries.concat();
        let size = 28 + u32::try_from(body.len()).unwrap();
        [&[7; 16][..], &size.to_le_bytes(), &0_u32.to_le_bytes(), &each.to_le_bytes(), &body].concat()
    }

    #[test]
    fn entries_of_two_lists_are_found_in_order() {
        let both = [list(&[&[1; 17], &[2; 17]], 17), list(&[&[3; 48]], 48)].concat();
        assert_eq!(signatures(&both), Some(vec![&[1; 17][..], &[2; 17], &[3; 48]]));
        assert_eq!(signatures(&[]), Some(vec![]));
    }

    #[test]
    fn list_that_does_not_add_up_is_refused() {
        let good = list(&[&[1; 20], &[2; 20]], 20);
        assert_eq!(signatures(&good[..good.len() - 1]), None);
        assert_eq!(signatures(&list(&[&[1; 20]], 19)), None);
        assert_eq!(signatures(&list(&[], 16)), None);
    }
}
