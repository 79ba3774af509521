/* The same memory twice: where it is written it is not executable, where it is executed it is not writable. */
#include "attack.h"

#define PAGE 4096

/* Writes through one mapping of `file`, runs through another. */
static attack_end twice(int file, int how) {
    void *data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (data == MAP_FAILED)
        return refused();
    void *code = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, how, file, 0);
    if (code == MAP_FAILED)
        return refused();
    memcpy(data, attack_code, sizeof attack_code);
    return attack_run(code);
}

static attack_end try_memfd(void) {
    int file = memfd_create("code", 0);
    if (file < 0 || ftruncate(file, PAGE) < 0)
        return refused();
    return twice(file, MAP_SHARED);
}

static attack_end try_memfd_private(void) {
    int file = memfd_create("code", 0);
    if (file < 0 || ftruncate(file, PAGE) < 0)
        return refused();
    return twice(file, MAP_PRIVATE);
}

static attack_end try_file(void) {
    int file = open("/data/twice", O_RDWR | O_CREAT, 0700);
    if (file < 0 || ftruncate(file, PAGE) < 0)
        return refused();
    return twice(file, MAP_SHARED);
}

/* Memory without a file, shared with a child, who writes what its parent runs. */
static attack_end try_written_by_a_child(void) {
    void *code = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        return refused();
    pid_t child = fork();
    if (child == 0) {
        if (mprotect(code, PAGE, PROT_READ | PROT_WRITE) < 0)
            _exit(errno);
        memcpy(code, attack_code, sizeof attack_code);
        _exit(0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
        return failed("the child");
    if (WEXITSTATUS(status) != 0) {
        errno = WEXITSTATUS(status);
        return refused();
    }
    return attack_run(code);
}

/* The same by a second address in one process: mremap of nothing duplicates a shared mapping. */
static attack_end try_duplicated(void) {
    void *code = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        return refused();
    void *data = mremap(code, 0, PAGE, MREMAP_MAYMOVE);
    if (data == MAP_FAILED || mprotect(data, PAGE, PROT_READ | PROT_WRITE) < 0)
        return refused();
    memcpy(data, attack_code, sizeof attack_code);
    return attack_run(code);
}

TRIES(TRY(memfd), TRY(memfd_private), TRY(file), TRY(written_by_a_child), TRY(duplicated))
