/* Writing into its own code by the files that are its memory. A write there passes over the protection of the page, if
 * the kernel lets it. */
#include "attack.h"

/* Never inlined, so that there is code to be written over. Aligned, so that it does not end on a page's last byte. */
__attribute__((noinline, aligned(64))) static int victim(void) {
    __asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop");
    return 7;
}

static attack_end write_by(const char *path) {
    int (*volatile call)(void) = victim;
    if (call() != 7)
        return failed("the victim");
    int memory = open(path, O_RDWR);
    if (memory < 0)
        return refused();
    if (pwrite(memory, attack_code, sizeof attack_code, (off_t)(uintptr_t)victim) < 0)
        return refused();
    return call() == 42 ? worked("changed its own code") : failed("nothing changed");
}

/* The main thread's number is the process's; names of all kinds lead to the same file. */
static attack_end write_at(const char *format) {
    char path[64];
    snprintf(path, sizeof path, format, getpid(), getpid());
    return write_by(path);
}

static attack_end try_self_mem(void) { return write_by("/proc/self/mem"); }
static attack_end try_thread_self_mem(void) { return write_by("/proc/thread-self/mem"); }
static attack_end try_self_task_mem(void) { return write_at("/proc/self/task/%d/mem"); }
static attack_end try_pid_mem(void) { return write_at("/proc/%d/mem"); }
static attack_end try_pid_task_mem(void) { return write_at("/proc/%d/task/%d/mem"); }

/* Relative to its own directory, and by a detour. */
static attack_end try_detour(void) { return write_by("/proc/self/root/proc/self/mem"); }

static attack_end try_openat(void) {
    int (*volatile call)(void) = victim;
    int directory = open("/proc/self", O_RDONLY | O_DIRECTORY);
    if (directory < 0)
        return failed("/proc/self");
    int memory = openat(directory, "mem", O_WRONLY);
    if (memory < 0)
        return refused();
    if (pwrite(memory, attack_code, sizeof attack_code, (off_t)(uintptr_t)victim) < 0)
        return refused();
    return call() == 42 ? worked("changed its own code") : failed("nothing changed");
}

/* The memory of another process of its own, which has the same code. */
static attack_end try_child_mem(void) {
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", child);
    int memory = open(path, O_RDWR);
    int error = errno;
    ssize_t count = memory < 0 ? -1 : pwrite(memory, attack_code, sizeof attack_code, (off_t)(uintptr_t)victim);
    if (memory >= 0)
        error = errno;
    unsigned char read_back[sizeof attack_code] = {0};
    if (count > 0)
        (void)!pread(memory, read_back, sizeof read_back, (off_t)(uintptr_t)victim);
    kill(child, SIGKILL);
    errno = error;
    if (count < 0)
        return refused();
    return memcmp(read_back, attack_code, sizeof attack_code) == 0 ? worked("changed its child's code")
                                                                   : failed("nothing changed");
}

TRIES(TRY(self_mem), TRY(thread_self_mem), TRY(self_task_mem), TRY(pid_mem), TRY(pid_task_mem), TRY(detour),
      TRY(openat), TRY(child_mem))
