package backup_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weft/lease"
	"weft/lease/embedded/backup"
	"weft/lease/etcd"
	"weft/lease/leasetest"
)

// TestAgentsGoOnAfterARestore: a snapshot is older than what agents know. They have to notice, and
// end up with leases that the store knows too: the old one as it was, a later one made anew.
func TestAgentsGoOnAfterARestore(t *testing.T) {
	o := options(t)
	stop := leasetest.StartEtcd(t, o)
	store, err := etcd.New(etcd.Options{Endpoints: o.ListenClientURLs, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.SetConfig(t.Context(), []byte(`{"Network":"10.5.0.0/16"}`)); err != nil {
		t.Fatal(err)
	}
	early := keep(t, store, 1)
	file := filepath.Join(t.TempDir(), "s.db")
	if _, err := backup.Save(t.Context(), backup.Source{Endpoints: o.ListenClientURLs}, file, false); err != nil {
		t.Fatal(err)
	}
	late := keep(t, store, 2)
	stop()
	if err := os.RemoveAll(o.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := backup.Restore(file, backup.Target{DataDir: o.DataDir, PeerURLs: o.ListenPeerURLs,
		RevisionBump: backup.DefaultRevisionBump}); err != nil {
		t.Fatal(err)
	}
	leasetest.StartEtcd(t, o)

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	f := lease.NewFollower(store, nil)
	go f.Run(ctx)
	for version := uint64(0); ; {
		s, next, err := f.Snapshots().Next(ctx, version)
		if err != nil {
			t.Fatalf("the store never had both leases: %v", err)
		}
		if version = next; len(s.Leases) == 2 {
			break
		}
	}
	if now, _ := early.Tenures().Latest(); !now.Held || now.Lease.Revision == 0 {
		t.Errorf("the early agent: %+v", now)
	}
	for version := uint64(0); ; { // the store knows of the new lease before its keeper does
		now, next, err := late.Tenures().Next(ctx, version)
		if err != nil {
			t.Fatalf("the late agent never held its new lease: %v", err)
		}
		if version = next; now.Held {
			break
		}
	}
}

// keep runs an agent's following and keeping, and waits until it holds a lease.
func keep(t *testing.T, s lease.Store, host int) *lease.Keeper {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := lease.NewFollower(s, nil)
	k := lease.NewKeeper(lease.KeeperOptions{Store: s, Margin: time.Hour, Snapshots: f.Snapshots(),
		Request: lease.Request{Attrs: lease.Attrs{PublicIP: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", host))}}})
	done := make(chan bool, 2)
	go func() { f.Run(ctx); done <- true }()
	go func() { k.Run(ctx); done <- true }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	for version := uint64(0); ; {
		v, next, err := k.Tenures().Next(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		if version = next; v.Held {
			return k
		}
	}
}
