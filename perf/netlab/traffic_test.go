package netlab

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frameSizes are the sizes of the frames that a capture saw, Ethernet header included.
type frameSizes []int

func (s frameSizes) largest() int { return slices.Max(append(s, 0)) }

// capture records what arrives on eth0 of the namespace while f runs.
func capture(t *testing.T, space *Namespace, f func()) (sizes frameSizes) {
	t.Helper()
	var packets *os.File
	if err := space.Do(func() (err error) {
		packets, err = openPacket(hostDevice)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, maxFrame)
		for {
			n, err := packets.Read(buffer)
			if err != nil {
				return
			}
			sizes = append(sizes, n-10)
		}
	}()
	f()
	// Whatever f did has arrived; the reader may lag behind, and stops when nothing is left.
	if err := packets.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	<-done
	packets.Close()
	return sizes
}

// transfer sends random bytes over TCP and compares the checksum at the other end.
func transfer(t *testing.T, from *Namespace, to *Host, size int) {
	t.Helper()
	listener, err := to.Listen(t.Context(), "tcp", netip.AddrPortFrom(to.Addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	received := make(chan []byte, 1)
	go func() {
		defer close(received)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, conn); err == nil {
			received <- sum.Sum(nil)
		}
	}()
	conn, err := from.Dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	if _, err := conn.Write(data); err != nil {
		t.Error(err)
	}
	conn.Close()
	if want := sha256.Sum256(data); !bytes.Equal(<-received, want[:]) {
		t.Errorf("%d bytes from %s to %s arrived damaged", size, from.Name(), to.Name())
	}
}

// stream sends numbered datagrams, spread a little, and returns the numbers that arrived in order
// of arrival. It waits until all are sent and then nothing has come for a while.
func stream(t *testing.T, from *Namespace, to *Host, count int) (got []uint32) {
	t.Helper()
	server, err := to.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(to.Addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := from.Dial(t.Context(), "udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	sent := make(chan error, 1)
	go func() { sent <- send(client, count) }()
	sending := true
	buffer := make([]byte, 2048)
	for {
		if err := server.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := server.ReadFrom(buffer); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
				return got
			}
			if !sending {
				return got
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			sending = false
			continue
		}
		got = append(got, binary.BigEndian.Uint32(buffer))
	}
}

func send(to io.Writer, count int) error {
	packet := make([]byte, 100)
	for i := range count {
		binary.BigEndian.PutUint32(packet, uint32(i))
		if _, err := to.Write(packet); err != nil {
			return err
		}
		if i%10 == 9 {
			time.Sleep(time.Millisecond) // no more than a socket buffer takes, on a busy machine too
		}
	}
	return nil
}

// pathMTUIs asks the kernel what it has learnt of the path; in the calling thread's namespace.
func pathMTUIs(addr netip.Addr, want int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: addr.As4()}); err != nil {
		return err
	}
	got, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
	if err == nil && got != want {
		return fmt.Errorf("path MTU to %s is %d, want %d", addr, got, want)
	}
	return err
}
