/* gabion.h: what an app on a Gabion device uses of the system, in C.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * C11 and libc, nothing else. Link with `pkg-config --cflags --libs gabion`, or compile the files of src/ into the program.
 *
 *     gabion *g = gabion_new();
 *     struct gabion_device_info info;
 *     int r = gabion_device_get_info(g, &info);
 *     if (r < 0)
 *         fprintf(stderr, "%s: %s\n", gabion_strerror(r), gabion_error_text(g));
 *     else
 *         printf("%s %s on %s\n", info.os, info.os_version, info.board);
 *     gabion_free(g);
 *
 * What holds everywhere:
 *
 *   * A function that can fail gives 0 (or more) when it did not, and a negative errno when it did:
 *
 *         -ENOENT       the manifest names no method of the interface below [uses], so that there is no such socket
 *         -EACCES       the manifest does not name this method; gabion_error_text() is the line that would
 *         -EREMOTEIO    the other side answered with another error: gabion_error_name(), gabion_error_text()
 *         -ECONNRESET   the other side ended the connection before it answered: nobody knows whether the call was made
 *         -ETIMEDOUT    the time of gabion_set_timeout() was over
 *         -EBADMSG      what came is no answer
 *         -EMSGSIZE     an answer of more than GABION_REPLY_MAX bytes
 *         -ENOMEM, -EINVAL, and what the socket fails with
 *
 *   * What an answer points to (texts, lists) belongs to the handle and lasts until the next call with that handle; of a
 *     stream, until its next reply. Copy what is to be kept.
 *   * Text that may be absent is NULL when it is.
 *   * A connection that is found closed is made anew, since servers may be started anew at any time.
 *   * A handle is used by one thread at a time; threads may have one each. Descriptors are close-on-exec. No signal is
 *     raised.
 *   * Times are microseconds since 1970-01-01 UTC where a name ends in `_us`, unless it says otherwise.
 *
 * Outside a box, for tests on a developer's machine, GABION_BUS, GABION_SERVE and GABION_DATA name what is /run/bus,
 * /run/serve and /data in one.
 */
#ifndef GABION_H
#define GABION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Longest answer that is read, bytes. */
#define GABION_REPLY_MAX (1024 * 1024)
/* Longest signature of gabion_certificate_sign(), bytes. */
#define GABION_SIGNATURE_MAX 72
/* Length of the digest that it signs, bytes. */
#define GABION_DIGEST_BYTES 32

/* -------------------------------------------------------------------------------------------------- handle and errors */

/* What an app has of the system: a connection for each interface that it has called. */
typedef struct gabion gabion;

/* A handle without connections; each is made at its first call. NULL when there is no memory. */
gabion *gabion_new(void);

/* Ends its connections. NULL is nothing to do. */
void gabion_free(gabion *g);

/* How long a call may take, milliseconds; -1, which is how it begins: as long as it takes. */
void gabion_set_timeout(gabion *g, int milliseconds);

/* What a result means, for people: never NULL, never allocated. */
const char *gabion_strerror(int result);

/* The name of the error that the other side answered the last call with, such as "os.gabion.Update.TooLate"; "" when it
 * did not. */
const char *gabion_error_name(const gabion *g);

/* What there is to say of it, for people: its reason, or the line of the manifest that is missing; may be "". */
const char *gabion_error_text(const gabion *g);

/* Whether the last call failed with this error:
 *
 *     if (gabion_update_defer(g, GABION_APP, 30, NULL) < 0 && gabion_error_is(g, "os.gabion.Update.NothingPending"))
 *         ...
 */
bool gabion_error_is(const gabion *g, const char *name);

/* --------------------------------------------------------------------------------------------------- os.gabion.Device */

/* os.gabion.Device.GetInfo */
struct gabion_device_info {
    const char *os;           /* the system's name */
    const char *os_version;   /* its version */
    const char *board;        /* as the firmware names it, or "unknown" */
    const char *architecture; /* as `uname -m` */
    const char *kernel;       /* as `uname -r` */
    const char *boot_id;      /* 32 hexadecimal digits, others at each boot */
    int64_t uptime_us;        /* since the kernel started; time asleep is counted */
    bool safe_mode;           /* only the system's own boxes run */
    bool developer;           /* a developer's device */
    int64_t memory_bytes;     /* that the kernel can use */
};

/* What this device is: [uses] "os.gabion.Device" = ["GetInfo"]. Example: the one at the top. */
int gabion_device_get_info(gabion *g, struct gabion_device_info *info);

