//! The machine: every QEMU flag of this project, in one place.
//!
//! The reference board of the first stage is a q35 with two processors, virtio disks and random numbers, an i6300esb
//! watchdog and two serial ports. `microvm` would boot faster but hangs at TSC calibration now and then.

use crate::acceleration;
use crate::assemble::Bootable;
use crate::board::Board;
use crate::command::tool;
use crate::qmp::{self, Qmp};
use crate::swtpm::Swtpm;
use anyhow::{Context, Result, ensure};
use bus::devport;
use slots::layout::Layout;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";
/// Size of a new data disk; sparse, so it costs what is written.
pub const DATA_BYTES: u64 = 512 << 20;

/// Where the first serial port, the device's console, goes.
#[derive(Clone, Debug)]
pub enum Console {
    /// A pipe: [`Running::console`].
    Pipe,
    /// A pipe in each direction: [`Running::console`] and [`Running::keyboard`].
    Terminal,
    /// A file, appended to.
    File(PathBuf),
}

/// Where a device on [`network_of_one`] finds the one port of its host that it may reach.
pub const HOST: &str = "10.0.2.100";

/// A network of QEMU's own with this device on it, which gets its address by DHCP and reaches nobody: not the host, not
/// what lies behind it. What a port of the host's at 127.0.0.1 gets goes to a port of the device's, by `forwards`; and what the device sends to
/// this port of [`HOST`] goes to the host's own at 127.0.0.1, if there is such a `service`.
pub fn network_of_one(forwards: &[(u16, u16)], service: Option<u16>) -> [String; 4] {
    let forwards: String =
        forwards.iter().map(|(port, to)| format!(",hostfwd=tcp:127.0.0.1:{port}-:{to}")).collect();
    // QEMU's own forwarding does one connection and no more; a program gets each.
    let service = service.map_or(String::new(), |service| {
        format!(",guestfwd=tcp:{HOST}:{service}-cmd:busybox nc 127.0.0.1 {service}")
    });
    [
        "-netdev".to_owned(),
        format!("user,id=net,restrict=on{forwards}{service}"),
        "-device".to_owned(),
        // Nothing is started from the network.
        "virtio-net-pci,netdev=net,romfile=".to_owned(),
    ]
}

/// A disk. They become `/dev/vda`, `/dev/vdb`, … in order.
#[derive(Clone, Debug)]
pub struct Disk {
    /// A raw image.
    pub image: PathBuf,
    /// Whether the device may write to it.
    pub writable: bool,
    /// Where each write to it and each flush is recorded, as the kernel's dm-log-writes has it.
    pub log: Option<PathBuf>,
}

/// A machine to be started.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// A bzImage.
    pub kernel: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
    /// The board whose firmware starts what is on its disk; without one QEMU starts the kernel itself.
    pub board: Option<Board>,
    /// Whether a reset starts it again, as with every real one; else it ends QEMU.
    pub resets: bool,
    /// In order.
    pub disks: Vec<Disk>,
    /// Where QEMU makes its control socket. Unix socket paths end at 107 bytes.
    pub qmp: PathBuf,
    /// The console.
    pub console: Console,
    /// A socket on which QEMU listens for whoever talks to the second serial port.
    pub agent: Option<PathBuf>,
    /// The first of the sockets on which QEMU listens for the developer's ports (`bus::devport`). QEMU is started in the
    /// folder it is in, so that a long path is no too long name of a socket.
    pub developer: Option<PathBuf>,
    /// Kill QEMU when the *thread* that started it ends.
    pub die_with_thread: bool,
    /// What else QEMU should be told.
    pub extra: Vec<String>,
}

