/* Calls that a box has no use for, each a door into the kernel or to what others share. */
#include "reach.h"

#include <linux/ioprio.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static attack_end try_message_queue(void) {
    /* A box's limit is 0 bytes: who is root can lift it. */
    struct rlimit lifted = {RLIM_INFINITY, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_MSGQUEUE, &lifted);
    mqd_t queue = mq_open("/attack", O_CREAT | O_RDWR, 0600, NULL);
    if (queue < 0)
        return refused();
    char text[8192] = "";
    if (mq_send(queue, "kept", 5, 0) < 0 || mq_receive(queue, text, sizeof text, NULL) < 0)
        return failed("mq_send: %s", strerrorname_np(errno));
    mq_unlink("/attack");
    return strcmp(text, "kept") == 0 ? worked("a message came back") : failed("got %s", text);
}

static attack_end try_shared_memory(void) {
    int id = shmget(0x47414249, 4096, IPC_CREAT | 0600);
    if (id < 0)
        return refused();
    char *at = shmat(id, NULL, 0);
    if (at == (void *)-1)
        return failed("shmat: %s", strerrorname_np(errno));
    strcpy(at, "kept");
    shmctl(id, IPC_RMID, NULL);
    return worked("%s", at);
}

static attack_end try_message(void) {
    int id = msgget(0x47414249, IPC_CREAT | 0600);
    if (id < 0)
        return refused();
    struct {
        long type;
        char text[8];
    } message = {1, "kept"};
    if (msgsnd(id, &message, sizeof message.text, 0) < 0)
        return failed("msgsnd: %s", strerrorname_np(errno));
    msgctl(id, IPC_RMID, NULL);
    return worked("%s", message.text);
}

static attack_end try_semaphore(void) {
    int id = semget(0x47414249, 1, IPC_CREAT | 0600);
    if (id < 0)
        return refused();
    int value = semctl(id, 0, GETVAL);
    semctl(id, 0, IPC_RMID);
    return worked("a semaphore of %d", value);
}

static attack_end try_add_key(void) {
    long key = call(SYS_add_key, "user", "attack", "kept", 4UL, (long)KEY_SPEC_PROCESS_KEYRING);
    if (key < 0)
        return refused();
    char text[8] = "";
    (void)call(SYS_keyctl, (long)KEYCTL_READ, key, text, sizeof text);
    return strcmp(text, "kept") == 0 ? worked("the kernel kept a key") : failed("read %s", text);
}

static attack_end try_request_key(void) {
    long key = call(SYS_request_key, "user", "attack", NULL, 0L);
    if (key < 0)
        return errno == ENOKEY ? worked("the kernel looked for a key") : refused();
    return worked("key %ld", key);
}

static attack_end try_keyctl(void) {
    long ring = call(SYS_keyctl, (long)KEYCTL_GET_KEYRING_ID, (long)KEY_SPEC_SESSION_KEYRING, 1L);
    if (ring < 0)
        return refused();
    return worked("keyring %ld", ring);
}

static attack_end try_perf_event(void) {
    struct perf_event_attr clock = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof clock,
        .config = PERF_COUNT_SW_TASK_CLOCK,
        .exclude_kernel = 1,
        .exclude_hv = 1,
    };
    long event = call(SYS_perf_event_open, &clock, 0L, -1L, -1L, 0L);
    if (event < 0)
        return refused();
    for (volatile int i = 0; i < 1000000; i++) {
    }
    uint64_t count = 0;
    (void)!read((int)event, &count, sizeof count);
    return count ? worked("counted %llu", (unsigned long long)count) : failed("counted nothing");
}

static attack_end try_bpf(void) {
    uint32_t map[32] = {2 /* BPF_MAP_TYPE_ARRAY */, 4, 4, 1};
    long made = call(SYS_bpf, 0L, map, sizeof map);
    return made < 0 ? refused() : worked("a map");
}

static attack_end try_fanotify(void) {
    long made = call(SYS_fanotify_init, 0x200L /* FAN_REPORT_FID */, 0L);
    return made < 0 ? refused() : worked("watches others' files");
}

static attack_end try_real_time(void) {
    struct sched_param high = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &high) < 0)
        return refused();
    int policy = sched_getscheduler(0);
    struct sched_param usual = {0};
    (void)sched_setscheduler(0, SCHED_OTHER, &usual);
    return policy == SCHED_FIFO ? worked("was before everybody else") : failed("policy %d", policy);
}

static attack_end try_nice(void) {
    if (setpriority(PRIO_PROCESS, 0, -20) < 0)
        return refused();
    int got = getpriority(PRIO_PROCESS, 0);
    return got == -20 ? worked("priority %d", got) : failed("priority %d", got);
}

static attack_end try_disk_first(void) {
    if (call(SYS_ioprio_set, (long)IOPRIO_WHO_PROCESS, 0L, (long)IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 0)) < 0)
        return refused();
    long got = call(SYS_ioprio_get, (long)IOPRIO_WHO_PROCESS, 0L);
    return IOPRIO_PRIO_CLASS(got) == IOPRIO_CLASS_RT ? worked("first at the disk") : failed("class %ld", got);
}

/* x86 only. */
static attack_end try_io_port(void) {
#ifdef SYS_iopl
    return call(SYS_iopl, 3L) < 0 ? refused() : worked("may use the machine's ports");
#else
    return attack_say("killed SIGSYS: this processor has no ports");
#endif
}

TRIES(TRY(message_queue), TRY(shared_memory), TRY(message), TRY(semaphore), TRY(add_key), TRY(request_key),
      TRY(keyctl), TRY(perf_event), TRY(bpf), TRY(fanotify), TRY(real_time), TRY(nice), TRY(disk_first), TRY(io_port))
