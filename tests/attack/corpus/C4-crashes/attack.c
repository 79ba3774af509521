/* What runs when an app crashes, and what is said of it: getting a program of its own run, a core of its memory kept,
 * and lines of the system's into the console. */
#include "reach.h"

static attack_end try_core_limit(void) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY}, now;
    if (setrlimit(RLIMIT_CORE, &all) < 0)
        return refused();
    getrlimit(RLIMIT_CORE, &now);
    return now.rlim_cur == RLIM_INFINITY ? worked("a core may have any size") : failed("the limit is what it was");
}

/* Opened for writing, and what was in it is written again: who can do that can write anything. */
static attack_end rewrites(const char *path) {
    char text[256];
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return refused();
    ssize_t got = read(file, text, sizeof text);
    if (got <= 0 || pwrite(file, text, (size_t)got, 0) != got)
        return refused();
    return worked("wrote %s", path);
}

static attack_end try_core_pattern(void) { return rewrites("/proc/sys/kernel/core_pattern"); }
/* A program that the kernel runs as root. */
static attack_end try_helper(void) { return rewrites("/proc/sys/kernel/poweroff_cmd"); }
static attack_end try_core_filter(void) { return rewrites("/proc/self/coredump_filter"); }
static attack_end try_request_by_key(void) { return rewrites("/proc/sysrq-trigger"); }

/* Dies of its filter under a name that has lines of the system's in it. */
static attack_end try_name_with_lines(void) {
    prctl(PR_SET_NAME, "\ngabion: event ", 0, 0, 0);
    (void)call(SYS_reboot, 0L, 0L, 0L, NULL);
    return refused();
}

/* A file of such a name. */
static attack_end try_path_with_lines(void) {
    int file = open("/bin/\"\n\x1b[2J\rgabion: event exited id=os.forged pid=1 reason=forged",
                    O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    return file < 0 ? refused() : worked("made it");
}

static attack_end try_notify_with_lines(void) {
    int socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "/run/notify"};
    static const char text[] = "READY=1\nSTATUS=a\rgabion: event exited id=os.forged reason=forged\x1b[2J\n"
                               "STATUS=\ngabion: event exited id=os.forged reason=forged\nMAINPID=1\nFDSTORE=1\n"
                               "STOPPING=1\nBUSERROR=x\nERRNO=1\nWATCHDOG=trigger\n";
    if (sendto(socket_, text, sizeof text - 1, 0, (struct sockaddr *)&at, sizeof at) < 0)
        return refused();
    return attack_say("refused - it was read as what this app says of itself");
}

/* Not a word of this may be the beginning of a line. */
static attack_end try_output_with_lines(void) {
    static const char forged[] = "gabion: event exited id=os.forged pid=1 reason=forged";
    static const char *const before[] = {"", "\n", "\r", "\r\n", "\x1b[2K\r", "\x1b[1A", "\v", "\f", "\x85", "\xc2\x85",
                                         "\xe2\x80\xa8", "\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b"};
    char line[4096];
    for (int to = 1; to <= 2; to++)
        for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
            int used = snprintf(line, sizeof line, "%s%s\n", before[i], forged);
            (void)!write(to, line, (size_t)used);
            usleep(20 * 1000);
        }
    /* After a NUL, and where a long line is cut. */
    static const char behind[] = "\0gabion: event exited id=os.forged reason=forged\n";
    (void)!write(1, behind, sizeof behind - 1);
    static char filler[4096];
    memset(filler, 'x', sizeof filler);
    (void)!write(2, filler, sizeof filler);
    (void)!write(2, forged, sizeof forged - 1);
    (void)!write(2, "\n", 1);
    /* The console takes two thousand bytes a second of an app: what comes next has room again. */
    sleep(2);
    return attack_say("refused - it was said as this app's word");
}

TRIES(TRY(core_limit), TRY(core_pattern), TRY(helper), TRY(core_filter), TRY(request_by_key), TRY(name_with_lines),
      TRY(path_with_lines), TRY(notify_with_lines), TRY(output_with_lines))
