//! `gabion repository`: makes, signs and publishes a repository of updates in a folder. It talks to nobody, but for what is in
//! `remote`: the service that has the online keys.

pub(crate) mod remote;
mod table;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use repository::Repository;
use repository::edit::{Beginning, Change, Holders};
use repository::folder::Periods;
use repository::keys::{KeyFile, ROUNDS, Signer};
use serde_json::{Value, json};
use service_api::Name;
use tuf::custom::{Custom, Kind};

use crate::output::{answer, event};
use crate::service::{session, told};

/// The longest passphrase.
const PASSPHRASE_MAX: u64 = 4096;

/// What `gabion repository` does.
#[derive(Subcommand)]
pub(crate) enum Asked {
    /// Make a signing key, sealed by a passphrase.
    Key {
        /// Where to write it; nothing may be there.
        key: PathBuf,
        #[command(flatten)]
        opened: Opened,
    },
    /// Write the public part of a key, to be given to `init`, `delegate` and `rotate` elsewhere.
    Public {
        /// The key.
        key: PathBuf,
        /// Where to write it; nothing may be there.
        public: PathBuf,
    },
    /// Make a repository. Its root, targets and `os` are then to be signed, and published by `refresh`.
    Init(Init),
    /// Give a catalog's apps, or another folder of targets, a role and keys of its own.
    Delegate {
        /// The repository.
        folder: PathBuf,
        /// What the role is called: apps-CATALOG.
        role: String,
        /// The folder of targets that it speaks for: apps/CATALOG.
        #[arg(long)]
        targets: String,
        /// Its keys.
        #[arg(long = "key", value_name = "KEY", required = true)]
        keys: Vec<PathBuf>,
        /// How many of them have to sign.
        #[arg(long, default_value_t = 1)]
        threshold: u32,
    },
    /// Take a file in as a target, signed by whichever role speaks for its path.
    Add(Add),
    /// Take a target out of what is signed; its file stays for devices that are fetching it.
    Remove {
        /// The repository.
        folder: PathBuf,
        /// The target's path.
        path: String,
    },
    /// Sign what waits and this key may sign.
    Sign {
        /// The repository.
        folder: PathBuf,
        /// The key.
        #[arg(long)]
        key: PathBuf,
        /// This role alone.
        #[arg(long)]
        role: Option<String>,
        #[command(flatten)]
        opened: Opened,
    },
    /// Change who holds a role. Who held it has to sign, and for a root who is to hold it as well.
    Rotate {
        /// The repository.
        folder: PathBuf,
        /// The role.
        role: String,
        /// A key that comes.
        #[arg(long = "add", value_name = "KEY")]
        add: Vec<PathBuf>,
        /// The id of a key that goes, as `show` has it.
        #[arg(long = "remove", value_name = "ID")]
        remove: Vec<String>,
        /// How many have to sign from now on.
        #[arg(long)]
        threshold: Option<u32>,
    },
    /// Let a role be signed anew as it is, before it expires.
    Renew {
        /// The repository.
        folder: PathBuf,
        /// The role.
        role: String,
    },
    /// Publish what has all its signatures, with a new timestamp: to be done daily.
    Refresh {
        /// The repository.
        folder: PathBuf,
        /// The keys of snapshot and timestamp.
        #[arg(long = "key", value_name = "KEY", required = true)]
        keys: Vec<PathBuf>,
        /// For how many days devices believe that it is the newest; 14, but for a copy that is carried to them.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=366))]
        timestamp_days: Option<u32>,
        #[command(flatten)]
        opened: Opened,
    },
    /// Write the public part of the service's own key, which is to be that of snapshot and timestamp. For operators.
    Online {
        /// Where to write it; nothing may be there.
        public: PathBuf,
        /// Have the service make another one, to rotate to.
        #[arg(long)]
        new: bool,
    },
    /// Fetch what the service has published, so that the next versions follow it.
    Pull {
        /// The repository; it is made if --root says whom to believe.
        folder: PathBuf,
        /// The root that devices are made with, if the folder has none.
        #[arg(long)]
        root: Option<PathBuf>,
    },
    /// Send the service what is staged and has all its signatures. It checks that and publishes it.
    Push {
        /// The repository.
        folder: PathBuf,
        /// The catalog whose artefacts its releases are made of.
        catalog: Name,
    },
    /// Forget what is staged of a role.
    Drop {
        /// The repository.
        folder: PathBuf,
        /// The role.
        role: String,
    },
    /// Show roles, keys, what waits for whose signature, what expires, and targets.
    Show {
        /// The repository.
        folder: PathBuf,
    },
}

