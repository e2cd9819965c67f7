package leasetest

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"weft/lease/embedded"
	"weft/perf/netlab"
)

// Etcd starts an embedded etcd on free ports of loopback for the time of the test, and returns its
// endpoint.
func Etcd(t testing.TB) string {
	t.Helper()
	o := embedded.Options{
		DataDir:          filepath.Join(t.TempDir(), "etcd"),
		ListenClientURLs: []string{"http://" + FreeAddr(t)},
		ListenPeerURLs:   []string{"http://" + FreeAddr(t)},
	}
	StartEtcd(t, o)
	return o.ListenClientURLs[0]
}

// StartEtcd runs a server with the given options until the returned function, or the end of the
// test, stops it.
func StartEtcd(t testing.TB, o embedded.Options) (stop func()) {
	t.Helper()
	server, err := embedded.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("embedded etcd ended with %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-server.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("embedded etcd: %v", err)
	}
	return stop
}

// FreeAddr returns an address of loopback that is nobody else's.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, err := netlab.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
