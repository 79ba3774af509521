//! Part `identity`, the device's half: what `attestd` takes of memory once it has been through a round with a real Security
//! Service over TLS and its apps have called it. On the reference board, whose TPM it takes.

use anyhow::{Context, Result};
use device_test::site::servers;
use device_test::site::service::Security;
use device_test::{App, Bench, Device, Site};

use crate::stat::bar;

/// `attestd`'s uid.
const ATTESTD: u32 = 1005;
const NONCE: &str = "{\"nonce\":\"AAAAAAAAAAA=\"}";
const USES: &str = "[uses]\n\"os.gabion.Certificate\" = [\"GetChain\", \"Attest\"]\n";

/// Measures and reports.
pub(crate) fn run() -> Result<()> {
    println!("identity: attestd on a device that has its certificates, with an app that calls it");
    let site = site()?;
    let security = Security::start(&site, &[])?;
    groups(&security)?;
    let app =
        App::peer("org.bench.prover", &["every", "os.gabion.Certificate", "Attest", NONCE]).tables(USES);
    let bench = Bench::new("bench-identity").board().memory_mib(160).beside(&site);
    let mut device = bench.service(&security.settings()?).app(app).boot()?;
    let reference = device.system()?.reference;
    security.done(&["release", "publish", "acme", "v1", reference.to_str().context("a path")?])?;
    claim(&security, &device)?;
    device.wait_for("event attest: attested ");
    device.wait_for("[org.bench.prover] peer: Ok(\"{\\\"parameters\\\":{\\\"evidence\\\":0");
    bar("identity_attestd_pss_kib", pss(&mut device)?, 4096.0);
    device.power_button();
    Ok(())
}

/// A link with names and the time.
pub(crate) fn site() -> Result<Site> {
    let site = Site::new()?;
    site.serve(servers::dnsmasq(&site)?);
    site.serve(servers::chronyd(&site)?);
    Ok(site)
}

/// A catalog, a product of it, a group of that.
pub(crate) fn groups(security: &Security) -> Result<()> {
    for act in [
        &["catalog", "add", "acme"][..],
        &["product", "add", "acme", "meter"],
        &["group", "add", "acme", "meter", "field"],
    ] {
        security.done(act)?;
    }
    Ok(())
}

/// Claims a device by what its console says.
pub(crate) fn claim(security: &Security, device: &Device) -> Result<()> {
    let line = device.wait_for("event attest: to claim it: gabion device claim CATALOG ");
    let (_, words) = line.split_once(" CATALOG ").context("how to claim it")?;
    let [id, code, ..] = words.split(' ').collect::<Vec<_>>()[..] else { anyhow::bail!("{line}") };
    security.done(&["device", "claim", "acme", id, code, "--product", "meter", "--group", "field"])?;
    Ok(())
}

fn pss(device: &mut Device) -> Result<f64> {
    let attestd = *device.pids(ATTESTD, "attestd").first().context("no attestd")?;
    let text = device.ask(&format!("cat /proc/{attestd}/smaps_rollup"))?;
    let pss = text.iter().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(pss.split_whitespace().next().context("Pss")?.parse()?)
}
