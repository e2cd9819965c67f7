package lease

import "fmt"

// Reasons of a [Problem]: fixed words, fit for a counter's label.
const (
	BadKey            = "bad_key"             // the key's name is no subnet
	BadJSON           = "bad_json"            // the value is not the JSON of a lease
	TooLong           = "too_long"            // the value is larger than any lease
	OutOfRange        = "out_of_range"        // the subnet is not inside the configured range
	Overlap           = "overlap"             // an older lease has the subnet, or a part of it
	BadPublicIP       = "bad_public_ip"       // no host can have this outer address
	DuplicatePublicIP = "duplicate_public_ip" // an older lease has this outer address
)

// A Fault is why one record is skipped.
type Fault struct {
	Reason string // one of the constants above
	Detail string // what a person should know, with the remedy
}

// Error returns the detail.
func (f *Fault) Error() string { return f.Detail }

func fault(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
