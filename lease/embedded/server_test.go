package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/lease/embedded"
	"weft/lease/leasetest"
	"weft/perf/netlab/labtest"
)

func TestMain(m *testing.M) {
	leasetest.ServeIfAsked()
	code := m.Run()
	// The server's own libraries keep a few goroutines for the whole process.
	known := []goleak.Option{
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"),
		goleak.IgnoreAnyFunction("go.etcd.io/etcd/client/pkg/v3/logutil.(*MergeLogger).outputLoop"),
	}
	// A stop that was cut short leaves connections to end by themselves, within etcd's seven seconds.
	err := goleak.Find(known...)
	for begun := time.Now(); err != nil && time.Since(begun) < 15*time.Second; err = goleak.Find(known...) {
	}
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// options are for a server on free ports.
func options(t *testing.T) embedded.Options {
	return embedded.Options{
		DataDir:          filepath.Join(t.TempDir(), "data"),
		ListenClientURLs: []string{"http://" + leasetest.FreeAddr(t)},
		ListenPeerURLs:   []string{"http://" + leasetest.FreeAddr(t)},
	}
}

// etcdctl runs Debian's client, an independent witness.
func etcdctl(t *testing.T, endpoint string, args ...string) string {
	t.Helper()
	path := labtest.NeedProgram(t, "etcdctl", "etcd-client")
	cmd := exec.CommandContext(t.Context(), path, append([]string{"--endpoints", endpoint}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("etcdctl %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestDebiansEtcdctlAndARestart(t *testing.T) {
	o := options(t)
	stop := leasetest.StartEtcd(t, o)
	etcdctl(t, o.ListenClientURLs[0], "put", "/coreos.com/network/config", `{"Network":"10.5.0.0/16"}`)
	timed(t, stop)
	leasetest.StartEtcd(t, o)
	got := etcdctl(t, o.ListenClientURLs[0], "get", "--prefix", "/coreos.com/network")
	if got != "/coreos.com/network/config\n"+`{"Network":"10.5.0.0/16"}` {
		t.Errorf("after a restart: %q", got)
	}
	if info, err := os.Stat(o.DataDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder: %v, %v", info.Mode(), err)
	}
}

func TestStopDoesNotWaitForWatches(t *testing.T) {
	o := options(t)
	stop := leasetest.StartEtcd(t, o)
	etcdctl(t, o.ListenClientURLs[0], "put", "/x", "1")
	watch := exec.CommandContext(t.Context(), "etcdctl", "--endpoints", o.ListenClientURLs[0], "watch", "/x", "--rev", "1")
	watch.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // the event is there: the watch is open
		t.Fatal(err)
	}
	timed(t, stop)
	watch.Process.Kill()
	watch.Wait()
}

// failure runs a server that can't start, and returns its error.
func failure(t *testing.T, o embedded.Options) error {
	t.Helper()
	s, err := embedded.New(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = s.Run(ctx)
	select {
	case <-s.Ready():
		t.Error("ready all the same")
	default:
	}
	return err
}

func TestErrorsNameTheCauseAndTheRemedy(t *testing.T) {
	running := options(t)
	leasetest.StartEtcd(t, running)

	port := options(t)
	port.ListenClientURLs = running.ListenClientURLs
	folder := options(t)
	folder.DataDir = running.DataDir
	address := options(t)
	address.ListenClientURLs = []string{"http://203.0.113.9:2379"}
	file := options(t)
	file.DataDir = filepath.Join(t.TempDir(), "file", "below")
	if err := os.WriteFile(filepath.Dir(file.DataDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cert := options(t)
	cert.ListenClientURLs = []string{"https://" + leasetest.FreeAddr(t)}
	cert.ClientTLS = embedded.TLS{CertFile: "/no/cert.pem", KeyFile: "/no/key.pem"}
	for name, c := range map[string]struct {
		o    embedded.Options
		want []string
	}{
		"port":    {port, []string{strings.TrimPrefix(port.ListenClientURLs[0], "http://"), "choose other"}},
		"folder":  {folder, []string{running.DataDir, "another etcd", "stop that one"}},
		"address": {address, []string{"203.0.113.9:2379", "choose others"}},
		"file":    {file, []string{file.DataDir[:len(file.DataDir)-6], "choose one that can be written"}},
		"cert":    {cert, []string{"/no/cert.pem", "check the files"}},
	} {
		err := failure(t, c.o)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}

func TestOptionsAreCheckedTogether(t *testing.T) {
	_, err := embedded.New(embedded.Options{ListenClientURLs: []string{"10.0.0.1:2379", "ftp://x:1"},
		ListenPeerURLs: []string{"http://10.0.0.1"}, ClusterState: "old"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"no data folder", `"10.0.0.1:2379"`, `"ftp://x:1"`, `"http://10.0.0.1"`, `"old"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}

func TestEndpointsCanBeConnectedTo(t *testing.T) {
	for listen, want := range map[string]string{
		"":                      "http://127.0.0.1:2379",
		"http://0.0.0.0:4001":   "http://127.0.0.1:4001",
		"http://[::]:4001":      "http://[::1]:4001",
		"http://192.0.2.7:2379": "http://192.0.2.7:2379",
		"http://localhost:2379": "http://localhost:2379",
	} {
		o := embedded.Options{DataDir: t.TempDir()}
		if listen != "" {
			o.ListenClientURLs = []string{listen}
		}
		s, err := embedded.New(o)
		if err != nil || fmt.Sprint(s.Endpoints()) != "["+want+"]" {
			t.Errorf("%q: %v, %v", listen, s.Endpoints(), err)
		}
	}
}

func TestItsLogIsQuiet(t *testing.T) {
	var lines strings.Builder
	o := options(t)
	o.Log = slog.New(slog.NewTextHandler(&lines, nil))
	stop := leasetest.StartEtcd(t, o)
	stop()
	if n := strings.Count(lines.String(), "\n"); n == 0 || n > 12 || !strings.Contains(lines.String(), o.DataDir) {
		t.Errorf("%d lines:\n%s", n, lines.String())
	}
	if l, err := net.Listen("tcp", strings.TrimPrefix(o.ListenClientURLs[0], "http://")); err != nil {
		t.Errorf("the port is still taken: %v", err)
	} else {
		l.Close()
	}
}

func TestWaitReadyGivesUpWithItsContext(t *testing.T) {
	s, err := embedded.New(options(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.WaitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
