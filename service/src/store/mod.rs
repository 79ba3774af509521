//! The state: SQLite in a file, or PostgreSQL by its address; the same statements on both.
//!
//! What holds:
//! * [`Store::write`] comes back only when what it wrote is on the disk (`synchronous = FULL`, `synchronous_commit = on`).
//! * A write that is refused leaves nothing behind.
//! * Two writes at once are kept apart by their statements: each says in its `WHERE`, or by a unique key, what must still
//!   be so, and looks at how many rows that were. No write reads first and trusts what it read, but within what its own
//!   statements have locked. So PostgreSQL's ordinary isolation is enough, and several processes may share the database.
//!
//! SQLite has one writer ([`writer`]), so that many writes share the wait for the disk. Reads go past it ([`readers`]).

mod readers;
mod schema;
mod tidy;
mod writer;

pub mod artefacts;
pub mod audit;
pub mod deployments;
pub mod devices;
pub mod dump;
pub mod escrow;
pub mod feeds;
pub mod fleet;
pub mod machines;
pub mod orders;
pub mod people;
pub mod permits;
pub mod releases;
pub mod reports;
pub mod updates;

pub use readers::Reading;
pub use schema::VERSION;

use crate::refusal::{Kind, Refusal};
use futures_util::future::BoxFuture;
use service_api::fleet::Page;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor};
use std::fmt;
use std::time::Duration;

/// Connections to PostgreSQL; SQLite has a few of its own.
const CONNECTIONS: u32 = 8;
/// A connection that nobody used for this long is asked whether it is there.
const IDLE: Duration = Duration::from_secs(1);
/// How long a request waits for a connection before it is told to come again.
const WAIT: Duration = Duration::from_secs(10);

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// In a file of the service's own.
    Sqlite,
    /// Another process, perhaps another machine.
    Postgres,
}

/// Why the state could not be opened.
#[derive(Debug)]
pub enum StoreError {
    /// The address is neither of SQLite nor of PostgreSQL.
    Address,
    /// The database said no.
    Database(sqlx::Error),
    /// The tables are of this version, and this program's are not.
    Version(i64),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("a database's address begins with sqlite: or postgres:"),
            Self::Database(_) => f.write_str("the database failed"),
            Self::Version(0) => f.write_str("the database is empty; `gabion-service init` makes its tables"),
            Self::Version(other) => {
                write!(
                    f,
                    "the tables are of version {other}, this program's of {VERSION}; see `gabion-service migrate`"
                )
            }
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error) => Some(error),
            Self::Address | Self::Version(_) => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// The open state.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    pool: AnyPool,
    /// SQLite's ways in; PostgreSQL has the pool alone.
    sqlite: Option<(writer::Writer, readers::Readers)>,
}

impl Store {
    /// Connects, and makes sure that the tables are this program's.
    ///
    /// # Errors
    /// An address that is not understood, a database that is not there, tables of another version.
    pub async fn open(address: &str) -> Result<Self, StoreError> {
        let store = Self::connect(address).await?;
        let found = schema::version(&mut *store.pool.acquire().await?, store.database).await?;
        if found == VERSION { Ok(store) } else { Err(StoreError::Version(found)) }
    }

    /// Connects, and brings the tables to this program's version. Comes back with the version they had.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn migrate(address: &str) -> Result<(Self, i64), StoreError> {
        let store = Self::connect(address).await?;
        let from = schema::migrate(&mut *store.pool.acquire().await?, store.database).await?;
        Ok((store, from))
    }

    async fn connect(address: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let database = match address.split_once(':') {
            Some(("sqlite", _)) => Database::Sqlite,
            Some(("postgres" | "postgresql", _)) => Database::Postgres,
            _ => return Err(StoreError::Address),
        };
        let pool = pool(database, CONNECTIONS).connect(address).await?;
        let sqlite = match database {
            Database::Sqlite => {
                let writer = writer::Writer::start(pool.acquire().await?.detach());
                Some((writer, readers::Readers::open(&pool).await?))
            }
            Database::Postgres => None,
        };
        Ok(Self { database, pool, sqlite })
    }

    /// Which database this is.
    pub fn database(&self) -> Database {
        self.database
    }

    /// A connection to read by.
    ///
    /// # Errors
    /// None is free, or the database is gone.
    pub async fn read(&self) -> Result<Reading, Refusal> {
        match &self.sqlite {
            Some((_, readers)) => readers.one().await,
            None => Ok(self.pool.acquire().await?.into()),
        }
    }

    /// Does `work` in a transaction; the answer comes when that is committed. Refused, nothing of it stays.
    ///
    /// # Errors
    /// What `work` refused, or that the database failed: then it may be committed or not, and the caller asks again.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Refusal>> + Send + 'static,
    {
        if let Some((writer, _)) = &self.sqlite {
            return writer.write(work).await;
        }
        let mut transaction = self.pool.begin().await?;
        let answer = work(&mut transaction).await?;
        transaction.commit().await?;
        Ok(answer)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), Refusal> {
        sqlx::query("SELECT 1").execute(&mut *self.read().await?).await?;
        Ok(())
    }

    /// Waits until what is being written is, and closes.
    pub async fn close(&self) {
        if let Some((writer, readers)) = &self.sqlite {
            writer.stop().await;
            readers.close().await;
        }
        self.pool.close().await;
    }
}

fn pool(database: Database, connections: u32) -> sqlx::pool::PoolOptions<Any> {
    let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(WAIT);
    // One that was used a moment ago is believed to be there; the pool looks at each that comes back.
    let options = options.test_before_acquire(false).before_acquire(|connection, meta| {
        Box::pin(async move {
            if meta.idle_for > IDLE {
                connection.ping().await?;
            }
            Ok(true)
        })
    });
    options.after_connect(move |connection, _| {
        Box::pin(async move {
            let settings: &[&'static str] = match database {
                Database::Sqlite => &[
                    "PRAGMA journal_mode = WAL",
                    "PRAGMA synchronous = FULL",
                    "PRAGMA foreign_keys = ON",
                    "PRAGMA busy_timeout = 5000",
                ],
                Database::Postgres => &["SET synchronous_commit = on", "SET lock_timeout = 5000"],
            };
            for setting in settings {
                connection.execute(*setting).await?;
            }
            Ok(())
        })
    })
}

/// A page's length: what was asked for, or the default.
pub(crate) fn limit(asked: Option<u16>, default: i64, max: i64) -> Result<i64, Refusal> {
    let limit = asked.map_or(default, i64::from);
    let wrong = || Refusal::new(Kind::Malformed, format!("limit is 1 to {max}"));
    (1..=max).contains(&limit).then_some(limit).ok_or_else(wrong)
}

/// A page out of the rows and one more.
fn page<R, T>(rows: Vec<R>, limit: i64, read: impl Fn(R) -> Result<T, Refusal>) -> Result<Page<T>, Refusal> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    Ok(Page { items: rows.into_iter().take(limit).map(read).collect::<Result<_, _>>()?, more })
}

/// A number from outside as the databases have it.
fn whole(number: u64) -> Result<i64, Refusal> {
    i64::try_from(number).map_err(|_| Refusal::new(Kind::Malformed, "a number is too large"))
}

/// A number of the database, which never is negative.
fn time(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A text of the database that was checked before it got there.
fn checked<T: TryFrom<String>>(text: String) -> Result<T, Refusal> {
    T::try_from(text).map_err(|_| damaged())
}

fn damaged() -> Refusal {
    tracing::error!("the database has something this program did not write");
    Refusal::unavailable("the database is damaged")
}
