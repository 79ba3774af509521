/* More of the disk than the 1 MiB, and more files than the 256, that the box's storage has. Each try cleans up, so that
 * the next begins with all of it. */
#include "reach.h"

#include <linux/fs.h>
#include <sys/xattr.h>

#define MIB (1 << 20)
#define TOO_MUCH (3 * MIB)
#define TOO_MANY 600

/* What the files in /data take, by the kernel's count. */
static long taken(void) {
    long blocks = 0;
    DIR *all = opendir("/data");
    for (struct dirent *entry; all && (entry = readdir(all));) {
        struct stat about;
        if (entry->d_name[0] != '.' && fstatat(dirfd(all), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) == 0)
            blocks += about.st_blocks;
    }
    if (all)
        closedir(all);
    return blocks * 512;
}

static void clean(void) {
    int why = errno;
    DIR *all = opendir("/data");
    for (struct dirent *entry; all && (entry = readdir(all));)
        if (entry->d_name[0] != '.' && unlinkat(dirfd(all), entry->d_name, 0) < 0)
            unlinkat(dirfd(all), entry->d_name, AT_REMOVEDIR);
    if (all)
        closedir(all);
    errno = why;
}

static attack_end ended(void) {
    clean();
    return refused();
}

static attack_end has(void) {
    long bytes = taken();
    clean();
    return bytes > MIB + MIB / 2 ? worked("takes %ld bytes", bytes) : failed("takes %ld bytes", bytes);
}

static int new_file(const char *path) {
    return open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
}

static int fill(int file, off_t from, off_t size) {
    static char block[65536];
    memset(block, 'x', sizeof block);
    for (off_t at = from; at < from + size; at += (off_t)sizeof block)
        if (pwrite(file, block, sizeof block, at) != sizeof block)
            return errno == 0 ? (errno = EDQUOT, -1) : -1;
    return 0;
}

static attack_end try_write(void) { return fill(new_file("/data/a"), 0, TOO_MUCH) < 0 ? ended() : has(); }

/* Large and empty at first; then here and there a block. */
static attack_end try_sparse(void) {
    int file = new_file("/data/a");
    if (ftruncate(file, 1L << 33) < 0)
        return ended();
    for (off_t at = 0; at < TOO_MUCH; at += 4096)
        if (pwrite(file, "x", 1, at * 1024) != 1)
            return ended();
    return has();
}

static attack_end try_allocate(void) {
    return fallocate(new_file("/data/a"), 0, 0, TOO_MUCH) < 0 ? ended() : has();
}

/* Space beyond the file's end, which its size does not show. */
static attack_end try_allocate_beyond(void) {
    return fallocate(new_file("/data/a"), FALLOC_FL_KEEP_SIZE, 1L << 30, TOO_MUCH) < 0 ? ended() : has();
}

/* Pages that are written without a call. */
static attack_end try_map(void) {
    int file = new_file("/data/a");
    if (ftruncate(file, TOO_MUCH) < 0)
        return ended();
    char *at = mmap(NULL, TOO_MUCH, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at == MAP_FAILED)
        return failed("mmap: %s", strerrorname_np(errno));
    /* What it is killed for is cleaned up by the next try. */
    for (long i = 0; i < TOO_MUCH; i += 4096)
        at[i] = 'x';
    return msync(at, TOO_MUCH, MS_SYNC) < 0 ? ended() : has();
}

static attack_end try_deleted(void) {
    clean();
    for (int i = 0; i < 4; i++) {
        int file = new_file("/data/a");
        if (file < 0 || unlink("/data/a") < 0 || fill(file, 0, MIB / 2 + MIB / 4) < 0)
            return ended();
    }
    return worked("holds 3 MiB in files without a name");
}

static attack_end try_empty_files(void) {
    char path[32];
    for (int i = 0; i < TOO_MANY; i++) {
        snprintf(path, sizeof path, "/data/%d", i);
        int file = new_file(path);
        if (file < 0)
            return ended();
        close(file);
    }
    clean();
    return worked("has %d files", TOO_MANY);
}