/* ---------------------------------------------------------------------------------------------- os.gabion.Certificate */

/* Some bytes. `data` is NULL when there are none. */
struct gabion_bytes {
    const uint8_t *data;
    size_t length;
};

/* os.gabion.Certificate.GetChain */
struct gabion_chain {
    const struct gabion_bytes *certificates; /* DER; the app's own is the first, the root is left out */
    size_t count;                            /* at least 1 */
    int64_t expires_us;                      /* when the app's own ends */
};

/* The app's certificate: [uses] "os.gabion.Certificate" = ["GetChain"]. It lasts a day: ask again for each connection.
 *
 *     struct gabion_chain chain;
 *     if (gabion_certificate_get_chain(g, &chain) == 0)
 *         use(chain.certificates[0].data, chain.certificates[0].length);
 *
 * Fails with "os.gabion.Certificate.NotIssued" when there is none now.
 */
int gabion_certificate_get_chain(gabion *g, struct gabion_chain *chain);

/* os.gabion.Certificate.GetAuthorities */
struct gabion_authorities {
    const struct gabion_bytes *certificates; /* DER: the catalog's own authority */
    size_t count;
    struct gabion_bytes revoked; /* its list (RFC 5280), DER; without data when there is none yet */
};

/* By which another device's certificate is checked: [uses] "os.gabion.Certificate" = ["GetAuthorities"].
 *
 *     struct gabion_authorities trusted;
 *     if (gabion_certificate_get_authorities(g, &trusted) == 0)
 *         trust(trusted.certificates[0].data, trusted.certificates[0].length);
 */
int gabion_certificate_get_authorities(gabion *g, struct gabion_authorities *authorities);

/* Signs a SHA-256 digest with the key of the app's certificate, which stays in the TPM: ECDSA on P-256; `signature` is the
 * DER sequence of r and s, and `*length` its length. [uses] "os.gabion.Certificate" = ["Sign"].
 *
 *     uint8_t signature[GABION_SIGNATURE_MAX];
 *     size_t length;
 *     if (gabion_certificate_sign(g, digest, signature, &length) == 0)
 *         send(signature, length);
 *
 * This is what a TLS library's callback for a private key needs (mbedtls_pk_setup_opaque, wolfSSL_CTX_SetEccSignCb,
 * an OpenSSL provider). Simpler is to let gabion-tls be the end of the connection: docs/certificates.md.
 */
int gabion_certificate_sign(gabion *g, const uint8_t digest[GABION_DIGEST_BYTES],
                            uint8_t signature[GABION_SIGNATURE_MAX], size_t *length);

/* Proves to somebody else what this device booted and who is calling: [uses] "os.gabion.Certificate" = ["Attest"].
 * `nonce` is theirs, 8 to 32 bytes. `*evidence` becomes a memfd with JSON (os.gabion.Certificate.Attest says what is in it) of `*size` bytes; close it.
 *
 *     int evidence;
 *     size_t size;
 *     if (gabion_certificate_attest(g, nonce, sizeof nonce, &evidence, &size) == 0) {
 *         sendfile(socket, evidence, NULL, size);
 *         close(evidence);
 *     }
 */
int gabion_certificate_attest(gabion *g, const void *nonce, size_t length, int *evidence, size_t *size);

/* --------------------------------------------------------------------------------------------------- os.gabion.Update */

/* What an update replaces. */
enum gabion_target {
    GABION_OS, /* the system: the device boots to apply it */
    GABION_APP /* this app: it is restarted */
};

/* How far an update is. */
enum gabion_update_state {
    GABION_UPDATE_NONE,
    GABION_UPDATE_FETCHING,
    GABION_UPDATE_PENDING,  /* fetched and checked, waits to be applied */
    GABION_UPDATE_DEFERRED, /* waits because somebody put it off */
    GABION_UPDATE_APPLYING,
    GABION_UPDATE_OTHER /* one that this library does not know */
};

/* One update. Times are 0 when there is none. */
struct gabion_update {
    enum gabion_target target;
    const char *running_version;
    const char *coming_version; /* may be NULL */
    enum gabion_update_state state;
    int64_t deferred_until_us;
    int64_t checked_us;
    const char *failure; /* what the last check or update failed with; may be NULL */
};

/* The system's update and this app's. */
struct gabion_updates {
    const struct gabion_update *updates;
    size_t count;
};

