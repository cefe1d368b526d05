/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which packets are ordinary: what fib.Inspect says in Go, in that order. All
 * others are the stack's, which knows what to do with them: drop, answer,
 * reassemble, take as its own.
 */
#pragma once
#include "bpf.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "constants below are for little endian"
#endif
#define swap16(x) __builtin_bswap16(x)
#define swap32(x) __builtin_bswap32(x)
#define ETH_P_IP swap16(0x0800)
#define ETH_P_IPV6 swap16(0x86dd)

struct ipv6_header {
	__u32 version_class_flow;
	__u16 payload_len;
	__u8 next_header, hop_limit;
	__u32 src[4], dst[4];
};

struct ipv4_header {
	__u8 version_ihl, tos;
	__u16 total_len, id, fragment;
	__u8 ttl, protocol;
	__u16 checksum;
	__u32 src, dst;
};

/* An address; those of IPv4 are ::ffff:a.b.c.d, which as IPv6 is never forwarded. */
struct address {
	__u64 hi, lo;
};

struct packet {
	struct address src, dst;
	__u32 len;	  /* of the packet, by its header */
	__u32 header_len; /* of that header */
	__u8 protocol;
	__u8 family;
};

enum {
	IPV4,
	IPV6,
};

enum {
	TCP = 6,
	UDP = 17,
	ICMPV6 = 58,
	TCP_FLAGS = 13, /* their place in the header */
	TCP_SYN = 2,
};

/* What became of a packet: indices of the map verdicts. From MALFORMED to
 * NEIGHBOUR_DISCOVERY they are fib.Inspect's, in its order. */
enum verdict {
	FORWARDED,
	MALFORMED, /* lengths that contradict each other */
	VERSION,
	OPTIONS,
	FRAGMENT,
	HOP_LIMIT,
	ADDRESS, /* of a kind that is not sent on */
	CHECKSUM,
	CONNECTING, /* a TCP SYN, whose MSS a gateway may have to clamp */
	NEIGHBOUR_DISCOVERY,
	OFF,
	NOT_OURS,  /* a mark, a VLAN, a frame for another, neither IPv4 nor IPv6 */
	SOURCE,	   /* on a LAN: not of those that may use it */
	NO_ROUTE,  /* no entry */
	PASS,	   /* an entry that says so */
	BACK,	   /* to where it came from: the stack may redirect the sender */
	TOO_BIG,   /* or segments of a protocol whose headers we do not know */
	VERDICTS,
};

static inline_always void address_of6(struct address *a, const __u32 *w)
{
	a->hi = (__u64)w[1] << 32 | w[0];
	a->lo = (__u64)w[3] << 32 | w[2];
}

static inline_always void address_of4(struct address *a, __u32 w)
{
	a->hi = 0;
	a->lo = (__u64)w << 32 | swap32(0xffff);
}

/* special6: all within ::/80 (the unspecified address, loopback, IPv4), link-local
 * and multicast ones. */
static inline_always int special6(const struct address *a)
{
	return (a->hi == 0 && (a->lo & 0xffff) == 0) || (a->hi & 0xff) == 0xff || (a->hi & 0xc0ff) == 0x80fe;
}

/* special4: of this network, loopback, link-local, multicast, reserved, broadcast. */
static inline_always int special4(__u32 a)
{
	return (a & 0xff) == 0 || (a & 0xff) == 127 || (a & 0xff) >= 224 || (a & 0xffff) == 0xfea9;
}

/* is_extension: what a router may have to look into (RFC 7045); 44 is the fragment
 * header. To test for one of few small numbers is to test a bit. */
static inline_always int is_extension(__u8 next)
{
	const __u64 low = 1ULL << 0 | 1ULL << 43 | 1ULL << 60;

	if (next < 64)
		return low >> next & 1;
	return next == 135 || next == 139 || next == 140 || next == 253 || next == 254;
}

/* What of a packet is at hand: its network header at least. */
struct head {
	void *start, *end;
};

