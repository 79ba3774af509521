/* Memory that is written and then run, by each way there is to ask for it. */
#include "attack.h"

#include <sys/ipc.h>
#include <sys/shm.h>

#define PAGE 4096

static attack_end try_mmap_rwx(void) {
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return refused();
    memcpy(at, attack_code, sizeof attack_code);
    return attack_run(at);
}

static attack_end try_rw_to_rx(void) {
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return failed("mmap");
    memcpy(at, attack_code, sizeof attack_code);
    if (mprotect(at, PAGE, PROT_READ | PROT_EXEC) < 0)
        return refused();
    return attack_run(at);
}

static attack_end try_rw_to_rwx(void) {
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return failed("mmap");
    memcpy(at, attack_code, sizeof attack_code);
    if (mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
        return refused();
    return attack_run(at);
}

/* A page of this program's own, executable as every program's are, and private. */
static void *own_page(void) {
    int self = open("/bin/attack", O_RDONLY);
    return self < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, self, 0);
}

/* Executable once is executable again? */
static attack_end try_rx_rw_rx(void) {
    void *at = own_page();
    if (at == MAP_FAILED || mprotect(at, PAGE, PROT_READ | PROT_WRITE) < 0)
        return failed("a page of its own");
    memcpy(at, attack_code, sizeof attack_code);
    if (mprotect(at, PAGE, PROT_READ | PROT_EXEC) < 0)
        return refused();
    return attack_run(at);
}

static attack_end try_rx_to_rwx(void) {
    void *at = own_page();
    if (at == MAP_FAILED)
        return failed("a page of its own");
    if (mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
        return refused();
    memcpy(at, attack_code, sizeof attack_code);
    return attack_run(at);
}

/* The same call with a protection key, which filters on mprotect alone do not see. */
static attack_end try_pkey_mprotect(void) {
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return failed("mmap");
    memcpy(at, attack_code, sizeof attack_code);
    if (syscall(SYS_pkey_mprotect, at, PAGE, PROT_READ | PROT_EXEC, -1) < 0)
        return refused();
    return attack_run(at);
}

/* What was written, moved to where code was. */
static attack_end try_mremap(void) {
    void *code = own_page();
    void *data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED || data == MAP_FAILED)
        return failed("mmap");
    memcpy(data, attack_code, sizeof attack_code);
    if (mremap(data, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, code) == MAP_FAILED)
        return refused();
    return attack_run(code);
}

static attack_end try_shmat_exec(void) {
    int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0700);
    if (id < 0)
        return refused();
    void *at = shmat(id, NULL, SHM_EXEC);
    if (at == (void *)-1)
        return refused();
    memcpy(at, attack_code, sizeof attack_code);
    return attack_run(at);
}

TRIES(TRY(mmap_rwx), TRY(rw_to_rx), TRY(rw_to_rwx), TRY(rx_rw_rx), TRY(rx_to_rwx), TRY(pkey_mprotect), TRY(mremap),
      TRY(shmat_exec))
