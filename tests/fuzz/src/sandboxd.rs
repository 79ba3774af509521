//! What `sandboxd` reads: of apps, of the kernel, of a disk that somebody may have had, of the store.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Cursor;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use sandboxd::audit_record::{self, Object, Record};
use sandboxd::config::{Config, Recording};
use sandboxd::line::{LineBuffer, MAX_LINE, escape};
use sandboxd::packages::ledger::{Ledger, TOGETHER_MAX};
use sandboxd::refusal::Assembler;
use sandboxd::registry::{FIRST_UID, LAST_UID, Registry};
use sandboxd::reports::{MOST, Reports};
use sandboxd::verity::VerityText;
use sandboxd::{exits, logfile, notify, store};

use crate::is_printable;

/// Words of the kernel's command line, separated by NUL: what has a `=` is a variable, what has none an argument. They name
/// three block devices, three modes and a number, and move nothing else.
pub fn cmdline(bytes: &[u8]) {
    let words: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let variable = |name: &str| {
        let value = words.iter().find_map(|word| word.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(OsString::from_vec(value.to_vec()))
    };
    let arguments =
        words.iter().filter(|word| !word.contains(&b'=')).map(|word| OsString::from_vec(word.to_vec()));
    let told = Config::told(variable, arguments);
    assert_eq!(told.developer, variable("GABION_DEVELOPER").is_some_and(|value| value == "1"));
    assert_eq!(told.tpm, variable("GABION_TPM").is_some_and(|value| value == "1"));
    assert!(told.floor == 0 || variable("GABION_FLOOR").is_some_and(|value| value != "0"));
    assert_eq!(told.safe_mode, words.contains(&&b"--safe-mode"[..]));
    for (device, name) in
        [(&told.apps_device, "GABION_APPS"), (&told.data_device, "GABION_DATA"), (&told.esp, "GABION_ESP")]
    {
        assert_eq!(
            device.as_ref().map(|path| path.as_os_str().to_owned()),
            variable(name).filter(|v| !v.is_empty())
        );
    }
    assert_eq!((&*told.apps, &*told.data), (Path::new("/apps"), Path::new("/data")));
    assert_eq!(told.recording, Recording::Everything);
}

/// What is kept for the service: bounded, printable, and what it would be written as is read as the same.
pub fn reports(bytes: &[u8]) {
    let reports = Reports::read(bytes);
    let all = reports.all();
    assert!(all.len() <= MOST);
    assert!(all.iter().all(|report| is_printable(&format!("{}{}{}", report.id, report.kind, report.detail))));
    assert_eq!(Reports::read(reports.text().as_bytes()).all(), all);
}

/// Text of the identity registry, as it is and with a good sum below it: what is taken is what would be written for it, gives
/// no uid twice and none of the system's.
pub fn registry(bytes: &[u8]) {
    let Ok(body) = std::str::from_utf8(bytes) else { return };
    taken(body);
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    taken(&format!("{body}sum {sum:016x}\n"));
}

/// Text of the ledger of packages, as it is and with a good sum below it: what is taken is what would be written for it, no
/// directory is two packages', and whatever is on trial can be kept, begun again or taken back, each time to such a ledger.
pub fn ledger(bytes: &[u8]) {
    let Ok(body) = std::str::from_utf8(bytes) else { return };
    counts(body);
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    counts(&format!("{body}sum {sum:016x}\n"));
}

fn counts(text: &str) {
    let ledger = match Ledger::parse(text) {
        Ok(ledger) => ledger,
        Err(why) => return assert!(is_printable(&why)),
    };
    assert_eq!(ledger.to_string(), text);
    let numbers: Vec<u64> = ledger.apps().map(|(_, package)| package.number).collect();
    assert!(numbers.iter().all(|number| *number < ledger.next()));
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
    if let Some(trial) = ledger.trial() {
        assert!((1..=TOGETHER_MAX).contains(&trial.before.len()));
        for (id, before) in &trial.before {
            assert_eq!(ledger.back("why").package(id), *before);
            assert!(before.is_none_or(|before| ledger.names(id, before.number)));
        }
    }
    let removed = ledger.apps().next().and_then(|(id, _)| ledger.removed(id));
    for after in [Some(ledger.kept()), Some(ledger.back(text)), ledger.begun_again(), removed] {
        let Some(after) = after else { continue };
        assert_eq!(Ledger::parse(&after.to_string()), Ok(after));
    }
}

fn taken(text: &str) {
    let mut registry = match Registry::parse(text) {
        Ok(registry) => registry,
        Err(error) => return assert!(is_printable(&error.to_string())),
    };
    assert_eq!(registry.to_string(), text);
    let lines = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    let uids: Vec<u32> = lines.filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    assert!(uids.iter().all(|uid| (FIRST_UID..=LAST_UID).contains(uid) && registry.owner(*uid).is_some()));
    assert_eq!(uids.iter().collect::<BTreeSet<_>>().len(), uids.len());
    if let Ok((uid, true)) = registry.assign("new.app.id") {
        assert!((FIRST_UID..=LAST_UID).contains(&uid) && !uids.contains(&uid));
        assert_eq!(registry.owner(uid), Some("new.app.id"));
    }
}

/// The first line as the name of a directory in the store, the others as `root.verity`.
pub fn store(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (name, verity) = text.split_once('\n').unwrap_or((text, ""));
    if store::plain(name) {
        assert!(!name.contains('/') && !name.starts_with('.') && name.len() <= 128 && is_printable(name));
        assert_eq!(Path::new(name).components().count(), 1);
    } else {
        assert!(name.parse::<policy::AppId>().is_err(), "an app that no store can hold");
    }
    if let Ok(verity) = VerityText::parse(verity) {
        let target = verity.target("/dev/loop0");
        let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(target.root_hash.len() == 64 && hex(target.root_hash));
        assert!((2..=128).contains(&target.salt.len()) && hex(target.salt));
        assert!(target.data_blocks > 0 && target.data_blocks <= target.hash_start_block);
        assert!(target.hash_start_block < 1 << 32);
    }
}

/// A datagram of `sd_notify`: a flag for each line that says just that, and a status that can be shown.
pub fn notify(bytes: &[u8]) {
    let notice = notify::parse(bytes);
    let has = |wanted: &[u8]| bytes.split(|b| *b == b'\n').any(|line| line == wanted);
    assert_eq!(notice.ready, has(b"READY=1"));
    assert_eq!(notice.stopping, has(b"STOPPING=1"));
    assert_eq!(notice.alive, has(b"WATCHDOG=1"));
    assert_eq!(notice.trigger, has(b"WATCHDOG=trigger"));
    if let Some(status) = &notice.status {
        assert!(is_printable(&status.replace('\t', " ")) && status.len() <= 4 * 120, "{status:?}");
    }
}

/// Output of an app, cut up as the first byte says: lines are bounded, the same however they come, and print as one line.
pub fn line(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (whole, pieces) = (lines(bytes, bytes.len().max(1)), lines(bytes, usize::from(*cut) + 1));
    assert_eq!(whole, pieces);
    for line in whole {
        assert!(line.len() <= MAX_LINE && !line.contains(&b'\n'));
        let text = escape(&line);
        assert!(text.len() <= 4 * line.len());
        assert!(text.chars().all(|c| c == '\t' || !c.is_control()));
        assert_eq!(escape(text.as_bytes()), text);
    }
}

fn lines(bytes: &[u8], at_once: usize) -> Vec<Vec<u8>> {
    let mut buffer = LineBuffer::default();
    let mut lines = Vec::new();
    bytes.chunks(at_once).for_each(|piece| buffer.push(piece, |line| lines.push(line.to_vec())));
    buffer.finish(|line| lines.push(line.to_vec()));
    lines
}

/// What is left of a log on the disk, read from the end; and of records, which whatever is in them hides none that comes
/// after, nor does one that is cut short count.
pub fn logs(bytes: &[u8]) {
    let Some((most, bytes)) = bytes.split_first() else { return };
    let most = usize::from(*most) * 4;
    let Ok(newest) = logfile::newest_lines(Cursor::new(bytes), most) else { panic!("nothing here can fail") };
    assert!(newest.len() <= most && bytes.ends_with(&newest));
    let before = bytes.len() - newest.len();
    assert!(before == 0 || newest.is_empty() || bytes[before - 1] == b'\n');
    assert!(logfile::plain_text(&newest).len() <= newest.len());

    let record = b"{\"time\":\"t\",\"count\":7,\"pid\":8}\n";
    let known = exits::count_in(bytes);
    for cut in 0..=record.len() {
        let after = exits::count_in(&[bytes, &record[..cut]].concat());
        let counts = cut > b"{\"time\":\"t\",\"count\":7".len();
        assert_eq!(after, if counts { Some(7) } else { known }, "{cut}");
    }
}

/// Lines as records of the kernel's audit, of the kind that their first byte says: what comes of them is bounded, prints as
/// one line, and is told once for each call.
pub fn audit(bytes: &[u8]) {
    const KINDS: [u16; 5] =
        [sys::audit::SECCOMP, sys::audit::SYSCALL, sys::audit::PATH, sys::audit::SOCKADDR, sys::audit::END];
    let mut assembler = Assembler::default();
    let (mut calls, mut told) = (0, 0);
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((kind, record)) = line.split_first() else { continue };
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        let Some(record) = audit_record::parse(kind, record) else { continue };
        match &record {
            Record::Call(_) => calls += 1,
            Record::Object(_, Object::Path { name, .. }) => assert!(name.len() <= 120),
            Record::Object(_, Object::Address(address)) => assert!(address.len() <= line.len() / 2),
            Record::End(_) => {}
        }
        if let Some(refusal) = assembler.push(record) {
            told += 1;
            let text = refusal.to_string();
            assert!(text.is_ascii() && is_printable(&text) && text.len() < 1024, "{text:?}");
        }
    }
    assert!(told <= calls);
}