/* [uses] "os.gabion.Update" = ["GetStatus"]
 *
 *     struct gabion_updates all;
 *     if (gabion_update_get_status(g, &all) == 0)
 *         for (size_t i = 0; i < all.count; i++)
 *             printf("%s\n", all.updates[i].running_version);
 */
int gabion_update_get_status(gabion *g, struct gabion_updates *all);

/* Looks for updates now and answers when that is done, which may take a while. [uses] "os.gabion.Update" = ["CheckNow"]
 * Fails with "os.gabion.Update.CheckFailed" and ".TooOften". Example: as for gabion_update_get_status(). */
int gabion_update_check_now(gabion *g, struct gabion_updates *all);

/* Puts an update off for so many minutes from now; `until_us` may be NULL. [uses] "os.gabion.Update" = ["Defer"]
 * Fails with "os.gabion.Update.NothingPending", ".TooLong" and ".TooLate".
 *
 *     int64_t until_us;
 *     if (gabion_update_defer(g, GABION_APP, 30, &until_us) == 0)
 *         gabion_log(GABION_INFO, "deferred", "until_us=%lld", (long long)until_us);
 */
int gabion_update_defer(gabion *g, enum gabion_target target, int minutes, int64_t *until_us);

/* Lets what was put off go on at once. [uses] "os.gabion.Update" = ["Resume"]
 *
 *     gabion_update_resume(g, GABION_APP);
 */
int gabion_update_resume(gabion *g, enum gabion_target target);

/* What happens to an update. */
enum gabion_happening {
    GABION_PENDING,  /* it will be applied at `at_us`, unless it is put off */
    GABION_FINAL,    /* it is applied in a few seconds, come what may: save what is to be kept */
    GABION_DEFERRED, /* it was put off until `at_us` */
    GABION_COMPLETE, /* it was applied, and runs */
    GABION_OTHER     /* one that this library does not know */
};

struct gabion_update_event {
    enum gabion_target target;
    enum gabion_happening happening;
    const char *version;
    int64_t at_us; /* 0 when there is none */
};

/* A call that is answered by one reply after another, on a connection of its own. */
typedef struct gabion_stream gabion_stream;

/* Tells what happens to updates from now on. [uses] "os.gabion.Update" = ["Watch"]
 *
 *     gabion_stream *watch;
 *     struct gabion_update_event event;
 *     if (gabion_update_watch(g, &watch) == 0)
 *         while (gabion_update_next(watch, &event, -1) >= 0)
 *             if (event.happening == GABION_PENDING && heating)
 *                 gabion_update_defer(g, event.target, 30, NULL);
 *     gabion_stream_free(watch);
 *
 * In a loop with other descriptors, poll gabion_stream_fd() for POLLIN and then call gabion_update_next() with 0 until it
 * gives -ETIMEDOUT.
 */
int gabion_update_watch(gabion *g, gabion_stream **watch);

/* The next event; waits so many milliseconds for it (-1: as long as it takes), and gives -ETIMEDOUT when there is none. After
 * any other error the stream is over, and what happened in between is not told: watch anew, then gabion_update_get_status(). */
int gabion_update_next(gabion_stream *watch, struct gabion_update_event *event, int milliseconds);

/* ---------------------------------------------------------------------------------------------------- os.gabion.Power */

/* Ends every app and boots again; `reason` is one printable line of at most 120 bytes, for the record. The answer comes before
 * anything is ended. [uses] "os.gabion.Power" = ["Reboot"]. Fails with "os.gabion.Power.Busy".
 *
 *     gabion_power_reboot(g, "the sensor's driver hangs");
 */
int gabion_power_reboot(gabion *g, const char *reason);

/* The same, and switches the power off. [uses] "os.gabion.Power" = ["PowerOff"]
 *
 *     gabion_power_power_off(g, "the battery is low");
 */
int gabion_power_power_off(gabion *g, const char *reason);

/* ----------------------------------------------------------------------------------------------------- os.gabion.Time */

/* Who set the clock. */
enum gabion_time_source {
    GABION_TIME_NONE, /* nobody: it may be wrong by years */
    GABION_TIME_RTC,  /* the board's clock */
    GABION_TIME_FLOOR, /* it was set to the latest time that is known to be over: it is late */
    GABION_TIME_NETWORK,
    GABION_TIME_OTHER /* one that this library does not know */
};

