package embedded_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"weft/lease/embedded"
	"weft/lease/leasetest"
)

// client returns a plain client of the server with the options o.
func client(t *testing.T, o embedded.Options, p leasetest.PKI) *clientv3.Client {
	t.Helper()
	config := clientv3.Config{Endpoints: o.ListenClientURLs, DialTimeout: 10 * time.Second, Logger: zap.NewNop()}
	if p != (leasetest.PKI{}) {
		var err error
		info := transport.TLSInfo{CertFile: p.ClientCert, KeyFile: p.ClientKey, TrustedCAFile: p.CA}
		if config.TLS, err = info.ClientConfig(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// stopBound is what a stop may take on a busy machine: the steps of a stop add up to less.
const stopBound = 6900 * time.Millisecond // etcd's own waits are seven seconds

// TestEveryStopIsBounded: whatever clients and other members do, a server that is told to end does.
func TestEveryStopIsBounded(t *testing.T) {
	t.Run("idle connection", func(t *testing.T) {
		o := options(t)
		stop := leasetest.StartEtcd(t, o)
		conn, err := net.Dial("tcp", strings.TrimPrefix(o.ListenClientURLs[0], "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		timed(t, stop)
		leasetest.StartEtcd(t, o) // folder and ports are free
	})
	t.Run("watch over TLS", func(t *testing.T) {
		p := leasetest.NewPKI(t)
		o := options(t)
		o.ListenClientURLs = []string{"https://" + leasetest.FreeAddr(t)}
		o.ClientTLS = embedded.TLS{CertFile: p.ServerCert, KeyFile: p.ServerKey, CAFile: p.CA, RequireClientCert: true}
		stop := leasetest.StartEtcd(t, o)
		c := client(t, o, p)
		w := c.Watch(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		if created := <-w; !created.Created {
			t.Fatal(created.Err())
		}
		timed(t, stop)
		leasetest.StartEtcd(t, o)
	})
	t.Run("request without a majority", func(t *testing.T) {
		members := trio(t)
		stops := startAll(t, members)
		stops[1]()
		stops[2]()
		c := client(t, members[0], leasetest.PKI{})
		waiting := make(chan error, 1)
		go func() {
			_, err := c.Put(t.Context(), "/x", "1")
			waiting <- err
		}()
		select {
		case err := <-waiting:
			t.Errorf("a minority answered: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
		timed(t, stops[0])
		c.Close() // it would look for a server for ever
		<-waiting
	})
	t.Run("before the others are there", func(t *testing.T) {
		o := trio(t)[0]
		s, err := embedded.New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(300 * time.Millisecond) // in the middle of its start
		timed(t, func() {
			cancel()
			if err := <-done; err != context.Canceled {
				t.Errorf("ended with %v", err)
			}
		})
	})
}

func timed(t *testing.T, stop func()) {
	t.Helper()
	begun := time.Now()
	stop()
	took := time.Since(begun)
	t.Logf("stopped in %s", took.Round(time.Millisecond))
	if took > stopBound {
		t.Errorf("stopping took %s", took)
	}
}

// trio returns the options of a cluster of three.
func trio(t *testing.T) []embedded.Options {
	t.Helper()
	members := make([]embedded.Options, 3)
	var all []string
	for i := range members {
		members[i] = options(t)
		members[i].Name, members[i].ClusterToken = fmt.Sprintf("m%d", i), "weft-test"
		all = append(all, members[i].Name+"="+members[i].ListenPeerURLs[0])
	}
	for i := range members {
		members[i].InitialCluster = strings.Join(all, ",")
	}
	return members
}

// startAll starts members at once: none is ready before a second one is there.
func startAll(t *testing.T, members []embedded.Options) []func() {
	t.Helper()
	stops := make([]func(), len(members))
	done := make(chan int)
	for i := range members {
		go func() {
			defer func() { done <- i }()
			stops[i] = leasetest.StartEtcd(t, members[i])
		}()
	}
	for range members {
		<-done
	}
	if t.Failed() {
		t.FailNow()
	}
	return stops
}

func TestAProcessIsAskedAndKilled(t *testing.T) {
	o := options(t)
	p := leasetest.StartProcess(t, o)
	c := client(t, o, leasetest.PKI{})
	for i := range 100 {
		if _, err := c.Put(t.Context(), fmt.Sprintf("/k/%d", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	p.Kill() // without a word: what was answered has been written
	p = leasetest.StartProcess(t, o)
	resp, err := c.Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || resp.Count != 100 {
		t.Errorf("after SIGKILL: %v keys, %v", resp.Count, err)
	}
	took, err := p.Stop()
	t.Logf("SIGTERM: %s", took.Round(time.Millisecond))
	if err != nil || took > stopBound {
		t.Errorf("SIGTERM: %v after %s\n%s", err, took, p.Log())
	}
}
