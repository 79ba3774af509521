/* What the programs use of the kernel's interface, in words of our own: contexts (the fields' places are the kernel's
 * ABI), helpers by their number, and a few constants. Nothing is taken from a header of the kernel. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define HOOK(name) __attribute__((section("hook/" #name), used)) int name
#define INLINE static inline __attribute__((always_inline))
#define HELPER(number) __attribute__((kernel_helper(number)))

/* The context of `socket(2)`: the kernel's `struct bpf_sock`. */
struct sock {
	u32 bound_dev_if, family, type, protocol, mark, priority;
	u32 src_ip4, src_ip6[4];
	u32 src_port; /* this one in the byte order of the host */
};

/* The context of bind, connect and sendmsg: the kernel's `struct bpf_sock_addr`. Addresses and port as on the wire. */
struct sock_addr {
	u32 user_family, user_ip4, user_ip6[4], user_port;
	u32 family, type, protocol, msg_src_ip4, msg_src_ip6[4];
	struct sock *sk __attribute__((aligned(8)));
};

/* The context of a packet: the kernel's `struct __sk_buff`, as far as we read it. */
struct packet {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan[3], priority, ingress_ifindex, ifindex, tc_index;
	u32 cb[5], hash, tc_classid, data, data_end;
};

void *map_lookup(void *map, const void *key) HELPER(1);
long map_update(void *map, const void *key, const void *value, u64 flags) HELPER(2);
u64 ktime_ns(void) HELPER(5);
u64 current_uid_gid(void) HELPER(15);
u32 socket_uid(struct packet *) HELPER(47);
long ringbuf_output(void *ring, const void *data, u64 size, u64 flags) HELPER(130);

enum { PROTO_TCP = 6, PROTO_UDP = 17 };
enum { TYPE_STREAM = 1, TYPE_DGRAM = 2 };
enum { IFINDEX_LOOPBACK = 1 }; /* each network namespace makes its `lo` first */
enum { TCP_SYN = 0x02, TCP_ACK = 0x10 };
