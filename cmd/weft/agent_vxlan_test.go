package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease/etcd"
	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

const (
	vxlanConfig = `{"EnableIPv6":true,"Network":"10.5.0.0/16","IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}`
	hostGWOnly  = `{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}`
)

// needVXLAN skips where the kernel makes no vxlan devices.
func (w *world) needVXLAN() {
	w.Helper()
	host := w.lab.Host(1).Namespace
	out, err := host.Command(w.Context(), "ip", "link", "add", "weftneed", "type", "vxlan", "id", "4242", "dstport", "4242").CombinedOutput()
	if err != nil {
		labtest.Missing(w.T, fmt.Errorf("the kernel makes no vxlan devices: %s", out))
	}
	_ = host.Command(w.Context(), "ip", "link", "del", "weftneed").Run()
}

// datagrams has UDP datagrams of a size come back between two containers, over each family.
func (w *world) datagrams(from, to *netlab.Container, size int) {
	w.Helper()
	for _, at := range []netip.Addr{to.Addr, to.Addr6} {
		if !at.IsValid() {
			continue
		}
		echo, err := to.ListenPacket(w.Context(), "udp", netip.AddrPortFrom(at, 0).String())
		if err != nil {
			w.Fatal(err)
		}
		go func() {
			buffer := make([]byte, 1<<16)
			for {
				n, sender, err := echo.ReadFrom(buffer)
				if err != nil {
					return
				}
				_, _ = echo.WriteTo(buffer[:n], sender) // a lost one is sent again
			}
		}()
		conn, err := from.Dial(w.Context(), "udp", echo.LocalAddr().String())
		if err != nil {
			w.Fatal(err)
		}
		sent, got := bytes.Repeat([]byte{byte(size)}, size), make([]byte, 1<<16)
		w.until(fmt.Sprintf("%d bytes of UDP from %s to %v and back", size, from.Name(), at), func() error {
			if _, err := conn.Write(sent); err != nil {
				return err
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				return err
			}
			n, err := conn.Read(got)
			if err == nil && !bytes.Equal(got[:n], sent) {
				err = fmt.Errorf("%d other bytes came back", n)
			}
			return err
		})
		_, _ = conn.Close(), echo.Close()
	}
}

// One vxlan host in user space and one in the kernel: IPv4 and IPv6, TCP and ICMP, the records flannel's to
// the byte, and the subnet.env that flannel writes.
func TestVXLANHosts(t *testing.T) {
	for _, mix := range [][2]string{{"userspace", "userspace"}, {"userspace", "kernel"}, {"kernel", "kernel"}} {
		t.Run(mix[0]+" and "+mix[1], func(t *testing.T) {
			w := newWorld(t, 2)
			w.needVXLAN()
			w.startEtcd()
			w.setConfig(vxlanConfig)
			var containers []*netlab.Container
			agents := map[int]*program{}
			for n := 1; n <= 2; n++ {
				agents[n] = w.startAgent(n, "--datapath", mix[n-1])
			}
			for n := 1; n <= 2; n++ {
				device := map[string]string{"userspace": "weft0", "kernel": "flannel.1"}[mix[n-1]]
				if d := w.ready(n, 2).Datapath; d.Kind != mix[n-1] || d.MTU != 1450 || d.Port != 8472 || d.Device != device {
					t.Errorf("datapath of host %d: %+v", n, d)
				}
				containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
				env, err := os.ReadFile(w.subnetFile(n))
				if err != nil || !strings.Contains(string(env), "FLANNEL_MTU=1450\n") {
					t.Errorf("subnet.env: %s, %v", env, err)
				}
			}
			w.vxlanRecords(w.etcd())
			w.allPairs(containers)
			for _, size := range []int{1, 1380, 4000} {
				w.datagrams(containers[0], containers[1], size)
				w.datagrams(containers[1], containers[0], size)
			}
			if mix[1] == "kernel" {
				w.outlives(agents[2], containers)
			}
		})
	}
}

// vxlanRecords compares the records with flannel's: BackendType and BackendData, and nothing of weft's.
func (w *world) vxlanRecords(client *clientv3.Client) {
	w.Helper()
	for n := 1; n <= 2; n++ {
		state, err := w.state(n)
		if err != nil {
			w.Fatal(err)
		}
		key := fmt.Sprintf("%s/subnets/%s&%s", etcd.DefaultPrefix,
			strings.ReplaceAll(state.Lease.Subnet.String(), "/", "-"), strings.ReplaceAll(state.Lease.Subnet6.String(), "/", "-"))
		record := w.records(client)[key]
		var data struct{ BackendData, BackendV6Data struct{ VtepMAC string } }
		if err := json.Unmarshal([]byte(record), &data); err != nil {
			w.Fatalf("%s: %v: %s", key, err, record)
		}
		h := w.lab.Host(n)
		want := fmt.Sprintf(`{"PublicIP":"%s","PublicIPv6":"%s","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"%s"},"BackendV6Data":{"VNI":1,"VtepMAC":"%s"}}`,
			h.Addr, h.Addr6, data.BackendData.VtepMAC, data.BackendV6Data.VtepMAC)
		if record != want || len(data.BackendData.VtepMAC) != 17 || len(data.BackendV6Data.VtepMAC) != 17 {
			w.Errorf("record of host %d is\n%s\nwant\n%s", n, record, want)
		}
	}
}

