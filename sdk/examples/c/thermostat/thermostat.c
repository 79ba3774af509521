/* A thermostat, in C: it asks a sensor, keeps a history, publishes by MQTT, and puts its update off while it heats.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * `thermostat PORT`: where gabion-tls listens in this box, which is what the broker sees. The same in Rust and Python is beside this; docs/sdk.md
 * goes through all three.
 */
#include "mqtt.h"

#include <gabion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TOPIC "home/kitchen/c"
/* It heats from this, up to that, degrees Celsius. */
#define COLD 20.0
#define WARM 21.0
/* How long an update is put off, minutes; it is let go as soon as it is warm. */
#define DEFER_MINUTES 30
/* Between two readings, milliseconds. */
#define TICK_MS 1000
/* How long a broker that could not be reached is left alone, seconds. */
#define AGAIN_S 10
/* The history is halved when it is larger, bytes. */
#define HISTORY_MAX (64 * 1024)

struct thermostat {
    gabion *g;
    gabion_stream *watch;
    uint16_t port;
    int broker_fd;
    time_t again_at;
    bool heating, pending, deferred, ready;
    double degrees;
};

static void complain(const struct thermostat *t, const char *event, int r)
{
    char why[300];
    const char *text = gabion_error_text(t->g);
    gabion_json_quote(why, sizeof why, text[0] != '\0' ? text : gabion_strerror(r));
    gabion_log(GABION_WARN, event, "why=%s", why);
}

/* ------------------------------------------------------------------------------------------------------------- sensor */

static bool read_sensor(struct thermostat *t)
{
    const gabion_json *reply;
    int r = gabion_call(t->g, "com.example.Temperature", "Get", "{\"room\":\"kitchen\"}", &reply);
    if (r < 0) {
        complain(t, "no-reading", r);
        return false;
    }
    t->degrees = gabion_json_double(gabion_json_member(reply, "degrees"), WARM);
    return true;
}

/* ------------------------------------------------------------------------------------------------------------ updates */

/* What is pending waits while it heats, and no longer. */
static void settle_update(struct thermostat *t)
{
    if (t->pending && t->heating && !t->deferred) {
        int r = gabion_update_defer(t->g, GABION_APP, DEFER_MINUTES, NULL);
        t->deferred = r == 0;
        if (r == 0)
            gabion_log(GABION_INFO, "update-deferred", "minutes=%d", DEFER_MINUTES);
        else
            complain(t, "update-not-deferred", r);
    } else if (t->deferred && !t->heating) {
        int r = gabion_update_resume(t->g, GABION_APP);
        t->deferred = r < 0;
        gabion_log(GABION_INFO, "update-resumed", NULL);
    }
}

static void hear_updates(struct thermostat *t, int milliseconds)
{
    struct gabion_update_event event;
    int r = t->watch == NULL ? gabion_update_watch(t->g, &t->watch) : 0;
    if (r == 0)
        r = gabion_update_next(t->watch, &event, milliseconds);
    if (r == -ETIMEDOUT)
        return;
    if (r < 0) {
        /* Who serves it was started anew, perhaps; it is watched again in a moment. */
        complain(t, "updates-not-watched", r);
        gabion_stream_free(t->watch);
        t->watch = NULL;
        usleep((useconds_t)milliseconds * 1000);
        return;
    }
    if (event.target == GABION_APP && event.happening != GABION_DEFERRED)
        t->pending = event.happening == GABION_PENDING;
    if (event.target == GABION_APP && event.happening == GABION_COMPLETE)
        t->deferred = false;
    gabion_log(GABION_INFO, "update", "version=%s happening=%d", event.version, (int)event.happening);
    settle_update(t);
}

/* ------------------------------------------------------------------------------------------------------------ history */

/* Leaves the newer half. */
static int halve(const char *path, size_t size)
{
    FILE *file = fopen(path, "r");
    char *content = malloc(size);
    size_t there = file == NULL || content == NULL ? 0 : fread(content, 1, size, file);
    if (file != NULL)
        fclose(file);
    char *from = there == 0 ? NULL : memchr(content + there / 2, '\n', there - there / 2);
    int r = from == NULL ? -EIO : gabion_storage_replace("history", from + 1, (size_t)(content + there - from - 1));
    free(content);
    return r;
}

static void keep_history(struct thermostat *t)
{
    char line[64], path[256];
    struct stat there;
    int length = snprintf(line, sizeof line, "%lld %.2f %s\n", (long long)time(NULL), t->degrees, t->heating ? "on" : "off");
    int r = gabion_storage_append("history", line, (size_t)length);
    snprintf(path, sizeof path, "%s/history", gabion_storage_path());
    if (r == 0 && stat(path, &there) == 0 && there.st_size > HISTORY_MAX)
        r = halve(path, (size_t)there.st_size);
    if (r < 0)
        complain(t, "history-not-kept", r);
}

/* --------------------------------------------------------------------------------------------------------------- MQTT */

static time_t uptime_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void publish(struct thermostat *t)
{
    char message[64];
    if (t->broker_fd < 0 && uptime_s() < t->again_at)
        return;
    snprintf(message, sizeof message, "{\"degrees\":%.2f,\"heating\":%s}", t->degrees, t->heating ? "true" : "false");
    if (t->broker_fd < 0)
        t->broker_fd = mqtt_connect(t->port);
    int r = t->broker_fd < 0 ? t->broker_fd : mqtt_publish(t->broker_fd, TOPIC, message);
    if (r == 0)
        return;
    gabion_log(GABION_WARN, "not-published", "errno=%d", -r);
    if (t->broker_fd >= 0)
        close(t->broker_fd);
    t->broker_fd = -1;
    t->again_at = uptime_s() + AGAIN_S;
}

/* --------------------------------------------------------------------------------------------------------------- loop */

static void turn(struct thermostat *t)
{
    if (!read_sensor(t))
        return;
    bool before = t->heating;
    t->heating = t->degrees < (t->heating ? WARM : COLD);
    if (t->heating != before || !t->ready) {
        gabion_log(GABION_INFO, "heating", "on=%s degrees=%.2f", t->heating ? "true" : "false", t->degrees);
        gabion_notify_status(t->heating ? "heating" : "warm enough");
        settle_update(t);
    }
    keep_history(t);
    publish(t);
    if (!t->ready)
        gabion_notify_ready();
    t->ready = true;
    /* Here, where the work is done. */
    gabion_notify_watchdog();
}

int main(int count, char **words)
{
    long port = count > 1 ? strtol(words[1], NULL, 10) : 1884;
    struct thermostat t = {.g = gabion_new(), .port = (uint16_t)port, .broker_fd = -1};
    if (t.g == NULL)
        return 1;
    gabion_set_timeout(t.g, 10000);
    for (;;) {
        turn(&t);
        hear_updates(&t, TICK_MS);
    }
}
