//! The commands and their options.

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use service::artefacts::Artefacts;
use service::attest::{Makers, TpmVerifier};
use service::ca::{Authority, AuthorityFile, TokenUri};
use service::clock::Clock;
use service::http::{Asking, Lifetime, Service};
use service::limits::{Limits, Rate};
use service::oidc::{self, Provider};
use service::outgoing::Outgoing;
use service::run::{Own, Running};
use service::secrets;
use service::serve::CONNECTIONS_MAX;
use service::store::{Store, artefacts, people};
use service_api::{Code, Subject, Text};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// The longest passphrase file, and file of certificates, that is read.
const FILE_MAX: u64 = 1 << 20;
/// How long the operator's code waits.
const CODE_S: i64 = 86_400;
const AUTHORITY: &str = "authority.json";

/// The Security Service of Gabion devices.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Command {
    /// Say more in the log.
    #[arg(long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make the authority and the tables, and a code for the first administrator.
    Init {
        #[command(flatten)]
        state: State,
        /// What devices and people call the service: host names and addresses.
        #[arg(long = "name", required = true)]
        names: Vec<String>,
        /// Who the first administrator is.
        #[arg(long, default_value = "operator")]
        operator: String,
        /// A token for the root's key and those of catalogs: pkcs11:token=LABEL?module-path=/…&pin-source=file:/…
        #[arg(long)]
        keys: Option<TokenUri>,
    },
    /// Make another code for an operator, who may make catalogs.
    Code {
        #[command(flatten)]
        state: State,
        /// Who.
        #[arg(long, default_value = "operator")]
        operator: String,
    },
    /// Serve, until SIGTERM or SIGINT.
    Run(Box<Run>),
    /// Bring the tables to this program's version.
    Migrate {
        #[command(flatten)]
        state: State,
    },
    /// Write everything to a folder, which is made.
    Backup {
        #[command(flatten)]
        state: State,
        /// Where to.
        folder: PathBuf,
    },
    /// Read a backup back, into a state that is not there yet.
    Restore {
        #[command(flatten)]
        state: State,
        /// Where from.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct State {
    /// The folder with the authority, and SQLite's file unless --database says another.
    #[arg(long, env = "GABION_SERVICE_STATE", default_value = "/var/lib/gabion-service")]
    state: PathBuf,
    /// sqlite:… or postgres://…
    #[arg(long, env = "GABION_SERVICE_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// Where artefacts are: a folder, or s3://BUCKET/PREFIX with credentials in the environment (AWS_ACCESS_KEY_ID, …).
    /// The folder `artefacts` in the state's unless told.
    #[arg(long, env = "GABION_SERVICE_ARTEFACTS")]
    artefacts: Option<String>,
    /// A file with the passphrase that the authority's keys are sealed with.
    #[arg(long, env = "GABION_SERVICE_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    state: State,
    /// Where the world finds the service.
    #[arg(long, default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Where /metrics, /healthz and /readyz are, in plain HTTP; not for the world.
    #[arg(long)]
    inside: Option<SocketAddr>,
    /// A certificate chain (PEM) to show instead of one of the service's own root.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key (PEM, PKCS#8).
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// Certificates (PEM) of roots to believe besides the world's, when the service asks others: the store of artefacts.
    #[arg(long)]
    trust: Option<PathBuf>,
    /// An OpenID provider that people may sign in to (device flow), by its issuer's address. Who was invited may come in.
    #[arg(long, requires = "oidc_client")]
    oidc_issuer: Option<String>,
    /// What the provider calls the service.
    #[arg(long, requires = "oidc_issuer")]
    oidc_client: Option<String>,
    /// The claim that names people, as they are invited: one that the provider assigns and its users cannot choose.
    #[arg(long, default_value = "email")]
    oidc_claim: String,
    /// Requests without credentials that one address may make at once.
    #[arg(long, default_value_t = 120)]
    burst: u32,
    /// And a second, in the long run.
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// How long a device's and an app's certificate lasts, seconds.
    #[arg(long, default_value_t = Lifetime::default().certificate_s, value_parser = clap::value_parser!(u32).range(120..=604_800))]
    certificate_s: u32,
    /// When a device comes for the next one, counted from the last, seconds.
    #[arg(long, default_value_t = Lifetime::default().renew_after_s, value_parser = clap::value_parser!(u32).range(60..))]
    renew_after_s: u32,
    /// Where devices find the repository of updates, if a web server or a network of them has a copy: the address below which
    /// metadata/ and targets/ are. Below the service's own unless told.
    #[arg(long, value_parser = repository_url)]
    updates_url: Option<Text<512>>,
    /// After how long devices ask for updates that do not wait for them, seconds.
    #[arg(long, default_value_t = Asking::default().check_after_s, value_parser = clap::value_parser!(u32).range(60..=604_800))]
    check_s: u32,
    /// Send devices on to the store of artefacts for what they download, if it is a bucket. They have to trust its certificate.
    #[arg(long)]
    redirect_artefacts: bool,
    /// Certificates (PEM) of the makers whose TPMs are believed to be TPMs.
    #[arg(long, required_unless_present = "any_tpm")]
    tpm_makers: Option<PathBuf>,
    /// Believe every key to be a TPM's: for boards whose TPM has no certificate. A program may enrol as a device then.
    #[arg(long, conflicts_with = "tpm_makers")]
    any_tpm: bool,
}

