package tunnel

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestEchoHasTheseBytes(t *testing.T) {
	got := hex.EncodeToString(AppendEcho(nil, Echo{Place: 3, Token: 0x0102030405060708}, EchoLen+4))
	const want = "20ff0000" + "77656674" + "0103001c" + "0102030405060708" + "4f86e7d9" + "1b1c1d1e"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEchoComesBackAsItWas(t *testing.T) {
	for _, size := range []int{EchoLen, EchoLen + 1, 1400, 65507} {
		want := Echo{Place: 15, Token: 1 << 63, Answer: size == EchoLen}
		data := AppendEcho([]byte("before"), want, size)[len("before"):]
		if got, ok := ParseEcho(data); len(data) != size || !ok || got != want || !IsEcho(data) {
			t.Errorf("%d bytes: %+v, %v", len(data), got, ok)
		}
	}
}

// Neither format that an Echo shares its socket with takes it for a packet.
func TestEchoIsNoPacket(t *testing.T) {
	data := AppendEcho(nil, Echo{Token: 7}, 1400)
	if _, ok := ParseGUE(data); ok {
		t.Error("it passes for GUE data")
	}
	if _, _, ok := ParseVXLAN(data); ok {
		t.Error("it passes for VXLAN")
	}
}

func TestEchoDamagedAnywhereIsRefused(t *testing.T) {
	data := AppendEcho(nil, Echo{Place: 1, Token: 99}, 60)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		if _, ok := ParseEcho(bad); ok {
			t.Errorf("byte %d changed: passes", i)
		}
		if _, ok := ParseEcho(data[:i]); ok {
			t.Errorf("cut to %d bytes: passes", i)
		}
	}
	if _, ok := ParseEcho(append(data, 0)); ok {
		t.Error("passes with a byte behind it")
	}
}

func FuzzParseEcho(f *testing.F) {
	f.Add(AppendEcho(nil, Echo{Place: 3, Token: 1}, 40))
	f.Add(AppendEcho(nil, Echo{Answer: true, Token: 1}, EchoLen))
	f.Add([]byte{gueControl, echoType, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 65535 {
			t.Skip()
		}
		e, ok := ParseEcho(data)
		if !ok {
			return
		}
		// Only the filler is free, and the sum covers it.
		again := AppendEcho(nil, e, len(data))
		if len(again) != len(data) || !bytes.Equal(again[:echoSumAt], data[:echoSumAt]) {
			t.Errorf("%x was read as %+v, which is %x", data, e, again)
		}
	})
}
