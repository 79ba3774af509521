//! Lists with at most `MAX` entries; the reader stops at the first one too many.
//!
//! In the OpenAPI document the fields say it themselves: utoipa cannot tell a list from another generic type.

use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;
use std::marker::PhantomData;

/// At most `MAX` entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Few<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Few<T, MAX> {
    /// The list, or none if it is too long.
    pub fn new(entries: Vec<T>) -> Option<Self> {
        (entries.len() <= MAX).then_some(Self(entries))
    }

    /// The entries.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> std::ops::Deref for Few<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> de::Visitor<'de> for Visitor<T, MAX> {
            type Value = Few<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX}")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if entries.len() == MAX {
                        return Err(de::Error::custom(format_args!("more than {MAX} entries")));
                    }
                    entries.push(entry);
                }
                Ok(Few(entries))
            }
        }
        deserializer.deserialize_seq(Visitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_too_many_is_refused() {
        assert_eq!(serde_json::from_str::<Few<u8, 2>>("[1,2]").ok(), Few::new(vec![1, 2]));
        assert!(serde_json::from_str::<Few<u8, 2>>("[1,2,3]").is_err());
        assert_eq!(Few::<u8, 1>::new(vec![1, 2]), None);
    }
}
