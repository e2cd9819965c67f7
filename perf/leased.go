package perf

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file is about subjects that lease their subnets in etcd: weft and flannel. Both are started as
// their users would start them, from the same config, and both write the same subnet.env.

// Network configs, with as many subnets as anyone could want.
const (
	udpNetwork   = `{"Network":"10.244.0.0/16","Backend":{"Type":"udp"}}`
	vxlanNetwork = `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`
)

// A leased says what buildLeased starts.
type leased struct {
	program, network string
	args             func(host int, endpoint, subnetFile string) []string
	// idle: on that host the program sets the kernel up and moves no packets.
	idle func(host int) bool
}

// startEtcd runs weft's own etcd on host 1 and writes the network config into it. It is a process of
// its own and not embedded in an agent, so that its memory and CPU time don't look like a forwarder's.
// Once both leases are there it does next to nothing.
func startEtcd(ctx context.Context, f *fabric, o *Options, network string) (endpoint string, err error) {
	host := f.lab.Host(1)
	endpoint = "http://" + netip.AddrPortFrom(host.Addr, 2379).String()
	peer := "http://" + netip.AddrPortFrom(host.Addr, 2380).String()
	etcd, err := start(ctx, f.lab, host.Namespace, "etcd", o.Weft, "etcd",
		"--data-dir="+filepath.Join(f.lab.Dir(), "etcd"),
		"--listen-client-urls="+endpoint, "--advertise-client-urls="+endpoint,
		"--listen-peer-urls="+peer)
	if err != nil {
		return "", err
	}
	f.others = append(f.others, etcd)
	return endpoint, await(ctx, fabricPatience, "etcd to take the network config", f.others, func() error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		out, err := host.Command(ctx, o.Weft, "config", "set", "--etcd-endpoints="+endpoint, network).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// buildLeased starts the program on both hosts, waits for their leases, and adds the containers. The
// subnet file is the signal: both programs write it when they can forward, as Docker's users know.
func buildLeased(ctx context.Context, f *fabric, o *Options, l leased) error {
	endpoint, err := startEtcd(ctx, f, o, l.network)
	if err != nil {
		return err
	}
	var subnets [2]netip.Prefix
	for i, host := range f.lab.Hosts() {
		file := filepath.Join(f.lab.Dir(), fmt.Sprintf("subnet%d.env", host.Number))
		name := fmt.Sprintf("%s%d", filepath.Base(l.program), host.Number)
		agent, err := start(ctx, f.lab, host.Namespace, name, l.program, l.args(host.Number, endpoint, file)...)
		if err != nil {
			return err
		}
		if l.idle != nil && l.idle(host.Number) {
			f.others = append([]*process{agent}, f.others...) // ended before the etcd
		} else {
			f.forwarders = append(f.forwarders, agent)
		}
		err = await(ctx, fabricPatience, name+" to lease a subnet", f.processes(), func() (err error) {
			subnets[i], f.mtu, err = readSubnetFile(file)
			return err
		})
		if err != nil {
			return err
		}
	}
	return f.connect(o.Ends, subnets)
}

// buildUDP runs the real agent on both hosts, as a user would.
func buildUDP(ctx context.Context, f *fabric, o *Options, s subject) error {
	return buildAgents(ctx, f, o, s, udpNetwork)
}

// buildMix is buildUDP in a VXLAN network, each host with a datapath of its own.
func buildMix(ctx context.Context, f *fabric, o *Options, s subject) error {
	return buildAgents(ctx, f, o, s, vxlanNetwork)
}

// buildAgents starts the agents. Paths that two agents on one machine would share go into the lab's directory:
// namespaces split networks, not file systems.
func buildAgents(ctx context.Context, f *fabric, o *Options, s subject, network string) error {
	extra, err := o.knownFlags(ctx, s.extra)
	if err != nil {
		return err
	}
	flags := slices.Concat(s.flags, extra, o.WeftFlags)
	if len(flags) > 0 {
		f.detail += " (" + strings.Join(flags, " ") + ")"
	}
	args := func(host int, endpoint, subnetFile string) []string {
		private := filepath.Join(f.lab.Dir(), fmt.Sprintf("weft%d", host))
		return append([]string{
			"agent", "--etcd-endpoints=" + endpoint, "--iface=" + f.lab.Host(host).Device(), "--datapath=" + s.sides[host-1],
			"--subnet-file=" + subnetFile, "--state-dir=" + private, "--admin-socket=" + private + ".sock",
		}, flags...)
	}
	for i, datapath := range s.sides {
		if datapath == express {
			private := filepath.Join(f.lab.Dir(), fmt.Sprintf("weft%d", i+1))
			f.lanes[i] = &lane{weft: o.Weft, space: f.lab.Host(i + 1).Namespace, private: private}
		}
	}
	idle := func(host int) bool { return s.sides[host-1] == kernel }
	if err := buildLeased(ctx, f, o, leased{program: o.Weft, network: network, args: args, idle: idle}); err != nil {
		return err
	}
	return f.awaitLanes(ctx)
}

// buildFlannel runs flanneld on both hosts. Without masquerading and forward rules it needs neither
// iptables nor nft, and forwards as much as weft does.
func buildFlannel(ctx context.Context, f *fabric, o *Options, _ subject) error {
	args := func(host int, endpoint, subnetFile string) []string {
		return []string{
			"-etcd-endpoints=" + endpoint, "-iface=" + f.lab.Host(host).Device(), "-subnet-file=" + subnetFile,
			"-ip-masq=false", "-iptables-forward-rules=false", "-healthz-port=0",
		}
	}
	return buildLeased(ctx, f, o, leased{program: "flanneld", network: udpNetwork, args: args})
}

// readSubnetFile reads the lease and the MTU that an agent wrote for Docker.
func readSubnetFile(path string) (subnet netip.Prefix, mtu int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return subnet, 0, err
	}
	subnet, mtu, err = parseSubnetFile(text)
	if err != nil {
		return subnet, 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return subnet, mtu, nil
}

// parseSubnetFile reads FLANNEL_SUBNET, of which it returns the network, and FLANNEL_MTU.
func parseSubnetFile(text []byte) (subnet netip.Prefix, mtu int, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() && err == nil {
		key, value, _ := strings.Cut(lines.Text(), "=")
		switch key {
		case "FLANNEL_SUBNET":
			subnet, err = netip.ParsePrefix(value)
		case "FLANNEL_MTU":
			mtu, err = strconv.Atoi(value)
		}
	}
	if err == nil && (!subnet.IsValid() || mtu <= 0) {
		err = fmt.Errorf("no FLANNEL_SUBNET and FLANNEL_MTU in it")
	}
	return subnet.Masked(), mtu, err
}