impl Command {
    /// What the log has.
    pub(crate) fn log_level(&self) -> tracing::Level {
        if self.verbose { tracing::Level::DEBUG } else { tracing::Level::INFO }
    }

    /// Does it.
    pub(crate) async fn run(self) -> Result<()> {
        match self.act {
            Act::Init { state, names, operator, keys } => {
                init(&state, keys.as_ref(), &names, &operator).await
            }
            Act::Code { state, operator } => code(&state.open().await?, &operator).await,
            Act::Run(options) => run(*options).await,
            Act::Migrate { state } => migrate(&state).await,
            Act::Backup { state, folder } => backup(&state, &folder).await,
            Act::Restore { state, folder } => restore(&state, &folder).await,
        }
    }
}

impl State {
    fn address(&self) -> String {
        let file = || format!("sqlite://{}?mode=rwc", self.state.join("state.sqlite").display());
        self.database.clone().unwrap_or_else(file)
    }

    fn artefacts_address(&self) -> String {
        let folder = || self.state.join("artefacts").display().to_string();
        self.artefacts.clone().unwrap_or_else(folder)
    }

    fn authority_path(&self) -> PathBuf {
        self.state.join(AUTHORITY)
    }

    fn passphrase(&self) -> Result<String> {
        let path = self.passphrase_file.as_ref().context("--passphrase-file is missing")?;
        let mut text = String::new();
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        file.take(FILE_MAX).read_to_string(&mut text).context("reading the passphrase")?;
        let passphrase = text.trim_end_matches(['\r', '\n']).to_owned();
        ensure!(passphrase.len() >= 12, "a passphrase has at least 12 characters");
        Ok(passphrase)
    }

    fn make_folder(&self) -> Result<()> {
        let make = || std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.state);
        make().with_context(|| format!("making {}", self.state.display()))
    }

    async fn open(&self) -> Result<Store> {
        Store::open(&self.address()).await.context("opening the database")
    }

    fn authority(&self) -> Result<(AuthorityFile, Authority)> {
        let path = self.authority_path();
        let file = AuthorityFile::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let authority = file.open(&self.passphrase()?)?;
        Ok((file, authority))
    }
}

async fn init(state: &State, token: Option<&TokenUri>, names: &[String], operator: &str) -> Result<()> {
    let passphrase = state.passphrase()?;
    state.make_folder()?;
    ensure!(!state.authority_path().exists(), "{} is there already", state.authority_path().display());
    let file = AuthorityFile::make_in(token, names, &passphrase, secrets::ROUNDS, Clock::System.now())?;
    let (store, _) = Store::migrate(&state.address()).await.context("making the tables")?;
    file.write(&state.authority_path())?;
    let root = state.state.join("root.pem");
    std::fs::write(&root, file.root_pem()).with_context(|| format!("writing {}", root.display()))?;
    println!("Devices, brokers and tools trust {}", root.display());
    code(&store, operator).await
}

async fn code(store: &Store, operator: &str) -> Result<()> {
    let subject: Subject = operator.parse()?;
    let code: Code = secrets::spoken_code()?;
    let (digest, expires) = (secrets::digest_of(&code), Clock::System.now() + CODE_S);
    let kept = store.write(move |connection| {
        Box::pin(async move { people::invite(connection, &digest, &subject, None, expires).await })
    });
    kept.await.map_err(|refusal| refusal.problem())?;
    store.close().await;
    println!("One-time code for {operator}, good for a day: {}", code.as_str());
    Ok(())
}

