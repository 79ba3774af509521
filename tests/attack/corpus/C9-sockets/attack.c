/* Sockets of families that a box without network has no use for: each is kernel code that it could reach. */
#include "reach.h"

#include <linux/audit.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

/* The kernel itself says what was made. */
static attack_end made(int family, int type, int protocol) {
    int made = socket(family, type, protocol);
    if (made < 0)
        return refused();
    int domain = -1, kind = -1;
    socklen_t length = sizeof domain;
    (void)getsockopt(made, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    (void)getsockopt(made, SOL_SOCKET, SO_TYPE, &kind, &length);
    close(made);
    return domain == family ? worked("family %d type %d", domain, kind) : failed("made a socket of %d", domain);
}

static attack_end try_inet(void) { return made(AF_INET, SOCK_STREAM, 0); }
static attack_end try_inet6(void) { return made(AF_INET6, SOCK_DGRAM, 0); }
static attack_end try_raw(void) { return made(AF_INET, SOCK_RAW, IPPROTO_ICMP); }
static attack_end try_packet(void) { return made(AF_PACKET, SOCK_RAW, 0); }

static int tried(int family, int type, int protocol, int *odd) {
    int made = socket(family, type, protocol);
    if (made < 0 && errno != EPERM)
        *odd = errno;
    return made;
}

/* Every family and type, and each protocol that goes by the name of another's. Not more: who makes too many refused
 * calls is no longer recorded. */
static attack_end try_any(void) {
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
    static const int protocols[] = {33, 132, 136, 256, 262}; /* DCCP, SCTP, UDP-Lite, SMC, MPTCP */
    int odd = 0;
    for (int family = 0; family < 48; family++)
        for (size_t type = 0; type < sizeof types / sizeof *types; type++)
            if (family != AF_UNIX && tried(family, types[type], 0, &odd) >= 0)
                return worked("family %d type %d", family, types[type]);
    for (size_t protocol = 0; protocol < sizeof protocols / sizeof *protocols; protocol++)
        for (size_t type = 0; type < sizeof types / sizeof *types; type++)
            if (tried(AF_INET, types[type], protocols[protocol], &odd) >= 0)
                return worked("protocol %d", protocols[protocol]);
    errno = odd ? odd : EPERM;
    return refused();
}

static attack_end try_pair(void) {
    int pair[2];
    if (socketpair(AF_INET, SOCK_STREAM, 0, pair) < 0)
        return refused();
    return worked("a pair");
}

/* One request, one answer. */
static ssize_t ask(int protocol, const void *request, size_t length, void *reply, size_t size) {
    int netlink = socket(AF_NETLINK, SOCK_RAW, protocol);
    if (netlink < 0)
        return -1;
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(netlink, request, length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        return -1;
    return recv(netlink, reply, size, 0);
}

static attack_end try_netlink_route(void) {
    struct {
        struct nlmsghdr header;
        struct ifinfomsg body;
    } dump = {{sizeof dump, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {.ifi_family = AF_UNSPEC}};
    char reply[8192] = {0};
    if (ask(NETLINK_ROUTE, &dump, sizeof dump, reply, sizeof reply) < 0)
        return refused();
    const struct nlmsghdr *header = (const void *)reply;
    return header->nlmsg_type == RTM_NEWLINK ? worked("listed its links") : failed("answer %d", header->nlmsg_type);
}

/* Who can talk to it can switch off what is recorded. This one only asks whether anything is. */
static attack_end try_netlink_audit(void) {
    struct nlmsghdr get = {sizeof get, AUDIT_GET, NLM_F_REQUEST | NLM_F_ACK, 1, 0};
    char reply[8192] = {0};
    if (ask(NETLINK_AUDIT, &get, sizeof get, reply, sizeof reply) < 0)
        return refused();
    const struct nlmsghdr *header = (const void *)reply;
    if (header->nlmsg_type == AUDIT_GET)
        return worked("was told the state of auditing");
    const struct nlmsgerr *error = NLMSG_DATA(header);
    errno = -error->error;
    return errno ? refused() : worked("was told the state of auditing");
}

static attack_end try_netlink_uevent(void) {
    int netlink = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT);
    struct sockaddr_nl all = {.nl_family = AF_NETLINK, .nl_groups = 1};
    if (netlink < 0 || bind(netlink, (struct sockaddr *)&all, sizeof all) < 0)
        return refused();
    return worked("hears of the device's hardware");
}

/* The filter compares 32 bits, as the kernel does. */
static attack_end try_high_bits(void) {
    long made = call(SYS_socket, (1L << 32) | AF_INET, SOCK_STREAM, 0);
    if (made < 0)
        return refused();
    int domain = -1;
    socklen_t length = sizeof domain;
    (void)getsockopt((int)made, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    return domain == AF_INET ? worked("family %d", domain) : failed("made a socket of %d", domain);
}

TRIES(TRY(inet), TRY(inet6), TRY(raw), TRY(packet), TRY(pair), TRY(netlink_route), TRY(netlink_audit),
      TRY(netlink_uevent), TRY(high_bits), TRY(any))