impl Machine {
    /// The demo's machine: 96 MiB, two processors, root and apps read-only and `data` as third disk.
    pub fn new(bootable: &Bootable, data: &Path, qmp: &Path) -> Self {
        let disk = |image: &Path, writable| Disk { image: image.to_path_buf(), writable, log: None };
        Self {
            memory_mib: 96,
            cpus: 2,
            kernel: bootable.kernel.clone(),
            command_line: bootable.command_line(),
            board: None,
            resets: false,
            disks: vec![
                disk(&bootable.root.image, false),
                disk(&bootable.apps.image, false),
                disk(data, true),
            ],
            qmp: qmp.to_path_buf(),
            console: Console::Pipe,
            agent: None,
            developer: None,
            die_with_thread: false,
            extra: Vec::new(),
        }
    }

    /// The same on a board with its firmware, its TPM and its system's disk, which the firmware writes attempts to.
    ///
    /// # Errors
    /// The layout is that of a board with other disks.
    pub fn on_board(
        bootable: &Bootable,
        board: &Board,
        layout: &Layout,
        data: &Path,
        qmp: &Path,
    ) -> Result<Self> {
        let mut machine = Self::new(bootable, data, qmp);
        if let Some(first) = machine.disks.first_mut() {
            *first = Disk { image: board.disk(), writable: true, log: None };
        }
        let Layout { disk, apps, data, .. } = layout;
        let mut named: Vec<(&String, Disk)> = [disk, apps, data].into_iter().zip(machine.disks).collect();
        named.sort_by_key(|(name, _)| *name);
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(
            names == ["/dev/vda", "/dev/vdb", "/dev/vdc"],
            "QEMU's board has /dev/vda, /dev/vdb and /dev/vdc, and the layout is for one with {}",
            names.join(", ")
        );
        machine.disks = named.into_iter().map(|(_, disk)| disk).collect();
        machine.board = Some(board.clone());
        Ok(machine)
    }

    /// Starts QEMU, in a process group of its own: a Ctrl-C at the terminal is for whoever started us to handle.
    pub fn spawn(&self) -> Result<Running> {
        let tpm = self.board.as_ref().map(|board| board.power(&self.qmp)).transpose()?;
        let mut command = self.command();
        command.process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {QEMU}; `make packages` installs what is needed"))?;
        Ok(Running { child, qmp: self.qmp.clone(), _tpm: tpm })
    }

