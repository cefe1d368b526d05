package sim
import ("testing";"time";"fmt";"os")
func TestDbg2(t *testing.T) {
			fl, _ := os.Create("/tmp/house/sim.trace")
			w := New(Config{Seed: uint64(0), Trace: fl})
			nd := Random(w, 10, 4, Tunnels)
			for i, o := range gatewayOrigins() { nd[i%3].Announce(o) }
			w.Run(time.Minute)
			w.Storm(4*time.Minute, 3*time.Second, CutLinks)
}
func TestDbg(t *testing.T) {
	for _, f := range []Faults{CutLinks, CutOneWay, LoseCarrier, LosePackets, ChangeLatency, Disorder, WithdrawPrefixes, KillNodes, SlowFIBs} {
		n, c := 0, 0
		first := ""
		for seed := range 8 {
			w := New(Config{Seed: uint64(seed)})
			nd := Random(w, 10, 4, Tunnels)
			for i, o := range gatewayOrigins() { nd[i%3].Announce(o) }
			w.Run(time.Minute)
			c += len(w.Violations())
			w.Storm(4*time.Minute, 3*time.Second, f)
			w.Run(time.Hour)
			n += len(w.Violations())
			if first=="" && len(w.Violations())>0 { first=fmt.Sprint(seed, w.Violations()[0]) }
		}
		fmt.Println(f, c, n, first)
	}
}
