package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// transferPatience is how long a transfer may stall before it counts as failed.
const transferPatience = 5 * time.Second

// blockSize is what one write hands over; large, so that system calls don't count.
const blockSize = 256 << 10

// castagnoli is CRC-32C, which processors compute faster than TCP delivers.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// receipt is what the receiver says it got, and travels back over the same connection.
type receipt struct {
	Bytes    uint64
	Checksum uint32 // CRC-32C of all of them
}

// transfer sends random bytes over TCP for the given time, has the receiver confirm count and
// checksum, and returns the rate in bits per second.
func transfer(ctx context.Context, p pair, length time.Duration) (float64, error) {
	// A port of the kernel's choice: a kept demo's user may have servers of his own there.
	listener, err := p.toSpace.Listen(ctx, "tcp", netip.AddrPortFrom(p.to.ContainerAddr, 0).String())
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	// Both ends run here, each on a socket in its own container.
	received := make(chan error, 1)
	go func() { received <- receive(listener) }()

	dialing, cancel := context.WithTimeout(ctx, transferPatience)
	defer cancel()
	conn, err := p.fromSpace.Dial(dialing, "tcp", listener.Addr().String())
	if err != nil {
		listener.Close()
		<-received
		return 0, err
	}
	rate, err := deliver(ctx, conn.(*net.TCPConn), length)
	return rate, errors.Join(err, <-received)
}

// deliver is the sender's side.
func deliver(ctx context.Context, conn *net.TCPConn, length time.Duration) (float64, error) {
	defer conn.Close()
	start := time.Now()
	if err := conn.SetDeadline(start.Add(length + transferPatience)); err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()

	var sent receipt
	source := make([]byte, 2*blockSize)
	random := rand.NewChaCha8([32]byte{})
	random.Read(source)
	for time.Since(start) < length {
		at := rand.N(blockSize) // no two blocks alike, so that none can stand in for another
		block := source[at : at+blockSize]
		n, err := conn.Write(block)
		if err != nil {
			return 0, err
		}
		sent.Bytes += uint64(n)
		sent.Checksum = crc32.Update(sent.Checksum, castagnoli, block)
	}
	// The time ends with the receipt: what waits in send buffers hasn't arrived.
	if err := conn.CloseWrite(); err != nil {
		return 0, err
	}
	var got receipt
	if err := binary.Read(conn, binary.BigEndian, &got); err != nil {
		return 0, fmt.Errorf("waiting for the receipt: %w", err)
	}
	if got != sent {
		return 0, fmt.Errorf("sent %d bytes with checksum %08x, %d with %08x arrived", sent.Bytes, sent.Checksum, got.Bytes, got.Checksum)
	}
	return float64(sent.Bytes) * 8 / time.Since(start).Seconds(), nil
}

// receive is the receiver's side, for one connection. It ends when the listener is closed before
// one comes, or with the connection.
func receive(listener net.Listener) error {
	conn, err := listener.Accept()
	if errors.Is(err, net.ErrClosed) {
		return nil // the sender has its own reason
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	var got receipt
	buffer := make([]byte, blockSize)
	for {
		if err := conn.SetDeadline(time.Now().Add(transferPatience)); err != nil {
			return err
		}
		n, err := conn.Read(buffer)
		got.Bytes += uint64(n)
		got.Checksum = crc32.Update(got.Checksum, castagnoli, buffer[:n])
		if err == io.EOF {
			return binary.Write(conn, binary.BigEndian, got)
		}
		if err != nil {
			return err
		}
	}
}
