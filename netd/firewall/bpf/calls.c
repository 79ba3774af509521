/* What system calls are asked, so that the app has its error at once: EPERM. What gets past them (UDP-Lite, source
 * routes, a socket that listens without bind) is stopped in packets.c, which asks again. */
#include "decide.h"

enum { REFUSE = 0, ALLOW = 1, ALLOW_LOW_PORT = 3 };

/* Libraries connect a UDP socket, and send nothing, to learn by which address they would go: musl to port 65535, Go to
 * port 9, glibc to the service's port or 0. It tells them nothing but the device's own addresses. */
INLINE int asks_for_route(u16 port)
{
	return port == 0 || port == 9 || port == 65535;
}

INLINE int goes_out(struct sock_addr *call, struct ends *to, int connects)
{
	u32 uid = current_uid_gid();
	u32 protocol = call->protocol;
	struct app *app = map_lookup(&apps, &uid);

	if (app && app->flags & APP_UNFILTERED)
		return ALLOW;
	to->protocol = protocol;
	to->peer = __builtin_bswap16(call->user_port);
	unspecified_is_loopback(to->address);
	if (app && (protocol == PROTO_TCP || protocol == PROTO_UDP)) {
		struct rule *rule = connect_rule(uid, app, to);
		if (live(rule)) {
			__sync_fetch_and_add(&rule->attempts, 1);
			return ALLOW;
		}
	}
	if (app && protocol == PROTO_UDP) {
		struct sock *sk = call->sk;
		to->own = sk ? sk->src_port : 0;
		if (under_way(uid, to) || (connects && asks_for_route(to->peer)))
			return ALLOW;
		struct ends tcp = *to;
		tcp.protocol = PROTO_TCP;
		if (connects && live(connect_rule(uid, app, &tcp)))
			return ALLOW;
	}
	refuse(uid, CONNECT, to);
	return REFUSE;
}

INLINE int goes_out4(struct sock_addr *call, int connects)
{
	struct ends to = NOWHERE;
	mapped(to.address, call->user_ip4);
	return goes_out(call, &to, connects);
}

INLINE int goes_out6(struct sock_addr *call, int connects)
{
	struct ends to = NOWHERE;
	to.address[0] = call->user_ip6[0];
	to.address[1] = call->user_ip6[1];
	to.address[2] = call->user_ip6[2];
	to.address[3] = call->user_ip6[3];
	return goes_out(call, &to, connects);
}

HOOK(connect4)(struct sock_addr *call)
{
	return goes_out4(call, 1);
}

HOOK(connect6)(struct sock_addr *call)
{
	return goes_out6(call, 1);
}

HOOK(sendmsg4)(struct sock_addr *call)
{
	return goes_out4(call, 0);
}

HOOK(sendmsg6)(struct sock_addr *call)
{
	return goes_out6(call, 0);
}

/* Port 0 is a client's bind. A granted port below 1024 is served without CAP_NET_BIND_SERVICE. */
INLINE int binds(struct sock_addr *call, struct ends *at)
{
	u32 uid = current_uid_gid();
	u32 protocol = call->protocol;
	struct app *app = map_lookup(&apps, &uid);

	at->protocol = protocol;
	at->own = __builtin_bswap16(call->user_port);
	if (app && (app->flags & APP_UNFILTERED || at->own == 0))
		return ALLOW;
	if (app && (protocol == PROTO_TCP || protocol == PROTO_UDP)) {
		struct rule *rule = listen_rule(uid, app, at);
		if (rule) {
			__sync_fetch_and_add(&rule->attempts, 1);
			return ALLOW_LOW_PORT;
		}
	}
	refuse(uid, LISTEN, at);
	return REFUSE;
}

HOOK(bind4)(struct sock_addr *call)
{
	struct ends at = NOWHERE;
	mapped(at.address, call->user_ip4);
	return binds(call, &at);
}

HOOK(bind6)(struct sock_addr *call)
{
	struct ends at = NOWHERE;
	at.address[0] = call->user_ip6[0];
	at.address[1] = call->user_ip6[1];
	at.address[2] = call->user_ip6[2];
	at.address[3] = call->user_ip6[3];
	return binds(call, &at);
}

/* Only what the other hooks know: no raw sockets, ping sockets, UDP-Lite, SCTP, MPTCP. */
HOOK(create)(struct sock *sk)
{
	u32 uid = current_uid_gid();
	u32 type = sk->type, protocol = sk->protocol;

	if (type == TYPE_STREAM && protocol == PROTO_TCP)
		return ALLOW;
	if (type == TYPE_DGRAM && protocol == PROTO_UDP)
		return ALLOW;
	struct app *app = map_lookup(&apps, &uid);
	if (app && app->flags & APP_UNFILTERED)
		return ALLOW;
	struct ends none = NOWHERE;
	none.protocol = protocol;
	refuse(uid, CONNECT, &none);
	return REFUSE;
}
