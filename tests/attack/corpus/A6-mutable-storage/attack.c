/* Running a file that the app itself wrote: by execve, by a descriptor, by the loader, by mapping it, by an interpreter
 * line. Landlock's right to execute is asked at execve alone. */
#include "attack.h"

#include <sys/sendfile.h>

/* Copies a program of the root to where it can be written. */
static int written(const char *from, const char *to) {
    char bytes[4096];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    ssize_t count = -1;
    while (in >= 0 && out >= 0 && (count = read(in, bytes, sizeof bytes)) > 0)
        if (write(out, bytes, count) != count)
            return -1;
    if (count < 0 || fchmod(out, 0755) < 0 || close(out) < 0)
        return -1;
    close(in);
    return 0;
}

/* Runs it in a child; a program that ran ends with 42, one that was refused with its errno. */
static attack_end run(char *const *words) {
    pid_t child = fork();
    if (child == 0) {
        execve(words[0], words, NULL);
        _exit(errno);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        errno = EFAULT;
        return failed("ended by signal %d", WTERMSIG(status));
    }
    if (WEXITSTATUS(status) == 42)
        return worked("ran what it wrote");
    errno = WEXITSTATUS(status);
    return refused();
}

static attack_end run_copy(const char *to) {
    if (written("/bin/second", to) < 0)
        return failed("writing %s: %s", to, strerrorname_np(errno));
    return run((char *[]){(char *)to, NULL});
}

static attack_end try_execve_data(void) { return run_copy("/data/second"); }
static attack_end try_execve_tmp(void) { return run_copy("/tmp/second"); }

/* By a path that a check of names would not know. */
static attack_end try_execve_by_descriptor(void) {
    if (written("/bin/second", "/data/second") < 0)
        return failed("writing");
    int file = open("/data/second", O_PATH);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return run((char *[]){path, NULL});
}

static attack_end exec_descriptor(int file) {
    pid_t child = fork();
    if (child == 0) {
        char *words[] = {"second", NULL};
        syscall(SYS_execveat, file, "", words, NULL, AT_EMPTY_PATH);
        _exit(errno);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        return failed("ended by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) == 42)
        return worked("ran what it wrote");
    errno = WEXITSTATUS(status);
    return refused();
}

static attack_end try_execveat_data(void) {
    if (written("/bin/second", "/data/second") < 0)
        return failed("writing");
    return exec_descriptor(open("/data/second", O_PATH));
}

static attack_end run_memfd(unsigned flags) {
    int file = memfd_create("second", flags);
    if (file < 0)
        return refused();
    int from = open("/bin/second", O_RDONLY);
    struct stat about;
    if (from < 0 || fstat(from, &about) < 0 || sendfile(file, from, NULL, about.st_size) != about.st_size)
        return failed("writing");
    /* Nobody may hold what is executed open for writing. */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    close(file);
    return exec_descriptor(reader);
}

static attack_end try_execveat_memfd(void) { return run_memfd(0); }
#define MFD_EXEC_ 0x10
static attack_end try_execveat_memfd_asked(void) { return run_memfd(MFD_EXEC_); }

static attack_end try_interpreter_line(void) {
    static const char text[] = "#!/bin/second\n";
    int file = open("/data/script", O_WRONLY | O_CREAT | O_TRUNC, 0700);
    if (file < 0 || write(file, text, sizeof text - 1) < 0 || fchmod(file, 0755) < 0)
        return failed("writing");
    close(file);
    return run((char *[]){"/data/script", NULL});
}

/* The loader is a program of the root; what it loads is not. It maps, which is no execve. */
static attack_end load(const char *to) {
    if (written("/bin/dynamic", to) < 0)
        return failed("writing");
    pid_t child = fork();
    if (child == 0) {
        char *words[] = {"/lib/ld.so", (char *)to, NULL};
        close(2);
        execve(words[0], words, NULL);
        _exit(126);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 42)
        return worked("loaded what it wrote");
    /* The loader's own end when it cannot map. */
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return attack_say("refused: the loader could not map it");
    return failed("status %x", status);
}

static attack_end try_loader_data(void) { return load("/data/dynamic"); }
static attack_end try_loader_tmp(void) { return load("/tmp/dynamic"); }

/* As dlopen does. */
static attack_end map(const char *path) {
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0700);
    char page[4096] = {0};
    memcpy(page, attack_code, sizeof attack_code);
    if (file < 0 || write(file, page, sizeof page) != sizeof page)
        return failed("writing");
    void *at = mmap(NULL, sizeof page, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
    if (at == MAP_FAILED)
        return refused();
    return attack_run(at);
}

static attack_end try_map_data(void) { return map("/data/code"); }
static attack_end try_map_tmp(void) { return map("/tmp/code"); }

/* Mapped as data first, which no mount minds, and made executable then. */
static attack_end try_map_then_protect(void) {
    int file = open("/data/code", O_RDWR | O_CREAT | O_TRUNC, 0700);
    char page[4096] = {0};
    memcpy(page, attack_code, sizeof attack_code);
    if (file < 0 || write(file, page, sizeof page) != sizeof page)
        return failed("writing");
    void *at = mmap(NULL, sizeof page, PROT_READ, MAP_PRIVATE, file, 0);
    if (at == MAP_FAILED)
        return failed("mmap");
    if (mprotect(at, sizeof page, PROT_READ | PROT_EXEC) < 0)
        return refused();
    return attack_run(at);
}

TRIES(TRY(execve_data), TRY(execve_tmp), TRY(execve_by_descriptor), TRY(execveat_data), TRY(execveat_memfd),
      TRY(execveat_memfd_asked), TRY(interpreter_line), TRY(loader_data), TRY(loader_tmp), TRY(map_data), TRY(map_tmp),
      TRY(map_then_protect))
