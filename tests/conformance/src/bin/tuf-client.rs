//! The command line of the public conformance suite of The Update Framework, on the client that devices have.
//!
//! Nothing of the workflow is here: where files are, the clock (which the suite fakes, so this is linked dynamically), and
//! targets that are there already.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use lexopt::{Arg, ValueExt as _};
use tokio::net::TcpStream;
use tuf::http::{Base, Connect, Http};
use tuf::store::Store;
use tuf::target::Check;
use tuf::update::Found;
use tuf::{Client, Limits};

#[derive(Default)]
struct Asked {
    command: Vec<String>,
    metadata_dir: Option<PathBuf>,
    metadata_url: Option<String>,
    target_names: Vec<String>,
    target_dir: Option<PathBuf>,
    target_base_url: Option<String>,
}

fn asked() -> Result<Asked> {
    let mut asked = Asked::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("metadata-dir") => asked.metadata_dir = Some(parser.value()?.into()),
            Arg::Long("metadata-url") => asked.metadata_url = Some(parser.value()?.string()?),
            Arg::Long("target-name") => asked.target_names.push(parser.value()?.string()?),
            Arg::Long("target-dir") => asked.target_dir = Some(parser.value()?.into()),
            Arg::Long("target-base-url") => asked.target_base_url = Some(parser.value()?.string()?),
            Arg::Value(word) => asked.command.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(asked)
}

struct Plain;

impl Connect for Plain {
    type Stream = TcpStream;

    async fn connect(&mut self, to: &Base) -> io::Result<TcpStream> {
        TcpStream::connect((to.host.as_str(), to.port)).await
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let asked = asked()?;
    let store = Store::open(asked.metadata_dir.as_ref().context("--metadata-dir")?)?;
    let words: Vec<&str> = asked.command.iter().map(String::as_str).collect();
    match words[..] {
        ["init", root] => Ok(Client::init(&store, &fs::read(root)?)?),
        ["refresh"] | ["download"] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, online(store, &asked))
        }
        _ => bail!("init ROOT, refresh or download"),
    }
}

async fn online(store: Store, asked: &Asked) -> Result<()> {
    let metadata = asked.metadata_url.as_deref().and_then(Base::parse).context("--metadata-url")?;
    let targets = match asked.target_base_url.as_deref() {
        Some(url) => Base::parse(url).context("--target-base-url")?,
        None => metadata.clone(),
    };
    let mut source = Http::new(Plain, metadata, targets);
    let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let mut client = Client::refresh(store, &mut source, now_s, Limits::default()).await?;
    for name in &asked.target_names {
        let found = client.find(&mut source, name).await?;
        let folder = asked.target_dir.as_deref().context("--target-dir")?;
        // One name for each path.
        let place = folder.join(found.path.replace('%', "%25").replace('/', "%2F"));
        if is_there(&found, &place)? {
            continue;
        }
        // Not in the folder before it is whole: the suite looks at all that is there.
        let mut new = tempfile::NamedTempFile::new()?;
        Client::download(&mut source, &found, &mut new).await?;
        fs::copy(new.path(), place)?;
    }
    Ok(())
}

fn is_there(found: &Found, place: &Path) -> Result<bool> {
    let Ok(mut file) = File::open(place) else { return Ok(false) };
    let mut check = Check::new(&found.path, &found.target)?;
    let mut chunk = [0; 4096];
    loop {
        let length = file.read(&mut chunk)?;
        if check.update(&chunk[..length]).is_err() {
            return Ok(false);
        }
        if length == 0 {
            return Ok(check.finish().is_ok());
        }
    }
}
