/* What every attack is written with. An attack is a static program that makes its tries one after the other, each in
 * a child of its own, so that one which is killed ends no other, and says of each how it went:
 *
 *     try NAME: refused ERRNO       it was told no
 *     try NAME: killed SIGNAL       it was ended
 *     try NAME: worked PROOF        what it wanted, it has
 *     try NAME: failed WHY          neither: the try itself is broken, which fails the test
 *
 * A try returns refused(), worked() or failed(). "Worked" needs proof: code that ran, bytes that were read; a system
 * call that returns zero is none. After the last try the program says `tries done` and ends.
 */
#ifndef ATTACK_H
#define ATTACK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* How a try went; the text has been printed. */
typedef enum { ATTACK_DONE } attack_end;

struct attack_try {
    const char *name;
    attack_end (*run)(void);
};

static const char *attack_name = "?";

__attribute__((format(printf, 1, 2))) static attack_end attack_say(const char *format, ...) {
    char line[256];
    int used = snprintf(line, sizeof line, "try %s: ", attack_name);
    va_list list;
    va_start(list, format);
    vsnprintf(line + used, sizeof line - used - 1, format, list);
    va_end(list);
    strcat(line, "\n");
    (void)!write(1, line, strlen(line));
    return ATTACK_DONE;
}

/* The call that was made last was refused: says with what. */
static inline attack_end refused(void) { return attack_say("refused %s", strerrorname_np(errno)); }

#define worked(...) attack_say("worked " __VA_ARGS__)
#define failed(...) attack_say("failed " __VA_ARGS__)

/* Makes each try in a child; a child that is killed is reported by its signal. */
static inline int attack_main(const struct attack_try *tries, size_t count) {
    for (size_t i = 0; i < count; i++) {
        attack_name = tries[i].name;
        fflush(NULL);
        pid_t child = fork();
        if (child < 0) {
            attack_say("failed fork: %s", strerrorname_np(errno));
            continue;
        }
        if (child == 0) {
            tries[i].run();
            _exit(0);
        }
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (WIFSIGNALED(status))
            attack_say("killed SIG%s", sigabbrev_np(WTERMSIG(status)));
        else if (WEXITSTATUS(status) != 0)
            attack_say("failed exit %d", WEXITSTATUS(status));
    }
    static const char end[] = "tries done\n";
    (void)!write(1, end, sizeof end - 1);
    return 0;
}

#define TRY(name) { #name, try_##name }
#define TRIES(...)                                                                                                     \
    int main(void) {                                                                                                   \
        static const struct attack_try tries[] = {__VA_ARGS__};                                                        \
        return attack_main(tries, sizeof tries / sizeof tries[0]);                                                     \
    }

/* `mov $42, %eax; ret`: what an attack runs to prove that it can run what it wrote. */
static const unsigned char attack_code[] = {0xb8, 42, 0, 0, 0, 0xc3};

/* Runs what lies at `at`. */
static inline attack_end attack_run(void *at) {
    int (*code)(void) = (int (*)(void))at;
    int got = code();
    return got == 42 ? worked("ran its own code") : failed("its code gave %d", got);
}

#endif
