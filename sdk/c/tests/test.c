/* What the library does without a bus: its reader of JSON, on good, bad and mutated texts; Base64; storage; the log.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * `test` does all of it, `test ROUNDS SEED` so many mutations. Built with the sanitizers: what reads behind an end, ends the test.
 */
#include "../src/base64.h"
#include "../src/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(what)                                                         \
    do {                                                                    \
        if (!(what)) {                                                      \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);      \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

/* In a room of exactly its size, and the byte behind it that is NUL on the wire. */
static int read_copy(struct json_values *values, char **copy, const char *text, size_t length)
{
    *copy = malloc(length + 1);
    CHECK(*copy != NULL);
    memcpy(*copy, text, length);
    (*copy)[length] = '\0';
    return json_read(values, *copy, length);
}

static const char *const GOOD[] = {
    "{}", "[]", "null", "true", " false ", "0", "-0", "1", "-1.5", "1e3", "1E+3", "1.25e-3", "\"\"", "\"a\"",
    "[1,2,3]", "{\"a\":1}", "{\"a\":{\"b\":[{},[],null]}}", "\t{ \"a\" :\r\n1 , \"b\" : 2 }\n",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u00e9\\u20ac\\ud83d\\ude00\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "\"\x7f\"",
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1e400",
    "{\"parameters\":{\"updates\":[{\"target\":\"os\",\"state\":\"none\",\"at\":null}]},\"continues\":true}",
};

static const char *const BAD[] = {
    "", " ", "{", "}", "[", "]", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "{\"a\":1 \"b\":2}",
    "{\"a\":1,\"a\":2}", "{\"\\u0061\":1,\"a\":2}", "tru", "nul", "True", "NaN", "Infinity", "01", "-", "+1", ".5", "1.", "1e", "1e+",
    "0x1", "\"", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"",
    "\"\n\"", "\"\x01\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"",
    "1 1", "{}{}", "[]x", "// a\n1", "'a'",
};

static void good_and_bad(void)
{
    struct json_values values = {0};
    char *copy;
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        CHECK(read_copy(&values, &copy, GOOD[i], strlen(GOOD[i])) == 0);
        free(copy);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (read_copy(&values, &copy, BAD[i], strlen(BAD[i])) != -EBADMSG) {
            fprintf(stderr, "was read: %s\n", BAD[i]);
            exit(1);
        }
        free(copy);
    }
    json_free(&values);
}

static void bounds(void)
{
    struct json_values values = {0};
    static char text[1 << 20];
    char *copy;
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    CHECK(read_copy(&values, &copy, text, 2 * JSON_DEPTH_MAX) == 0);
    free(copy);
    memset(text, '[', sizeof text);
    CHECK(read_copy(&values, &copy, text, sizeof text) == -EBADMSG);
    free(copy);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i == 0 ? '[' : i % 2 == 1 ? '1' : ',';
    CHECK(read_copy(&values, &copy, text, sizeof text) == -EBADMSG);
    free(copy);
    json_free(&values);
}

static void values_are_found(void)
{
    static const char text[] = "{\"a\":[1,{\"x\":[2,3]},\"\\u00e9\"],\"b\":-5,\"c\":2.5,\"d\":true,\"e\":null,\"f\":12345678901234567890}";
    struct json_values values = {0};
    char *copy;
    CHECK(read_copy(&values, &copy, text, strlen(text)) == 0);
    const gabion_json *all = values.values, *a = gabion_json_member(all, "a");
    CHECK(gabion_json_kind(all) == GABION_JSON_OBJECT && gabion_json_count(all) == 6);
    CHECK(gabion_json_count(a) == 3 && gabion_json_int(gabion_json_element(a, 0), 0) == 1);
    const gabion_json *x = gabion_json_member(gabion_json_element(a, 1), "x");
    CHECK(gabion_json_int(gabion_json_element(x, 1), 0) == 3 && gabion_json_element(x, 2) == NULL);
    CHECK(strcmp(gabion_json_text(gabion_json_element(a, 2)), "\xc3\xa9") == 0);
    CHECK(gabion_json_int(gabion_json_member(all, "b"), 0) == -5);
    CHECK(gabion_json_double(gabion_json_member(all, "c"), 0.0) == 2.5);
    CHECK(gabion_json_int(gabion_json_member(all, "c"), 7) == 7);
    CHECK(gabion_json_bool(gabion_json_member(all, "d"), false));
    CHECK(gabion_json_kind(gabion_json_member(all, "e")) == GABION_JSON_NULL);
    CHECK(gabion_json_int(gabion_json_member(all, "f"), 7) == 7);
    CHECK(gabion_json_double(gabion_json_member(all, "f"), 0.0) > 1.2e19);
    /* What is not there is asked on and on. */
    CHECK(gabion_json_text(gabion_json_member(gabion_json_element(gabion_json_member(all, "z"), 4), "y")) == NULL);
    free(copy);
    json_free(&values);
}

