/* Namespaces of its own, in which it would be root or see other mounts; and those of others. */
#include "reach.h"

#include <linux/sched.h>
#include <sys/utsname.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static ino_t namespace(const char *name) {
    char path[64];
    struct stat about;
    snprintf(path, sizeof path, "/proc/self/ns/%s", name);
    return stat(path, &about) < 0 ? 0 : about.st_ino;
}

static attack_end leave(const char *name, int flag) {
    ino_t before = namespace(name);
    if (unshare(flag) < 0)
        return refused();
    return namespace(name) != before ? worked("has a new %s", name) : failed("is where it was");
}

static attack_end try_unshare_mnt(void) { return leave("mnt", CLONE_NEWNS); }
static attack_end try_unshare_uts(void) { return leave("uts", CLONE_NEWUTS); }
static attack_end try_unshare_ipc(void) { return leave("ipc", CLONE_NEWIPC); }
static attack_end try_unshare_net(void) { return leave("net", CLONE_NEWNET); }
static attack_end try_unshare_pid(void) { return leave("pid_for_children", CLONE_NEWPID); }
static attack_end try_unshare_cgroup(void) { return leave("cgroup", CLONE_NEWCGROUP); }
static attack_end try_unshare_time(void) { return leave("time_for_children", CLONE_NEWTIME); }
static attack_end try_unshare_user(void) { return leave("user", CLONE_NEWUSER); }

/* The child says how it went: it is in the new one. */
static attack_end clone_with(unsigned long flag, const char *name) {
    ino_t before = namespace(name);
    long child = call(SYS_clone, flag | SIGCHLD, 0L, 0L, 0L, 0L);
    if (child < 0)
        return refused();
    if (child == 0)
        _exit(namespace(name) != before ? 42 : 1);
    int status = 0;
    waitpid((pid_t)child, &status, 0);
    return WEXITSTATUS(status) == 42 ? worked("a child has a new %s", name) : failed("the child is where it was");
}

static attack_end try_clone_mnt(void) { return clone_with(CLONE_NEWNS, "mnt"); }
static attack_end try_clone_net(void) { return clone_with(CLONE_NEWNET, "net"); }
static attack_end try_clone_user(void) { return clone_with(CLONE_NEWUSER, "user"); }
static attack_end try_clone_pid(void) { return clone_with(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS, "ipc"); }
/* What the filter looks at has 64 bits, what the kernel takes has 32 of flags. */
static attack_end try_clone_high_bits(void) { return clone_with(CLONE_NEWNS | 1UL << 40, "mnt"); }

static attack_end try_clone3(void) {
    struct clone_args how = {.flags = CLONE_NEWNS, .exit_signal = SIGCHLD};
    ino_t before = namespace("mnt");
    long child = call(SYS_clone3, &how, sizeof how);
    if (child < 0)
        return refused();
    if (child == 0)
        _exit(namespace("mnt") != before ? 42 : 1);
    int status = 0;
    waitpid((pid_t)child, &status, 0);
    return WEXITSTATUS(status) == 42 ? worked("a child has new mounts") : failed("the child is where it was");
}

/* A child makes one and gives it a name; this one joins it and reads the name. */
static attack_end try_setns(void) {
    int ours = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
    if (ours < 0)
        return failed("open: %s", strerrorname_np(errno));
    if (setns(ours, CLONE_NEWUTS) < 0)
        return refused();
    int made[2], done[2];
    if (pipe(made) < 0 || pipe(done) < 0)
        return failed("pipe");
    pid_t child = fork();
    if (child == 0) {
        char byte = unshare(CLONE_NEWUTS) == 0 && sethostname("elsewhere", 9) == 0;
        (void)!write(made[1], &byte, 1);
        (void)!read(done[0], &byte, 1);
        _exit(0);
    }
    char byte = 0, path[64];
    (void)!read(made[0], &byte, 1);
    snprintf(path, sizeof path, "/proc/%d/ns/uts", child);
    int theirs = open(path, O_RDONLY | O_CLOEXEC);
    struct utsname name = {0};
    int joined = theirs < 0 ? -1 : setns(theirs, CLONE_NEWUTS);
    int why = errno;
    uname(&name);
    (void)!write(done[1], &byte, 1);
    errno = why;
    if (joined < 0)
        return refused();
    return strcmp(name.nodename, "elsewhere") == 0 ? worked("is %s", name.nodename) : failed("is %s", name.nodename);
}

static attack_end try_setns_by_pidfd(void) {
    int other = (int)call(SYS_pidfd_open, (long)getppid(), 0L);
    if (other < 0)
        return refused();
    if (setns(other, CLONE_NEWIPC | CLONE_NEWNET) < 0)
        return refused();
    return worked("joined two at once");
}

static attack_end try_chroot(void) {
    if (chroot("/bin") < 0)
        return refused();
    return access("/attack", F_OK) == 0 ? worked("its root is /bin") : failed("its root is what it was");
}

static attack_end try_hostname(void) {
    if (sethostname("attacked", 8) < 0)
        return refused();
    struct utsname name;
    uname(&name);
    return strcmp(name.nodename, "attacked") == 0 ? worked("is %s", name.nodename) : failed("is %s", name.nodename);
}

TRIES(TRY(unshare_mnt), TRY(unshare_uts), TRY(unshare_ipc), TRY(unshare_net), TRY(unshare_pid), TRY(unshare_cgroup),
      TRY(unshare_time), TRY(unshare_user), TRY(clone_mnt), TRY(clone_net), TRY(clone_user), TRY(clone_pid),
      TRY(clone_high_bits), TRY(clone3), TRY(setns), TRY(setns_by_pidfd), TRY(chroot), TRY(hostname))
