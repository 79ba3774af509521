//! Where a token is, as RFC 7512 writes it: `pkcs11:token=LABEL?module-path=/usr/lib/….so&pin-source=file:/etc/gabion/pin`.
//!
//! What is not understood is refused: a word that was passed over might have named another token. A PIN itself
//! (`pin-value`) is refused too: command lines and files of settings are read by many.

use std::fmt;
use std::path::PathBuf;

/// A token with its module and where its PIN is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    text: String,
    pub(super) label: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) module: PathBuf,
    pub(super) pin: PathBuf,
}

/// What is wrong with an address of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UriError {
    /// It does not begin with `pkcs11:`.
    Scheme,
    /// This part is not understood, or there twice.
    Part(String),
    /// Neither `token` nor `serial` says which token.
    Token,
    /// No `module-path` that begins with a slash.
    Module,
    /// No `pin-source` with the path of a file.
    Pin,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("a token's address begins with pkcs11:"),
            Self::Part(part) => write!(f, "{part:?} in a token's address is not understood, or there twice"),
            Self::Token => f.write_str("a token's address names it by token=LABEL or serial=NUMBER"),
            Self::Module => f.write_str("a token's address has module-path=/… of its PKCS#11 library"),
            Self::Pin => f.write_str("a token's address has pin-source=file:/… with the PIN's file"),
        }
    }
}

impl std::error::Error for UriError {}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for TokenUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut label, mut serial, mut module, mut pin) = (None, None, None, None);
        let parts = path.split(';').chain(query.split('&')).filter(|part| !part.is_empty());
        for part in parts {
            let wrong = || UriError::Part(part.split('=').next().unwrap_or_default().to_owned());
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let value = unescaped(value).ok_or_else(wrong)?;
            let place = match name {
                "token" => &mut label,
                "serial" => &mut serial,
                "module-path" => &mut module,
                "pin-source" => &mut pin,
                _ => return Err(wrong()),
            };
            if place.replace(value).is_some() {
                return Err(wrong());
            }
        }
        if label.is_none() && serial.is_none() {
            return Err(UriError::Token);
        }
        let absolute = |path: &String| path.starts_with('/');
        let module = module.filter(absolute).ok_or(UriError::Module)?.into();
        let pin = pin.map(|source| source.strip_prefix("file:").map_or(source.clone(), str::to_owned));
        let pin = pin.map(|source| source.strip_prefix("//").map_or(source.clone(), str::to_owned));
        let pin = pin.filter(absolute).ok_or(UriError::Pin)?.into();
        Ok(Self { text: text.to_owned(), label, serial, module, pin })
    }
}

/// RFC 3986, 2.1.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_found_by_its_label_module_and_pin_file() -> Result<(), UriError> {
        let text = "pkcs11:token=our%20keys;serial=12?module-path=/usr/lib/p11.so&pin-source=file:/etc/pin";
        let uri: TokenUri = text.parse()?;
        assert_eq!(uri.label.as_deref(), Some("our keys"));
        assert_eq!(uri.serial.as_deref(), Some("12"));
        assert_eq!((uri.module.to_str(), uri.pin.to_str()), (Some("/usr/lib/p11.so"), Some("/etc/pin")));
        assert_eq!(uri.to_string(), text);
        let bare: TokenUri = "pkcs11:serial=1?module-path=/a&pin-source=///pin".parse()?;
        assert_eq!(bare.pin.to_str(), Some("/pin"));
        Ok(())
    }

    #[test]
    fn word_that_is_not_understood_is_refused() {
        let parse = |text: &str| text.parse::<TokenUri>();
        let part = |name: &str| Err(UriError::Part(name.to_owned()));
        assert_eq!(parse("token=a"), Err(UriError::Scheme));
        assert_eq!(parse("pkcs11:?module-path=/a&pin-source=/b"), Err(UriError::Token));
        assert_eq!(parse("pkcs11:token=a?pin-source=/b"), Err(UriError::Module));
        assert_eq!(parse("pkcs11:token=a?module-path=a.so&pin-source=/b"), Err(UriError::Module));
        assert_eq!(parse("pkcs11:token=a?module-path=/a"), Err(UriError::Pin));
        assert_eq!(parse("pkcs11:token=a?module-path=/a&pin-source=|sh"), Err(UriError::Pin));
        assert_eq!(parse("pkcs11:token=a?module-path=/a&pin-value=1234"), part("pin-value"));
        assert_eq!(parse("pkcs11:token=a;token=b?module-path=/a&pin-source=/b"), part("token"));
        assert_eq!(parse("pkcs11:token=a;slot-id=0?module-path=/a&pin-source=/b"), part("slot-id"));
        assert_eq!(parse("pkcs11:token=%2?module-path=/a&pin-source=/b"), part("token"));
    }
}
