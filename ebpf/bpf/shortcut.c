/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets in transit, from a tunnel or a LAN to a tunnel, past the IP stack.
 *
 *   tunnel, lan   ingress: look up, lower the hop limit, redirect
 *   count         egress of tunnels: what the stack sends, its own and others'
 *
 * What goes to a LAN is the stack's: only it can answer with an ICMP error when
 * no neighbour does (bpf_redirect_neigh drops silently, and bpf_fib_lookup, which
 * knows of neighbours, is kept from programs that are not under the GPL).
 *
 * Whatever is unusual goes on to the stack as if we were not there. So does all
 * that we have no room for: no map that is full makes a packet go elsewhere.
 */
#include "packet.h"

#define MAX_ROUTES 16384
#define MAX_INTERFACES 1024
#define MAX_COUNTERS 16384
#define MAX_LENGTHS 32

/* Tables of prefixes; higher numbers are sources, of one destination or LAN. */
enum {
	TABLE_DESTINATIONS,
	TABLE_LOCALS, /* sources of IPv4 that are the stack's wherever they go */
};

struct key {
	struct address address; /* masked */
	__u32 len;
	__u32 table;
};

struct route {
	__u32 interface; /* out by; 0: to the stack */
	__u32 mtu;
	__u32 sources; /* table of those that go elsewhere, 0: none */
	__u32 counter;
};

/* What is attached. */
struct interface {
	__u32 kind;
	__u32 sources; /* table of those that a LAN's machines may use */
	__u32 counter; /* for what has no prefix */
	__u32 pad;
};

enum {
	TUNNEL = 1,
	LAN = 2,
};

struct {
	MAP_INT(type, BPF_MAP_TYPE_HASH);
	MAP_INT(max_entries, MAX_INTERFACES);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct interface);
} interfaces SEC(".maps");

/* What went into a tunnel, as it is on the wire: a GSO packet counts its segments. */
struct counter {
	__u64 packets, bytes; /* of this host and its LANs */
	__u64 carried_packets, carried_bytes; /* that came by a tunnel */
};

/* Not one for each processor: with as many prefixes that would be much memory
 * where there are many, and a tunnel's packets mostly stay on one. */
struct {
	MAP_INT(type, BPF_MAP_TYPE_ARRAY);
	MAP_INT(max_entries, MAX_COUNTERS);
	MAP_INT(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct counter);
} counters SEC(".maps");

struct {
	MAP_INT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_INT(max_entries, VERDICTS);
	MAP_TYPE(key, enum verdict);
	MAP_TYPE(value, __u64);
} verdicts SEC(".maps");

/* The lengths of prefix that exist, longest first, as masks. */
struct length {
	struct address mask;
	__u32 len;
	__u32 pad;
};

struct lengths {
	__u32 count;
	__u32 pad;
	struct length of[MAX_LENGTHS];
};

/* Lists of lengths; where not LOCALS, the family is added. */
enum {
	DESTINATIONS = 0,
	SOURCES = 2,
	PERMITTED = 4,
	LOCALS = 6,
	LISTS = 8,
};

/* Two generations, one of them in use. */
struct lengths prefix_lengths[2 * LISTS];
volatile __u32 generation;

/* Bits by family: 1 IPv4, 2 IPv6. 0: every packet to the stack. */
volatile __u32 on;

/* Nanoseconds of the monotonic clock after which all is off, 0: never. Programs
 * that outlive their process must not go on with what it knew last. */
volatile __u64 until;

/* Bytes before the IP header; changed by tests only, as BPF_PROG_TEST_RUN knows
 * nothing but Ethernet. */
volatile const __u32 tunnel_header_len = 0;
#define LAN_HEADER_LEN 14

/* Notes in tc_index that the packet is counted. It stays with the packet until
 * the egress hook, a few calls later on the same processor. */
#define COUNTED 0x6e57

/* TC_ACT_UNSPEC, TCX_NEXT: the next program, or the stack. */
#define NEXT -1

static inline_always int leave(__u32 verdict)
{
	__u64 *n = bpf_map_lookup_elem(&verdicts, &verdict);

	if (n)
		++*n;
	return NEXT;
}

#ifndef LOOKUP
#define LOOKUP "lookup.h"
#endif
#include LOOKUP

static inline_always void count(struct __sk_buff *skb, __u32 slot, __u32 len, __u32 headers, int carried)
{
	struct counter *c = bpf_map_lookup_elem(&counters, &slot);
	__u64 packets = 1, bytes = len;
	__u32 size = skb->gso_size;

	if (!c)
		return;
	/* gso_segs is 0 where a TUN made the packet. */
	if (size && headers && len > headers) {
		packets = (len - headers + size - 1) / size;
		bytes += (packets - 1) * headers;
	}
	if (carried) {
		__sync_fetch_and_add(&c->carried_packets, packets);
		__sync_fetch_and_add(&c->carried_bytes, bytes);
	} else {
		__sync_fetch_and_add(&c->packets, packets);
		__sync_fetch_and_add(&c->bytes, bytes);
	}
}

