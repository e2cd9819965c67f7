package routes

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// A twin is the longest-prefix match that is obviously right.
type twin map[netip.Prefix]*Hop

func (w twin) lookup(addr netip.Addr) (best *Hop) {
	length := -1
	for subnet, hop := range w {
		if subnet.Contains(addr) && subnet.Bits() > length {
			best, length = hop, subnet.Bits()
		}
	}
	return best
}

func lookup(t *trie, addr netip.Addr) *Hop {
	if addr.Is4() {
		b := addr.As4()
		return t.lookup4(binary.BigEndian.Uint32(b[:]))
	}
	b := addr.As16()
	return t.lookup(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]))
}

// compare compares every answer about some addresses, and the listing, with the twin's.
func compare(t interface{ Fatalf(string, ...any) }, tree trie, want twin, v4 bool, addrs []netip.Addr) {
	for _, addr := range addrs {
		if got, right := lookup(&tree, addr), want.lookup(addr); got != right {
			t.Fatalf("lookup(%v) = %p, want %p, of %v", addr, got, right, want)
		}
	}
	listed, last := 0, netip.Prefix{}
	tree.each(v4, func(subnet netip.Prefix, hop *Hop) bool {
		if listed > 0 && last.Compare(subnet) >= 0 || want[subnet] != hop || tree.exact(subnet) != hop {
			t.Fatalf("%v is listed after %v with hop %p, want %p", subnet, last, hop, want[subnet])
		}
		listed, last = listed+1, subnet
		return true
	})
	if listed != len(want) {
		t.Fatalf("%d routes listed, want %d", listed, len(want))
	}
	if root := tree.root; root != nil && len(root.own.routes) == 0 && len(root.children) == 1 {
		t.Fatalf("the root has one child and nothing else: its byte belongs to the %d in front", tree.depth)
	}
}

// drawIn draws addresses close to each other, so that routes nest and nodes have brothers.
func drawIn(t *rapid.T, v4 bool) netip.Addr {
	few := rapid.SampledFrom([]byte{0, 0, 0, 1, 0x40, 0x80, 0xff})
	if v4 {
		return netip.AddrFrom4([4]byte{10 + few.Draw(t, "a")&1, few.Draw(t, "b"), few.Draw(t, "c"), rapid.Byte().Draw(t, "d")})
	}
	b := [16]byte{0: 0xfd}
	for range 3 {
		b[rapid.IntRange(0, 15).Draw(t, "at")] = few.Draw(t, "byte")
	}
	return netip.AddrFrom16(b)
}

// TestTrieAgainstTheTwin changes a trie in updates of several routes each; the tries from before must
// answer as they did, whatever nodes they share with later ones.
func TestTrieAgainstTheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v4 := rapid.Bool().Draw(t, "v4")
		type version struct {
			trie
			want twin
		}
		var tree trie
		want, versions := twin{}, []version{{want: twin{}}}
		for range rapid.IntRange(1, 8).Draw(t, "updates") {
			b := new(batch)
			for range rapid.IntRange(1, 6).Draw(t, "changes") {
				addr := drawIn(t, v4)
				subnet, _ := addr.Prefix(rapid.IntRange(0, addr.BitLen()).Draw(t, "length"))
				if gone := rapid.IntRange(-3, max(0, len(want)-1)).Draw(t, "gone"); gone >= 0 && len(want) > 0 {
					subnet = nth(&tree, v4, gone)
					tree = b.remove(tree, subnet)
					delete(want, subnet)
					continue
				}
				hop := new(Hop)
				tree, want[subnet] = b.put(tree, subnet, hop), hop
			}
			versions = append(versions, version{tree, maps.Clone(want)})
		}
		var addrs []netip.Addr
		for range 20 {
			addrs = append(addrs, drawIn(t, v4))
		}
		for _, v := range versions {
			compare(t, v.trie, v.want, v4, addrs)
		}
	})
}

func nth(tree *trie, v4 bool, n int) (subnet netip.Prefix) {
	tree.each(v4, func(s netip.Prefix, _ *Hop) bool {
		subnet, n = s, n-1
		return n >= 0
	})
	return subnet
}

// FuzzTrie puts and removes what the bytes say, six for each change, and compares with the twin.
func FuzzTrie(f *testing.F) {
	f.Add([]byte{24, 1, 10, 5, 2, 0, 32, 1, 10, 5, 2, 9, 24, 0, 10, 5, 2, 0})
	f.Add([]byte{0, 1, 0, 0, 0, 0, 1, 1, 128, 0, 0, 0, 8, 1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var tree trie
		want, b := twin{}, new(batch)
		var addrs []netip.Addr
		for ; len(data) >= 6 && len(addrs) < 50; data = data[6:] {
			addr := netip.AddrFrom4([4]byte(data[2:6]))
			subnet, _ := addr.Prefix(int(data[0]) % 33)
			addrs = append(addrs, addr)
			switch {
			case data[1]&1 != 0:
				hop := new(Hop)
				tree, want[subnet] = b.put(tree, subnet, hop), hop
			case want[subnet] != nil:
				tree = b.remove(tree, subnet)
				delete(want, subnet)
			}
			if data[1]&2 != 0 {
				b = new(batch)
			}
		}
		compare(t, tree, want, true, addrs)
	})
}

// The first half of a node is what the last step of a lookup reads: one cache line, if the allocator
// puts nodes of 128 bytes side by side.
func TestNodeFillsTwoCacheLines(t *testing.T) {
	if size := unsafe.Sizeof(node{}); size != 128 {
		t.Errorf("a node has %d bytes, want 128", size)
	}
}
