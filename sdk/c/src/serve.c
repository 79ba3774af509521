/* Serving an interface: the router hands connections over, each with what its caller may call.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * What a caller controls is every byte on its connection. A method is looked up in the grant before its parameters reach the app;
 * a message is as long as the grant allows, and one that is no call ends the connection. Callers take turns. A reply that a
 * caller does not read within UNREAD_MS ends its connection.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections at once; the router bounds each caller's. */
#define CLIENTS_MAX 64
/* Longest message of the router, bytes. */
#define HANDOVER_MAX (8 * 1024)
/* How long a caller may leave a reply unread, milliseconds. */
#define UNREAD_MS 1000
/* How long the router may be away before it is looked for again, milliseconds. */
#define RETRY_MS 200

struct client {
    struct wire wire;
    struct json_values call;
    /* The handover: its text, and what was read of it. */
    char *text;
    struct json_values grant;
    uint64_t serial;
    size_t message_max;
    /* Of the call under way. */
    bool more, oneway;
    /* Its answer comes later: nothing more is read of it. */
    bool kept;
};

struct gabion_server {
    const char *interface, *description;
    int epoll;
    struct wire router;
    bool monitored;
    struct client *clients[CLIENTS_MAX];
    size_t count, turn;
    /* The call that waits for its answer. */
    struct client *caller;
    char method[128];
};

