package main

import (
	"fmt"
	"regexp"
	"testing"

	"weft/perf/netlab"
	"weft/perf/netlab/labtest"
)

// TestRecordsAreFlannelsToTheByte reads with Debian's etcdctl, out of Debian's etcd, what an agent
// without weft's own extension leaves there. The text is what a real flannel left, for its addresses.
func TestRecordsAreFlannelsToTheByte(t *testing.T) {
	labtest.Need(t)
	labtest.NeedProgram(t, "etcd", "etcd-server")
	labtest.NeedProgram(t, "etcdctl", "etcd-client")
	lab, err := netlab.New(t.Context(), netlab.Config{Name: "records", Hosts: 1, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	underlay, outside, _ := lab.Underlay()
	tools := toolFolder(t)
	server, host := newShell(t, underlay, tools), newShell(t, lab.Host(1).Namespace, tools)
	endpoint := fmt.Sprintf("http://%v:2379", outside)
	server.run(t, "etcd --data-dir /var/lib/etcd --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls "+endpoint+" >/run/etcd.log 2>&1 &")
	server.eventually(t, "etcdctl endpoint health >/dev/null 2>&1")
	server.run(t, `etcdctl put /coreos.com/network/config '{"Network":"10.244.0.0/16","Backend":{"Type":"udp"}}'`)
	host.run(t, "weft agent --iface eth0 --offload-remote-checksum=off --etcd-endpoints "+endpoint+" >/run/agent.log 2>&1 &")
	host.eventually(t, "test -s /run/flannel/subnet.env")

	got := server.run(t, "etcdctl get --prefix /coreos.com/network")
	want := regexp.MustCompile(`^/coreos\.com/network/config
\{"Network":"10\.244\.0\.0/16","Backend":\{"Type":"udp"\}\}
/coreos\.com/network/subnets/10\.244\.\d+\.0-24
\{"PublicIP":"10\.99\.0\.1","PublicIPv6":null\}
$`)
	if !want.MatchString(got) {
		t.Errorf("etcd holds\n%s\nwant it like\n%s", got, want)
	}
}
