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

TRIES(TRY(memfd), TRY(memfd_private), TRY(file))
