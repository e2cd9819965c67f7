package lease

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
)

// A Migration is a network on its way from one backend type to another, host by host. It stands in the
// network config, in a key that flannel ignores, so that it has one place and survives whoever drives it:
//
//	{"Network":"10.5.0.0/16","Backend":{"Type":"udp"},
//	 "Weft":{"Migration":{"To":{"Type":"vxlan"},"Hosts":["192.0.2.1"]}}}
//
// Hosts whose public address is listed are of the type To, all others of the type in Backend. Either
// kind takes packets in both formats for as long as the migration lasts.
type Migration struct {
	To    Format
	Raw   json.RawMessage // To as it is stored: a Backend object
	Hosts []netip.Addr    // public addresses of those that have moved
}

// A Format is how packets are carried: a backend type with its options.
type Format struct {
	BackendType string
	Options     Options
}

// Moved reports whether a host with either of these public addresses has moved.
func (m *Migration) Moved(addrs ...netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.IsValid() && slices.Contains(m.Hosts, a) })
}

// For returns the config as it is for the host with these public addresses (invalid ones don't count):
// its own side of a migration, with the other one in Beside. Raw is then a document for this host alone,
// in which no other host's move shows, and which [ParseConfig] and For turn into the same config
// again. Without a migration it is c.
func (c Config) For(addrs ...netip.Addr) Config {
	if c.Migration == nil {
		return c
	}
	hosts := slices.DeleteFunc(slices.Clone(c.Migration.Hosts), func(a netip.Addr) bool { return !slices.Contains(addrs, a) })
	raw, err := c.Moving(hosts...)
	if err != nil {
		return c // a config that was parsed can be written
	}
	own, err := ParseConfig(raw)
	if err != nil || !own.Migration.Moved(addrs...) {
		return own
	}
	m := own.Migration
	own.Beside = Format{own.BackendType, own.Options}
	own.BackendType, own.Options, own.Backend = m.To.BackendType, m.To.Options, m.Raw
	return own
}

// migration reads Weft.Migration. Other keys of weft's are for later versions.
func (r *fieldReader) migration(c *Config) {
	raw, ok := r.raw("Weft")
	if !ok {
		return
	}
	fields, err := parseObject(raw)
	if err != nil {
		r.fail(`Weft is not a JSON object: %w: remove it, or end the migration with weft migrate --undo`, err)
		return
	}
	weft := &fieldReader{where: r.where + "Weft ", fields: fields}
	if raw, ok = weft.raw("Migration"); !ok {
		return
	}
	if fields, err = parseObject(raw); err != nil {
		weft.fail("Migration is not a JSON object: %w: weft migrate writes it; remove it to end the migration", err)
		r.errs = append(r.errs, weft.errs...)
		return
	}
	m := &fieldReader{where: r.where + "Weft Migration ", fields: fields}
	c.Migration = m.both(c.BackendType)
	c.Beside = c.Migration.To
	r.errs = append(r.errs, m.errs...)
}

// both reads where a migration leads, and who has moved. A network of both types needs hosts that speak
// both: weft's own forwarder, which carries these.
func (r *fieldReader) both(from string) *Migration {
	m := &Migration{}
	raw, _ := r.raw("To")
	fields, err := parseObject(raw)
	if err != nil {
		r.fail(`To is not a JSON object: %w: write it like a Backend, as {"Type":"vxlan"}`, err)
		return m
	}
	to := &fieldReader{where: r.where + "To ", fields: fields}
	m.Raw = append(json.RawMessage(nil), raw...)
	m.To.BackendType, m.To.Options = to.options()
	r.errs = append(r.errs, to.errs...)
	switch {
	case !Migrates(from) || len(to.errs) == 0 && !Migrates(m.To.BackendType):
		r.fail("leads from %s to %s: hosts can only move between udp and vxlan", from, m.To.BackendType)
	case from == m.To.BackendType:
		r.fail("leads from %s to %s, which are the same: remove Weft", from, m.To.BackendType)
	}
	texts, _ := member(r, "Hosts", []string{}, "a list of addresses in quotes")
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			r.fail("Hosts has %q, which is no address: write the public address of a host", clip(text))
			continue
		}
		m.Hosts = append(m.Hosts, addr)
	}
	return m
}

// CapMigrates, among Weft.Caps: the host knows of the migration and takes packets in both of its formats.
const CapMigrates = 1 << 2

// Migrates reports whether a network can move from and to a backend type host by host.
func Migrates(backendType string) bool { return backendType == "udp" || backendType == "vxlan" }

// Migrating returns c's document with the beginning of a migration to a Backend object, no host having
// moved. What can't be is ParseConfig's error.
func (c Config) Migrating(to json.RawMessage) ([]byte, error) {
	return c.withMigration(to, nil)
}

// Moving returns c's document with these hosts having moved, and no others. c migrates.
func (c Config) Moving(hosts ...netip.Addr) ([]byte, error) {
	return c.withMigration(c.Migration.Raw, hosts)
}

func (c Config) withMigration(to json.RawMessage, hosts []netip.Addr) ([]byte, error) {
	value, err := json.Marshal(struct {
		To    json.RawMessage
		Hosts []netip.Addr
	}{to, append([]netip.Addr{}, hosts...)})
	if err != nil {
		return nil, fmt.Errorf("writing a migration into the network config: %w", err)
	}
	return editMigration(c.Raw, value)
}

// Staying returns c's document without the migration: every host is of the type it began with.
func (c Config) Staying() ([]byte, error) { return editMigration(c.Raw, nil) }

// Migrated returns c's document after the migration: every host is of the type it leads to. c migrates.
func (c Config) Migrated() ([]byte, error) {
	raw, err := editMigration(c.Raw, nil)
	if err != nil {
		return nil, err
	}
	return setMember(raw, "Backend", c.Migration.Raw)
}

// editMigration sets Weft.Migration, or removes it where value is nil. Everything else in the document
// stays, in its order.
func editMigration(document, value []byte) ([]byte, error) {
	weft := []byte("{}")
	if fields, err := parseObject(document); err != nil {
		return nil, fmt.Errorf("changing the network config: %w", err)
	} else if raw, ok := fields["weft"]; ok && string(raw) != "null" {
		weft = raw
	}
	weft, err := setMember(weft, "Migration", value)
	if err != nil {
		return nil, err
	}
	if string(weft) == "{}" {
		weft = nil
	}
	raw, err := setMember(document, "Weft", weft)
	if err == nil {
		_, err = ParseConfig(raw)
	}
	return raw, err
}
