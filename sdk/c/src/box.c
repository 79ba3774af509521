/* What a box has besides the bus: the notify socket, storage, the log.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

/* Longest line that the device keeps whole, bytes; its line feed is not counted. */
#define LINE_MAX_BYTES 4096

/* ---------------------------------------------------------------------------------------------------------- sd_notify */

static int notify(const char *message, size_t length)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || path[0] == '\0')
        return 0;
    size_t path_length = strlen(path);
    if (path_length >= sizeof to.sun_path)
        return -EINVAL;
    memcpy(to.sun_path, path, path_length);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    socklen_t to_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length);
    ssize_t sent = sendto(fd, message, length, MSG_NOSIGNAL, (const struct sockaddr *)&to, to_length);
    int result = sent < 0 ? -errno : 0;
    close(fd);
    return result;
}

int gabion_notify_ready(void)
{
    return notify("READY=1", 7);
}

int gabion_notify_watchdog(void)
{
    return notify("WATCHDOG=1", 10);
}

int gabion_notify_status(const char *text)
{
    char message[512];
    int length = snprintf(message, sizeof message, "STATUS=%s", text);
    if (length < 0 || strchr(text, '\n') != NULL)
        return -EINVAL;
    return notify(message, (size_t)length < sizeof message ? (size_t)length : sizeof message - 1);
}

int gabion_watchdog_ms(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    unsigned long long us = strtoull(text, &end, 10);
    if (*end != '\0' || us == 0)
        return 0;
    unsigned long long ms = us / 2000;
    return ms == 0 ? 1 : ms > 3600000 ? 3600000 : (int)ms;
}

/* ------------------------------------------------------------------------------------------------------------ storage */

const char *gabion_storage_path(void)
{
    const char *other = getenv("GABION_DATA");
    return other != NULL ? other : "/data";
}

int gabion_storage_space(uint64_t *total, uint64_t *free_bytes)
{
    struct statvfs space;
    if (statvfs(gabion_storage_path(), &space) < 0)
        return -errno;
    if (total != NULL)
        *total = (uint64_t)space.f_blocks * space.f_frsize;
    if (free_bytes != NULL)
        *free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    return 0;
}

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

/* Writes and puts it on the disk; `flags` besides those that every file here has. */
static int write_file(const char *path, int flags, const void *content, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd < 0)
        return -errno;
    int result = write_all(fd, content, length);
    if (result == 0 && fsync(fd) < 0)
        result = -errno;
    close(fd);
    return result;
}

/* A name in a folder is on the disk once the folder is. */
static int sync_folder(const char *path)
{
    struct text folder = {0};
    const char *slash = strrchr(path, '/');
    text_add(&folder, path, slash == NULL ? 0 : (size_t)(slash - path));
    int fd = folder.failed ? -1 : open(folder.length == 0 ? "/" : folder.bytes, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = folder.failed ? -ENOMEM : fd < 0 ? -errno : fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    text_free(&folder);
    return result;
}

static void path_of(struct text *path, const char *name, const char *ending)
{
    text_str(path, gabion_storage_path());
    text_str(path, "/");
    text_str(path, name);
    text_str(path, ending);
}

int gabion_storage_replace(const char *name, const void *content, size_t length)
{
    struct text path = {0}, fresh = {0};
    path_of(&path, name, "");
    path_of(&fresh, name, ".new");
    int result = path.failed || fresh.failed ? -ENOMEM : write_file(fresh.bytes, O_TRUNC, content, length);
    if (result == 0 && rename(fresh.bytes, path.bytes) < 0)
        result = -errno;
    if (result == 0)
        result = sync_folder(path.bytes);
    text_free(&path);
    text_free(&fresh);
    return result;
}

int gabion_storage_append(const char *name, const void *content, size_t length)
{
    struct text path = {0};
    struct stat there;
    path_of(&path, name, "");
    if (path.failed)
        return -ENOMEM;
    bool is_new = lstat(path.bytes, &there) < 0;
    int result = write_file(path.bytes, O_APPEND, content, length);
    if (result == 0 && is_new)
        result = sync_folder(path.bytes);
    text_free(&path);
    return result;
}

/* ---------------------------------------------------------------------------------------------------------------- log */

void gabion_log(enum gabion_level level, const char *event, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char line[LINE_MAX_BYTES + 1];
    const char *name = names[level <= GABION_ERROR ? level : GABION_ERROR];
    int length = snprintf(line, sizeof line, "level=%s event=%s%s", name, event, format == NULL ? "" : " ");
    if (length < 0)
        return;
    if (format != NULL && (size_t)length < sizeof line) {
        va_list arguments;
        va_start(arguments, format);
        int more = vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
        va_end(arguments);
        length += more > 0 ? more : 0;
    }
    size_t all = (size_t)length < LINE_MAX_BYTES ? (size_t)length : LINE_MAX_BYTES;
    for (size_t i = 0; i < all; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[all] = '\n';
    /* There is nobody to tell when it fails. */
    (void)write_all(level >= GABION_WARN ? STDERR_FILENO : STDOUT_FILENO, line, all + 1);
}
