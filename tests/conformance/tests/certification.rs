//! The public certification, in every pairing with our library at one end or both.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use conformance::certification::{self, Client};
use conformance::listen::{self, Served};
use conformance::service::Service;
use conformance::{caller, python};

const PUBLIC: [&str; 2] = ["-m", "varlink.tests.test_certification"];

fn ours() -> Result<Served> {
    let interface = &certification::INTERFACE;
    let methods = listen::all(interface);
    listen::serve(interface, certification::dispatch, &methods, Service::default(), |_, _| {})
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn public_client_passes_against_our_server() -> Result<()> {
    let served = ours()?;
    let address = format!("--varlink={}", served.address);
    let output = python::python()?.args(PUBLIC).args(["--client", &address]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("Certification passed"), "{text}");
    served.finish()
}

#[test]
fn our_client_passes_against_the_public_server() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("socket");
    let address = format!("--varlink=unix:{}", path.display());
    let server = python::python()?.args(PUBLIC).arg(address).stdout(Stdio::piped()).spawn()?;
    let mut server = Running(server);
    let mut lines = BufReader::new(server.0.stdout.take().context("no output")?).lines();
    let listening = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("Listening")));
    listening.context("the public server did not come up")??;
    caller::certify(&path)
}

#[test]
fn our_client_passes_against_our_server() -> Result<()> {
    let served = ours()?;
    caller::certify(served.path())?;
    served.finish()
}

#[test]
fn our_server_notices_what_is_wrong() -> Result<()> {
    let served = ours()?;
    let mut client = Client(bus::client::Connection::at(served.path())?);
    let id = client.start()?.client_id.into_owned();
    client.test01(&id)?;
    let error = client.test02(&id, false).err().context("it was taken")?;
    assert!(error.to_string().contains("CertificationError"), "{error}");
    let error = client.test02(&id, true).err().context("it was taken")?;
    assert!(error.to_string().contains("ClientIdError"), "{error}");
    served.finish()
}
