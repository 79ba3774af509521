//! From a build to a device, all of it real but the TPM: `gabion` makes releases and a deployment, as people do; a device asks what
//! it is meant to run, reads what was signed, fetches what it lacks and makes the images; and the reference client of The Update
//! Framework reads the same repository.

#[expect(dead_code, reason = "it is the API tests' support, of which this uses a part")]
mod support;

#[path = "../../tests/conformance/src/python.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a library of its own, of which this uses a part")]
mod python;

use anyhow::{Context as _, Result, ensure};
use delta::{Apply, Found, Index, Step};
use serde_json::{Value, json};
use service_api::release::{Image, Release, Role};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use support::actors::{Device, text};
use support::client::Client;
use support::{Site, runtime, sqlite};
use tuf::Limits;
use tuf::update::{Ask, Update};

/// Those who release: a folder with the tool, a session, keys and a repository.
struct People {
    folder: tempfile::TempDir,
    gabion: PathBuf,
}

impl People {
    fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // Of which package this is, Cargo is not to hear: it would compile all above a crate that watches that anew.
        let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        let others = std::env::vars_os().filter(|(name, _)| !own(&name.to_string_lossy()));
        let built = Command::new("cargo")
            .env_clear()
            .envs(others)
            .args(["build", "--quiet", "-p", "gabion-cli"])
            .current_dir(root)
            .env_remove("RUST_BACKTRACE")
            .status()?;
        ensure!(built.success(), "the tool could not be built");
        let own = std::env::current_exe()?;
        let gabion = own.parent().and_then(Path::parent).context("a target folder")?.join("gabion");
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("passphrase"), "correct horse battery\n")?;
        Ok(Self { folder, gabion })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gabion(&self, line: &str) -> Result<(bool, String)> {
        let mut command = Command::new(&self.gabion);
        command.current_dir(self.folder.path()).env("XDG_CONFIG_HOME", self.folder.path());
        command.env("GABION_REPOSITORY_PASSPHRASE_FILE", "passphrase").env("GABION_REPOSITORY", "repo");
        let output = command.args(line.split(' ')).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8(said)?))
    }

    fn done(&self, line: &str) -> Result<String> {
        let (well, said) = self.gabion(line)?;
        ensure!(well, "gabion {line}: {said}");
        Ok(said)
    }
}

/// Bytes that no packer makes shorter, of which `changed` are others.
fn image(changed: u64) -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes = Vec::new();
    for at in 0..75_000_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = if at > 30_000 && at < 30_000 + changed { state ^ 0xff00 } else { state };
        bytes.extend_from_slice(&word.to_le_bytes()[..7]);
    }
    bytes.truncate(bytes.len() / 4096 * 4096);
    bytes
}

const WORDS: &str = "data_blocks=1 hash_start_block=2 root_hash=0a salt=0b\n";

fn write_builds(people: &People) -> Result<()> {
    for (version, changed) in [("1.0.0", 0), ("1.1.0", 40)] {
        fs::write(people.path(&format!("root-{version}.img")), image(changed))?;
        fs::write(people.path(&format!("root-{version}.verity")), WORDS)?;
        let kernel = kernel(version, &image(changed + 1)[..80_000]);
        fs::write(people.path(&format!("system-{version}.efi")), kernel)?;
        let reference = include_str!("../../attestd/evidence/tests/data/reference.json");
        fs::write(people.path(&format!("system-{version}.reference.json")), reference)?;
    }
    fs::create_dir(people.path("clock"))?;
    let manifest = "[app]\nid = \"org.example.clock\"\nversion = \"2.0.0\"\nexec = [\"/bin/clock\"]\n[resources]\n\
                    memory = \"16MiB\"\ncpu = \"20%\"\ntasks = 16\n";
    fs::write(people.path("clock/manifest.toml"), manifest)?;
    fs::write(people.path("clock/root.img"), image(7))?;
    fs::write(people.path("clock/root.verity"), WORDS)?;
    Ok(())
}

/// An EFI program with what a release says of itself, and a kernel.
fn kernel(version: &str, linux: &[u8]) -> Vec<u8> {
    let about = format!("ID=gabion\nIMAGE_VERSION={version}\n");
    let line = "ro dm-mod.create=\"root,,0,ro,0 8 verity 1 a b 4096 4096 1 2 sha256 0a 0b;apps,,1,ro,0 8 verity 1 c c 4096 4096 1 2 \
                sha256 0f 0b\" GABION_FLOOR=3";
    let sections: [(&[u8], &[u8]); 3] =
        [(b".osrel", about.as_bytes()), (b".cmdline", line.as_bytes()), (b".linux", linux)];
    let mut bytes = vec![0; 0x200];
    bytes[0x3c] = 0x40;
    bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
    bytes[0x46] = sections.len() as u8;
    for ((name, content), at) in sections.into_iter().zip((0x58..).step_by(40)) {
        let begins = bytes.len() as u32;
        bytes[at..at + name.len()].copy_from_slice(name);
        bytes[at + 16..at + 20].copy_from_slice(&(content.len() as u32).to_le_bytes());
        bytes[at + 20..at + 24].copy_from_slice(&begins.to_le_bytes());
        bytes.extend_from_slice(content);
    }
    bytes
}

