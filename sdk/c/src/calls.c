/* The system's interfaces that an app may be granted.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * An answer that lacks a member, or has one of another type, is -EBADMSG as a whole: nobody gets half of one.
 */
#include "base64.h"
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CERTIFICATE "os.gabion.Certificate"
#define NETWORK "os.gabion.Network"
#define UPDATE "os.gabion.Update"

/* An object that is read member by member. */
struct object {
    gabion *g;
    const gabion_json *json;
    bool wrong;
};

static const char *text_or_null(struct object *o, const char *name)
{
    const gabion_json *member = gabion_json_member(o->json, name);
    const char *text = gabion_json_text(member);
    o->wrong |= text == NULL && gabion_json_kind(member) != GABION_JSON_NULL;
    return text;
}

static const char *text(struct object *o, const char *name)
{
    const char *text = text_or_null(o, name);
    o->wrong |= text == NULL;
    return text;
}

static int64_t whole_or(struct object *o, const char *name, int64_t otherwise)
{
    const gabion_json *member = gabion_json_member(o->json, name);
    if (gabion_json_kind(member) == GABION_JSON_NULL)
        return otherwise;
    o->wrong |= gabion_json_kind(member) != GABION_JSON_NUMBER || !member->whole;
    return gabion_json_int(member, otherwise);
}

static int64_t whole(struct object *o, const char *name)
{
    o->wrong |= gabion_json_kind(gabion_json_member(o->json, name)) == GABION_JSON_NULL;
    return whole_or(o, name, 0);
}

static bool truth(struct object *o, const char *name)
{
    const gabion_json *member = gabion_json_member(o->json, name);
    o->wrong |= gabion_json_kind(member) != GABION_JSON_BOOL;
    return gabion_json_bool(member, false);
}

/* Which of `names`, which end with NULL, a text is; their number when it is none. */
static int one_of(struct object *o, const char *name, const char *const *names)
{
    const char *said = text(o, name);
    int i = 0;
    while (names[i] != NULL && said != NULL && strcmp(said, names[i]) != 0)
        i++;
    return i;
}

static const gabion_json *list(struct object *o, const char *name)
{
    const gabion_json *member = gabion_json_member(o->json, name);
    o->wrong |= gabion_json_kind(member) != GABION_JSON_ARRAY;
    return member;
}

static struct gabion_texts texts(struct object *o, const char *name)
{
    const gabion_json *all = list(o, name);
    size_t count = o->wrong ? 0 : gabion_json_count(all);
    const char **texts = keep(o->g, count, sizeof *texts);
    o->wrong |= texts == NULL;
    for (size_t i = 0; i < count && texts != NULL; i++) {
        texts[i] = gabion_json_text(gabion_json_element(all, i));
        o->wrong |= texts[i] == NULL;
    }
    return (struct gabion_texts){texts, count};
}

static struct gabion_bytes bytes(struct object *o, const char *base64)
{
    size_t room = strlen(base64) / 4 * 3;
    uint8_t *data = keep(o->g, room, 1);
    long length = data == NULL ? -1 : base64_decode(data, room, base64);
    o->wrong |= length < 0;
    return (struct gabion_bytes){data, length < 0 ? 0 : (size_t)length};
}

static const struct gabion_bytes *certificates(struct object *o, size_t *count)
{
    struct gabion_texts all = texts(o, "certificates");
    struct gabion_bytes *made = keep(o->g, all.count, sizeof *made);
    o->wrong |= made == NULL || all.count == 0;
    for (size_t i = 0; i < all.count && !o->wrong; i++)
        made[i] = bytes(o, all.texts[i]);
    *count = all.count;
    return made;
}

static int done(const struct object *o)
{
    return o->wrong ? -EBADMSG : 0;
}

/* ------------------------------------------------------------------------------------------------------------- Device */

