//! Connections to read SQLite by.
//!
//! sqlx's pool asks a connection whether it is alive before and after each use, since it may lead to another machine. One
//! to a file of our own always is, and each of these questions would cost as much as a statement. So there are some that
//! are open from the start, each for one reader at a time.

use super::WAIT;
use crate::refusal::Refusal;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many there are. A read is a look into memory, so it is processors that bound how many are of use.
const READERS: usize = 4;

/// The connections, and who waits for one.
#[derive(Clone)]
pub(super) struct Readers {
    all: Arc<[Arc<Mutex<AnyConnection>>]>,
    free: Arc<Semaphore>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

impl Readers {
    /// Takes them out of `pool`.
    pub(super) async fn open(pool: &AnyPool) -> Result<Self, sqlx::Error> {
        let mut all = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            all.push(Arc::new(Mutex::new(pool.acquire().await?.detach())));
        }
        Ok(Self { all: all.into(), free: Arc::new(Semaphore::new(READERS)) })
    }

    /// One that is free, once it is.
    pub(super) async fn one(&self) -> Result<Reading, Refusal> {
        let none = || Refusal::unavailable("too many reads wait");
        let turn = timeout(WAIT, self.free.clone().acquire_owned()).await.map_err(|_| none())?;
        let turn = turn.map_err(|_| none())?;
        let free = self.all.iter().find_map(|one| one.clone().try_lock_owned().ok());
        Ok(Reading(Source::Kept { connection: free.ok_or_else(none)?, _turn: turn }))
    }

    /// Waits for those who read; nobody reads any more.
    pub(super) async fn close(&self) {
        let all = u32::try_from(READERS).unwrap_or(0);
        let _ended = self.free.acquire_many(all).await.map(tokio::sync::SemaphorePermit::forget);
        self.free.close();
    }
}

/// A connection while somebody reads by it.
pub struct Reading(Source);

enum Source {
    /// PostgreSQL's.
    Pooled(PoolConnection<Any>),
    /// SQLite's. It is free before the turn is over: what is dropped first stands first.
    Kept { connection: OwnedMutexGuard<AnyConnection>, _turn: OwnedSemaphorePermit },
}

impl From<PoolConnection<Any>> for Reading {
    fn from(connection: PoolConnection<Any>) -> Self {
        Self(Source::Pooled(connection))
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reading")
    }
}

impl Deref for Reading {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match &self.0 {
            Source::Pooled(connection) => connection,
            Source::Kept { connection, .. } => connection,
        }
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match &mut self.0 {
            Source::Pooled(connection) => connection,
            Source::Kept { connection, .. } => connection,
        }
    }
}
