package kernelmode

import (
	"cmp"
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
// counts the others. What was to be on a device that couldn't be made isn't tried.
func attempt(k Kernel, ops []Op, have State, failed map[Op]error) (succeeded int) {
	clear(failed)
	unmade := map[string]bool{}
	for _, op := range ops {
		if unmade[op.Object.Device()] {
			continue
		}
		err := forbidden(op, have)
		if err == nil {
			err = k.Do(op)
		}
		switch {
		case err == nil:
			succeeded++
		case op.Verb == Delete && gone(err): // its device went first, or somebody was faster
		default:
			failed[op] = err
			if l, ok := op.Object.(Link); ok && op.Verb == Add && !errors.Is(err, syscall.EEXIST) {
				unmade[l.Name] = true
			}
		}
	}
	return succeeded
}

// maxReported bounds how many failures an error lists: with thousands of peers the first ones say all.
const maxReported = 16

// report names what is still missing. An EEXIST or ENODEV on the way that ended in the wanted state
// is no error. What fails for want of a device is said once for each device.
func report(want, have State, left []Op, failed map[Op]error) error {
	var errs []error
	absent := map[string]bool{"": false} // by name; what is on no device doesn't lack one
	for _, l := range have.Links {
		absent[l.Name] = false
	}
	for _, name := range Missing(want, have) {
		errs = append(errs, &MissingLinkError{Name: name})
	}
	for _, op := range left {
		name := op.Object.Device()
		known, listed := absent[name]
		_, isLink := op.Object.(Link)
		switch {
		case optional(op.Object), known && !isLink:
		case !isLink && !listed:
			absent[name] = true
			if !want.makes(name) { // else the device's own failure is in the list
				errs = append(errs, &AbsentDeviceError{Name: name})
			}
		default:
			errs = append(errs, &OpError{Op: op, Err: cmp.Or(failed[op], errNotLasting)})
		}
	}
	if more := len(errs) - maxReported; more > 0 {
		errs = append(errs[:maxReported:maxReported], fmt.Errorf("and %d more", more))
	}
	return errors.Join(errs...)
}

func optional(o Object) bool {
	s, ok := o.(Sysctl)
	return ok && s.Optional
}

var errNotLasting = errors.New("the kernel took it, and it was undone at once: another program may be managing the same object")

var errConnected = errors.New("the kernel's own route of an address is in its place: the network config overlaps a network that this host is attached to: change one of them")

// forbidden says why an operation must not even be tried: it would replace a connected route, which
// cuts the host off from its own link, or take over a device that somebody else made for something else.
func forbidden(op Op, have State) error {
	if op.Verb != Change {
		return nil
	}
	switch o := op.Object.(type) {
	case Route:
		if o.Protocol != ProtocolKernel && slices.ContainsFunc(have.Routes, func(h Route) bool {
			return h.Protocol == ProtocolKernel && h.Key() == o.Key()
		}) {
			return errConnected
		}
	case Link:
		for _, h := range have.Links {
			if h.Name == o.Name && h.Kind != o.Kind {
				return fmt.Errorf("a device of kind %s has that name and isn't weft's: rename it (ip link set %s name …) or delete it", h.Kind, o.Name)
			}
		}
	}
	return nil
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
	wanted := index(want.Objects())
	installed := State{Revision: want.Revision, Owns: want.Owns}
	var objects []Object
	for _, h := range have.Objects() {
		if wanted[h.Key()] != nil || want.owns(h) {
			objects = append(objects, h)
		}
	}
	return installed.With(objects...)
}
