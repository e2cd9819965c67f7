// Command vmexec runs a test binary in a virtual machine, for go test's -exec: one machine for each
// package, its output in go test's, its failure go test's.
//
//	CGO_ENABLED=0 go test -run '^TestVM' -exec 'vmexec -kernel DIR -init FILE' ./...
//
// go test starts it in the package's folder, where its testdata is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"weft/perf/vm"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "vmexec:", err)
		os.Exit(1)
	}
}

// run does all that main does.
func run(args []string) error {
	flags := flag.NewFlagSet("vmexec", flag.ExitOnError)
	kernelDir := flags.String("kernel", "", "folder of an unpacked kernel package")
	init := flags.String("init", "", "the program vminit, built with CGO_ENABLED=0")
	flags.Parse(args)
	if *kernelDir == "" || *init == "" || flags.NArg() == 0 {
		return errors.New("usage: vmexec -kernel DIR -init FILE TESTBINARY [ARGUMENT…]")
	}
	kernel, err := vm.OpenKernel(*kernelDir)
	if err != nil {
		return err
	}
	// SIGQUIT is what go test sends after its own timeout.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer stop()
	inner := translate(flags.Args()[1:])
	machine := vm.Machine{
		Kernel: kernel, Init: *init, Program: flags.Arg(0), Args: inner.args, Env: passedOn(os.Environ()),
		Timeout: inner.timeout + bootPatience, Output: os.Stdout,
	}
	if _, err := os.Stat("testdata"); err == nil {
		machine.Testdata = "testdata"
	}
	started := time.Now()
	err = machine.Run(ctx)
	fmt.Printf("virtual machine with Linux %s: %.1fs\n", kernel.Version, time.Since(started).Seconds())
	return err
}

// bootPatience is for booting and stopping, which take 3 s on a quiet machine. The test binary's own
// timeout, which prints all goroutines, must come first; go test's, a minute behind it, last.
const bootPatience = 40 * time.Second

// passedOn keeps the variables that steer tests; the rest is about this machine.
func passedOn(environ []string) (kept []string) {
	for _, variable := range environ {
		if strings.HasPrefix(variable, "WEFT_") || strings.HasPrefix(variable, "GODEBUG=") || strings.HasPrefix(variable, "GOTRACEBACK=") {
			kept = append(kept, variable)
		}
	}
	return kept
}