/* What is read is walked through, and its texts are quoted and read again. */
static void walk(const gabion_json *value)
{
    if (gabion_json_kind(value) == GABION_JSON_TEXT) {
        size_t length = gabion_json_quote(NULL, 0, gabion_json_text(value));
        char *quoted = malloc(length + 1);
        struct json_values again = {0};
        CHECK(quoted != NULL && gabion_json_quote(quoted, length + 1, gabion_json_text(value)) == length);
        CHECK(json_read(&again, quoted, length) == 0);
        CHECK(strcmp(gabion_json_text(again.values), gabion_json_text(value)) == 0);
        json_free(&again);
        free(quoted);
    }
    for (size_t i = 0; i < gabion_json_count(value); i++)
        walk(gabion_json_element(value, i));
}

static uint64_t seed;

static size_t below(size_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed % limit);
}

static size_t mutate(char *text, size_t length, size_t room)
{
    static const char alphabet[] = "{}[]\",:\\u0019eE+-. tfn\xc3\xa9\xf0\x9f\xed\xa0";
    switch (below(4)) {
    case 0: /* another byte */
        if (length > 0)
            text[below(length)] = alphabet[below(sizeof alphabet - 1)];
        return length;
    case 1: /* one more */
        if (length < room) {
            size_t at = below(length + 1);
            memmove(text + at + 1, text + at, length - at);
            text[at] = alphabet[below(sizeof alphabet - 1)];
            return length + 1;
        }
        return length;
    case 2: /* one less */
        if (length > 0) {
            size_t at = below(length);
            memmove(text + at, text + at + 1, length - at - 1);
            return length - 1;
        }
        return length;
    default: { /* its own beginning behind it */
        size_t more = below(length + 1);
        if (length + more > room)
            return length;
        memmove(text + length, text, more);
        return length + more;
    }
    }
}

static void mutations(unsigned long rounds)
{
    struct json_values values = {0};
    unsigned long read = 0;
    char text[512];
    for (unsigned long round = 0; round < rounds; round++) {
        const char *from = GOOD[below(sizeof GOOD / sizeof GOOD[0])];
        size_t length = strlen(from);
        memcpy(text, from, length);
        for (size_t n = below(6); n > 0; n--)
            length = mutate(text, length, sizeof text);
        char *copy;
        if (read_copy(&values, &copy, text, length) == 0) {
            read++;
            CHECK(values.values[0].size == values.count);
            walk(values.values);
        }
        free(copy);
    }
    json_free(&values);
    printf("mutations: %lu, of which %lu were read\n", rounds, read);
    CHECK(read > rounds / 20 && read < rounds);
}

