/* Devices that the manifest does not name: by their names, by nodes of its own, and by what it holds already. */
#include "reach.h"

#include <termios.h>

/* By any name that they go by. */
static attack_end try_by_name(void) {
    static const char *const names[] = {"ttyS0", "ttyS1", "console", "tty",  "tty0",     "mem",          "port",
                                        "kmsg",  "vda",   "vdb",     "vdc",  "dm-0",     "mapper/control", "loop-control",
                                        "tpm0",  "tpmrm0", "watchdog", "watchdog0", "rtc0", "input/event0", "ptmx",
                                        "vport0p1", "net/tun", "fuse",  "kvm", "uinput", "hwrng", "snapshot"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        snprintf(path, sizeof path, "/dev/%s", names[i]);
        int device = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (device >= 0)
            return worked("opened %s", path);
        if (errno != ENOENT && errno != ENOTDIR)
            return failed("%s: %s", path, strerrorname_np(errno));
    }
    errno = ENOENT;
    return refused();
}

static attack_end node(const char *path, mode_t kind, dev_t number) {
    if (mknod(path, kind | 0600, number) < 0)
        return refused();
    int device = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (device < 0)
        return refused();
    struct termios line;
    char text[4096];
    if (tcgetattr(device, &line) == 0)
        return worked("a serial line of flags %x", line.c_cflag);
    ssize_t got = pread(device, text, sizeof text, 0);
    return got > 0 ? worked("read %zd bytes", got) : failed("read: %s", strerrorname_np(errno));
}

static attack_end try_node_of_console(void) { return node("/tmp/console", S_IFCHR, makedev(4, 64)); }
static attack_end try_node_of_serial(void) { return node("/tmp/serial", S_IFCHR, makedev(4, 65)); }
static attack_end try_node_of_messages(void) { return node("/tmp/kmsg", S_IFCHR, makedev(1, 11)); }

/* The disk with everybody's data. Its number is the kernel's to choose; virtio's disks count in sixteens. */
static attack_end try_node_of_disk(void) {
    for (unsigned major = 255; major > 239; major--)
        for (unsigned minor = 0; minor < 48; minor += 16) {
            char path[32], text[512];
            snprintf(path, sizeof path, "/tmp/disk%u-%u", major, minor);
            if (mknod(path, S_IFBLK | 0600, makedev(major, minor)) < 0)
                return refused();
            int disk = open(path, O_RDONLY | O_CLOEXEC);
            if (disk < 0 && errno != ENXIO)
                return refused();
            if (disk >= 0 && read(disk, text, sizeof text) == sizeof text)
                return worked("read the disk %u:%u", major, minor);
        }
    return failed("no disk");
}

/* A node in the box's own /dev. */
static attack_end try_node_in_dev(void) { return node("/dev/serial", S_IFCHR, makedev(4, 65)); }

/* Making one by another name of the call. */
static attack_end try_node_at(void) {
    int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mknodat(tmp, "at", S_IFCHR | 0600, makedev(1, 11)) < 0)
        return refused();
    return node("/tmp/at2", S_IFCHR, makedev(1, 11));
}

static attack_end try_remove_device(void) {
    return unlink("/dev/null") < 0 ? refused() : worked("there is no /dev/null");
}

static attack_end try_close_device(void) {
    return chmod("/dev/null", 0) < 0 ? refused() : worked("nobody can open /dev/null");
}

TRIES(TRY(by_name), TRY(node_of_console), TRY(node_of_serial), TRY(node_of_messages), TRY(node_of_disk),
      TRY(node_in_dev), TRY(node_at), TRY(close_device), TRY(remove_device))