// outlives ends the agent of host 2: the kernel goes on, the next start takes its devices over as they
// are, and one in user space removes them.
func (w *world) outlives(agent *program, containers []*netlab.Container) {
	w.Helper()
	before := w.link(2, "flannel.1")
	agent.end(w.T, syscall.SIGTERM)
	if agent.status != 0 {
		w.Errorf("exit status %d after SIGTERM:\n%s", agent.status, agent.said())
	}
	w.allPairs(containers)
	agent = w.startAgent(2, "--datapath", "kernel")
	w.ready(2, 2)
	if after := w.link(2, "flannel.1"); after != before {
		w.Errorf("the device was made again: %s, then %s", before, after)
	}
	w.allPairs(containers)
	agent.end(w.T, syscall.SIGTERM)
	w.startAgent(2, "--datapath", "userspace")
	w.until("user space takes over", func() error {
		if state, err := w.state(2); err != nil || !state.Ready || state.Datapath.Kind != "userspace" {
			return fmt.Errorf("%+v, %v", state.Datapath, err)
		}
		if left := w.link(2, "flannel.1"); left != "" {
			return errors.New("still there: " + left)
		}
		return nil
	})
	w.allPairs(containers)
}

// link is index and MAC address of a device on host n, as ip shows them; "" if there is none.
func (w *world) link(n int, name string) string {
	out, err := w.lab.Host(n).Command(context.Background(), "ip", "-o", "link", "show", "dev", name).Output()
	if err != nil {
		return ""
	}
	index, _, _ := strings.Cut(string(out), ":")
	_, mac, _ := strings.Cut(string(out), "link/ether ")
	mac, _, _ = strings.Cut(mac, " ")
	return index + " " + mac
}

// host-gw is routes and nothing else; user space has no part in it.
func TestHostGWHosts(t *testing.T) {
	w := newWorld(t, 2)
	w.startEtcd()
	w.setConfig(hostGWOnly)
	w.startAgent(1)
	turned := w.startAgent(2, "--datapath", "userspace")
	w.waiting(2, "--datapath userspace contradicts backend type host-gw")
	turned.end(t, syscall.SIGTERM)
	w.startAgent(2)
	var containers []*netlab.Container
	for n := 1; n <= 2; n++ {
		if d := w.ready(n, 1).Datapath; d.Kind != "kernel" || d.MTU != 1500 || d.Device != "eth0" {
			t.Errorf("datapath of host %d: %+v", n, d)
		}
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	w.allPairs(containers)
	for key, record := range w.records(w.etcd()) {
		if strings.Contains(key, "/subnets/") && !strings.HasSuffix(record, `"PublicIPv6":null,"BackendType":"host-gw"}`) {
			t.Errorf("%s is %s", key, record)
		}
	}
}

// ipip in whichever datapath this kernel allows; where it is user space, the agent says what stands in the
// kernel's way.
func TestIPIPHosts(t *testing.T) {
	w := newWorld(t, 2)
	w.startEtcd()
	w.setConfig(`{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}`)
	w.startAgent(1)
	w.startAgent(2, "--datapath", "userspace")
	var containers []*netlab.Container
	for n := 1; n <= 2; n++ {
		d := w.ready(n, 1).Datapath
		if d.MTU != 1480 || d.Port != 0 || d.Kind == "userspace" && (d.Better == "" || d.Obstacle == "") {
			t.Errorf("datapath of host %d: %+v", n, d)
		}
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	w.allPairs(containers)
	w.datagrams(containers[0], containers[1], 4000)
}

// With DirectRouting peers on one link have a route past the tunnel in either datapath, and it stays while
// one is switched to the other.
func TestDirectRouting(t *testing.T) {
	w := newWorld(t, 2)
	w.needVXLAN()
	w.startEtcd()
	w.setConfig(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}`)
	w.startAgent(1, "--datapath", "userspace")
	w.startAgent(2, "--datapath", "kernel")
	var containers []*netlab.Container
	for n := 1; n <= 2; n++ {
		w.ready(n, 1)
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	direct := func(n int) {
		t.Helper()
		peer := w.ready(3-n, 1).Lease.Subnet
		out, err := w.lab.Host(n).Command(w.Context(), "ip", "route", "show", peer.String()).Output()
		if want := fmt.Sprintf("%s via %s dev eth0 proto 87", peer, w.lab.Host(3-n).Addr); err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("host %d has route %q, want %q (%v)", n, out, want, err)
		}
	}
	direct(1)
	direct(2)
	w.allPairs(containers)
	for n, to := range map[int]string{1: "kernel", 2: "userspace"} {
		if r := w.switches(n, to); r.Error != "" || r.Datapath != to {
			t.Errorf("host %d: %+v", n, r)
		}
		direct(n)
	}
	w.allPairs(containers)
}

// A vxlan network of IPv6 alone: flannel's second device, and the same from user space.
func TestVXLANOverIPv6Alone(t *testing.T) {
	w := newWorld(t, 2)
	w.needVXLAN()
	if !w.lab.Host(1).Addr6.IsValid() {
		labtest.Missing(t, errors.New("the kernel has no IPv6"))
	}
	w.startEtcd()
	w.setConfig(`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}`)
	w.startAgent(1, "--datapath", "userspace")
	w.startAgent(2, "--datapath", "kernel")
	var containers []*netlab.Container
	for n := 1; n <= 2; n++ {
		if d := w.ready(n, 1).Datapath; d.MTU != 1430 {
			t.Errorf("datapath of host %d: %+v", n, d)
		}
		containers = append(containers, w.addContainer(n, fmt.Sprintf("c%d", n)))
	}
	w.allPairs(containers)
	for n, to := range map[int]string{1: "kernel", 2: "userspace"} {
		if r := w.switches(n, to); r.Error != "" || r.Datapath != to {
			t.Errorf("host %d: %+v", n, r)
		}
	}
	w.allPairs(containers)
	w.datagrams(containers[0], containers[1], 4000)
}
