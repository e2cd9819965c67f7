package forwarder_test

import (
	"os"
	"strings"
	"testing"
)

// checkChecksums fails the test for every packet whose checksum a container's kernel found wrong: damage
// that it has kept from the receivers.
func (f *fabric) checkChecksums(t *testing.T) {
	t.Helper()
	for _, n := range f.nodes {
		var text string
		err := n.container.Do(func() error {
			for _, file := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/snmp6"} {
				b, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				text += string(b)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		for name, count := range checksumErrors(text) {
			if count != "0" {
				t.Errorf("container of host %d: %s is %s", n.host.Number, name, count)
			}
		}
	}
}

// checksumErrors picks the counters out of snmp, whose lines come in pairs of names and values, and
// snmp6, which has a name and a value on each.
func checksumErrors(text string) map[string]string {
	found := map[string]string{}
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && strings.Contains(fields[0], "CsumErrors"):
			found[fields[0]] = fields[1]
		case len(names) == len(fields) && len(fields) > 0 && names[0] == fields[0]:
			for i, name := range names {
				if strings.Contains(name, "CsumErrors") {
					found[names[0]+name] = fields[i]
				}
			}
			names = nil
		default:
			names = fields
		}
	}
	return found
}

func TestChecksumErrorsAreFound(t *testing.T) {
	got := checksumErrors("Tcp: InSegs InCsumErrors\nTcp: 5 7\nUdp: InCsumErrors MemErrors\nUdp: 1 2\nUdp6InErrors 3\nUdp6InCsumErrors 4\n")
	want := map[string]string{"Tcp:InCsumErrors": "7", "Udp:InCsumErrors": "1", "Udp6InCsumErrors": "4"}
	if len(got) != len(want) {
		t.Errorf("found %v, want %v", got, want)
	}
	for name, count := range want {
		if got[name] != count {
			t.Errorf("%s: %q, want %q", name, got[name], count)
		}
	}
}