async fn run(options: Run) -> Result<()> {
    let (file, authority) = options.state.authority()?;
    let store = options.state.open().await?;
    let own = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => given(certificate, key)?,
        _ => Own::Made(file.names.clone()),
    };
    let verifier = Box::new(TpmVerifier::new(makers(options.tpm_makers.as_deref())?, Clock::System));
    let limits = Limits::new(Rate { burst: options.burst, per_second: options.rate });
    let lifetime = Lifetime { certificate_s: options.certificate_s, renew_after_s: options.renew_after_s };
    ensure!(lifetime.renew_after_s < lifetime.certificate_s, "a certificate is renewed before it ends");
    let roots = options.trust.as_deref().map(read).transpose()?.unwrap_or_default();
    let outgoing = Outgoing::new(&roots).context("reading what is trusted")?;
    let address = options.state.artefacts_address();
    let artefacts =
        Artefacts::open(&address, environment(), &outgoing).context("opening the store of artefacts")?;
    let mut service = Service::new(store, authority, verifier, Clock::System, limits);
    let oidc = options.oidc_issuer.zip(options.oidc_client).map(|(issuer, client)| {
        let config = oidc::Config { issuer, client, claim: options.oidc_claim, again_s: oidc::AGAIN_S };
        Provider::new(config, outgoing)
    });
    (service.lifetime, service.artefacts, service.oidc) = (lifetime, Some(artefacts), oidc);
    let default = Asking::default();
    service.asking = Asking {
        repository: options.updates_url.unwrap_or(default.repository),
        check_after_s: options.check_s,
        redirect: options.redirect_artefacts,
    };
    files_for_all();
    let running = Running::start(service, own, options.listen, options.inside).await?;
    tracing::info!(address = %running.address, inside = ?running.inside, "serving");
    println!("listening on {}", running.address);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => (),
        _ = int.recv() => (),
    }
    tracing::info!("ending");
    running.stop().await;
    Ok(())
}

fn repository_url(text: &str) -> Result<Text<512>, String> {
    let web = text.starts_with("https://") || text.starts_with("http://");
    let text = Text::try_from(text.to_owned()).map_err(|error| error.to_string())?;
    web.then_some(text)
        .ok_or_else(|| "it begins with https:// or http://; what is there is signed".to_owned())
}

/// Each device that waits has a connection, and that is a file: as many as the system lets this process have.
fn files_for_all() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(most) if most > CONNECTIONS_MAX as u64 => (),
        most => tracing::warn!(?most, "fewer files may be open than devices may wait"),
    }
}

/// What of it is text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The command line has either the file, or the word that anybody's will do.
fn makers(path: Option<&Path>) -> Result<Makers> {
    let Some(path) = path else {
        tracing::warn!("every key is believed to be a TPM's");
        return Ok(Makers::Anybody);
    };
    Makers::read(&read(path)?).with_context(|| format!("reading {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn given(certificate: &Path, key: &Path) -> Result<Own> {
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| format!("reading {}", certificate.display()))?;
    ensure!(!chain.is_empty(), "{} has no certificate", certificate.display());
    let key = PrivatePkcs8KeyDer::from_pem_slice(&read(key)?).context("reading the key")?;
    let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
    Ok(Own::Given(chain, key.secret_pkcs8_der().to_vec()))
}

async fn migrate(state: &State) -> Result<()> {
    let (store, from) = Store::migrate(&state.address()).await?;
    store.close().await;
    println!("the tables were of version {from} and are of version {}", service::store::VERSION);
    Ok(())
}

async fn backup(state: &State, folder: &Path) -> Result<()> {
    let store = state.open().await?;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("making {}", folder.display()))?;
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("state.jsonl"))?;
    let mut buffer = BufWriter::new(file);
    let rows = store.dump(&mut buffer).await?;
    buffer.into_inner()?.sync_all()?;
    AuthorityFile::read(&state.authority_path())?.write(&folder.join(AUTHORITY))?;
    let left = async { artefacts::count(&mut *store.read().await?).await };
    let (count, bytes) = left.await.map_err(|refusal| refusal.problem())?;
    store.close().await;
    println!("{rows} rows");
    if let Some(token) = AuthorityFile::read(&state.authority_path())?.token()? {
        println!("Not in it: the authority's keys, which are in {token}");
    }
    if count > 0 {
        let store = state.artefacts_address();
        println!(
            "Not in it: {count} artefacts with {bytes} bytes, which stay in {store}; keep a copy of that"
        );
    }
    Ok(())
}

async fn restore(state: &State, folder: &Path) -> Result<()> {
    state.make_folder()?;
    ensure!(!state.authority_path().exists(), "{} is there already", state.authority_path().display());
    let authority = AuthorityFile::read(&folder.join(AUTHORITY))?;
    // A backup whose passphrase nobody has is worth nothing: better known now.
    authority.open(&state.passphrase()?)?;
    let (store, _) = Store::migrate(&state.address()).await?;
    let rows = store.restore(BufReader::new(File::open(folder.join("state.jsonl"))?)).await?;
    authority.write(&state.authority_path())?;
    let mut root = File::create(state.state.join("root.pem"))?;
    root.write_all(authority.root_pem().as_bytes())?;
    store.close().await;
    println!("{rows} rows");
    Ok(())
}
