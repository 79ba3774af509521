/* The ports of daemons (DNS, DHCP, time, mDNS), taken by an app that may listen on another one. */
#include "reach.h"

#include <netinet/in.h>

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

/* It has the port when what is sent there comes to it. */
static attack_end take_udp(uint16_t port) {
    int here = socket(AF_INET, SOCK_DGRAM, 0), there = socket(AF_INET, SOCK_DGRAM, 0);
    if (here < 0 || there < 0)
        return refused();
    int yes = 1;
    (void)setsockopt(here, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in at = loopback(port);
    if (bind(here, (struct sockaddr *)&at, sizeof at) < 0)
        return refused();
    if (sendto(there, "query", 5, 0, (struct sockaddr *)&at, sizeof at) < 0)
        return refused();
    char text[8] = "";
    if (recv(here, text, 5, MSG_DONTWAIT) != 5)
        return failed("recv: %s", strerrorname_np(errno));
    return worked("port %u was asked: %s", port, text);
}

static attack_end try_dns(void) { return take_udp(53); }
static attack_end try_dhcp(void) { return take_udp(67); }
static attack_end try_time(void) { return take_udp(123); }
static attack_end try_mdns(void) { return take_udp(5353); }

static attack_end take_tcp(uint16_t port) {
    int here = socket(AF_INET, SOCK_STREAM, 0), there = socket(AF_INET, SOCK_STREAM, 0);
    if (here < 0 || there < 0)
        return failed("socket: %s", strerrorname_np(errno));
    struct sockaddr_in at = loopback(port);
    if (bind(here, (struct sockaddr *)&at, sizeof at) < 0)
        return refused();
    if (listen(here, 1) < 0)
        return refused();
    socklen_t length = sizeof at;
    getsockname(here, (struct sockaddr *)&at, &length);
    return ntohs(at.sin_port) == port ? worked("listens on port %u", port) : failed("on %u", ntohs(at.sin_port));
}

static attack_end try_dns_by_tcp(void) { return take_tcp(53); }

/* One that the kernel chooses. */
static attack_end try_any_port(void) {
    int here = socket(AF_INET, SOCK_STREAM, 0);
    if (here < 0)
        return failed("socket: %s", strerrorname_np(errno));
    struct sockaddr_in at = loopback(0);
    if (bind(here, (struct sockaddr *)&at, sizeof at) < 0)
        return refused();
    socklen_t length = sizeof at;
    getsockname(here, (struct sockaddr *)&at, &length);
    return worked("has port %u", ntohs(at.sin_port));
}

static attack_end try_raw_icmp(void) {
    return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0 ? refused() : worked("speaks ICMP");
}

static attack_end try_own_headers(void) {
    return socket(AF_INET, SOCK_RAW, IPPROTO_RAW) < 0 ? refused() : worked("writes its own headers");
}

/* TCP by another name, which rules about TCP ports do not see. */
static attack_end try_tcp_by_mptcp(void) {
    return socket(AF_INET, SOCK_STREAM, 262) < 0 ? refused() : worked("speaks MPTCP");
}

TRIES(TRY(dns), TRY(dhcp), TRY(time), TRY(mdns), TRY(dns_by_tcp), TRY(any_port), TRY(raw_icmp),
      TRY(own_headers), TRY(tcp_by_mptcp))
