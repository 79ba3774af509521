/* What a box has beyond an ordinary process, by what the kernel says of it; and getting more. */
#include "reach.h"

#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>

static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};

static attack_end try_has_capability(void) {
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        long held = status_of("self", sets[i], 16, -1);
        if (held != 0)
            return worked("%s has %lx", sets[i], held);
    }
    return attack_say("refused - all five sets are empty");
}

static int set_all(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (call(SYS_capget, &header, data) < 0)
        return -1;
    data[0].inheritable = data[0].permitted |= 1u << CAP_SYS_ADMIN;
    data[0].effective = data[0].permitted;
    return (int)call(SYS_capset, &header, data);
}

static attack_end try_set_capability(void) {
    if (set_all() < 0)
        return refused();
    long held = status_of("self", "CapInh", 16, 0);
    return held ? worked("inheritable %lx", held) : failed("nothing is inheritable");
}

static attack_end try_ambient_capability(void) {
    (void)set_all();
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0) < 0)
        return refused();
    return worked("ambient %lx", status_of("self", "CapAmb", 16, 0));
}

static attack_end try_become_root(void) {
    if (setresuid(0, 0, 0) < 0)
        return refused();
    return getuid() == 0 ? worked("is root") : failed("is not root");
}

static attack_end try_join_group(void) {
    gid_t group = 0;
    if (setgroups(1, &group) < 0)
        return refused();
    return getgroups(1, &group) == 1 ? worked("is in group %u", group) : failed("is in no group");
}

static attack_end try_has_group(void) {
    gid_t groups[32];
    int count = getgroups(32, groups);
    if (count < 0)
        return refused();
    return count == 0 ? attack_say("refused - it is in no group") : worked("is in %d groups", count);
}

/* 2 is a filter, 0 none. */
static attack_end filter(const char *process) {
    long mode = status_of(process, "Seccomp", 10, -1);
    if (mode == 0)
        return worked("has no filter");
    return mode == 2 ? attack_say("refused - it has its filter") : failed("Seccomp %ld", mode);
}

static void *thread(void *unused) {
    (void)unused;
    filter("thread-self");
    return NULL;
}

static attack_end try_thread_without_filter(void) {
    pthread_t made;
    if (pthread_create(&made, NULL, thread, NULL) != 0)
        return failed("pthread_create");
    pthread_join(made, NULL);
    return ATTACK_DONE;
}

static attack_end try_exec_without_filter(void) {
    execl("/bin/attack", "attack", "filter", (char *)NULL);
    return failed("execl: %s", strerrorname_np(errno));
}

/* What `exec_without_filter` becomes. */
__attribute__((constructor)) static void become(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "filter") == 0) {
        attack_name = "exec_without_filter";
        filter("self");
        _exit(0);
    }
}

static attack_end try_new_privileges(void) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) < 0)
        return refused();
    return worked("NoNewPrivs %ld", status_of("self", "NoNewPrivs", 10, -1));
}

static attack_end try_drop_filter(void) {
    if (prctl(PR_SET_SECCOMP, 0, 0, 0, 0) < 0)
        return refused();
    return worked("Seccomp %ld", status_of("self", "Seccomp", 10, -1));
}

TRIES(TRY(has_capability), TRY(set_capability), TRY(ambient_capability), TRY(become_root), TRY(join_group),
      TRY(has_group), TRY(thread_without_filter), TRY(exec_without_filter), TRY(new_privileges), TRY(drop_filter))