/* os.gabion.Time.GetStatus */
struct gabion_time {
    int64_t realtime_us;
    int64_t monotonic_us; /* CLOCK_MONOTONIC at the same moment */
    enum gabion_time_source source;
    bool synchronised;
    const char *server; /* may be NULL */
    int64_t error_us;   /* how far off it may have been when it was last compared; -1 when it was not */
    bool authenticated; /* the server proved who it is */
    const char *problem; /* may be NULL */
};

/* How far the clock can be trusted. [uses] "os.gabion.Time" = ["GetStatus"]
 *
 *     struct gabion_time now;
 *     if (gabion_time_get_status(g, &now) == 0 && now.synchronised)
 *         stamp(now.realtime_us);
 */
int gabion_time_get_status(gabion *g, struct gabion_time *time);

/* -------------------------------------------------------------------------------------------------- os.gabion.Network */

/* Texts. */
struct gabion_texts {
    const char *const *texts;
    size_t count;
};

/* os.gabion.Network.GetStatus; `reach` is "offline", "link", "local" or "online", `missing` the first of "link", "address",
 * "route", "names", "time" that is not there. */
struct gabion_network {
    const char *reach;
    const char *missing; /* NULL when nothing is */
    const char *reason;  /* what to do about it; may be NULL */
    struct gabion_texts name_servers;
    const char *fault; /* of the configuration; may be NULL */
};

/* How far the network can be used. [uses] "os.gabion.Network" = ["GetStatus"]
 *
 *     struct gabion_network network;
 *     if (gabion_network_get_status(g, &network) == 0 && strcmp(network.reach, "online") == 0)
 *         publish();
 */
int gabion_network_get_status(gabion *g, struct gabion_network *network);

/* os.gabion.Network.Resolve */
struct gabion_addresses {
    struct gabion_texts addresses; /* at least one */
    int64_t ttl_s;                 /* how long they may be used, seconds */
};

/* The addresses of a host that the manifest names below [network] connect; getaddrinfo() works as well.
 * [uses] "os.gabion.Network" = ["Resolve"]. Fails with "os.gabion.Network.HostNotListed" and ".NotResolved".
 *
 *     struct gabion_addresses found;
 *     if (gabion_network_resolve(g, "mqtt.example.com", &found) == 0)
 *         printf("%s\n", found.addresses.texts[0]);
 */
int gabion_network_resolve(gabion *g, const char *host, struct gabion_addresses *found);

/* One network interface; `kind` is "loopback", "ethernet", "wifi", "cellular" or "other". */
struct gabion_link {
    const char *name;
    const char *kind;
    bool up;
    const char *hardware_address; /* may be NULL */
    struct gabion_texts addresses; /* each with the length of its prefix */
    const char *gateway;           /* may be NULL */
};

struct gabion_links {
    const struct gabion_link *links;
    size_t count;
};

/* Every network interface, by name. [uses] "os.gabion.Network" = ["ListInterfaces"]
 *
 *     struct gabion_links all;
 *     if (gabion_network_list_interfaces(g, &all) == 0 && all.count > 0)
 *         printf("%s\n", all.links[0].name);
 */
int gabion_network_list_interfaces(gabion *g, struct gabion_links *all);

/* What one line of the manifest means in the kernel now. */
struct gabion_rule {
    const char *direction;     /* "connect" or "listen" */
    const char *manifest_line; /* NULL for the app's own name server */
    const char *address;       /* NULL for what is served, and for a name that was not looked up lately */
    int port;
    const char *protocol; /* "tcp" or "udp" */
    int64_t expires_s;    /* -1 when it holds as long as the app is installed */
    int64_t attempts, packets, bytes;
};

struct gabion_rules {
    const struct gabion_rule *rules;
    size_t count;
};

/* What this app may reach and serve. [uses] "os.gabion.Network" = ["ListOwnRules"]
 *
 *     struct gabion_rules rules;
 *     if (gabion_network_list_own_rules(g, &rules) == 0 && rules.count == 0)
 *         puts("no network");
 */
int gabion_network_list_own_rules(gabion *g, struct gabion_rules *rules);

/* ---------------------------------------------------------------------------------------------- other apps' interfaces */

/* A value in an answer. Every function below takes NULL for a value that is not there, so that a path needs one check at its
 * end. */
typedef struct gabion_json gabion_json;

enum gabion_json_kind {
    GABION_JSON_NULL,
    GABION_JSON_BOOL,
    GABION_JSON_NUMBER,
    GABION_JSON_TEXT,
    GABION_JSON_ARRAY,
    GABION_JSON_OBJECT
};

/* What it is; GABION_JSON_NULL when it is not there. */
enum gabion_json_kind gabion_json_kind(const gabion_json *value);

