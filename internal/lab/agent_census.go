package lab

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// CensusReply lists everything of a host that a program could leave behind:
// kind to sorted lines.
type CensusReply struct{ Lines map[string][]string }

// listings are the kinds that ip(8) tells of.
var listings = map[string][]string{
	"link":    {"ip", "-d", "-o", "link", "show"},
	"address": {"ip", "-o", "addr", "show"},
	"route 4": {"ip", "-4", "-d", "-o", "route", "show", "table", "all"},
	"route 6": {"ip", "-6", "-d", "-o", "route", "show", "table", "all"},
	"rule 4":  {"ip", "-4", "rule", "show"},
	"rule 6":  {"ip", "-6", "rule", "show"},
}

// Listings is a census of some of the kinds that ip(8) tells of: a quick look.
func (a *Agent) Listings(kinds []string, reply *CensusReply) error {
	reply.Lines = map[string][]string{}
	for _, kind := range kinds {
		out, err := run1(listings[kind]...)
		if err != nil {
			return err
		}
		reply.Lines[kind] = normalLines(kind, out)
	}
	return nil
}

// Census counts. Neighbour caches are left out: they come and go with traffic.
func (a *Agent) Census(_ struct{}, reply *CensusReply) error {
	running := processes() // before we start any
	if err := a.Listings(slices.Collect(maps.Keys(listings)), reply); err != nil {
		return err
	}
	reply.Lines["process"] = running
	tables, err := run1("nft", "-s", "list", "ruleset")
	if err != nil && !isWithoutNFTables(err) {
		return err
	}
	reply.Lines["nftables"] = nftTables(tables)
	if reply.Lines["hook"], err = hooks(); err != nil {
		return err
	}
	reply.Lines["sysctl"] = sysctls()
	reply.Lines["socket"] = sockets()
	reply.Lines["file"] = runFiles()
	return nil
}

// isWithoutNFTables: of a kernel that has none, nft(8) says one of these.
func isWithoutNFTables(err error) bool {
	text := err.Error()
	return strings.Contains(text, "Invalid argument") || strings.Contains(text, "not supported")
}

// volatile matches what changes by itself.
var volatile = []*regexp.Regexp{
	regexp.MustCompile(`^\d+: `), // interface index: an interface made anew has another
	regexp.MustCompile(` (valid_lft|preferred_lft|expires) \S+`),
	regexp.MustCompile(` qlen \d+| numtxqueues.*$`),
	regexp.MustCompile(` mtu \d+ qdisc \S+ .*$`),
}

func normalLines(kind, out string) []string {
	var lines []string
	for line := range strings.Lines(out) {
		line = strings.Join(strings.Fields(strings.ReplaceAll(line, "\\", " ")), " ")
		if kind == "link" {
			lines = append(lines, linkLine(line))
			continue
		}
		for _, re := range volatile {
			line = re.ReplaceAllString(line, "")
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

var linkPattern = regexp.MustCompile(`^\d+: (\S+): <([^>]*)> mtu (\d+)`)

// linkLine keeps name, MTU and whether it is up. Counters, offload limits and
// the state of the carrier are not somebody's leavings.
func linkLine(line string) string {
	m := linkPattern.FindStringSubmatch(line)
	if m == nil {
		return line
	}
	name, _, _ := strings.Cut(m[1], "@")
	up := slices.Contains(strings.Split(m[2], ","), "UP")
	return fmt.Sprintf("%s mtu %s up %t", name, m[3], up)
}

// nftTables splits a ruleset at its tables and leaves out the lab's own, with
// which it makes faults.
func nftTables(out string) []string {
	var tables []string
	for _, block := range strings.SplitAfter(out, "\n}\n") {
		block = strings.TrimSpace(block)
		if block == "" || strings.HasPrefix(strings.TrimPrefix(block, "table "), "netdev "+faultTable) {
			continue
		}
		tables = append(tables, block)
	}
	slices.Sort(tables)
	return tables
}

// noSysctl matches values that the kernel changes, or that cannot be compared.
var noSysctl = regexp.MustCompile(`nf_conntrack_(count|buckets)|/flush$|route/|inet_peer|tcp_(mem|fastopen_key)|udp_mem|random|/stable_secret$|ip_local_ports|/neigh/`)

// sysctls reads those of the network namespace.
func sysctls() []string {
	var lines []string
	filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || noSysctl.MatchString(path) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil // some can only be written
		}
		lines = append(lines, strings.TrimPrefix(path, "/proc/sys/")+" = "+strings.TrimSpace(string(b)))
		return nil
	})
	return lines
}

// sockets lists listeners and all UDP and raw sockets, without their states'
// details, and named UNIX sockets.
func sockets() []string {
	var lines []string
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "unix"} {
		b, err := os.ReadFile("/proc/self/net/" + table)
		if err != nil {
			continue
		}
		for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			f := strings.Fields(line)
			if i == 0 || len(f) < 4 {
				continue
			}
			switch {
			case strings.HasPrefix(table, "tcp"):
				if f[3] == "0A" { // LISTEN
					lines = append(lines, table+" "+f[1])
				}
			case table == "unix":
				if len(f) == 8 && strings.HasPrefix(f[7], "/") {
					lines = append(lines, table+" "+f[7])
				}
			case table == "packet":
				lines = append(lines, table+" "+f[3])
			default:
				lines = append(lines, table+" "+f[1])
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// runFiles lists sockets and files under /run, which is the host's own. Empty
// directories are left out: /run/re6st and /run/wireguard are shared by all
// instances and programs that use them, and nobody's to remove.
func runFiles() []string {
	var lines []string
	for _, dir := range []string{"/run", "/var/run"} {
		if target, err := filepath.EvalSymlinks(dir); err != nil || target != dir {
			continue
		}
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				lines = append(lines, d.Type().String()+" "+path)
			}
			return nil
		})
	}
	return lines
}

// processes lists the command lines of the host, the agent's left out.
func processes() []string {
	dirs, _ := os.ReadDir("/proc")
	var lines []string
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", d.Name(), "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", d.Name(), "cmdline"))
		if len(cmdline) == 0 {
			// In the middle of execve a process has a name but no arguments yet.
			comm, _ := os.ReadFile(filepath.Join("/proc", d.Name(), "comm"))
			cmdline = fmt.Appendf(nil, "[%s]", bytes.TrimSpace(comm))
		}
		lines = append(lines, strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " ")))
	}
	slices.Sort(lines)
	return lines
}
