/* What every packet of a box's sockets is asked, after the calls were. Here the addresses are those on the wire, so
 * that no trick of a call counts; and here is seen what comes in. A packet of a form not known is dropped. */
#include "decide.h"

enum { DROP = 0, PASS = 1 };

struct ip4 {
	u8 version_and_length, service;
	u16 length, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 from, to;
};

struct ip6 {
	u32 version_class_flow;
	u16 length;
	u8 next, hops;
	u32 from[4], to[4];
};

/* The first bytes of both TCP and UDP. */
struct ports {
	u16 from, to;
};

/* TCP's flags, behind ports, numbers and offset. */
enum { FLAGS_AT = 13 };

/* Reads a packet. Neither options nor extension headers: they can name another destination (source routes), and an app
 * needs none. Fragments are seen whole: they are made after, and put together before. */
INLINE int read(struct packet *packet, struct ends *seen, int out)
{
	u8 *data = (u8 *)(long)packet->data, *end = (u8 *)(long)packet->data_end;
	u8 *transport;
	struct ip4 *ip4 = (struct ip4 *)data;
	struct ip6 *ip6 = (struct ip6 *)data;

	if (data + sizeof *ip4 + 8 > end)
		return 0;
	if (ip4->version_and_length == 0x45) {
		if (ip4->fragment & __builtin_bswap16(0x3fff))
			return 0;
		seen->protocol = ip4->protocol;
		mapped(seen->address, out ? ip4->to : ip4->from);
		transport = data + sizeof *ip4;
	} else if (ip4->version_and_length >> 4 == 6) {
		if (data + sizeof *ip6 + 8 > end)
			return 0;
		seen->protocol = ip6->next;
		seen->address[0] = out ? ip6->to[0] : ip6->from[0];
		seen->address[1] = out ? ip6->to[1] : ip6->from[1];
		seen->address[2] = out ? ip6->to[2] : ip6->from[2];
		seen->address[3] = out ? ip6->to[3] : ip6->from[3];
		transport = data + sizeof *ip6;
	} else {
		return 0;
	}
	struct ports *ports = (struct ports *)transport;
	seen->peer = __builtin_bswap16(out ? ports->to : ports->from);
	seen->own = __builtin_bswap16(out ? ports->from : ports->to);
	seen->begins = 0;
	if (seen->protocol == PROTO_TCP) {
		if (transport + FLAGS_AT + 1 > end)
			return 0;
		seen->begins = (transport[FLAGS_AT] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	}
	return seen->protocol == PROTO_TCP || seen->protocol == PROTO_UDP;
}

INLINE int counted(struct packet *packet, struct rule *rule)
{
	if (rule) {
		__sync_fetch_and_add(&rule->packets, 1);
		__sync_fetch_and_add(&rule->bytes, packet->len);
	}
	return PASS;
}

/* A segment of a connection that began while it was granted: it lives on, whatever the rule's expiry. */
#define counted_either(rule) counted(packet, (rule) ? (rule) : listen_rule(uid, app, &seen))

HOOK(egress)(struct packet *packet)
{
	u32 uid = socket_uid(packet);
	struct app *app = map_lookup(&apps, &uid);
	struct ends seen = NOWHERE;

	if (app && app->flags & APP_UNFILTERED)
		return PASS;
	int known = read(packet, &seen, 1);
	if (app && known) {
		struct rule *rule = connect_rule(uid, app, &seen);
		if (seen.protocol == PROTO_TCP && !seen.begins)
			return counted_either(rule);
		if (live(rule)) {
			if (seen.protocol == PROTO_UDP && rule->expiry_ns)
				remember(uid, &seen, 0);
			return counted(packet, rule);
		}
		if (seen.protocol == PROTO_UDP && under_way(uid, &seen))
			return counted_either(rule);
	}
	refuse(uid, CONNECT, &seen);
	return DROP;
}

HOOK(ingress)(struct packet *packet)
{
	u32 uid = socket_uid(packet);
	struct app *app = map_lookup(&apps, &uid);
	struct ends seen = NOWHERE;

	if (app && app->flags & APP_UNFILTERED)
		return PASS;
	int known = read(packet, &seen, 0);
	if (app && known) {
		struct rule *rule = connect_rule(uid, app, &seen);
		if (seen.protocol == PROTO_TCP && !seen.begins)
			return counted_either(rule);
		struct rule *served = listen_rule(uid, app, &seen);
		if (served && (!served->local || packet->ingress_ifindex == IFINDEX_LOOPBACK)) {
			if (seen.protocol == PROTO_UDP)
				remember(uid, &seen, 1);
			return counted(packet, served);
		}
		if (seen.protocol == PROTO_UDP &&
		    (live(rule) || under_way(uid, &seen)))
			return counted(packet, rule);
	}
	refuse(uid, INBOUND, &seen);
	return DROP;
}
