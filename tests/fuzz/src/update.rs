//! What updates are told by: metadata that anybody on the way may have written.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bus::update_link::App;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use service_api::release::{Release, What};
use service_api::updates::Answer;
use tuf::archive::{self, HEADER, LIST};
use tuf::custom::Custom;
use tuf::date::Date;
use tuf::envelope::Envelope;
use tuf::key::Key;
use tuf::metadata::{
    DelegatedRole, Delegations, Hashes, MetaFile, RoleKeys, Root, Signed, Snapshot, SnapshotOnly, TargetFile,
    Targets, Timestamp,
};
use tuf::update::{Ask, Update};
use tuf::{Limits, canonical, delegation, hex, name};
use updated::settings::{STORES_MAX, Settings};
use updated::want::{Runs, compare, wanted};

/// The time at the device.
const NOW_S: i64 = 1_800_000_000;
/// The target that is looked for.
const PATH: &str = "os/box/root.img";

/// A repository on a disk: what is in it lies in it, and nothing is there twice.
pub fn archive(bytes: &[u8]) {
    let size = bytes.len() as u64;
    let all = archive::entries(size, |at, header| {
        let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.first_chunk::<HEADER>());
        *header = *from.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(())
    });
    let Ok(all) = all else { return };
    let mut end = 0;
    let mut lies: Vec<_> = all.values().collect();
    lies.sort_unstable();
    for (at, length) in lies {
        assert!(*at >= end + HEADER as u64, "two in one place");
        end = at + length;
        assert!(end <= size);
    }
    assert!(all.is_empty() || all.contains_key(LIST));
    assert!(all.keys().all(|name| name.bytes().all(|byte| byte.is_ascii_graphic())));
}

/// A role's file: what is signed has one canonical form, in which nothing is lost; what it says leads nowhere but down.
pub fn metadata(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(canonical) = canonical::of(text)
    {
        let plain = !text.contains('\\') && !text.contains(char::is_control);
        // Without anything that JSON escapes and canonical JSON does not, it is JSON, and its own canonical form.
        if let Some(again) = std::str::from_utf8(&canonical).ok().filter(|_| plain) {
            assert_eq!(canonical::of(again).ok().as_ref(), Some(&canonical));
        }
    }
    let Ok(envelope) = Envelope::read(bytes) else { return };
    assert!(envelope.signatures().len() <= 64);
    // Nobody signs for nobody.
    assert!(envelope.signed_by(&Default::default()).is_err());
    let _ = (envelope.parse::<Root>(), envelope.parse::<Timestamp>(), envelope.parse::<Snapshot>());
    let Ok(targets) = envelope.parse::<Targets>() else { return };
    assert!(targets.version > 0);
    for (path, file) in &targets.targets {
        if name::is_path(path) {
            assert!(!name::target_file(path, None).starts_with('/') && !path.contains("/../"));
        }
        if let Some(custom) = file.release() {
            let text = serde_json::to_string(&custom).unwrap_or_default();
            assert_eq!(serde_json::from_str::<Custom>(&text).ok(), Some(custom));
        }
    }
    for delegate in targets.delegations.iter().flat_map(|all| delegation::of(all, PATH)) {
        let kept = name::kept(&delegate.role);
        assert!(!kept.contains('/') && (!name::is_role(&delegate.role) || kept.len() < 256));
    }
}

/// What is said of updates: a release's document leads to blobs alone and is written as it was read; of an answer of the service only
/// what is newer and for this device is wanted.
pub fn release(bytes: &[u8]) {
    if let Ok(release) = serde_json::from_slice::<Release>(bytes) {
        let path = match &release.what {
            What::Os(product) => format!("os/{product}/{}.json", release.version),
            What::App(app) => format!("apps/acme/{app}/{}.json", release.version),
        };
        if let Ok(read) = Release::read(bytes, &path) {
            let offers = read.images.iter().flat_map(|image| image.offers.iter());
            let blobs = offers.flat_map(|offer| [&offer.index, &offer.body]).chain(&read.manifest);
            for blob in blobs {
                let digest = blob.path().strip_prefix("blobs/").map(hex::decode);
                assert_eq!(digest.flatten().map(|digest| digest.len()), Some(32));
            }
            let again = serde_json::to_vec(&read).unwrap_or_default();
            assert_eq!(Release::read(&again, &path), Ok(read));
        }
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes)
        && let Ok(settings) = "product = \"box\"\ncatalog = \"acme\"\n".parse()
    {
        let apps = [App { id: "com.example.a".into(), version: "1.0".into(), ..App::default() }];
        let wanted = wanted(&answer, Runs { os: Some("1.0"), apps: &apps, failed: &|_| false }, &settings);
        for target in wanted.os.iter().chain(&wanted.apps) {
            let known = target.of == "box" || target.of == "com.example.a";
            assert!(!known || compare(&target.version, "1.0").is_gt());
            assert!(target.path.starts_with("os/box/") || target.path.starts_with("apps/acme/"));
        }
        assert!(wanted.remove.is_empty(), "none of them came by an update");
    }
    if let Some(Ok(settings)) = std::str::from_utf8(bytes).ok().map(str::parse::<Settings>) {
        assert!(settings.windows.iter().all(|window| window.from < 10_080 && window.minutes > 0));
        assert!((60..=840).contains(&settings.health_s) && settings.stores.len() <= STORES_MAX);
    }
}

/// A repository's files, as its owner signed them: root, timestamp, snapshot, targets, and a delegated role's.
pub fn genuine() -> &'static [Vec<u8>; 5] {
    static FILES: OnceLock<[Vec<u8>; 5]> = OnceLock::new();
    FILES.get_or_init(made)
}

