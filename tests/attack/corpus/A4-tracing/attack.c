/* Changing a process from another: a child of its own, which is all that it can see. */
#include "attack.h"

#include <sys/ptrace.h>
#include <sys/uio.h>

__attribute__((noinline, aligned(64))) static int victim(void) {
    __asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop");
    return 7;
}
static volatile int word = 7;

static pid_t child_that_waits(void) {
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    return child;
}

/* Ends the child and says what came of it. */
static attack_end end(pid_t child, const char *proof) {
    int error = errno;
    kill(child, SIGKILL);
    errno = error;
    return proof ? worked("%s", proof) : refused();
}

static attack_end poke(pid_t child) {
    long code = 0;
    memcpy(&code, attack_code, sizeof attack_code);
    if (ptrace(PTRACE_POKETEXT, child, (void *)(uintptr_t)victim, (void *)code) < 0)
        return end(child, NULL);
    errno = 0;
    long found = ptrace(PTRACE_PEEKTEXT, child, (void *)(uintptr_t)victim, NULL);
    return end(child, found == code ? "changed another's code" : NULL);
}

static attack_end try_attach(void) {
    pid_t child = child_that_waits();
    if (ptrace(PTRACE_ATTACH, child, NULL, NULL) < 0)
        return end(child, NULL);
    waitpid(child, NULL, __WALL);
    return poke(child);
}

static attack_end try_seize(void) {
    pid_t child = child_that_waits();
    if (ptrace(PTRACE_SEIZE, child, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, child, NULL, NULL) < 0)
        return end(child, NULL);
    waitpid(child, NULL, __WALL);
    return poke(child);
}

/* The other way round: the child asks for it. */
static attack_end try_traceme(void) {
    int say[2];
    if (pipe(say) < 0)
        return failed("pipe");
    pid_t child = fork();
    if (child == 0) {
        int error = ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ? errno : 0;
        (void)!write(say[1], &error, sizeof error);
        if (error == 0)
            raise(SIGSTOP);
        _exit(0);
    }
    close(say[1]);
    int error = 0;
    if (read(say[0], &error, sizeof error) != sizeof error) {
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status))
            raise(WTERMSIG(status));
        return failed("no word from the child");
    }
    if (error != 0) {
        errno = error;
        return refused();
    }
    waitpid(child, NULL, __WALL);
    return poke(child);
}

static attack_end try_process_vm_writev(void) {
    pid_t child = child_that_waits();
    int value = 42, found = 0;
    struct iovec ours = {&value, sizeof value}, theirs = {(void *)&word, sizeof word}, back = {&found, sizeof found};
    if (process_vm_writev(child, &ours, 1, &theirs, 1, 0) < 0)
        return end(child, NULL);
    if (process_vm_readv(child, &back, 1, &theirs, 1, 0) < 0)
        return end(child, NULL);
    return end(child, found == 42 ? "changed another's memory" : NULL);
}

static attack_end try_process_vm_readv(void) {
    pid_t child = child_that_waits();
    int found = 0;
    struct iovec theirs = {(void *)&word, sizeof word}, back = {&found, sizeof found};
    if (process_vm_readv(child, &back, 1, &theirs, 1, 0) < 0)
        return end(child, NULL);
    return end(child, found == 7 ? "read another's memory" : NULL);
}

TRIES(TRY(attach), TRY(seize), TRY(traceme), TRY(process_vm_writev), TRY(process_vm_readv))