/// What opens a key.
#[derive(Args)]
pub(crate) struct Opened {
    /// A file with the passphrase, on its first line.
    #[arg(long, env = "GABION_REPOSITORY_PASSPHRASE_FILE")]
    passphrase_file: PathBuf,
}

/// What a repository begins with.
#[derive(Args)]
pub(crate) struct Init {
    /// Where to make it.
    folder: PathBuf,
    /// A key of root; kept offline.
    #[arg(long, value_name = "KEY", required = true)]
    root: Vec<PathBuf>,
    /// How many of them have to sign.
    #[arg(long, default_value_t = 1)]
    root_threshold: u32,
    /// A key of targets; kept offline.
    #[arg(long, value_name = "KEY", required = true)]
    targets: Vec<PathBuf>,
    /// How many of them have to sign.
    #[arg(long, default_value_t = 1)]
    targets_threshold: u32,
    /// A key of those who release the system.
    #[arg(long, value_name = "KEY", required = true)]
    os: Vec<PathBuf>,
    /// How many of them have to sign.
    #[arg(long, default_value_t = 1)]
    os_threshold: u32,
    /// The online key of snapshot.
    #[arg(long, value_name = "KEY")]
    snapshot: PathBuf,
    /// The online key of timestamp.
    #[arg(long, value_name = "KEY")]
    timestamp: PathBuf,
}

/// A target.
#[derive(Args)]
pub(crate) struct Add {
    /// The repository.
    folder: PathBuf,
    /// The target's path: os/… or apps/CATALOG/….
    path: String,
    /// The file.
    file: PathBuf,
    /// What it is.
    #[arg(long)]
    kind: Class,
    /// The release's version.
    #[arg(long)]
    release: String,
    /// The product that it is for.
    #[arg(long)]
    product: Option<String>,
    /// The app.
    #[arg(long)]
    app: Option<String>,
    /// No device goes back behind a greater number than this.
    #[arg(long)]
    floor: Option<u64>,
    /// The root hash of the image's dm-verity tree.
    #[arg(long)]
    root_hash: Option<String>,
    /// The target with its reference values.
    #[arg(long)]
    reference: Option<String>,
    /// The target with its block index.
    #[arg(long)]
    blocks: Option<String>,
    /// If it is a patch: the root hash of the image that it is for.
    #[arg(long)]
    from: Option<String>,
}

/// What a target is.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Class {
    /// The system's.
    Os,
    /// An app's.
    App,
}

/// `gabion repository`. False: it can't be done as it is asked for.
pub(crate) fn run(asked: Asked) -> Result<bool> {
    match told(act(asked)) {
        Ok(done) => Ok(done),
        Err(error) => match error.downcast_ref() {
            Some(repository::Error::Asked(why)) => {
                eprintln!("gabion: {why}");
                Ok(false)
            }
            _ => Err(error),
        },
    }
}

