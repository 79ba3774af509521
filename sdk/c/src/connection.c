/* The handle: a connection for each interface, calls on it, and streams.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The other side is not believed: an answer is bounded, read strictly, and what is none ends the connection. One call at a time is
 * under way on a connection, so bytes that are there before a call is made are not its answer: it is made anew then.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Interfaces that a handle has connections to at once. */
#define CONNECTIONS_MAX 32
#define NAME_MAX_BYTES 80

struct failure {
    char name[160];
    char text[1024];
};

struct connection {
    char interface[NAME_MAX_BYTES + 1];
    struct wire wire;
    struct json_values values;
};

/* Room that was asked for by keep(). */
struct kept {
    struct kept *next;
    max_align_t bytes[];
};

struct gabion {
    struct connection *connections[CONNECTIONS_MAX];
    size_t count;
    int timeout_ms;
    struct failure failure;
    struct kept *kept;
};

struct gabion_stream {
    struct connection connection;
    struct failure failure;
    bool over;
};

static const gabion_json EMPTY = {.kind = GABION_JSON_OBJECT, .size = 1};

gabion *gabion_new(void)
{
    gabion *g = calloc(1, sizeof *g);
    if (g != NULL)
        g->timeout_ms = -1;
    return g;
}

static void forget(gabion *g)
{
    while (g->kept != NULL) {
        struct kept *next = g->kept->next;
        free(g->kept);
        g->kept = next;
    }
}

void *keep(gabion *g, size_t count, size_t size)
{
    if (count > (SIZE_MAX - sizeof(struct kept)) / size)
        return NULL;
    struct kept *kept = calloc(1, sizeof *kept + (count == 0 ? 1 : count) * size);
    if (kept == NULL)
        return NULL;
    kept->next = g->kept;
    g->kept = kept;
    return kept->bytes;
}

static void disconnect(struct connection *connection)
{
    wire_close(&connection->wire);
    json_free(&connection->values);
}

void gabion_free(gabion *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->count; i++) {
        disconnect(g->connections[i]);
        free(g->connections[i]);
    }
    forget(g);
    free(g);
}

void gabion_set_timeout(gabion *g, int milliseconds)
{
    g->timeout_ms = milliseconds;
}

/* ------------------------------------------------------------------------------------------------------------- errors */

const char *gabion_strerror(int result)
{
    switch (result < 0 ? -result : 0) {
    case 0:
        return "no error";
    case ENOENT:
        return "the manifest names no method of the interface below [uses]";
    case EACCES:
        return "the manifest does not name the method";
    case EREMOTEIO:
        return "the other side answered with an error";
    case ECONNRESET:
        return "the other side ended the connection before it answered";
    case ETIMEDOUT:
        return "nothing came in time";
    case EBADMSG:
        return "what came is no answer";
    case EMSGSIZE:
        return "the answer is longer than is read";
    default:
        return strerror(-result);
    }
}

const char *gabion_error_name(const gabion *g)
{
    return g->failure.name;
}

const char *gabion_error_text(const gabion *g)
{
    return g->failure.text;
}

bool gabion_error_is(const gabion *g, const char *name)
{
    return strcmp(g->failure.name, name) == 0;
}

/* What an error's parameters say, for people: its reason or line, or else all that is text or a number. */
static void describe(char *out, size_t room, const gabion_json *parameters)
{
    const char *line = gabion_json_text(gabion_json_member(parameters, "manifest_line"));
    const char *reason = gabion_json_text(gabion_json_member(parameters, "reason"));
    if (line != NULL || reason != NULL) {
        snprintf(out, room, "%s", line != NULL ? line : reason);
        return;
    }
    size_t length = 0;
    for (size_t i = 0; i < gabion_json_count(parameters) && length < room; i++) {
        const gabion_json *value = gabion_json_element(parameters, i);
        const char *text = gabion_json_text(value), *space = length == 0 ? "" : " ";
        int more = 0;
        if (text != NULL)
            more = snprintf(out + length, room - length, "%s%s=%s", space, value->name, text);
        else if (gabion_json_kind(value) == GABION_JSON_NUMBER)
            more = snprintf(out + length, room - length, "%s%s=%.15g", space, value->name, value->is.number);
        length += more > 0 ? (size_t)more : 0;
    }
}

static int fail(struct failure *failure, const char *name, const gabion_json *parameters)
{
    snprintf(failure->name, sizeof failure->name, "%s", name);
    failure->text[0] = '\0';
    describe(failure->text, sizeof failure->text, parameters);
    return strcmp(name, "org.varlink.service.PermissionDenied") == 0 ? -EACCES : -EREMOTEIO;
}

/* -------------------------------------------------------------------------------------------------------------- calls */

/* Which member an answer may have. */
static bool is_answer(const gabion_json *message, const gabion_json **error, const gabion_json **parameters,
                      bool *continues)
{
    const gabion_json *more = gabion_json_member(message, "continues");
    *error = gabion_json_member(message, "error");
    *parameters = gabion_json_member(message, "parameters");
    *continues = gabion_json_bool(more, false);
    if (gabion_json_kind(*parameters) == GABION_JSON_NULL)
        *parameters = &EMPTY;
    return gabion_json_kind(message) == GABION_JSON_OBJECT && gabion_json_kind(*parameters) == GABION_JSON_OBJECT
           && (gabion_json_kind(*error) == GABION_JSON_NULL || gabion_json_text(*error) != NULL)
           && (gabion_json_kind(more) == GABION_JSON_NULL || gabion_json_kind(more) == GABION_JSON_BOOL);
}