static void base64(void)
{
    static const char *const texts[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 9", "Zm9\xff"};
    uint8_t bytes[16];
    char out[BASE64_ROOM(6)];
    for (size_t i = 0; i < 7; i++) {
        CHECK(base64_decode(bytes, i, texts[i]) == (long)i && memcmp(bytes, "foobar", i) == 0);
        CHECK(i == 0 || base64_decode(bytes, i - 1, texts[i]) == -1);
        base64_encode(out, (const uint8_t *)"foobar", i);
        CHECK(strcmp(out, texts[i]) == 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(base64_decode(bytes, sizeof bytes, bad[i]) == -1);
}

static void quoting(void)
{
    char out[8];
    CHECK(gabion_json_quote(out, sizeof out, "a\"b") == 6 && strcmp(out, "\"a\\\"b\"") == 0);
    CHECK(gabion_json_quote(out, sizeof out, "long text") == 11 && strcmp(out, "\"long t") == 0);
    CHECK(gabion_json_quote(out, sizeof out, "\x1f") == 8);
    CHECK(gabion_json_quote(out, sizeof out, "\xff") == 5 && strcmp(out, "\"\xef\xbf\xbd\"") == 0);
}

static void storage(void)
{
    char folder[] = "/tmp/gabion-test-XXXXXX", path[64], content[16] = "";
    uint64_t total = 0, free_bytes = 0;
    CHECK(mkdtemp(folder) != NULL && setenv("GABION_DATA", folder, 1) == 0);
    CHECK(strcmp(gabion_storage_path(), folder) == 0);
    CHECK(gabion_storage_space(&total, &free_bytes) == 0 && total >= free_bytes && total > 0);
    CHECK(gabion_storage_replace("file", "one\n", 4) == 0 && gabion_storage_replace("file", "two\n", 4) == 0);
    CHECK(gabion_storage_append("file", "three\n", 6) == 0);
    CHECK(gabion_storage_replace("no/folder", "", 0) == -ENOENT);
    snprintf(path, sizeof path, "%s/file", folder);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL && fread(content, 1, sizeof content, file) == 10 && memcmp(content, "two\nthree\n", 10) == 0);
    fclose(file);
    /* A link that somebody else has put there is not followed. */
    CHECK(unlink(path) == 0 && symlink("/dev/null", path) == 0);
    CHECK(gabion_storage_append("file", "x", 1) == -ELOOP);
    unlink(path);
    rmdir(folder);
}

static void surroundings(void)
{
    unsetenv("NOTIFY_SOCKET");
    CHECK(gabion_notify_ready() == 0 && gabion_notify_status("two\nlines") == -EINVAL);
    CHECK(setenv("WATCHDOG_USEC", "10000000", 1) == 0 && gabion_watchdog_ms() == 5000);
    CHECK(setenv("WATCHDOG_USEC", "10s", 1) == 0 && gabion_watchdog_ms() == 0);
    CHECK(strlen(gabion_strerror(-EREMOTEIO)) > 0 && strcmp(gabion_strerror(0), "no error") == 0);
    char large[5000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    int pipe_fds[2], out = dup(STDOUT_FILENO);
    CHECK(pipe(pipe_fds) == 0 && dup2(pipe_fds[1], STDOUT_FILENO) == STDOUT_FILENO);
    gabion_log(GABION_INFO, "test", "degrees=%.1f text=%s", 20.5, "a\nb");
    gabion_log(GABION_INFO, "long", "%s", large);
    CHECK(dup2(out, STDOUT_FILENO) == STDOUT_FILENO);
    close(out);
    static char said[8192];
    static const char first[] = "level=info event=test degrees=20.5 text=a b\n";
    close(pipe_fds[1]);
    CHECK(read(pipe_fds[0], said, sizeof said) == (ssize_t)(sizeof first - 1 + 4097));
    CHECK(memcmp(said, first, sizeof first - 1) == 0 && said[sizeof first - 1 + 4096] == '\n');
    close(pipe_fds[0]);
}

int main(int count, char **words)
{
    unsigned long rounds = count > 1 ? strtoul(words[1], NULL, 10) : 200000;
    seed = count > 2 ? strtoull(words[2], NULL, 10) : 88172645463325252ull;
    good_and_bad();
    bounds();
    values_are_found();
    mutations(rounds);
    base64();
    quoting();
    storage();
    surroundings();
    puts("ok");
    return 0;
}
