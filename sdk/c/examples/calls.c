/* Every call that an app may be granted, each once, in C: what a test runs against a bus, and what may be copied from.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 *     cc -o calls calls.c $(pkg-config --cflags --libs gabion)
 *
 * Says what each was answered with; ends with 1 when one failed. `calls NAME` makes that one alone; the last two, which end the
 * device's work, are made only when they are named.
 */
#include <gabion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int device(gabion *g)
{
    struct gabion_device_info info;
    int r = gabion_device_get_info(g, &info);
    if (r == 0)
        printf("%s %s on %s, %s, up for %lld s, boot %.8s%s\n", info.os, info.os_version, info.board, info.architecture,
               (long long)(info.uptime_us / 1000000), info.boot_id, info.developer ? ", developer" : "");
    return r;
}

static int chain(gabion *g)
{
    struct gabion_chain chain;
    int r = gabion_certificate_get_chain(g, &chain);
    if (r == 0)
        printf("%zu certificates, the first of %zu bytes, until %lld\n", chain.count, chain.certificates[0].length,
               (long long)chain.expires_us);
    return r;
}

static int authorities(gabion *g)
{
    struct gabion_authorities trusted;
    int r = gabion_certificate_get_authorities(g, &trusted);
    if (r == 0)
        printf("%zu authorities, %s list of what is revoked\n", trusted.count, trusted.revoked.data != NULL ? "a" : "no");
    return r;
}

