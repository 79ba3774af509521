/* The cost of a syscall under a seccomp filter: getppid, which the C library does not keep and the kernel hardly works for.
 *
 *   syscalls round COUNT [FILTER]   loads the instructions in the file FILTER; then each byte on standard input asks for
 *                                   COUNT calls, whose ns in all are answered as a u64 on standard output
 *   syscalls print COUNT            in a box, whose filter is there already: prints ns per call, once a second
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct { uint16_t code; uint8_t jt, jf; uint32_t k; } instructions[4096];

static int load(const char *file)
{
	struct { unsigned short length; void *code; } program = { 0, instructions };
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t bytes = fd < 0 ? -1 : read(fd, instructions, sizeof instructions);
	if (bytes <= 0 || close(fd))
		return -1;
	program.length = bytes / 8;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -1 : (int)syscall(SYS_seccomp, 1, 0, &program);
}

static uint64_t calls(long count)
{
	struct timespec from, to;
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (long n = 0; n < count; n++)
		syscall(SYS_getppid);
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)to.tv_nsec - (uint64_t)from.tv_nsec;
}

int main(int argc, char **argv)
{
	char ask;
	long count = argc > 2 ? atol(argv[2]) : 0;
	if (count < 1 || (argc > 3 && load(argv[3])))
		return 1;
	if (!strcmp(argv[1], "print"))
		for (;; sleep(1)) {
			printf("getppid: %.1f ns\n", (double)calls(count) / (double)count);
			fflush(stdout);
		}
	while (read(0, &ask, 1) == 1) {
		uint64_t ns = calls(count);
		if (write(1, &ns, sizeof ns) != sizeof ns)
			return 1;
	}
	return 0;
}
