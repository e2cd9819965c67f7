// Package guest is what runs as /init inside a test machine: it prepares the kernel as an ordinary host's
// boot would, runs one program, says how that ended, and stops the machine. Package vm is its
// counterpart outside; the two agree on what stands in this file.
//
// Boot is for process 1 of a machine without anything else. It is not an init system: it starts
// nothing twice and reaps nobody but its one program.
//
// Concurrency: none; Boot does one thing after the other.
//
// Sources: kernel Documentation/filesystems/ramfs-rootfs-initramfs.rst, init_module(2), termios(3).
package guest

import "fmt"

// A Spec tells init what to do. It stands in SpecFile as JSON.
type Spec struct {
	Modules []string // paths, in the order of loading
	Program string   // absolute path
	Args    []string // without the program's name
	Env     []string // KEY=VALUE
	Dir     string   // where the program starts
}

// SpecFile is where init looks for the Spec.
const SpecFile = "/spec.json"

// Serial ports. The first is the kernel's console.
const (
	outputPort = "/dev/ttyS1" // what the program prints
	statusPort = "/dev/ttyS2" // one line of Status when it has ended
)

// Variable is set to 1 in the program's environment, and nowhere outside.
const Variable = "WEFT_VM"

// Status is the line by which init says how the program ended. Any other line is a sentence about why
// it could not be run.
func Status(exitCode int) string { return fmt.Sprintf("the test ended with status %d\n", exitCode) }
