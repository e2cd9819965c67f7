// Command vminit is /init of the machines that package vm boots.
package main

import (
	"fmt"
	"os"

	"weft/perf/vm/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "vminit: this is /init of a virtual machine that `make test-vm` boots; it does nothing here")
		os.Exit(1)
	}
	guest.Boot()
}
