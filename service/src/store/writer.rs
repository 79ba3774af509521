//! SQLite's one writer, and its group commit.
//!
//! Waiting for the disk is what a write costs. So everybody's writes go through one task: it takes all that wait, does
//! each after a savepoint of one transaction, commits once, and only then answers. A write that is refused is rolled
//! back to its savepoint, alone. If the commit fails, none of them happened and all are told so.
//!
//! The queue is bounded: who finds it full is told to come again, rather than waiting in memory.

use crate::refusal::Refusal;
use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, Connection, Executor};
use tokio::sync::{mpsc, oneshot};

/// Writes that wait. A request holds at most one.
const QUEUE: usize = 1024;
/// Writes in one commit: what bounds how long the first of them waits.
const BATCH: usize = 256;

/// The way to the writer.
#[derive(Clone, Debug)]
pub(super) struct Writer(mpsc::Sender<Job>);

enum Job {
    Write(Box<dyn Work>),
    Stop(oneshot::Sender<()>),
}

/// A write that somebody waits for, whatever it answers.
trait Work: Send {
    /// Does it. Whether to keep it.
    fn run<'c>(&'c mut self, connection: &'c mut AnyConnection) -> BoxFuture<'c, bool>;
    /// Answers.
    fn answer(self: Box<Self>, committed: bool);
}

struct Typed<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, Refusal>>,
    reply: oneshot::Sender<Result<T, Refusal>>,
}

impl<T, F> Work for Typed<T, F>
where
    T: Send,
    F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Refusal>> + Send,
{
    fn run<'c>(&'c mut self, connection: &'c mut AnyConnection) -> BoxFuture<'c, bool> {
        let work = self.work.take();
        Box::pin(async move {
            let Some(work) = work else { return false };
            let outcome = work(connection).await;
            let keep = outcome.is_ok();
            self.outcome = Some(outcome);
            keep
        })
    }

    fn answer(self: Box<Self>, committed: bool) {
        let outcome = match self.outcome {
            Some(Err(refusal)) => Err(refusal),
            Some(Ok(answer)) if committed => Ok(answer),
            Some(Ok(_)) | None => Err(Refusal::unavailable("the database did not commit")),
        };
        // Who no longer waits does not want to know.
        let _gone = self.reply.send(outcome);
    }
}

impl Writer {
    /// Starts the task that owns `connection`.
    pub(super) fn start(connection: AnyConnection) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(serve(connection, queue));
        Self(jobs)
    }

    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Refusal>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Typed { work: Some(work), outcome: None, reply };
        let full = |_| Refusal::unavailable("too many writes wait");
        self.0.try_send(Job::Write(Box::new(job))).map_err(full)?;
        answer.await.map_err(|_| Refusal::unavailable("the writer stopped"))?
    }

    /// Comes back when all that was asked for before is done, and the connection is closed.
    pub(super) async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.0.send(Job::Stop(reply)).await.is_ok() {
            let _stopped = stopped.await;
        }
    }
}

async fn serve(mut connection: AnyConnection, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        let mut works = Vec::with_capacity(jobs.len());
        let mut stop = None;
        for job in jobs.drain(..) {
            match job {
                Job::Write(work) => works.push(work),
                Job::Stop(reply) => stop = Some(reply),
            }
        }
        let committed = commit(&mut connection, &mut works).await;
        if let Err(error) = &committed {
            tracing::error!(%error, writes = works.len(), "nothing was committed");
        }
        works.into_iter().for_each(|work| work.answer(committed.is_ok()));
        if let Some(reply) = stop {
            if let Err(error) = connection.close().await {
                tracing::error!(%error, "the database did not close");
            }
            let _gone = reply.send(());
            return;
        }
    }
}

async fn commit(connection: &mut AnyConnection, works: &mut [Box<dyn Work>]) -> Result<(), sqlx::Error> {
    if works.is_empty() {
        return Ok(());
    }
    let done = all(connection, works).await;
    if done.is_err() {
        // A commit that failed may have left the transaction open, or ended it: either way the next begins anew.
        let _ended = connection.execute("ROLLBACK").await;
    }
    done
}

/// One savepoint is open at any time: each work begins by letting go of the one before, which keeps what was done since.
async fn all(connection: &mut AnyConnection, works: &mut [Box<dyn Work>]) -> Result<(), sqlx::Error> {
    let mut begin = "BEGIN IMMEDIATE; SAVEPOINT work";
    for work in works {
        execute(connection, begin).await?;
        if !work.run(connection).await {
            execute(connection, "ROLLBACK TO work").await?;
        }
        begin = "RELEASE work; SAVEPOINT work";
    }
    execute(connection, "COMMIT").await
}

/// As a query, which stays prepared; text alone is prepared each time.
async fn execute(connection: &mut AnyConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(drop)
}
