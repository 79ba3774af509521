//! A client and a service on a D-Bus broker, without a library: see [`bench_peer::dbus`].

use std::path::Path;

use anyhow::{Result, ensure};
use bench_peer::dbus::{Connection, Head, Kind, Writer};

use crate::ask;
use crate::payload;

const NAME: &str = "org.gabion.Bench";
const PATH: &str = "/org/gabion/Bench";

/// Answers calls with their own body, or, where that is long, with what it adds up to.
pub(crate) fn serve(broker: &Path, uid: u32) -> Result<()> {
    let mut connection = Connection::open(broker, uid)?;
    connection.own(NAME)?;
    ask::ready()?;
    let (mut message, mut serial) = (Vec::new(), connection.next_serial());
    loop {
        let call = connection.receive()?;
        if call.kind != Kind::Call as u8 {
            continue;
        }
        let long = call.body.len() > payload::ECHOED_MAX;
        let head = Head {
            kind: Kind::Reply,
            reply_serial: call.serial,
            destination: call.sender,
            path: "",
            interface: "",
            member: "",
            signature: if long { "t" } else { "ay" },
            fds: 0,
        };
        if long {
            let sum = payload::sum(call.body.get(4..).unwrap_or_default());
            head.write(&mut message, serial, &sum.to_le_bytes());
        } else {
            head.write(&mut message, serial, call.body);
        }
        serial += 1;
        connection.send(&message)?;
    }
}

/// Rounds of `calls` calls with `length` bytes.
pub(crate) fn call(broker: &Path, uid: u32, length: usize, calls: u32) -> Result<()> {
    let mut connection = Connection::open(broker, uid)?;
    let mut body = Writer::default();
    body.bytes(&payload::bytes(length));
    let body = body.into_bytes();
    let head = Head {
        kind: Kind::Call,
        reply_serial: 0,
        destination: NAME,
        path: PATH,
        interface: NAME,
        member: "Echo",
        signature: "ay",
        fds: 0,
    };
    let expected = match length > payload::ECHOED_MAX {
        true => payload::sum(body.get(4..).unwrap_or_default()).to_le_bytes().to_vec(),
        false => body.clone(),
    };
    let mut message = Vec::new();
    head.write(&mut message, connection.next_serial(), &body);
    ask::rounds(calls, || {
        // Everything but the serial, bytes 8 to 11, is the same each time.
        let serial = connection.next_serial();
        if let Some(place) = message.get_mut(8..12) {
            place.copy_from_slice(&serial.to_le_bytes());
        }
        connection.send(&message)?;
        ensure!(connection.reply(serial)? == expected, "another reply than was expected");
        Ok(())
    })
}
