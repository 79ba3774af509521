//! How much a box takes while it runs: memory, tasks, `/tmp`, `/data`. Samples and high-water marks, because a developer's
//! machine may have no memory controller to ask.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The largest values so far.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Peaks {
    /// Sum of the largest resident sets of the processes that lived at once, in bytes.
    pub(crate) memory: u64,
    /// Bytes below `/tmp`.
    pub(crate) tmp: u64,
    /// Bytes below `/data`.
    pub(crate) data: u64,
}

/// Who measures, and where.
pub(crate) struct Measure {
    group: PathBuf,
    data: PathBuf,
    peaks: Mutex<Peaks>,
    runs: AtomicBool,
}

impl Measure {
    pub(crate) fn new(group: &Path, data: &Path) -> Self {
        Self {
            group: group.to_owned(),
            data: data.to_owned(),
            peaks: Mutex::default(),
            runs: AtomicBool::new(false),
        }
    }

    pub(crate) fn peaks(&self) -> Peaks {
        self.peaks.lock().map(|peaks| *peaks).unwrap_or_default()
    }

    /// The program runs: until `execve` its process has our memory.
    pub(crate) fn begin(&self) {
        self.runs.store(true, Ordering::Release);
    }

    /// Looks at all that is in the box now.
    pub(crate) fn sample(&self) {
        if !self.runs.load(Ordering::Acquire) {
            return;
        }
        let text = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        let pids: Vec<&str> = text.lines().collect();
        let memory = pids.iter().filter_map(|pid| largest_resident_set(pid)).sum();
        let tmp = pids.iter().find_map(|pid| used(&PathBuf::from(format!("/proc/{pid}/root/tmp"))));
        let data = below(&self.data);
        if let Ok(mut peaks) = self.peaks.lock() {
            peaks.memory = peaks.memory.max(memory);
            peaks.tmp = peaks.tmp.max(tmp.unwrap_or_default());
            peaks.data = peaks.data.max(data);
        }
    }
}

fn largest_resident_set(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes used of the file system at `path`.
fn used(path: &Path) -> Option<u64> {
    let fs = nix::sys::statvfs::statvfs(path).ok()?;
    Some(fs.blocks().saturating_sub(fs.blocks_free()) * fs.fragment_size())
}

/// Bytes that the files below `dir` take on the disk; links are not followed.
fn below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let meta = entry.metadata().ok()?;
        let inside = if meta.is_dir() { below(&entry.path()) } else { 0 };
        Some(meta.blocks() * 512 + inside)
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_counts_files_in_folders_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("a/root")).unwrap();
        assert!((100_000..200_000).contains(&below(dir.path())), "{}", below(dir.path()));
    }

    #[test]
    fn resident_set_of_this_process_is_known() {
        assert!(largest_resident_set(&std::process::id().to_string()).unwrap() > 100_000);
    }
}
