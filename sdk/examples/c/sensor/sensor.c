/* An app that others ask: it serves com.example.Temperature. In C.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * `sensor FILE` says what is in FILE, which is how Linux shows a thermometer (/sys/bus/iio/devices/...). Without one it makes a
 * temperature up, which rises from 18 to 22 degrees and falls again within a minute.
 */
#include <gabion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How often those that watch are told, milliseconds; and how many may. */
#define TICK_MS 200
#define WATCHERS_MAX 8

/* As in com.example.Temperature.varlink. */
static const char DESCRIPTION[] =
    "interface com.example.Temperature\n"
    "method Get(room: string) -> (degrees: float)\n"
    "method Watch() -> (degrees: float)\n"
    "error NoSuchRoom (room: string)\n";

static double measured(const char *file)
{
    double degrees = 0.0;
    if (file != NULL) {
        FILE *open = fopen(file, "r");
        if (open == NULL || fscanf(open, "%lf", &degrees) != 1)
            gabion_log(GABION_WARN, "no-reading", "errno=%d", errno);
        if (open != NULL)
            fclose(open);
        return degrees;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long second = now.tv_sec % 60;
    return 18.0 + (double)(second < 30 ? second : 60 - second) * 4.0 / 30.0;
}

static void get(gabion_server *server, const struct gabion_incoming *call, const char *file)
{
    char reply[256], room[128];
    const char *wanted = gabion_json_text(gabion_json_member(call->parameters, "room"));
    if (wanted == NULL) {
        gabion_server_fail(server, "org.varlink.service.InvalidParameter", "{\"parameter\":\"room\"}");
    } else if (strcmp(wanted, "kitchen") != 0) {
        gabion_json_quote(room, sizeof room, strlen(wanted) < 20 ? wanted : "that");
        snprintf(reply, sizeof reply, "{\"room\":%s}", room);
        gabion_server_fail(server, "com.example.Temperature.NoSuchRoom", reply);
    } else {
        snprintf(reply, sizeof reply, "{\"degrees\":%.2f}", measured(file));
        gabion_server_reply(server, reply);
    }
}

static void tell(gabion_server *server, uint64_t *watchers, const char *file)
{
    char reply[64];
    snprintf(reply, sizeof reply, "{\"degrees\":%.2f}", measured(file));
    for (size_t i = 0; i < WATCHERS_MAX; i++)
        if (watchers[i] != 0 && gabion_server_push_to(server, watchers[i], reply) < 0)
            watchers[i] = 0;
}

static void watch(gabion_server *server, const struct gabion_incoming *call, uint64_t *watchers)
{
    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        if (watchers[i] == 0) {
            watchers[i] = call->connection;
            gabion_server_later(server);
            return;
        }
    }
    gabion_server_fail(server, "org.varlink.service.MethodNotImplemented", "{\"method\":\"Watch\"}");
}

int main(int count, char **words)
{
    const char *file = count > 1 ? words[1] : NULL;
    uint64_t watchers[WATCHERS_MAX] = {0};
    gabion_server *server;
    struct gabion_incoming call;
    int r = gabion_server_new("com.example.Temperature", DESCRIPTION, &server);
    if (r < 0) {
        gabion_log(GABION_ERROR, "not-served", "errno=%d", -r);
        return 1;
    }
    gabion_log(GABION_INFO, "serves", NULL);
    gabion_notify_ready();
    for (;;) {
        r = gabion_server_next(server, &call, TICK_MS);
        if (r == -ETIMEDOUT)
            tell(server, watchers, file);
        else if (r < 0)
            break;
        else if (strcmp(call.method, "Get") == 0)
            get(server, &call, file);
        else if (!call.more)
            gabion_server_fail(server, "org.varlink.service.ExpectedMore", NULL);
        else
            watch(server, &call, watchers);
    }
    gabion_log(GABION_ERROR, "ends", "errno=%d", -r);
    gabion_server_free(server);
    return 1;
}
