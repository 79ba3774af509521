/* The machine itself: its kernel, its clock, its limits, its power. What would be felt is asked for in a form that is
 * refused for another reason once nobody asks who is asking; that reason is then the proof. */
#include "reach.h"

#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

/* A wrong magic number: who may not is told EPERM before the kernel looks at it. */
static attack_end try_reboot(void) {
    if (call(SYS_reboot, 1L, 2L, 3L, NULL) < 0)
        return errno == EINVAL ? worked("the kernel looked at the command") : refused();
    return failed("no command, and no error");
}

static attack_end try_kexec(void) {
    return call(SYS_kexec_load, 0L, 0L, NULL, 0L) < 0 ? refused() : worked("unloaded the next kernel");
}

static attack_end try_init_module(void) {
    if (call(SYS_init_module, "none", 4L, "") < 0)
        return errno == ENOEXEC ? worked("the kernel looked at the module") : refused();
    return failed("no module, and no error");
}

static attack_end try_finit_module(void) {
    int file = open("/bin/attack", O_RDONLY | O_CLOEXEC);
    if (call(SYS_finit_module, (long)file, "", 0L) < 0)
        return errno == ENOEXEC ? worked("the kernel looked at the module") : refused();
    return failed("no module, and no error");
}

static attack_end try_delete_module(void) {
    if (call(SYS_delete_module, "none", 0L) < 0)
        return errno == ENOENT ? worked("the kernel looked for the module") : refused();
    return failed("no module, and no error");
}

static attack_end try_swapon(void) {
    if (call(SYS_swapon, "/bin/attack", 0L) < 0)
        return errno == EINVAL ? worked("the kernel looked at the file") : refused();
    return failed("no swap, and no error");
}

static attack_end try_acct(void) {
    return call(SYS_acct, NULL) < 0 ? refused() : worked("ended the accounting of processes");
}

/* A time zone that there is not. */
static attack_end try_settimeofday(void) {
    struct timezone none = {.tz_minuteswest = 10000};
    if (call(SYS_settimeofday, NULL, &none) < 0)
        return errno == EINVAL ? worked("the kernel looked at the time zone") : refused();
    return failed("no time zone, and no error");
}

/* One second on, and back. */
static attack_end try_clock_settime(void) {
    struct timespec before, later;
    clock_gettime(CLOCK_REALTIME, &before);
    later = before;
    later.tv_sec += 1;
    if (clock_settime(CLOCK_REALTIME, &later) < 0)
        return refused();
    clock_gettime(CLOCK_REALTIME, &later);
    struct timespec back = later;
    back.tv_sec -= 1;
    clock_settime(CLOCK_REALTIME, &back);
    return later.tv_sec > before.tv_sec ? worked("set the clock") : failed("the clock is what it was");
}

static attack_end try_adjtimex(void) {
    struct timex now = {0};
    if (adjtimex(&now) < 0)
        return refused();
    struct timex slow = {.modes = ADJ_FREQUENCY, .freq = now.freq + 65536}, after = {0};
    if (adjtimex(&slow) < 0)
        return refused();
    adjtimex(&after);
    slow.freq = now.freq;
    adjtimex(&slow);
    return after.freq != now.freq ? worked("bent the clock") : failed("the clock is what it was");
}

static attack_end more(int resource) {
    struct rlimit limit;
    getrlimit(resource, &limit);
    limit.rlim_max += 4096;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(resource, &limit) < 0)
        return refused();
    return worked("may have %llu", (unsigned long long)limit.rlim_max);
}

static attack_end try_more_files(void) { return more(RLIMIT_NOFILE); }
static attack_end try_more_locked_memory(void) { return more(RLIMIT_MEMLOCK); }

static attack_end try_hang_up(void) {
    return vhangup() < 0 ? refused() : worked("hung up");
}

TRIES(TRY(reboot), TRY(kexec), TRY(init_module), TRY(finit_module), TRY(delete_module), TRY(swapon), TRY(acct),
      TRY(settimeofday), TRY(clock_settime), TRY(adjtimex), TRY(more_files), TRY(more_locked_memory), TRY(hang_up))
