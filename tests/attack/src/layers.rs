//! The layers of a box that can be left out, one at a time or several: by the weak build for one box, or by the kernel's
//! command line for all.

/// A layer's name, and what it is, for the page.
pub const LAYERS: [(&str, &str); 13] = [
    (
        "seccomp",
        "The filter of system calls: what a profile does not name is refused, and some of it ends the process.",
    ),
    (
        "landlock",
        "The rules for files, ports, signals and abstract sockets, which hold for the box's processes for ever.",
    ),
    (
        "mounts",
        "What may be done through each mount: the root is read-only, nothing that can be written can be executed, there \
         are no device nodes but in `/dev`, no setuid bits count, and `/proc` shows the box's own processes only and is read-only. \
         Without it `/data`, `/dev` and the root have no such flags. (The root's file system is read-only in itself.)",
    ),
    (
        "namespaces",
        "The box's own processes, IPC objects, host name, cgroup root and network. Without it the box sees those of the \
         device. The mount namespace stays: it is what the box's root is made of.",
    ),
    ("uid", "A uid and a gid for each app. Without it the box runs as root, but has no capability."),
    (
        "capabilities",
        "No capability in any of the five sets, and locked securebits. Without it the box has all of the kernel's.",
    ),
    ("wx", "`PR_SET_MDWE`: memory that was writable never becomes executable."),
    ("nnp", "`no_new_privs`: no program gives its caller more than it had."),
    ("cgroup", "The limits of memory, processor time and tasks."),
    ("quota", "The limit of what the app's storage takes of the disk."),
    (
        "fds",
        "The closing of every descriptor that is not the box's. (All of them are close-on-exec besides.)",
    ),
    (
        "firewall",
        "The rules for hosts, ports and protocols, of calls and of packets. Without it the box may reach and serve \
         everything; what names it may ask for is the resolver's to say, and stays.",
    ),
    (
        KERNEL,
        "Settings of the kernel for the whole device: nobody traces anybody (`kernel.yama.ptrace_scope`), no memfd is a \
         program (`vm.memfd_noexec`), and `/proc/PID/mem` writes no more than a process itself could \
         (`PROC_MEM_NO_FORCE`). What the kernel is built without cannot be left out.",
    ),
];

/// The one that all boxes of a device have or none.
pub const KERNEL: &str = "kernel";

/// Layers of other kinds, which no build can leave out one box at a time.
pub const OTHERS: [(&str, &str); 2] = [
    (
        "bus",
        "What an app may call: a socket for each interface its manifest names, and the grant that goes with it.",
    ),
    ("checker", "The package checker, when an app is packed and when it is installed."),
];

/// Whether the layer can be left out.
pub fn is_layer(name: &str) -> bool {
    LAYERS.iter().any(|(layer, _)| *layer == name)
}

/// Whether a try may name it as what refuses.
pub fn is_known(name: &str) -> bool {
    is_layer(name) || OTHERS.iter().any(|(layer, _)| *layer == name)
}
