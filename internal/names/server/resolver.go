package server

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	// patience is how long one question to others may take in all: less than the
	// five seconds after which resolvers ask again.
	patience = 4 * time.Second
	// serverPatience is how long one of several is waited for.
	serverPatience = 1500 * time.Millisecond
	answerBytes    = 1232
)

// resolver asks the servers of the operator, in their order. Equal questions that
// wait at the same time are one: should a resolver ask us what we ask it, the
// circle ends here.
type resolver struct {
	servers []netip.AddrPort
	flights singleflight.Group
}

func newResolver(servers []netip.AddrPort) *resolver { return &resolver{servers: servers} }

// ask gives an answer, which several may hold, or nil.
func (r *resolver) ask(ctx context.Context, q *dns.Msg) *dns.Msg {
	question := q.Question[0]
	key := fmt.Sprint(strings.ToLower(question.Name), question.Qtype, q.CheckingDisabled, q.IsEdns0().Do())
	answer, _, _ := r.flights.Do(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return r.try(ctx, q), nil
	})
	return answer.(*dns.Msg)
}

// try asks one after the other, and from the beginning again, until one answers.
// A server that says that it cannot is not the last word.
func (r *resolver) try(ctx context.Context, q *dns.Msg) *dns.Msg {
	var last *dns.Msg
	for range 2 {
		for _, server := range r.servers {
			if ctx.Err() != nil {
				return last
			}
			answer, err := exchange(ctx, q, server)
			if err != nil {
				continue
			}
			if answer.Rcode != dns.RcodeServerFailure && answer.Rcode != dns.RcodeRefused {
				return answer
			}
			last = answer
		}
		if last != nil {
			return last
		}
	}
	return last
}

// exchange asks one server by UDP from a port of its own, and by TCP where the
// answer does not fit.
func exchange(ctx context.Context, q *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	q = q.Copy()
	q.Id = dns.Id() // random, like the port: RFC 5452
	answer, err := exchangeBy(ctx, "udp", q, server)
	if err == nil && answer.Truncated {
		return exchangeBy(ctx, "tcp", q, server)
	}
	return answer, err
}

func exchangeBy(ctx context.Context, network string, q *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	client := dns.Client{Net: network, UDPSize: answerBytes}
	answer, _, err := client.ExchangeContext(ctx, q, server.String())
	if err != nil {
		return nil, fmt.Errorf("asking %v: %w", server, err)
	}
	if !isAnswerTo(answer, q) {
		return nil, fmt.Errorf("asking %v: it answers another question", server)
	}
	return answer, nil
}

func isAnswerTo(answer, q *dns.Msg) bool {
	if !answer.Response || answer.Id != q.Id || len(answer.Question) != 1 {
		return false
	}
	a, b := answer.Question[0], q.Question[0]
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