/* find_head makes so many bytes accessible; 0 where the packet is shorter. */
static inline_always int find_head(struct __sk_buff *skb, __u32 offset, __u32 len, struct head *h)
{
	h->start = (void *)(long)skb->data + offset;
	h->end = (void *)(long)skb->data_end;
	if (h->start + len <= h->end)
		return 1;
	if (skb->len < offset + len || bpf_skb_pull_data(skb, offset + len))
		return 0;
	h->start = (void *)(long)skb->data + offset;
	h->end = (void *)(long)skb->data_end;
	return h->start + len <= h->end;
}

/* byte_at reads one of the payload; most often it is at hand. */
static inline_always int byte_at(struct __sk_buff *skb, const struct head *h, __u32 offset, __u32 at, __u8 *to)
{
	if (h->start + at + 1 <= h->end) {
		*to = *(const __u8 *)(h->start + at);
		return 0;
	}
	return bpf_skb_load_bytes(skb, offset + at, to, 1);
}

static inline_always int inspect_payload(struct __sk_buff *skb, const struct head *h, __u32 offset, __u32 header_len, const struct packet *p)
{
	__u8 b;

	if (p->protocol == TCP) {
		if (p->len <= header_len + TCP_FLAGS || byte_at(skb, h, offset, header_len + TCP_FLAGS, &b))
			return MALFORMED;
		if (b & TCP_SYN)
			return CONNECTING;
	}
	if (p->protocol == ICMPV6) {
		if (p->len <= header_len || byte_at(skb, h, offset, header_len, &b))
			return MALFORMED;
		if (b >= 133 && b <= 137)
			return NEIGHBOUR_DISCOVERY;
	}
	return FORWARDED;
}

static inline_always int inspect6(const struct ipv6_header *h, __u32 len, struct packet *p)
{
	p->family = IPV6;
	p->header_len = sizeof(*h);
	p->protocol = h->next_header;
	p->len = sizeof(*h) + swap16(h->payload_len);
	address_of6(&p->src, h->src);
	address_of6(&p->dst, h->dst);
	if ((h->version_class_flow & 0xf0) != 0x60)
		return VERSION;
	if (p->len != len)
		return MALFORMED;
	if (p->protocol == 44)
		return FRAGMENT;
	if (is_extension(p->protocol))
		return OPTIONS;
	if (h->hop_limit <= 1)
		return HOP_LIMIT;
	if (special6(&p->src) || special6(&p->dst))
		return ADDRESS;
	return FORWARDED;
}

/* sum4 is the ones' complement sum of a header, 0xffff where its checksum is right. */
static inline_always __u32 sum4(const __u32 *w)
{
	__u64 sum = (__u64)w[0] + w[1] + w[2] + w[3] + w[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static inline_always int inspect4(const struct ipv4_header *h, __u32 len, struct packet *p)
{
	p->family = IPV4;
	p->header_len = sizeof(*h);
	p->protocol = h->protocol;
	p->len = swap16(h->total_len);
	address_of4(&p->src, h->src);
	address_of4(&p->dst, h->dst);
	if (h->version_ihl >> 4 != 4)
		return VERSION;
	if (p->len != len)
		return MALFORMED;
	if (h->version_ihl != 0x45)
		return OPTIONS;
	if (h->fragment & swap16(0x3fff))
		return FRAGMENT;
	if (h->ttl <= 1)
		return HOP_LIMIT;
	if (special4(h->src) || special4(h->dst))
		return ADDRESS;
	if (sum4((const __u32 *)h) != 0xffff)
		return CHECKSUM;
	return FORWARDED;
}

/* transport_len is that of the transport header of a packet that is more than
 * one, 0 where it cannot be told. */
static inline_always __u32 transport_len(struct __sk_buff *skb, __u32 offset, const struct packet *p)
{
	__u8 data_offset;

	if (p->protocol == UDP)
		return 8;
	if (p->protocol != TCP || bpf_skb_load_bytes(skb, offset + p->header_len + 12, &data_offset, 1))
		return 0;
	return (data_offset >> 4) * 4;
}
