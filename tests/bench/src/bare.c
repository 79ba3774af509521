/* The bare program: starts a program over and over, and does nothing else.
 *
 * It is what a box is measured against: one small static process that makes the same kernel operations as a launch
 * by PID 1 (same descriptors, same namespaces, mounts, limits, ids, capabilities, W^X, Landlock rules and seccomp
 * programs), with no bookkeeping, no report of the failing step, and everything that can be done ahead done ahead.
 *
 *   bare round     plain REWIND PROGRAM [ARG...]        vfork, execve, wait
 *   bare round     box CGROUP NETNS MNTNS RULESET SECCOMP IN OUT ERR UID TMP_OPTIONS NOFILE CWD PROGRAM [ARG...]
 *   bare supervise plain|box ...                        start it again as soon as it ended
 *
 * REWIND is a descriptor to set back to its start before each round, or -1. `round`: one byte on standard input asks
 * for one round, whose ns from start to reaped end are answered as a u64 on standard output (all ones: it failed).
 * `supervise box`: the pid of each start is written to standard output as a u64.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { CGROUP, NETNS, MNTNS, RULESET, SECCOMP, IN, OUT, ERR, FDS };
struct filter { unsigned short len; void *code; };

static int boxed, rewind_fd = -1, fds[FDS];
static unsigned uid, filters;
static struct filter filter[4];
static const char *tmp_options, *cwd;
static rlim_t nofile;
static char **program;

#define STEP(call) do { if ((call) < 0) _exit(100 + __LINE__ % 100); } while (0)

static void limit(int what, rlim_t value)
{
	struct rlimit l = { value, value };
	STEP(setrlimit(what, &l));
}

static void enter_box(void)
{
	const unsigned long closed = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2];

	STEP(dup2(fds[IN], 0));
	STEP(dup2(fds[OUT], 1));
	STEP(dup2(fds[ERR], 2));
	STEP(setns(fds[NETNS], CLONE_NEWNET));
	STEP(setns(fds[MNTNS], CLONE_NEWNS));
	STEP(unshare(CLONE_NEWNS | CLONE_NEWCGROUP));
	STEP(mount("tmpfs", "/tmp", "tmpfs", closed, tmp_options));
	STEP(mount("proc", "/proc", "proc", closed | MS_RDONLY, "subset=pid,hidepid=invisible"));
	limit(RLIMIT_NOFILE, nofile);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_MEMLOCK, 64 * 1024);
	limit(RLIMIT_MSGQUEUE, 0);
	umask(077);
	STEP(setsid());
	STEP(sethostname("box", 3));
	STEP(chdir(cwd));
	STEP(prctl(PR_SET_SECUREBITS, 0x07));
	STEP(syscall(SYS_setgroups, 0, NULL));
	STEP(syscall(SYS_setresgid, uid, uid, uid));
	STEP(syscall(SYS_setresuid, uid, uid, uid));
	for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	STEP(prctl(PR_SET_SECUREBITS, 0xef));
	memset(none, 0, sizeof none);
	STEP(syscall(SYS_capset, &header, none));
	STEP(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	STEP(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	STEP(prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0));
	STEP(syscall(SYS_landlock_restrict_self, fds[RULESET], 0));
	STEP(syscall(SYS_close_range, 3, ~0u, 4 /* CLOEXEC */));
	for (unsigned i = 0; i < filters; i++)
		STEP(syscall(SYS_seccomp, 1 /* SET_MODE_FILTER */, 0, &filter[i]));
	execve(program[0], program, environ);
	_exit(127);
}

static pid_t start(void)
{
	pid_t pid;
	if (rewind_fd >= 0)
		lseek(rewind_fd, 0, SEEK_SET);
	if (boxed) {
		struct clone_args args = { 0 };
		args.flags = CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
		args.exit_signal = SIGCHLD;
		args.cgroup = (uint64_t)fds[CGROUP];
		pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
		if (pid == 0)
			enter_box();
	} else {
		pid = vfork();
		if (pid == 0) {
			execve(program[0], program, environ);
			_exit(127);
		}
	}
	return pid;
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int rounds(void)
{
	char go;
	while (read(0, &go, 1) == 1) {
		int status = -1;
		uint64_t begin = now_ns(), ns;
		pid_t pid = start();
		if (pid > 0)
			waitpid(pid, &status, 0);
		ns = now_ns() - begin;
		if (status != 0) {
			fprintf(stderr, "bare: %s: status %#x\n", program[0], status);
			ns = UINT64_MAX;
		}
		if (write(1, &ns, sizeof ns) != sizeof ns)
			return 1;
	}
	return 0;
}

static int supervise(void)
{
	for (;;) {
		pid_t pid = start();
		uint64_t message = (uint64_t)pid;
		if (pid < 0 || (boxed && write(1, &message, sizeof message) != sizeof message))
			return 1;
		waitpid(pid, NULL, 0);
	}
}

/* The memfd's layout: u32 count, u32 length of each program, then the instructions of all. */
static int map_filters(int memfd)
{
	struct stat s;
	uint32_t *words;
	char *code;
	if (fstat(memfd, &s) < 0)
		return -1;
	words = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, memfd, 0);
	if (words == MAP_FAILED || words[0] > 4)
		return -1;
	filters = words[0];
	code = (char *)(words + 1 + filters);
	for (unsigned i = 0; i < filters; i++) {
		filter[i].len = (unsigned short)words[1 + i];
		filter[i].code = code;
		code += 8 * (size_t)words[1 + i];
	}
	return 0;
}

int main(int argc, char **argv)
{
	const int box_args = 3 + FDS + 4;
	if (argc < 5)
		return 2;
	boxed = strcmp(argv[2], "box") == 0;
	if (boxed && argc > box_args) {
		for (int i = 0; i < FDS; i++)
			fds[i] = atoi(argv[3 + i]);
		uid = (unsigned)atoi(argv[3 + FDS]);
		tmp_options = argv[4 + FDS];
		nofile = (rlim_t)atoi(argv[5 + FDS]);
		cwd = argv[6 + FDS];
		program = argv + box_args;
		if (map_filters(fds[SECCOMP]) < 0)
			return 2;
	} else {
		rewind_fd = atoi(argv[3]);
		program = argv + 4;
	}
	return strcmp(argv[1], "round") == 0 ? rounds() : supervise();
}