    fn command(&self) -> Command {
        let mut command = if self.die_with_thread {
            let mut command = tool("setpriv");
            command.args(["--pdeathsig", "KILL", "--", QEMU]);
            command
        } else {
            tool(QEMU)
        };
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        if !self.resets {
            command.arg("-no-reboot");
        }
        match &self.board {
            Some(board) => board.describe(&mut command, &self.qmp),
            None => {
                command.args(["-machine", "q35"]);
                command.arg("-kernel").arg(&self.kernel).args(["-append", &self.command_line]);
            }
        }
        command.args(acceleration::of(&self.kernel, self.board.is_some()));
        command.args(["-smp", &self.cpus.to_string(), "-m", &self.memory_mib.to_string()]);
        // The first virtio device: its ports are called after that, `/dev/vport0p1` and so on.
        if let Some(first) = &self.developer {
            developer_ports(&mut command, first);
        }
        command.args(["-device", "virtio-rng-pci"]);
        command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", escaped(&self.qmp))]);
        for (index, disk) in self.disks.iter().enumerate() {
            let access = if disk.writable { "off" } else { "on" };
            let image = escaped(&disk.image);
            let driver = match &disk.log {
                None => format!("format=raw,file={image}"),
                Some(log) => format!(
                    "driver=blklogwrites,file.driver=file,file.filename={image},log.driver=file,log.filename={}",
                    escaped(log)
                ),
            };
            command.args([
                "-drive",
                &format!("if=none,id=disk{index},readonly={access},{driver}"),
                "-device",
                &format!("virtio-blk-pci,drive=disk{index}"),
            ]);
        }
        match &self.console {
            Console::Pipe => command.args(["-chardev", "stdio,id=console,signal=off"]).stdout(Stdio::piped()),
            Console::Terminal => command
                .args(["-chardev", "stdio,id=console,signal=off"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
            Console::File(file) => {
                command.args(["-chardev", &format!("file,id=console,append=on,path={}", escaped(file))])
            }
        };
        command.args(["-serial", "chardev:console"]);
        if let Some(agent) = &self.agent {
            let chardev = format!("socket,id=agent,server=on,wait=off,path={}", escaped(agent));
            command.args(["-chardev", &chardev, "-serial", "chardev:agent"]);
        }
        command.args(&self.extra);
        command
    }
}

/// A controller and its ports. Port 0 is for consoles only, so it is one more than there are.
fn developer_ports(command: &mut Command, first: &Path) {
    if let Some(folder) = first.parent() {
        command.current_dir(folder);
    }
    command.args(["-device", &format!("virtio-serial-pci,max_ports={}", devport::PORTS + 1)]);
    for (number, socket) in (1..).zip(devport::sockets(first)) {
        let name = escaped(Path::new(socket.file_name().unwrap_or_default()));
        let port = format!("chardev=developer{number},nr={number},name={}{number}", devport::PORT_NAME);
        command.args(["-chardev", &format!("socket,id=developer{number},server=on,wait=off,path={name}")]);
        command.args(["-device", &format!("virtserialport,{port}")]);
    }
}

/// In QEMU's option lists a comma ends a value, and two are one.
pub(crate) fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// A running machine. Dropping it kills it.
pub struct Running {
    child: Child,
    qmp: PathBuf,
    /// Switched off after the machine: `Drop` kills QEMU first.
    _tpm: Option<Swtpm>,
}

impl Running {
    /// The console's output, once, when the machine was started with [`Console::Pipe`] or [`Console::Terminal`].
    pub fn console(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// What is typed at the console, once, when the machine was started with [`Console::Terminal`].
    pub fn keyboard(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// QEMU's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to QEMU's control socket.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.qmp, qmp::PATIENCE)
    }

    /// Presses the power button; the device shuts down by itself.
    pub fn power_button(&self) -> Result<()> {
        self.qmp()?.execute("system_powerdown")
    }

    /// How QEMU ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits up to `patience` for QEMU to end.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            match self.ended()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() >= deadline => return Ok(None),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Ends QEMU at once: a power cut as far as the device is concerned, though not for what QEMU has written.
    pub fn kill(&mut self) {
        // Either it was running and is now dead, or it was dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes a blank data disk of `bytes` at `path`, replacing what is there.
pub fn blank_disk(path: &Path, bytes: u64) -> Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("making {}", path.display()))?;
    file.set_len(bytes).with_context(|| format!("making {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_keep_their_order_and_commas_are_escaped() {
        let disk = |image: &str, writable| Disk { image: image.into(), writable, log: None };
        let machine = Machine {
            memory_mib: 96,
            cpus: 2,
            kernel: "bzImage".into(),
            command_line: "ro".into(),
            board: None,
            resets: false,
            disks: vec![disk("a,b.img", false), disk("c.img", true)],
            qmp: "q".into(),
            console: Console::Pipe,
            agent: Some("agent".into()),
            developer: Some("some/where/device.sock".into()),
            die_with_thread: false,
            extra: Vec::new(),
        };
        let command = machine.command();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let drives: Vec<_> = words.iter().filter(|word| word.starts_with("if=none")).collect();
        assert_eq!(
            drives,
            [
                "if=none,id=disk0,readonly=on,format=raw,file=a,,b.img",
                "if=none,id=disk1,readonly=off,format=raw,file=c.img"
            ]
        );
        let serials = words.iter().filter(|word| word.starts_with("chardev:")).collect::<Vec<_>>();
        assert_eq!(serials, ["chardev:console", "chardev:agent"]);
        let ports = words.iter().filter(|word| word.contains("developer4")).collect::<Vec<_>>();
        assert_eq!(
            ports,
            [
                "socket,id=developer4,server=on,wait=off,path=device.sock.4",
                "virtserialport,chardev=developer4,nr=4,name=os.gabion.dev.4"
            ]
        );
        assert_eq!(command.get_current_dir(), Some(Path::new("some/where")));
    }
}
