package kernelmode_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/kernelmode"
	"weft/lease"
)

// captured are the settings that a real flannel was run with, and left its state in testdata/flannel.
var captured = []string{"vxlan-masq-iptables", "vxlan-masq-nftables", "vxlan-dualstack", "vxlan-directrouting", "host-gw"}

// flannelsUnderlay are the addresses that the captured hosts had.
var flannelsUnderlay = map[string]struct{ device, v4, v6 string }{
	"ha": {"va", "10.99.0.1/24", "fd99::1/64"},
	"hb": {"vb", "10.99.0.2/24", "fd99::2/64"},
}

// flannelsNetwork reads the config and leases that flannel left in etcd.
func flannelsNetwork(t *testing.T, setting string) *lease.Snapshot {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "flannel", setting, "etcd.txt"))
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	config, err := lease.ParseConfig([]byte(lines[1]))
	must(t, err)
	var entries []lease.Entry
	for i := 2; i < len(lines); i += 2 {
		entries = append(entries, lease.Decode(lines[i], filepath.Base(lines[i]), []byte(lines[i+1])))
	}
	s := lease.Assemble(11, config, nil, entries)
	if len(s.Leases) != 2 || len(s.Problems) != 0 {
		t.Fatalf("snapshot of %s: %+v", setting, s)
	}
	return s
}

// flannelsHost is the view that one of the captured hosts had.
func flannelsHost(t *testing.T, setting, name string, u kernelmode.Underlay) kernelmode.Host {
	t.Helper()
	s := flannelsNetwork(t, setting)
	h := kernelmode.Host{Config: s.Config, Underlay: u, Snapshot: s}
	i := slices.IndexFunc(s.Leases, func(l lease.Lease) bool { return l.Attrs.PublicIP == u.IPv4 })
	if i < 0 {
		t.Fatalf("%s has no lease in %s", name, setting)
	}
	h.Own = s.Leases[i]
	h.MAC, h.MAC6 = vtepMAC(t, h.Own.Attrs.BackendData), vtepMAC(t, h.Own.Attrs.BackendV6Data)
	return h
}

// vtepMAC finds the address in flannel's BackendData; zero in none.
func vtepMAC(t *testing.T, data []byte) kernelmode.MAC {
	t.Helper()
	_, rest, found := strings.Cut(string(data), `"VtepMAC":"`)
	if !found {
		return kernelmode.MAC{}
	}
	m, err := kernelmode.ParseMAC(rest[:17])
	must(t, err)
	return m
}

// kernelPlan plans by the network's backend type.
func kernelPlan(t *testing.T, h kernelmode.Host) kernelmode.State {
	t.Helper()
	s, problems, err := tryPlan(h)
	must(t, err)
	if len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
	return s
}

func tryPlan(h kernelmode.Host) (kernelmode.State, []kernelmode.Problem, error) {
	switch h.Config.BackendType {
	case "vxlan":
		return kernelmode.VXLANPlan(h)
	case "host-gw":
		return kernelmode.HostGWPlan(h)
	}
	return kernelmode.IPIPPlan(h)
}

// flannelsText is what the captured commands printed, in sections.
func flannelsText(t *testing.T, setting, host string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "flannel", setting, host+".network.txt"))
	must(t, err)
	sections := map[string][]string{}
	title := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \n")
		if command, ok := strings.CutPrefix(line, "# "); ok {
			title = command
			continue
		}
		sections[title] = append(sections[title], line)
	}
	return sections
}

// The plan says line by line what flannel's commands said.
func TestPlansAreFlannels(t *testing.T) {
	for _, setting := range captured {
		for host, u := range flannelsUnderlay {
			t.Run(setting+"/"+host, func(t *testing.T) {
				k := memory{}
				h := flannelsHost(t, setting, host, k.underlayOf(u.device, u.v4, u.v6))
				s := kernelPlan(t, h)
				want := flannelsText(t, setting, host)
				equal(t, "routes", lines(s.Routes), ofFabric(want["ip route"], want["ip -6 route"]))
				equal(t, "neighbours", lines(s.Neighbours), ofFabric(want["ip neigh"]))
				equal(t, "forwarding entries", lines(s.FDB), ofFabric(want["bridge fdb"]))
				links := strings.Join(want["ip -d addr"], "\n")
				for _, l := range s.Links {
					for _, part := range linkParts(l) {
						if !strings.Contains(links, part) {
							t.Errorf("device %s: %q isn't in\n%s", l.Name, part, links)
						}
					}
				}
				for _, a := range s.Addresses {
					if !strings.Contains(links, strings.TrimSuffix(a.String(), " "+a.Dev)) {
						t.Errorf("address %s isn't in\n%s", a, links)
					}
				}
			})
		}
	}
}

func linkParts(l kernelmode.Link) []string {
	v := strings.SplitN(strings.SplitN(l.String(), " vxlan ", 2)[1], " dstport ", 2)
	return []string{l.Name + ": <BROADCAST,MULTICAST,UP", "link/ether " + l.MAC.String(), "vxlan " + v[0] + " ", "dstport 8472 nolearning ", " udpcsum "}
}

// lines renders objects as sorted lines without weft's label, which flannel's don't have.
func lines[O kernelmode.Object](objects []O) string {
	var all []string
	for _, o := range objects {
		all = append(all, strings.ReplaceAll(o.String(), " proto 87", ""))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// ofFabric keeps the lines about the fabric's own range, without what a Route leaves out.
func ofFabric(sections ...[]string) string {
	var all []string
	for _, line := range slices.Concat(sections...) {
		inside := strings.Contains(line, "10.244.") || strings.Contains(line, "fd10:244:") || strings.Contains(line, "self permanent")
		if inside && !strings.Contains(line, "proto kernel") {
			all = append(all, strings.TrimSuffix(line, " pref medium"))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
