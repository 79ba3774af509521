/* The network as an attack sees it: its own name server, hosts of the site beside the device, and proof of having been
 * there, which is what somebody answered. */
#ifndef NETWORK_H
#define NETWORK_H

#include "attack.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/time.h>
#include <time.h>

/* Hosts of the site: see tests/device/src/site. */
#define ROUTER "10.77.0.1"
#define WEB "198.51.100.10"
#define OTHER "198.51.100.13"
#define OTHER_6 "2001:db8:1::13"

static inline struct sockaddr_in at4(const char *address, uint16_t port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &at.sin_addr);
    return at;
}

/* How long an answer is waited for. */
static long patience_ms = 5000;

/* So that a test which fails does so by what is missing in the end, not by waiting for ever. */
static inline void patient(int socket) {
    struct timeval limit = {.tv_sec = patience_ms / 1000, .tv_usec = patience_ms % 1000 * 1000};
    (void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/* Where the box is told to ask for names. */
static inline int own_resolver(struct sockaddr_in *at) {
    char text[512] = "", address[64] = "";
    int file = open("/etc/resolv.conf", O_RDONLY);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0)
        return -1;
    close(file);
    char *line = strstr(text, "nameserver ");
    if (!line || sscanf(line, "nameserver %63s", address) != 1)
        return -1;
    *at = at4(address, 53);
    return 0;
}

/* Asks for an IPv4 address of `name`. The number of addresses in the answer, the first in `found`; -1 with errno when
 * it could not be asked or did not answer, -2 when it would not say. */
static inline int ask(const struct sockaddr_in *server, const char *name, struct in_addr *found) {
    unsigned char question[300] = {0x47, 0x11, 1, 0, 0, 1}, answer[1500];
    size_t used = 12;
    for (const char *label = name; *label;) {
        size_t length = strcspn(label, ".");
        question[used++] = length;
        memcpy(question + used, label, length);
        used += length;
        label += length + (label[length] == '.');
    }
    used++;
    question[used + 1] = 1;
    question[used + 3] = 1;
    used += 4;
    int here = socket(AF_INET, SOCK_DGRAM, 0);
    if (here < 0)
        return -1;
    patient(here);
    if (sendto(here, question, used, 0, (const struct sockaddr *)server, sizeof *server) < 0) {
        int why = errno;
        close(here);
        errno = why;
        return -1;
    }
    ssize_t got = recv(here, answer, sizeof answer, 0);
    close(here);
    if (got < 12)
        return -1;
    if (answer[3] & 15)
        return -2;
    int count = answer[6] << 8 | answer[7];
    /* Each name in an answer of ours and of dnsmasq is a pointer of two bytes; the address is the last thing. */
    if (count > 0)
        memcpy(found, answer + used + 12, 4);
    return count;
}

/* Connects. -1 with errno. */
static inline int reach(const struct sockaddr *at, socklen_t length) {
    int here = socket(at->sa_family, SOCK_STREAM, 0);
    if (here < 0)
        return -1;
    patient(here);
    if (connect(here, at, length) == 0)
        return here;
    int why = errno;
    close(here);
    errno = why;
    return -1;
}

/* It was there when somebody says something; web servers have to be asked. */
static inline attack_end talk(int here) {
    static const char get[] = "GET / HTTP/1.0\r\n\r\n";
    char text[32] = "";
    if (here < 0)
        return refused();
    (void)!write(here, get, sizeof get - 1);
    ssize_t got = read(here, text, sizeof text - 1);
    if (got <= 0)
        return failed("read: %s", got ? strerrorname_np(errno) : "nothing");
    text[strcspn(text, "\r\n")] = 0;
    return worked("it said: %s", text);
}

static inline attack_end talk_to(const char *address, uint16_t port) {
    struct sockaddr_in at = at4(address, port);
    return talk(reach((struct sockaddr *)&at, sizeof at));
}

/* Until what is granted is reached, or for so long that it never will be: a box that lacks what names it has nobody. */
static inline void wait_for_network(const char *name, uint16_t port) {
    time_t end = time(NULL) + 120;
    while (time(NULL) < end) {
        struct sockaddr_in server, at = at4(ROUTER, port);
        if (own_resolver(&server) == 0 && ask(&server, name, &at.sin_addr) > 0) {
            int there = reach((struct sockaddr *)&at, sizeof at);
            if (there >= 0) {
                close(there);
                return;
            }
        }
        usleep(200 * 1000);
    }
}

#define TRIES_WITH_A_NETWORK(name, port, ...)                                                                          \
    int main(void) {                                                                                                   \
        static const struct attack_try tries[] = {__VA_ARGS__};                                                        \
        wait_for_network(name, port);                                                                                  \
        return attack_main(tries, sizeof tries / sizeof tries[0]);                                                     \
    }

#endif
