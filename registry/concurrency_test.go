package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/anishathalye/porcupine"

	"re6st/registry/api"
)

// rounds gives the count for CI, the one that RE6ST_SOAK asks for, or the short one.
func rounds(t *testing.T, short, ci, soak int) int {
	t.Helper()
	switch {
	case os.Getenv("RE6ST_SOAK") != "":
		return soak
	case testing.Short():
		return short
	}
	return ci
}

// use is one attempt to enrol, as porcupine sees it.
type use struct {
	key int
}

type outcome struct {
	prefix string // empty: refused
}

// tokenModel is a single-use token: the first key that comes gets a prefix, and
// the same again whenever it repeats; all others get nothing.
var tokenModel = porcupine.Model{
	Init: func() any { return [2]string{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.([2]string), input.(use), output.(outcome)
		key := strconv.Itoa(in.key)
		switch {
		case s[0] == "":
			return out.prefix != "", [2]string{key, out.prefix}
		case s[0] == key:
			return out.prefix == s[1], s
		}
		return out.prefix == "", s
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("key %d -> %q", input.(use).key, output.(outcome).prefix)
	},
}

// TestT04_ParallelEnrolmentWithOneToken: 64 goroutines with 32 keys, each key
// twice at once, want one token.
//
//re6st:reduced 20 of 1000 rounds; full in make soak
func TestT04_ParallelEnrolmentWithOneToken(t *testing.T) {
	r, _ := newRegistry(t)
	const goroutines, keys = 64, 32
	for round := range rounds(t, 3, 20, 1000) {
		token := r.mustToken(t, api.TokenRequest{})
		operations := make([]porcupine.Operation, goroutines)
		var wait sync.WaitGroup
		var clock sync.Mutex
		tick := int64(0)
		now := func() int64 {
			clock.Lock()
			defer clock.Unlock()
			tick++
			return tick
		}
		// A key is for one node: each round needs its own.
		fresh := make([][]byte, keys)
		for i := range fresh {
			fresh[i] = newCSR(t, newKey(t))
		}
		for g := range goroutines {
			wait.Go(func() {
				operation := porcupine.Operation{ClientId: g, Input: use{key: g % keys}, Call: now()}
				source := netip.AddrFrom4([4]byte{10, 0, 0, byte(g)}) // else the losers use up its budget
				answer, err := r.Enrol(context.Background(), source, api.EnrolRequest{Secret: token.SecretText(), CSR: fresh[g%keys]})
				out := outcome{}
				var p *api.Problem
				switch {
				case err == nil:
					out.prefix = r.nodeOf(t, answer.Certificate).Prefix.String()
				case errors.As(err, &p) && p.Code != api.CodeTokenRefused:
					t.Errorf("round %d: %v", round, err)
				}
				operation.Output, operation.Return = out, now()
				operations[g] = operation
			})
		}
		wait.Wait()
		if !porcupine.CheckOperations(tokenModel, operations) {
			t.Fatalf("round %d: the history is not that of a single-use token: %+v", round, operations)
		}
		r.failures = newBudgets()
	}
	tokens, err := r.Tokens(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := r.Nodes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for _, token := range tokens.Tokens {
		if token.Used > 1 {
			t.Errorf("token %d was used %d times", token.ID, token.Used)
		}
		used += token.Used
	}
	if used != len(nodes.Nodes) {
		t.Errorf("%d uses of tokens, and %d nodes", used, len(nodes.Nodes))
	}
}

// The model must be able to say no.
func TestT04_TheCheckCatchesATokenUsedTwice(t *testing.T) {
	twice := []porcupine.Operation{
		{ClientId: 0, Input: use{0}, Call: 0, Output: outcome{"a"}, Return: 10},
		{ClientId: 1, Input: use{1}, Call: 5, Output: outcome{"b"}, Return: 12},
	}
	if porcupine.CheckOperations(tokenModel, twice) {
		t.Error("two keys with one token pass")
	}
}
