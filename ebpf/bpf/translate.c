/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv6-to-IPv6 Network Prefix Translation, RFC 6296, on the uplink of a gateway.
 *
 *   egress   source inside -> outside
 *   ingress  destination outside -> inside
 *
 * Nothing is remembered of a packet, and no checksum is touched: the sum of the
 * eight words of an address is the same before and after. So transport
 * protocols, fragments, extension headers, and what an interface computes for
 * us later (CHECKSUM_PARTIAL) or has computed (CHECKSUM_COMPLETE) all stay
 * right; in particular BPF_F_RECOMPUTE_CSUM must not be given.
 *
 * All arithmetic is on words as they lie in the packet. Ones' complement sums do
 * not mind the order of bytes (RFC 1071, section 2), and 0 and 0xffff have none.
 */
#include "bpf.h"

#define MAX_PAIRS 32

/* One direction of a pair of prefixes. */
struct mapping {
	__u64 from;	 /* prefix to be replaced: first 64 bits */
	__u64 from_mask; /* its own length: what is ours to translate, or to refuse */
	__u64 to;	 /* prefix that replaces it */
	__u64 mask;	 /* the longer of both lengths: what is replaced (RFC 6296, section 3.1) */
	__u16 adjustment;
	__u16 in_iid;	 /* lengths above 48: the adjustment goes into the interface identifier */
	__u32 pad;
};

struct config {
	__u32 count;
	__u32 pad;
	/* The longest from_mask first, so that the first match is the longest. */
	struct mapping egress[MAX_PAIRS];
	struct mapping ingress[MAX_PAIRS];
};

/* Two, one of them in use: see active. */
struct {
	MAP_INT(type, BPF_MAP_TYPE_ARRAY);
	MAP_INT(max_entries, 2);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct config);
} configs SEC(".maps");

struct counters {
	__u64 packets;	  /* translated, by what they are on the wire: a GSO packet counts its segments */
	__u64 bytes;
	__u64 embedded;	  /* ICMPv6 errors with an address in the packet that they quote */
	__u64 unmapped;	  /* the address has no counterpart: dropped, or left to the stack on its way in */
	__u64 failed;	  /* dropped: the packet could not be written */
	__u64 hairpinned; /* egress: turned back, as it is for an address of our own outside */
};

struct {
	MAP_INT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_INT(max_entries, 2);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct counters);
} counts SEC(".maps");

/* Index of the config in use. It turns when the other one has been written. */
volatile __u32 active;

/* Bytes before the IPv6 header: 14 where frames are Ethernet, else 0. */
volatile const __u32 link_header_len = 14;

/* The verdicts. NEXT lets other programs on the hook see the packet; it is the
 * same number for tcx and clsact. */
enum {
	NEXT = -1,
	DROP = 2,
};

enum {
	EGRESS = 0,
	INGRESS = 1,
};

struct address {
	__u64 prefix, iid;
};

struct ipv6 {
	__u32 version_class_flow;
	__u16 payload_len;
	__u8 next_header, hop_limit;
	struct address src, dst;
};

#define SRC_OFFSET 8
#define DST_OFFSET 24
#define IPV6_LEN 40

#define swap16(x) __builtin_bswap16(x)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "constants below are for little endian"
#endif
#define ETH_P_IPV6 swap16(0x86dd)

enum {
	HOP_BY_HOP = 0,
	ROUTING = 43,
	FRAGMENT = 44,
	AUTHENTICATION = 51,
	ICMPV6 = 58,
	DESTINATION_OPTIONS = 60,
};

/* More extension headers than this and we do not look for an ICMPv6 error. */
#define MAX_EXTENSIONS 8

enum outcome {
	FOREIGN, /* not in our prefix */
	TRANSLATED,
	UNMAPPED,
};

static inline_always int direction_map(const struct config *c, int direction, __u32 i, const struct mapping **m)
{
	if (i >= c->count || i >= MAX_PAIRS)
		return 0;
	*m = direction == EGRESS ? &c->egress[i] : &c->ingress[i];
	return 1;
}