static void watch(gabion_server *server, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    /* Without it the loop below still works, by its own poll(). */
    (void)epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void drop(gabion_server *server, struct client *client)
{
    size_t i = 0;
    while (i < server->count && server->clients[i] != client)
        i++;
    if (i < server->count)
        server->clients[i] = server->clients[--server->count];
    if (server->caller == client)
        server->caller = NULL;
    if (client->wire.fd >= 0) {
        /* The router has a duplicate: without the one the epoll would go on to tell of it, without the other the caller would wait. */
        (void)epoll_ctl(server->epoll, EPOLL_CTL_DEL, client->wire.fd, NULL);
        shutdown(client->wire.fd, SHUT_RDWR);
    }
    wire_close(&client->wire);
    json_free(&client->call);
    json_free(&client->grant);
    free(client->text);
    free(client);
}

/* ----------------------------------------------------------------------------------------------------- the router says */

static void report(gabion_server *server, const char *kind, uint64_t serial, const char *word)
{
    char line[128];
    int length = snprintf(line, sizeof line, "%s %llu %s", kind, (unsigned long long)serial, word);
    if (server->router.fd >= 0 && length > 0 && (size_t)length < sizeof line)
        (void)send(server->router.fd, line, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool is_known(const gabion_server *server, uint64_t serial)
{
    for (size_t i = 0; i < server->count; i++)
        if (server->clients[i]->serial == serial)
            return true;
    return false;
}

static struct client *client_of(const char *packet, size_t length)
{
    struct client *client = calloc(1, sizeof *client);
    char *text = malloc(length + 1);
    if (client == NULL || text == NULL || (memcpy(text, packet, length), json_read(&client->grant, text, length)) < 0) {
        if (client != NULL)
            json_free(&client->grant);
        free(client);
        free(text);
        return NULL;
    }
    const gabion_json *grant = client->grant.values;
    client->text = text;
    client->serial = (uint64_t)gabion_json_int(gabion_json_member(grant, "serial"), 0);
    client->message_max = (size_t)gabion_json_int(gabion_json_member(grant, "message_bytes"), 65536);
    wire_init(&client->wire);
    return client;
}

static void handed_over(gabion_server *server, const char *packet, size_t length)
{
    struct client *client = client_of(packet, length);
    if (client == NULL)
        return;
    const gabion_json *monitor = gabion_json_member(client->grant.values, "monitor");
    if (monitor != NULL)
        server->monitored = gabion_json_bool(monitor, false);
    bool again = is_known(server, client->serial);
    if (server->router.fd_count == 1 && !again) {
        client->wire.fd = server->router.fds[0];
        server->router.fds[0] = -1;
    }
    if (client->wire.fd >= 0 && client->serial > 0 && server->count < CLIENTS_MAX) {
        server->clients[server->count++] = client;
        watch(server, client->wire.fd);
        return;
    }
    /* One that is here already is closed and goes on; wire_packet() does that. */
    drop(server, client);
}

static void hear_router(gabion_server *server)
{
    char packet[HANDOVER_MAX];
    size_t length;
    int result;
    while (server->router.fd >= 0 && (result = wire_packet(&server->router, packet, sizeof packet, &length)) != -EAGAIN) {
        if (result == 0)
            handed_over(server, packet, length);
        else
            wire_close(&server->router);
    }
}

static int find_router(gabion_server *server)
{
    if (server->router.fd >= 0)
        return 0;
    int result = wire_connect(&server->router, "GABION_SERVE", "/run/serve", server->interface, SOCK_SEQPACKET);
    if (result == 0) {
        server->monitored = false;
        watch(server, server->router.fd);
    }
    return result;
}

int gabion_server_new(const char *interface, const char *description, gabion_server **server)
{
    gabion_server *made = calloc(1, sizeof *made);
    *server = NULL;
    if (made == NULL)
        return -ENOMEM;
    made->interface = interface;
    made->description = description;
    wire_init(&made->router);
    made->epoll = epoll_create1(EPOLL_CLOEXEC);
    int result = made->epoll < 0 ? -errno : find_router(made);
    if (result < 0)
        gabion_server_free(made);
    else
        *server = made;
    return result;
}

void gabion_server_free(gabion_server *server)
{
    if (server == NULL)
        return;
    while (server->count > 0)
        drop(server, server->clients[0]);
    wire_close(&server->router);
    if (server->epoll >= 0)
        close(server->epoll);
    free(server);
}

int gabion_server_fd(const gabion_server *server)
{
    return server->epoll;
}

/* ------------------------------------------------------------------------------------------------------------- answers */

static int answer_to(gabion_server *server, struct client *client, const char *error, const char *parameters,
                     bool continues)
{
    struct text message = {0};
    if (client == NULL)
        return -ECONNRESET;
    if (continues && !client->more)
        return -EINVAL;
    if (!continues && client == server->caller)
        server->caller = NULL;
    if (!continues && client->kept) {
        client->kept = false;
        watch(server, client->wire.fd);
    }
    if (client->oneway)
        return 0;
    text_str(&message, "{");
    if (error != NULL) {
        text_str(&message, "\"error\":");
        text_quoted(&message, error);
        text_str(&message, ",");
    }
    text_str(&message, "\"parameters\":");
    text_str(&message, parameters == NULL ? "{}" : parameters);
    text_str(&message, continues ? ",\"continues\":true}" : "}");
    int result = message.failed ? -ENOMEM
                                : wire_send(&client->wire, message.bytes, message.length + 1, until_ms(UNREAD_MS));
    text_free(&message);
    if (result < 0)
        drop(server, client);
    return result;
}

static int answer(gabion_server *server, const char *error, const char *parameters, bool continues)
{
    return answer_to(server, server->caller, error, parameters, continues);
}

static struct client *kept_one(gabion_server *server, uint64_t connection)
{
    for (size_t i = 0; i < server->count; i++)
        if (server->clients[i]->serial == connection && server->clients[i]->kept)
            return server->clients[i];
    return NULL;
}

int gabion_server_reply(gabion_server *server, const char *parameters)
{
    return answer(server, NULL, parameters, false);
}

int gabion_server_push(gabion_server *server, const char *parameters)
{
    return answer(server, NULL, parameters, true);
}

int gabion_server_later(gabion_server *server)
{
    struct client *client = server->caller;
    if (client == NULL)
        return -ECONNRESET;
    server->caller = NULL;
    client->kept = true;
    /* Else its end, or its next call, would be told again and again. */
    (void)epoll_ctl(server->epoll, EPOLL_CTL_DEL, client->wire.fd, NULL);
    return 0;
}

int gabion_server_push_to(gabion_server *server, uint64_t connection, const char *parameters)
{
    return answer_to(server, kept_one(server, connection), NULL, parameters, true);
}

int gabion_server_finish(gabion_server *server, uint64_t connection, const char *parameters)
{
    return answer_to(server, kept_one(server, connection), NULL, parameters, false);
}

int gabion_server_fail(gabion_server *server, const char *error, const char *parameters)
{
    return answer(server, error, parameters, false);
}

/* An error of org.varlink.service with one parameter. */
static void service_error(gabion_server *server, const char *error, const char *name, const char *value, const char *line)
{
    struct text whole = {0}, parameters = {0};
    text_str(&whole, "org.varlink.service.");
    text_str(&whole, error);
    text_str(&parameters, "{\"");
    text_str(&parameters, name);
    text_str(&parameters, "\":");
    text_quoted(&parameters, value);
    if (line != NULL) {
        text_str(&parameters, ",\"manifest_line\":");
        text_quoted(&parameters, line);
    }
    text_str(&parameters, "}");
    if (!whole.failed && !parameters.failed)
        (void)answer(server, whole.bytes, parameters.bytes, false);
    text_free(&whole);
    text_free(&parameters);
}

/* --------------------------------------------------------------------------------------------- org.varlink.service */

static void tell_info(gabion_server *server)
{
    char parameters[512];
    snprintf(parameters, sizeof parameters,
             "{\"vendor\":\"\",\"product\":\"\",\"version\":\"\",\"url\":\"\","
             "\"interfaces\":[\"org.varlink.service\",\"%s\"]}", server->interface);
    (void)answer(server, NULL, parameters, false);
}

static void tell_description(gabion_server *server, const gabion_json *parameters)
{
    const char *wanted = gabion_json_text(gabion_json_member(parameters, "interface"));
    struct text reply = {0};
    if (wanted == NULL) {
        service_error(server, "InvalidParameter", "parameter", "interface", NULL);
    } else if (strcmp(wanted, server->interface) != 0) {
        service_error(server, "InterfaceNotFound", "interface", wanted, NULL);
    } else {
        text_str(&reply, "{\"description\":");
        text_quoted(&reply, server->description);
        text_str(&reply, "}");
        (void)answer(server, NULL, reply.failed ? NULL : reply.bytes, false);
        text_free(&reply);
    }
}

/* ------------------------------------------------------------------------------------------------------------- a call */

/* Whether the interface has the method: a line "method NAME(". */
static bool has_method(const char *description, const char *method)
{
    size_t length = strlen(method);
    for (const char *at = description; (at = strstr(at, "method ")) != NULL; at += 7) {
        bool begins = at == description || at[-1] == '\n';
        if (begins && strncmp(at + 7, method, length) == 0 && (at[7 + length] == '(' || at[7 + length] == ' '))
            return true;
    }
    return false;
}

static bool is_granted(const struct client *client, const char *method)
{
    const gabion_json *methods = gabion_json_member(client->grant.values, "methods");
    for (size_t i = 0; i < gabion_json_count(methods); i++) {
        const char *name = gabion_json_text(gabion_json_element(methods, i));
        if (name != NULL && strcmp(name, method) == 0)
            return true;
    }
    return false;
}

/* Reads a call; false when it is none. */
static bool is_call(struct client *client, const char **method, const gabion_json **parameters)
{
    const gabion_json *message = client->call.values;
    static const char *const known[] = {"method", "parameters", "oneway", "more", "upgrade"};
    size_t there = 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const gabion_json *member = gabion_json_member(message, known[i]);
        there += member != NULL;
        if (i > 1 && gabion_json_kind(member) != GABION_JSON_NULL && gabion_json_kind(member) != GABION_JSON_BOOL)
            return false;
    }
    *method = gabion_json_text(gabion_json_member(message, "method"));
    *parameters = gabion_json_member(message, "parameters");
    if (gabion_json_kind(*parameters) == GABION_JSON_NULL)
        *parameters = NULL;
    client->oneway = gabion_json_bool(gabion_json_member(message, "oneway"), false);
    client->more = gabion_json_bool(gabion_json_member(message, "more"), false);
    return gabion_json_kind(message) == GABION_JSON_OBJECT && there == gabion_json_count(message) && *method != NULL
           && (*parameters == NULL || gabion_json_kind(*parameters) == GABION_JSON_OBJECT)
           && !(client->oneway && client->more)
           && !gabion_json_bool(gabion_json_member(message, "upgrade"), false);
}

/* Answers what the library answers; whether the call is for the app. */
static bool is_for_app(gabion_server *server, struct client *client, const char *method, const gabion_json *parameters)
{
    size_t length = strlen(server->interface);
    if (strcmp(method, "org.varlink.service.GetInfo") == 0) {
        tell_info(server);
    } else if (strcmp(method, "org.varlink.service.GetInterfaceDescription") == 0) {
        tell_description(server, parameters);
    } else if (strncmp(method, server->interface, length) != 0 || method[length] != '.') {
        const char *dot = strrchr(method, '.');
        char interface[128] = "";
        if (dot != NULL)
            snprintf(interface, sizeof interface, "%.*s", (int)(dot - method), method);
        service_error(server, "InterfaceNotFound", "interface", interface, NULL);
    } else if (!has_method(server->description, method + length + 1)
               || strlen(method + length + 1) >= sizeof server->method) {
        service_error(server, "MethodNotFound", "method", method, NULL);
    } else if (!is_granted(client, method + length + 1)) {
        char line[256];
        snprintf(line, sizeof line, "[uses] \"%s\" = [\"%s\"]", server->interface, method + length + 1);
        report(server, "refused", client->serial, method + length + 1);
        service_error(server, "PermissionDenied", "method", method, line);
    } else {
        strcpy(server->method, method + length + 1);
        return true;
    }
    return false;
}

/* The next call of this caller that is for the app; false when it has none now. It may be gone after that. */
static bool next_of(gabion_server *server, struct client *client, struct gabion_incoming *call)
{
    const gabion_json *parameters;
    const char *method;
    char *message;
    size_t length;
    if (client->kept)
        return false;
    int result = wire_receive(&client->wire, client->message_max, now_ms(), &message, &length);
    if (result == -ETIMEDOUT)
        return false;
    if (result == 0 && client->wire.fd_count > 0)
        result = -EBADMSG;
    if (result == 0)
        result = json_read(&client->call, message, length);
    if (result < 0 || !is_call(client, &method, &parameters)) {
        if (result != -ECONNRESET)
            report(server, "dropped", client->serial, result == -EMSGSIZE ? "too-long" : "malformed");
        drop(server, client);
        return false;
    }
    server->caller = client;
    if (!is_for_app(server, client, method, parameters))
        return false;
    if (server->monitored)
        report(server, "called", client->serial, server->method);
    call->app = gabion_json_text(gabion_json_member(client->grant.values, "app"));
    call->method = server->method;
    call->parameters = parameters;
    call->more = client->more;
    call->oneway = client->oneway;
    call->connection = client->serial;
    if (call->app == NULL)
        call->app = "";
    return true;
}

/* Everybody in turn; each may have something. */
static bool next_of_all(gabion_server *server, struct gabion_incoming *call)
{
    for (size_t left = server->count; left > 0 && server->count > 0; left--) {
        server->turn = (server->turn + 1) % server->count;
        if (next_of(server, server->clients[server->turn], call))
            return true;
    }
    return false;
}

/* Whether somebody has sent more than was looked at. */
static bool some_is_held(const gabion_server *server)
{
    for (size_t i = 0; i < server->count; i++) {
        const struct wire *wire = &server->clients[i]->wire;
        if (!server->clients[i]->kept && wire->end > wire->start && memchr(wire->buffer + wire->start, '\0', wire->end - wire->start) != NULL)
            return true;
    }
    return false;
}

int gabion_server_next(gabion_server *server, struct gabion_incoming *call, int milliseconds)
{
    int64_t until = until_ms(milliseconds);
    if (server->caller != NULL)
        service_error(server, "MethodNotImplemented", "method", server->method, NULL);
    for (;;) {
        bool away = find_router(server) < 0;
        hear_router(server);
        if (next_of_all(server, call))
            return 0;
        if (some_is_held(server) || (server->router.fd < 0 && !away))
            continue;
        int64_t wait = until;
        if (away && (until < 0 || until > now_ms() + RETRY_MS))
            wait = now_ms() + RETRY_MS;
        int result = wait_for(server->epoll, POLLIN, wait);
        if (result < 0 && (result != -ETIMEDOUT || wait == until))
            return result;
    }
}
