//! How much a device takes of each file, before it knows what it is.

/// Bounds. Where metadata says how long a file is, that bounds it too.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a root.
    pub root: usize,
    /// Bytes of a timestamp.
    pub timestamp: usize,
    /// Bytes of a snapshot.
    pub snapshot: usize,
    /// Bytes of any role's targets.
    pub targets: usize,
    /// Roots taken one after the other, in one update.
    pub roots: u32,
    /// Roles asked for one target.
    pub roles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root: 64 << 10,
            timestamp: 16 << 10,
            snapshot: 256 << 10,
            targets: 1 << 20,
            roots: 256,
            roles: 32,
        }
    }
}
