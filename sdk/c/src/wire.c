/* One connection: messages that end with a NUL, and the descriptors that come with them.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The socket may be shared and is left blocking; every call here says itself that it does not wait.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_MIN 4096

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t until_ms(int milliseconds)
{
    return milliseconds < 0 ? -1 : now_ms() + milliseconds;
}

int wait_for(int fd, short event, int64_t until)
{
    for (;;) {
        int left = -1;
        if (until >= 0) {
            int64_t ms = until - now_ms();
            left = ms <= 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
        }
        struct pollfd asked = {fd, event, 0};
        int ready = poll(&asked, 1, left);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (until >= 0 && now_ms() >= until)
            return -ETIMEDOUT;
    }
}

static void close_fds(struct wire *wire)
{
    for (size_t i = 0; i < wire->fd_count; i++)
        if (wire->fds[i] >= 0)
            close(wire->fds[i]);
    wire->fd_count = 0;
}

void wire_init(struct wire *wire)
{
    memset(wire, 0, sizeof *wire);
    wire->fd = -1;
}

void wire_close(struct wire *wire)
{
    close_fds(wire);
    if (wire->fd >= 0)
        close(wire->fd);
    free(wire->buffer);
    wire_init(wire);
}

int wire_connect(struct wire *wire, const char *folder_variable, const char *folder, const char *name, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *other = getenv(folder_variable);
    if (other != NULL)
        folder = other;
    if (strchr(name, '/') != NULL || strlen(folder) + strlen(name) + 2 > sizeof address.sun_path)
        return -EINVAL;
    strcpy(address.sun_path, folder);
    strcat(address.sun_path, "/");
    strcat(address.sun_path, name);
    wire_close(wire);
    wire->fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (wire->fd < 0)
        return -errno;
    while (connect(wire->fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        if (errno == EINTR)
            continue;
        int error = errno;
        wire_close(wire);
        return -error;
    }
    return 0;
}

bool wire_is_stale(const struct wire *wire)
{
    char byte;
    if (wire->start != wire->end)
        return true;
    ssize_t got = recv(wire->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static int gone(int error)
{
    return error == EPIPE ? -ECONNRESET : -error;
}

int wire_send(struct wire *wire, const char *bytes, size_t length, int64_t until)
{
    while (length > 0) {
        ssize_t sent = send(wire->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            int result = wait_for(wire->fd, POLLOUT, until);
            if (result < 0)
                return result;
        } else if (errno != EINTR) {
            return gone(errno);
        }
    }
    return 0;
}

/* Keeps the first FDS_MAX descriptors, closes the others. */
static void take_fds(struct wire *wire, struct msghdr *header)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at != NULL; at = CMSG_NXTHDR(header, at)) {
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            if (wire->fd_count < FDS_MAX)
                wire->fds[wire->fd_count++] = fd;
            else
                close(fd);
        }
    }
}

static int make_room(struct wire *wire, size_t most)
{
    if (wire->start > 0) {
        memmove(wire->buffer, wire->buffer + wire->start, wire->end - wire->start);
        wire->end -= wire->start;
        wire->start = 0;
    }
    if (wire->end < wire->room)
        return 0;
    if (wire->room >= most)
        return -EMSGSIZE;
    size_t room = wire->room == 0 ? BUFFER_MIN : wire->room * 2;
    if (room > most)
        room = most;
    char *grown = realloc(wire->buffer, room);
    if (grown == NULL)
        return -ENOMEM;
    wire->buffer = grown;
    wire->room = room;
    return 0;
}

/* One recvmsg(2) that does not wait. */
static ssize_t receive_once(struct wire *wire, char *bytes, size_t room)
{
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(253 * sizeof(int))]; /* SCM_MAX_FD: so that every one is seen, and closed */
    } control;
    struct iovec into = {bytes, room};
    struct msghdr header = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(wire->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got >= 0)
        take_fds(wire, &header);
    return got;
}

int wire_packet(struct wire *wire, char *packet, size_t room, size_t *length)
{
    close_fds(wire);
    ssize_t got = receive_once(wire, packet, room);
    if (got < 0)
        return errno == EINTR ? -EAGAIN : gone(errno);
    *length = (size_t)got;
    return got == 0 ? -ECONNRESET : 0;
}

/* Receives some bytes. */
static int receive_some(struct wire *wire, int64_t until)
{
    for (;;) {
        ssize_t got = receive_once(wire, wire->buffer + wire->end, wire->room - wire->end);
        if (got > 0) {
            wire->end += (size_t)got;
            return 0;
        }
        if (got == 0)
            return -ECONNRESET;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            int result = wait_for(wire->fd, POLLIN, until);
            if (result < 0)
                return result;
        } else if (errno != EINTR) {
            return gone(errno);
        }
    }
}

int wire_receive(struct wire *wire, size_t most, int64_t until, char **message, size_t *length)
{
    size_t scanned = 0;
    /* A message with descriptors is sent by itself: with bytes that are held, they are those of the next one. */
    if (wire->start == wire->end)
        close_fds(wire);
    for (;;) {
        size_t there = wire->end - wire->start;
        char *nul = NULL;
        if (there > scanned)
            nul = memchr(wire->buffer + wire->start + scanned, '\0', there - scanned);
        if (nul != NULL) {
            *message = wire->buffer + wire->start;
            *length = (size_t)(nul - *message);
            wire->start += *length + 1;
            return 0;
        }
        scanned = there;
        int result = make_room(wire, most);
        if (result == 0)
            result = receive_some(wire, until);
        if (result < 0)
            return result;
    }
}