/* The member of an object; NULL when there is none of this name. */
const gabion_json *gabion_json_member(const gabion_json *object, const char *name);

/* How many elements an array has, or members an object; 0 for everything else. */
size_t gabion_json_count(const gabion_json *value);

/* The element of an array, or the value of an object's member, from 0; NULL behind the last. */
const gabion_json *gabion_json_element(const gabion_json *value, size_t index);

/* A text, valid UTF-8 without NUL; NULL when it is none. */
const char *gabion_json_text(const gabion_json *value);

/* A whole number; `otherwise` when it is none, or does not fit. */
int64_t gabion_json_int(const gabion_json *value, int64_t otherwise);

/* A number; `otherwise` when it is none. */
double gabion_json_double(const gabion_json *value, double otherwise);

/* A truth; `otherwise` when it is none. */
bool gabion_json_bool(const gabion_json *value, bool otherwise);

/* Writes `text` as a JSON string with its quotes, for parameters, as snprintf() does: gives the length that it has, and cuts when
 * `room` is not more than that. Bytes that are no UTF-8 become U+FFFD.
 *
 *     char parameters[256], room[128];
 *     gabion_json_quote(room, sizeof room, "kitchen");
 *     snprintf(parameters, sizeof parameters, "{\"room\":%s}", room);
 */
size_t gabion_json_quote(char *out, size_t room, const char *text);

/* Calls any method that the manifest names; `parameters` is a JSON object, or NULL for none.
 *
 *     const gabion_json *reply;
 *     int r = gabion_call(g, "com.example.Temperature", "Get", "{\"room\":\"kitchen\"}", &reply);
 *     if (r == 0)
 *         printf("%f\n", gabion_json_double(gabion_json_member(reply, "degrees"), 0.0));
 */
int gabion_call(gabion *g, const char *interface, const char *method, const char *parameters,
                const gabion_json **reply);

/* Calls a method that answers by a stream.
 *
 *     gabion_stream *stream;
 *     if (gabion_more(g, "com.example.Temperature", "Watch", NULL, &stream) == 0) {
 *         const gabion_json *reply;
 *         while (gabion_stream_next(stream, &reply, -1) > 0)
 *             use(reply);
 *         gabion_stream_free(stream);
 *     }
 */
int gabion_more(gabion *g, const char *interface, const char *method, const char *parameters,
                gabion_stream **stream);

/* The next reply: 1 when others follow, 0 when it is the last one. -ETIMEDOUT: none has come in so many milliseconds (-1: as long
 * as it takes). Any other error ends the stream. */
int gabion_stream_next(gabion_stream *stream, const gabion_json **reply, int milliseconds);

/* Is ready to be read when there is something to ask gabion_stream_next() for. A reply may have come together with the one
 * before: ask until -ETIMEDOUT. */
int gabion_stream_fd(const gabion_stream *stream);

/* The error of a stream, as gabion_error_name() and gabion_error_text(). */
const char *gabion_stream_error_name(const gabion_stream *stream);
const char *gabion_stream_error_text(const gabion_stream *stream);

/* Ends it. NULL is nothing to do. */
void gabion_stream_free(gabion_stream *stream);

/* ----------------------------------------------------------------------------------------- an interface for other apps */

/* Serves one interface that the manifest names below [provides]. */
typedef struct gabion_server gabion_server;

/* A call that waits for its answer. */
struct gabion_incoming {
    const char *app;               /* the caller's id, from the system: it can not lie about it */
    const char *method;            /* without the interface's name; granted to the caller */
    const gabion_json *parameters; /* an object, or NULL */
    bool more;                     /* it takes more than one reply */
    bool oneway;                   /* it takes none: still say gabion_server_reply() */
    uint64_t connection;           /* where it came from */
};

/* Begins to serve. `description` is the interface in the varlink language, for who asks; it has to last as long as the server.
 *
 *     gabion_server *server;
 *     struct gabion_incoming call;
 *     if (gabion_server_new("com.example.Temperature", description, &server) == 0)
 *         while (gabion_server_next(server, &call, -1) == 0)
 *             if (strcmp(call.method, "Get") == 0)
 *                 gabion_server_reply(server, "{\"degrees\":20.5}");
 *             else
 *                 gabion_server_fail(server, "org.varlink.service.MethodNotFound", "{\"method\":\"?\"}");
 */
int gabion_server_new(const char *interface, const char *description, gabion_server **server);