/* add is ones' complement addition of words. Never 0xffff: RFC 6296, section
 * 3.2, "If the result is 0xFFFF, it is overwritten as zero". */
static inline_always __u16 add(__u32 word, __u32 adjustment)
{
	__u32 sum = word + adjustment;

	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff ? 0 : sum;
}

/* adjust_word adds to the word at a shift, unless it is 0xffff. */
static inline_always int adjust_word(__u64 *half, __u32 shift, __u16 adjustment)
{
	__u64 word = *half >> shift & 0xffff;

	if (word == 0xffff)
		return 0;
	*half = (*half & ~(0xffffULL << shift)) | (__u64)add(word, adjustment) << shift;
	return 1;
}

/* translate rewrites an address. Not static, so that the verifier walks the loop
 * once, for any arguments, and not once for each way that leads here. */
__attribute__((noinline)) int re6st_translate(struct address *a, const struct config *c, int direction)
{
	const struct mapping *m;
	struct address was;

	if (!a || !c)
		return FOREIGN;
	was = *a;
	for (__u32 i = 0; i < MAX_PAIRS; i++) {
		if (!direction_map(c, direction, i, &m))
			return FOREIGN;
		if ((was.prefix & m->from_mask) != (m->from & m->from_mask))
			continue;
		/* The other prefix is longer: it has no room for this address. */
		if ((was.prefix & m->mask) != m->from)
			return UNMAPPED;
		was.prefix = (was.prefix & ~m->mask) | m->to;
		/* Words are counted in the packet's order: the first is the lowest. */
		if (!m->in_iid) {
			/* RFC 6296, section 3.4: bits 48 to 63; 0xffff has no mapping. */
			if (!adjust_word(&was.prefix, 48, m->adjustment))
				return UNMAPPED;
		} else if (!adjust_word(&was.iid, 0, m->adjustment) && !adjust_word(&was.iid, 16, m->adjustment) &&
			   !adjust_word(&was.iid, 32, m->adjustment) && !adjust_word(&was.iid, 48, m->adjustment)) {
			/* Section 3.5: the first that is not 0xffff; here all are. */
			return UNMAPPED;
		}
		*a = was;
		return TRANSLATED;
	}
	return FOREIGN;
}

/* icmp_offset finds the ICMPv6 header behind extension headers, 0 where there is
 * none: a fragment but the first has none. */
__attribute__((noinline)) __u32 re6st_icmp_offset(struct __sk_buff *skb, __u32 offset, __u8 next)
{
	struct {
		__u8 next, len;
		__u16 fragment;
	} extension;

	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (next == ICMPV6)
			return offset;
		if (next != HOP_BY_HOP && next != ROUTING && next != FRAGMENT && next != AUTHENTICATION && next != DESTINATION_OPTIONS)
			return 0;
		if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)))
			return 0;
		if (next == FRAGMENT) {
			if (extension.fragment & swap16(0xfff8))
				return 0;
			offset += 8;
		} else if (next == AUTHENTICATION) {
			offset += ((__u32)extension.len + 2) * 4;
		} else {
			offset += ((__u32)extension.len + 1) * 8;
		}
		next = extension.next;
	}
	return 0;
}

/* translate_quoted rewrites the address of ours in the packet that an ICMPv6
 * error quotes. That packet went the other way: there, the destination of one
 * that came in, the source of one that went out. */
static inline_always int translate_quoted(struct __sk_buff *skb, __u32 icmp, const struct config *c, int direction)
{
	__u32 offset = icmp + 8 + (direction == EGRESS ? DST_OFFSET : SRC_OFFSET);
	struct address a;
	__u8 version;

	if (bpf_skb_load_bytes(skb, icmp + 8, &version, 1) || version >> 4 != 6)
		return FOREIGN;
	if (bpf_skb_load_bytes(skb, offset, &a, sizeof(a)))
		return FOREIGN;
	int outcome = re6st_translate(&a, c, direction);
	if (outcome == TRANSLATED && bpf_skb_store_bytes(skb, offset, &a, sizeof(a), 0))
		return UNMAPPED;
	return outcome;
}

