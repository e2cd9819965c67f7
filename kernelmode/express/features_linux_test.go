package express

import "testing"

// A device that can't be asked is taken to carry superpackets.
func TestUnknownDevicesCutNothing(t *testing.T) {
	if cuts("no-such-device") {
		t.Error("a device that isn't there is said to cut")
	}
}
