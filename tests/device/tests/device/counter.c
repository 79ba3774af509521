/* Counts, says so, and feeds its watchdog as any program of sd_notify(3) does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void alive(void)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    strcpy(to.sun_path, getenv("NOTIFY_SOCKET"));
    int by = socket(AF_UNIX, SOCK_DGRAM, 0);
    sendto(by, "WATCHDOG=1", 10, 0, (struct sockaddr *)&to, sizeof to);
    close(by);
}

static void count(int *seen)
{
    *seen += 1;
    printf("counted %d\n", *seen);
}

int main(void)
{
    int seen = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (;;) {
        count(&seen);
        alive();
        usleep(300000);
    }
}