fn act(asked: Asked) -> Result<()> {
    match asked {
        Asked::Key { key, opened } => {
            let made = KeyFile::make(&opened.passphrase()?, ROUNDS)?;
            made.write(&key)?;
            say(&json!({ "key": made.id()? }), made.id()?)?;
        }
        Asked::Public { key, public } => KeyFile::read(&key)?.to_public().write(&public)?,
        Asked::Init(init) => init.run()?,
        Asked::Delegate { folder, role, targets, keys, threshold } => {
            open(&folder)?.delegate(&role, &targets, &holders(&keys, threshold)?)?;
            wait(&["targets", &role])?;
        }
        Asked::Add(add) => add.run()?,
        Asked::Remove { folder, path } => {
            wait(&[&open(&folder)?.remove(&path)?])?;
        }
        Asked::Sign { folder, key, role, opened } => {
            let signer = signer(&key, &opened.passphrase()?)?;
            for waiting in open(&folder)?.sign(&signer, role.as_deref())? {
                let (role, version) = (waiting.role, waiting.version);
                let (good, needed) = (waiting.good, waiting.needed);
                let signed =
                    json!({ "role": role, "version": version, "signatures": good, "needed": needed });
                say(&signed, format!("{role} {version}: {good} of {needed} signatures"))?;
            }
        }
        Asked::Rotate { folder, role, add, remove, threshold } => {
            ensure!(
                !(add.is_empty() && remove.is_empty() && threshold.is_none()),
                "nothing changes: give --add, --remove or --threshold"
            );
            let add = add.iter().map(|path| Ok(KeyFile::read(path)?.public)).collect::<Result<_>>()?;
            open(&folder)?.rotate(&role, &Change { add, remove, threshold })?;
            let text = "`gabion repository show` says whose signatures it waits for".to_owned();
            say(&json!({ "rotated": role }), text)?;
        }
        Asked::Online { public, new } => remote::online(&public, new)?,
        Asked::Pull { folder, root } => remote::pull(&session::resume()?, &folder, root.as_deref())?,
        Asked::Push { folder, catalog } => remote::push(&session::resume()?, &folder, &catalog)?,
        Asked::Drop { folder, role } => open(&folder)?.drop_staged(&role)?,
        Asked::Renew { folder, role } => {
            open(&folder)?.renew(&role)?;
            wait(&[&role])?;
        }
        Asked::Refresh { folder, keys, timestamp_days, opened } => {
            let passphrase = opened.passphrase()?;
            let signers = keys.iter().map(|path| signer(path, &passphrase)).collect::<Result<Vec<_>>>()?;
            let repository = open(&folder)?;
            let repository = match timestamp_days {
                Some(days) => repository.with_timestamp_days(days),
                None => repository,
            };
            let published = repository.refresh(&signers.iter().collect::<Vec<_>>())?;
            for (role, version) in published.roles {
                say(
                    &json!({ "published": role, "version": version }),
                    format!("{role} {version} published"),
                )?;
            }
            for waiting in published.waiting {
                say(&json!({ "waits": waiting }), waiting)?;
            }
            for (role, date) in published.expired {
                let text =
                    format!("{role} expired {date}: devices refuse what it speaks for until it is renewed");
                say(&json!({ "expired": role, "at": date }), text)?;
            }
        }
        Asked::Show { folder } => {
            let report = open(&folder)?.show()?;
            answer(&report, || table::of(&report))?;
        }
    }
    Ok(())
}

impl Init {
    fn run(&self) -> Result<()> {
        let begin = Beginning {
            root: holders(&self.root, self.root_threshold)?,
            targets: holders(&self.targets, self.targets_threshold)?,
            snapshot: holders(std::slice::from_ref(&self.snapshot), 1)?,
            timestamp: holders(std::slice::from_ref(&self.timestamp), 1)?,
            os: holders(&self.os, self.os_threshold)?,
        };
        Repository::init(&self.folder, Periods::default(), &begin, now_s()?)?;
        wait(&["root", "targets", "os"])
    }
}

impl Add {
    fn run(self) -> Result<()> {
        let custom = Custom {
            kind: match self.kind {
                Class::Os => Kind::Os,
                Class::App => Kind::App,
            },
            product: self.product,
            app: self.app,
            version: self.release,
            floor: self.floor,
            root_hash: self.root_hash,
            reference: self.reference,
            blocks: self.blocks,
            from: self.from,
            rest: Default::default(),
        };
        let role = open(&self.folder)?.add(&self.path, &self.file, &custom)?;
        wait(&[&role])
    }
}

/// Says what was done.
fn say(value: &Value, text: String) -> Result<()> {
    event(value, || text + "\n").map(drop)
}

/// Says which roles are not published before somebody has signed them.
fn wait(roles: &[&str]) -> Result<()> {
    let text = match roles {
        [all @ .., last] if !all.is_empty() => format!("{} and {last} wait for signatures", all.join(", ")),
        _ => format!("{} waits for signatures", roles.concat()),
    };
    say(&json!({ "wait": roles }), text)
}

impl Opened {
    pub(crate) fn passphrase(&self) -> Result<String> {
        let path = &self.passphrase_file;
        let mut text = String::new();
        let file = File::open(path).with_context(|| path.display().to_string())?;
        file.take(PASSPHRASE_MAX).read_to_string(&mut text).with_context(|| path.display().to_string())?;
        let passphrase = text.lines().next().unwrap_or_default().to_owned();
        ensure!(passphrase.len() >= 12, "a passphrase has at least 12 characters");
        Ok(passphrase)
    }
}

pub(crate) fn open(folder: &Path) -> Result<Repository> {
    Ok(Repository::open(folder, now_s()?)?)
}

fn holders(keys: &[PathBuf], threshold: u32) -> Result<Holders> {
    let keys = keys.iter().map(|path| Ok(KeyFile::read(path)?.public)).collect::<Result<_>>()?;
    Ok(Holders { keys, threshold })
}

pub(crate) fn signer(path: &Path, passphrase: &str) -> Result<Signer> {
    Ok(KeyFile::read(path)?.open(passphrase, path)?)
}

pub(crate) fn now_s() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}
