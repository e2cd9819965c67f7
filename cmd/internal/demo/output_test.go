package demo

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sample is a site with n hosts that exists on paper only.
func sample(n int) *Site {
	site := &Site{Lab: "weft-demo-0a1b2c", Dir: "/tmp/weft-demo-0a1b2c", Program: "/usr/bin/weft", Endpoint: "http://10.99.0.254:2379"}
	for i := range n {
		last := byte(i + 1)
		site.Hosts = append(site.Hosts, Host{
			Name: "host" + string('0'+last), Container: "c" + string('0'+last),
			Addr:          netip.AddrFrom4([4]byte{10, 99, 0, last}),
			Subnet:        netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, last, 0}), 24),
			ContainerAddr: netip.AddrFrom4([4]byte{10, 5, last, 2}),
			Socket:        "/tmp/weft-demo-0a1b2c/host" + string('0'+last) + ".sock",
			MTU:           1472,
		})
	}
	return site
}

func TestTopologyGolden(t *testing.T) {
	var out bytes.Buffer
	drawTopology(&out, sample(3))
	const want = `
  container            bridge              host
  c1 10.5.1.2       ── cbr0 10.5.1.1    ── host1  weft0 ═ agent ═ eth0 10.99.0.1   ─┬─ underlay ── etcd 10.99.0.254:2379
  c2 10.5.2.2       ── cbr0 10.5.2.1    ── host2  weft0 ═ agent ═ eth0 10.99.0.2   ─┤
  c3 10.5.3.2       ── cbr0 10.5.3.1    ── host3  weft0 ═ agent ═ eth0 10.99.0.3   ─┘

`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestTableGolden(t *testing.T) {
	var out bytes.Buffer
	site, table := sample(2), newTable(&out)
	table.row(site.Hosts[0], site.Hosts[1], result{trip: 151 * time.Microsecond, bitsPerSec: 3.456e9})
	table.row(site.Hosts[1], site.Hosts[0], result{trip: 2 * time.Millisecond, err: errors.New("transfer: no")})
	const want = "  from                to                 in subnet              RTT    Gb/s  \n" +
		"  c1 10.5.1.2         c2 10.5.2.2        10.5.2.0/24       0.151 ms    3.46  ok\n" +
		"  c2 10.5.2.2         c1 10.5.1.2        10.5.1.0/24       2.000 ms       –  FAILED: transfer: no\n"
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestSiteSurvivesItsFile(t *testing.T) {
	site := sample(2)
	site.Dir = t.TempDir()
	if err := site.save(); err != nil {
		t.Fatal(err)
	}
	got, err := loadSite(site.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.Lab != site.Lab || !slices.Equal(got.Hosts, site.Hosts) {
		t.Errorf("read %+v, written %+v", got, site)
	}
	if err := os.WriteFile(filepath.Join(site.Dir, siteFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSite(site.Dir); err == nil || !strings.Contains(err.Error(), siteFile) {
		t.Errorf("a torn file: %v, want an error that names it", err)
	}
}

func TestExplainTUN(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{{fs.ErrNotExist, "--device"}, {unix.ENODEV, "modprobe tun"}, {unix.EPERM, "run as root"}, {unix.EIO, "permissions"}} {
		got := explainTUN(&fs.PathError{Op: "open", Path: tunDevice, Err: c.err}).Error()
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("for %v it says %q, want one line with %q", c.err, got, c.want)
		}
	}
}

func TestCleanEnvironment(t *testing.T) {
	got := cleanEnvironment([]string{"PATH=/bin", "WEFT_PORT=1", "FLANNELD_IFACE=x", "NOTIFY_SOCKET=/s", "HOME=/root"})
	if want := []string{"PATH=/bin", "HOME=/root"}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

func TestEarlyEndIsExplained(t *testing.T) {
	p := &process{name: "host1", log: filepath.Join(t.TempDir(), "host1.log"), done: make(chan struct{})}
	if err := p.ended(); err != nil {
		t.Errorf("a running process has ended: %v", err)
	}
	if err := os.WriteFile(p.log, []byte("one\ntwo\nthe reason\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	close(p.done)
	err := p.poll(t.Context(), func() error { return errors.New("not ready") })
	if err == nil || !strings.Contains(err.Error(), "host1 ended early: exit status 0") || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error is %v, want the process's end and its last words", err)
	}
}
