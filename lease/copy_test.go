package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sampleCopy is a dual-stack network of two hosts.
func sampleCopy(t testing.TB) Copy {
	c := parse(t, `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}`)
	a := entry("10.5.1.0-24&fd00:5:0:1::-64", 3, "192.0.2.1")
	a.Lease.Attrs.BackendType = "vxlan"
	a.Lease.Attrs.BackendData = json.RawMessage(`{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}`)
	b := entry("10.5.2.0-24", 4, "192.0.2.2")
	b.Lease.Reserved = true
	own := a.Lease
	own.Expiry = time.Unix(1_800_000_000, 5)
	return Copy{Store: "etcd /coreos.com/network", Saved: time.Unix(1_700_000_000, 9), Own: own,
		Snapshot: Assemble(77, c, nil, []Entry{a, b})}
}

func TestACopyReadsAsItWasSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft", "leases")
	want := sampleCopy(t)
	for range 2 {
		if err := SaveCopy(path, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadCopy(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := got.Usable(want.Store, want.Own.Expiry.Add(-time.Second)); err != nil {
		t.Errorf("while its lease is valid: %v", err)
	}
	noLease := got
	noLease.Own = Lease{}
	for name, err := range map[string]error{
		"another store": got.Usable("etcd /other", want.Saved),
		"expired":       got.Usable(want.Store, want.Own.Expiry),
		"no lease":      noLease.Usable(want.Store, want.Saved),
	} {
		if !errors.Is(err, ErrCopy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABrokenCopyIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases")
	if _, err := LoadCopy(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
	if err := SaveCopy(path, Copy{Snapshot: &Snapshot{ConfigErr: ErrNoConfig}}); !errors.Is(err, ErrCopy) {
		t.Errorf("without a config: %v", err)
	}
	good, err := encodeCopy(sampleCopy(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range good { // any flipped bit
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := decodeCopy(bad); !errors.Is(err, ErrCopy) {
			t.Fatalf("bit of byte %d flipped: %v", i, err)
		}
	}
	for n := range len(good) { // any length that a crash may leave
		if err := os.WriteFile(path, good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCopy(path); !errors.Is(err, ErrCopy) || !strings.Contains(err.Error(), "delete the file") {
			t.Fatalf("%d of %d bytes: %v", n, len(good), err)
		}
		if n > copyHeader+3 {
			break // beyond the header all of them are the same: the checksum
		}
	}
}

// FuzzDecodeCopy hands over bodies with a right checksum, so that the decoder itself is reached.
func FuzzDecodeCopy(f *testing.F) {
	good, err := encodeCopy(sampleCopy(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[copyHeader:])
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decodeCopy(seal(body))
		if err != nil {
			if !errors.Is(err, ErrCopy) {
				t.Fatal(err)
			}
			return
		}
		if c.Snapshot == nil || c.Snapshot.ConfigErr != nil {
			t.Fatalf("%+v", c)
		}
		for _, l := range c.Snapshot.Leases {
			if f := inRange(c.Snapshot.Config, l); f != nil {
				t.Fatalf("a lease that the store's own would not pass: %v", f)
			}
		}
	})
}

func TestTheCopierSavesTheNewestAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "leases")
		want := sampleCopy(t)
		c := &Copier{Path: path, Store: want.Store, Snapshots: NewMailbox[*Snapshot](), Tenures: NewMailbox[Tenure]()}
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- c.Run(ctx) }()
		c.Snapshots.Put(want.Snapshot)
		synctest.Wait()
		if _, err := LoadCopy(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("saved without a lease: %v", err)
		}
		c.Tenures.Put(Tenure{Lease: want.Own, Held: true})
		synctest.Wait()
		if got, err := LoadCopy(path); err != nil || got.Own.Subnets() != want.Own.Subnets() {
			t.Errorf("with a lease: %+v, %v", got, err)
		}
		for i := range int64(100) {
			s := *want.Snapshot
			s.Revision = 100 + i
			c.Snapshots.Put(&s)
		}
		synctest.Wait()
		if got, err := LoadCopy(path); err != nil || got.Snapshot.Revision != 77 {
			t.Errorf("a hundred changes at once: saved revision %d, %v", got.Snapshot.Revision, err)
		}
		time.Sleep(saveEvery)
		synctest.Wait()
		if got, err := LoadCopy(path); err != nil || got.Snapshot.Revision != 199 {
			t.Errorf("a second later: saved revision %d, %v", got.Snapshot.Revision, err)
		}
		// A renewal that failed is no news of the store's: the copy gets no younger by it.
		before, err := LoadCopy(path)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		c.Tenures.Put(Tenure{Lease: want.Own, Held: true, Err: ErrUnavailable})
		synctest.Wait()
		if got, err := LoadCopy(path); err != nil || !got.Saved.Equal(before.Saved) {
			t.Errorf("after a renewal that failed: saved %v, before %v (%v)", got.Saved, before.Saved, err)
		}
		last := *want.Snapshot
		last.Revision = 500
		c.Snapshots.Put(&last)
		cancel()
		if err := <-done; err == nil {
			t.Error("ended without the context's error")
		}
		if got, err := LoadCopy(path); err != nil || got.Snapshot.Revision != 500 {
			t.Errorf("at the end: saved revision %d, %v", got.Snapshot.Revision, err)
		}
	})
}
