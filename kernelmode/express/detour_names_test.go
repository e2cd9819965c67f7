package express

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDetourNamesFit: whatever the TUN device is called, the veth's names fit, differ, and are its own.
func TestDetourNamesFit(t *testing.T) {
	seen := map[string]string{}
	for _, device := range []string{"w", "weft0", "weft123456789", "weft1234567890", "weft12345678901"} {
		near, far := detourNames(device)
		for _, name := range []string{near, far} {
			if len(name) >= unix.IFNAMSIZ {
				t.Errorf("device %s: %q has %d bytes", device, name, len(name))
			}
			if other, taken := seen[name]; taken {
				t.Errorf("device %s and %s both use %q", device, other, name)
			}
			seen[name] = device
		}
	}
}

func TestDetourAddressIsOneDevices(t *testing.T) {
	nobodys := netip.MustParsePrefix("100::/64")
	for _, index := range []int{1, 255, 256, 1 << 24, 1<<31 - 1} {
		if a := detourAddress(index); !nobodys.Contains(a) || a == detourAddress(index-1) {
			t.Errorf("device %d has %v", index, a)
		}
	}
}