/// An update whose answers are given by a script: for each a byte and, for byte 1, a length in two bytes and as many bytes;
/// 0 says that there is nothing, and from 2 on it is one of the owner's own files. Whatever the script is, the device keeps
/// only what the owner signed, and asks for no more than it said.
pub fn update(bytes: &[u8]) {
    arrives(bytes);
}

/// The same; whether the device ends with what the owner signed of the target.
pub fn arrives(bytes: &[u8]) -> bool {
    let limits = Limits::default();
    let Ok(mut update) = Update::new(&genuine()[0], NOW_S, limits) else { panic!("the owner's root") };
    let mut script = bytes;
    let mut looked = false;
    for _ in 0..400 {
        let most = match update.ask() {
            Ask::Nothing if update.is_ready() && !looked => {
                looked = true;
                if update.look_for(PATH).is_err() {
                    return false;
                }
                continue;
            }
            Ask::Nothing => break,
            Ask::Kept { name, most } | Ask::Fetch { name, most } => {
                assert!(!name.contains('/'));
                most
            }
        };
        assert!(most <= limits.targets);
        match update.give(answer(&mut script)) {
            Ok(Some(keep)) => {
                let same = |file: &Vec<u8>| signed(file).is_some_and(|was| Some(was) == signed(&keep.bytes));
                assert!(genuine().iter().any(same), "{} is kept, and nobody signed it", keep.name);
            }
            Ok(None) => {}
            Err(_) => {
                assert!(update.ask() == Ask::Nothing && !update.is_ready() && update.give(None).is_err());
                return false;
            }
        }
    }
    assert!(update.ask() == Ask::Nothing, "an update of one root and one role comes to its end");
    let Ok(found) = update.found() else { return false };
    assert_eq!((found.role.as_str(), found.target.length), ("os", 8));
    true
}

fn signed(file: &[u8]) -> Option<Vec<u8>> {
    Envelope::read(file).ok().map(|envelope| envelope.canonical().to_vec())
}

fn answer(script: &mut &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = script.split_first()?;
    *script = rest;
    match *kind {
        0 => None,
        1 => {
            let (length, rest) = script.split_first_chunk()?;
            let (bytes, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
            *script = rest;
            Some(bytes.to_vec())
        }
        number => genuine().get(usize::from(number - 2)).cloned(),
    }
}

fn made() -> [Vec<u8>; 5] {
    let pairs = [1, 2].map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]));
    let [Ok(offline), Ok(online)] = pairs else { return Default::default() };
    let keys = [("offline", &offline), ("online", &online)];
    let keys: BTreeMap<String, Key> =
        keys.map(|(id, pair)| (id.to_owned(), Key::ed25519(pair.public_key().as_ref()))).into();
    let held = |id: &str| RoleKeys { keyids: vec![id.to_owned()], threshold: 1 };
    let spec_version = "1.0.34".to_owned();
    let expires = Date::from_unix(NOW_S + 1000);
    let Some(expires) = expires else { return Default::default() };
    let roles =
        [("root", "offline"), ("targets", "offline"), ("snapshot", "online"), ("timestamp", "online")];
    let root = Root {
        kind: "root".to_owned(),
        spec_version: spec_version.clone(),
        version: 1,
        expires,
        consistent_snapshot: true,
        keys: keys.clone(),
        roles: roles.map(|(role, id)| (role.to_owned(), held(id))).into(),
    };
    let digest = |bytes: &[u8]| {
        let sha256 = hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Hashes::from([("sha256".to_owned(), sha256)])
    };
    let all = |targets, delegations| Targets {
        kind: "targets".to_owned(),
        spec_version: spec_version.clone(),
        version: 1,
        expires,
        targets,
        delegations,
    };
    let custom = r#"{"kind":"os","product":"box","version":"1.0"}"#.to_owned();
    let custom = serde_json::value::RawValue::from_string(custom).ok();
    let file = TargetFile { length: 8, hashes: digest(b"system 1"), custom };
    let os = all(BTreeMap::from([(PATH.to_owned(), file)]), None);
    let os = file_of(&os, "online", &online);
    let role = DelegatedRole {
        name: "os".to_owned(),
        keyids: vec!["online".to_owned()],
        threshold: 1,
        terminating: true,
        paths: Some(vec!["os/*/*".to_owned()]),
        path_hash_prefixes: None,
    };
    let delegations = Delegations { keys, roles: Some(vec![role]), succinct_roles: None };
    let targets = file_of(&all(BTreeMap::new(), Some(delegations)), "offline", &offline);
    let described = |bytes: &[u8]| MetaFile {
        version: 1,
        length: u64::try_from(bytes.len()).ok(),
        hashes: Some(digest(bytes)),
    };
    let snapshot = Snapshot {
        kind: "snapshot".to_owned(),
        spec_version: spec_version.clone(),
        version: 1,
        expires,
        meta: [("targets.json", &targets), ("os.json", &os)]
            .map(|(name, file)| (name.to_owned(), described(file)))
            .into(),
    };
    let snapshot = file_of(&snapshot, "online", &online);
    let timestamp = Timestamp {
        kind: "timestamp".to_owned(),
        spec_version: spec_version.clone(),
        version: 1,
        expires,
        meta: SnapshotOnly { snapshot: described(&snapshot) },
    };
    [file_of(&root, "offline", &offline), file_of(&timestamp, "online", &online), snapshot, targets, os]
}

fn file_of<T: Signed>(value: &T, id: &str, pair: &Ed25519KeyPair) -> Vec<u8> {
    let text = serde_json::to_string(value).unwrap_or_default();
    let sig = hex::encode(pair.sign(&canonical::of(&text).unwrap_or_default()).as_ref());
    format!("{{\"signatures\":[{{\"keyid\":\"{id}\",\"sig\":\"{sig}\"}}],\"signed\":{text}}}").into_bytes()
}
