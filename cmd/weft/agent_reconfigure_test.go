package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/cmd/internal/admin"
	"weft/lease/etcd"
	"weft/perf/netlab"
)

const configKeyOfTests = etcd.DefaultPrefix + "/config"

// becomes waits until the state of host n satisfies a check that says what is missing; "": nothing.
func (w *world) becomes(n int, what string, missing func(admin.State) string) (state admin.State) {
	w.Helper()
	w.until(fmt.Sprintf("agent %d: %s", n, what), func() (err error) {
		if state, err = w.state(n); err != nil {
			return err
		}
		if text := missing(state); text != "" || !state.Ready {
			return fmt.Errorf("%s; ready %t (%s), refused %q", text, state.Ready, state.Waiting, state.Network.Refused)
		}
		return nil
	})
	return state
}

// refused waits until host n says that it can't follow the config, and why, and asserts that nothing
// else changed.
func (w *world) refused(n int, why string, before netip.Prefix, device string) {
	w.Helper()
	state := w.becomes(n, "refusal", func(s admin.State) string {
		if !strings.Contains(s.Network.Refused, why) {
			return "it doesn't say " + why
		}
		return ""
	})
	if state.Lease == nil || state.Lease.Subnet != before || len(state.Peers) != 1 || w.device(n) != device {
		w.Errorf("a config that can't be followed changed something: lease %+v, peers %v, device %s", state.Lease, state.Peers, w.device(n))
	}
}

// What the network config says may change under running hosts: what can be followed is, under the same
// lease; what can't leaves everything as it is, and says so.
func TestConfigChanges(t *testing.T) {
	w := newWorld(t, 2)
	w.startEtcd()
	w.setConfig(testConfig)
	var containers []*netlab.Container
	leases := map[int]netip.Prefix{}
	for n := 1; n <= 2; n++ {
		w.startAgent(n)
	}
	for n := 1; n <= 2; n++ {
		leases[n] = w.ready(n, 1).Lease.Subnet
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	client := w.etcd()
	follows := func(t *testing.T, config string, missing func(admin.State) string) {
		w := w.with(t)
		w.put(client, configKeyOfTests, config)
		for n := 1; n <= 2; n++ {
			if state := w.becomes(n, config, missing); state.Lease.Subnet != leases[n] || state.Network.Refused != "" {
				t.Errorf("host %d: lease %v, before %v; refused %q", n, state.Lease.Subnet, leases[n], state.Network.Refused)
			}
		}
		w.until("packets", func() error { return transfer(containers[0], containers[1], 100_000, patience) })
	}
	refuses := func(t *testing.T, change func(), why string) {
		w := w.with(t)
		devices := map[int]string{1: w.device(1), 2: w.device(2)}
		change()
		for n := 1; n <= 2; n++ {
			w.refused(n, why, leases[n], devices[n])
		}
		w.allPairs(containers)
		if _, out := w.run(w.lab.Host(1).Namespace, "status", "--admin-socket", w.socket(1)); !strings.Contains(out, "\nrefused ") {
			t.Errorf("weft status says nothing of it:\n%s", out)
		}
	}

	t.Run("the port", func(t *testing.T) {
		follows(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9000}}`, func(s admin.State) string {
			if len(s.Peers) != 1 || s.Peers[0].Outer.Port() != 9000 || s.Datapath.Port != 9000 {
				return fmt.Sprintf("port %d, peers %v", s.Datapath.Port, s.Peers)
			}
			return ""
		})
	})
	t.Run("the MTU", func(t *testing.T) {
		follows(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9000,"MTU":1400}}`, func(s admin.State) string {
			if s.Datapath.MTU != 1372 {
				return fmt.Sprintf("MTU %d", s.Datapath.MTU)
			}
			return ""
		})
	})
	t.Run("the range for new leases", func(t *testing.T) {
		device := w.with(t).device(1)
		follows(t, `{"Network":"10.5.0.0/16","SubnetLen":26,"Backend":{"Type":"udp","Port":9000,"MTU":1400}}`, func(s admin.State) string {
			if !strings.Contains(s.Network.Note, "is kept until its agent starts anew") {
				return fmt.Sprintf("note %q", s.Network.Note)
			}
			return ""
		})
		if now := w.with(t).device(1); now != device {
			t.Error("a change for leases to come had the device made anew")
		}
	})
	t.Run("no JSON", func(t *testing.T) {
		refuses(t, func() { w.put(client, configKeyOfTests, `{"Network":`) }, "correct it with: weft config set")
	})
	t.Run("deleted", func(t *testing.T) {
		refuses(t, func() {
			if _, err := client.Delete(w.Context(), configKeyOfTests); err != nil {
				t.Fatal(err)
			}
		}, "was deleted from the store")
	})
	t.Run("another network", func(t *testing.T) {
		refuses(t, func() { w.put(client, configKeyOfTests, `{"Network":"10.6.0.0/16"}`) }, "no room for this host's lease")
	})
	t.Run("back again", func(t *testing.T) {
		follows(t, testConfig, func(s admin.State) string {
			if s.Datapath.Port != 8285 || len(s.Peers) != 1 || s.Peers[0].Outer.Port() != 8285 {
				return fmt.Sprintf("port %d, peers %v", s.Datapath.Port, s.Peers)
			}
			return ""
		})
	})
	t.Run("a port that another program has", func(t *testing.T) { w.with(t).portTaken(client, containers) })
}

