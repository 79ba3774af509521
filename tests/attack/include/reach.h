/* What attacks that reach out of their box have in common: calls without a wrapper, whole files as proof, and finding
 * a process that is not of this box. */
#ifndef REACH_H
#define REACH_H

#include "attack.h"

#include <dirent.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

/* Calls that libc has no wrapper for, or hides. */
#define call(number, ...) syscall(number, ##__VA_ARGS__)

/* The first bytes of a file, as text; -1 with errno. */
static inline ssize_t first_bytes(const char *path, char *into, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return -1;
    ssize_t got = read(file, into, size - 1);
    int why = errno;
    close(file);
    into[got > 0 ? got : 0] = 0;
    errno = why;
    return got;
}

/* Whether a file can be read; some of it is the proof. */
static inline attack_end reads(const char *path) {
    char text[4096];
    ssize_t got = first_bytes(path, text, sizeof text);
    if (got < 0)
        return refused();
    if (got == 0)
        return attack_say("refused - nothing is in it");
    text[strcspn(text, "\n") < 40 ? strcspn(text, "\n") : 40] = 0;
    return worked("%s: %s", path, text);
}

/* The number behind `key` in a process's status; `otherwise` when there is none. */
static inline long status_of(const char *process, const char *key, int base, long otherwise) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%s/status", process);
    if (first_bytes(path, text, sizeof text) < 0)
        return otherwise;
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t length = strlen(key);
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            return (long)strtoull(line + length + 1, NULL, base);
    }
    return otherwise;
}

/* The session in a `stat` of `/proc`: the sixth word, counted behind the name, which may have spaces in it. */
static inline long session(const char *path) {
    char text[512] = "";
    if (first_bytes(path, text, sizeof text - 1) <= 0)
        return -1;
    char *name = strrchr(text, ')');
    long parent, group, id = -1;
    char state;
    return name && sscanf(name, ") %c %ld %ld %ld", &state, &parent, &group, &id) == 4 ? id : -1;
}

/* A process that is not of this box: one of another session than its first process made, or, when `/proc` is the box's
 * own, the smallest number that is free, which every way of reaching it must answer with ESRCH or ENOENT. Not 1, which
 * as a target of the worst is too good. `user`: one that has arguments, which kernel threads have not. */
static inline pid_t stranger(int user) {
    long ours = session("/proc/self/stat");
    pid_t absent = 0;
    for (pid_t pid = 2; pid < 2000; pid++) {
        char path[32], text[8];
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        if (access(path, F_OK) < 0) {
            if (absent == 0)
                absent = pid;
            continue;
        }
        if (session(path) == ours)
            continue;
        snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
        if (user && first_bytes(path, text, sizeof text) <= 0)
            continue;
        return pid;
    }
    return absent;
}

#endif
