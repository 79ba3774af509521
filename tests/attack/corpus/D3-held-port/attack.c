/* A port that another app serves at one address, taken at another: whoever asks there would be answered by the wrong one. */
#include "network.h"

static attack_end try_held_port(void) {
    int here = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in at = at4("127.0.0.2", 8099);
    if (here < 0)
        return refused();
    (void)setsockopt(here, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(here, (struct sockaddr *)&at, sizeof at) < 0 || listen(here, 1) < 0)
        return refused();
    return worked("serves port 8099 beside its owner");
}

static attack_end try_held_port_udp(void) {
    int here = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = at4("127.0.0.2", 8099);
    if (here < 0 || bind(here, (struct sockaddr *)&at, sizeof at) < 0)
        return refused();
    return worked("has port 8099");
}

TRIES(TRY(held_port), TRY(held_port_udp))