static int sign(gabion *g)
{
    /* SHA-256 of "", which comes from a TLS library. */
    static const uint8_t digest[GABION_DIGEST_BYTES] = {
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
        0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
    uint8_t signature[GABION_SIGNATURE_MAX];
    size_t length;
    int r = gabion_certificate_sign(g, digest, signature, &length);
    if (r == 0)
        printf("a signature of %zu bytes\n", length);
    return r;
}

static int attest(gabion *g)
{
    int evidence;
    size_t size;
    int r = gabion_certificate_attest(g, "a nonce of theirs", 17, &evidence, &size);
    if (r == 0) {
        char begin[16] = "";
        ssize_t got = pread(evidence, begin, sizeof begin - 1, 0);
        printf("evidence of %zu bytes, which begins with %.*s\n", size, (int)(got > 0 ? got : 0), begin);
        close(evidence);
    }
    return r;
}

static void show(const struct gabion_updates *all)
{
    for (size_t i = 0; i < all->count; i++)
        printf("%s runs %s, %s is coming; ", all->updates[i].target == GABION_OS ? "the system" : "the app",
               all->updates[i].running_version, all->updates[i].coming_version != NULL ? all->updates[i].coming_version : "none");
    printf("%zu in all\n", all->count);
}

static int updates(gabion *g)
{
    struct gabion_updates all;
    int r = gabion_update_get_status(g, &all);
    if (r == 0)
        show(&all);
    return r;
}

static int check(gabion *g)
{
    struct gabion_updates all;
    int r = gabion_update_check_now(g, &all);
    if (r == 0)
        show(&all);
    return r;
}

static int defer(gabion *g)
{
    int64_t until_us;
    int r = gabion_update_defer(g, GABION_APP, 30, &until_us);
    if (r == 0)
        printf("put off until %lld\n", (long long)until_us);
    /* Nothing is coming: that is no failure here. */
    if (r < 0 && gabion_error_is(g, "os.gabion.Update.NothingPending")) {
        puts("nothing is pending");
        return 0;
    }
    return r;
}

static int resume(gabion *g)
{
    int r = gabion_update_resume(g, GABION_APP);
    if (r == 0)
        puts("goes on");
    return r;
}

static int watch(gabion *g)
{
    gabion_stream *watch;
    struct gabion_update_event event;
    int r = gabion_update_watch(g, &watch);
    if (r < 0)
        return r;
    r = gabion_update_next(watch, &event, 200);
    if (r == 0)
        printf("%s at %lld\n", event.version, (long long)event.at_us);
    /* Most of the time there is nothing to tell. */
    if (r == -ETIMEDOUT) {
        puts("nothing happens");
        r = 0;
    }
    gabion_stream_free(watch);
    return r;
}

static int reboot(gabion *g)
{
    int r = gabion_power_reboot(g, "an example: \"calls reboot\"");
    if (r == 0)
        puts("will boot");
    return r;
}

static int power_off(gabion *g)
{
    int r = gabion_power_power_off(g, "an example");
    if (r == 0)
        puts("will switch off");
    return r;
}

static int clock_status(gabion *g)
{
    struct gabion_time now;
    int r = gabion_time_get_status(g, &now);
    if (r == 0)
        printf("%lld, %s by %s, off by at most %lld us\n", (long long)now.realtime_us,
               now.synchronised ? "synchronised" : "not synchronised", now.server != NULL ? now.server : "nobody",
               (long long)now.error_us);
    return r;
}

static int network(gabion *g)
{
    struct gabion_network network;
    int r = gabion_network_get_status(g, &network);
    if (r == 0)
        printf("%s, %s is missing, %zu name servers\n", network.reach, network.missing != NULL ? network.missing : "nothing",
               network.name_servers.count);
    return r;
}

static int resolve(gabion *g)
{
    struct gabion_addresses found;
    int r = gabion_network_resolve(g, "mqtt.example.com", &found);
    if (r == 0)
        printf("%s, for %lld s\n", found.addresses.texts[0], (long long)found.ttl_s);
    return r;
}

static int interfaces(gabion *g)
{
    struct gabion_links all;
    int r = gabion_network_list_interfaces(g, &all);
    for (size_t i = 0; r == 0 && i < all.count; i++)
        printf("%s is %s, %s; ", all.links[i].name, all.links[i].kind, all.links[i].up ? "up" : "down");
    if (r == 0)
        printf("%zu in all\n", all.count);
    return r;
}

static int rules(gabion *g)
{
    struct gabion_rules all;
    int r = gabion_network_list_own_rules(g, &all);
    for (size_t i = 0; r == 0 && i < all.count; i++)
        printf("%s %s:%d/%s; ", all.rules[i].direction, all.rules[i].address != NULL ? all.rules[i].address : "*",
               all.rules[i].port, all.rules[i].protocol);
    if (r == 0)
        printf("%zu in all\n", all.count);
    return r;
}

/* Another app's. */
static int temperature(gabion *g)
{
    const gabion_json *reply;
    int r = gabion_call(g, "com.example.Temperature", "Get", "{\"room\":\"kitchen\"}", &reply);
    if (r == 0)
        printf("%.2f degrees\n", gabion_json_double(gabion_json_member(reply, "degrees"), -1.0));
    return r;
}

static int temperatures(gabion *g)
{
    gabion_stream *stream;
    const gabion_json *reply;
    int r = gabion_more(g, "com.example.Temperature", "Watch", NULL, &stream);
    if (r < 0)
        return r;
    for (int left = 3; left > 0 && (r = gabion_stream_next(stream, &reply, 10000)) >= 0; left--)
        printf("%.2f; ", gabion_json_double(gabion_json_member(reply, "degrees"), -1.0));
    puts("watched");
    gabion_stream_free(stream);
    return r < 0 ? r : 0;
}

static const struct {
    const char *name;
    int (*make)(gabion *);
} CALLS[] = {
    {"device", device},       {"chain", chain},           {"authorities", authorities}, {"sign", sign},
    {"attest", attest},       {"updates", updates},       {"check", check},             {"defer", defer},
    {"resume", resume},       {"watch", watch},           {"time", clock_status},       {"network", network},
    {"resolve", resolve},     {"interfaces", interfaces}, {"rules", rules},             {"temperature", temperature},
    {"temperatures", temperatures}, {"reboot", reboot},   {"power-off", power_off},
};

int main(int count, char **words)
{
    int failed = 0;
    gabion *g = gabion_new();
    if (g == NULL)
        return 1;
    gabion_set_timeout(g, 60000);
    for (size_t i = 0; i < sizeof CALLS / sizeof CALLS[0]; i++) {
        bool ends = CALLS[i].make == reboot || CALLS[i].make == power_off;
        if (count > 1 ? strcmp(words[1], CALLS[i].name) != 0 : ends)
            continue;
        printf("%s: ", CALLS[i].name);
        int r = CALLS[i].make(g);
        if (r < 0)
            printf("FAILED %s (%s %s)\n", gabion_strerror(r), gabion_error_name(g), gabion_error_text(g));
        failed |= r < 0;
        fflush(stdout);
    }
    gabion_free(g);
    return failed;
}
