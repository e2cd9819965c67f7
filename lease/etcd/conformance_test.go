package etcd

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	"weft/lease"
	"weft/lease/leasetest"
)

// networks counts the networks of this test run: each has a prefix of its own.
var networks atomic.Int64

// admin is a plain client, for what the tests do behind the stores' backs.
func admin(t *testing.T, o Options) *clientv3.Client {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	config := s.clientConfig(t.Context())
	config.Logger = zap.NewNop()
	c, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// open returns a store that is closed with the test.
func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// network returns an empty network on the server that o describes.
func network(t *testing.T, o Options) leasetest.Network {
	t.Helper()
	o.Prefix = fmt.Sprintf("/weft-test/%d/network", networks.Add(1))
	c := admin(t, o)
	keys := layout{dir: o.Prefix}
	key := func(name string) string {
		s, err := lease.ParseKey(name)
		return keys.folder(err == nil && !s.V4.IsValid()) + name
	}
	write := func(t *testing.T, op clientv3.Op) {
		t.Helper()
		for { // servers may be killed meanwhile, and writing twice is the same as once
			limited, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			_, err := c.Do(limited, op)
			cancel()
			if err == nil {
				return
			}
			if t.Context().Err() != nil || code(err) == codes.PermissionDenied {
				t.Fatal(err)
			}
		}
	}
	return leasetest.Network{
		Open: func(t *testing.T) lease.Store { return open(t, o) },
		SetConfig: func(t *testing.T, config string) {
			if config == "" {
				write(t, clientv3.OpDelete(keys.config()))
			} else {
				write(t, clientv3.OpPut(keys.config(), config))
			}
		},
		Put:    func(t *testing.T, name, value string) { write(t, clientv3.OpPut(key(name), value)) },
		Delete: func(t *testing.T, name string) { write(t, clientv3.OpDelete(key(name))) },
		Value: func(t *testing.T, name string) string {
			resp, err := c.Get(t.Context(), key(name))
			for ; err != nil && t.Context().Err() == nil; resp, err = c.Get(t.Context(), key(name)) {
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.Kvs) == 0 {
				return ""
			}
			return string(resp.Kvs[0].Value)
		},
	}
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	o := Options{Endpoints: []string{leasetest.Etcd(t)}}
	leasetest.Run(t, func(t *testing.T) leasetest.Network { return network(t, o) })
}