/// What a device reads of a target: the workflow of `updated`, file by file from the service.
async fn read_target(client: &Client, root: &[u8], target: &str, now: i64) -> Result<Vec<u8>> {
    let mut update = Update::new(root, now, Limits::default())?;
    go_on(client, &mut update).await?;
    update.look_for(target)?;
    go_on(client, &mut update).await?;
    let found = update.found()?;
    let bytes = client.get(&format!("/updates/v1/targets/{}", found.file)).await?.body;
    let mut check = tuf::target::Check::new(target, &found.target)?;
    check.update(&bytes)?;
    check.finish()?;
    Ok(bytes)
}

async fn go_on(client: &Client, update: &mut Update) -> Result<()> {
    loop {
        let bytes = match update.ask() {
            Ask::Nothing => return Ok(()),
            // It has seen nothing yet.
            Ask::Kept { .. } => None,
            Ask::Fetch { name, most } => {
                let answer = client.get(&format!("/updates/v1/metadata/{name}")).await?;
                ensure!(answer.body.len() <= most, "{name} is too long");
                (answer.status == 200).then_some(answer.body)
            }
        };
        update.give(bytes)?;
    }
}

/// Makes an image as a device does, by ranges. How many bytes were fetched.
async fn make(client: &Client, image: &Image, old: Option<&[u8]>) -> Result<(Vec<u8>, u64)> {
    let known = |bytes: &[u8]| service::secrets::sha256(bytes);
    let fits = |offer: &&service_api::release::Offer| match (&offer.old, old) {
        (None, None) => true,
        (Some(blob), Some(old)) => blob.sha256.as_str() == known(old),
        _ => false,
    };
    let offer = image.offers.iter().find(fits).context("a payload for this device")?;
    let blob = |blob: &service_api::release::Blob| format!("/updates/v1/targets/{}", blob.path());
    let index = client.get(&blob(&offer.index)).await?.body;
    ensure!(known(&index) == offer.index.sha256.as_str(), "the index is another");
    let mut fetched = index.len() as u64;
    let mut slot = vec![0; usize::try_from(image.content.length)?];
    let old = old.unwrap_or_default();
    let mut apply = Apply::new(Index::read(&index)?, Found::default(), 0)?;
    loop {
        match apply.step(old, slot.as_slice())? {
            Step::Done => return Ok((slot, fetched)),
            Step::Fetch(range) => {
                let range = format!("bytes={}-{}", range.start, range.end - 1);
                let answer = client.with_header("Range", &range).get(&blob(&offer.body)).await?;
                ensure!(answer.status == 206, "{}", answer.head);
                fetched += answer.body.len() as u64;
                apply.give(&answer.body);
            }
            Step::Write { at, bytes } => {
                let at = usize::try_from(at)?;
                slot.get_mut(at..at + bytes.len()).context("a place")?.copy_from_slice(&bytes);
                apply.wrote();
            }
        }
    }
}

fn check(os: &str, outcomes: Value) -> Value {
    json!({"os": os, "root_hash": "0a".repeat(32), "apps": [], "outcomes": outcomes})
}

