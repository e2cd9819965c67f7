package express

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// kernelStore is the programs' maps. The index and the hops are this process's memory too, so that changing a
// route there is no system call.
type kernelStore struct {
	bySubnet, hops  []byte // mapped
	prefixes, peers *ebpf.Map
}

// The kernel rounds the elements of an array up to eight bytes.
const (
	subnetStride = 8
	hopStride    = (int(unsafe.Sizeof(laneHop{})) + 7) &^ 7
)

func newKernelStore(m *laneMaps) (*kernelStore, error) {
	s := &kernelStore{prefixes: m.Prefixes, peers: m.Peers}
	var err error
	if s.bySubnet, err = mapMemory(m.BySubnet, subnetStride); err != nil {
		return nil, err
	}
	if s.hops, err = mapMemory(m.Hops, hopStride); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// mapMemory maps all of an array (BPF_F_MMAPABLE, 5.5): the kernel's memory, not a copy, so a store is seen by the next
// packet.
func mapMemory(m *ebpf.Map, stride int) ([]byte, error) {
	b, err := unix.Mmap(m.FD(), 0, int(m.MaxEntries())*stride, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("express: mapping %v: %w", m, err)
	}
	return b, nil
}

func (s *kernelStore) close() (err error) {
	for _, b := range [][]byte{s.bySubnet, s.hops} {
		if b != nil {
			err = errors.Join(err, unix.Munmap(b))
		}
	}
	return err
}

// SetSubnet is one atomic store, behind which no earlier write of a hop can come.
func (s *kernelStore) SetSubnet(slot, hop uint32) {
	at := s.bySubnet[int(slot)*subnetStride:][:subnetStride]
	atomic.StoreUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(at))), hop)
}

// SetHop writes what no packet reads yet; but for hop 0, whose words stand for themselves.
func (s *kernelStore) SetHop(number uint32, hop laneHop) {
	at := s.hops[int(number)*hopStride:][:hopStride]
	*(*laneHop)(unsafe.Pointer(unsafe.SliceData(at))) = hop
}

func (s *kernelStore) SetPrefix(p netip.Prefix, hop uint32) error {
	key := prefixKey(p)
	if hop == 0 {
		return ignoreAbsent(s.prefixes.Delete(&key))
	}
	// The kernel puts a whole new node in the old one's place.
	return s.prefixes.Put(&key, &laneMatch{Hop: hop, Bits: key.Bits})
}

// SetPeer takes a system call, but peers come and go far more seldom than routes change.
func (s *kernelStore) SetPeer(outer netip.Addr, known bool) error {
	key := laneAddress{Words: outerWords(outer)}
	if !known {
		return ignoreAbsent(s.peers.Delete(&key))
	}
	return s.peers.Put(&key, uint32(1))
}

func ignoreAbsent(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// membarrierGlobal waits for a grace period of RCU (MEMBARRIER_CMD_GLOBAL, include/uapi/linux/membarrier.h), and
// every run of a program is inside one reader of it.
const membarrierGlobal = 1

// Settle may take some ten milliseconds, which is why numbers of hops are given back by the batch.
func (s *kernelStore) Settle() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return fmt.Errorf("membarrier: %w", errno)
	}
	return nil
}
