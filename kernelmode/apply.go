package kernelmode

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
)

const (
	// maxRounds bounds how often Apply looks again. Two are enough when nobody interferes: one
	// operation can undo what an earlier Read saw (a link that goes up has lost its routes).
	maxRounds = 4
	// maxReads bounds how often one dump is tried when the kernel's table changes under it.
	maxReads = 8
)

// Apply makes the kernel's state the wanted one, as far as it can, and returns what of it is really
// installed: read back, not assumed. The error joins an OpError for every operation that failed or
// didn't last, and a MissingLinkError for every device that its owner has to open; the operations
// after a failed one are carried out all the same. Applied twice, the second changes nothing.
func Apply(k Kernel, want State) (State, error) {
	installed, _, err := apply(k, want)
	return installed, err
}

// apply is Apply, and counts the operations that succeeded.
func apply(k Kernel, want State) (installed State, done int, err error) {
	scope := ScopeOf(want)
	failed := map[Op]error{}
	for round, progress := 0, true; ; round++ {
		have, err := read(k, scope)
		if err != nil {
			return State{Revision: want.Revision}, done, err
		}
		ops := Diff(want, have)
		if len(ops) == 0 || round == maxRounds || !progress {
			return Installed(want, have), done, report(want, have, ops, failed)
		}
		// Once in vain is no reason to stop: an EEXIST or ENODEV says that the kernel moved on since
		// it was read.
		succeeded := attempt(k, ops, have, failed)
		done += succeeded
		progress = succeeded > 0 || round == 0
	}
}

// attempt carries out operations, notes in failed exactly those that the kernel refused this time, and
// counts the others.
func attempt(k Kernel, ops []Op, have State, failed map[Op]error) (succeeded int) {
	clear(failed)
	for _, op := range ops {
		if overlaps(op, have) {
			failed[op] = errConnected
			continue
		}
		err := k.Do(op)
		switch {
		case err == nil:
			succeeded++
		case op.Verb == Delete && gone(err): // its device went first, or somebody was faster
		default:
			failed[op] = err
		}
	}
	return succeeded
}

// report names what is still missing. An EEXIST or ENODEV on the way that ended in the wanted state
// is no error.
func report(want, have State, left []Op, failed map[Op]error) error {
	var errs []error
	for _, name := range Missing(want, have) {
		errs = append(errs, &MissingLinkError{Name: name})
	}
	for _, op := range left {
		err := failed[op]
		if err == nil {
			err = errNotLasting
		}
		errs = append(errs, &OpError{Op: op, Err: err})
	}
	return errors.Join(errs...)
}

var errNotLasting = errors.New("the kernel took it, and it was undone at once: another program may be managing the same object")

var errConnected = errors.New("the kernel's own route of an address is in its place: the network config overlaps a network that this host is attached to: change one of them")

// overlaps reports whether the operation would replace a connected route, which would cut the host off
// from its own link.
func overlaps(op Op, have State) bool {
	if r, ok := op.Object.(Route); !ok || op.Verb != Change || r.Protocol == ProtocolKernel {
		return false
	}
	return slices.ContainsFunc(have.Routes, func(h Route) bool {
		return h.Protocol == ProtocolKernel && h.Key() == op.Object.Key()
	})
}

// read asks again while the kernel says that the dump is inconsistent.
func read(k Kernel, scope Scope) (State, error) {
	var have State
	var err error
	for range maxReads {
		if have, err = k.Read(scope); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return State{}, fmt.Errorf("reading kernel state: %w", err)
	}
	return have, nil
}

// Installed returns the part of what was found that is wanted or owned, with the values found.
func Installed(want, have State) State {
	wanted := index(want)
	installed := State{Revision: want.Revision, Owns: want.Owns}
	var objects []Object
	for _, h := range have.Objects() {
		if wanted[h.Key()] != nil || want.owns(h) {
			objects = append(objects, h)
		}
	}
	return installed.With(objects...)
}
