package deps

// law is the import law. One line a package:
//
//	[pure] package[ tests]: permitted imports of ours
//
// {a,b} expands, * stands for one path element. "tests" adds what only the
// package's tests may import, beyond what the package itself may. A permission
// with a question mark may be used and need not: for the assembly, which wires
// what there is. Every package must be listed.
const law = `
# Values. Everything may stand on them, they stand on nothing.
pure addressing:
pure registry/network: addressing
pure registry/api: addressing
pure tunnel/control: addressing
pure babel/wire:
pure internal/identity: addressing registry/network

# Machines. babel and tunnel do not know each other: tunnel/agent declares the
# few methods of routing that it needs.
pure babel/mac: babel/wire?
pure babel: babel/wire babel/mac?
pure tunnel: addressing tunnel/control
pure internal/origin: addressing internal/identity
pure internal/liveness: addressing
pure internal/border:
pure internal/names: addressing
pure internal/nat64: addressing
pure internal/traffic:
# The kernel's forwarding decision, copied.
pure internal/fib:

# Edges of the node: one kind of I/O each.
internal/durable:
internal/kernel: internal/fib?
babel/speaker: babel babel/wire babel/mac? internal/kernel # port and group are the codec's
pure tunnel/wg/userspace/ecn:
tunnel/wg/userspace/device: tunnel/wg/userspace/ecn
tunnel/wg/userspace: tunnel/wg/userspace/device internal/fib?
tunnel/wg/userspace tests: tunnel/wg/userspace/ecn internal/lab/packets
tunnel/wg: internal/{kernel,fib} tunnel/wg/userspace
tunnel/wg/wgtest: tunnel/wg
tunnel/traverse:
tunnel/carrier: internal/identity
tunnel/agent: addressing tunnel tunnel/{control,wg,traverse,carrier} internal/identity
tunnel/agent tests: tunnel/wg/wgtest
ebpf: internal/fib
ebpf tests: internal/{kernel,measure} internal/lab/packets
internal/gateway: internal/border
pure internal/lan/advert:
pure internal/lan/lease: internal/lan/advert
internal/lan: internal/lan/{advert,lease} internal/kernel
internal/names/server: internal/names
internal/nat64/tun: internal/nat64
internal/config:
internal/trace:
internal/status:

# The registry never imports the node's side.
registry/ca: addressing
registry/store: addressing registry/api internal/durable
# Its client must know the registry's certificate from any other.
registry/client: registry/api internal/identity
registry/web:
registry: addressing registry/{api,ca,network,store,web} internal/{durable,identity}

# Assembly: the node's whole side, and of the registry only what a client needs.
internal/node: addressing? babel? babel/{wire,speaker}? tunnel? tunnel/{control,wg,traverse,carrier,agent}? ebpf? internal/{kernel,fib,traffic,identity,origin,liveness,border,gateway,lan,lan/advert,lan/lease,names,names/server,nat64,nat64/tun,trace,config,durable,status}? registry/{api,client,network}?
internal/node tests: tunnel/wg/wgtest
# The Babel engine alone, without a mesh: re6stnode babel.
internal/router: babel? babel/{wire,mac,speaker}? internal/{kernel,durable,status}?
cmd/node: internal/{config,status,node} internal/router?
cmd/registry: internal/{config,durable,status} registry registry/client

# Nothing of the product imports these.
internal/lab/solo:
internal/lab: internal/lab/solo
pure internal/lab/packets:
internal/e2e tests: internal/lab
# Shortcuts compared with the stack.
internal/oracle tests: internal/lab/packets ebpf? internal/{fib,kernel}? tunnel/wg? tunnel/wg/userspace?
# Our Babel and others'.
internal/interop tests: internal/lab babel/wire? babel/mac?
internal/sim: addressing? babel? babel/wire? tunnel? tunnel/control? registry/network? internal/{identity,origin,liveness,border}?
internal/deps:
# What the benchmarks have in common.
internal/measure:
# Only tunnels: what the data plane's benchmark compares.
scripts/bench-dataplane/tunnels: tunnel/wg/userspace internal/fib?
scripts/*: internal/{lab,sim}? internal/measure? babel? babel/wire? tunnel/wg/userspace? internal/fib?
`

// everyTest is what the tests of every package may import.
var everyTest = []string{"internal/lab", "internal/lab/solo"}

// ban keeps a library, or some of its names, to the packages that may use it.
type ban struct {
	path   string // import path; with /... the tree below it too
	names  []string
	only   []string // patterns of package paths
	tests  bool     // tests are free to use it
	reason string
}

var bans = []ban{
	{
		path: "github.com/vishvananda/netlink/...", only: netlinkUsers,
		reason: "kernel state has two owners, or undo and reconciliation miss what others put there",
	},
	{path: "github.com/mdlayher/netlink/...", only: netlinkUsers, reason: "as above"},
	{path: "github.com/mdlayher/genetlink/...", only: netlinkUsers, reason: "as above"},
	{path: "golang.zx2c4.com/wireguard/wgctrl/...", only: netlinkUsers, reason: "as above"},
	{path: "github.com/google/nftables/...", only: netlinkUsers, reason: "as above"},
	{
		path: "github.com/cilium/ebpf/...", only: []string{"ebpf"},
		reason: "loading decides by the running kernel; one place knows how",
	},
	{
		path: "github.com/mattn/go-sqlite3", only: []string{"registry/store"},
		reason: "it needs cgo, and the node is built without",
	},
	{
		path: "os/exec", only: executors, tests: true,
		reason: "a daemon with privileges executes nothing: no PATH, no shell, no quoting to get wrong",
	},
	{path: "os", names: []string{"StartProcess"}, only: executors, tests: true, reason: "as os/exec"},
	{path: "syscall", names: []string{"Exec", "ForkExec", "StartProcess"}, only: executors, tests: true, reason: "as os/exec"},
	{path: "golang.org/x/sys/unix", names: []string{"Exec"}, only: executors, tests: true, reason: "as os/exec"},
}

var (
	netlinkUsers = []string{"internal/kernel", "tunnel/wg", "internal/gateway"}
	executors    = []string{"internal/lab", "internal/lab/solo", "internal/e2e", "internal/measure", "scripts/*"}
)
