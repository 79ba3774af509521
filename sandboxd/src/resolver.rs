//! A box's `/run/resolv.conf`: where its name server is, if it has names to resolve.
//!
//! Each box has an address of its own for it, so that who asks is known from where the question arrives. The app's root
//! leads there by a link `/etc/resolv.conf`, which is made when it is packed; an app that brings a file of its own there
//! asks whom that names, and the firewall refuses it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use policy::{Network, Plan};

/// Writes `dir/resolv.conf` anew for the box `uid`, or removes it.
pub(crate) fn make(dir: &Path, uid: u32, plan: &Plan) -> io::Result<()> {
    let path = dir.join("resolv.conf");
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let Network::Device { connect, .. } = &plan.network else { return Ok(()) };
    if !connect.iter().any(|to| to.host().is_name()) {
        return Ok(());
    }
    let server = firewall::tables::name_server(uid).ok_or(io::ErrorKind::InvalidInput)?;
    // One server, which is there or is not: a second question would hear the same.
    fs::write(&path, format!("nameserver {server}\noptions timeout:10 attempts:2\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
}
