/* Names that the manifest grants, and whose owner lets them lead into the device, to its link, to private networks; and
 * one that is over after a moment. Each is asked for first, so that what is learnt of it is learnt. */
#include "network.h"

static attack_end rebind(const char *name, const char *address, uint16_t port) {
    struct sockaddr_in server;
    struct in_addr found = {0};
    if (own_resolver(&server) == 0 && ask(&server, name, &found) > 0 && found.s_addr == at4(address, 0).sin_addr.s_addr)
        return failed("the resolver says that %s is at %s", name, address);
    return talk_to(address, port);
}

static attack_end try_loopback(void) { return rebind("loopback.example", "127.0.0.1", 8099); }
static attack_end try_device(void) { return rebind("device.example", "10.77.0.50", 8098); }
static attack_end try_link_local(void) { return rebind("linklocal.example", "169.254.7.7", 80); }
static attack_end try_private(void) { return rebind("private.example", "10.88.0.5", 80); }

static attack_end try_mapped(void) {
    struct sockaddr_in server;
    struct in_addr found;
    if (own_resolver(&server) == 0)
        (void)ask(&server, "mapped.example", &found);
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(8099)};
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &at.sin6_addr);
    return talk(reach((struct sockaddr *)&at, sizeof at));
}

/* A name for a second; an app is told at least five. */
static attack_end try_forgotten(void) {
    struct sockaddr_in server, at = at4(OTHER, 80);
    struct in_addr found;
    if (own_resolver(&server) == 0 && ask(&server, "short.example", &found) == 1) {
        int there = reach((struct sockaddr *)&at, sizeof at);
        if (there < 0)
            return failed("before it was over: %s", strerrorname_np(errno));
        close(there);
        sleep(12);
    }
    return talk_to(OTHER, 80);
}

TRIES_WITH_A_NETWORK("web.example", 80, TRY(loopback), TRY(mapped), TRY(device), TRY(link_local), TRY(private),
                     TRY(forgotten))