/* lower_hop_limit: the checksum of IPv4 by RFC 1624. */
static inline_always void lower_hop_limit(void *h, __u8 family)
{
	if (family == IPV6) {
		((struct ipv6_header *)h)->hop_limit--;
		return;
	}
	struct ipv4_header *h4 = h;
	__u32 sum = (__u32)h4->checksum + swap16(0x0100);

	h4->checksum = sum + (sum >= 0xffff);
	h4->ttl--;
}

static inline_always int pass(struct __sk_buff *skb, __u32 offset, int lan)
{
	struct packet p;
	struct head h;
	int verdict;

	if (!on || (until && bpf_ktime_get_ns() > until))
		return leave(OFF);
	if (skb->mark || skb->vlan_present || skb->pkt_type)
		return leave(NOT_OURS);
	if (skb->protocol == ETH_P_IPV6) {
		if (!find_head(skb, offset, sizeof(struct ipv6_header), &h))
			return leave(MALFORMED);
		verdict = inspect6(h.start, skb->len - offset, &p);
		if (verdict == FORWARDED)
			verdict = inspect_payload(skb, &h, offset, sizeof(struct ipv6_header), &p);
	} else if (skb->protocol == ETH_P_IP) {
		if (!find_head(skb, offset, sizeof(struct ipv4_header), &h))
			return leave(MALFORMED);
		verdict = inspect4(h.start, skb->len - offset, &p);
		if (verdict == FORWARDED)
			verdict = inspect_payload(skb, &h, offset, sizeof(struct ipv4_header), &p);
	} else {
		return leave(NOT_OURS);
	}
	if (verdict != FORWARDED)
		return leave(verdict);
	if (!(on >> p.family & 1))
		return leave(OFF);
	if (lan) {
		__u32 index = skb->ifindex;
		struct interface *i = bpf_map_lookup_elem(&interfaces, &index);

		if (!i || !find(i->sources, &p.src, PERMITTED + p.family))
			return leave(SOURCE);
	}
	if (p.family == IPV4 && find(TABLE_LOCALS, &p.src, LOCALS))
		return leave(PASS);

	struct route *r = route_of(skb, &p);
	if (!r)
		return leave(NO_ROUTE);
	__u32 interface = r->interface;
	if (!interface)
		return leave(PASS);
	if (interface == skb->ifindex)
		return leave(BACK);
	__u32 headers = 0, wire = p.len;
	if (skb->gso_size) {
		headers = transport_len(skb, offset, &p);
		if (!headers)
			return leave(TOO_BIG);
		headers += p.header_len;
		wire = headers + skb->gso_size;
	}
	if (wire > r->mtu)
		return leave(TOO_BIG);

	lower_hop_limit(h.start, p.family);
	leave(FORWARDED);
	count(skb, r->counter, p.len, headers, !lan);
	skb->tc_index = COUNTED;
	return bpf_redirect(interface, 0);
}

SEC("tc")
int re6st_tunnel(struct __sk_buff *skb)
{
	return pass(skb, tunnel_header_len, 0);
}

SEC("tc")
int re6st_lan(struct __sk_buff *skb)
{
	return pass(skb, LAN_HEADER_LEN, 1);
}

/* addresses reads what counting needs. */
static inline_always int addresses(struct __sk_buff *skb, __u32 offset, struct packet *p)
{
	struct head h;

	p->len = skb->len - offset;
	if (skb->protocol == ETH_P_IPV6) {
		struct ipv6_header *h6;

		if (!find_head(skb, offset, sizeof(*h6), &h))
			return 0;
		h6 = h.start;
		p->family = IPV6;
		p->header_len = sizeof(*h6);
		p->protocol = h6->next_header;
		address_of6(&p->src, h6->src);
		address_of6(&p->dst, h6->dst);
		return !special6(&p->dst);
	}
	if (skb->protocol == ETH_P_IP) {
		struct ipv4_header *h4;

		if (!find_head(skb, offset, sizeof(*h4), &h))
			return 0;
		h4 = h.start;
		p->family = IPV4;
		p->header_len = (h4->version_ihl & 15) * 4;
		p->protocol = h4->protocol;
		address_of4(&p->src, h4->src);
		address_of4(&p->dst, h4->dst);
		return !special4(h4->dst);
	}
	return 0;
}

SEC("tc")
int re6st_count(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex, offset = tunnel_header_len;
	struct interface *i, *from = 0;
	struct packet p = {};
	struct route *r = 0;

	if (skb->tc_index == COUNTED) {
		skb->tc_index = 0;
		return NEXT;
	}
	i = bpf_map_lookup_elem(&interfaces, &index);
	if (!i)
		return NEXT;
	__u32 slot = i->counter, headers = 0;
	if (addresses(skb, offset, &p)) {
		r = route_of(skb, &p);
		/* Another way than the entry's: by a rule of the host's, or a moment ago. */
		if (r && r->interface == index)
			slot = r->counter;
	}
	if (skb->gso_size) {
		headers = transport_len(skb, offset, &p);
		if (headers)
			headers += p.header_len;
	}
	index = skb->ingress_ifindex;
	if (index)
		from = bpf_map_lookup_elem(&interfaces, &index);
	count(skb, slot, p.len, headers, from && from->kind == TUNNEL);
	return NEXT;
}

char _license[] SEC("license") = "Apache-2.0";
