//! A call as every library writes it, found without reading its parameters twice.
//!
//! What is not exactly so (an escape in a name, a member that is unknown or repeated, anything malformed) is left to the
//! general reader: this one either finds what that one would find or nothing. The one difference is that the inside
//! of the parameters is not checked here; whoever reads them does that.

use std::borrow::Cow;

use super::Call;
use crate::json::plain;

/// The call, when it is plain.
pub(super) fn call(message: &str) -> Option<Call<'_>> {
    let mut scan = Scan { message, at: 0 };
    let mut method = None;
    let mut parameters = None;
    let [mut oneway, mut more, mut upgrade] = [None; 3];
    scan.take(b'{')?;
    loop {
        match scan.name()? {
            "method" => set(&mut method, scan.after_colon()?.name()?)?,
            "parameters" => set(&mut parameters, scan.after_colon()?.object()?)?,
            "oneway" => set(&mut oneway, scan.after_colon()?.flag()?)?,
            "more" => set(&mut more, scan.after_colon()?.flag()?)?,
            "upgrade" => set(&mut upgrade, scan.after_colon()?.flag()?)?,
            _ => return None,
        }
        match scan.byte()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    let said = |flag: Option<bool>| flag.unwrap_or(false);
    let call = Call {
        method: Cow::Borrowed(method?),
        parameters,
        oneway: said(oneway),
        more: said(more),
        upgrade: said(upgrade),
    };
    scan.is_at_end().then_some(call)
}

/// `None` the second time.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

struct Scan<'m> {
    message: &'m str,
    at: usize,
}

impl<'m> Scan<'m> {
    fn rest(&self) -> &'m [u8] {
        self.message.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let space = |b: &&u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
        self.at += self.rest().iter().take_while(space).count();
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.rest().is_empty()
    }

    /// The next byte that is no space.
    fn byte(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = *self.rest().first()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.byte()? == wanted).then_some(())
    }

    fn after_colon(&mut self) -> Option<&mut Self> {
        self.take(b':')?;
        Some(self)
    }

    /// A string without escapes.
    fn name(&mut self) -> Option<&'m str> {
        self.take(b'"')?;
        let start = self.at;
        self.at += plain(self.rest());
        let name = self.message.get(start..self.at)?;
        self.take_here(b'"')?;
        Some(name)
    }

    /// The byte right here.
    fn take_here(&mut self, wanted: u8) -> Option<()> {
        let here = *self.rest().first()?;
        self.at += 1;
        (here == wanted).then_some(())
    }

    fn flag(&mut self) -> Option<bool> {
        self.skip_space();
        let flag = if self.rest().starts_with(b"true") { Some(true) } else { None };
        let flag = flag.or_else(|| self.rest().starts_with(b"false").then_some(false))?;
        self.at += if flag { 4 } else { 5 };
        Some(flag)
    }

    /// From `{` to the `}` that closes it; strings are passed over as a whole.
    fn object(&mut self) -> Option<&'m str> {
        self.skip_space();
        let (start, mut depth) = (self.at, 0_usize);
        loop {
            let byte = *self.rest().first()?;
            match byte {
                b'"' => self.string()?,
                b'{' => depth += 1,
                b'}' => depth = depth.checked_sub(1)?,
                _ if depth == 0 => return None,
                _ => {}
            }
            if byte != b'"' {
                self.at += 1;
            }
            if depth == 0 {
                return self.message.get(start..self.at);
            }
        }
    }

    /// Any string.
    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += plain(self.rest());
            match *self.rest().first()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.at += 2,
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_call_is_found() {
        let text = " {\"method\" : \"a.b.C\", \"parameters\":{\"a\":[{\"}\":\"\\\"}\"}]} ,\"more\":true}\n";
        let found = call(text).unwrap();
        assert_eq!(found.parameters, Some("{\"a\":[{\"}\":\"\\\"}\"}]}"));
        assert_eq!(Some(found), super::super::whole(text));
    }

    #[test]
    fn call_that_is_not_plain_is_left_to_others() {
        let others = [
            "",
            "{}",
            "{\"method\":\"a.b\\u002eC\"}",
            "{\"method\":\"a\",\"method\":\"a\"}",
            "{\"method\":\"a\",\"parameters\":null}",
            "{\"method\":\"a\",\"parameters\":{\"a\":\"}",
            "{\"method\":\"a\",\"more\":truer}",
            "{\"method\":\"a\"}}",
            "{\"method\":\"a\",}",
            "{\"method\":\"a\",\"parameters\":1}",
        ];
        for text in others {
            assert_eq!(call(text), None, "{text}");
        }
    }

    fn part() -> impl Strategy<Value = &'static str> {
        prop::sample::select(
            &[
                "{",
                "}",
                "[",
                "]",
                ":",
                ",",
                "\"",
                "\\",
                " ",
                "\n",
                "true",
                "false",
                "null",
                "1",
                "\"a.b.C\"",
                "\"method\":",
                "\"parameters\":",
                "\"more\":",
                "\"method\":\"a.b.C\"",
                "{\"a\":\"}\"}",
                "{}",
                "\"oneway\":true",
                "\"x\"",
                "\u{e9}",
                "\\\"",
            ][..],
        )
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_the_general_reader_finds(parts in prop::collection::vec(part(), 0..12)) {
            let inside = parts.concat();
            for text in [format!("{{\"method\":\"a.b.C\",{inside}}}"), format!("{{{inside}}}"), inside] {
                if let Some(found) = call(&text) {
                    match super::super::whole(&text) {
                        Some(general) => prop_assert_eq!(found, general),
                        // Only the inside of the parameters may be wrong.
                        None => {
                            let json = found.parameters.unwrap_or_default();
                            prop_assert!(serde_json::from_str::<serde_json::Value>(json).is_err(), "{}", text);
                        }
                    }
                }
            }
        }
    }
}
