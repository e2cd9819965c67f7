package lease

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// setMember returns a JSON object with one member set, in its place or at the end, or removed where
// value is nil. The others stay as they are and in their order; white space between them doesn't.
// Keys are matched in any case, as ParseConfig does, and of one that comes twice one is left.
func setMember(object []byte, key string, value []byte) ([]byte, error) {
	members, err := listMembers(object)
	if err != nil {
		return nil, fmt.Errorf("changing %s of the network config: %w", key, err)
	}
	var next []jsonMember
	placed := value == nil
	for _, m := range members {
		switch {
		case !strings.EqualFold(m.key, key):
			next = append(next, m)
		case !placed:
			next, placed = append(next, jsonMember{m.key, value}), true
		}
	}
	if !placed {
		next = append(next, jsonMember{key, value})
	}
	return writeMembers(next)
}

// A jsonMember is one member of an object, its value as it stands.
type jsonMember struct {
	key   string
	value json.RawMessage
}

func listMembers(object []byte) ([]jsonMember, error) {
	if _, err := parseObject(object); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(object))
	_, err := decoder.Token() // the opening brace, which parseObject has seen
	var all []jsonMember
	for err == nil && decoder.More() {
		var name json.Token
		var m jsonMember
		if name, err = decoder.Token(); err != nil {
			break
		}
		m.key = name.(string) // an object's keys are strings
		err = decoder.Decode(&m.value)
		all = append(all, m)
	}
	return all, err
}

func writeMembers(members []jsonMember) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		if err := json.Compact(&b, m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
