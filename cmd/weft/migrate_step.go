package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A migrationStep is one change of the network config, and what has to be true afterwards.
type migrationStep struct {
	question string // to the operator, without its question mark
	doing    string // while it lasts
	done     string // afterwards

	document []byte                     // the config to write
	host     netip.Addr                 // that moves; invalid for steps of the whole network
	missing  func(m migration) []string // what isn't there yet, for a person; none: the step is done
}

// next is the step forward from here; nil at the end.
func (m migration) next() (*migrationStep, error) {
	switch {
	case !m.under() && m.config.BackendType == m.to:
		return nil, nil
	case !m.under():
		return nil, fmt.Errorf("no migration has begun") // begin takes an argument, and so is called by name
	}
	for _, h := range m.hosts {
		if !h.moved {
			return m.move(h)
		}
	}
	return m.finish()
}

// previous is the step back from here; nil at the beginning.
func (m migration) previous() (*migrationStep, error) {
	switch {
	case !m.under() && m.config.BackendType == m.from:
		return nil, nil
	case !m.under():
		return nil, fmt.Errorf("the migration from %s to %s has ended, and every host follows the network config again: "+
			"go the same way back with weft migrate %s %s", m.from, m.to, m.to, m.from)
	}
	for _, addr := range slices.Backward(m.config.Migration.Hosts) {
		if h, ok := m.host(addr); ok && h.moved {
			return m.moveBack(h)
		}
	}
	return m.giveUp()
}

// begin tells every host of the way that lies ahead: each then forwards in user space and takes both
// formats. Nothing else changes yet, and a plain flannel host doesn't notice.
func (m migration) begin(to []byte) (*migrationStep, error) {
	document, err := m.config.Migrating(to)
	return &migrationStep{
		question: fmt.Sprintf("prepare %d hosts for the way from %s to %s", len(m.hosts), m.from, m.to),
		doing:    "waiting until every host takes both formats",
		done:     fmt.Sprintf("every host takes both %s and %s", m.from, m.to),
		document: document,
		missing:  migration.unready,
	}, err
}

// unready names the hosts that don't say that they take both formats.
func (m migration) unready() (all []string) {
	for _, h := range m.hosts {
		if !h.ready {
			all = append(all, h.String())
		}
	}
	return all
}

func (m migration) move(h migrant) (*migrationStep, error) {
	return m.turn(h, m.to, append(m.movedHosts(), h.addr), "move %s to %s", "moving %s to %s", "%s is of type %s")
}

func (m migration) moveBack(h migrant) (*migrationStep, error) {
	others := slices.DeleteFunc(m.movedHosts(), func(a netip.Addr) bool { return a == h.addr })
	return m.turn(h, m.from, others, "move %s back to %s", "moving %s back to %s", "%s is of type %s again")
}

// turn has one host become of a kind, with what to say about it, each of the host and the kind.
func (m migration) turn(h migrant, kind string, moved []netip.Addr, question, doing, done string) (*migrationStep, error) {
	document, err := m.config.Moving(moved...)
	return &migrationStep{
		question: fmt.Sprintf(question, h, kind),
		doing:    fmt.Sprintf(doing, h, kind),
		done:     fmt.Sprintf(done, h, kind),
		document: document, host: h.addr,
		missing: func(m migration) []string { return m.notOf(h.addr, kind) },
	}, err
}

// notOf says what a host's lease says instead of a type. A host that has left is no obstacle.
func (m migration) notOf(addr netip.Addr, kind string) []string {
	if h, ok := m.host(addr); ok && (h.kind != kind || !h.ready) {
		return []string{fmt.Sprintf("%s, whose lease says %s", h, h.kind)}
	}
	return nil
}

func (m migration) finish() (*migrationStep, error) {
	document, err := m.config.Migrated()
	return &migrationStep{
		question: fmt.Sprintf("make %s the network's type for good", m.to),
		doing:    "waiting until every host has taken up the network config",
		done:     fmt.Sprintf("the network is of backend type %s", m.to),
		document: document,
		missing:  migration.unfinished,
	}, err
}

func (m migration) giveUp() (*migrationStep, error) {
	document, err := m.config.Staying()
	return &migrationStep{
		question: fmt.Sprintf("give the migration up, and stay with %s", m.from),
		doing:    "waiting until every host has taken up the network config",
		done:     fmt.Sprintf("the network is of backend type %s, as before", m.from),
		document: document,
		missing:  migration.unfinished,
	}, err
}

// unfinished names the hosts that still speak both formats.
func (m migration) unfinished() (all []string) {
	for _, h := range m.hosts {
		if h.ready {
			all = append(all, h.String())
		}
	}
	return all
}

// few joins names, the first few of them.
func few(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
