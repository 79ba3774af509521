//! Requests to sandboxd over the link, one at a time: each has one answer.
//!
//! A request whose asker gave up still gets its answer, which is passed over before the next is sent. A sandboxd that was
//! started anew answers nothing that the one before was asked.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

use bus::update_link::{FromUpdated, ToUpdated};
use bus_tokio::Link;
use tokio::sync::{Notify, oneshot};

type Answer = (ToUpdated, Vec<OwnedFd>);

/// The link.
#[derive(Debug)]
pub struct Desk {
    link: Link<ToUpdated, FromUpdated>,
    asked: Cell<bool>,
    /// The state is being told: what looks like an answer is part of it.
    telling: Cell<bool>,
    waits: RefCell<Option<oneshot::Sender<Answer>>>,
    free: Notify,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// sandboxd was started anew: ask again.
    Anew,
    /// It was not done, and why.
    Refused(String),
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anew => f.write_str("the app manager was started anew meanwhile"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl Desk {
    /// On this socket.
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let link = Link::new(socket)?;
        Ok(Self {
            link,
            asked: Cell::new(false),
            telling: Cell::new(true),
            waits: RefCell::default(),
            free: Notify::new(),
        })
    }

    /// Says something that has no answer.
    pub fn tell(&self, message: &FromUpdated) {
        self.link.send(message);
    }

    /// Asks for something.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, message: &FromUpdated, fds: Vec<OwnedFd>) -> Result<Answer, AskError> {
        while self.asked.get() || self.telling.get() {
            self.free.notified().await;
        }
        self.asked.set(true);
        let (sender, receiver) = oneshot::channel();
        *self.waits.borrow_mut() = Some(sender);
        self.link.send_with(message, fds);
        match receiver.await {
            Ok((ToUpdated::Refused(why), _)) => Err(AskError::Refused(why)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(AskError::Anew),
        }
    }

    /// The same, unless somebody else has asked and waits: nobody waits for hours to be told no.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask_at_once(&self, message: &FromUpdated) -> Result<Answer, AskError> {
        if self.asked.get() || self.telling.get() {
            return Err(AskError::Refused("something is being applied; ask again".to_owned()));
        }
        self.ask(message, Vec::new()).await
    }

    /// The next message that is no answer.
    ///
    /// # Errors
    /// sandboxd's end is gone for good.
    pub async fn receive(&self) -> io::Result<Answer> {
        loop {
            let (message, fds) = self.link.receive().await?;
            match message {
                ToUpdated::Installed if self.telling.get() => return Ok((message, fds)),
                ToUpdated::Slot
                | ToUpdated::Kernel
                | ToUpdated::Armed
                | ToUpdated::Blessed
                | ToUpdated::Incoming
                | ToUpdated::Installed
                | ToUpdated::Refused(_) => self.answered(Some((message, fds))),
                ToUpdated::Sync => {
                    self.telling.set(true);
                    self.answered(None);
                    return Ok((message, fds));
                }
                ToUpdated::SyncEnd => {
                    self.telling.set(false);
                    self.free.notify_one();
                    return Ok((message, fds));
                }
                other => return Ok((other, fds)),
            }
        }
    }

    /// Sends what found no room, for ever.
    ///
    /// # Errors
    /// The socket fails.
    pub async fn flush(&self) -> io::Result<()> {
        self.link.flush().await
    }

    fn answered(&self, answer: Option<Answer>) {
        if let (Some(waits), Some(answer)) = (self.waits.borrow_mut().take(), answer) {
            // Whoever asked may have given up.
            let _ = waits.send(answer);
        }
        self.asked.set(false);
        self.free.notify_one();
    }
}