#[test]
fn release_of_a_build_gets_to_a_device_as_people_deploy_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let runtime = runtime()?;
    let site = runtime.block_on(Site::start_at(&sqlite(folder.path()), now))?;
    let people = People::new()?;
    write_builds(&people)?;
    fs::write(people.path("root.pem"), site.root_pem())?;
    let url = format!("https://localhost:{}", site.running.address.port());
    people.done(&format!("service login {url} --root root.pem {}", site.code))?;
    let session: Value = serde_json::from_slice(&fs::read(people.path("gabion/service.json"))?)?;
    let operator = site.client()?.with_token(&text(&session["token"])?);
    runtime.block_on(support::actors::catalog(&operator, "one"))?;
    begin(&people)?;

    let add = |version: &str| {
        people.done(&format!(
            "image add one --key os --product pump --release {version} --root root-{version}.img --kernel system-{version}.efi --floor 3"
        ))
    };
    // What every device would refuse is not signed.
    fs::write(people.path("other.verity"), WORDS.replace("root_hash=0a", "root_hash=0f"))?;
    fs::copy(people.path("root-1.0.0.img"), people.path("other.img"))?;
    for (words, why) in [
        ("--release 1.0.0 --root root-1.0.0.img --kernel system-1.0.0.efi", "has the floor 3: say --floor 3"),
        (
            "--release 1.0.1 --root root-1.0.0.img --kernel system-1.0.0.efi --floor 3",
            "is of version 1.0.0, not 1.0.1",
        ),
        ("--release 1.0.0 --root other.img --kernel system-1.0.0.efi --floor 3", "starts another root"),
        ("--release 1.0.0 --root root-1.0.0.img --kernel root-1.0.0.img --floor 3", "it is no program"),
    ] {
        let (well, said) = people.gabion(&format!("image add one --key os --product pump {words}"))?;
        ensure!(!well && said.contains(why), "{words}: {said}");
    }
    let first = add("1.0.0")?;
    ensure!(
        first.contains("os/pump/1.0.0.json published") && first.contains("release pump-1.0.0"),
        "{first}"
    );
    add("1.1.0")?;
    // The same again is no other release; what it has changed under the same version is refused.
    fs::copy(people.path("root-1.0.0.img"), people.path("root-1.1.0.img"))?;
    let (well, said) = people.gabion(
        "image add one --key os --product pump --release 1.1.0 --root root-1.1.0.img --kernel system-1.1.0.efi --floor 3",
    )?;
    ensure!(!well && said.contains("is published with other images"), "{said}");
    people.done("repository drop repo os")?;
    people.done("image add one clock --key apps")?;
    ensure!(people.done("image list one")?.lines().count() == 3, "three releases");

    runtime.block_on(async {
        let device = Device::claimed(&site, "a", &operator, "one").await?.certified(&site).await?;
        let made = people.done(
            "deployment create one pump field os/pump/1.1.0.json apps/one/org.example.clock/2.0.0.json --json",
        )?;
        let number = serde_json::from_str::<Value>(&made)?["number"].clone();
        let told = device.post("/device/v1/updates", check("1.0.0", json!([]))).await?.json(200)?;
        let root = fs::read(people.path("repo/metadata/1.root.json"))?;
        let open = site.client()?;
        let targets: Vec<String> =
            told["releases"].as_array().into_iter().flatten().map(text).collect::<Result<_>>()?;
        let read = async |target: &str| {
            let bytes = read_target(&open, &root, target, now).await?;
            anyhow::Ok(Release::read(&bytes, target)?)
        };
        let [os, app] = targets.as_slice() else { anyhow::bail!("{told}") };
        let (os, app) = (read(os).await?, read(app).await?);
        let image_of = |release: &Release, role| release.image(role).cloned().context("an image");
        // Nobody has it all at first; then a patch of what is there is enough.
        let (root_1, all) = make(&open, &image_of(&read("os/pump/1.0.0.json").await?, Role::Root)?, None).await?;
        let (root_2, part) = make(&open, &image_of(&os, Role::Root)?, Some(&root_1)).await?;
        ensure!(root_1 == image(0) && root_2 == image(40), "the images are others than those that were built");
        ensure!(part < all / 100, "{part} of {all} bytes were fetched");
        let (clock, _) = make(&open, &image_of(&app, Role::App)?, None).await?;
        ensure!(clock == image(7) && app.manifest.is_some(), "the app");
        let failed = json!([{"release": "os/pump/1.1.0.json", "stage": "failed", "reason": "the disk is full",
            "at_s": 0, "fetched": part}]);
        device.post("/device/v1/updates", check("1.0.0", failed)).await?.json(200)?;
        let shown = people.done(&format!("deployment show one {number}"))?;
        ensure!(shown.contains("1 failed") && shown.contains("failed") && shown.contains("the disk is full"), "{shown}");

        people.done("feed add one pump stable --waves 50,100")?;
        people.done("feed follow one pump field stable")?;
        let put = people.done("feed publish one pump stable os/pump/1.1.0.json --notes better")?;
        ensure!(put.contains("deployments ") && people.done("feed list one pump")?.contains("by field"), "{put}");
        people.done("feed pin one pump field stable 1")?;
        ensure!(people.done("deployment list one")?.lines().count() == 3, "one by hand, two by the feed");

        // The reference client reads what the service serves.
        let state = people.path("state");
        fs::create_dir(&state)?;
        fs::copy(people.path("repo/metadata/1.root.json"), state.join("first.json"))?;
        for (target, taken) in [("os/pump/1.1.0.json", true), ("os/pump/9.json", false)] {
            let mut judge = python::with_tuf()?;
            judge.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/conformance/python/served.py")).arg(format!("{url}/updates/v1"));
            judge.arg(people.path("root.pem")).arg(&state).arg(target);
            let output = tokio::task::spawn_blocking(move || judge.output()).await??;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let said = String::from_utf8(output.stdout)?;
            let bytes = tuf::hex::decode(said.trim());
            ensure!(bytes.is_some_and(|bytes| Release::read(&bytes, target).is_ok()) == taken, "{target}: {said}");
        }
        Ok(())
    })?;
    runtime.block_on(site.running.stop());
    Ok(())
}

/// What is done once: keys, the service's own among them; a repository; its first publication.
fn begin(people: &People) -> Result<()> {
    for key in ["root", "targets", "os", "apps"] {
        people.done(&format!("repository key {key}"))?;
    }
    people.done("repository online online.pub")?;
    people.done(
        "repository init repo --root root --targets targets --os os --snapshot online.pub --timestamp online.pub",
    )?;
    people.done("repository delegate repo apps-one --targets apps/one --key apps")?;
    let (well, said) = people.gabion("repository push repo one")?;
    ensure!(!well && said.contains("nothing that is staged has all its signatures"), "{said}");
    for key in ["root", "targets", "os", "apps"] {
        people.done(&format!("repository sign repo --key {key}"))?;
    }
    let said = people.done("repository push repo one")?;
    ensure!(said.contains("timestamp 1 published"), "{said}");
    Ok(())
}
