package kernelmode

import (
	"errors"
	"fmt"
	"syscall"
)

// Verb is what an Op does.
type Verb uint8

// The verbs. Add is for what has no object with its key yet; Change puts the object in the place of
// the one that has its key.
const (
	Add Verb = iota + 1
	Change
	Delete
)

// String returns the verb in its plain form.
func (v Verb) String() string {
	switch v {
	case Add:
		return "add"
	case Change:
		return "change"
	case Delete:
		return "delete"
	}
	return fmt.Sprintf("verb %d", uint8(v))
}

// An Op is one step towards a State: a comparable value.
type Op struct {
	Verb   Verb
	Object Object
}

// String renders the operation for logs and test failures.
func (o Op) String() string { return o.Verb.String() + " " + noun(o.Object) + " " + o.Object.String() }

func noun(o Object) string {
	switch o.(type) {
	case Link:
		return "link"
	case Address:
		return "address"
	case Route:
		return "route"
	case Neighbour:
		return "neighbour"
	case FDBEntry:
		return "forwarding entry"
	case Sysctl:
		return "sysctl"
	}
	return "object"
}

// An OpError is one operation that the kernel refused.
type OpError struct {
	Op  Op
	Err error
}

// Error names the object, the reason, and for the reasons that an operator can do something about,
// what that is.
func (e *OpError) Error() string {
	verb := map[Verb]string{Add: "adding", Change: "changing", Delete: "deleting"}[e.Op.Verb]
	text := fmt.Sprintf("%s %s %s: %v", verb, noun(e.Op.Object), e.Op.Object, e.Err)
	if remedy := e.remedy(); remedy != "" {
		text += ": " + remedy
	}
	return text
}

// Unwrap returns the kernel's reason.
func (e *OpError) Unwrap() error { return e.Err }

// A MissingLinkError says that a device which this package doesn't make isn't there: a TUN that was
// never opened, or that somebody deleted. Its owner has to open it again; everything else of the
// State is applied meanwhile.
type MissingLinkError struct{ Name string }

// Error names the device and what happens next.
func (e *MissingLinkError) Error() string {
	return fmt.Sprintf("device %s is missing: it was deleted or never opened; it is configured as soon as it is back", e.Name)
}

// An AbsentDeviceError says that a device which neither weft nor its TUN's owner makes isn't there: the
// underlay that routes lead out of. They are installed as soon as it is back.
type AbsentDeviceError struct{ Name string }

// Error names the device and what happens next.
func (e *AbsentDeviceError) Error() string {
	return fmt.Sprintf("device %s is missing: the routes that lead out of it are installed as soon as it is back", e.Name)
}

// MissingDevices returns the names in all MissingLinkErrors of an error that Apply returned.
func MissingDevices(err error) []string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var names []string
		for _, e := range joined.Unwrap() {
			names = append(names, MissingDevices(e)...)
		}
		return names
	}
	if missing, ok := errors.AsType[*MissingLinkError](err); ok {
		return []string{missing.Name}
	}
	return nil
}

// gone reports whether an error means that the object, or its device, isn't there.
func gone(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ENODEV, syscall.ESRCH, syscall.ENOENT, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
