package tunneltest_test

import (
	"net/netip"
	"testing"

	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// The twins have to pass what they stand in for.

func TestDeviceIsAQueue(t *testing.T) {
	tunneltest.TestQueue(t, func(t *testing.T) (tunnel.Queue, tunneltest.Kernel) {
		d := tunneltest.NewDevice()
		t.Cleanup(func() { d.Close() })
		return d, d
	})
}

func TestWireConnIsAConn(t *testing.T) {
	tunneltest.TestConn(t, func(t *testing.T) (a, b tunnel.Conn) {
		wire := tunneltest.NewWire()
		for _, c := range []*tunnel.Conn{&a, &b} {
			port := uint16(8285)
			if c == &b {
				port++
			}
			conn, err := wire.Listen(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			*c = conn
		}
		return a, b
	})
}

func TestLoanEndsWithTheNextRead(t *testing.T) {
	d := tunneltest.NewDevice()
	flow := tunneltest.Flow{Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2")}
	d.Send(tunnel.Packet{Data: flow.UDP(nil)}, tunnel.Packet{Data: flow.UDP(nil)})
	first, second := make([]tunnel.Packet, 1), make([]tunnel.Packet, 1)
	if _, err := d.ReadBatch(first); err != nil {
		t.Fatal(err)
	}
	if !tunneltest.Valid(first[0].Data) {
		t.Fatal("a packet just read is not valid")
	}
	if _, err := d.ReadBatch(second); err != nil {
		t.Fatal(err)
	}
	if tunneltest.Valid(first[0].Data) {
		t.Error("a packet of the batch before is still readable: nobody would notice who kept it")
	}
}
