// Package lab builds small internets out of Linux namespaces and runs the
// real programs in them: hosts, routers, firewalls, NATs, links with faults.
// It serves tests and the demo. It is not part of the product: unlike the
// daemons it may run ip and nft.
//
// # Hosts
//
// A host is a process, the agent, in network, mount, PID, UTS and IPC
// namespaces of its own, with a private /run (programs on several hosts would
// otherwise meet in /run/re6st and /var/run/wireguard), /proc and /sys. The
// namespaces have no names and are bound nowhere: they exist as long as the
// agent does, and the agent is killed by the kernel when the process that made
// the lab dies. So nothing has to be cleaned up after a crash or a SIGKILL,
// and labs side by side cannot collide. Only temporary directories outlive a
// killed lab; their names carry the pid, and the next lab removes those of
// dead processes.
//
//	test process ── socketpair, net/rpc ──> agent (PID 1 of the host)
//	      │                                 probes, streams, captures, census
//	      └── fork on a thread inside the namespaces ──> re6stnode, ip, nft, ...
//
// To look around in a running lab: nsenter -t <agent's pid> -a.
//
// # Use
//
// The program that uses the lab must give it the chance to be an agent:
//
//	func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }
//
// and then:
//
//	l := lab.New(t)
//	in := l.Internet("core")
//	a, b := l.Host("a"), l.Host("b")
//	in.Attach(a, lab.Dual)
//	pb := in.Attach(b, lab.IPv4)
//	a.Ping(pb.V4)
//
// Mesh goes further: a registry and nodes, joined and running.
package lab
