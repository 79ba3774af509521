/* What the library's files share; no part of its interface.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef GABION_INTERNAL_H
#define GABION_INTERNAL_H

#include "../gabion.h"

#include <stdarg.h>

/* Only gabion.h's functions are seen outside of the shared library. */
#if defined(__GNUC__) && !defined(__clang_analyzer__)
#pragma GCC visibility push(hidden)
#endif

/* ---- json.c: strict and bounded. Texts are decoded where they lie, so the message is changed by reading it. */

/* Deepest nesting, and most values of one message. */
#define JSON_DEPTH_MAX 32
#define JSON_VALUES_MAX 32768
/* Most members of one object: each is compared with those before it. */
#define JSON_MEMBERS_MAX 256

/* A value; the values inside it follow it, `size` counts it and them. */
struct gabion_json {
    const char *name; /* as a member of an object */
    union {
        const char *text;
        double number;
        bool truth;
        uint32_t count;
    } is;
    int64_t integer;
    uint32_t size;
    uint8_t kind;
    bool whole; /* a number that is in `integer` */
};

/* The values of one message. All zeroes is an empty one. */
struct json_values {
    struct gabion_json *values;
    size_t count, room;
};

/* Reads `text`, which is changed, and is to be followed by one byte that may be written. 0, or -EBADMSG, -ENOMEM. */
int json_read(struct json_values *values, char *text, size_t length);
void json_free(struct json_values *values);

/* ---- wire.c: one connection. */

/* Most descriptors with one message, as the servers of the system have it. */
#define FDS_MAX 8

struct wire {
    int fd; /* -1: none */
    char *buffer;
    size_t room, start, end; /* received: buffer[start..end] */
    int fds[FDS_MAX];
    size_t fd_count;
};

void wire_init(struct wire *wire);
void wire_close(struct wire *wire);
/* Connects to a socket of the bus. */
int wire_connect(struct wire *wire, const char *folder_variable, const char *folder, const char *name, int type);
/* Whether the other end has closed it while nobody asked anything; surplus bytes count as that. */
bool wire_is_stale(const struct wire *wire);
/* Sends all of it. `until`: a time of now_ms(), or -1. */
int wire_send(struct wire *wire, const char *bytes, size_t length, int64_t until);
/* The next message without its NUL, which may be overwritten. At most `most` bytes. */
int wire_receive(struct wire *wire, size_t most, int64_t until, char **message, size_t *length);

/* What a SOCK_SEQPACKET socket has, with its descriptors in `wire->fds`; -EAGAIN when nothing is there. */
int wire_packet(struct wire *wire, char *packet, size_t room, size_t *length);

int64_t now_ms(void);
int64_t until_ms(int milliseconds);
/* Waits for one event; 0, -ETIMEDOUT, or another error. */
int wait_for(int fd, short event, int64_t until);

/* ---- text.c */

/* A text that grows; `failed` once there was no memory. */
struct text {
    char *bytes;
    size_t length, room;
    bool failed;
};

void text_add(struct text *text, const char *bytes, size_t length);
void text_str(struct text *text, const char *string);
void text_quoted(struct text *text, const char *string);
void text_free(struct text *text);

/* ---- connection.c */

/* Room that lasts until the next call. NULL without memory. */
void *keep(gabion *g, size_t count, size_t size);
/* Calls a method of the system that may be made twice: once more where the connection ended under it. */
int call_again(gabion *g, const char *interface, const char *method, const char *parameters,
               const gabion_json **reply);
/* Takes the descriptor of this index out of those that came with the last reply; -1 when there is none. */
int take_fd(gabion *g, const char *interface, int64_t index);

#if defined(__GNUC__) && !defined(__clang_analyzer__)
#pragma GCC visibility pop
#endif

#endif
