/* MQTT 3.1.1, as much of it as publishing takes.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "mqtt.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* How long a broker may take over an answer, seconds. */
#define ANSWER_S 10

static int exactly(int fd, uint8_t *bytes, size_t length, int sending)
{
    while (length > 0) {
        ssize_t some = sending ? send(fd, bytes, length, MSG_NOSIGNAL) : recv(fd, bytes, length, 0);
        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0)
            return some == 0 ? -ECONNRESET : -errno;
        bytes += some;
        length -= (size_t)some;
    }
    return 0;
}

/* Both are answered with four bytes, of which the first is the kind. */
static int ask(int fd, uint8_t *packet, size_t length, uint8_t answer, uint8_t third, uint8_t fourth)
{
    uint8_t got[4];
    int r = exactly(fd, packet, length, 1);
    if (r == 0)
        r = exactly(fd, got, sizeof got, 0);
    if (r == 0 && (got[0] != answer || got[1] != 2 || got[2] != third || got[3] != fourth))
        r = -EPROTO;
    return r;
}

int mqtt_connect(uint16_t port)
{
    /* Clean session, keep alive for two minutes, a name that the broker gives. */
    uint8_t connect_packet[] = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 120, 0, 0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval limit = {ANSWER_S, 0};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int r = connect(fd, (const struct sockaddr *)&address, sizeof address) < 0
                ? -errno
                : ask(fd, connect_packet, sizeof connect_packet, 0x20, 0, 0);
    if (r < 0)
        close(fd);
    return r < 0 ? r : fd;
}

int mqtt_publish(int broker, const char *topic, const char *message)
{
    uint8_t packet[260];
    size_t topic_length = strlen(topic), message_length = strlen(message);
    size_t length = 2 + topic_length + 2 + message_length;
    /* Up to 127 bytes, the length is one byte. */
    if (length > 127)
        return -EMSGSIZE;
    packet[0] = 0x32;
    packet[1] = (uint8_t)length;
    packet[2] = 0;
    packet[3] = (uint8_t)topic_length;
    memcpy(packet + 4, topic, topic_length);
    packet[4 + topic_length] = 0;
    packet[5 + topic_length] = 1;
    memcpy(packet + 6 + topic_length, message, message_length);
    return ask(broker, packet, 2 + length, 0x40, 0, 1);
}
