package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// parseObject splits a JSON object into its members, by lower-cased key; of a key that comes twice
// the last one counts, as encoding/json does it. Reading member by member lets one wrong type be
// reported beside all the others, which decoding into a struct can't.
func parseObject(data []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	open, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	if open != json.Delim('{') {
		return nil, fmt.Errorf("it starts with %v", open)
	}
	fields := map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		fields[strings.ToLower(key.(string))] = value // an object's keys are strings
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("more text follows the object, from byte %d", dec.InputOffset())
	}
	return fields, nil
}

// A fieldReader reads members of one object and collects what is wrong with them.
type fieldReader struct {
	where  string // before every message
	fields map[string]json.RawMessage
	errs   []error
}

func (r *fieldReader) fail(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(r.where+format, args...))
}

// raw returns the member; false when it is absent or null, which flannel treats alike.
func (r *fieldReader) raw(key string) (json.RawMessage, bool) {
	value, ok := r.fields[strings.ToLower(key)]
	return value, ok && string(value) != "null"
}

// boolean, integer and text return the default beside false only where the type is wrong.
func (r *fieldReader) boolean(key string, def bool) bool {
	v, _ := member(r, key, def, "true or false")
	return v
}

func (r *fieldReader) integer(key string, def int) (int, bool) {
	return member(r, key, def, "a whole number")
}

func (r *fieldReader) text(key, def string) (string, bool) {
	return member(r, key, def, "a string in quotes")
}

// member decodes one member. It is false only when the member is there and of another type.
func member[T any](r *fieldReader, key string, def T, want string) (T, bool) {
	raw, ok := r.raw(key)
	if !ok {
		return def, true
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		r.fail("%s is %s: write %s", key, clip(string(raw)), want)
		return def, false
	}
	return v, true
}

// between reads a whole number that must lie in a range.
func (r *fieldReader) between(key string, def, low, high int) int {
	n, ok := r.integer(key, def)
	if ok && n != def && (n < low || n > high) {
		r.fail("%s is %d: use %d to %d", key, n, low, high)
	}
	return n
}

// prefix reads the range of a family. Host bits are cut off, as flannel does it.
func (r *fieldReader) prefix(key string, f family) (netip.Prefix, bool) {
	s, ok := r.text(key, "")
	if !ok {
		return netip.Prefix{}, false
	}
	if s == "" {
		r.fail("%s is missing: give the range, such as %q:%q, or set Enable%s to false",
			key, key, f.example, map[int]string{32: "IPv4", 128: "IPv6"}[f.bits])
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().BitLen() != f.bits || p.Addr().Is4In6() {
		r.fail("%s %q is no range of the right family: write it as %s", key, clip(s), f.example)
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}

// addr reads an address; false when it is absent or wrong.
func (r *fieldReader) addr(key string) (netip.Addr, bool) {
	s, ok := r.text(key, "")
	if !ok || s == "" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		r.fail("%s %q is no address: write the first address of a subnet", key, clip(s))
		return netip.Addr{}, false
	}
	return a, true
}

// clip keeps a message readable when the input is not.
func clip(s string) string {
	const longest = 80
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
