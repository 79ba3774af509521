/* The ring of a packet socket is memory that user space writes and the kernel maps as it is asked to: a way to
 * executable memory that is no anonymous memory and no file. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define PAGE 4096

static int ring(int kind) {
    int packets = socket(AF_PACKET, kind, htons(ETH_P_ALL));
    if (packets < 0)
        return -1;
    struct tpacket_req request = {.tp_block_size = PAGE, .tp_block_nr = 1, .tp_frame_size = PAGE, .tp_frame_nr = 1};
    if (setsockopt(packets, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) < 0)
        return -1;
    return packets;
}

static attack_end try_ring_rwx(void) {
    int packets = ring(SOCK_RAW);
    if (packets < 0)
        return refused();
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, packets, 0);
    if (at == MAP_FAILED)
        return refused();
    memcpy(at, attack_code, sizeof attack_code);
    return attack_run(at);
}

static attack_end twice(int kind) {
    int packets = ring(kind);
    if (packets < 0)
        return refused();
    void *data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, packets, 0);
    if (data == MAP_FAILED)
        return refused();
    void *code = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, packets, 0);
    if (code == MAP_FAILED)
        return refused();
    memcpy(data, attack_code, sizeof attack_code);
    return attack_run(code);
}

static attack_end try_ring_twice(void) { return twice(SOCK_RAW); }
static attack_end try_ring_twice_datagram(void) { return twice(SOCK_DGRAM); }

TRIES(TRY(ring_rwx), TRY(ring_twice), TRY(ring_twice_datagram))
