/* Memory that is written and then run, by each way there is to ask for it. */
#include "attack.h"

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

TRIES(TRY(mmap_rwx), TRY(rw_to_rx))