/* is_local says whether a destination is on this link: such packets have nothing
 * to do with the other side. */
static inline_always int is_local(const struct address *a)
{
	const __u8 *b = (const __u8 *)a;

	if (b[0] == 0xff)
		return (b[1] & 0x0f) <= 2;
	return b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
}

/* turn_back gives a packet for an address of ours outside back to this interface,
 * as if the upstream had sent it: RFC 6296, section 4.3 (hairpinning). What may
 * come in from outside is so decided for it as well. */
static inline_always int turn_back(struct __sk_buff *skb)
{
	__u8 mac[6];

	/* It is for our own link-layer address, which is the frame's source. */
	if (link_header_len == 14 &&
	    (bpf_skb_load_bytes(skb, 6, mac, sizeof(mac)) || bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0)))
		return DROP;
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

static inline_always int pass(struct __sk_buff *skb, int direction)
{
	__u32 key = active & 1, offset = link_header_len;
	const struct config *c;
	struct counters *n;
	struct ipv6 h;

	/* A VLAN's packets are not this interface's, whose link they share. */
	if (skb->protocol != ETH_P_IPV6 || skb->vlan_present)
		return NEXT;
	if (bpf_skb_load_bytes(skb, offset, &h, sizeof(h)) || (h.version_class_flow & 0xf0) != 0x60)
		return NEXT;
	if (is_local(&h.dst))
		return NEXT;
	c = bpf_map_lookup_elem(&configs, &key);
	key = direction;
	n = bpf_map_lookup_elem(&counts, &key);
	if (!c || !n)
		return DROP;

	__u32 icmp = re6st_icmp_offset(skb, offset + IPV6_LEN, h.next_header);
	__u8 type = 0xff;
	if (icmp && bpf_skb_load_bytes(skb, icmp, &type, sizeof(type)))
		icmp = 0;
	/* Router and neighbour discovery are of this link (RFC 4861). */
	if (icmp && type >= 133 && type <= 137)
		return NEXT;

	/* From inside to inside: machines of the mesh may be on this link as well. */
	if (direction == EGRESS) {
		struct address dst = h.dst;

		if (re6st_translate(&dst, c, EGRESS) != FOREIGN)
			return NEXT;
	}

	struct address *a = direction == EGRESS ? &h.src : &h.dst;
	int outcome = re6st_translate(a, c, direction);
	if (outcome == UNMAPPED) {
		n->unmapped++;
		/* The gateway's filter knows that nothing with such a destination may be
		 * forwarded, and has the kernel answer. What leaves it has answered before. */
		return direction == EGRESS ? DROP : NEXT;
	}
	if (outcome == TRANSLATED) {
		if (bpf_skb_store_bytes(skb, offset + (direction == EGRESS ? SRC_OFFSET : DST_OFFSET), a, sizeof(*a), 0)) {
			n->failed++;
			return DROP;
		}
		n->packets += skb->gso_segs > 1 ? skb->gso_segs : 1;
		n->bytes += skb->len - offset;
	}
	/* An error that the gateway itself sends may have a source of any kind, and
	 * yet quote an address of the inside (RFC 4443, section 2.2). */
	if (icmp && type < 128 && translate_quoted(skb, icmp, c, direction) == TRANSLATED)
		n->embedded++;

	if (direction == EGRESS && outcome == TRANSLATED && re6st_translate(&h.dst, c, INGRESS) != FOREIGN) {
		n->hairpinned++;
		return turn_back(skb);
	}
	return NEXT;
}

SEC("tc")
int re6st_egress(struct __sk_buff *skb)
{
	return pass(skb, EGRESS);
}

SEC("tc")
int re6st_ingress(struct __sk_buff *skb)
{
	return pass(skb, INGRESS);
}

char _license[] SEC("license") = "Apache-2.0";
