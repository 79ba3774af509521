/* An app and a server of the bench's part `net`. It says `ready`, and does what the lines of its standard input say; after
 * each it says one line.
 *
 *     serve PORT            takes connections for ever; one that says how many bytes it will send is told when they are there
 *     connect PORT N        N connections, one after the other: the median of what connect() took, µs, and its error
 *     send PORT BYTES       so many bytes over one connection: how long until they are there, µs
 *     try PORT PORT         connects to the first, which must work, and to the second, which must not, until there is a
 *                           further line: how often each was otherwise, and how often it tried
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 16];

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int least_first(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct sockaddr_in loopback(unsigned port) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* Connected, or -1 with errno; what it took in `us`. It ends without waiting, so that no port is used up. */
static int reach(unsigned port, double *us) {
    int here = socket(AF_INET, SOCK_STREAM, 0);
    struct linger at_once = {1, 0};
    struct sockaddr_in there = loopback(port);
    if (here < 0)
        die("socket");
    setsockopt(here, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    double began = now_us();
    int done = connect(here, (struct sockaddr *)&there, sizeof there), why = errno;
    *us = now_us() - began;
    if (done == 0)
        return here;
    close(here);
    errno = why;
    return -1;
}

static void serve(unsigned port) {
    int here = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = loopback(port);
    if (bind(here, (struct sockaddr *)&at, sizeof at) < 0 || listen(here, 128) < 0)
        die("serve");
    puts("serves");
    for (;;) {
        int caller = accept(here, NULL, NULL);
        uint64_t left = 0;
        if (read(caller, &left, sizeof left) == sizeof left) {
            ssize_t got;
            while (left > 0 && (got = read(caller, block, sizeof block)) > 0)
                left -= got;
            (void)!write(caller, "!", 1);
        }
        close(caller);
    }
}

static void connects(unsigned port, int count) {
    double *took = calloc(count, sizeof *took);
    int why = 0;
    for (int i = 0; i < count; i++) {
        int there = reach(port, &took[i]);
        if (there < 0)
            why = errno;
        else
            close(there);
    }
    qsort(took, count, sizeof *took, least_first);
    printf("%.3f %s\n", took[count / 2], why ? strerrorname_np(why) : "ok");
    free(took);
}

static void sends(unsigned port, uint64_t bytes) {
    double us;
    char done;
    int there = reach(port, &us);
    if (there < 0)
        die("connect");
    double began = now_us();
    (void)!write(there, &bytes, sizeof bytes);
    for (uint64_t left = bytes; left > 0;) {
        ssize_t sent = write(there, block, left < sizeof block ? left : sizeof block);
        if (sent < 0)
            die("write");
        left -= sent;
    }
    if (read(there, &done, 1) != 1)
        die("read");
    printf("%.3f ok\n", now_us() - began);
    close(there);
}

static void tries(unsigned good, unsigned bad) {
    long shut = 0, open = 0, count = 0;
    struct pollfd more = {.fd = 0, .events = POLLIN};
    puts("tries");
    for (; poll(&more, 1, 0) == 0; count++) {
        double us;
        int there = reach(good, &us);
        shut += there < 0;
        if (there >= 0)
            close(there);
        there = reach(bad, &us);
        open += there >= 0 || errno != EPERM;
        if (there >= 0)
            close(there);
    }
    printf("%ld %ld %ld\n", shut, open, count);
}

int main(void) {
    char line[128];
    unsigned port, other;
    int count;
    unsigned long long bytes;
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "serve %u", &port) == 1)
            serve(port);
        else if (sscanf(line, "connect %u %d", &port, &count) == 2)
            connects(port, count);
        else if (sscanf(line, "send %u %llu", &port, &bytes) == 2)
            sends(port, bytes);
        else if (sscanf(line, "try %u %u", &port, &other) == 2)
            tries(port, other);
    }
    return 0;
}
