package lease

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// maxValue bounds the value of a record that is looked at, in bytes. A real one has under 500; a
// million bytes of JSON, which etcd would store, must not cost every host a parse.
const maxValue = 16 << 10

// record is a lease's value in flannel's order of fields (pkg/subnet/subnet.go, LeaseAttrs).
// PublicIP is never null there, and PublicIPv6 is never left out.
type record struct {
	PublicIP      string
	PublicIPv6    *string
	BackendType   string          `json:",omitempty"`
	BackendData   json.RawMessage `json:",omitempty"`
	BackendV6Data json.RawMessage `json:",omitempty"`
}

// EncodeValue writes a as flannel does, byte for byte. An error means that BackendData or
// BackendV6Data is not JSON.
func EncodeValue(a Attrs) ([]byte, error) {
	r := record{
		PublicIP:      "0.0.0.0", // flannel's zero address, on a v6-only host
		BackendType:   a.BackendType,
		BackendData:   a.BackendData,
		BackendV6Data: a.BackendV6Data,
	}
	if a.PublicIP.IsValid() {
		r.PublicIP = a.PublicIP.String()
	}
	if a.PublicIPv6.IsValid() {
		text := a.PublicIPv6.String()
		r.PublicIPv6 = &text
	}
	value, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding lease of %s: %w", r.PublicIP, err)
	}
	return value, nil
}

// DecodeValue reads a value leniently: keys in any case, unknown ones ignored, null for absent, an
// unspecified address for none. The error, if any, is a [*Fault]. What the addresses mean is for
// [Assemble] to judge.
func DecodeValue(value []byte) (Attrs, error) {
	if len(value) > maxValue {
		return Attrs{}, fault(TooLong, "the value has %d bytes: delete the record, or write at most %d",
			len(value), maxValue)
	}
	fields, err := parseObject(value)
	if err != nil {
		return Attrs{}, fault(BadJSON, "the value is not a JSON object (%v): delete the record", err)
	}
	r := &fieldReader{fields: fields}
	a := Attrs{
		PublicIP:      r.publicAddr("PublicIP", 32),
		PublicIPv6:    r.publicAddr("PublicIPv6", 128),
		BackendData:   r.object("BackendData"),
		BackendV6Data: r.object("BackendV6Data"),
	}
	kind, _ := r.text("BackendType", "")
	a.BackendType = strings.ToLower(kind)
	if len(r.errs) > 0 {
		return Attrs{}, fault(BadJSON, "%v, or delete the record", r.errs[0])
	}
	return a, nil
}

// publicAddr reads an outer address of the given family; the zero Addr when there is none.
func (r *fieldReader) publicAddr(key string, bits int) netip.Addr {
	a, ok := r.addr(key)
	switch {
	case !ok || a.IsUnspecified():
		return netip.Addr{}
	case a.BitLen() != bits || a.Is4In6():
		r.fail("%s %s is of the wrong family: write one of the other", key, a)
		return netip.Addr{}
	}
	return a
}

// object reads a member that must be a JSON object; nil when it is absent. The bytes are copied,
// so that a snapshot doesn't keep the store's buffers alive.
func (r *fieldReader) object(key string) json.RawMessage {
	raw, ok := r.raw(key)
	if !ok {
		return nil
	}
	if raw[0] != '{' {
		r.fail("%s is %s: write an object", key, clip(string(raw)))
		return nil
	}
	return append(json.RawMessage(nil), raw...)
}
