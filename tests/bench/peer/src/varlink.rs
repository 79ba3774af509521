//! The bus: a server and callers made with our library, as an app's author would.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus::bulk::{Reader, Writer};
use bus::client::Connection;
use bus::interface::Empty;
use bus::server::{Answer, Call, Server};
use bus::session::About;

use crate::ask;
use crate::payload;
use bench_peer::interface::bench::{
    self, Client, Echo, EchoParameters, EchoReply, Handler, Share, ShareParameters, Take, TakeParameters,
    TakeReply,
};

/// How long a caller waits until it says that a call is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// Longest memory that is taken.
const MEMORY_MAX: usize = 1 << 20;
/// Bytes of it that are copied out at once.
const PART: usize = 16 * 1024;

#[derive(Default)]
struct Bench {
    /// By the number of their connection. Kept when that ends: the bench has few.
    memories: BTreeMap<u64, Reader>,
}

impl Handler for Bench {
    fn echo(&mut self, call: Call<'_, Echo>, parameters: EchoParameters<'_>) -> Answer {
        call.reply(&EchoReply { data: parameters.data })
    }

    fn share(&mut self, mut call: Call<'_, Share>, _: ShareParameters) -> Answer {
        let fd = call.take_descriptors().into_iter().next();
        match fd.and_then(|fd| Reader::new(fd, MEMORY_MAX).ok()) {
            Some(reader) => {
                self.memories.insert(call.caller().serial, reader);
                call.reply(&Empty {})
            }
            None => call.fail(&bench::Error::NoMemory {}),
        }
    }

    fn take(&mut self, call: Call<'_, Take>, parameters: TakeParameters) -> Answer {
        let length = usize::try_from(parameters.length).unwrap_or(usize::MAX);
        let memory = self.memories.get(&call.caller().serial);
        match memory.and_then(|memory| add_up(memory, length)) {
            Some(sum) => call.reply(&TakeReply { sum: sum.cast_signed() }),
            None => call.fail(&bench::Error::NoMemory {}),
        }
    }
}

/// Part by part: its writer may change it, so that what is looked at has to be a copy; of a small part, because the next
/// one then goes where this one was.
fn add_up(memory: &Reader, length: usize) -> Option<u64> {
    let (mut part, mut sum) = ([0; PART], 0_u64);
    for offset in (0..length).step_by(PART) {
        let part = part.get_mut(..PART.min(length - offset))?;
        memory.read(offset, part)?;
        sum = sum.wrapping_add(payload::sum(part));
    }
    Some(sum)
}

/// Serves the bench's interface.
pub(crate) fn serve() -> Result<()> {
    let about = About { vendor: "Gabion", product: "bench", version: "1", url: "https://varlink.org" };
    let mut server = Server::new(about)?;
    server.serve(&bench::INTERFACE, bench::dispatch);
    ask::ready()?;
    let (mut bench, mut events) = (Bench::default(), Vec::new());
    loop {
        server.turn(&mut bench, None, &mut events)?;
        ensure!(events.is_empty(), "unexpected: {events:?}");
    }
}

fn open() -> Result<Client> {
    let connection = Connection::granted(&bench::INTERFACE)?;
    connection.set_timeout(Some(LOST_AFTER))?;
    Ok(Client(connection))
}

fn text(length: usize) -> Result<String> {
    Ok(String::from_utf8(payload::bytes(length))?)
}

fn echo(client: &mut Client, data: &str) -> Result<()> {
    let reply = client.echo(data).context("echo")?;
    ensure!(reply.data == data, "another reply than was expected");
    Ok(())
}

/// Rounds of `calls` calls with `length` bytes.
pub(crate) fn call(length: usize, calls: u32) -> Result<()> {
    let (mut client, data) = (Client(Connection::granted(&bench::INTERFACE)?), text(length)?);
    ask::rounds(calls, || echo(&mut client, &data))
}

/// Rounds of `calls` payloads of `length` bytes, put into memory that the server reads, and told of by a call each.
pub(crate) fn bulk(length: usize, calls: u32) -> Result<()> {
    let (mut client, data) = (open()?, payload::bytes(length));
    let mut memory = Writer::new(c"bench", length)?;
    client.share(0, &[memory.as_fd()]).context("share")?;
    let (length, expected) = (i64::try_from(length)?, payload::sum(&data).cast_signed());
    ask::rounds(calls, || {
        memory.write(0, &data).context("memory")?;
        let reply = client.take(length).context("take")?;
        ensure!(reply.sum == expected, "another reply than was expected");
        Ok(())
    })
}

/// Rounds of `calls` connections, each with one call.
pub(crate) fn connect(length: usize, calls: u32) -> Result<()> {
    let data = text(length)?;
    ask::rounds(calls, || echo(&mut open()?, &data))
}

/// Opens as many connections as it is asked for by the command line, and keeps them until it is asked no more.
pub(crate) fn hold(connections: usize) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..connections {
        let mut client = open()?;
        echo(&mut client, "here")?;
        held.push(client);
    }
    ask::ready()?;
    while ask::asked() {}
    Ok(())
}

/// Each time that it is asked: makes `calls` calls over `connections` connections in turn, each with words of its own,
/// and answers how many were lost.
pub(crate) fn storm(connections: usize, calls: usize) -> Result<()> {
    let mut clients = (0..connections).map(|_| open()).collect::<Result<Vec<_>>>()?;
    clients.iter_mut().try_for_each(|client| echo(client, "here"))?;
    ask::ready()?;
    while ask::asked() {
        let mut lost = 0;
        for number in 0..calls {
            let Some(client) = clients.get_mut(number % connections.max(1)) else { continue };
            if let Err(error) = echo(client, &format!("call {number}")) {
                eprintln!("call {number} is lost: {error:#}");
                lost += 1;
            }
        }
        ask::answer(&[lost])?;
    }
    Ok(())
}

/// Opens one connection after the other, each for one call, and says so each time: 0, or 1 when it failed. Until it is
/// ended.
pub(crate) fn knock() -> Result<()> {
    ask::ready()?;
    ask::asked();
    loop {
        let failed = open().and_then(|mut client| echo(&mut client, "here"));
        if let Err(error) = &failed {
            eprintln!("a new connection failed: {error:#}");
        }
        ask::answer(&[failed.is_err().into()])?;
    }
}
