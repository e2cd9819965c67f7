package leasetest

import (
	"net/netip"
	"testing"

	"weft/lease"
)

func renew(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	s := n.Open(t)
	l := acquire(t, s, host(1))
	if err := aboutNow(l.Expiry); err != nil {
		t.Error(err)
	}
	same, err := s.Renew(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if same.Expiry.Before(l.Expiry) || same.Revision != l.Revision {
		t.Errorf("renewing %+v without a change gave %+v", l, same)
	}
	changed := same
	changed.Attrs.BackendType = "vxlan"
	changed.Attrs.PublicIP = netip.MustParseAddr("192.0.9.9") // the interface got another address
	changed, err = s.Renew(t.Context(), changed)
	if err != nil {
		t.Fatal(err)
	}
	if changed.Revision <= same.Revision || changed.Subnet != l.Subnet {
		t.Errorf("renewing with other attributes gave %+v", changed)
	}
	wantValue(t, n, l, `{"PublicIP":"192.0.9.9","PublicIPv6":null,"BackendType":"vxlan"}`)
}

// renewalFenced: upstream renews blindly, and so steals a subnet that someone else has by now.
func renewalFenced(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	s := n.Open(t)
	l := acquire(t, s, host(1))
	name := lease.Key(l.Subnets())

	n.Delete(t, name)
	_, err := s.Renew(t.Context(), l)
	wantErr(t, "renewing a deleted lease", err, lease.ErrLost)
	if v := n.Value(t, name); v != "" {
		t.Errorf("the renewal made it again: %s", v)
	}

	r := host(2)
	r.Previous = l.Subnet
	if other := acquire(t, s, r); other.Subnet != l.Subnet {
		t.Fatalf("the other host got %s", other.Subnet)
	}
	_, err = s.Renew(t.Context(), l)
	wantErr(t, "renewing what another host has", err, lease.ErrLost)
	wantErr(t, "releasing what another host has", s.Release(t.Context(), l), lease.ErrLost)
	wantValue(t, n, l, valueOf(r))

	n.Put(t, name, valueOf(host(3)))
	_, err = s.Renew(t.Context(), l)
	wantErr(t, "renewing what is reserved for another", err, lease.ErrLost)
	n.Put(t, name, "junk")
	_, err = s.Renew(t.Context(), l)
	wantErr(t, "renewing what was overwritten", err, lease.ErrLost)
	wantErr(t, "releasing what was overwritten", s.Release(t.Context(), l), lease.ErrLost)
	if v := n.Value(t, name); v != "junk" {
		t.Errorf("the record became %s", v)
	}
}

// takeover: two agents with one address, started one after the other.
func takeover(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	first := acquire(t, n.Open(t), host(1))
	second := acquire(t, n.Open(t), host(1))
	if first.Subnet != second.Subnet {
		t.Fatalf("%s and %s", first.Subnet, second.Subnet)
	}
	s := n.Open(t)
	_, err := s.Renew(t.Context(), first)
	wantErr(t, "renewing the earlier tenure", err, lease.ErrLost)
	wantErr(t, "releasing the earlier tenure", s.Release(t.Context(), first), lease.ErrLost)
	if _, err := s.Renew(t.Context(), second); err != nil {
		t.Errorf("renewing the later tenure: %v", err)
	}
}

func release(t *testing.T, n Network) {
	n.SetConfig(t, config16)
	s := n.Open(t)
	l := acquire(t, s, host(1))
	other := acquire(t, s, host(2))
	for range 2 { // the second time it is gone already
		if err := s.Release(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	snap := snapshot(t, s)
	if _, ok := find(snap, other.Subnets()); !ok || len(snap.Leases) != 1 {
		t.Errorf("left over: %+v", snap.Leases)
	}
	// What a snapshot shows can be released, as an operator does it.
	shown, _ := find(snap, other.Subnets())
	if err := s.Release(t.Context(), shown); err != nil {
		t.Error(err)
	}
	if v := n.Value(t, lease.Key(other.Subnets())); v != "" {
		t.Errorf("still there: %s", v)
	}
}

// reservations: upstream turns one that it uses into a lease of a day.
func reservations(t *testing.T, n Network) {
	n.SetConfig(t, `{"Network":"10.5.0.0/16","SubnetMin":"10.5.100.0","SubnetMax":"10.5.199.0"}`)
	const name = "10.5.7.0-24" // outside of what is handed out, as operators do it
	n.Put(t, name, `{"PublicIP":"192.0.0.1","PublicIPv6":null}`)
	s := n.Open(t)
	r := host(1)
	r.Attrs.BackendType = "vxlan"
	l := acquire(t, s, r)
	if lease.Key(l.Subnets()) != name || !l.Reserved || !l.Expiry.IsZero() {
		t.Fatalf("got %+v, reserved was %s", l, name)
	}
	wantValue(t, n, l, valueOf(r))
	l, err := s.Renew(t.Context(), l)
	if err != nil || !l.Reserved || !l.Expiry.IsZero() {
		t.Errorf("renewed: %+v, %v", l, err)
	}
	if again := acquire(t, n.Open(t), r); !again.Reserved || again.Subnet != l.Subnet {
		t.Errorf("acquired again: %+v", again)
	}
	if shown, ok := find(snapshot(t, s), l.Subnets()); !ok || !shown.Reserved {
		t.Errorf("shown as %+v", shown)
	}
	if err := s.Release(t.Context(), l); err != nil {
		t.Error(err)
	}
	wantValue(t, n, l, valueOf(r))
	if l := acquire(t, s, host(2)); lease.Key(l.Subnets()) == name {
		t.Error("another host got the reserved subnet")
	}
}