/* 1 when others follow. */
static int receive(struct connection *connection, int64_t until, struct failure *failure, const gabion_json **reply)
{
    char *message;
    size_t length;
    const gabion_json *error, *parameters;
    bool continues;
    int result = wire_receive(&connection->wire, GABION_REPLY_MAX, until, &message, &length);
    if (result == 0)
        result = json_read(&connection->values, message, length);
    if (result < 0)
        return result;
    if (!is_answer(connection->values.values, &error, &parameters, &continues))
        return -EBADMSG;
    if (gabion_json_text(error) != NULL)
        return fail(failure, gabion_json_text(error), parameters);
    *reply = parameters;
    return continues ? 1 : 0;
}

static bool is_object(const char *parameters)
{
    return parameters == NULL || parameters[strspn(parameters, " \t\r\n")] == '{';
}

static int send_call(struct connection *connection, const char *method, const char *parameters, bool more,
                     int64_t until)
{
    struct text request = {0};
    text_str(&request, "{\"method\":\"");
    text_str(&request, connection->interface);
    text_str(&request, ".");
    text_str(&request, method);
    text_str(&request, "\",\"parameters\":");
    text_str(&request, parameters == NULL ? "{}" : parameters);
    text_str(&request, more ? ",\"more\":true}" : "}");
    int result = request.failed ? -ENOMEM
                                : wire_send(&connection->wire, request.bytes, request.length + 1, until);
    text_free(&request);
    return result;
}

/* Whether a name can stand in a message as it is. */
static bool is_name(const char *name, const char *besides)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t length = strlen(name), at = 0;
    while (at < length) {
        at += strspn(name + at, letters);
        if (at < length && strchr(besides, name[at++]) == NULL)
            return false;
    }
    return length > 0 && length <= NAME_MAX_BYTES;
}

static int connect_to(struct connection *connection)
{
    return wire_connect(&connection->wire, "GABION_BUS", "/run/bus", connection->interface, SOCK_STREAM);
}

static int connection_for(gabion *g, const char *interface, struct connection **found)
{
    for (size_t i = 0; i < g->count; i++) {
        *found = g->connections[i];
        if (strcmp((*found)->interface, interface) != 0)
            continue;
        return (*found)->wire.fd >= 0 && !wire_is_stale(&(*found)->wire) ? 0 : connect_to(*found);
    }
    if (!is_name(interface, ".-") || g->count == CONNECTIONS_MAX)
        return -EINVAL;
    *found = calloc(1, sizeof **found);
    if (*found == NULL)
        return -ENOMEM;
    strcpy((*found)->interface, interface);
    wire_init(&(*found)->wire);
    g->connections[g->count++] = *found;
    return connect_to(*found);
}

int gabion_call(gabion *g, const char *interface, const char *method, const char *parameters,
                const gabion_json **reply)
{
    struct connection *connection;
    const gabion_json *ignored;
    int64_t until = until_ms(g->timeout_ms);
    memset(&g->failure, 0, sizeof g->failure);
    forget(g);
    if (!is_name(method, "") || !is_object(parameters))
        return -EINVAL;
    int result = connection_for(g, interface, &connection);
    if (result < 0)
        return result;
    result = send_call(connection, method, parameters, false, until);
    if (result == 0)
        result = receive(connection, until, &g->failure, reply == NULL ? &ignored : reply);
    if (result == 1)
        result = -EBADMSG;
    /* After an error of the interface it goes on; else nobody knows what comes next. */
    if (result < 0 && g->failure.name[0] == '\0')
        wire_close(&connection->wire);
    return result;
}

int call_again(gabion *g, const char *interface, const char *method, const char *parameters,
               const gabion_json **reply)
{
    int result = gabion_call(g, interface, method, parameters, reply);
    return result == -ECONNRESET ? gabion_call(g, interface, method, parameters, reply) : result;
}

int take_fd(gabion *g, const char *interface, int64_t index)
{
    for (size_t i = 0; i < g->count; i++) {
        struct wire *wire = &g->connections[i]->wire;
        if (strcmp(g->connections[i]->interface, interface) == 0 && index >= 0 && (uint64_t)index < wire->fd_count) {
            int fd = wire->fds[index];
            wire->fds[index] = -1;
            return fd;
        }
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------------------ streams */

int gabion_more(gabion *g, const char *interface, const char *method, const char *parameters,
                gabion_stream **stream)
{
    memset(&g->failure, 0, sizeof g->failure);
    *stream = NULL;
    if (!is_name(interface, ".-") || !is_name(method, "") || !is_object(parameters))
        return -EINVAL;
    gabion_stream *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    strcpy(made->connection.interface, interface);
    wire_init(&made->connection.wire);
    int result = connect_to(&made->connection);
    if (result == 0)
        result = send_call(&made->connection, method, parameters, true, until_ms(g->timeout_ms));
    if (result < 0)
        gabion_stream_free(made);
    else
        *stream = made;
    return result;
}

int gabion_stream_next(gabion_stream *stream, const gabion_json **reply, int milliseconds)
{
    if (stream->over)
        return -ECONNRESET;
    int result = receive(&stream->connection, until_ms(milliseconds), &stream->failure, reply);
    stream->over = result != 1 && result != -ETIMEDOUT;
    return result;
}

int gabion_stream_fd(const gabion_stream *stream)
{
    return stream->connection.wire.fd;
}

const char *gabion_stream_error_name(const gabion_stream *stream)
{
    return stream->failure.name;
}

const char *gabion_stream_error_text(const gabion_stream *stream)
{
    return stream->failure.text;
}

void gabion_stream_free(gabion_stream *stream)
{
    if (stream == NULL)
        return;
    disconnect(&stream->connection);
    free(stream);
}