int gabion_device_get_info(gabion *g, struct gabion_device_info *info)
{
    static const char *const modes[] = {"normal", NULL};
    struct object o = {.g = g};
    int result = call_again(g, "os.gabion.Device", "GetInfo", NULL, &o.json);
    if (result < 0)
        return result;
    info->os = text(&o, "os");
    info->os_version = text(&o, "os_version");
    info->board = text(&o, "board");
    info->architecture = text(&o, "architecture");
    info->kernel = text(&o, "kernel");
    info->boot_id = text(&o, "boot_id");
    info->uptime_us = whole(&o, "uptime_us");
    info->safe_mode = one_of(&o, "mode", modes) != 0;
    info->developer = truth(&o, "developer");
    info->memory_bytes = whole(&o, "memory_bytes");
    return done(&o);
}

/* -------------------------------------------------------------------------------------------------------- Certificate */

int gabion_certificate_get_chain(gabion *g, struct gabion_chain *chain)
{
    struct object o = {.g = g};
    int result = call_again(g, CERTIFICATE, "GetChain", NULL, &o.json);
    if (result < 0)
        return result;
    chain->certificates = certificates(&o, &chain->count);
    chain->expires_us = whole(&o, "expires_us");
    return done(&o);
}

int gabion_certificate_get_authorities(gabion *g, struct gabion_authorities *authorities)
{
    struct object o = {.g = g};
    int result = call_again(g, CERTIFICATE, "GetAuthorities", NULL, &o.json);
    if (result < 0)
        return result;
    authorities->certificates = certificates(&o, &authorities->count);
    const char *revoked = text_or_null(&o, "revoked");
    authorities->revoked = revoked == NULL ? (struct gabion_bytes){NULL, 0} : bytes(&o, revoked);
    return done(&o);
}

int gabion_certificate_sign(gabion *g, const uint8_t digest[GABION_DIGEST_BYTES],
                            uint8_t signature[GABION_SIGNATURE_MAX], size_t *length)
{
    char encoded[BASE64_ROOM(GABION_DIGEST_BYTES)], parameters[128];
    struct object o = {.g = g};
    base64_encode(encoded, digest, GABION_DIGEST_BYTES);
    snprintf(parameters, sizeof parameters, "{\"digest\":\"%s\",\"algorithm\":\"ecdsa-p256-sha256\"}", encoded);
    int result = call_again(g, CERTIFICATE, "Sign", parameters, &o.json);
    if (result < 0)
        return result;
    const char *said = text(&o, "signature");
    long got = said == NULL ? -1 : base64_decode(signature, GABION_SIGNATURE_MAX, said);
    if (got < 0)
        return -EBADMSG;
    *length = (size_t)got;
    return 0;
}

