/* Says when its main() ran: on a pipe two u64 (CLOCK_MONOTONIC in ns, own pid); with the argument "text" the same
 * clock as a line, for a console. Then it stays until it is killed. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec t;
	uint64_t message[2];
	clock_gettime(CLOCK_MONOTONIC, &t);
	message[0] = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	message[1] = (uint64_t)getpid();
	if (argc > 1 && strcmp(argv[1], "text") == 0)
		dprintf(1, "main_ns=%llu\n", (unsigned long long)message[0]);
	else if (write(1, message, sizeof message) != sizeof message)
		return 1;
	for (;;)
		pause();
}
