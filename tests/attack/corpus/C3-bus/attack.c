/* More of the bus than the one method that the manifest names. */
#include "reach.h"

static int dial(const char *path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path, path);
    int there = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (there < 0 || connect(there, (struct sockaddr *)&at, sizeof at) < 0)
        return -1;
    return there;
}

/* One call, one reply; the error's name is what it is refused with. */
static attack_end ask(int there, const char *message) {
    static char reply[8192];
    size_t used = 0;
    if (there < 0)
        return refused();
    if (send(there, message, strlen(message) + 1, MSG_NOSIGNAL) < 0)
        return attack_say("refused %s: the connection was ended", strerrorname_np(errno));
    while (used < sizeof reply - 1 && (used == 0 || reply[used - 1] != 0)) {
        ssize_t got = read(there, reply + used, sizeof reply - 1 - used);
        if (got <= 0)
            return attack_say("refused - the connection was ended");
        used += (size_t)got;
    }
    const char *error = strstr(reply, "\"error\":\"");
    return error ? attack_say("refused %.*s", (int)strcspn(error + 9, "\""), error + 9) : worked("%.80s", reply);
}

static attack_end call_by_grant(const char *message) { return ask(dial("/run/bus/os.gabion.Device"), message); }

static attack_end try_other_interface(void) {
    return ask(dial("/run/bus/os.gabion.Power"), "{\"method\":\"os.gabion.Power.Reboot\",\"parameters\":{\"reason\":\"x\"}}");
}

static attack_end try_path_of_other(void) {
    return ask(dial("/run/bus/os.gabion.Device/../../bus/os.gabion.Power"), "{\"method\":\"os.gabion.Power.Reboot\"}");
}

static attack_end try_server_side(void) { return ask(dial("/run/serve/os.gabion.Device"), "{}"); }

/* A connection for one interface, a method of another. */
static attack_end try_method_of_other(void) {
    return call_by_grant("{\"method\":\"os.gabion.Power.PowerOff\",\"parameters\":{\"reason\":\"x\"}}");
}

static attack_end try_unknown_method(void) { return call_by_grant("{\"method\":\"os.gabion.Device.Format\"}"); }

static attack_end try_method_by_case(void) { return call_by_grant("{\"method\":\"os.gabion.device.getinfo\"}"); }

/* JSON has more than one way to write a name. */
static attack_end try_method_by_escape(void) {
    return call_by_grant("{\"method\":\"os.gabion.\\u0050ower.PowerOff\",\"parameters\":{\"reason\":\"x\"}}");
}

static attack_end try_two_methods(void) {
    return call_by_grant("{\"method\":\"os.gabion.Device.GetInfo\",\"method\":\"os.gabion.Power.PowerOff\"}");
}

/* TALOS-2020-1139: who one is, said by oneself. */
static attack_end try_identity(void) {
    return call_by_grant("{\"method\":\"os.gabion.Apps.List\",\"parameters\":{\"app\":\"os.gabion.devport\"},"
                         "\"app\":\"os.gabion.devport\",\"uid\":0,\"grant\":{\"methods\":[\"List\"]}}");
}

static attack_end try_method_behind_nul(void) {
    int there = dial("/run/bus/os.gabion.Device");
    static const char two[] = "{\"method\":\"os.gabion.Power.PowerOff\"}\0{\"method\":\"os.gabion.Device.GetInfo\"}";
    if (there < 0 || send(there, two, sizeof two, MSG_NOSIGNAL) < 0)
        return refused();
    static char reply[8192];
    size_t used = 0;
    ssize_t got;
    /* The first is answered first, and by an error. */
    while ((got = read(there, reply + used, 1)) == 1 && reply[used] != 0)
        used++;
    return strstr(reply, "\"error\"") || used == 0 ? attack_say("refused %.60s", reply) : worked("%.80s", reply);
}

/* A connection that somebody else made, received: it speaks with the voice of who made it, which is ours. */
static attack_end try_passed_connection(void) {
    int pair[2], there = dial("/run/bus/os.gabion.Device");
    if (there < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return refused();
    pid_t child = fork();
    char byte = 'x', space[CMSG_SPACE(sizeof there)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (child == 0) {
        close(there);
        if (recvmsg(pair[1], &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
            _exit(1);
        memcpy(&there, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof there);
        ask(there, "{\"method\":\"os.gabion.Power.PowerOff\",\"parameters\":{\"reason\":\"x\"}}");
        _exit(0);
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof there);
    memcpy(CMSG_DATA(header), &there, sizeof there);
    (void)sendmsg(pair[0], &message, 0);
    int status = 0;
    waitpid(child, &status, 0);
    return status == 0 ? ATTACK_DONE : failed("the child got none");
}

/* Credentials that come with a message are the kernel's to fill in. */
static attack_end try_credentials(void) {
    int there = dial("/run/bus/os.gabion.Device");
    struct ucred root = {1, 0, 0};
    char space[CMSG_SPACE(sizeof root)] = {0}, text[] = "{\"method\":\"os.gabion.Device.GetInfo\"}";
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_CREDENTIALS;
    header->cmsg_len = CMSG_LEN(sizeof root);
    memcpy(CMSG_DATA(header), &root, sizeof root);
    return sendmsg(there, &message, 0) < 0 ? refused() : worked("sent as uid 0");
}

/* A listener of its own, where another interface's would be. */
static attack_end try_own_listener(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "/run/bus/os.gabion.Power"};
    int here = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(here, (struct sockaddr *)&at, sizeof at) < 0 || listen(here, 1) < 0)
        return refused();
    return dial(at.sun_path) >= 0 ? worked("is the server of %s", at.sun_path) : failed("dial");
}

static attack_end try_remove_socket(void) {
    return unlink("/run/bus/os.gabion.Device") < 0 ? refused() : worked("nobody can call any more");
}

TRIES(TRY(other_interface), TRY(path_of_other), TRY(server_side), TRY(method_of_other), TRY(unknown_method),
      TRY(method_by_case), TRY(method_by_escape), TRY(two_methods), TRY(identity), TRY(method_behind_nul),
      TRY(passed_connection), TRY(credentials), TRY(own_listener), TRY(remove_socket))
