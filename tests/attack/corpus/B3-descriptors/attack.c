/* What a box is handed when it starts: descriptors, the working directory, its own program; each has been a way out of
 * somebody's box. */
#include "reach.h"

#include <sys/file.h>

/* runc CVE-2024-21626: a directory of the host's, left open. */
static attack_end try_open_descriptor(void) {
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return worked("descriptor %d is open", fd);
    return attack_say("refused - there are three");
}

static attack_end try_working_directory(void) {
    struct stat root, above;
    char path[256] = "";
    stat("/", &root);
    stat("../../../../../../../..", &above);
    (void)!getcwd(path, sizeof path);
    if (above.st_ino != root.st_ino || above.st_dev != root.st_dev || path[0] != '/')
        return worked("is in %s, above which is another root", path);
    return attack_say("refused - it is in its root");
}

static attack_end try_descriptor_as_directory(void) {
    for (int fd = 0; fd < 3; fd++) {
        char path[64];
        struct stat above, root;
        stat("/", &root);
        if (fchdir(fd) == 0)
            return worked("descriptor %d is a directory", fd);
        snprintf(path, sizeof path, "/proc/self/fd/%d/..", fd);
        if (stat(path, &above) == 0 && (above.st_ino != root.st_ino || above.st_dev != root.st_dev))
            return worked("got above descriptor %d", fd);
    }
    errno = ENOTDIR;
    return refused();
}

/* runc CVE-2019-5736: the program that somebody with more rights runs, overwritten. */
static attack_end try_own_program(void) {
    int file = open("/proc/self/exe", O_WRONLY | O_CLOEXEC);
    return file < 0 ? refused() : worked("can write the program");
}

static attack_end try_own_program_by_name(void) {
    int file = open("/bin/attack", O_WRONLY | O_TRUNC | O_CLOEXEC);
    return file < 0 ? refused() : worked("emptied the program");
}

/* Standard input is /dev/null. If it were the device's own node, who closes it would close everybody's. */
static attack_end try_mode_of_input(void) {
    struct stat now;
    fstat(0, &now);
    return fchmod(0, now.st_mode & 07777) < 0 ? refused() : worked("set the mode of a device's file");
}

static attack_end try_owner_of_input(void) {
    struct stat now;
    fstat(0, &now);
    return fchown(0, now.st_uid, now.st_gid) < 0 ? refused() : worked("set the owner of a device's file");
}

/* Two boxes that have one file can talk through its times. */
static attack_end try_times_of_input(void) {
    struct stat after;
    if (futimens(0, NULL) < 0)
        return refused();
    fstat(0, &after);
    return worked("left the time %ld in what others have too", (long)after.st_mtime);
}

/* Or through its locks: a neighbour holds one on its standard input. */
static attack_end try_lock_of_input(void) {
    for (int i = 0; i < 30; i++, usleep(100 * 1000)) {
        if (flock(0, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? worked("another box has locked the same file") : refused();
        flock(0, LOCK_UN);
    }
    return attack_say("refused - nobody else has it");
}

/* The log's pipes, opened anew the other way round. */
static attack_end try_read_log(void) {
    int log = open("/proc/self/fd/1", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return log < 0 ? refused() : worked("reads what is on its way to the log");
}

/* A file without a name that is given one: by descriptor, which needs a capability, and by /proc. */
static attack_end try_link_input(void) {
    if (linkat(0, "", AT_FDCWD, "/tmp/input", AT_EMPTY_PATH) == 0 ||
        linkat(AT_FDCWD, "/proc/self/fd/0", AT_FDCWD, "/tmp/input", AT_SYMLINK_FOLLOW) == 0)
        return worked("has a name for it in /tmp");
    return refused();
}

TRIES(TRY(open_descriptor), TRY(working_directory), TRY(descriptor_as_directory), TRY(own_program),
      TRY(own_program_by_name), TRY(mode_of_input), TRY(owner_of_input), TRY(times_of_input), TRY(lock_of_input),
      TRY(read_log), TRY(link_input))
