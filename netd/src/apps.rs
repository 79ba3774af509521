//! What each app was granted, as `sandboxd` told it.
//!
//! The values were checked by `policy`; an app chose them, within what a manifest may say.

use std::collections::BTreeMap;

use policy::{Host, HostPort, Listen};

/// One app's grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPolicy {
    /// The box's uid: by this the kernel knows the app.
    pub uid: u32,
    /// The app's id, for people.
    pub id: String,
    /// Where it may connect; the position in this list is the position in the manifest.
    pub connect: Vec<HostPort>,
    /// Ports it may serve.
    pub listen: Vec<Listen>,
    /// Hosts of `connect` that may have private or link-local addresses.
    pub private: Vec<Host>,
}

/// Every app that has a line below `[network]`, by uid.
pub type Apps = BTreeMap<u32, AppPolicy>;
