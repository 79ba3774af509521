/* What the kernel tells about itself and about others: addresses, messages, memory, processes, the device's names. */
#include "reach.h"

#include <sys/klog.h>

static attack_end try_syslog(void) {
    char text[2048];
    int got = klogctl(3 /* SYSLOG_ACTION_READ_ALL */, text, sizeof text);
    return got < 0 ? refused() : worked("read %d bytes of the kernel's messages", got);
}

static attack_end try_syslog_console(void) {
    return klogctl(7 /* SYSLOG_ACTION_CONSOLE_ON */, NULL, 0) < 0 ? refused() : worked("set what the console shows");
}

static attack_end try_kmsg(void) { return reads("/dev/kmsg"); }

/* A line of an address and more; all the addresses are zero for who may not see them. */
static attack_end addresses(const char *path) {
    char text[512];
    if (first_bytes(path, text, sizeof text) < 0)
        return refused();
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *end = strpbrk(line, " -");
        if (end && strspn(line, " 0") < (size_t)(end - line) && strtoull(line, NULL, 16))
            return worked("%.32s", line);
        char *last = strchr(line, '-');
        if (last && strtoull(last + 1, NULL, 16))
            return worked("%.32s", line);
    }
    errno = EACCES;
    return attack_say("refused - the addresses are zero");
}

static attack_end try_kallsyms(void) { return addresses("/proc/kallsyms"); }
static attack_end try_iomem(void) { return addresses("/proc/iomem"); }
static attack_end try_vmallocinfo(void) { return reads("/proc/vmallocinfo"); }
static attack_end try_kcore(void) { return reads("/proc/kcore"); }
static attack_end try_command_line(void) { return reads("/proc/cmdline"); }
static attack_end try_interrupts(void) { return reads("/proc/interrupts"); }
static attack_end try_timers(void) { return reads("/proc/timer_list"); }
static attack_end try_partitions(void) { return reads("/proc/partitions"); }
static attack_end try_boot_id(void) { return reads("/proc/sys/kernel/random/boot_id"); }
static attack_end try_sysfs(void) { return reads("/sys/kernel/notes"); }
static attack_end try_device_tree(void) { return reads("/proc/device-tree/model"); }
static attack_end try_bus_of_pci(void) { return reads("/proc/bus/pci/devices"); }

/* Which page of the machine's memory holds which of ours: what an attack on DRAM, and on the page table, needs. */
static attack_end try_pagemap(void) {
    static volatile char page[4096];
    page[0] = 1;
    int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (map < 0)
        return refused();
    uint64_t entry = 0;
    if (pread(map, &entry, 8, (off_t)((uintptr_t)page / 4096 * 8)) != 8)
        return refused();
    uint64_t frame = entry & ((1ULL << 55) - 1);
    return frame ? worked("page frame %llx", (unsigned long long)frame) : attack_say("refused - the frame is 0");
}

static attack_end of_stranger(const char *what) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", stranger(1), what);
    return reads(path);
}

static attack_end try_other_status(void) { return of_stranger("status"); }
static attack_end try_other_arguments(void) { return of_stranger("cmdline"); }
static attack_end try_other_environment(void) { return of_stranger("environ"); }
static attack_end try_other_memory_map(void) { return of_stranger("maps"); }

/* Is there one by that number, whoever it is? */
static attack_end try_other_exists(void) {
    pid_t other = stranger(0);
    cpu_set_t set;
    return sched_getaffinity(other, sizeof set, &set) < 0 ? refused() : worked("there is a process %d", other);
}

/* The kernel's own stack. */
static attack_end try_kernel_stack(void) { return reads("/proc/self/stack"); }
TRIES(TRY(syslog), TRY(syslog_console), TRY(kmsg), TRY(kallsyms), TRY(iomem), TRY(vmallocinfo), TRY(kcore),
      TRY(command_line), TRY(interrupts), TRY(timers), TRY(partitions), TRY(boot_id), TRY(sysfs), TRY(device_tree),
      TRY(bus_of_pci), TRY(pagemap), TRY(other_status), TRY(other_arguments), TRY(other_environment),
      TRY(other_memory_map), TRY(other_exists), TRY(kernel_stack))