int gabion_certificate_attest(gabion *g, const void *nonce, size_t length, int *evidence, size_t *size)
{
    char encoded[BASE64_ROOM(64)], parameters[128];
    struct object o = {.g = g};
    if (length > 64)
        return -EINVAL;
    base64_encode(encoded, nonce, length);
    snprintf(parameters, sizeof parameters, "{\"nonce\":\"%s\"}", encoded);
    int result = call_again(g, CERTIFICATE, "Attest", parameters, &o.json);
    if (result < 0)
        return result;
    int64_t bytes = whole(&o, "size_bytes");
    int fd = take_fd(g, CERTIFICATE, whole(&o, "evidence"));
    if (o.wrong || fd < 0 || bytes < 0) {
        if (fd >= 0)
            close(fd);
        return -EBADMSG;
    }
    *evidence = fd;
    *size = (size_t)bytes;
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------- Update */

static const char *const TARGETS[] = {"os", "app", NULL};

static struct gabion_update update_of(gabion *g, const gabion_json *json, bool *wrong)
{
    static const char *const states[] = {"none", "fetching", "pending", "deferred", "applying", NULL};
    struct object o = {.g = g, .json = json};
    struct gabion_update update = {
        .target = one_of(&o, "target", TARGETS) == 0 ? GABION_OS : GABION_APP,
        .running_version = text(&o, "running_version"),
        .coming_version = text_or_null(&o, "coming_version"),
        .state = (enum gabion_update_state)one_of(&o, "state", states),
        .deferred_until_us = whole_or(&o, "deferred_until_us", 0),
        .checked_us = whole_or(&o, "checked_us", 0),
        .failure = text_or_null(&o, "failure"),
    };
    *wrong |= o.wrong;
    return update;
}

static int updates(gabion *g, const char *method, struct gabion_updates *all)
{
    struct object o = {.g = g};
    int result = call_again(g, UPDATE, method, NULL, &o.json);
    if (result < 0)
        return result;
    const gabion_json *found = list(&o, "updates");
    all->count = gabion_json_count(found);
    struct gabion_update *made = keep(g, all->count, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < all->count; i++)
        made[i] = update_of(g, gabion_json_element(found, i), &o.wrong);
    all->updates = made;
    return done(&o);
}

int gabion_update_get_status(gabion *g, struct gabion_updates *all)
{
    return updates(g, "GetStatus", all);
}

int gabion_update_check_now(gabion *g, struct gabion_updates *all)
{
    return updates(g, "CheckNow", all);
}

static const char *target_text(enum gabion_target target)
{
    return TARGETS[target == GABION_OS ? 0 : 1];
}

int gabion_update_defer(gabion *g, enum gabion_target target, int minutes, int64_t *until_us)
{
    char parameters[96];
    struct object o = {.g = g};
    snprintf(parameters, sizeof parameters, "{\"target\":\"%s\",\"minutes\":%d}", target_text(target), minutes);
    int result = call_again(g, UPDATE, "Defer", parameters, &o.json);
    if (result < 0)
        return result;
    int64_t until = whole(&o, "until_us");
    if (until_us != NULL)
        *until_us = until;
    return done(&o);
}

int gabion_update_resume(gabion *g, enum gabion_target target)
{
    char parameters[64];
    snprintf(parameters, sizeof parameters, "{\"target\":\"%s\"}", target_text(target));
    return call_again(g, UPDATE, "Resume", parameters, NULL);
}

int gabion_update_watch(gabion *g, gabion_stream **watch)
{
    return gabion_more(g, UPDATE, "Watch", NULL, watch);
}

int gabion_update_next(gabion_stream *watch, struct gabion_update_event *event, int milliseconds)
{
    static const char *const happenings[] = {"pending", "final", "deferred", "complete", NULL};
    struct object o = {0};
    int result = gabion_stream_next(watch, &o.json, milliseconds);
    if (result < 0)
        return result;
    event->target = one_of(&o, "target", TARGETS) == 0 ? GABION_OS : GABION_APP;
    event->happening = (enum gabion_happening)one_of(&o, "happening", happenings);
    event->version = text(&o, "version");
    event->at_us = whole_or(&o, "at_us", 0);
    return done(&o);
}

/* -------------------------------------------------------------------------------------------------------------- Power */

static int power(gabion *g, const char *method, const char *reason)
{
    struct text parameters = {0};
    text_str(&parameters, "{\"reason\":");
    text_quoted(&parameters, reason);
    text_str(&parameters, "}");
    int result = parameters.failed ? -ENOMEM : gabion_call(g, "os.gabion.Power", method, parameters.bytes, NULL);
    text_free(&parameters);
    return result;
}

int gabion_power_reboot(gabion *g, const char *reason)
{
    return power(g, "Reboot", reason);
}

int gabion_power_power_off(gabion *g, const char *reason)
{
    return power(g, "PowerOff", reason);
}

/* --------------------------------------------------------------------------------------------------------------- Time */

int gabion_time_get_status(gabion *g, struct gabion_time *time)
{
    static const char *const sources[] = {"none", "rtc", "floor", "network", NULL};
    struct object o = {.g = g};
    int result = call_again(g, "os.gabion.Time", "GetStatus", NULL, &o.json);
    if (result < 0)
        return result;
    time->realtime_us = whole(&o, "realtime_us");
    time->monotonic_us = whole(&o, "monotonic_us");
    time->source = (enum gabion_time_source)one_of(&o, "source", sources);
    time->synchronised = truth(&o, "synchronised");
    time->server = text_or_null(&o, "server");
    time->error_us = whole_or(&o, "error_us", -1);
    time->authenticated = truth(&o, "authenticated");
    time->problem = text_or_null(&o, "problem");
    return done(&o);
}

/* ------------------------------------------------------------------------------------------------------------ Network */

int gabion_network_get_status(gabion *g, struct gabion_network *network)
{
    struct object o = {.g = g};
    int result = call_again(g, NETWORK, "GetStatus", NULL, &o.json);
    if (result < 0)
        return result;
    network->reach = text(&o, "reach");
    network->missing = text_or_null(&o, "missing");
    network->reason = text_or_null(&o, "reason");
    network->name_servers = texts(&o, "name_servers");
    network->fault = text_or_null(&o, "fault");
    return done(&o);
}

int gabion_network_resolve(gabion *g, const char *host, struct gabion_addresses *found)
{
    struct text parameters = {0};
    struct object o = {.g = g};
    text_str(&parameters, "{\"host\":");
    text_quoted(&parameters, host);
    text_str(&parameters, "}");
    int result = parameters.failed ? -ENOMEM : call_again(g, NETWORK, "Resolve", parameters.bytes, &o.json);
    text_free(&parameters);
    if (result < 0)
        return result;
    found->addresses = texts(&o, "addresses");
    found->ttl_s = whole(&o, "ttl_s");
    o.wrong |= found->addresses.count == 0;
    return done(&o);
}

int gabion_network_list_interfaces(gabion *g, struct gabion_links *all)
{
    struct object o = {.g = g};
    int result = call_again(g, NETWORK, "ListInterfaces", NULL, &o.json);
    if (result < 0)
        return result;
    const gabion_json *found = list(&o, "interfaces");
    all->count = gabion_json_count(found);
    struct gabion_link *made = keep(g, all->count, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < all->count; i++) {
        struct object link = {.g = g, .json = gabion_json_element(found, i)};
        made[i].name = text(&link, "name");
        made[i].kind = text(&link, "kind");
        made[i].up = truth(&link, "up");
        made[i].hardware_address = text_or_null(&link, "hardware_address");
        made[i].addresses = texts(&link, "addresses");
        made[i].gateway = text_or_null(&link, "gateway");
        o.wrong |= link.wrong;
    }
    all->links = made;
    return done(&o);
}

int gabion_network_list_own_rules(gabion *g, struct gabion_rules *rules)
{
    struct object o = {.g = g};
    int result = call_again(g, NETWORK, "ListOwnRules", NULL, &o.json);
    if (result < 0)
        return result;
    const gabion_json *found = list(&o, "rules");
    rules->count = gabion_json_count(found);
    struct gabion_rule *made = keep(g, rules->count, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < rules->count; i++) {
        struct object rule = {.g = g, .json = gabion_json_element(found, i)};
        made[i].direction = text(&rule, "direction");
        made[i].manifest_line = text_or_null(&rule, "manifest_line");
        made[i].address = text_or_null(&rule, "address");
        made[i].port = (int)whole(&rule, "port");
        made[i].protocol = text(&rule, "protocol");
        made[i].expires_s = whole_or(&rule, "expires_s", -1);
        made[i].attempts = whole(&rule, "attempts");
        made[i].packets = whole(&rule, "packets");
        made[i].bytes = whole(&rule, "bytes");
        o.wrong |= rule.wrong;
    }
    rules->rules = made;
    return done(&o);
}
