/* Calls behind which a filter is blind, and calls by another number: other ABIs of the same processor. */
#include "attack.h"

#include <linux/io_uring.h>

static attack_end try_io_uring(void) {
    struct io_uring_params params = {0};
    if (syscall(SYS_io_uring_setup, 4, &params) < 0)
        return refused();
    return worked("has a ring");
}

static attack_end try_io_uring_enter(void) {
    if (syscall(SYS_io_uring_enter, 0, 1, 0, 0, NULL, 0) < 0)
        return refused();
    return worked("entered a ring");
}

static attack_end try_userfaultfd(void) {
    if (syscall(SYS_userfaultfd, O_CLOEXEC) < 0)
        return refused();
    return worked("answers page faults");
}

/* getpid by the 32-bit table, where 20 is getpid and, on the 64-bit one, writev. */
static attack_end try_int_0x80(void) {
    long got = 0;
    __asm__ volatile("int $0x80" : "=a"(got) : "0"(20L) : "r8", "r9", "r10", "r11", "memory");
    if (got == getpid())
        return worked("called by the 32-bit table");
    errno = (int)-got;
    return refused();
}

/* The same from 32-bit code, to which any program can jump: the segment is there for all. (Not by a far call: QEMU before
 * 9.1, interpreting, makes the push of one as if the kernel had, and the guest's kernel dies of it.) */
extern char attack_code32[];
__asm__(".text\n"
        ".code32\n"
        "attack_code32: movl $1, %eax\n"
        "movl $42, %ebx\n"
        "int $0x80\n"
        "hlt\n"
        ".code64\n");

static attack_end try_compat_segment(void) {
    const struct __attribute__((packed)) {
        uint32_t offset;
        uint16_t segment;
    } target = {(uint32_t)(uintptr_t)attack_code32, 0x23};
    pid_t child = fork();
    if (child == 0)
        __asm__ volatile("ljmp *%0" : : "m"(target) : "memory");
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
    return WEXITSTATUS(status) == 42 ? worked("ended by the 32-bit table") : failed("status %x", status);
}

static attack_end try_x32(void) {
    long got = syscall(0x40000000L | SYS_getpid);
    if (got == getpid())
        return worked("called by the x32 table");
    return refused();
}

/* A number that no table has. */
static attack_end try_unknown_number(void) {
    if (syscall(0x3fffffff) < 0)
        return refused();
    return worked("called what is not there");
}

TRIES(TRY(io_uring), TRY(io_uring_enter), TRY(userfaultfd), TRY(int_0x80), TRY(compat_segment), TRY(x32),
      TRY(unknown_number))