// One host can't open the new port: it stays with the old one, its peer goes on to the new, and they
// reach each other, since each tells its own.
func (w *world) portTaken(client *clientv3.Client, containers []*netlab.Container) {
	busy, err := w.lab.Host(1).ListenPacket(w.Context(), "udp4", fmt.Sprintf("%v:9100", w.lab.Host(1).Addr))
	if err != nil {
		w.Fatal(err)
	}
	defer busy.Close()
	w.put(client, configKeyOfTests, `{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":9100}}`)
	w.becomes(1, "rolled back", func(s admin.State) string {
		if !strings.Contains(s.Network.Refused, "UDP port 9100 is in use by another program") || s.Datapath.Port != 8285 ||
			len(s.Peers) != 1 || s.Peers[0].Outer.Port() != 9100 {
			return fmt.Sprintf("port %d, peers %v", s.Datapath.Port, s.Peers)
		}
		return ""
	})
	w.becomes(2, "following", func(s admin.State) string {
		if s.Datapath.Port != 9100 || len(s.Peers) != 1 || s.Peers[0].Outer.Port() != 8285 {
			return fmt.Sprintf("port %d, peers %v", s.Datapath.Port, s.Peers)
		}
		return ""
	})
	w.allPairs(containers)
}

// What changed in the store while it was away is made up for when it returns; what didn't stays.
func TestReconciles(t *testing.T) {
	for _, test := range []struct {
		name, config string // config: what the network becomes
		taken        bool   // somebody else has the lease by then
		network      string // which the lease is in afterwards
	}{
		{name: "the lease was lost", taken: true, network: "10.5.0.0/16"},
		{name: "the network became another", config: `{"Network":"10.6.0.0/16"}`, network: "10.6.0.0/16"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, 1)
			server := w.startEtcd()
			w.setConfig(testConfig)
			agent := w.startAgent(1)
			before := w.ready(1, 0).Lease.Subnet
			w.until("a copy on disk", func() error { _, err := os.Stat(w.copyFile(1)); return err })
			agent.end(t, syscall.SIGKILL)
			client := w.etcd()
			if test.taken {
				w.put(client, etcd.DefaultPrefix+"/subnets/"+strings.ReplaceAll(before.String(), "/", "-"), `{"PublicIP":"203.0.113.9","PublicIPv6":null}`)
			}
			if test.config != "" {
				w.put(client, configKeyOfTests, test.config)
			}
			server.end(t, syscall.SIGTERM)

			w.startAgent(1)
			if state := w.ready(1, 0); state.Lease.Subnet != before || !state.Store.Copy.InUse {
				t.Errorf("without the store: lease %v, before %v; %+v", state.Lease.Subnet, before, state.Store)
			}
			w.startEtcd()
			after := w.becomes(1, "another lease", func(s admin.State) string {
				if s.Lease == nil || s.Lease.Subnet == before {
					return "it has the old one"
				}
				return ""
			})
			if !netip.MustParsePrefix(test.network).Contains(after.Lease.Subnet.Addr()) || after.Store.Copy != nil && after.Store.Copy.InUse {
				t.Errorf("with the store: lease %v, %+v", after.Lease.Subnet, after.Store)
			}
			env, err := os.ReadFile(w.subnetFile(1))
			if want := fmt.Sprintf("FLANNEL_SUBNET=%v/24\n", after.Lease.Subnet.Addr().Next()); err != nil || !strings.Contains(string(env), want) {
				t.Errorf("subnet.env lacks %q: %s (%v)", want, env, err)
			}
		})
	}
}

// A copy that is of no use is named, and the agent waits for the store as it would without one.
func TestUselessCopies(t *testing.T) {
	w := newWorld(t, 2)
	server := w.startEtcd()
	w.setConfig(testConfig)
	agent := w.startAgent(1)
	w.ready(1, 0)
	w.until("a copy on disk", func() error { _, err := os.Stat(w.copyFile(1)); return err })
	good, err := os.ReadFile(w.copyFile(1))
	if err != nil {
		t.Fatal(err)
	}
	server.end(t, syscall.SIGKILL)
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	for _, test := range []struct {
		name string
		host int
		copy []byte
		args []string
		want string
	}{
		{"damaged", 1, flipped, nil, "its checksum is wrong: delete the file"},
		{"of another version", 1, append([]byte("weftleases\x00\x09"), good[12:]...), nil, "it is of another version"},
		{"of another prefix", 1, good, []string{"--etcd-prefix", "/blue"}, "this agent's store is etcd /blue"},
		{"of another host", 2, good, nil, "it is of the one at " + w.lab.Host(1).Addr.String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := w.with(t)
			agent.end(t, syscall.SIGKILL)
			if err := os.MkdirAll(strings.TrimSuffix(w.copyFile(test.host), "/leases"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(w.copyFile(test.host), test.copy, 0o600); err != nil {
				t.Fatal(err)
			}
			agent = w.startAgent(test.host, test.args...)
			w.until("the copy is ignored", func() error {
				state, err := w.state(test.host)
				if err == nil && (state.Store.Copy == nil || !strings.Contains(state.Store.Copy.Ignored, test.want)) {
					err = fmt.Errorf("it says of the copy: %+v", state.Store.Copy)
				}
				return err
			})
			if test.name == "damaged" { // one stands for all: the first attempt at the store takes five seconds
				w.waiting(test.host, "start it, or correct --etcd-endpoints")
			}
			if state, err := w.state(test.host); err != nil || state.Ready || state.Lease != nil {
				t.Errorf("state %+v, %v", state, err)
			}
		})
	}
}
