//! Texts that were checked: names, device ids, codes, and free text that can be shown.
//!
//! Each is made by its check alone, so whoever holds one need not look again. None has control characters: they end up in
//! logs, on terminals and in CSV.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextError(&'static str);

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for TextError {}

/// A checked text: what it is, and the check, which says what it wants.
macro_rules! checked_text {
    ($(#[$what:meta])* $name:ident, $max:expr, $pattern:expr, $wanted:expr, $check:expr) => {
        $(#[$what])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it is.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                let check: fn(&str) -> bool = $check;
                if text.len() <= $max && check(&text) { Ok(Self(text)) } else { Err(TextError($wanted)) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::try_from(text.to_owned())
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let text = utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .max_length(Some($max))
                    .description(Some($wanted));
                utoipa::openapi::RefOr::T(utoipa::openapi::schema::Schema::Object(text.build()))
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

/// Texts that may be shown and logged.
macro_rules! shown_text {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// A name of a catalog, product, group, release or machine. It is part of paths, of certificates and of logs.
    Name, 63, "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$",
    "a name is 1 to 63 of a-z, 0-9, '-' and '.', and starts and ends with a letter or digit",
    |text| {
        let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let known = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || *b == b'.';
        let bytes = text.as_bytes();
        end(bytes.first()) && end(bytes.last()) && bytes.iter().all(known)
    }
);
shown_text!(Name);

checked_text!(
    /// Which device: SHA-256 of its endorsement key's public area (`TPMT_PUBLIC`).
    DeviceId, 64, "^[0-9a-f]{64}$",
    "a device id is 64 lower-case hexadecimal digits",
    |text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
shown_text!(DeviceId);

checked_text!(
    /// A SHA-256.
    Digest, 64, "^[0-9a-f]{64}$",
    "a SHA-256 is 64 lower-case hexadecimal digits",
    |text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
shown_text!(Digest);

checked_text!(
    /// A version of the system: "1.10" is newer than "1.9", and "1.4" the same as "1.4.0".
    Version, 64, "^[0-9]{1,9}([.][0-9]{1,9})*$",
    "a version is numbers of at most 9 digits with '.' between them",
    |text| text.split('.').all(|part| matches!(part.len(), 1..=9) && part.bytes().all(|b| b.is_ascii_digit()))
);
shown_text!(Version);

checked_text!(
    /// A person, as administrators know them: usually an address.
    Subject, 128, "^[A-Za-z0-9._@+-]{1,128}$",
    "a person is 1 to 128 of A-Z, a-z, 0-9 and '._@+-'",
    |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b))
);
shown_text!(Subject);

checked_text!(
    /// A code or token that proves something by being known. Never shown by `Debug`, never logged.
    Code, 128, "^[A-Za-z0-9_-]{16,128}$",
    "a code is 16 to 128 of A-Z, a-z, 0-9, '_' and '-'",
    |text| text.len() >= 16 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a code")
    }
}

checked_text!(
    /// A recovery key of a device's data disk, as `systemd-cryptenroll --recovery-key` writes them: 256 bits. It opens the
    /// disk, so it is never shown by `Debug` and never logged.
    RecoveryKey, 71, "^[bcdefghijklnrtuv]{8}(-[bcdefghijklnrtuv]{8}){7}$",
    "a recovery key is 8 groups of 8 of bcdefghijklnrtuv, with '-' between them",
    |text| {
        let letters = |group: &str| group.len() == 8 && group.bytes().all(|b| b"bcdefghijklnrtuv".contains(&b));
        text.len() == 71 && text.split('-').all(letters)
    }
);

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a recovery key")
    }
}

/// Free text on one line: at most `MAX` bytes, no control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The text as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The beginning of any text, with its control characters replaced.
    pub fn shown(text: &str) -> Self {
        let mut shown = String::new();
        for character in text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }) {
            if shown.len() + character.len_utf8() > MAX {
                break;
            }
            shown.push(character);
        }
        Self(shown)
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        if text.len() > MAX {
            return Err(TextError("the text is too long"));
        }
        if text.chars().any(char::is_control) {
            return Err(TextError("the text has control characters"));
        }
        Ok(Self(text))
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use super::Text;
    use std::borrow::Cow;
    use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
    use utoipa::openapi::{RefOr, RefOr::T};

    impl<const MAX: usize> utoipa::PartialSchema for Text<MAX> {
        fn schema() -> RefOr<Schema> {
            let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(MAX));
            T(Schema::Object(text.description(Some("text on one line, without control characters")).build()))
        }
    }

    impl<const MAX: usize> utoipa::ToSchema for Text<MAX> {
        fn name() -> Cow<'static, str> {
            Cow::Owned(format!("Text{MAX}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_paths_and_certificates() {
        for good in ["a", "factory-7", "1.2.3", &"a".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "..", "A", "a/b", "a b", "é", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn device_id_in_upper_case_is_refused() {
        assert!("0f".repeat(32).parse::<DeviceId>().is_ok());
        assert!("0F".repeat(32).parse::<DeviceId>().is_err());
        assert!("0f".repeat(31).parse::<DeviceId>().is_err());
    }

    #[test]
    fn code_is_not_shown() -> Result<(), TextError> {
        let code: Code = "abcdefghijklmnop".parse()?;
        assert_eq!(format!("{code:?}"), "a code");
        Ok(())
    }

    #[test]
    fn recovery_key_is_written_in_one_way_and_not_shown() -> Result<(), TextError> {
        let key = ["cbdefghi"; 8].join("-");
        assert_eq!(format!("{:?}", key.parse::<RecoveryKey>()?), "a recovery key");
        for bad in
            [key.to_uppercase(), key.replace('-', ""), key.replace('c', "a"), format!("{key}-cbdefghi")]
        {
            assert!(bad.parse::<RecoveryKey>().is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn version_is_numbers() {
        for good in ["0", "1.10", "999999999.0"] {
            assert!(good.parse::<Version>().is_ok(), "{good}");
        }
        for bad in ["", "1.", ".1", "1..2", "1.a", "v1", "1.2-rc1", "4294967296"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn text_with_an_escape_sequence_is_refused_and_can_be_shown() {
        let text = "a\u{1b}[2Jb".to_owned();
        assert!(Text::<9>::try_from(text.clone()).is_err());
        assert_eq!(Text::<9>::shown(&text).as_str(), "a\u{fffd}[2Jb");
        assert_eq!(Text::<3>::shown("aéé").as_str(), "aé");
    }
}
