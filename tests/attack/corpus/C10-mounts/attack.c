/* Mounts that were not there, and those that are with other restrictions. Each leaves what the next needs. */
#include "reach.h"

#include <linux/mount.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

/* <sys/mount.h> does not go together with <linux/mount.h>. */
static int mounted(const char *source, const char *at, const char *kind, unsigned long flags) {
    return (int)call(SYS_mount, source, at, kind, flags, NULL);
}

static attack_end kept(int directory, const char *name) {
    int file = openat(directory, name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0)
        return refused();
    char text[8] = "";
    if (write(file, "kept", 4) != 4 || pread(file, text, 4, 0) != 4)
        return failed("write: %s", strerrorname_np(errno));
    return worked("%s %s", name, text);
}

static attack_end try_mount(void) {
    struct stat before, after;
    stat("/tmp", &before);
    if (mounted("tmpfs", "/tmp", "tmpfs", 0) < 0)
        return refused();
    stat("/tmp", &after);
    return before.st_dev != after.st_dev ? kept(AT_FDCWD, "/tmp/kept") : failed("/tmp is what it was");
}

/* A /proc without the restrictions of the one it has. */
static attack_end try_mount_proc(void) {
    if (mounted("proc", "/tmp", "proc", 0) < 0)
        return refused();
    return reads("/tmp/cmdline");
}

static attack_end try_bind(void) {
    if (mounted("/bin", "/tmp", NULL, MS_BIND) < 0)
        return refused();
    return access("/tmp/attack", F_OK) == 0 ? worked("/tmp is /bin") : failed("/tmp is what it was");
}

static attack_end try_remount(void) {
    if (mounted(NULL, "/run", NULL, MS_REMOUNT | MS_BIND) < 0)
        return refused();
    return kept(AT_FDCWD, "/run/kept");
}

static attack_end try_propagation(void) {
    if (mounted(NULL, "/", NULL, MS_REC | MS_SHARED) < 0)
        return refused();
    char text[4096];
    (void)first_bytes("/proc/self/mountinfo", text, sizeof text);
    /* What is shared cannot become the root. */
    (void)mounted(NULL, "/", NULL, MS_REC | MS_PRIVATE);
    return strstr(text, "shared:") ? worked("its mounts go to its peers") : failed("they are private");
}

static attack_end try_umount(void) {
    struct statfs before, after;
    statfs("/run", &before);
    if (call(SYS_umount2, "/run", 2L /* MNT_DETACH */) < 0)
        return refused();
    statfs("/run", &after);
    return before.f_type != after.f_type ? worked("/run is off") : failed("/run is what it was");
}

static attack_end try_fsopen(void) {
    int context = (int)call(SYS_fsopen, "tmpfs", 0L);
    if (context < 0)
        return refused();
    if (call(SYS_fsconfig, (long)context, (long)FSCONFIG_CMD_CREATE, NULL, NULL, 0L) < 0)
        return refused();
    int made = (int)call(SYS_fsmount, (long)context, 0L, 0L);
    if (made < 0)
        return refused();
    /* Nowhere attached, and used all the same. */
    return kept(made, "kept");
}

static attack_end try_fsconfig(void) {
    if (call(SYS_fsconfig, 1000L, (long)FSCONFIG_CMD_CREATE, NULL, NULL, 0L) < 0)
        return errno == EBADF ? worked("the kernel looked for the context") : refused();
    return failed("no descriptor, and no error");
}

static attack_end try_fsmount(void) {
    if (call(SYS_fsmount, 1000L, 0L, 0L) < 0)
        return errno == EBADF ? worked("the kernel looked for the context") : refused();
    return failed("no descriptor, and no error");
}

static attack_end try_fspick(void) {
    long picked = call(SYS_fspick, (long)AT_FDCWD, "/tmp", 0L);
    return picked < 0 ? refused() : worked("may change the file system of /tmp");
}

static attack_end try_open_tree(void) {
    int copy = (int)call(SYS_open_tree, (long)AT_FDCWD, "/bin", (long)(OPEN_TREE_CLONE | O_CLOEXEC));
    if (copy < 0)
        return refused();
    return faccessat(copy, "attack", F_OK, 0) == 0 ? worked("has a mount of its own") : refused();
}

static attack_end try_move_mount(void) {
    if (call(SYS_move_mount, 1000L, "", (long)AT_FDCWD, "/tmp", (long)MOVE_MOUNT_F_EMPTY_PATH) < 0 && errno != EBADF)
        return refused();
    int context = (int)call(SYS_fsopen, "tmpfs", 0L);
    (void)call(SYS_fsconfig, (long)context, (long)FSCONFIG_CMD_CREATE, NULL, NULL, 0L);
    int made = (int)call(SYS_fsmount, (long)context, 0L, 0L);
    if (made < 0)
        return failed("fsmount: %s", strerrorname_np(errno));
    if (call(SYS_move_mount, (long)made, "", (long)AT_FDCWD, "/tmp", (long)MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return refused();
    return kept(AT_FDCWD, "/tmp/moved");
}

static attack_end try_mount_setattr(void) {
    struct mount_attr free = {.attr_clr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
    if (call(SYS_mount_setattr, (long)AT_FDCWD, "/tmp", 0L, &free, sizeof free) < 0)
        return refused();
    struct statvfs now;
    statvfs("/tmp", &now);
    return now.f_flag & ST_NOSUID ? failed("/tmp is what it was") : worked("/tmp runs programs");
}

static attack_end try_pivot_root(void) {
    if (call(SYS_pivot_root, "/dev", "/dev") < 0)
        return refused();
    return chdir("/") == 0 && access("/null", F_OK) == 0 ? worked("its root is /dev") : failed("its root is what it was");
}

TRIES(TRY(mount), TRY(mount_proc), TRY(bind), TRY(remount), TRY(propagation), TRY(fsopen), TRY(fsconfig), TRY(fsmount),
      TRY(fspick), TRY(open_tree), TRY(move_mount), TRY(mount_setattr), TRY(umount), TRY(pivot_root))
