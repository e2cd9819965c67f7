// Package vm runs a Go test binary on another kernel than this machine's: a distribution's kernel under
// qemu, whose whole user space is that binary. Tests that need what this kernel lacks (ipip, fou, wireguard,
// netem) or that must hold on an older one run there. `make test-vm` is the way in; docs/testing.md tells
// how a package adds a test.
//
//	go test -exec vmexec          this machine │ virtual machine
//	        │                                  │
//	     vmexec ── Run ── qemu ── initramfs ───┼─▶ /init (package guest)
//	        ▲              │    init, modules, │     │ mounts, modules, lo
//	        │              │    test binary    │     ▼
//	        └─ test output ◀──────────── ttyS1 ┼── test binary
//	           status      ◀──────────── ttyS2 ┼── /init, when the test has ended
//	           console     ◀──────────── ttyS0 ┼── kernel
//
// The three streams are apart so that no kernel message lands inside a line of test output, and no test
// output can be taken for a status. No status means failure, whatever was printed before: the kernel
// died, the machine hung, or init couldn't start the test.
//
// The processor is emulated (tcg), not virtualized: 10 to 20 times slower than real, but the same wherever
// it runs, inside other virtual machines too. There is no disk and no network device: what a test
// sends stays inside.
//
// It is not a sandbox for hostile programs, and it measures nothing: speeds under emulation mean nothing.
//
// Concurrency: Run may be called from several goroutines; each call is one machine of its own.
//
// Sources: kernel Documentation/driver-api/early-userspace/buffer-format.rst (newc), scripts/mod/modpost.c
// (.modinfo), Documentation/admin-guide/kernel-parameters.txt; qemu(1).
package vm
