/* Other boxes: their processes, their sockets, their terminals. One of them listens for us: see `neighbour` of
 * tests/device. */
#include "reach.h"

#include <sys/ptrace.h>

/* Signal 0 asks whether one of ours would arrive. */
static attack_end try_signal(void) {
    pid_t other = stranger(1);
    return kill(other, 0) < 0 ? refused() : worked("process %d would get it", other);
}

static attack_end try_signal_thread(void) {
    pid_t other = stranger(1);
    return call(SYS_tgkill, (long)other, (long)other, 0L) < 0 ? refused() : worked("process %d would get it", other);
}

static attack_end try_signal_by_pidfd(void) {
    pid_t other = stranger(1);
    int pidfd = (int)call(SYS_pidfd_open, (long)other, 0L);
    if (pidfd < 0 || call(SYS_pidfd_send_signal, (long)pidfd, 0L, NULL, 0L) < 0)
        return refused();
    return worked("process %d would get it", other);
}

static attack_end try_queue_signal(void) {
    pid_t other = stranger(1);
    siginfo_t text = {.si_code = SI_QUEUE};
    return call(SYS_rt_sigqueueinfo, (long)other, 0L, &text) < 0 ? refused() : worked("process %d would get it", other);
}

static attack_end try_limit(void) {
    struct rlimit now;
    pid_t other = stranger(1);
    if (prlimit(other, RLIMIT_NOFILE, NULL, &now) < 0 || prlimit(other, RLIMIT_NOFILE, &now, NULL) < 0)
        return refused();
    return worked("set how many files %d may open", other);
}

static attack_end try_processor(void) {
    cpu_set_t now;
    pid_t other = stranger(1);
    if (sched_getaffinity(other, sizeof now, &now) < 0 || sched_setaffinity(other, sizeof now, &now) < 0)
        return refused();
    return worked("set where %d runs", other);
}

static attack_end try_priority(void) {
    pid_t other = stranger(1);
    errno = 0;
    int now = getpriority(PRIO_PROCESS, other);
    if (errno != 0 || setpriority(PRIO_PROCESS, other, now) < 0)
        return refused();
    return worked("set the priority of %d", other);
}

/* By uid: boxes of the system have them from 1000 on, those of apps from 10000. */
static attack_end try_priority_of_uid(void) {
    for (uid_t uid = 1000; uid < 10400; uid = uid == 1020 ? 10000 : uid + 1) {
        if (uid == getuid())
            continue;
        errno = 0;
        int now = getpriority(PRIO_USER, uid);
        if (errno == 0 && setpriority(PRIO_USER, uid, now) == 0)
            return worked("set the priority of all that uid %u runs", uid);
        if (errno != ESRCH)
            break;
    }
    return refused();
}

static attack_end try_trace(void) {
    pid_t other = stranger(1);
    if (ptrace(PTRACE_SEIZE, other, NULL, NULL) < 0)
        return refused();
    char path[32], text[128];
    snprintf(path, sizeof path, "/proc/%d/syscall", other);
    (void)first_bytes(path, text, sizeof text);
    return worked("traces %d: %.24s", other, text);
}

static attack_end try_root(void) {
    char path[32];
    struct stat ours, theirs;
    snprintf(path, sizeof path, "/proc/%d/root", stranger(1));
    if (stat(path, &theirs) < 0)
        return refused();
    stat("/", &ours);
    return ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino ? worked("is in another root")
                                                                        : failed("that is its own root");
}

static attack_end try_descriptor(void) {
    int pidfd = (int)call(SYS_pidfd_open, (long)stranger(1), 0L);
    int taken = (int)call(SYS_pidfd_getfd, (long)pidfd, 1L, 0L);
    return taken < 0 ? refused() : worked("has another's standard output");
}

static socklen_t abstract(struct sockaddr_un *at, const char *name) {
    memset(at, 0, sizeof *at);
    at->sun_family = AF_UNIX;
    strcpy(at->sun_path + 1, name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

/* The neighbour needs its time to start. */
static int reach(int type, const char *name) {
    struct sockaddr_un at;
    socklen_t length = abstract(&at, name);
    for (int i = 0;; i++) {
        int here = socket(AF_UNIX, type, 0);
        if (here < 0 || connect(here, (struct sockaddr *)&at, length) == 0)
            return here;
        int why = errno;
        close(here);
        errno = why;
        if (why != ECONNREFUSED || i == 100)
            return -1;
        usleep(100 * 1000);
    }
}

static attack_end try_abstract_connect(void) {
    int there = reach(SOCK_STREAM, "gabion-neighbour");
    if (there < 0)
        return refused();
    char text[16] = "";
    (void)!read(there, text, sizeof text - 1);
    return strcmp(text, "hello") == 0 ? worked("heard %s", text) : failed("heard `%s`", text);
}

static attack_end try_abstract_send(void) {
    int there = reach(SOCK_DGRAM, "gabion-neighbour-mail");
    if (there < 0)
        return refused();
    return write(there, "x", 1) == 1 ? worked("sent it something") : refused();
}

static attack_end try_abstract_sendto(void) {
    struct sockaddr_un at;
    socklen_t length = abstract(&at, "gabion-neighbour-mail");
    int here = socket(AF_UNIX, SOCK_DGRAM, 0);
    for (int i = 0; i < 100; i++, usleep(100 * 1000)) {
        if (sendto(here, "x", 1, 0, (struct sockaddr *)&at, length) == 1)
            return worked("sent it something");
        if (errno != ECONNREFUSED)
            break;
    }
    return refused();
}

static attack_end try_shared_places(void) {
    static const char *const places[] = {"/tmp/neighbour", "/dev/shm/neighbour", "/data/neighbour", "/run/neighbour"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], F_OK) == 0)
            return worked("found %s", places[i]);
    return refused();
}

/* What it has for a terminal: the console's line, if it can have a node of it, or else its standard input. */
static int terminal(void) {
    (void)mknod("/tmp/terminal", S_IFCHR | 0600, makedev(4, 64));
    int line = open("/tmp/terminal", O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return line < 0 ? 0 : line;
}

static attack_end try_type(void) {
    return ioctl(terminal(), TIOCSTI, "\n") < 0 ? refused() : worked("typed");
}

static attack_end try_type_by_high_bits(void) {
    return call(SYS_ioctl, (long)terminal(), 1L << 32 | TIOCSTI, "\n") < 0 ? refused() : worked("typed");
}

static attack_end try_discipline(void) {
    int line = terminal(), none = 0, now = -1;
    if (ioctl(line, TIOCSETD, &none) < 0)
        return refused();
    return ioctl(line, TIOCGETD, &now) == 0 ? worked("line discipline %d", now) : failed("TIOCGETD");
}

TRIES(TRY(signal), TRY(signal_thread), TRY(signal_by_pidfd), TRY(queue_signal), TRY(limit), TRY(processor), TRY(priority),
      TRY(priority_of_uid), TRY(trace), TRY(root), TRY(descriptor), TRY(abstract_connect), TRY(abstract_send),
      TRY(abstract_sendto), TRY(shared_places), TRY(type), TRY(type_by_high_bits), TRY(discipline))
