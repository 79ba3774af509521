/* A personality in which whatever can be read can be run: filters on PROT_EXEC do not see it. */
#include "attack.h"

#include <sys/personality.h>

#define PAGE 4096

/* Memory that nobody asked to be executable. */
static attack_end run_data(void) {
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return refused();
    memcpy(at, attack_code, sizeof attack_code);
    return attack_run(at);
}

static attack_end try_read_implies_exec(void) {
    if (personality(READ_IMPLIES_EXEC) < 0)
        return refused();
    return run_data();
}

/* With the flags of other bits, which a filter that compares the whole argument passes over. */
static attack_end try_among_other_flags(void) {
    if (personality(READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE) < 0)
        return refused();
    return run_data();
}

/* The personality outlives the program that chose it. */
static attack_end try_after_execve(void) {
    if (personality(READ_IMPLIES_EXEC) < 0)
        return refused();
    execl("/bin/second", "second", "after_execve", NULL);
    return failed("execve");
}

TRIES(TRY(read_implies_exec), TRY(among_other_flags), TRY(after_execve))
