//! What passes between core and shell: descriptors by number, what is to be done, and how it ended.

use bus::control::FromRouter;

#[cfg(doc)]
use super::Core;

/// A descriptor that the shell holds. No number is used for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// The socket to `sandboxd`.
pub const CONTROL: Token = Token(0);

/// A descriptor that came with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The shell's number for it.
    pub token: Token,
    /// Which socket it is of: the same for every duplicate.
    pub socket: u64,
}

/// What the shell is to watch a descriptor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Connections that wait.
    Listener,
    /// Reports, and its end.
    Server,
    /// Its end, and nothing else.
    Connection,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin to watch.
    Watch(Token, Watch),
    /// Say with [`Core::writable`] when this socket has room again.
    AwaitRoom(Token),
    /// Send to `sandboxd`. Answer: [`Core::told`].
    Tell(FromRouter, Option<Token>),
    /// Accept one connection, if `CONTROL` and `room` have room. Answer: [`Core::accepted`].
    Accept {
        /// Where.
        listener: Token,
        /// The server's socket, that must have room for the connection.
        room: Option<Token>,
    },
    /// Send to a server. Answer: [`Core::said`].
    Say {
        /// The server's socket.
        server: Token,
        /// The text.
        message: String,
        /// The connection that goes with it.
        connection: Option<(u64, Token)>,
    },
    /// Receive one report. Answer: [`Core::report`].
    Read(Token),
    /// `shutdown(2)`, both ways.
    Shutdown(Token),
    /// Stop watching and close.
    Close(Token),
}

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the socket.
    Done,
    /// The socket has no room.
    Full,
    /// The kernel is short of something else.
    Busy,
    /// Nobody holds the other end.
    Gone,
}

/// How an accept ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A connection.
    One(Token),
    /// Nobody waits there.
    Nobody,
    /// This socket has no room, so nothing was accepted.
    NoRoom(Token),
    /// The kernel is short of something.
    Busy,
}