/* The next call, in so many milliseconds (-1: as long as it takes); -ETIMEDOUT when there is none. Methods that the caller's
 * manifest does not name, and org.varlink.service, are answered by the library. Each call is to be answered before the next is
 * asked for: one that is not is answered with an error. */
int gabion_server_next(gabion_server *server, struct gabion_incoming *call, int milliseconds);

/* Answers it, with a JSON object, or NULL for an empty one. */
int gabion_server_reply(gabion_server *server, const char *parameters);

/* Answers it with one reply of several: only where the caller asked for `more`. gabion_server_reply() sends the last one. */
int gabion_server_push(gabion_server *server, const char *parameters);

/* Answers it with an error: its name with the interface's, and its parameters as a JSON object, or NULL for none. */
int gabion_server_fail(gabion_server *server, const char *error, const char *parameters);

/* Keeps the call, to be answered later under its `connection`, while other calls are taken; its caller's next one waits for that.
 *
 *     watcher = call.connection;
 *     gabion_server_later(server);
 *     ... and whenever there is something to tell:
 *     if (gabion_server_push_to(server, watcher, "{\"degrees\":20.5}") < 0)
 *         watcher = 0;
 *
 * These two give -ECONNRESET when the caller is gone; gabion_server_finish() sends the last reply. */
int gabion_server_later(gabion_server *server);
int gabion_server_push_to(gabion_server *server, uint64_t connection, const char *parameters);
int gabion_server_finish(gabion_server *server, uint64_t connection, const char *parameters);

/* Is ready to be read when there is something for gabion_server_next(); something may be held already: ask it until
 * -ETIMEDOUT first. */
int gabion_server_fd(const gabion_server *server);

/* Ends it. NULL is nothing to do. */
void gabion_server_free(gabion_server *server);

/* ----------------------------------------------------------------------------------------------- lifecycle: sd_notify */

/* Says that the app is up, for [lifecycle] notify = true. All of these do nothing where nobody listens. */
int gabion_notify_ready(void);

/* Says how it is, in one line, for `gabion ps`.
 *
 *     gabion_notify_status("heating");
 */
int gabion_notify_status(const char *text);

/* Feeds the watchdog of [lifecycle] watchdog. Say it where the app's work is done, not in a thread beside it: what is to be
 * noticed is that the work is not done any more. */
int gabion_notify_watchdog(void);

/* How often to feed it, milliseconds: half of what the manifest says; 0 when there is no watchdog.
 *
 *     int every = gabion_watchdog_ms();
 *     poll(fds, count, every > 0 ? every : -1);
 *     gabion_notify_watchdog();
 */
int gabion_watchdog_ms(void);

/* ------------------------------------------------------------------------------------------------------------- storage */

/* The app's own storage, which survives updates: "/data" in a box that has [resources] storage. */
const char *gabion_storage_path(void);

/* How large it may become and how much of that is free, bytes; either may be NULL.
 *
 *     uint64_t free_bytes;
 *     if (gabion_storage_space(NULL, &free_bytes) == 0 && free_bytes < 4096)
 *         forget_the_oldest();
 */
int gabion_storage_space(uint64_t *total, uint64_t *free_bytes);

/* Writes a file of the storage, its name relative to it, so that after a loss of power it is the old or the new one, whole.
 *
 *     gabion_storage_replace("settings", "21.5\n", 5);
 */
int gabion_storage_replace(const char *name, const void *content, size_t length);

/* Adds to the end of a file of the storage, and is back when it is on the disk.
 *
 *     gabion_storage_append("history", "1700000000 20.5\n", 16);
 */
int gabion_storage_append(const char *name, const void *content, size_t length);

/* ----------------------------------------------------------------------------------------------------------------- log */

/* How much it matters. Warnings and errors go to standard error, which the device shows as such. */
enum gabion_level { GABION_DEBUG, GABION_INFO, GABION_WARN, GABION_ERROR };

/* Writes one line for `gabion logs`, "level=info event=NAME KEY=VALUE ...", whole, at most 4096 bytes. `format` is what comes
 * after the name and may be NULL; a value with spaces is to be quoted by gabion_json_quote().
 *
 *     gabion_log(GABION_INFO, "heating", "degrees=%.1f on=%s", degrees, on ? "true" : "false");
 */
#ifdef __GNUC__
__attribute__((format(printf, 3, 4)))
#endif
void gabion_log(enum gabion_level level, const char *event, const char *format, ...);

#ifdef __cplusplus
}
#endif

#endif
