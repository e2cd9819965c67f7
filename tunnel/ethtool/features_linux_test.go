package ethtool

import (
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// featuresReply is a message as the kernel makes it.
func featuresReply(names ...string) []byte {
	active := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_ACTIVE|unix.NLA_F_NESTED, nil)
	active.AddRtAttr(unix.ETHTOOL_A_BITSET_NOMASK, nil)
	bits := active.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, nil)
	for i, name := range names {
		bit := bits.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, nil)
		bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_INDEX, nl.Uint32Attr(uint32(i)))
		bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_NAME, nl.ZeroTerminated(name))
	}
	return active.Serialize()
}

func TestActiveFeaturesAreRead(t *testing.T) {
	want := []string{"tx-tcp-segmentation", "rx-gro"}
	if got := activeFeatures(featuresReply(want...)); !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	if got := activeFeatures(featuresReply()); len(got) != 0 {
		t.Errorf("read %q where nothing is on", got)
	}
}

// TestKernelNamesFeatures: of a device that every machine has, and of none that it hasn't.
func TestKernelNamesFeatures(t *testing.T) {
	family, err := Family()
	if err != nil {
		t.Fatal(err)
	}
	if active := Active(nil, family, "lo"); !slices.Contains(active, "tx-tcp-segmentation") {
		t.Errorf("the kernel says of lo: %q", active)
	}
	if active := Active(nil, family, "no-such-device"); len(active) != 0 {
		t.Errorf("a device that isn't there has %q", active)
	}
}

func FuzzActiveFeatures(f *testing.F) {
	f.Add(featuresReply())
	f.Add(featuresReply("tx-tcp-segmentation", "rx-gro"))
	f.Add([]byte("M\x00\x00\x00" + strings.Repeat("0", 73))) // cut off before its padding
	f.Fuzz(func(t *testing.T, reply []byte) {
		for _, name := range activeFeatures(reply) {
			if len(name) > len(reply) {
				t.Errorf("%d bytes of name in %d", len(name), len(reply))
			}
		}
	})
}
