package tunnel

import "testing"

func TestNextReceive(t *testing.T) {
	for _, test := range []struct {
		name              string
		count, got, bytes int
		want              int
	}{
		{"segments one by one", receiveFew, receiveFew, receiveFew * 1472, receiveMessages},
		{"and more of them", receiveMessages, receiveMessages, receiveMessages * 1472, receiveMessages},
		{"the end of a burst", receiveMessages, 3, 3 * 1472, receiveMessages},
		{"a few acknowledgements", receiveFew, 4, 4 * 100, receiveFew},
		{"superpackets", receiveMessages, receiveFew, receiveFew * 64000, receiveFew},
		{"one superpacket among acknowledgements", receiveMessages, 20, 64000 + 19*100, receiveFew},
	} {
		if got := nextReceive(test.count, test.got, test.bytes); got != test.want {
			t.Errorf("%s: %d after %d of %d messages with %d bytes, want %d", test.name, got, test.got, test.count, test.bytes, test.want)
		}
	}
}