static attack_end try_directories(void) {
    char path[32];
    for (int i = 0; i < TOO_MANY; i++) {
        snprintf(path, sizeof path, "/data/%d", i);
        if (mkdir(path, 0700) < 0)
            return ended();
    }
    clean();
    return worked("has %d directories", TOO_MANY);
}

static attack_end try_links(void) {
    char path[300];
    close(new_file("/data/a"));
    for (int i = 0; i < 6000; i++) {
        snprintf(path, sizeof path, "/data/%0250d", i);
        if (link("/data/a", path) < 0)
            return ended();
    }
    struct stat directory;
    stat("/data", &directory);
    clean();
    return directory.st_size > MIB + MIB / 4 ? worked("names take %ld bytes", (long)directory.st_size)
                                              : failed("names take %ld bytes", (long)directory.st_size);
}

static attack_end try_targets(void) {
    char target[4000], path[32];
    memset(target, 'x', sizeof target);
    target[sizeof target - 1] = 0;
    for (int i = 0; i < TOO_MANY; i++) {
        snprintf(path, sizeof path, "/data/%d", i);
        if (symlink(target, path) < 0)
            return ended();
    }
    return has();
}

static attack_end try_attributes(void) {
    static char value[3500];
    char path[32];
    for (int i = 0; i < TOO_MANY; i++) {
        snprintf(path, sizeof path, "/data/%d", i);
        close(new_file(path));
        memset(value, 'a' + i % 26, sizeof value);
        memcpy(value, path, sizeof path);
        if (setxattr(path, "user.attack", value, sizeof value, 0) < 0)
            return ended();
    }
    return has();
}

/* Out of the project that the quota is of. */
static attack_end try_other_project(void) {
    struct fsxattr about;
    int file = new_file("/data/a");
    if (ioctl(file, FS_IOC_FSGETXATTR, &about) < 0)
        return ended();
    about.fsx_projid = 4242;
    if (ioctl(file, FS_IOC_FSSETXATTR, &about) < 0)
        return ended();
    return fill(file, 0, TOO_MUCH) < 0 ? ended() : has();
}

static attack_end inherit_nothing(unsigned long request) {
    int directory = open("/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int flags = 0;
    if (ioctl(directory, FS_IOC_GETFLAGS, &flags) < 0)
        return ended();
    int none = flags & ~FS_PROJINHERIT_FL;
    if (call(SYS_ioctl, (long)directory, (long)request, &none) < 0)
        return ended();
    int filled = fill(new_file("/data/a"), 0, TOO_MUCH);
    int why = errno;
    (void)call(SYS_ioctl, (long)directory, (long)FS_IOC_SETFLAGS, &flags);
    errno = why;
    return filled < 0 ? ended() : has();
}

static attack_end try_inherit_nothing(void) { return inherit_nothing(FS_IOC_SETFLAGS); }
static attack_end try_inherit_nothing_by_high_bits(void) { return inherit_nothing(FS_IOC_SETFLAGS | 1UL << 35); }

/* The limit itself. */
static attack_end try_limit(void) {
    int directory = open("/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t limit[9] = {0};
    limit[8] = 1 | 4; /* QIF_BLIMITS | QIF_ILIMITS: to zero, which is none */
    struct fsxattr about;
    if (ioctl(directory, FS_IOC_FSGETXATTR, &about) < 0)
        return ended();
    if (call(SYS_quotactl_fd, (long)directory, 0x800008L << 8 | 2 /* Q_SETQUOTA, PRJQUOTA */, (long)about.fsx_projid,
             limit) < 0)
        return ended();
    return fill(new_file("/data/a"), 0, TOO_MUCH) < 0 ? ended() : has();
}

TRIES(TRY(limit), TRY(write), TRY(sparse), TRY(allocate), TRY(allocate_beyond), TRY(map), TRY(deleted), TRY(empty_files),
      TRY(directories), TRY(links), TRY(targets), TRY(attributes), TRY(other_project), TRY(inherit_nothing),
      TRY(inherit_nothing_by_high_bits))
